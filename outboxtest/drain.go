package outboxtest

import (
	"context"
	"fmt"
	"strings"
	"testing/synctest"
	"time"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/sender"
)

// A Report is what happened since the last one, in the order in which it happened.
type Report struct {
	Delivered []sender.Item
	Dead      []sender.Item // that died; some may have been revived since
	Expired   []sender.Item
	Dropped   []sender.Item // by Drop, Erase or KeepDead
	Requests  int           // that have an outcome
	Took      time.Duration // how long the call waited
}

// Drain waits until nothing is pending, scheduled and failed events included, and returns what
// happened since the last Drain or Settle. A dead event is done. When Options.Patience is over, t
// fails with what each event that is left waits for.
func (b *Outbox) Drain() Report {
	b.t.Helper()
	return b.wait("Drain", func(s outbox.Stats) bool { return s.Pending == 0 })
}

// Settle waits until nothing can be sent now: scheduled events stay, retries that are not due, what
// is behind them in the order of their key, and everything while the lane is paused, throttled,
// held or closed. It returns what happened since the last Drain or Settle.
func (b *Outbox) Settle() Report {
	b.t.Helper()
	return b.wait("Settle", func(s outbox.Stats) bool {
		switch s.State {
		case sender.LaneClosed:
			return true
		case sender.LanePaused, sender.LaneHeld, sender.LaneThrottled:
			return s.InFlight == 0
		}
		return s.InFlight == 0 && s.Ready == 0 && (s.InLine == 0 || s.Retrying > 0)
	})
}

const (
	// lag is how long the journal may take to hear what is on disk already.
	lag = time.Second
	// How often to look although nothing was told: for what is dropped, and for what Settle waits
	// for.
	oftenest, rarest = time.Millisecond, 100 * time.Millisecond
	rarestInBubble   = time.Minute
)

func (b *Outbox) wait(op string, done func(outbox.Stats) bool) Report {
	b.t.Helper()
	began := time.Now()
	most := rarest
	if b.bubble {
		most = rarestInBubble
	}
	var since time.Time // when done began to hold; zero: it does not
	for pause := oftenest; ; pause = min(2*pause, most) {
		if b.bubble {
			synctest.Wait()
		}
		now, s := time.Now(), b.Stats()
		switch {
		case !done(s):
			since = time.Time{}
		case b.journal.complete(s, b.Dead()):
			return b.report(s, now.Sub(began))
		case since.IsZero():
			since, pause = now, oftenest
		case now.Sub(since) >= lag:
			return b.report(s, since.Sub(began))
		}
		left := b.o.Patience - now.Sub(began)
		if left <= 0 {
			b.t.Fatalf("outboxtest: %s: %d events are left after %v:\n%s", op, s.Pending, b.o.Patience, b.left())
		}
		if s.State == sender.LaneClosed && s.Pending > 0 {
			b.t.Fatalf("outboxtest: %s: the outbox is closed, and %d events are left", op, s.Pending)
		}
		select {
		case <-b.journal.changed:
			pause = oftenest
		case <-time.After(min(pause, left)):
		}
	}
}

// report lets the journal catch up with what was dropped, and returns what happened.
func (b *Outbox) report(s outbox.Stats, took time.Duration) Report {
	b.t.Helper()
	if s.Dropped != b.journal.count(dropped) && s.State != sender.LaneClosed {
		if err := b.journal.follow(lane{b.Pending(), b.Dead(), s.Delivered, s.Expired}); err != nil {
			b.t.Fatalf("outboxtest: %v", err)
		}
	}
	return b.journal.report(took)
}

// left says what the events that are pending wait for, one a line.
func (b *Outbox) left() string {
	const most = 20
	var lines []string
	for it, err := range b.Pending() {
		if err != nil {
			lines = append(lines, err.Error())
			break
		}
		if len(lines) == most {
			lines = append(lines, "…")
			break
		}
		lines = append(lines, fmt.Sprintf("\t%s %s %s: %s", orDash(it.Key), orDash(it.Kind), short(it.ID), b.why(it)))
	}
	return strings.Join(lines, "\n")
}

// why says what an event that is pending waits for.
func (b *Outbox) why(it sender.Item) string {
	e, err := b.Explain(context.Background(), it.ID, it.Seq)
	if err != nil {
		return err.Error()
	}
	var why []string
	for _, r := range e.Reasons {
		text := strings.TrimSuffix(r.Text, ".")
		if r.Cause != "" && !strings.Contains(text, r.Cause) {
			text += " (" + r.Cause + ")"
		}
		if !r.Until.IsZero() {
			text += ", until " + b.journal.at(r.Until)
		}
		why = append(why, text)
	}
	if it.LastErr != "" && !strings.Contains(strings.Join(why, ""), it.LastErr) {
		why = append(why, "last error: "+it.LastErr)
	}
	return strings.Join(why, "; ")
}
