package sendertest

import (
	"errors"
	"iter"
	"strings"
	"time"

	"github.com/seed8107221f/outbox/sender"
)

// operating is what a queue owes the people who run it, if it has the abilities.
var operating = []clause{
	{"while the operator pauses, Claim gives nothing, and all else works", func(s *subject) {
		o := need[sender.Operator](s)
		s.put("a1 a2 b1 1")
		got := s.claims("a1 b1 1")
		s.pause(o, sender.Pause{By: "oncall", Reason: "nightly load first"})
		s.put("2")
		s.settle(sender.Delivered, got[0])
		s.retry(time.Minute, got[1])
		s.settle(sender.Released, got[2])
		time.Sleep(time.Hour)
		if items, next := s.claimNext(10); len(items) > 0 || !next.IsZero() {
			s.Fatalf("claimed %q, next %v, during a pause without an end", payloads(items), next)
		}
		s.ledger(sender.Counts{Put: 5, Pending: 4, Delivered: 1, Retrying: 1})
		s.resume(o)
		if p := o.OperatorPause(); !p.Since.IsZero() {
			s.Fatalf("after Resume the pause is %+v", p)
		}
		s.claims("a2 b1 1 2")
	}},
	{"the operator's pause ends by itself at its Until", func(s *subject) {
		o := need[sender.Operator](s)
		s.put("1")
		end := time.Now().Add(time.Hour)
		s.pause(o, sender.Pause{Until: end})
		_, next := s.claimNext(1)
		s.is("next", next, end)
		until(end.Add(-time.Millisecond))
		s.claims("")
		until(end)
		s.claims("1")
		if p := o.OperatorPause(); p.On(time.Now()) || p.Since.IsZero() {
			s.Fatalf("after its end the latest pause is %+v", p)
		}
	}},
	{"a later pause of the operator replaces an earlier one", func(s *subject) {
		o := need[sender.Operator](s)
		s.put("1")
		s.pause(o, sender.Pause{})
		end := time.Now().Add(time.Minute)
		s.pause(o, sender.Pause{Until: end, By: "b"})
		until(end)
		s.claims("1")
	}},
	{"a pause that cannot be kept is an error, and the earlier one stays", func(s *subject) {
		o := need[sender.Operator](s)
		s.pause(o, sender.Pause{By: strings.Repeat("b", 64), Reason: strings.Repeat("r", 200)})
		was := o.OperatorPause()
		for _, p := range []sender.Pause{
			{By: strings.Repeat("b", 65)}, {Reason: strings.Repeat("r", 201)}, {Until: time.Now()}, {Until: time.Now().Add(-1)},
		} {
			if err := o.Pause(s.Context(), p); err == nil {
				s.Fatalf("By of %d bytes, Reason of %d, Until %v: no error", len(p.By), len(p.Reason), p.Until)
			}
		}
		if p := o.OperatorPause(); p != was {
			s.Fatalf("the pause is %+v, was %+v", p, was)
		}
	}},
	{"the operator's pause and the destination's are two", func(s *subject) {
		o := need[sender.Operator](s)
		s.put("1 2")
		got := s.claims("1 2")
		end := time.Now().Add(time.Hour)
		s.record(sender.Outcome{Item: got[0], Verdict: sender.Released, PauseUntil: end}, sender.Outcome{Item: got[1], Verdict: sender.Released})
		s.pause(o, sender.Pause{Until: time.Now().Add(time.Minute)})
		_, next := s.claimNext(1)
		s.is("next", next, end)
		s.resume(o)
		s.is("Paused", s.q.Paused(), end)
		s.claims("")
		s.pause(o, sender.Pause{})
		if err := o.ClearThrottle(s.Context()); err != nil {
			s.Fatal(err)
		}
		if s.q.Paused().After(time.Now()) {
			s.Fatalf("after ClearThrottle, Paused is %v", s.q.Paused())
		}
		s.claims("")
		s.resume(o)
		s.claims("1 2")
	}},
	{"a throttle that was cleared can be shorter the next time", func(s *subject) {
		o := need[sender.Operator](s)
		s.put("1")
		s.record(sender.Outcome{Item: s.claims("1")[0], Verdict: sender.Released, PauseUntil: time.Now().Add(time.Hour)})
		for range 2 { // the second time there is none
			if err := o.ClearThrottle(s.Context()); err != nil {
				s.Fatal(err)
			}
		}
		end := time.Now().Add(time.Minute)
		s.record(sender.Outcome{Item: s.claims("1")[0], Verdict: sender.Released, PauseUntil: end})
		s.is("Paused", s.q.Paused(), end)
		until(end)
		s.claims("1")
	}},
	{"the operator's orders outlive a crash", func(s *subject) {
		o := need[sender.Operator](s)
		need[Reopener](s)
		s.put("1")
		s.record(sender.Outcome{Item: s.claims("1")[0], Verdict: sender.Released, PauseUntil: time.Now().Add(24 * time.Hour)})
		s.pause(o, sender.Pause{Until: time.Now().Add(time.Hour), By: "oncall", Reason: "why"})
		was := o.OperatorPause()
		if err := o.ClearThrottle(s.Context()); err != nil {
			s.Fatal(err)
		}
		s.reopen()
		o = need[sender.Operator](s)
		if p := o.OperatorPause(); !p.Until.Equal(was.Until) || !p.Since.Equal(was.Since) || p.By != was.By || p.Reason != was.Reason {
			s.Fatalf("the pause is %+v, was %+v", p, was)
		}
		s.claims("")
		s.resume(o)
		s.reopen()
		if p := need[sender.Operator](s).OperatorPause(); !p.Since.IsZero() {
			s.Fatalf("after Resume and a crash the pause is %+v", p)
		}
		s.claims("1")
	}},
	{"the operator's orders wake the sender", func(s *subject) {
		o := need[sender.Operator](s)
		q := need[sender.Exclusive](s)
		woken := 0
		if err := q.Attach(func() { woken++ }); err != nil {
			s.Fatal(err)
		}
		s.put("1")
		s.record(sender.Outcome{Item: s.claims("1")[0], Verdict: sender.Released, PauseUntil: time.Now().Add(time.Hour)})
		s.pause(o, sender.Pause{})
		for what, order := range map[string]func() error{
			"a shorter pause": func() error { return o.Pause(s.Context(), sender.Pause{Until: time.Now().Add(time.Second)}) },
			"Resume":          func() error { return o.Resume(s.Context()) },
			"ClearThrottle":   func() error { return o.ClearThrottle(s.Context()) },
		} {
			before := woken
			if err := order(); err != nil || woken == before {
				s.Fatalf("%s: %v; the sender was woken %d times", what, err, woken-before)
			}
			if what == "Resume" {
				s.pause(o, sender.Pause{}) // whatever comes next
			}
		}
		q.Detach()
	}},
}

