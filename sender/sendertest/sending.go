package sendertest

import (
	"errors"
	"time"

	"github.com/seed8107221f/outbox/sender"
)

const unknown = "nobody knows"

// sending is what a queue owes a sender that delivers at most once.
var sending = []clause{
	{"an item recorded as Sending is held, and its key taken", func(s *subject) {
		s.put("a1 1")
		got := s.claims("a1 1")
		start := time.Now()
		s.markSending(got...)
		s.put("a2")
		if waited := time.Since(start); waited > 10*time.Millisecond {
			s.Fatalf("Sending waited %v to share a commit", waited)
		}
		s.ledger(sender.Counts{Put: 3, Pending: 3, InFlight: 2})
		time.Sleep(24 * time.Hour)
		s.claims("")
		s.settle(sender.Delivered, got[0])
		s.claims("a2")
	}},
	{"a crash leaves it among the dead, with its reason, and frees the key", func(s *subject) {
		o := need[Owner](s)
		need[Reopener](s)
		s.put("a1 a2 b1")
		got := s.claims("a1 b1")
		due := s.retry(time.Minute, got[1])
		until(due)
		b1 := s.claims("b1")[0]
		s.markSending(got[0], b1)
		at := time.Now()
		if dead := o.Dead(); len(dead) != 0 {
			s.Fatalf("dead are %q while their requests are under way", payloads(dead))
		}
		time.Sleep(time.Second)
		s.reopen()
		s.ledger(sender.Counts{Put: 3, Pending: 1, Dead: 2})
		o = s.q.(Owner)
		dead := o.Dead()
		if len(dead) != 2 {
			s.Fatalf("dead are %q, want a1 and b1", payloads(dead))
		}
		for _, it := range dead {
			if it.LastErr != unknown || !it.FailedAt.Equal(at) {
				s.Errorf("%s is dead since %v because of %q, want %v and %q", it.Payload, it.FailedAt, it.LastErr, at, unknown)
			}
		}
		s.settle(sender.Delivered, got[0]) // the answer comes too late
		a2 := s.claims("a2")
		s.ledger(sender.Counts{Put: 3, Pending: 1, Dead: 2, InFlight: 1})
		s.settle(sender.Delivered, a2...)
		o.Revive(dead[0].Seq)
		o.Drop(dead[1].Seq)
		s.settle(sender.Delivered, s.claims("a1")...)
		s.ledger(sender.Counts{Put: 3, Delivered: 2, Dropped: 1})
	}},
	{"the answer takes it back, wherever the item was claimed", func(s *subject) {
		for _, again := range []bool{false, true} {
			s.put("a1 a2 b1 b2 c1 c2 d1 d2 e1 e2")
			if again {
				until(s.retry(time.Minute, s.claims("a1 b1 c1 d1 e1")...))
			}
			before := s.counts()
			got := s.claims("a1 b1 c1 d1 e1")
			s.markSending(got...)
			due := time.Now().Add(time.Hour)
			told := got[4] // what a release says about the item does not matter
			told.LastErr, told.FailedAt = unknown, time.Now()
			s.record(
				sender.Outcome{Item: got[0], Verdict: sender.Delivered},
				sender.Outcome{Item: got[1], Verdict: sender.Expired},
				sender.Outcome{Item: got[2], Verdict: sender.Dead},
				sender.Outcome{Item: got[3], Verdict: sender.Retry, Due: due},
				sender.Outcome{Item: told, Verdict: sender.Released},
			)
			want := before
			want.Pending, want.Retrying = 7, 1
			if again {
				want.Retrying = 2
			}
			want.Delivered, want.Expired, want.Dead = before.Delivered+1, before.Expired+1, before.Dead+1
			s.ledger(want)
			rest := s.claims("a2 b2 c2 e1")
			if e1 := rest[3]; e1.Seq != got[4].Seq || !e1.Due.Equal(got[4].Due) || e1.LastErr != got[4].LastErr || !e1.FailedAt.Equal(got[4].FailedAt) || len(e1.History) != len(got[4].History) {
				s.Fatalf("released as %+v, comes as %+v", got[4], e1)
			}
			s.settle(sender.Delivered, rest...)
			s.settle(sender.Delivered, s.claims("e2")...)
			until(due)
			d1 := s.claims("d1")[0]
			if d1.LastErr == unknown || !d1.Due.Equal(due) {
				s.Fatalf("the retry comes as %+v", d1)
			}
			s.settle(sender.Delivered, d1)
			s.settle(sender.Delivered, s.claims("d2")...)
		}
	}},
	{"the reason of its death is the reason of the answer", func(s *subject) {
		o := need[Owner](s)
		s.put("1")
		it := s.claims("1")[0]
		s.markSending(it)
		it.Attempts, it.Failures, it.LastErr, it.FailedAt = 1, 1, "refused", time.Now().Add(1)
		s.settle(sender.Dead, it)
		dead := o.Dead()
		if len(dead) != 1 || dead[0].LastErr != "refused" || dead[0].Attempts != 1 || !dead[0].FailedAt.Equal(it.FailedAt) || len(dead[0].History) > 1 {
			s.Fatalf("dead are %+v, want %+v", dead, it)
		}
	}},
	{"Released puts it back for good", func(s *subject) {
		need[Reopener](s)
		s.put("1")
		until(s.retry(time.Minute, s.claims("1")...))
		s.put("a1 a2")
		got := s.claims("a1 1")
		s.markSending(got...)
		s.settle(sender.Released, got...)
		s.ledger(sender.Counts{Put: 3, Pending: 3, Retrying: 1})
		s.reopen()
		s.settle(sender.Delivered, s.claims("a1 1")...)
		s.claims("a2")
	}},
	{"a repeated Sending changes nothing", func(s *subject) {
		s.put("1 2")
		got := s.claims("1 2")
		for range 2 {
			s.markSending(got...)
			s.ledger(sender.Counts{Put: 2, Pending: 2, InFlight: 2})
		}
		s.settle(sender.Delivered, got[0])
		s.settle(sender.Released, got[1])
		s.markSending(got...) // neither is held
		s.ledger(sender.Counts{Put: 2, Pending: 1, Delivered: 1})
		again := s.claims("2")
		due := s.retry(time.Minute, again...)
		until(due)
		again = s.claims("2")
		s.markSending(again...)
		s.settle(sender.Released, got[1]) // of an earlier claim
		s.settle(sender.Delivered, got[1])
		s.ledger(sender.Counts{Put: 2, Pending: 1, Delivered: 1, InFlight: 1})
		s.settle(sender.Delivered, again...)
		s.ledger(sender.Counts{Put: 2, Delivered: 2})
	}},
	{"an item that died otherwise stays dead", func(s *subject) {
		s.put("1")
		it := s.claims("1")[0]
		s.markSending(it)
		s.settle(sender.Dead, it)
		for _, v := range []sender.Verdict{sender.Delivered, sender.Released, sender.Sending, sender.Retry} {
			s.settle(v, it)
			s.ledger(sender.Counts{Put: 1, Dead: 1})
		}
		s.claims("")
		f, told := need[Failer](s), errors.New("told to fail")
		s.put("2")
		it = s.claims("2")[0]
		f.FailNext(1, told, true)
		if err := s.q.Settle(s.Context(), sender.Outcome{Item: it, Verdict: sender.Dead}); !errors.Is(err, told) {
			s.Fatalf("Settle: %v, want %v", err, told)
		}
		s.settle(sender.Delivered, it) // still held, and dead all the same
		s.ledger(sender.Counts{Put: 2, Dead: 2})
	}},
	{"after an error of Sending, Released takes it back", func(s *subject) {
		f := need[Failer](s)
		failed := errors.New("told to fail")
		for _, applied := range []bool{false, true} {
			s.put("a1 a2")
			a1 := s.claims("a1")
			f.FailNext(1, failed, applied)
			if err := s.q.Settle(s.Context(), sender.Outcome{Item: a1[0], Verdict: sender.Sending}); !errors.Is(err, failed) {
				s.Fatalf("Settle: %v, want %v", err, failed)
			}
			s.claims("") // still held
			s.settle(sender.Released, a1...)
			if _, ok := s.q.(Reopener); ok {
				s.reopen()
				f = need[Failer](s)
			}
			a1 = s.claims("a1")
			s.settle(sender.Delivered, a1...)
			s.settle(sender.Delivered, s.claims("a2")...)
		}
	}},
	{"what is being sent cannot be revived, and can be dropped", func(s *subject) {
		o := need[Owner](s)
		s.put("a1 a2 b1 b2")
		got := s.claims("a1 b1")
		s.markSending(got...)
		o.Revive(got[0].Seq)
		s.ledger(sender.Counts{Put: 4, Pending: 4, InFlight: 2})
		s.claims("")
		o.Drop(got[1].Seq)
		s.ledger(sender.Counts{Put: 4, Pending: 3, Dropped: 1, InFlight: 2})
		s.claims("")
		s.settle(sender.Delivered, got...)
		s.claims("a2 b2")
		s.ledger(sender.Counts{Put: 4, Pending: 2, Delivered: 1, Dropped: 1, InFlight: 2})
	}},
}

