package httpsend_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/seed8107221f/outbox/sender/httpsend"
)

func TestRetryAfter(t *testing.T) {
	now := time.Date(2030, 6, 1, 12, 0, 0, 0, time.UTC) // a Saturday
	const date = "Sat, 01 Jun 2030 12:00:00 GMT"
	rows := []struct {
		says  string
		date  string
		value []string
		want  time.Duration // 0: no order
	}{
		{"nothing", date, nil, 0},
		{"seconds", date, []string{"120"}, 2 * time.Minute},
		{"seconds with white space", date, []string{" \t120 "}, 2 * time.Minute},
		{"leading zeros", date, []string{"000000000000000000000120"}, 2 * time.Minute},
		{"zero is no order", date, []string{"0"}, 0},
		{"negative is no order", date, []string{"-3"}, 0},
		{"a sign is no digit", date, []string{"+3"}, 0},
		{"a fraction", date, []string{"1.5"}, 1500 * time.Millisecond},
		{"below one", date, []string{"0.25"}, 250 * time.Millisecond},
		{"more digits than nanoseconds", date, []string{"2.0000000019"}, 2*time.Second + 1},
		{"a point and nothing", date, []string{"3."}, 3 * time.Second},
		{"two points", date, []string{"1.5.2"}, 0},
		{"no digit before the point", date, []string{".5"}, 0},
		{"a negative fraction", date, []string{"-1.5"}, 0},
		{"an exponent", date, []string{"1e3"}, 0},
		{"a unit", date, []string{"10s"}, 0},
		{"hexadecimal", date, []string{"0x10"}, 0},
		{"other digits", date, []string{"١٢"}, 0},
		{"empty", date, []string{""}, 0},
		{"white space", date, []string{" \t "}, 0},
		{"the same twice in a line", date, []string{"30, 30"}, 30 * time.Second},
		{"of two in a line the longer", date, []string{"5,10"}, 10 * time.Second},
		{"an empty part", date, []string{", 5,"}, 5 * time.Second},
		{"a number and a date in a line", date, []string{"5, Sat, 01 Jun 2030 12:00:30 GMT, 7"}, 30 * time.Second},

		{"a Unix time in three seconds", date, []string{"1906545603"}, 3 * time.Second},
		{"the same in milliseconds", date, []string{"1906545603500"}, 3500 * time.Millisecond},
		{"a Unix time that is past is no order", date, []string{"1906545599"}, 0},
		{"in a day", date, []string{"1906632000"}, 24 * time.Hour},
		{"in a day and a second it is a number of seconds, and a mistake", date, []string{"1906632001"}, 1906632001 * time.Second},
		{"by their clock", "Sat, 01 Jun 2030 13:00:00 GMT", []string{"1906549230"}, 30 * time.Second},
		{"a day is no Unix time", "Fri, 02 Jan 1970 00:00:00 GMT", []string{"86400"}, 24 * time.Hour},
		{"292 years", date, []string{"9223372035.9"}, 9223372035*time.Second + 900*time.Millisecond},
		{"one second more", date, []string{"9223372036"}, 0},
		{"what wraps around to one second", date, []string{"18446744074"}, 0},
		{"beyond 64 bits", date, []string{"99999999999999999999999999"}, 0},

		{"IMF-fixdate", date, []string{"Sat, 01 Jun 2030 12:00:30 GMT"}, 30 * time.Second},
		{"RFC 850", date, []string{"Saturday, 01-Jun-30 12:00:30 GMT"}, 30 * time.Second},
		{"asctime", date, []string{"Sat Jun  1 12:00:30 2030"}, 30 * time.Second},
		{"the next day", date, []string{"Sun, 02 Jun 2030 12:00:00 GMT"}, 24 * time.Hour},
		{"a date that is now", date, []string{date}, 0},
		{"a date that is past", date, []string{"Sat, 01 Jun 2030 11:59:59 GMT"}, 0},
		{"UTC for GMT", date, []string{"Sat, 01 Jun 2030 12:00:30 UTC"}, 30 * time.Second},
		{"+0000 for GMT", date, []string{"Sat, 01 Jun 2030 12:00:30 +0000"}, 30 * time.Second},
		{"UTC for GMT in the form of RFC 850", date, []string{"Saturday, 01-Jun-30 12:00:30 UTC"}, 30 * time.Second},
		{"a Date in UTC", "Sat, 01 Jun 2030 13:00:00 UTC", []string{"Sat, 01 Jun 2030 13:00:30 GMT"}, 30 * time.Second},
		{"another offset", date, []string{"Sat, 01 Jun 2030 14:00:30 +0200"}, 0},
		{"another zone", date, []string{"Sat, 01 Jun 2030 12:00:30 CET"}, 0},
		{"RFC 850 in another zone", date, []string{"Saturday, 01-Jun-30 12:00:30 CET"}, 0},
		{"ISO 8601 is none of the forms", date, []string{"2030-06-01T12:00:30Z"}, 0},
		{"the year 9999 is longer than a Duration", date, []string{"Fri, 31 Dec 9999 23:59:59 GMT"}, 0},
		{"two digits: 50 years ahead", date, []string{"Saturday, 01-Jun-80 12:00:00 GMT"}, time.Date(2080, 6, 1, 12, 0, 0, 0, time.UTC).Sub(now)},
		{"two digits: further is the last century", date, []string{"Saturday, 01-Jun-81 12:00:00 GMT"}, 0},
		{"two digits: 69 lies ahead", date, []string{"Saturday, 01-Jun-69 12:00:00 GMT"}, time.Date(2069, 6, 1, 12, 0, 0, 0, time.UTC).Sub(now)},

		{"their clock is an hour fast", "Sat, 01 Jun 2030 13:00:00 GMT", []string{"Sat, 01 Jun 2030 13:00:30 GMT"}, 30 * time.Second},
		{"their clock is a year slow", "Fri, 01 Jun 2029 12:00:00 GMT", []string{"Fri, 01 Jun 2029 12:00:30 GMT"}, 30 * time.Second},
		{"a Date in another form", "Saturday, 01-Jun-30 13:00:00 GMT", []string{"Sat, 01 Jun 2030 13:00:30 GMT"}, 30 * time.Second},
		{"without a Date our clock counts", "", []string{"Sat, 01 Jun 2030 12:00:30 GMT"}, 30 * time.Second},
		{"the same if it is unreadable", "soon", []string{"Sat, 01 Jun 2030 12:00:30 GMT"}, 30 * time.Second},
		{"Date does not matter to seconds", "Fri, 01 Jun 2029 12:00:00 GMT", []string{"30"}, 30 * time.Second},

		{"of two lines the longer, second", date, []string{"10", "20"}, 20 * time.Second},
		{"of two lines the longer, first", date, []string{"20", "10"}, 20 * time.Second},
		{"of two forms the longer", date, []string{"10", "Sat, 01 Jun 2030 12:00:30 GMT"}, 30 * time.Second},
		{"an unreadable line does not hide the other", date, []string{"soon", "10", "99999999999999999999"}, 10 * time.Second},
	}
	for _, row := range rows {
		h := http.Header{"Retry-After": row.value}
		if row.date != "" {
			h.Set("Date", row.date)
		}
		got, ok := httpsend.RetryAfter(h, now)
		if got != row.want || ok != (row.want > 0) {
			t.Errorf("%s: %q at %q is %v, %v; want %v", row.says, row.value, row.date, got, ok, row.want)
		}
	}
}

func FuzzRetryAfter(f *testing.F) {
	for _, v := range []string{"120", "-1", "9223372037", "Sat, 01 Jun 2030 12:00:30 GMT", "Saturday, 01-Jun-30 12:00:30 GMT", "Sat Jun  1 12:00:30 2030"} {
		f.Add(v, "Sat, 01 Jun 2030 12:00:00 GMT", "10", int64(1906545600))
	}
	f.Fuzz(func(t *testing.T, value, date, other string, unix int64) {
		now := time.Unix(unix%(1<<37), 0)
		one := http.Header{"Retry-After": {value}, "Date": {date}}
		wait, ok := httpsend.RetryAfter(one, now)
		if wait < 0 || ok != (wait > 0) {
			t.Fatalf("%v, %v", wait, ok)
		}
		two := http.Header{"Retry-After": {other, value}, "Date": {date}}
		if both, _ := httpsend.RetryAfter(two, now); both < wait {
			t.Fatalf("another line shortens %v to %v", wait, both)
		}
	})
}
