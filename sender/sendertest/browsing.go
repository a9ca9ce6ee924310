package sendertest

import (
	"errors"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox/sender"
)

// states are all that a [sender.Query] can ask for.
var states = []sender.State{
	sender.StateReady, sender.StateInLine, sender.StateInFlight, sender.StateRetrying, sender.StateScheduled, sender.StateDead,
}

// everywhere leaves items in every state, all of them met by Claim.
func (s *subject) everywhere() {
	s.Helper()
	s.put("a1 a2 b1 c1 d1 1 2 a3 b2")
	s.schedule("8", time.Now().Add(time.Hour))
	s.schedule("9", time.Now().Add(2*time.Hour))
	got := s.claims("a1 b1 c1 d1 1 2")
	s.retry(time.Hour, got[1])
	s.retry(2*time.Hour, got[2])
	s.settle(sender.Dead, got[3], got[4])
	s.settle(sender.Released, got[5])
	s.put("e1")
	s.settle(sender.Released, s.claims("2 e1")...)
}

// where is what everywhere leaves, in the order of each listing, with the label of each item.
var where = map[sender.State]string{
	sender.StateReady:     "a1 in-flight, a2 in-line, 2 ready, a3 in-line, b2 in-line, e1 ready",
	sender.StateInLine:    "a2 in-line, a3 in-line, b2 in-line",
	sender.StateInFlight:  "a1 in-flight",
	sender.StateRetrying:  "b1 retrying, c1 retrying",
	sender.StateScheduled: "8 scheduled, 9 scheduled",
	sender.StateDead:      "d1 dead, 1 dead",
}

