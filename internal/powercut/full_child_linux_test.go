package powercut

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/seed8107221f/outbox/sender"
)

// fill stores items until the disk is full, works on what there is, and goes on when there is room.
func (w *worker) fill() {
	kind := ask("room")
	if kind == "plenty" {
		w.clear()
		kind = ask("limit")
	}
	thin, big := strings.Contains(kind, "thin"), strings.Contains(kind, "big")
	for n, refusals := 32, 0; refusals < 5; {
		if !w.offer(n, big && n > 1) {
			continue
		} else if n > 1 {
			n /= 2
		} else {
			refusals++
		}
	}
	if err := w.s.Counts().Err; err != nil {
		broken("a full disk is no failed one: %w", err)
	}
	before, stored := ask("syncs"), false
	for range 20 {
		stored = !w.store(huge(w.rng)) || stored // much may be free yet
	}
	if after := ask("syncs"); after != before && !thin && !stored {
		broken("%s syncs before and %s after items were refused, and nothing else was done", before, after)
	}
	ask("work")
	w.work()
	ask("lift")
	if err := w.settle(); err != nil {
		broken("with room on the disk: settle: %w", err)
	}
	lifted := time.Now()
	for n := 0; n < 20; {
		if !w.offer(1, big) {
			n++
		} else if time.Since(lifted) > soon {
			broken("%v after there was room again it takes nothing", soon)
		} else {
			time.Sleep(20 * time.Millisecond)
		}
	}
	if err := errors.Join(w.s.Check(context.Background()), w.s.Close()); err != nil {
		broken("after the disk was full: %w", err)
	}
}

// huge returns an item of almost a megabyte.
func huge(rng *rand.Rand) sender.Item {
	for {
		it := newItem(rng)
		it.ID[0] = large
		if it.Payload = payload(it.ID); len(it.Payload) > 900_000 {
			return it
		}
	}
}

// offer puts items and reports whether they were refused for want of room, which is all that may happen.
func (w *worker) offer(n int, big bool) (refused bool) {
	items := make([]sender.Item, n)
	for i := range items {
		items[i] = newItem(w.rng)
	}
	if big && w.rng.IntN(4) == 0 {
		items[0].ID[0] = large
		items[0].Payload = payload(items[0].ID)
	}
	return w.store(items...)
}

func (w *worker) store(items ...sender.Item) (refused bool) {
	err := w.put(items...)
	if err != nil && (!errors.Is(err, sender.ErrFull) || !nothing(err)) {
		broken("on a full disk: append: %w", err)
	}
	return err != nil
}

// work claims and settles on the full disk. All of it must succeed.
func (w *worker) work() {
	deliver := w.rng.IntN(5) // in 4: none to all
	for range 30 {
		now := time.Now()
		items, _, err := w.s.Claim(context.Background(), now, 1+w.rng.IntN(8), 0)
		if err != nil {
			broken("on a full disk: claim: %w", err)
		}
		for _, it := range items {
			o := sender.Outcome{Item: it, Verdict: sender.Delivered}
			if w.rng.IntN(4) >= deliver {
				o.Verdict, o.Due = sender.Retry, now
				o.Item.Attempts++
				o.Item.Failures++
				o.Item.LastErr = "the destination is away"
				if w.rng.IntN(2) == 0 {
					o.Verdict = sender.Dead
				}
			}
			w.held = append(w.held, o)
		}
		if err := w.settle(); err != nil {
			broken("on a full disk: settle %d items: %w", len(w.held), err)
		}
		if w.rng.IntN(8) == 0 {
			w.offer(1, false)
		}
	}
	if err := w.s.Counts().Err; err != nil {
		broken("a full disk is no failed one: %w", err)
	}
}

// clear delivers all there is and drops the dead.
func (w *worker) clear() {
	for c := w.s.Counts(); c.Pending > 0; c = w.s.Counts() {
		if err := errors.Join(w.claim(256, math.MaxInt), w.settle()); err != nil {
			broken("with room on the disk: %w", err)
		}
	}
	w.dropDead()
}

func (w *worker) dropDead() {
	for it, err := range w.s.Dead() {
		say("settle", it.ID)
		if _, failed := w.s.Drop(context.Background(), it); errors.Join(err, failed) != nil {
			broken("the disk is well, and yet: drop: %w", errors.Join(err, failed))
		}
		say("settled", it.ID)
	}
}
