package customeriotest

import (
	"net/http"
	"strconv"
	"time"
)

// A RetryForm is one of the ways in which HTTP writes a Retry-After.
type RetryForm int

const (
	// Untold: there is no header.
	Untold RetryForm = iota
	// Seconds: a number of seconds, such as "120".
	Seconds
	// IMFFixdate: the usual date, such as "Sat, 01 Jan 2000 00:02:00 GMT".
	IMFFixdate
	// RFC850: an obsolete date with two digits for the year, such as "Saturday, 01-Jan-00 00:02:00
	// GMT".
	RFC850
	// Asctime: the date of the C library, such as "Sat Jan  1 00:02:00 2000".
	Asctime
)

// A RetryAfter is a Retry-After header. The zero value is none.
type RetryAfter struct {
	Form  RetryForm
	Delay time.Duration // from the answer; rounded up, as all forms know whole seconds only
}

// header returns the value of a header sent at now, and the moment that it tells; "" without a
// form.
func (r RetryAfter) header(now time.Time) (value string, until time.Time) {
	if r.Form == Untold {
		return "", time.Time{}
	}
	if r.Form == Seconds {
		n := (r.Delay + time.Second - 1) / time.Second
		return strconv.FormatInt(int64(n), 10), now.Add(n * time.Second)
	}
	until = now.Add(r.Delay + time.Second - 1).UTC().Truncate(time.Second)
	layout := http.TimeFormat
	switch r.Form {
	case RFC850:
		layout = "Monday, 02-Jan-06 15:04:05 GMT"
	case Asctime:
		layout = time.ANSIC
	}
	return until.Format(layout), until
}
