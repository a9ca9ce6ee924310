package sender_test

import (
	"errors"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/seed8107221f/outbox/sender"
)

// nilError panics when it is looked into.
type nilError struct{ err error }

func (e *nilError) Error() string { return e.err.Error() }
func (e *nilError) Unwrap() error { return e.err }

func TestClassify(t *testing.T) {
	plain := errors.New("plain")
	year := 365 * 24 * time.Hour
	for name, c := range map[string]struct {
		err  error
		mark sender.Mark
		wait time.Duration
	}{
		"nil":                      {nil, sender.MarkNone, 0},
		"plain":                    {plain, sender.MarkNone, 0},
		"plain, least wait":        {sender.MinWait(plain, time.Hour), sender.MarkNone, time.Hour},
		"permanent":                {sender.Permanent(plain), sender.MarkPermanent, 0},
		"permanent, least wait":    {sender.MinWait(sender.Permanent(plain), time.Hour), sender.MarkPermanent, 0},
		"later":                    {sender.Later(plain, 48*time.Hour), sender.MarkLater, 48 * time.Hour},
		"later, now":               {sender.Later(plain, -1), sender.MarkLater, 0},
		"later, absurd":            {sender.Later(plain, math.MaxInt64), sender.MarkLater, year},
		"throttled":                {sender.Throttled(plain, time.Minute), sender.MarkThrottled, time.Minute},
		"throttled, no time":       {sender.Throttled(plain, -1), sender.MarkThrottled, 0},
		"throttled, absurd":        {sender.Throttled(plain, 25*time.Hour), sender.MarkThrottled, 0},
		"throttled, least wait":    {sender.MinWait(sender.Throttled(plain, time.Second), time.Hour), sender.MarkThrottled, time.Second},
		"unavailable":              {sender.Unavailable(plain), sender.MarkUnavailable, 0},
		"unavailable, least wait":  {sender.Unavailable(sender.MinWait(plain, time.Hour)), sender.MarkUnavailable, time.Hour},
		"not accepted, least wait": {sender.MinWait(sender.NotAccepted(plain), time.Hour), sender.MarkNotAccepted, time.Hour},
		"not accepted, absurd":     {sender.MinWait(sender.NotAccepted(plain), 25*time.Hour), sender.MarkNotAccepted, 0},
		"split":                    {sender.Split(nil), sender.MarkSplit, 0},
		"wrapped":                  {fmt.Errorf("send: %w", sender.Later(plain, time.Hour)), sender.MarkLater, time.Hour},
		"nested":                   {sender.Permanent(sender.Throttled(plain, time.Hour)), sender.MarkPermanent, 0},
		"nil pointer":              {(*nilError)(nil), sender.MarkNone, 0},
	} {
		if mark, wait := sender.Classify(c.err); mark != c.mark || wait != c.wait {
			t.Errorf("%s: %q and %v, want %q and %v", name, mark, wait, c.mark, c.wait)
		}
	}
}

func ExampleClassify() {
	err := sender.Throttled(errors.New("429 Too Many Requests"), 30*time.Second)
	mark, wait := sender.Classify(err)
	fmt.Println(mark, wait)
	// Output: throttled 30s
}
