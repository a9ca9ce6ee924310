package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox/internal/campaign"
	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/store/internal/boltfile"
)

// While a sender moves the items of a key between all buckets, none escapes.
func TestEraseWhatMoves(t *testing.T) {
	plainAndSealed(t, func(t *testing.T, o *Options) {
		s := newStore(t, o)
		for round := range 15 {
			var items []sender.Item
			for i := range 40 {
				it := event(fmt.Sprint(round, "/", i), []string{"ann", fmt.Sprint("key ", i%5), ""}[i%3])
				if i%4 == 0 {
					it.Due = time.Now().Add(time.Duration(rand.IntN(5)) * time.Millisecond)
				}
				items = append(items, it)
			}
			put(t, s, items...)
			ctx, cancel := context.WithCancel(t.Context())
			var busy sync.WaitGroup
			for range 3 {
				busy.Go(func() { shuffle(t, ctx, s) })
			}
			time.Sleep(time.Duration(rand.IntN(3)) * time.Millisecond)
			before := s.Counts()
			n, err := s.Erase(t.Context(), "ann")
			for _, seq := range []func(func(sender.Item, error) bool){s.Pending(), s.Dead()} {
				for it, err := range seq {
					if it.Key == "ann" || err != nil {
						t.Errorf("left: %+v, %v", it, err)
					}
				}
			}
			cancel()
			busy.Wait()
			if c := s.Counts(); err != nil || c.Dropped-before.Dropped != uint64(n) {
				t.Errorf("%d removed, %v, %d dropped", n, err, c.Dropped-before.Dropped)
			}
		}
		if err := s.Check(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// shuffle claims items and settles them in every way but as delivered, and revives the dead.
func shuffle(t *testing.T, ctx context.Context, s *Store) {
	for ctx.Err() == nil {
		items, _, err := s.Claim(context.Background(), time.Now(), 1+rand.IntN(5), 0)
		if err != nil {
			t.Error(err)
			return
		}
		for _, it := range items {
			if rand.IntN(2) == 0 {
				if err := s.Settle(context.Background(), announced(it)...); err != nil {
					t.Error(err)
				}
			}
			o := failed(it, []sender.Verdict{sender.Released, sender.Retry, sender.Dead}[rand.IntN(3)], time.Now())
			if err := s.Settle(context.Background(), o); err != nil {
				t.Error(err)
			}
		}
		for it, err := range s.Dead() {
			if err == nil && rand.IntN(2) == 0 {
				_, err = s.Revive(context.Background(), it)
			}
			if err != nil {
				t.Error(err)
			}
		}
	}
}

// An item that goes to and fro between ready and dead is seen in neither, if each is looked at in the
// wrong moment.
func TestEraseWhatGoesToAndFro(t *testing.T) {
	s := newStore(t, nil)
	put(t, s, events(5*boltfile.MaxGroup)...)
	for left := 5 * boltfile.MaxGroup; left > 0; {
		var outcomes []sender.Outcome
		for _, it := range claims(t, s, boltfile.MaxGroup) {
			outcomes = append(outcomes, failed(it, sender.Dead, time.Time{}))
		}
		settle(t, s, outcomes...)
		left -= len(outcomes)
	}
	for range campaign.Pick(20, 20, 5) {
		put(t, s, event("a", "ann"))
		it := claims(t, s, 1)[0]
		stop, moving := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(moving)
			for {
				err := errors.Join(
					s.Settle(context.Background(), announced(it)...),
					s.Settle(context.Background(), sender.Outcome{Item: it, Verdict: sender.Released}))
				items, _, claimErr := s.Claim(context.Background(), time.Now(), 1, 0)
				if err := errors.Join(err, claimErr); err != nil {
					t.Error(err)
				}
				select {
				case <-stop:
					return
				default:
				}
				if len(items) > 0 {
					it = items[0]
				}
			}
		}()
		n, err := s.Erase(t.Context(), "ann")
		close(stop)
		<-moving
		if c := s.Counts(); n != 1 || err != nil || c.Pending != 0 {
			t.Fatalf("%d removed, %v, %d left", n, err, c.Pending)
		}
	}
}

// A lane and what it should hold, by key, under random use.
func TestEraseAgainstModel(t *testing.T) {
	plainAndSealed(t, func(t *testing.T, o *Options) {
		seed := rand.Uint64()
		rng := rand.New(rand.NewPCG(seed, 0))
		s := newStore(t, o)
		model := make(map[uuid.UUID]string) // pending or dead: its key
		var held []sender.Item
		for step := range campaign.Pick(1500, 1500, 400) {
			key := fmt.Sprint("key ", rng.IntN(4))
			switch rng.IntN(9) {
			case 0, 1, 2:
				it := event(fmt.Sprint(step), []string{key, key, ""}[rng.IntN(3)])
				if rng.IntN(4) == 0 {
					it.Due = time.Now().Add(time.Millisecond)
				}
				put(t, s, it)
				model[it.ID] = it.Key
			case 3, 4:
				held = append(held, claims(t, s, rng.IntN(4))...)
			case 5, 6:
				if len(held) == 0 {
					break
				}
				i := rng.IntN(len(held))
				it, v := held[i], []sender.Verdict{sender.Released, sender.Retry, sender.Dead, sender.Delivered, sender.Sending}[rng.IntN(5)]
				settle(t, s, failed(it, v, time.Now().Add(time.Duration(rng.IntN(2))*time.Millisecond)))
				if v != sender.Sending {
					held = slices.Delete(held, i, i+1)
				}
				if v == sender.Delivered {
					delete(model, it.ID)
				}
			case 7:
				for it, err := range s.Dead() {
					if err != nil {
						t.Fatal(err)
					}
					if rng.IntN(3) == 0 {
						if _, err := s.Revive(t.Context(), it); err != nil {
							t.Fatal(err)
						}
					}
				}
			case 8:
				if rng.IntN(4) > 0 {
					break
				}
				want := 0
				for id, k := range model {
					if k == key {
						delete(model, id)
						want++
					}
				}
				if n, err := s.Erase(t.Context(), key); n != want || err != nil {
					t.Fatalf("seed %d, step %d: %d removed, %v, want %d", seed, step, n, err, want)
				}
			}
		}
		if err := s.Check(t.Context()); err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
		s.releases.Wait() // a listing may miss what moves beside it
		left := make(map[uuid.UUID]string)
		for _, it := range append(list(t, s.Pending()), list(t, s.Dead())...) {
			left[it.ID] = it.Key
		}
		if !maps.Equal(left, model) {
			t.Errorf("seed %d: %d left, want %d", seed, len(left), len(model))
		}
		// Nobody waits for what is gone.
		settle(t, s, delivered(held...)...)
		time.Sleep(3 * time.Millisecond)
		for range 5 {
			drain(t, s)
		}
		if c := s.Counts(); c.Pending != 0 || c.InFlight != 0 || c.InLine != 0 {
			t.Errorf("seed %d: counts %+v", seed, c)
		}
	})
}
