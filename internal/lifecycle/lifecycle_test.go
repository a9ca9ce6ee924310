package lifecycle

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed8107221f/outbox/sender"
)

// A journal records the steps of several lives.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) add(line string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, line)
}

func (j *journal) life(name string, stop func(context.Context)) *Life {
	return New(Steps{
		Refuse: func() { j.add(name + " refuses") },
		Stop: func(ctx context.Context, flush bool) []error {
			if stop != nil {
				stop(ctx)
			}
			j.add(name + " stops")
			return []error{errors.New("pending"), nil}
		},
		Close: func() error { j.add(name + " closes"); return nil },
		Wrap: func(err error) error {
			if err == nil {
				return nil
			}
			return errors.New(name + ": " + err.Error())
		},
	})
}

// The parts begin to end with the whole, and have ended when it closes. Each error is said once.
func TestPartsEndFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := new(journal)
		whole := j.life("whole", nil)
		part := j.life("part", func(context.Context) { time.Sleep(time.Second) })
		gone := j.life("gone", nil)
		for _, p := range []*Life{part, gone} {
			if err := whole.Adopt(p); err != nil {
				t.Fatal(err)
			}
		}
		if err := gone.End(t.Context(), false); err == nil || err.Error() != "gone: pending" {
			t.Errorf("%v", err)
		}
		err := whole.End(t.Context(), true)
		if err == nil || err.Error() != "whole: pending\npart: pending" {
			t.Errorf("%v", err)
		}
		at := func(line string) int { return slices.Index(j.lines, line) }
		if len(j.lines) != 9 || at("part closes") < at("whole stops") || at("whole closes") != 8 {
			t.Errorf("%q", j.lines)
		}
		if again := whole.End(t.Context(), false); again == nil || again.Error() != err.Error() {
			t.Errorf("the second time: %v", again)
		}
		if err := whole.Adopt(j.life("late", nil)); !errors.Is(err, sender.ErrClosed) {
			t.Errorf("a late part: %v", err)
		}
		if err := whole.Enter(); !errors.Is(err, sender.ErrClosed) || !whole.Ending() {
			t.Errorf("a late call: %v", err)
		}
	})
}

// A call is waited for while ctx lasts, and so is each step, with a second more.
func TestEndInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := new(journal)
		goOn := make(chan struct{})
		l := j.life("it", func(context.Context) { <-goOn })
		if err := l.Enter(); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		began := time.Now()
		err := l.End(ctx, true)
		if took := time.Since(began); took != 6*time.Second || !errors.Is(ctx.Err(), context.DeadlineExceeded) || !strings.HasPrefix(err.Error(), "it: it has not ended yet") {
			t.Errorf("after %v: %v", took, err)
		}
		select {
		case <-l.Done():
			t.Error("it has ended")
		default:
		}
		close(goOn) // the call goes on, and keeps nobody
		<-l.Done()
		l.Leave()
		var none context.Context
		if err := j.life("other", nil).End(none, false); err == nil {
			t.Error("a nil context is no error")
		}
	})
}
