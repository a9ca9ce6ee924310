package sendertest

import (
	"errors"
	"slices"
	"testing/synctest"
	"time"

	"github.com/seed8107221f/outbox/sender"
)

// settling is what Settle owes.
var settling = []clause{
	{"delivered, dead and expired items do not come again", func(s *subject) {
		s.put("1 2 3")
		got := s.claims("1 2 3")
		s.settle(sender.Delivered, got[0])
		s.settle(sender.Dead, got[1])
		s.settle(sender.Expired, got[2])
		time.Sleep(24 * time.Hour)
		s.claims("")
		s.ledger(sender.Counts{Put: 3, Delivered: 1, Dead: 1, Expired: 1})
	}},
	{"a retry comes at its Due, in its place, with its failure", func(s *subject) {
		s.put("a1")
		it := s.claims("a1")[0]
		seq := it.Seq
		for n := range 3 {
			it.Attempts, it.Failures, it.LastErr = n, n+1, "no \x00 answer"
			it.FailedAt = time.Now().Add(1)
			due := s.retry(time.Minute+1, it)
			s.ledger(sender.Counts{Put: 1, Pending: 1, Retrying: 1})
			until(due.Add(-1))
			s.claims("")
			until(due)
			got := s.claims("a1")[0]
			if got.Seq != seq || !got.Due.Equal(due) {
				s.Fatalf("the retry has Seq %d, Due %v; want %d and %v", got.Seq, got.Due, seq, due)
			}
			if got.Attempts != n || got.Failures != n+1 || got.LastErr != it.LastErr || !got.FailedAt.Equal(it.FailedAt) {
				s.Fatalf("the retry comes as %+v, was settled as %+v", got, it)
			}
			s.claims("")
			it = got
		}
		s.settle(sender.Delivered, it)
		s.claims("")
		s.ledger(sender.Counts{Put: 1, Delivered: 1})
	}},
	{"retries come in the order of their Due", func(s *subject) {
		s.put("1 2 3")
		got := s.claims("1 2 3")
		last := s.retry(time.Hour, got[0])
		s.retry(time.Minute, got[1])
		s.retry(time.Second, got[2])
		until(last)
		if order := payloads(s.claim(3)); !slices.Equal(order, []string{"3", "2", "1"}) {
			s.Fatalf("claimed %q, want those due first before the others", order)
		}
	}},
	{"a released item comes before those behind it", func(s *subject) {
		s.put("a1 a2 1 b1")
		got := s.claims("a1 1 b1")
		s.put("2 3 4 5")
		s.settle(sender.Released, got[0])
		// Others may have their turn first: a due retry, a fresh item.
		if first := payloads(s.claim(3)); !slices.Contains(first, "a1") {
			s.Fatalf("claimed %q, want a1 among them", first)
		}
		s.settle(sender.Released, got...)
		s.claim(100)
		s.settle(sender.Delivered, got...)
		s.claims("a2")
	}},
	{"a released retry stays due", func(s *subject) {
		s.put("a1 a2")
		due := s.retry(time.Minute, s.claims("a1")...)
		until(due)
		for range 3 {
			a1 := s.claims("a1")[0]
			if !a1.Due.Equal(due) {
				s.Fatalf("Due is %v, want %v as before", a1.Due, due)
			}
			s.settle(sender.Released, a1)
			s.ledger(sender.Counts{Put: 2, Pending: 2, Retrying: 1})
		}
		s.settle(sender.Delivered, s.claims("a1")...)
		s.claims("a2")
	}},
	{"one call takes outcomes of all kinds, in any order", func(s *subject) {
		s.put("a1 a2 b1 b2 c1 c2 d1 d2 e1 e2")
		got := s.claims("a1 b1 c1 d1 e1")
		due := time.Now().Add(time.Minute)
		s.record(
			sender.Outcome{Item: got[4], Verdict: sender.Expired},
			sender.Outcome{Item: got[1], Verdict: sender.Retry, Due: due},
			sender.Outcome{Item: got[3], Verdict: sender.Dead},
			sender.Outcome{Item: got[0], Verdict: sender.Delivered},
			sender.Outcome{Item: got[2], Verdict: sender.Released},
		)
		s.ledger(sender.Counts{Put: 10, Pending: 7, Retrying: 1, Dead: 1, Delivered: 1, Expired: 1})
		s.claims("a2 c1 d2 e2")
		until(due)
		s.claims("b1")
	}},
	{"a repeated Settle changes nothing and counts nothing", func(s *subject) {
		s.put("a1 a2 a3 b1 b2 b3 c1 c2 c3 d1 d2")
		got := s.claims("a1 b1 c1 d1")
		due := time.Now().Add(time.Minute)
		outcomes := []sender.Outcome{
			{Item: got[0], Verdict: sender.Delivered},
			{Item: got[1], Verdict: sender.Dead},
			{Item: got[2], Verdict: sender.Expired},
			{Item: got[3], Verdict: sender.Retry, Due: due},
		}
		settled := sender.Counts{Put: 11, Pending: 8, Retrying: 1, Dead: 1, Delivered: 1, Expired: 1}
		for range 2 {
			s.record(outcomes...)
			s.ledger(settled)
		}
		s.claims("a2 b2 c2")
		until(due)
		d1 := s.claims("d1")
		s.record(outcomes...)                     // what has been claimed since is held all the same
		settled.InFlight, settled.Retrying = 4, 0 // d1 is one of them
		s.ledger(settled)
		s.claims("")
		due = s.retry(time.Hour, d1...)
		s.record(outcomes...) // and what has moved on stays where it is
		until(due.Add(-time.Second))
		s.claims("")
		until(due)
		s.claims("d1")
	}},
	{"without outcomes Settle returns nil", func(s *subject) { s.record() }},
	{"FlushGathered ends the wait of a Settle", func(s *subject) {
		g := need[sender.Gatherer](s)
		s.put("1")
		it := s.claims("1")[0]
		start, done := time.Now(), make(chan error, 1)
		go func() { done <- s.q.Settle(s.Context(), sender.Outcome{Item: it, Verdict: sender.Delivered}) }()
		synctest.Wait()
		g.FlushGathered()
		if err := <-done; err != nil {
			s.Fatalf("Settle: %v", err)
		}
		if waited := time.Since(start); waited > 10*time.Millisecond {
			s.Fatalf("Settle waited %v to share a commit, and was told not to", waited)
		}
	}},
	{"after an error the items are held, and a repetition counts once", func(s *subject) {
		for _, applied := range []bool{false, true} {
			failed := errors.New("told to fail")
			f := need[Failer](s)
			s.put("a1 a2 b1 b2 1")
			got := s.claims("a1 b1 1")
			outcomes := []sender.Outcome{
				{Item: got[0], Verdict: sender.Delivered},
				{Item: got[1], Verdict: sender.Retry, Due: time.Now()},
				{Item: got[2], Verdict: sender.Delivered},
			}
			before := s.counts()
			f.FailNext(2, failed, applied)
			for range 2 {
				if err := s.q.Settle(s.Context(), outcomes...); !errors.Is(err, failed) {
					s.Fatalf("Settle: %v, want %v", err, failed)
				}
				s.claims("")
			}
			s.record(outcomes...)
			before.Pending, before.Retrying, before.InFlight = 3, 1, 0
			before.Delivered += 2
			s.ledger(before)
			s.settle(sender.Delivered, s.claims("a2 b1")...)
			s.settle(sender.Delivered, s.claims("b2")...)
		}
	}},
	{"an error that applied nothing leaves the items where they were", func(s *subject) {
		f := need[Failer](s)
		need[Reopener](s)
		s.put("a1 1")
		got := s.claims("a1 1")
		f.FailNext(1, errors.New("told to fail"), false)
		if err := s.q.Settle(s.Context(),
			sender.Outcome{Item: got[0], Verdict: sender.Delivered, PauseUntil: time.Now().Add(time.Hour)},
			sender.Outcome{Item: got[1], Verdict: sender.Dead},
		); err == nil {
			s.Fatal("Settle did not fail")
		}
		s.reopen()
		s.claims("a1 1")
	}},
	{"during a pause nothing is handed out, and next is its end", func(s *subject) {
		if p := s.q.Paused(); p.After(time.Now()) {
			s.Fatalf("a fresh queue is paused until %v", p)
		}
		s.put("a1 b1 c1 d1")
		got := s.claims("a1 b1 c1 d1")
		s.schedule("e1", time.Now().Add(time.Minute))
		end := time.Now().Add(time.Hour)
		s.record(sender.Outcome{Item: got[0], Verdict: sender.Released, PauseUntil: end})
		s.retry(time.Second, got[1])
		quiet := func() {
			s.Helper()
			s.is("Paused", s.q.Paused(), end)
			for _, max := range []int{0, 10} {
				items, next := s.claimOnce(max, 0)
				s.is("next", next, end)
				if len(items) > 0 {
					s.Fatalf("claimed %q during a pause", payloads(items))
				}
			}
		}
		quiet()
		until(end.Add(-30 * time.Minute))
		quiet()
		s.record(sender.Outcome{Item: got[2], Verdict: sender.Delivered, PauseUntil: time.Now().Add(time.Minute)})
		quiet() // a shorter one changes nothing
		end = end.Add(time.Hour)
		s.record(sender.Outcome{Item: got[3], Verdict: sender.Delivered, PauseUntil: end})
		s.settle(sender.Delivered, got[3]) // no pause is no order to end one
		quiet()
		end = end.Add(time.Hour)
		s.record(sender.Outcome{PauseUntil: end}) // what a Prober was told has no item
		quiet()
		until(end.Add(-time.Second))
		quiet()
		until(end.Add(time.Millisecond))
		s.claims("a1 b1 e1")
	}},
}
