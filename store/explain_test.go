package store

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox/internal/campaign"
	"github.com/seed8107221f/outbox/sender"
)

var _ sender.Explainer = (*Store)(nil)

func TestExplain(t *testing.T) {
	t.Parallel()
	s := furnished(t)
	put(t, s, event("d2", "d"), event("d3", "d"), event("e2", "e"))
	claims(t, s, 3) // z1, and meets the others
	byName := make(map[string]sender.Listed)
	for _, state := range states {
		for _, l := range listAll(t, s, sender.Query{State: state}) {
			byName[l.Kind] = l
		}
	}
	for _, c := range []struct {
		name   string
		state  sender.State
		head   string
		behind int
	}{
		{"a1", sender.StateInFlight, "", 0}, {"a2", sender.StateInLine, "a1", 1}, {"b1", sender.StateInFlight, "", 0}, {"b2", sender.StateInLine, "b1", 1},
		{"c1", sender.StateDead, "", 0}, {"d1", sender.StateRetrying, "", 0}, {"d2", sender.StateInLine, "d1", 1}, {"d3", sender.StateInLine, "d1", 2},
		{"e1", sender.StateInFlight, "", 0}, {"e2", sender.StateInLine, "e1", 1}, {"t1", sender.StateScheduled, "", 0}, {"z1", sender.StateInFlight, "", 0},
	} {
		l := byName[c.name]
		for _, seq := range []uint64{l.Seq, 0, l.Seq + 1000, 1} {
			w, err := s.Explain(t.Context(), l.ID, seq)
			if err != nil {
				t.Fatal(c.name, err)
			}
			head := ""
			if w.Head != nil {
				head = w.Head.Kind
			}
			if w.State != c.state || w.Kind != c.name || w.Seq != l.Seq || !w.Due.Equal(l.Due) || head != c.head || w.Behind != c.behind {
				t.Errorf("%s, seen at %d: %s %s behind %d, head %q; want %+v", c.name, seq, w.Kind, w.State, w.Behind, head, c)
			}
			if still := w.State == sender.StateInFlight || w.State == sender.StateDead; still && w.Ahead != 0 || w.Ahead > 6 {
				t.Errorf("%s: %d ahead", c.name, w.Ahead)
			}
		}
	}
	_, err := s.Explain(t.Context(), uuid.New(), 3)
	wantError(t, err, sender.ErrNotFound)
}

// What Explain says, against what then happens.
func TestExplainComesTrue(t *testing.T) {
	t.Parallel()
	for run := range campaign.Pick(2000, 300, 50) {
		r := rand.New(rand.NewPCG(uint64(run), 7))
		s := newStore(t, nil)
		for range 1 + r.IntN(30) {
			switch r.IntN(3) {
			case 0:
				for i, it := range claims(t, s, 1+r.IntN(3)) {
					switch v := []sender.Verdict{sender.Delivered, sender.Retry, sender.Released, sender.Dead}[r.IntN(4)]; {
					case i == 0: // stays in flight
					case v == sender.Retry:
						settle(t, s, failed(it, v, time.Now().Add(time.Duration(r.IntN(60)-10)*time.Minute)))
					default:
						settle(t, s, sender.Outcome{Item: it, Verdict: v})
					}
				}
			default:
				it := event(fmt.Sprint(r.Uint64()), []string{"", "a", "b"}[r.IntN(3)])
				if r.IntN(8) == 0 {
					it.Due = time.Now().Add(time.Duration(1+r.IntN(60)) * time.Minute)
				}
				put(t, s, it)
			}
		}
		var waits []sender.Wait
		for _, state := range states {
			for _, l := range listAll(t, s, sender.Query{State: state}) {
				w, err := s.Explain(t.Context(), l.ID, l.Seq)
				if err != nil {
					t.Fatal(err)
				}
				waits = append(waits, w)
			}
		}
		seen := s.order.Seen()
		var flying []sender.Item
		for _, l := range listAll(t, s, sender.Query{State: sender.StateInFlight}) {
			flying = append(flying, l.Item)
		}
		settle(t, s, delivered(flying...)...)
		went, order := make(map[uuid.UUID]int), []sender.Item(nil) // how many before it
		for range 1000 {
			items, next, err := s.Claim(t.Context(), time.Now().Add(2*time.Hour), 1, 0)
			if err != nil {
				t.Fatal(err)
			}
			for _, it := range items {
				went[it.ID] = len(order)
				order = append(order, it)
			}
			settle(t, s, delivered(items...)...)
			if len(items) == 0 && next.IsZero() {
				break
			}
		}
		for _, w := range waits {
			before, is := went[w.ID]
			if wants := w.State != sender.StateInFlight && w.State != sender.StateDead; is != wants {
				t.Fatalf("run %d: %s was %s; sent: %t", run, w.Kind, w.State, is)
			}
			if is && before > w.Ahead {
				t.Errorf("run %d: %s was %s, %d went before it, at most %d were said to", run, w.Kind, w.State, before, w.Ahead)
			}
			if w.Head == nil {
				continue
			}
			head, is := went[w.Head.ID]
			if is && head >= before {
				t.Errorf("run %d: %s went as number %d, its head as %d", run, w.Kind, before, head)
			}
			behind := 0
			if !is { // it was in flight
				behind = 1
			}
			for _, it := range order[:before] {
				if it.Key == w.Key {
					behind++
				}
			}
			if behind > w.Behind || behind < w.Behind && w.Seq <= seen {
				t.Errorf("run %d: %s went behind %d of its key, said were %d", run, w.Kind, behind, w.Behind)
			}
		}
		if err := errors.Join(s.Check(t.Context()), s.Close()); err != nil {
			t.Fatal(err)
		}
	}
}
