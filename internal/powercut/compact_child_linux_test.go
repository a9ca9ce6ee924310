package powercut

import (
	"context"
	"errors"
)

// compact compacts the file, on demand or as it comes to it by itself, and uses it on.
func (w *worker) compact(how string) {
	ask("arm")
	var err error
	if how == "asked" {
		err = w.s.Compact(context.Background())
	} else {
		err = w.append(1) // what follows is compaction, and Close waits for it
	}
	if err != nil {
		say("error", oneLine(err))
	}
	if how == "asked" || w.rng.IntN(2) == 0 {
		if err := errors.Join(w.append(1), w.claim(2, 4), w.settle()); err != nil {
			say("error", oneLine(err))
		}
	}
	if err := w.s.Close(); err != nil {
		say("error", oneLine(err))
	}
}