// browsing is what a queue owes the people who look at what it holds, if it has the abilities.
var browsing = []clause{
	{"List gives each item once, with its state, in the order of the lane", func(s *subject) {
		b := need[sender.Browser](s)
		s.everywhere()
		for _, state := range states {
			want := labels(where[state])
			for _, q := range []sender.Query{{}, {Limit: 1}, {Limit: 2}, {Limit: maxLimit}, {Scan: 1}, {Scan: 2, Limit: 1}} {
				q.State = state
				if got := s.list(b, q); !slices.Equal(got, want) {
					s.Errorf("%+v: listed %q, want %q", q, got, want)
				}
				q.Newest = true
				newest := slices.Clone(want)
				slices.Reverse(newest)
				if got := s.list(b, q); !slices.Equal(got, newest) {
					s.Errorf("%+v: listed %q, want %q", q, got, newest)
				}
			}
		}
	}},
	{"List gives what Match selects, and counts what it looked at", func(s *subject) {
		b := need[sender.Browser](s)
		s.put("a1 b1 a2 b2 a3")
		match := func(it *sender.Item) bool {
			if c, ok := s.q.(Counter); ok {
				c.Counts() // no lock is held
			}
			return it.Key == "b"
		}
		p, err := b.List(s.Context(), sender.Query{State: sender.StateReady, Scan: 3, Match: match})
		if err != nil || len(p.Items) != 1 || string(p.Items[0].Payload) != "b1" || p.Looked != 3 || p.Next == "" {
			s.Fatalf("the first three: %d items, %d looked at, Next %q, %v", len(p.Items), p.Looked, p.Next, err)
		}
		p, err = b.List(s.Context(), sender.Query{State: sender.StateReady, Match: match, After: p.Next})
		if err != nil || len(p.Items) != 1 || string(p.Items[0].Payload) != "b2" || p.Looked != 2 || p.Next != "" {
			s.Fatalf("the rest: %d items, %d looked at, Next %q, %v", len(p.Items), p.Looked, p.Next, err)
		}
	}},
	{"a Cursor stays valid whatever becomes of the items", func(s *subject) {
		b := need[sender.Browser](s)
		s.put("1 2 3 4 5")
		p, err := b.List(s.Context(), sender.Query{State: sender.StateReady, Limit: 2})
		if err != nil || p.Next == "" {
			s.Fatalf("%d items, Next %q, %v", len(p.Items), p.Next, err)
		}
		s.settle(sender.Delivered, s.claims("1 2 3 4 5")[:3]...)
		s.put("6")
		after := sender.Query{State: sender.StateReady, After: p.Next}
		if got, want := s.list(b, after), labels("4 in-flight, 5 in-flight, 6 ready"); !slices.Equal(got, want) {
			s.Fatalf("listed %q, want %q", got, want)
		}
		if _, ok := s.q.(Reopener); ok {
			s.reopen()
			if got, want := s.list(need[sender.Browser](s), after), labels("4 ready, 5 ready, 6 ready"); !slices.Equal(got, want) {
				s.Fatalf("after a crash listed %q, want %q", got, want)
			}
		}
	}},
	{"a Query out of bounds, or a Cursor of another listing, is an error", func(s *subject) {
		b := need[sender.Browser](s)
		s.everywhere()
		p, err := b.List(s.Context(), sender.Query{State: sender.StateReady, Limit: 1})
		if err != nil || p.Next == "" {
			s.Fatalf("%d items, Next %q, %v", len(p.Items), p.Next, err)
		}
		for _, q := range []sender.Query{
			{}, {State: "lost"}, {State: sender.StateReady, Limit: -1}, {State: sender.StateReady, Limit: maxLimit + 1}, {State: sender.StateReady, Scan: -1},
			{State: sender.StateReady, After: "?"}, {State: sender.StateReady, After: p.Next, Newest: true}, {State: sender.StateDead, After: p.Next},
		} {
			if p, err := b.List(s.Context(), q); err == nil {
				s.Errorf("%+v: no error, and %d items", q, len(p.Items))
			}
		}
	}},
	{"Explain finds an item wherever it is, by its ID", func(s *subject) {
		e := need[sender.Explainer](s)
		items := map[string]sender.Item{}
		for it := range s.walk(need[sender.Browser](s)) {
			s.Fatalf("%q is there already", it.Payload)
		}
		s.everywhere()
		for it := range s.walk(need[sender.Browser](s)) {
			items[string(it.Payload)+" "+string(it.State)] = it.Item
		}
		for _, name := range slices.Concat(labels(where[sender.StateReady]), labels(where[sender.StateRetrying]), labels(where[sender.StateScheduled]), labels(where[sender.StateDead])) {
			it, ok := items[name]
			if !ok {
				s.Fatalf("%q is not listed", name)
			}
			for _, seq := range []uint64{it.Seq, 0, it.Seq + 1000} {
				w, err := e.Explain(s.Context(), it.ID, seq)
				if got := string(w.Payload) + " " + string(w.State); err != nil || w.Err != nil || got != name || w.ID != it.ID || w.Seq != it.Seq {
					s.Errorf("%q at Seq %d, looked for at %d: %q at Seq %d, %v, %v", name, it.Seq, seq, got, w.Seq, w.Err, err)
				}
				if inLine := w.State == sender.StateInLine; (w.Head != nil) != inLine || (w.Behind > 0) != inLine {
					s.Errorf("%q: Head %v, Behind %d", name, w.Head, w.Behind)
				}
			}
		}
		if _, err := e.Explain(s.Context(), uuid.New(), 1); !errors.Is(err, sender.ErrNotFound) {
			s.Errorf("an item that was never put: %v, want sender.ErrNotFound", err)
		}
		a1 := items["a1 in-flight"]
		s.settle(sender.Delivered, a1)
		if _, err := e.Explain(s.Context(), a1.ID, a1.Seq); !errors.Is(err, sender.ErrNotFound) {
			s.Errorf("an item that was delivered: %v, want sender.ErrNotFound", err)
		}
	}},
	{"Explain names the head of the line, and how many go before", func(s *subject) {
		e := need[sender.Explainer](s)
		ids := map[string]uuid.UUID{}
		for name := range strings.FieldsSeq("a1 a2 a3 b1 b2 1") {
			it := newItem(name)
			ids[name] = it.ID
			s.append(it)
		}
		line := func(name, head string, behind int) {
			s.Helper()
			w, err := e.Explain(s.Context(), ids[name], 0)
			if err != nil || w.State != sender.StateInLine || w.Head == nil || string(w.Head.Payload) != head || w.Head.ID != ids[head] || w.Behind != behind {
				s.Fatalf("%s: %q, Head %v, Behind %d, %v; want %s and %d", name, w.State, w.Head, w.Behind, err, head, behind)
			}
		}
		got := s.claims("a1 b1 1")
		line("a2", "a1", 1)
		line("a3", "a1", 2)
		s.retry(time.Hour, got[1])
		line("b2", "b1", 1)
		s.settle(sender.Delivered, got[0])
		a2 := s.claims("a2")
		line("a3", "a2", 1)
		s.settle(sender.Dead, a2...)
		s.claims("a3")
	}},
	{"no more items are sent before one than Explain says", func(s *subject) {
		e := need[sender.Explainer](s)
		s.put("1 2 3 a1 a2 4 5 b1 6")
		got := s.claim(3)
		until(s.retry(time.Second, got[0], got[1]))
		s.settle(sender.Released, got[2])
		type promise struct {
			name  string
			ahead int
		}
		promises := map[uint64]*promise{}
		var all []sender.Item
		for it := range s.walk(need[sender.Browser](s)) {
			w, err := e.Explain(s.Context(), it.ID, it.Seq)
			if err != nil || w.Ahead < 0 {
				s.Fatalf("%s: Ahead %d, %v", it.Payload, w.Ahead, err)
			}
			promises[it.Seq] = &promise{string(it.Payload), w.Ahead}
			all = append(all, it.Item)
		}
		for sent := range all {
			next := s.claim(1)
			if len(next) != 1 {
				s.Fatalf("%d of %d came", sent, len(all))
			}
			if p := promises[next[0].Seq]; p == nil || p.ahead < sent {
				s.Errorf("%s comes after %d, promised was %+v", next[0].Payload, sent, p)
			}
			s.settle(sender.Delivered, next...)
		}
	}},
}