// markSending settles items as Sending, with the reason and the time they would be dead by.
func (s *subject) markSending(items ...sender.Item) {
	s.Helper()
	s.record(asSending(items)...)
}

func asSending(items []sender.Item) (outcomes []sender.Outcome) {
	for _, it := range items {
		it.LastErr, it.FailedAt = unknown, time.Now()
		outcomes = append(outcomes, sender.Outcome{Item: it, Verdict: sender.Sending})
	}
	return outcomes
}

// markSending has some of the items in flight recorded as Sending.
func (w *walk) markSending() {
	var items []sender.Item
	for _, x := range w.some(w.with(func(x *traced) bool { return x.held && x.pending() })) {
		items = append(items, x.Item)
	}
	f, ok := w.q.(Failer)
	fail, apply := ok && w.rng.IntN(6) == 0, true
	if len(items) == 0 {
		return
	}
	if fail {
		apply = w.rng.IntN(2) == 0
		f.FailNext(1, errTold, apply)
	}
	err := w.q.Settle(w.Context(), asSending(items)...)
	w.say("announced %q: %v (applied %v)", payloads(items), err, apply)
	if fail != errors.Is(err, errTold) || !fail && err != nil {
		w.Fatalf("Settle: %v; told to fail: %v", err, fail)
	}
	if apply {
		for _, it := range items {
			w.byID[it.ID].sending = true
		}
	}
}
