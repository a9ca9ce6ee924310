package sender

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// TestDecide is the table of verdicts, row by row.
func TestDecide(t *testing.T) {
	now := time.Date(2030, 6, 1, 12, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	plainErr := errors.New("500")

	never := Item{Seq: 7, Due: ago(time.Hour)}                                                // has not failed
	innocent := Item{Seq: 7, Attempts: 1, Failures: 3, FailedAt: ago(time.Minute)}            // no success since
	guilty := Item{Seq: 7, Attempts: 1, Failures: 3, FailedAt: ago(time.Hour)}                // a success since
	ahead := Item{Seq: 7, Attempts: 1, Failures: 3, FailedAt: now.AddDate(10, 0, 0)}          // noted before the clock was set back
	last := Item{Seq: 7, Attempts: 4, Failures: 9, FailedAt: ago(time.Hour)}                  // guilty, at its last attempt
	spared := Item{Seq: 7, Attempts: 4, Failures: 9, FailedAt: ago(time.Minute)}              // innocent, at its last attempt
	over := Item{Seq: 7, Attempts: 9, Failures: 9, FailedAt: ago(time.Minute)}                // the same, under a lower limit
	fresh := known{now: now, maxAttempts: 5, delay: 10 * time.Second, pause: ago(-time.Hour)} // no success yet
	lane := fresh
	lane.lastSuccess = ago(30 * time.Minute)
	probe := lane
	probe.probe = true
	stopped := lane
	stopped.stopped = true
	unlimited := lane
	unlimited.maxAttempts = -1
	again := lane
	again.refused = ago(time.Hour)
	once := lane
	once.atMostOnce = true
	onceProbe := probe
	onceProbe.atMostOnce = true
	onceStopped := stopped
	onceStopped.atMostOnce = true
	untouched := lane
	untouched.refused = ago(time.Minute)

	type result struct {
		verdict Verdict
		due     time.Duration // from now; Retry only
		charged bool
		failed  bool // Failures and Failed were renewed
		pause   bool
		effect  effect
	}
	rows := []struct {
		says string
		k    known
		it   Item
		err  error
		want result
	}{
		{"nil is delivered", lane, never, nil, result{Delivered, 0, false, false, false, noEffect}},
		{"nil is delivered, also after failures", probe, guilty, nil, result{Delivered, 0, false, false, false, noEffect}},

		{"Permanent is dead", lane, never, Permanent(plainErr), result{Dead, 0, true, true, false, noEffect}},
		{"Permanent is dead without a success", fresh, innocent, Permanent(plainErr), result{Dead, 0, true, true, false, noEffect}},
		{"Permanent is dead as a probe", probe, never, Permanent(plainErr), result{Dead, 0, true, true, false, noEffect}},
		{"Split of one is Permanent", lane, never, Split(plainErr), result{Dead, 0, true, true, false, noEffect}},
		{"the outermost mark wins", lane, never, Permanent(fmt.Errorf("x: %w", Unavailable(plainErr))), result{Dead, 0, true, true, false, noEffect}},
		{"a mark below others counts", lane, never, fmt.Errorf("x: %w", Permanent(plainErr)), result{Dead, 0, true, true, false, noEffect}},

		{"Later waits as told", lane, never, Later(plainErr, time.Hour), result{Retry, time.Hour, false, false, false, noEffect}},
		{"Later charges nothing, own fault or not", lane, last, Later(plainErr, time.Hour), result{Retry, time.Hour, false, false, false, noEffect}},
		{"Later as a probe waits as told", probe, never, Later(plainErr, time.Hour), result{Retry, time.Hour, false, false, false, noEffect}},
		{"Later is cut to what can be stored", lane, never, Later(plainErr, math.MaxInt64), result{Retry, 365 * 24 * time.Hour, false, false, false, noEffect}},
		{"Later below zero is now", lane, never, Later(plainErr, -time.Hour), result{Retry, 0, false, false, false, noEffect}},

		{"Throttled is untouched", lane, never, Throttled(plainErr, time.Hour), result{Released, 0, false, false, true, slowDown}},
		{"Throttled is never charged", lane, last, Throttled(plainErr, time.Hour), result{Retry, time.Hour + 10*time.Second, false, true, true, slowDown}},
		{"Throttled is never charged, also without a success since", lane, spared, Throttled(plainErr, time.Hour), result{Released, 0, false, false, true, slowDown}},
		{"Throttled as a probe waits for the pause, and then its backoff", probe, never, Throttled(plainErr, time.Hour), result{Retry, time.Hour + 10*time.Second, false, true, true, slowDown}},
		{"Throttled as a probe is never charged", probe, last, Throttled(plainErr, time.Hour), result{Retry, time.Hour + 10*time.Second, false, true, true, slowDown}},
		{"Throttled again while others succeed makes room, uncharged", lane, guilty, Throttled(plainErr, time.Hour), result{Retry, time.Hour + 10*time.Second, false, true, true, slowDown}},
		{"the same if it came back untouched before", again, never, Throttled(plainErr, time.Hour), result{Retry, time.Hour + 10*time.Second, false, true, true, slowDown}},

		{"Unavailable is untouched", lane, never, Unavailable(plainErr), result{Released, 0, false, false, false, unreachable}},
		{"Unavailable again without a success is untouched", lane, innocent, Unavailable(plainErr), result{Released, 0, false, false, false, unreachable}},
		{"Unavailable by own fault is charged, and the lane does not hold", lane, guilty, Unavailable(plainErr), result{Retry, 10 * time.Second, true, true, false, failed}},
		{"Unavailable by own fault kills in the end", lane, last, Unavailable(plainErr), result{Dead, 0, true, true, false, failed}},
		{"the same if it came back untouched before", again, never, Unavailable(plainErr), result{Retry, 10 * time.Second, true, true, false, failed}},
		{"unless there was no success since", untouched, never, Unavailable(plainErr), result{Released, 0, false, false, false, unreachable}},
		{"Unavailable as a probe makes room, uncharged", probe, never, Unavailable(plainErr), result{Retry, 10 * time.Second, false, true, false, unreachable}},
		{"Unavailable as a probe is charged by own fault", probe, guilty, Unavailable(plainErr), result{Retry, 10 * time.Second, true, true, false, failed}},

		{"the first failure is charged", fresh, never, plainErr, result{Retry, 10 * time.Second, true, true, false, failedFirst}},
		{"also if the item came back untouched before", untouched, never, plainErr, result{Retry, 10 * time.Second, true, true, false, failedFirst}},
		{"a failure without a success since is not", lane, innocent, plainErr, result{Retry, 10 * time.Second, false, true, false, failed}},
		{"nor without any success", fresh, guilty, plainErr, result{Retry, 10 * time.Second, false, true, false, failed}},
		{"nor one noted before the clock was set back, without any", fresh, ahead, plainErr, result{Retry, 10 * time.Second, false, true, false, failed}},
		{"a failure after another's success is charged", lane, guilty, plainErr, result{Retry, 10 * time.Second, true, true, false, failed}},
		{"also if it was noted before the clock was set back", lane, ahead, plainErr, result{Retry, 10 * time.Second, true, true, false, failed}},
		{"as a probe it is charged the same", probe, never, plainErr, result{Retry, 10 * time.Second, true, true, false, failedFirst}},
		{"as a probe it is spared the same", probe, innocent, plainErr, result{Retry, 10 * time.Second, false, true, false, failed}},
		{"the last charged attempt kills", lane, last, plainErr, result{Dead, 0, true, true, false, failed}},
		{"an uncharged one does not", lane, spared, plainErr, result{Retry, 10 * time.Second, false, true, false, failed}},
		{"nor does it kill one that had more than are allowed now", lane, over, plainErr, result{Retry, 10 * time.Second, false, true, false, failed}},
		{"without a limit nothing kills", unlimited, last, plainErr, result{Retry, 10 * time.Second, true, true, false, failed}},
		{"a timeout is a failure", lane, guilty, context.DeadlineExceeded, result{Retry, 10 * time.Second, true, true, false, failed}},
		{"a timeout while Run ends is a failure", stopped, guilty, context.DeadlineExceeded, result{Retry, 10 * time.Second, true, true, false, failed}},
		{"a cancelled call is a failure while Run goes on", lane, guilty, context.Canceled, result{Retry, 10 * time.Second, true, true, false, failed}},

		{"a call cancelled by the end of Run is untouched", stopped, guilty, fmt.Errorf("x: %w", context.Canceled), result{Released, 0, false, false, false, noEffect}},
		{"whatever its mark", stopped, last, Permanent(context.Canceled), result{Released, 0, false, false, false, noEffect}},
		{"at most once, nil is delivered", once, never, nil, result{Delivered, 0, false, false, false, noEffect}},
		{"at most once, an error without a mark is the last", once, never, plainErr, result{Dead, 0, true, true, false, failedFirst}},
		{"the same if it failed before, whatever the fault", once, innocent, plainErr, result{Dead, 0, true, true, false, failedFirst}},
		{"the same for a timeout", once, never, context.DeadlineExceeded, result{Dead, 0, true, true, false, failedFirst}},
		{"the same as a probe", onceProbe, never, plainErr, result{Dead, 0, true, true, false, failedFirst}},
		{"the same for a call cancelled by the end of Run, which says nothing about the lane", onceStopped, never, context.Canceled, result{Dead, 0, true, true, false, noEffect}},
		{"unless its mark says that nothing was accepted", onceStopped, never, Unavailable(context.Canceled), result{Released, 0, false, false, false, noEffect}},
		{"at most once, Permanent is dead", once, never, Permanent(plainErr), result{Dead, 0, true, true, false, noEffect}},
		{"at most once, Split of one is Permanent", once, never, Split(plainErr), result{Dead, 0, true, true, false, noEffect}},
		{"at most once, Later waits as told", once, never, Later(plainErr, time.Hour), result{Retry, time.Hour, false, false, false, noEffect}},
		{"at most once, Throttled is untouched", once, never, Throttled(plainErr, time.Hour), result{Released, 0, false, false, true, slowDown}},
		{"at most once, Throttled as a probe waits", onceProbe, never, Throttled(plainErr, time.Hour), result{Retry, time.Hour + 10*time.Second, false, true, true, slowDown}},
		{"at most once, NotAccepted is tried again", once, never, NotAccepted(plainErr), result{Retry, 10 * time.Second, true, true, false, failedFirst}},
		{"at most once, NotAccepted without a success is not charged", once, innocent, NotAccepted(plainErr), result{Retry, 10 * time.Second, false, true, false, failed}},
		{"at most once, a least wait says nothing about what was accepted", once, never, MinWait(plainErr, time.Hour), result{Dead, 0, true, true, false, failedFirst}},
		{"NotAccepted is a failure", lane, last, NotAccepted(plainErr), result{Dead, 0, true, true, false, failed}},
		{"a least wait is kept", lane, never, MinWait(plainErr, time.Hour), result{Retry, time.Hour, true, true, false, failedFirst}},
		{"below another mark as well", lane, never, NotAccepted(MinWait(plainErr, time.Hour)), result{Retry, time.Hour, true, true, false, failedFirst}},
		{"the backoff, if it is longer", lane, never, MinWait(plainErr, time.Second), result{Retry, 10 * time.Second, true, true, false, failedFirst}},
		{"a day is the longest", lane, never, MinWait(plainErr, 24*time.Hour), result{Retry, 24 * time.Hour, true, true, false, failedFirst}},
		{"more is a mistake", lane, never, MinWait(plainErr, 24*time.Hour+1), result{Retry, 10 * time.Second, true, true, false, failedFirst}},
		{"Unavailable with a least wait lets others be the probe", lane, never, MinWait(Unavailable(plainErr), time.Hour), result{Retry, time.Hour, false, true, false, unreachable}},
		{"at most once, Unavailable is untouched", once, never, Unavailable(plainErr), result{Released, 0, false, false, false, unreachable}},
		{"at most once, Unavailable by own fault waits", once, guilty, Unavailable(plainErr), result{Retry, 10 * time.Second, true, true, false, failed}},

		{"also Throttled", stopped, last, Throttled(context.Canceled, time.Hour), result{Released, 0, false, false, false, noEffect}},
	}
	for _, row := range rows {
		o, e := decide(row.k, row.it, row.err)
		got := result{verdict: o.Verdict, charged: o.Item.Attempts == row.it.Attempts+1, pause: o.PauseUntil.Equal(row.k.pause), effect: e}
		got.failed = o.Item.Failures == row.it.Failures+1 && o.Item.FailedAt.Equal(now)
		if o.Verdict == Retry {
			got.due = o.Due.Sub(now)
		} else if !o.Due.IsZero() {
			t.Errorf("%s: Due is %v, the verdict %v", row.says, o.Due, o.Verdict)
		}
		if got != row.want {
			t.Errorf("%s:\n\tgot  %+v\n\twant %+v", row.says, got, row.want)
		}
		if !got.charged && o.Item.Attempts != row.it.Attempts || !got.failed && (o.Item.Failures != row.it.Failures || !o.Item.FailedAt.Equal(row.it.FailedAt)) {
			t.Errorf("%s: the item is now %+v", row.says, o.Item)
		}
		if o.Item.Seq != row.it.Seq || !o.Item.Due.Equal(row.it.Due) || o.Err != row.err {
			t.Errorf("%s: its place or its error has changed: %+v", row.says, o)
		}
		unknown := row.k.atMostOnce && row.err != nil && !errors.As(row.err, new(*marked))
		if strings.HasPrefix(o.Item.LastErr, "sent, answer unknown: ") != unknown {
			t.Errorf("%s: LastErr is %q", row.says, o.Item.LastErr)
		}
		if noted := o.Verdict == Retry || o.Verdict == Dead; noted != (o.Item.LastErr != "") {
			t.Errorf("%s: LastErr is %q, the verdict %v", row.says, o.Item.LastErr, o.Verdict)
		}
	}
}

func TestLastErrIsCut(t *testing.T) {
	for _, char := range []string{"x", "ä", "€", "😀"} {
		for shift := range 4 {
			long := strings.Repeat("x", shift) + strings.Repeat(char, 2000)
			o, _ := decide(known{}, Item{}, errors.New(long))
			got := o.Item.LastErr
			if len(got) > 1024 || len(got) <= 1024-len(char) || !utf8.ValidString(got) || !strings.HasPrefix(long, got) {
				t.Errorf("%q: %d bytes, valid UTF-8: %v", char, len(got), utf8.ValidString(got))
			}
		}
	}
	if got := errorText(errors.New(strings.Repeat("\x80", 5000))); len(got) > 1024 || len(got) < 1000 {
		t.Errorf("no UTF-8 at all: %d bytes", len(got))
	}
}

func TestExponential(t *testing.T) {
	const rounds = 200
	curve := Exponential(time.Second, 8*time.Second)
	for attempt, want := range map[int]time.Duration{-5: 1, 0: 1, 1: 1, 2: 2, 3: 4, 4: 8, 5: 8, 1000: 8, math.MaxInt: 8} {
		want *= time.Second
		seen := make(map[time.Duration]bool)
		for range rounds {
			d := curve(attempt)
			if d < want || d > want+want/4 {
				t.Fatalf("attempt %d: %v, want %v and up to a quarter more", attempt, d, want)
			}
			seen[d] = true
		}
		if len(seen) < rounds/2 {
			t.Errorf("attempt %d: %d different waits of %d", attempt, len(seen), rounds)
		}
	}
	for _, c := range []struct {
		min, max    time.Duration
		attempt     int
		least, most time.Duration
	}{
		{0, 0, 1, time.Second, 1250 * time.Millisecond},
		{0, 0, 99, time.Minute, 75 * time.Second},
		{-1, -1, 99, time.Minute, 75 * time.Second},
		{time.Hour, time.Second, 5, time.Hour, 75 * time.Minute},
		{1, 1, 5, 1, 1},
		{math.MaxInt64, math.MaxInt64, 5, 365 * 24 * time.Hour, 457 * 24 * time.Hour},
		{1, math.MaxInt64, math.MaxInt, 365 * 24 * time.Hour, 457 * 24 * time.Hour},
	} {
		if d := Exponential(c.min, c.max)(c.attempt); d < c.least || d > c.most {
			t.Errorf("Exponential(%v, %v)(%d) is %v, want %v to %v", c.min, c.max, c.attempt, d, c.least, c.most)
		}
	}
}

func TestLaneBackoff(t *testing.T) {
	for failures, want := range map[int]time.Duration{1: time.Second, 2: 2 * time.Second, 6: 32 * time.Second, 7: time.Minute, 600: time.Minute} {
		if d := RealLaneBackoff(failures); d < want || d > want+want/4 {
			t.Errorf("after %d failures the lane waits %v, want %v and up to a quarter more", failures, d, want)
		}
	}
}

func TestMarks(t *testing.T) {
	if Permanent(nil) != nil {
		t.Error("Permanent(nil) is not nil")
	}
	for _, err := range []error{Later(nil, 0), Throttled(nil, 0), Unavailable(nil), Split(nil)} {
		if err == nil || err.Error() == "" {
			t.Errorf("a mark without an error is %#v, which says nothing", err)
		}
	}
	cause := errors.New("cause")
	for _, err := range []error{Permanent(cause), Later(cause, 1), Throttled(cause, 1), Unavailable(cause), Split(cause)} {
		if !errors.Is(err, cause) || err.Error() != "cause" {
			t.Errorf("%#v hides its cause", err)
		}
	}
}
