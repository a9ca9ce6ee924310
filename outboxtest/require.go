package outboxtest

import (
	"fmt"
	"strings"

	"github.com/seed8107221f/outbox/sender"
)

// RequirePut fails t unless exactly one event that matches w was put since the last RequirePut,
// RequirePuts, RequireNothingPut or Forget, and returns it. Two are ambiguous, and fail: say more
// in w. Other events are passed over, and count as seen; RequirePuts names several events at once.
// The Seq of the item is zero; methods that take an item find it by its ID.
func (b *Outbox) RequirePut(w Want) sender.Item {
	b.t.Helper()
	put := b.journal.since()
	var found []*event
	var others []string
	for _, e := range put {
		if d := w.differs(e.item); d != "" {
			others = append(others, e.name()+": "+d)
		} else {
			found = append(found, e)
		}
	}
	switch len(found) {
	case 1:
		return cloneItem(found[0].item)
	case 0:
		b.t.Fatalf("outboxtest: %s was not put%s", w, list("what was put instead", others, b.journal.before()))
	}
	b.t.Fatalf("outboxtest: %s was put %d times, which is ambiguous:%s", w, len(found), names(found))
	return sender.Item{}
}

// RequirePuts fails t unless exactly these events were put since the last RequirePut, RequirePuts,
// RequireNothingPut or Forget, and no others: those of each key in this order, those of different
// keys in any. Each event takes the first Want that fits and is not taken. It returns them in the
// order of ws.
func (b *Outbox) RequirePuts(ws ...Want) []sender.Item {
	b.t.Helper()
	if len(ws) == 0 {
		b.t.Fatalf("outboxtest: RequirePuts wants no event: RequireNothingPut says so")
	}
	put := b.journal.since()
	items := make([]sender.Item, len(ws))
	taken := make([]bool, len(ws))
	latest := map[string]int{} // by key: the place of the Want that its last event took
	var others []string
	for _, e := range put {
		why, place := "", -1
		for i, w := range ws {
			d := w.differs(e.item)
			switch {
			case taken[i]:
			case d != "":
				if why == "" {
					why = d
				}
			case place < 0:
				place = i
			}
		}
		if place < 0 {
			others = append(others, e.name()+strings.TrimSuffix(": "+why, ": "))
			continue
		}
		key := e.item.Key
		if last, ok := latest[key]; ok && key != "" && place < last {
			b.t.Fatalf("outboxtest: %s was put after %s, of the same key:%s", ws[place], ws[last], names(put))
		}
		items[place], taken[place], latest[key] = cloneItem(e.item), true, place
	}
	for i, w := range ws {
		if !taken[i] {
			b.t.Fatalf("outboxtest: %s was not put%s", w, list("what was put instead", others, b.journal.before()))
		}
	}
	if others != nil {
		b.t.Fatalf("outboxtest: more was put than %d events%s", len(ws), list("the others", others, 0))
	}
	return items
}

// RequireNothingPut fails t if anything was put since the last RequirePut, RequirePuts,
// RequireNothingPut or Forget.
func (b *Outbox) RequireNothingPut() {
	b.t.Helper()
	if put := b.journal.since(); len(put) > 0 {
		b.t.Fatalf("outboxtest: %d events were put:%s", len(put), names(put))
	}
}

// Forget takes what was put so far as set-up: no RequirePut, RequirePuts or RequireNothingPut sees
// it.
func (b *Outbox) Forget() { b.journal.since() }

// RequireDelivered fails t unless exactly one event that matches w was delivered, according to the
// latest Drain or Settle or after it, and returns it.
func (b *Outbox) RequireDelivered(w Want) sender.Item {
	b.t.Helper()
	var found []outcome
	var others []string
	for _, o := range b.journal.delivered() {
		o.item.Due = o.event.item.Due // a retry has changed it
		if d := w.differs(o.item); d != "" {
			others = append(others, o.event.name()+": "+d)
		} else {
			found = append(found, o)
		}
	}
	if len(found) != 1 {
		b.t.Fatalf("outboxtest: %s was delivered %d times, want once%s", w, len(found), list("what else was delivered", others, 0))
	}
	return found[0].item
}

// RequireDead fails t unless exactly one event that matches w is among the dead now, and returns
// it, with the reason in LastErr and with its History. Revive, Drop and Edit take it as it is.
func (b *Outbox) RequireDead(w Want) sender.Item {
	b.t.Helper()
	var found []sender.Item
	var others []string
	for it, err := range b.Dead() {
		if err != nil {
			b.t.Fatalf("outboxtest: %v", err)
		}
		e := b.journal.event(it)
		it.Due = e.item.Due // a retry has changed it
		if d := w.differs(it); d != "" {
			others = append(others, e.name()+": "+d)
		} else {
			found = append(found, it)
		}
	}
	if len(found) != 1 {
		b.t.Fatalf("outboxtest: %s is %d times among the dead, want once%s", w, len(found), list("what else is dead", others, 0))
	}
	return found[0]
}

// since returns what was put since it was called last.
func (j *journal) since() []*event {
	j.mu.Lock()
	defer j.mu.Unlock()
	put := j.puts[j.seen:]
	j.passed, j.seen = j.seen, len(j.puts)
	return put
}

// before returns how much had been put, and seen, before what the latest since returned.
func (j *journal) before() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.passed
}

// delivered returns what was delivered since the report before the latest one.
func (j *journal) delivered() []outcome {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.outcomes[delivered][j.reported[delivered]:]
}

// event returns the event that an item is of.
func (j *journal) event(it sender.Item) *event {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.find(it)
}

// name says which event it is.
func (e *event) name() string {
	return orDash(e.item.Key) + " " + orDash(e.item.Kind) + " " + short(e.item.ID)
}

func names(events []*event) string {
	var text strings.Builder
	for _, e := range events {
		fmt.Fprintf(&text, "\n\t%s", e.name())
	}
	return text.String()
}

// list writes lines under a title. seen is how many events an earlier call has seen.
func list(title string, lines []string, seen int) string {
	var text strings.Builder
	if lines != nil {
		fmt.Fprintf(&text, "; %s:\n\t%s", title, strings.Join(lines, "\n\t"))
	}
	if seen > 0 {
		fmt.Fprintf(&text, "\n\t%d events before were seen by an earlier call or forgotten; one RequirePuts names all that belong together", seen)
	}
	return text.String()
}