func labels(text string) []string { return strings.Split(text, ", ") }

// list returns all that a query finds, page by page, with labels.
func (s *subject) list(b sender.Browser, q sender.Query) (got []string) {
	s.Helper()
	for it := range s.pages(b, q) {
		got = append(got, string(it.Payload)+" "+string(it.State))
	}
	return got
}

// walk yields every item once.
func (s *subject) walk(b sender.Browser) iter.Seq[sender.Listed] {
	return func(yield func(sender.Listed) bool) {
		for _, state := range []sender.State{sender.StateReady, sender.StateRetrying, sender.StateScheduled, sender.StateDead} {
			for it := range s.pages(b, sender.Query{State: state}) {
				if !yield(it) {
					return
				}
			}
		}
	}
}

func (s *subject) pages(b sender.Browser, q sender.Query) iter.Seq[sender.Listed] {
	return func(yield func(sender.Listed) bool) {
		s.Helper()
		for range 100 {
			p, err := b.List(s.Context(), q)
			if err != nil {
				s.Fatalf("List %+v: %v", q, err)
			}
			if q.Limit > 0 && len(p.Items) > q.Limit || q.Scan > 0 && p.Looked > q.Scan {
				s.Fatalf("List %+v gave %d items, and looked at %d", q, len(p.Items), p.Looked)
			}
			for _, it := range p.Items {
				if it.Err != nil {
					s.Fatalf("List %+v: %v", q, it.Err)
				}
				if !yield(it) {
					return
				}
			}
			if p.Next == "" {
				return
			}
			q.After = p.Next
		}
		s.Fatalf("List %+v goes on after 100 pages", q)
	}
}
