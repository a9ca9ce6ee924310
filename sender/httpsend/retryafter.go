package httpsend

import (
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// RetryAfter returns how long an answer asks the client to wait, from now, which is when the answer
// arrived. It reads seconds and all three date forms of RFC 9110. A date is compared with the
// answer's own Date header, so a wrong clock on either side does no harm; without a Date header it
// is compared with now. Of several lines the longest wait counts.
//
// ok is false if there is no usable header: none, unreadable, not above zero, or longer than a
// time.Duration. wait is then 0; it is never negative. RetryAfter does not look at the status: only
// 429 and 503 give the header this meaning.
func RetryAfter(h http.Header, now time.Time) (wait time.Duration, ok bool) {
	clock, err := parseDate(h.Get("Date"), now)
	if err != nil {
		clock = now
	}
	for _, value := range h.Values("Retry-After") {
		wait = max(wait, parseWait(strings.Trim(value, " \t"), clock))
	}
	return wait, wait > 0
}

// parseWait reads one value; 0: it is not usable.
func parseWait(value string, clock time.Time) time.Duration {
	if value != "" && strings.Trim(value, "0123456789") == "" {
		seconds, err := strconv.ParseInt(value, 10, 64)
		if err != nil || seconds > math.MaxInt64/int64(time.Second) {
			return 0
		}
		return time.Duration(seconds) * time.Second
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

// shortYear is the obsolete form of RFC 850.
const shortYear = "Monday, 02-Jan-06 15:04:05 GMT"

// parseDate reads a date. http.ParseTime would accept any zone in the RFC 850 form, and would look
// it up on the local machine.
func parseDate(value string, clock time.Time) (time.Time, error) {
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
