package sendertest

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed8107221f/outbox/sender"
)

// keeping is what must hold across restarts, under concurrent use, and for the owner of the items.
var keeping = []clause{
	{"a sender that is attached finds nothing in flight", func(s *subject) {
		q := need[sender.Exclusive](s)
		attach := func() {
			s.Helper()
			if err := q.Attach(func() {}); err != nil {
				s.Fatal(err)
			}
		}
		attach()
		s.put("a1 a2 b1 c1 c2 1")
		until(s.retry(time.Minute, s.claims("a1 b1 c1 1")[1]))
		got := s.claims("b1")
		before := s.counts()
		q.Detach()
		attach()
		want := before
		want.InFlight, want.InLine, want.Retrying = 0, 0, 1
		s.ledger(want)
		again := s.claims("a1 b1 c1 1")
		if again[1].Seq != got[0].Seq || !again[1].Due.Equal(got[0].Due) {
			s.Fatalf("b1 was claimed as %+v, comes again as %+v", got[0], again[1])
		}
		s.markSending(again[0], again[1]) // they may have arrived, so they are not sent again
		q.Detach()
		attach()
		want.Pending, want.Dead, want.Retrying = want.Pending-2, want.Dead+2, 0
		s.ledger(want)
		rest := s.claims("a2 c1 1")
		if o, ok := s.q.(Owner); ok {
			for _, it := range o.Dead() {
				if it.LastErr != unknown {
					s.Errorf("%s is dead because of %q, want %q", it.Payload, it.LastErr, unknown)
				}
			}
		}
		s.settle(sender.Delivered, rest...)
		s.settle(sender.Delivered, s.claims("c2")...)
	}},
	{"a crash forgets what is in flight, and nothing else", func(s *subject) {
		s.put("a1 a2 b1 b2 1 2 3")
		scheduled := time.Now().Add(time.Hour)
		s.schedule("4", scheduled)
		got := s.claims("a1 b1 1 2 3")
		failed := got[0]
		failed.Attempts, failed.Failures, failed.LastErr, failed.FailedAt = 2, 3, "no answer", time.Now()
		due := s.retry(time.Minute, failed)
		s.settle(sender.Delivered, got[2])
		s.settle(sender.Dead, got[3])
		s.reopen()
		s.ledger(sender.Counts{Put: 8, Pending: 6, Retrying: 1, Scheduled: 1, Dead: 1, Delivered: 1})
		again := s.claims("b1 3")
		if again[0].Seq != got[1].Seq || again[0].ID != got[1].ID {
			s.Fatalf("b1 comes again as Seq %d, ID %v; was %d, %v", again[0].Seq, again[0].ID, got[1].Seq, got[1].ID)
		}
		_, next := s.claimNext(1)
		s.is("next", next, due)
		until(due)
		a1 := s.claims("a1")[0]
		if a1.Seq != failed.Seq || a1.Attempts != 2 || a1.Failures != 3 || a1.LastErr != "no answer" || !a1.FailedAt.Equal(failed.FailedAt) {
			s.Fatalf("after the crash the retry comes as %+v, was settled as %+v", a1, failed)
		}
		s.reopen() // it was in flight from its place in later
		a1 = s.claims("a1 b1 3")[0]
		s.settle(sender.Delivered, a1)
		s.settle(sender.Delivered, s.claims("a2")...)
		until(scheduled)
		s.claims("4")
	}},
	{"a pause survives a crash", func(s *subject) {
		s.put("1")
		end := time.Now().Add(time.Hour)
		s.record(sender.Outcome{Item: s.claims("1")[0], Verdict: sender.Released, PauseUntil: end})
		time.Sleep(30 * time.Minute)
		s.reopen()
		s.is("Paused", s.q.Paused(), end)
		s.claims("")
		until(end.Add(time.Millisecond))
		s.claims("1")
	}},
	{"no Seq is used twice, across crashes too", func(s *subject) {
		used := make(map[uint64]bool)
		for range 3 {
			s.put("1 2")
			s.reopen()
			got := s.claims("1 2")
			for _, it := range got {
				if used[it.Seq] {
					s.Fatalf("Seq %d is used twice", it.Seq)
				}
				used[it.Seq] = true
			}
			s.settle(sender.Delivered, got...)
			s.reopen()
		}
	}},
	{"the dead are kept with their reason", func(s *subject) {
		o := need[Owner](s)
		s.put("a1 a2")
		it := s.claims("a1")[0]
		it.Attempts, it.Failures, it.LastErr, it.FailedAt = 4, 5, "refused", time.Now()
		s.settle(sender.Dead, it)
		dead := o.Dead()
		if len(dead) != 1 || dead[0].ID != it.ID || string(dead[0].Payload) != "a1" ||
			dead[0].Attempts != 4 || dead[0].Failures != 5 || dead[0].LastErr != "refused" || !dead[0].FailedAt.Equal(it.FailedAt) {
			s.Fatalf("dead are %+v, want %+v", dead, it)
		}
	}},
	{"a revived item takes a new place at the end, its attempts at zero", func(s *subject) {
		o := need[Owner](s)
		s.put("a1 a2")
		a1 := s.claims("a1")[0]
		a1.Attempts = 7
		s.settle(sender.Dead, a1)
		dead := o.Dead()
		if len(dead) != 1 {
			s.Fatalf("%d items are dead, want 1", len(dead))
		}
		o.Revive(dead[0].Seq)
		s.ledger(sender.Counts{Put: 2, Pending: 2})
		a2 := s.claims("a2")[0]
		s.settle(sender.Delivered, a2)
		again := s.claims("a1")[0]
		if again.ID != a1.ID || again.Attempts != 0 || again.Seq <= a2.Seq {
			s.Fatalf("revived as %+v, want the ID %v, no attempts, and a Seq after %d", again, a1.ID, a2.Seq)
		}
		if dead = o.Dead(); len(dead) != 0 {
			s.Fatalf("still dead: %q", payloads(dead))
		}
	}},
	{"a dropped item is gone, and frees its key", func(s *subject) {
		o := need[Owner](s)
		s.put("a1 a2 b1 b2 c1 1")
		got := s.claims("a1 b1 c1 1")
		s.retry(time.Hour, got[0])    // a1 waits for its next try
		s.settle(sender.Dead, got[2]) // c1 is dead
		o.Drop(got[0].Seq, got[2].Seq)
		s.claims("a2")
		s.settle(sender.Released, got[1])
		o.Drop(got[1].Seq) // b1 is ready, and has been met
		s.claims("b2")
		s.ledger(sender.Counts{Put: 6, Pending: 3, Dropped: 3, InFlight: 3})
		time.Sleep(24 * time.Hour)
		s.claims("")
	}},
	{"the outcome of an item dropped in flight finds nothing", func(s *subject) {
		o := need[Owner](s)
		s.put("a1 a2 b1 b2 c1 c2 1")
		got := s.claims("a1 b1 c1 1")
		o.Drop(got[0].Seq, got[1].Seq, got[2].Seq, got[3].Seq)
		s.claims("") // the requests are still under way
		s.settle(sender.Delivered, got[0])
		s.retry(time.Second, got[1])
		s.settle(sender.Released, got[2])
		s.settle(sender.Dead, got[3])
		s.ledger(sender.Counts{Put: 7, Pending: 3, Dropped: 4})
		time.Sleep(time.Minute)
		s.claims("a2 b2 c2")
	}},
	{"Claim and Settle may run side by side", func(s *subject) {
		const items, workers = 120, 4
		var (
			mu        sync.Mutex
			busy      = make(map[string]bool) // keys in flight
			tries     = make(map[uint64]int)  // by Seq
			delivered = make(map[uint64]bool) // by Seq
			total     atomic.Int32            // deliveries
			wg        sync.WaitGroup
		)
		begin := func(it sender.Item) {
			mu.Lock()
			defer mu.Unlock()
			if it.Key != "" && busy[it.Key] {
				s.Errorf("two of key %q in flight", it.Key)
			}
			busy[it.Key] = true
		}
		// end answers each item in turn: delivered, failed, released; where it begins is up to the
		// item.
		end := func(it sender.Item) sender.Outcome {
			mu.Lock()
			defer mu.Unlock()
			busy[it.Key] = false
			tries[it.Seq]++
			switch (int(it.Seq) + tries[it.Seq]) % 3 {
			case 1:
				return sender.Outcome{Item: it, Verdict: sender.Retry, Due: time.Now().Add(5 * time.Millisecond)}
			case 2:
				return sender.Outcome{Item: it, Verdict: sender.Released}
			}
			delivered[it.Seq] = true
			total.Add(1)
			return sender.Outcome{Item: it, Verdict: sender.Delivered}
		}
		wg.Go(func() {
			for n := range items {
				if err := s.q.Append(s.Context(), newItem([]string{"a1", "b1", "c1", "1"}[n%4])); err != nil {
					s.Errorf("Append: %v", err)
				}
				time.Sleep(time.Millisecond)
			}
		})
		deadline := time.Now().Add(time.Minute)
		for range workers {
			wg.Go(func() {
				for total.Load() < items && time.Now().Before(deadline) {
					got, _, err := s.q.Claim(s.Context(), time.Now(), 3, 0)
					if err != nil {
						s.Errorf("Claim: %v", err)
						return
					}
					for _, it := range got {
						begin(it)
					}
					time.Sleep(time.Millisecond)
					var outcomes []sender.Outcome
					for _, it := range got {
						outcomes = append(outcomes, end(it))
					}
					if err := s.q.Settle(s.Context(), outcomes...); err != nil {
						s.Errorf("Settle: %v", err)
						return
					}
				}
			})
		}
		wg.Wait()
		if len(delivered) != items || total.Load() != items {
			s.Fatalf("%d items in %d deliveries, want %d once each", len(delivered), total.Load(), items)
		}
		s.ledger(sender.Counts{Put: items, Delivered: items})
	}},
}
