package lane

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/seed8107221f/outbox/internal/errtext"
	"github.com/seed8107221f/outbox/sender"
)

// Flush waits as the method by of the sender does: [sender.Sender.Flush], or LastFlush. nil:
// nothing remains of what was there before the call. Else the error says how many are pending, and
// why.
func (l *Lane) Flush(ctx context.Context, by func(*sender.Sender, context.Context) error) (err error) {
	var mark uint64
	f, marks := l.Store.(sender.Flusher)
	if marks {
		if mark, err = f.Mark(ctx, time.Now()); err != nil {
			return err
		}
	}
	var cause error
	if l.Sender != nil {
		cause = errtext.Without("sender: flush: ", by(l.Sender, ctx))
	}
	remains := l.Store.Counts().Pending > 0
	if marks {
		remains, err = f.Remains(mark)
	}
	if err != nil || !remains {
		return err
	}
	return l.pending(cause)
}

// Drain waits until nothing is pending. It looks at the counts, and asks nobody to hurry.
func (l *Lane) Drain(ctx context.Context) (err error) {
	if l.Sender == nil {
		err = errors.New("no transport")
	}
	for wait := time.Millisecond; l.Store.Counts().Pending > 0; wait = min(2*wait, 100*time.Millisecond) {
		if err != nil {
			return l.pending(err)
		}
		select {
		case <-time.After(wait):
		case <-l.Life.Done():
			err = sender.ErrClosed
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
	}
	return nil
}

// pending returns sender.ErrPending with what the items wait for, and the cause, unless nil.
func (l *Lane) pending(cause error) error {
	if cause == nil {
		return fmt.Errorf("%w: %s", sender.ErrPending, l.why(""))
	}
	return fmt.Errorf("%w: %s: %w", sender.ErrPending, l.why(cause.Error()), cause)
}

// why says what the pending items wait for, except for what the text of a cause says already.
func (l *Lane) why(said string) string {
	s := l.Stats()
	var parts []string
	add := func(show bool, part string) {
		if show && !strings.Contains(said, part) {
			parts = append(parts, part)
		}
	}
	for i, n := range [...]int{s.Ready, s.Scheduled, s.Retrying, s.InLine, s.InFlight} {
		add(n > 0, fmt.Sprint(n, [...]string{" ready", " scheduled", " retrying", " in line behind their key", " in flight"}[i]))
	}
	add(l.Sender == nil, "no transport")
	add(s.OperatorPause != sender.Pause{}, "paused by its operator"+until(s.OperatorPause.Until))
	add(!s.PausedUntil.IsZero(), "paused until "+s.PausedUntil.Format(time.RFC3339))
	add(s.Held != "" && !strings.Contains(said, s.Held), "held: "+s.Held)
	return fmt.Sprintf("%d pending (%s)", s.Pending, strings.Join(parts, ", "))
}
