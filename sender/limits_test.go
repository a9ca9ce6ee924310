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
