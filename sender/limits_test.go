package sender_test

import (
	"strings"
	"testing"
	"time"

	"github.com/seed8107221f/outbox/sender"
)

// An item is refused, by the field and the value, if the clock showed a time that no store can hold.
func TestCheckOfTheClock(t *testing.T) {
	year := func(y int) time.Time { return time.Date(y, 6, 1, 0, 0, 0, 0, time.UTC) }
	for y, want := range map[int][]string{1960: {"Created", "clock", "1960-06-01", "2262"}, 2026: nil, 2300: {"Created", "clock", "2300-06-01", "2262"}} {
		err := (&sender.Item{Created: year(y)}).Check()
		if (err != nil) != (want != nil) {
			t.Errorf("%d: %v", y, err)
		}
		for _, word := range want {
			if err != nil && !strings.Contains(err.Error(), word) {
				t.Errorf("error %q does not say %q", err, word)
			}
		}
	}
}

// Errors show times in UTC, and nothing of the monotonic clock that time.Now has read.
func TestCheckShowsTimesInUTC(t *testing.T) {
	now := time.Now()
	zone := time.FixedZone("", 3600)
	due := time.Date(2026, 6, 1, 1, 0, 0, 0, zone)
	for _, c := range []struct {
		item sender.Item
		want string
	}{
		{sender.Item{Due: time.Date(1960, 6, 1, 1, 0, 0, 0, zone)}, "NotBefore is 1960-06-01T00:00:00Z, it must be after 1970-01-01 and at most 2262-04-11"},
		{sender.Item{Due: due, Expires: due.Add(-1)}, "the end in Expires, 2026-05-31T23:59:59.999999999Z, is not after NotBefore, 2026-06-01T00:00:00Z"},
		{sender.Item{Due: now, Expires: now}, "the end in Expires, " + now.UTC().Format(time.RFC3339Nano) + ", is not after NotBefore, " + now.UTC().Format(time.RFC3339Nano)},
	} {
		if err := c.item.Check(); err == nil || err.Error() != c.want {
			t.Errorf("%v\nwant %s", err, c.want)
		}
	}
}
