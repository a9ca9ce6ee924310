package sendertest

import (
	"bytes"
	"context"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox/sender"
)

// clause is one sentence of the contract, and the test that a queue keeps it.
type clause struct {
	says string
	test func(s *subject)
}

var clauses = slices.Concat(claiming, settling, sending, keeping, operating, editing, browsing)

// claiming is what Append and Claim owe.
var claiming = []clause{
	{"an item comes back as it was put", func(s *subject) {
		zone := time.FixedZone("", 5*3600+45*60)
		items := []sender.Item{
			{Payload: []byte("nul \x00, no UTF-8 \xff\xfe, line\r\n")},
			{Kind: "order.paid", Key: "kunde \x00\xff ü", Payload: []byte{0}, Header: map[string]string{"Content-Type": "a/b", "": "\x00"}},
			{Key: "b", Payload: bytes.Repeat([]byte("0123456789abcdef"), 1<<12)},
			{Key: "c", Payload: nil, Expires: time.Date(2200, 2, 29, 1, 2, 3, 1, zone)},
		}
		for i := range items {
			items[i].ID = uuid.New()
			items[i].Created = time.Date(2024, 12, 31, 23, 59, 59, 999999999-i, zone)
		}
		s.append(items...)
		got := s.claim(len(items) + 1)
		if len(got) != len(items) {
			s.Fatalf("claimed %d items of %d", len(got), len(items))
		}
		for i, g := range got {
			w := items[i]
			if g.ID != w.ID || g.Kind != w.Kind || g.Key != w.Key || !maps.Equal(g.Header, w.Header) || !bytes.Equal(g.Payload, w.Payload) {
				s.Errorf("item %d: got %v, kind %q, key %q, header %q, %d bytes %.40q", i, g.ID, g.Kind, g.Key, g.Header, len(g.Payload), g.Payload)
				s.Errorf("item %d: put %v, kind %q, key %q, header %q, %d bytes %.40q", i, w.ID, w.Kind, w.Key, w.Header, len(w.Payload), w.Payload)
			}
			if !g.Created.Equal(w.Created) || !g.Expires.Equal(w.Expires) {
				s.Errorf("item %d: Created %v, Expires %v, want %v and %v", i, g.Created, g.Expires, w.Created, w.Expires)
			}
			if !g.Due.IsZero() || g.Attempts != 0 || g.Failures != 0 || !g.FailedAt.IsZero() || g.LastErr != "" {
				s.Errorf("item %d was never tried; it has Due %v, Attempts %d, Failures %d, Failed %v, LastErr %q", i, g.Due, g.Attempts, g.Failures, g.FailedAt, g.LastErr)
			}
		}
	}},
	{"what the caller changes after Append changes nothing", func(s *subject) {
		it := newItem("a1")
		it.Header = map[string]string{"k": "v"}
		s.append(it)
		it.Payload[0], it.Header["k"] = 'x', "x"
		if got := s.claims("a1")[0]; got.Header["k"] != "v" {
			s.Fatalf("header is %v, want what was put", got.Header)
		}
	}},
	{"fresh items come in the order of Append, their Seq ascending", func(s *subject) {
		s.put("5 a1 3 b1 4")
		s.put("c1 2")
		s.put("1")
		got := append(s.claim(2), s.claim(100)...)
		if want := strings.Fields("5 a1 3 b1 4 c1 2 1"); !slices.Equal(payloads(got), want) {
			s.Fatalf("claimed %q, want %q", payloads(got), want)
		}
		for i := range got[1:] {
			if got[i].Seq >= got[i+1].Seq {
				s.Fatalf("Seq %d comes before Seq %d", got[i].Seq, got[i+1].Seq)
			}
		}
	}},
	{"a claimed item is not handed out again", func(s *subject) {
		s.put("a1 1")
		s.claims("a1 1")
		s.claims("")
		time.Sleep(24 * time.Hour)
		s.claims("")
	}},
	{"a Claim hands out at most max", func(s *subject) {
		s.put("1 2 3 4 5")
		if got := s.claim(2); len(got) != 2 {
			s.Fatalf("claimed %d items, want 2", len(got))
		}
		s.claims("3 4 5")
	}},
	{"one of a key at a time, the next when it is settled for good", func(s *subject) {
		for _, v := range []sender.Verdict{sender.Delivered, sender.Dead, sender.Expired} {
			s.put("a1 a2 a3 b1")
			got := s.claims("a1 b1")
			s.claims("")
			s.settle(v, got[0])
			a2 := s.claims("a2")
			s.settle(v, a2...)
			s.settle(v, s.claims("a3")...)
			s.settle(v, got[1])
			s.claims("")
		}
	}},
	{"a retry holds back its own key only", func(s *subject) {
		s.put("a1 a2 b1 b2")
		got := s.claims("a1 b1")
		due := s.retry(time.Minute, got[0])
		s.settle(sender.Delivered, got[1])
		s.settle(sender.Delivered, s.claims("b2")...)
		s.put("a3 1")
		s.claims("1")
		until(due)
		s.settle(sender.Delivered, s.claims("a1")...)
		s.settle(sender.Delivered, s.claims("a2")...)
		s.claims("a3")
	}},
	{"items without a key do not wait for each other", func(s *subject) {
		s.put("1 2 3 4")
		s.retry(time.Minute, s.claims("1 2 3 4")[:2]...)
		s.put("5 6")
		s.claims("5 6")
	}},
	{"payloads up to maxBytes, the first always", func(s *subject) {
		for _, size := range []int{100, 10, 10, 5, 5} {
			s.append(sender.Item{ID: uuid.New(), Created: time.Now(), Payload: make([]byte, size)})
		}
		for _, want := range []int{1, 2, 2} { // 100 alone, 10 and 10, 5 and 5
			var got []sender.Item
			var next time.Time
			for tries := 0; len(got) == 0 && tries < 1000; tries++ {
				got, next = s.claimOnce(10, 24)
			}
			if len(got) != want {
				s.Fatalf("a Claim of at most 24 bytes gave %d items, want %d", len(got), want)
			}
			if len(got[0].Payload) > 5 && (next.IsZero() || next.After(time.Now())) {
				s.Fatalf("next is %v while more is due", next)
			}
		}
	}},
	{"a scheduled item waits for its time, and nobody waits for it", func(s *subject) {
		at := time.Now().Add(time.Hour + 1)
		s.schedule("a1", at)
		s.put("a2 b1")
		s.settle(sender.Delivered, s.claims("a2 b1")...)
		until(at.Add(-1))
		s.claims("")
		until(at)
		s.claims("a1")
	}},
	{"a scheduled item takes a new place at the end when its time comes", func(s *subject) {
		at := time.Now().Add(time.Hour)
		s.schedule("a3", at)
		s.put("a1 a2")
		until(at)
		a1 := s.claims("a1")[0]
		s.settle(sender.Delivered, a1)
		a2 := s.claims("a2")[0]
		s.put("a4")
		s.settle(sender.Delivered, a2)
		a3 := s.claims("a3")[0]
		if a3.Seq <= a2.Seq || !a3.Due.IsZero() {
			s.Fatalf("the scheduled item has Seq %d, Due %v; want one after %d, and zero", a3.Seq, a3.Due, a2.Seq)
		}
		s.settle(sender.Delivered, a3)
		s.claims("a4")
	}},
	{"a Due that has passed is no schedule", func(s *subject) {
		s.schedule("a1", time.Now())
		s.schedule("a2", time.Now().Add(-time.Hour))
		a1 := s.claims("a1")[0]
		if !a1.Due.IsZero() {
			s.Fatalf("Due is %v, want zero", a1.Due)
		}
		s.settle(sender.Delivered, a1)
		s.claims("a2")
	}},
	{"Claim leaves it to the sender to let items expire", func(s *subject) {
		it := newItem("a1")
		it.Expires = time.Now().Add(time.Second)
		s.append(it)
		s.put("a2")
		time.Sleep(time.Minute)
		a1 := s.claims("a1")
		s.ledger(sender.Counts{Put: 2, Pending: 2, InFlight: 1})
		s.settle(sender.Expired, a1...)
		s.ledger(sender.Counts{Put: 2, Pending: 1, Expired: 1})
		s.claims("a2")
	}},
	{"next is not after now while more is due, and zero when nothing is scheduled", func(s *subject) {
		if _, next := s.claimNext(1); !next.IsZero() {
			s.Fatalf("next is %v, the queue is empty", next)
		}
		s.put("1 2 a1 a2")
		if _, next := s.claimNext(2); next.IsZero() || next.After(time.Now()) {
			s.Fatalf("next is %v while more is due", next)
		}
		if got, next := s.claimNext(2); len(got) != 1 || !next.IsZero() {
			s.Fatalf("claimed %q, next is %v; want one item, and zero: a2 waits for a1, not for a time", payloads(got), next)
		}
	}},
	{"next is when the first retry or scheduled item is due", func(s *subject) {
		first := time.Now().Add(time.Hour)
		s.schedule("1", first)
		s.schedule("2", first.Add(time.Minute))
		s.put("3 4")
		got := s.claims("3 4")
		_, next := s.claimNext(1)
		s.is("next", next, first)
		second := s.retry(3*time.Minute, got[0])
		first = s.retry(2*time.Minute, got[1])
		_, next = s.claimNext(1)
		s.is("next", next, first)
		until(first)
		s.claims("4")
		_, next = s.claimNext(1)
		s.is("next", next, second) // 4 was due, and is in flight
	}},
	{"with max 0 Claim tells next, and claims nothing", func(s *subject) {
		tells := func() time.Time {
			s.Helper()
			got, next := s.claimOnce(0, 0)
			if len(got) > 0 {
				s.Fatalf("a Claim with max 0 gave %q", payloads(got))
			}
			return next
		}
		if next := tells(); !next.IsZero() {
			s.Fatalf("next is %v, the queue is empty", next)
		}
		s.put("1")
		if next := tells(); next.IsZero() || next.After(time.Now()) {
			s.Fatalf("next is %v while an item is due", next)
		}
		due := s.retry(time.Hour, s.claims("1")...)
		s.is("next", tells(), due)
		until(due)
		s.claims("1")
	}},
	{"what was returned, what failed, and what is fresh take turns", func(s *subject) {
		const each = 60
		add := func(kind string) {
			for range each {
				it := newItem("1")
				it.Kind = kind
				s.append(it)
			}
		}
		add("returned")
		back := s.claim(each)
		add("failed")
		until(s.retry(time.Second, s.claim(each)...))
		s.settle(sender.Released, back...)
		add("fresh")
		kinds := make(map[string]int)
		for range each / 2 {
			for _, it := range s.claim(1) {
				kinds[it.Kind]++
			}
		}
		if least := each / 20; kinds["returned"] < least || kinds["failed"] < least || kinds["fresh"] < least {
			s.Fatalf("the first %d claimed were %v; want at least %d of each", each/2, kinds, least)
		}
		if rest := s.claim(4 * each); len(rest) != 3*each-each/2 {
			s.Fatalf("then %d more, want %d", len(rest), 3*each-each/2)
		}
	}},
	{"a Claim that fails has handed out nothing", func(s *subject) {
		s.put("a1 1")
		ctx, cancel := context.WithCancel(s.Context())
		cancel()
		items, _, err := s.q.Claim(ctx, time.Now(), math.MaxInt32, 0)
		if err == nil {
			s.settle(sender.Released, items...) // a queue need not look at ctx
		} else if len(items) > 0 {
			s.Fatalf("Claim gave %q and the error %v", payloads(items), err)
		}
		s.claims("a1 1")
	}},
}
