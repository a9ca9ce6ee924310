package powercut

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/seed8107221f/outbox/sender"
)

// soon is how long a store may take to go on after what failed it has ended; it tries once a second.
const soon = 4 * time.Second

// failing does one operation while the disk fails, and goes on after it.
func (w *worker) failing(op string) {
	if w.s != nil {
		w.prepare()
	}
	kind := ask("arm")
	err := w.operate(op)
	if err != nil {
		say("error", oneLine(err))
	}
	fault := ask("fault") // none, once or sticky
	if err != nil && fault == "none" {
		broken("the disk is well, and yet %s: %w", op, err)
	}
	if w.s == nil || errors.Is(err, sender.ErrClosed) || op == "close" {
		w.again(fault)
	} else if fault == "sticky" {
		w.probe(kind)
	} else if err := w.append(1); err != nil {
		broken("it does not go on by itself after %s had failed once: %w", op, err)
	}
	ask("lift")
	w.recover()
	if err := errors.Join(w.settle(), w.append(2), w.s.Check(context.Background()), w.s.Close()); err != nil {
		broken("after the fault: %w", err)
	}
}

// prepare sees to it that there is something to lose and something to settle, about as much each time.
func (w *worker) prepare() {
	w.dropDead()
	c := w.s.Counts()
	err := w.append(max(1, 12-c.Pending))
	if err == nil {
		err = w.claim(max(4, c.Pending-8), 4)
	}
	if err != nil {
		broken("before the fault: %w", err)
	}
	if len(w.held) > 0 && w.held[0].Verdict == sender.Delivered && w.rng.IntN(2) == 0 {
		w.held[0].Verdict = sender.Dead
	}
}

func (w *worker) operate(op string) error {
	switch op {
	case "create", "open":
		err := w.open()
		if err != nil {
			w.s = nil
			return err
		}
		if err := w.inspect(); err != nil {
			return fmt.Errorf("what was opened: %w", err)
		}
		return nil
	case "append":
		return w.append(1)
	case "group":
		return w.group()
	case "settle":
		return w.settle()
	case "compact":
		return w.s.Compact(context.Background())
	case "close":
		return w.s.Close()
	}
	panic(op)
}

// group has several producers and a consumer share commits.
func (w *worker) group() error {
	errs := make([]error, 6)
	var wg sync.WaitGroup
	for i := range errs {
		it := newItem(w.rng)
		wg.Go(func() {
			if i == 0 {
				errs[i] = w.settle()
			} else {
				errs[i] = w.put(it)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// again opens the store again, after it could not be opened or was closed.
func (w *worker) again(fault string) {
	w.held = nil
	if w.s != nil {
		_ = w.s.Close()
	}
	switch err := w.open(); {
	case err != nil && fault == "sticky":
		say("error", oneLine(err))
		w.s = nil
	case err != nil:
		broken("it does not open after what had failed once: %w", err)
	}
}

// probe uses the store while the disk fails for good: it may store nothing that is not on disk, and
// says so.
func (w *worker) probe(kind string) {
	for range 3 {
		err := w.append(1)
		c := w.s.Counts()
		switch {
		case err == nil && (kind == "write" || kind == "sync"):
			broken("it acknowledged an item although every %s fails", kind)
		case err == nil:
		case !errors.Is(err, sender.ErrStorage):
			broken("the disk fails, and it says %w", err)
		case c.Err == nil && (kind == "write" || kind == "sync"):
			broken("the disk fails for good, and Counts().Failed is nil")
		}
		if err != nil {
			say("error", oneLine(err))
		}
	}
}

// recover waits until the store takes items again, without being opened again.
func (w *worker) recover() {
	if w.s == nil {
		if err := w.open(); err != nil {
			broken("it does not open after the fault: %w", err)
		}
	}
	for start := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		err := w.append(1)
		if err == nil {
			break
		}
		if time.Since(start) > soon {
			broken("%v after the fault it has not gone on by itself: %w", soon, err)
		}
	}
	if err := w.s.Counts().Err; err != nil {
		broken("it takes items, and yet Counts().Failed is %w", err)
	}
}
