package outboxtest

import (
	"net/http"
	"strconv"
	"time"
)

// RetryAfter is a way of writing, or of not writing, a Retry-After header. [RFC 9110, section
// 10.2.3] knows seconds and, by section 5.6.7, three forms of a date. Dates are told by the
// server's clock, which is wrong by ReceiverOptions.Skew, as its Date header shows.
//
// [RFC 9110, section 10.2.3]: https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3
type RetryAfter int

// The forms. After the first four a client must wait; the others tell no usable time.
const (
	Seconds  RetryAfter = iota // "120"
	IMFDate                    // "Sat, 01 Jan 2000 00:02:00 GMT", the usual date
	RFC850                     // "Saturday, 01-Jan-00 00:02:00 GMT", obsolete, with two digits for the year
	ANSIC                      // "Sat Jan  1 00:02:00 2000", obsolete
	Absent                     // no header
	Negative                   // "-120"
	Past                       // a date that has passed, by the server's clock
	Garbage                    // "soon"
	Huge                       // 99999999999 seconds: more than 3,000 years
)

var layouts = map[RetryAfter]string{
	IMFDate: http.TimeFormat,
	RFC850:  "Monday, 02-Jan-06 15:04:05 GMT",
	ANSIC:   time.ANSIC,
	Past:    http.TimeFormat,
}

// header returns the value that tells a client to wait for d from now, and until when it has to;
// zero: it does not. clock is the time of the server. Whole seconds are rounded up.
func (r RetryAfter) header(d time.Duration, now, clock time.Time) (value string, until time.Time) {
	seconds := (d + time.Second - 1) / time.Second
	switch r {
	case Seconds:
		return strconv.FormatInt(int64(seconds), 10), now.Add(seconds * time.Second)
	case IMFDate, RFC850, ANSIC:
		told := clock.Add(d + time.Second - 1).UTC().Truncate(time.Second)
		return told.Format(layouts[r]), now.Add(told.Sub(clock))
	case Negative:
		return strconv.FormatInt(int64(-max(seconds, 1)), 10), time.Time{}
	case Past:
		return clock.Add(-max(d, time.Second)).UTC().Format(layouts[r]), time.Time{}
	case Garbage:
		return "soon", time.Time{}
	case Huge:
		return "99999999999", time.Time{}
	}
	return "", time.Time{}
}
