package httpsend

import (
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// RetryAfter returns how long an answer asks the client to wait, from now, which is when the answer
// arrived. It reads seconds and all three date forms of RFC 9110 (section 10.2.3). A date is
// compared with the answer's own Date header, so a wrong clock on either side does no harm; without
// a Date header it is compared with now. Of several lines, or values in one line, the longest wait
// counts.
//
// It also reads what servers send against the RFC: seconds with a fraction, UTC or +0000 in place
// of GMT, and a Unix time, in seconds or milliseconds, that lies within a day of the Date.
//
// ok is false if there is no usable header: none, unreadable, not above zero, or longer than a
// time.Duration. wait is then 0; it is never negative. RetryAfter does not look at the status.
func RetryAfter(h http.Header, now time.Time) (wait time.Duration, ok bool) {
	clock, err := parseDate(h.Get("Date"), now)
	if err != nil {
		clock = now
	}
	for _, value := range h.Values("Retry-After") {
		parts := strings.Split(value, ",")
		for i, part := range parts {
			wait = max(wait, parseWait(part, clock))
			if i > 0 { // a comma may stand in a date
				wait = max(wait, parseWait(parts[i-1]+","+part, clock))
			}
		}
	}
	return wait, wait > 0
}

// parseWait reads one value; 0: it is not usable.
func parseWait(value string, clock time.Time) time.Duration {
	value = strings.Trim(value, " \t")
	if wait, ok := parseSeconds(value, clock); ok {
		return wait
	}
	until, err := parseDate(value, clock)
	if err != nil {
		return 0
	}
	wait := until.Sub(clock)
	if wait == math.MaxInt64 {
		return 0 // Sub has saturated: it is centuries ahead
	}
	return max(wait, 0)
}

// nearby is how far from the clock a number may lie to be a Unix time. As a number of seconds to
// wait it would be decades.
const nearby = 24 * time.Hour

// parseSeconds reads a number; ok is false if the value is none.
func parseSeconds(value string, clock time.Time) (wait time.Duration, ok bool) {
	whole, fraction, _ := strings.Cut(value, ".")
	if whole == "" || strings.Trim(whole+fraction, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(whole, 10, 64)
	if err != nil {
		return 0, true
	}
	if n > int64(nearby/time.Second) {
		for _, moment := range [...]time.Time{time.Unix(n, 0), time.UnixMilli(n)} {
			if wait := moment.Sub(clock); wait.Abs() <= nearby {
				return max(wait, 0), true
			}
		}
	}
	if n >= math.MaxInt64/int64(time.Second) {
		return 0, true
	}
	nanos, _ := strconv.ParseInt((fraction + "000000000")[:9], 10, 64)
	return time.Duration(n)*time.Second + time.Duration(nanos), true
}

// shortYear is the obsolete form of RFC 850.
const shortYear = "Monday, 02-Jan-06 15:04:05 GMT"

// parseDate reads a date. http.ParseTime would accept any zone in the RFC 850 form, and would look
// it up on the local machine.
func parseDate(value string, clock time.Time) (time.Time, error) {
	for _, zone := range [...]string{" UTC", " +0000"} {
		if rest, ok := strings.CutSuffix(value, zone); ok {
			value = rest + " GMT"
		}
	}
	if t, err := time.Parse(shortYear, value); err == nil {
		// Two digits mean the year that is at most 50 years ahead (RFC 9110 section 5.6.7).
		latest := clock.UTC().Year() + 50
		past := ((latest-t.Year())%100 + 100) % 100
		return t.AddDate(latest-past-t.Year(), 0, 0), nil
	}
	if t, err := time.Parse(http.TimeFormat, value); err == nil {
		return t, nil
	}
	return time.Parse(time.ANSIC, value)
}
