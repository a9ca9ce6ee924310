package lane

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/seed8107221f/outbox/sender"
)

// What people read, in the order in which it gives way, and when the item may go.
func TestExplain(t *testing.T) {
	now := time.Date(2026, 11, 28, 8, 0, 0, 0, time.UTC)
	in := func(s int) time.Time { return now.Add(time.Duration(s) * time.Second) }
	wait := func(state sender.State, ahead int) sender.Wait {
		return sender.Wait{Listed: sender.Listed{State: state}, Ahead: ahead}
	}
	scheduled := wait(sender.StateScheduled, 0)
	scheduled.Due = in(60)
	retrying := wait(sender.StateRetrying, 0)
	retrying.Due, retrying.LastErr = in(30), "500"
	overdue := retrying
	overdue.Due = in(-10)
	line := wait(sender.StateInLine, 2)
	line.Head, line.Behind = &sender.Item{}, 2
	failing := line
	failing.Head, failing.Behind = &sender.Item{LastErr: "503"}, 1
	dead := wait(sender.StateDead, 0)
	dead.FailedAt, dead.LastErr = in(-60), "400"
	damaged := wait(sender.StateReady, 0)
	damaged.Err = errors.New("checksum")
	expired := wait(sender.StateReady, 3)
	expired.Expires = now

	throttled := sender.Stats{PausedUntil: in(90)}
	held := sender.Stats{Held: "destination unavailable: no route", HeldBy: sender.HeldByDestination, Probe: in(45)}
	pause := sender.Pause{Since: now, By: "ann", Reason: "a move"}
	all := sender.Stats{PausedUntil: in(90), Held: "no disk", HeldBy: sender.HeldByStorage, OperatorPause: pause, State: sender.LaneClosed}
	for _, c := range []struct {
		name   string
		w      sender.Wait
		s      sender.Stats
		stores bool
		want   string // code and cause, text
		about  time.Time
	}{
		{"next", wait(sender.StateReady, 0), sender.Stats{}, false, "", now},
		{"behind", wait(sender.StateReady, 10), sender.Stats{Rate: 5}, false, "behind: At most 10 events go before it.", in(2)},
		{"behind without a pace", wait(sender.StateReady, 10), sender.Stats{}, false, "behind: At most 10 events go before it.", time.Time{}},
		{"behind for ever", wait(sender.StateReady, 10), sender.Stats{Rate: 1e-300}, false, "behind: At most 10 events go before it.", time.Time{}},
		{"scheduled", scheduled, throttled, false, "scheduled: It is scheduled for 2026-11-28T08:01:00Z.\n" +
			"throttled: The destination asked for a pause until 2026-11-28T08:01:30Z.", in(90)},
		{"retrying", retrying, held, false, "retrying (500): Its last try failed; the next one is due at 2026-11-28T08:00:30Z.\n" +
			"held (destination unavailable: no route): The destination does not work; it is tried again at 2026-11-28T08:00:45Z.", time.Time{}},
		{"retrying, and overdue", overdue, held, false, "held (destination unavailable: no route): The destination does not work; it is tried again at 2026-11-28T08:00:45Z.\n" +
			"retrying (500): Its last try failed; it has been due again since 2026-11-28T07:59:50Z.", time.Time{}},
		{"overdue in a pause", overdue, throttled, false, "throttled: The destination asked for a pause until 2026-11-28T08:01:30Z.\n" +
			"retrying (500): Its last try failed; it has been due again since 2026-11-28T07:59:50Z.", in(90)},
		{"in line", line, sender.Stats{Rate: 2}, false, "in-line: 2 earlier events of its key go first.", in(1)},
		{"in line behind a failure", failing, sender.Stats{Rate: 2}, false, "in-line (503): An earlier event of its key goes first. The first failed, and is tried again.", time.Time{}},
		{"dead", dead, all, true, "dead (400): It failed for good at 2026-11-28T07:59:00Z, and stays until it is revived or dropped.", time.Time{}},
		{"damaged", damaged, all, true, "damaged (checksum): Its record cannot be read.", time.Time{}},
		{"in flight", wait(sender.StateInFlight, 3), all, true, "in-flight: It is being sent, or its answer is being recorded.", time.Time{}},
		{"expired", expired, all, true, "expired: It expired at 2026-11-28T08:00:00Z: it is not sent, and is counted as expired when its turn comes.", time.Time{}},
		{"paused", wait(sender.StateReady, 0), sender.Stats{OperatorPause: sender.Pause{Since: now, Until: in(60)}}, false,
			"paused: The lane was paused by its operator until 2026-11-28T08:01:00Z.", in(60)},
		{"everything", line, all, true, "throttled: The destination asked for a pause until 2026-11-28T08:01:30Z.\n" +
			"held (no disk): The store cannot be read or written.\n" +
			"paused (a move): The lane was paused by ann.\n" +
			"storing: The outbox has no transport: it only stores.\n" +
			"closed: The outbox is shut down.\n" +
			"in-line: 2 earlier events of its key go first.", time.Time{}},
	} {
		e := explain(c.w, c.s, c.stores, now)
		var lines []string
		for _, r := range e.Reasons {
			code := string(r.Code)
			if r.Cause != "" {
				code = fmt.Sprintf("%s (%s)", code, r.Cause)
			}
			lines = append(lines, code+": "+r.Text)
		}
		if got := strings.Join(lines, "\n"); got != c.want {
			t.Errorf("%s:\n%s\nwant\n%s", c.name, got, c.want)
		}
		if !e.About.Equal(c.about) {
			t.Errorf("%s: about %v, want %v", c.name, e.About, c.about)
		}
	}
}