// pending returns what is pending, of a queue that lists it as a [sender.Lister] or a [Memory]
// does.
func (s *subject) pending() (all []sender.Item) {
	s.Helper()
	switch q := s.q.(type) {
	case interface {
		Pending() iter.Seq2[sender.Item, error]
	}:
		for it, err := range q.Pending() {
			if err != nil {
				s.Fatal(err)
			}
			all = append(all, it)
		}
	case interface{ Pending() []sender.Item }:
		all = q.Pending()
	default:
		s.Skip("the queue does not list what is pending")
	}
	return all
}

// editing is what a queue owes the people who change what it holds, if it has the abilities.
var editing = []clause{
	{"RunNow makes retries and scheduled items due, charges nothing, and keeps the order", func(s *subject) {
		e := need[sender.Editor](s)
		s.put("a1 a2 b1")
		s.schedule("9", time.Now().Add(time.Hour))
		got := s.claims("a1 b1")
		failed := got[0]
		failed.Attempts, failed.Failures, failed.LastErr, failed.FailedAt = 1, 1, "refused", time.Now()
		s.retry(time.Hour, failed)
		s.settle(sender.Delivered, got[1])
		s.claims("")
		all := s.pending()
		if n, err := e.RunNow(s.Context(), all...); n != 2 || err != nil {
			s.Fatalf("RunNow: %d, %v; want 2", n, err)
		}
		if n, err := e.RunNow(s.Context(), all...); n != 0 || err != nil {
			s.Fatalf("RunNow again: %d, %v; want 0", n, err)
		}
		now := s.claims("a1 9")
		if it := now[0]; it.Attempts != 1 || it.Failures != 1 || it.LastErr != "refused" || it.Seq != failed.Seq {
			s.Fatalf("a1 comes as %+v, was %+v", it, failed)
		}
		if n, err := e.RunNow(s.Context(), now...); n != 0 || err != nil {
			s.Fatalf("RunNow of what is in flight: %d, %v; want 0", n, err)
		}
		s.settle(sender.Delivered, now...)
		s.claims("a2")
		s.ledger(sender.Counts{Put: 4, Pending: 1, InFlight: 1, Delivered: 3})
	}},
	{"Edit changes a dead item where it is, and nothing else", func(s *subject) {
		e := need[sender.Editor](s)
		o := need[Owner](s)
		s.put("a1 a2")
		s.settle(sender.Dead, s.claims("a1")...)
		was := o.Dead()[0]
		if err := e.Edit(s.Context(), was, []byte("a9"), map[string]string{"n": "1"}); err != nil {
			s.Fatal(err)
		}
		is := o.Dead()[0]
		if string(is.Payload) != "a9" || is.Header["n"] != "1" || is.ID != was.ID || is.Seq != was.Seq || is.Key != was.Key || is.Kind != was.Kind || is.LastErr != was.LastErr || !is.Created.Equal(was.Created) {
			s.Fatalf("edited it is %+v, was %+v", is, was)
		}
		if err := e.Edit(s.Context(), is, []byte("a8"), nil); err != nil {
			s.Fatal(err)
		}
		if is := o.Dead()[0]; string(is.Payload) != "a8" || is.Header["n"] != "1" {
			s.Fatalf("edited without a header it is %+v", is)
		}
		s.settle(sender.Delivered, s.claims("a2")...)
		o.Revive(was.Seq)
		if err := e.Edit(s.Context(), was, []byte("lost"), nil); !errors.Is(err, sender.ErrChanged) {
			s.Fatalf("edited after its revival: %v, want sender.ErrChanged", err)
		}
		s.claims("a8")
		s.ledger(sender.Counts{Put: 2, Pending: 1, InFlight: 1, Delivered: 1})
	}},
	{"Edit of an item as it was read changes nothing that another has edited since", func(s *subject) {
		e := need[sender.Editor](s)
		o := need[Owner](s)
		s.put("1")
		s.settle(sender.Dead, s.claims("1")...)
		was := o.Dead()[0]
		edit := func(it sender.Item, payload string, header map[string]string, want error) {
			s.Helper()
			if err := e.Edit(s.Context(), it, []byte(payload), header); !errors.Is(err, want) {
				s.Fatalf("edited to %q: %v, want %v", payload, err, want)
			}
		}
		edit(was, "2", map[string]string{"by": "ann"}, nil)
		edit(was, "2", map[string]string{"by": "ann"}, nil) // repeated, as after an error
		edit(was, "2", nil, nil)
		edit(was, "3", nil, sender.ErrChanged)
		edit(was, "2", map[string]string{"by": "ben"}, sender.ErrChanged)
		was.Payload = []byte{}
		edit(was, "3", nil, sender.ErrChanged)
		is := o.Dead()[0]
		if string(is.Payload) != "2" || is.Header["by"] != "ann" {
			s.Fatalf("the first edit is lost: %+v", is)
		}
		edit(is, "2", map[string]string{"by": "ben"}, nil)
		edit(is, "3", nil, sender.ErrChanged) // only the header is another
		was.Payload = nil
		edit(was, "4", nil, nil) // whatever is there
		if is := o.Dead()[0]; string(is.Payload) != "4" || is.Header["by"] != "ben" {
			s.Fatalf("edited, whatever was there, it is %+v", is)
		}
	}},
	{"what is being sent at most once cannot be edited", func(s *subject) {
		e := need[sender.Editor](s)
		s.put("1")
		it := s.claims("1")[0]
		it.LastErr, it.FailedAt = "its answer is unknown", time.Now()
		s.settle(sender.Sending, it)
		if err := e.Edit(s.Context(), it, nil, nil); !errors.Is(err, sender.ErrChanged) {
			s.Fatalf("Edit: %v, want sender.ErrChanged", err)
		}
		s.settle(sender.Delivered, it)
		s.ledger(sender.Counts{Put: 1, Delivered: 1})
	}},
}

func (s *subject) pause(o sender.Operator, p sender.Pause) {
	s.Helper()
	if err := o.Pause(s.Context(), p); err != nil {
		s.Fatal(err)
	}
	if got := o.OperatorPause(); !near(got.Since, time.Now()) || !got.Until.Equal(p.Until) || got.By != p.By || got.Reason != p.Reason {
		s.Fatalf("the pause is %+v, ordered was %+v", got, p)
	}
}

func (s *subject) resume(o sender.Operator) {
	s.Helper()
	if err := o.Resume(s.Context()); err != nil {
		s.Fatal(err)
	}
}
