package order

import (
	"fmt"
	"slices"
	"testing"
)

// lane makes a world with items of these keys in ready; the first is seq1.
func lane(keys ...uint64) *world {
	w := newWorld(100, 10, 0)
	for _, key := range keys {
		w.put(key, 0, 0, fine)
	}
	return w
}

// claims hands out up to n items, and returns the Seqs.
func claims(t *testing.T, w *world, n int) (seqs []uint64) {
	t.Helper()
	had := len(w.held)
	if err := w.claim(n, false); err != nil {
		t.Fatal(err)
	}
	for _, h := range w.held[had:] {
		seqs = append(seqs, h.at.Seq)
	}
	return seqs
}

func wantClaims(t *testing.T, w *world, n int, want ...uint64) {
	t.Helper()
	if got := claims(t, w, n); !slices.Equal(got, want) {
		t.Fatalf("claimed %v, want %v", got, want)
	}
}

// become settles items in flight, by their Seqs.
func become(t *testing.T, w *world, v verdict, seqs ...uint64) {
	t.Helper()
	var os []outcome
	for _, seq := range seqs {
		i := slices.IndexFunc(w.held, func(h held) bool { return h.at.Seq == seq })
		if i < 0 {
			t.Fatalf("seq%d is not in flight", seq)
		}
		os = append(os, outcome{rec: w.held[i].rec, at: w.held[i].at, v: v, due: w.now + 1})
	}
	w.settle(fine, os...)
}

func wantDrained(t *testing.T, w *world) {
	t.Helper()
	if err := w.drain(); err != nil {
		t.Fatal(err)
	}
}

func TestZeroOrder(t *testing.T) {
	var o Order
	w := lane(1)
	w.open = true
	r := o.Begin(w, 10)
	if p, _, ok := r.Next(); ok || !o.Stale() || o.Cursor() != 0 || o.HasTurns() || o.Taken(1) || o.InFlight(1) {
		t.Errorf("a stale order hands out %v", p)
	}
	if awaited, mayBeSent := o.MarkSettling(Place{Seq: 1}, Gone); awaited || mayBeSent || o.Settled(Place{Seq: 1}, Gone, true) {
		t.Error("it knows of an item in flight")
	}
	o.Dropped(Place{Seq: 1, Due: 1, Key: 1})
	o.Withdraw(1)
	o.Invalidate(func(uint64) bool { return true })
	if o.Unsent(9) || o.Sent(9) || o.Counts() != (Counts{}) {
		t.Errorf("counts %+v", o.Counts())
	}
}

func TestOneOfAKeyAtATime(t *testing.T) {
	w := lane(1, 1, 2, 0, 0, 1)
	wantClaims(t, w, 9, 1, 3, 4, 5)
	if c := w.o.Counts(); c != (Counts{InLine: 2, InFlight: 4}) {
		t.Errorf("counts %+v", c)
	}
	become(t, w, delivered, 1)
	wantClaims(t, w, 9, 2)
	become(t, w, retry, 2)
	wantClaims(t, w, 9)
	w.now++
	wantClaims(t, w, 9, 2)
	become(t, w, dead, 2)
	wantClaims(t, w, 9, 6)
	wantDrained(t, w)
}

// Released items go before items whose turn it is, in the order in which they were released together.
func TestReleasedGoFirst(t *testing.T) {
	w := lane(1, 1, 0, 0, 0)
	wantClaims(t, w, 3, 1, 3, 4)
	become(t, w, delivered, 1) // seq2 has its turn
	become(t, w, released, 3, 4)
	w.o.next = Turns
	wantClaims(t, w, 1, 3)
	w.o.next = Turns
	wantClaims(t, w, 1, 4)
	w.o.next = Turns
	wantClaims(t, w, 1, 2)
	wantDrained(t, w)
}

// The sources take turns, also across Rounds and Rebuild.
func TestSourcesTakeTurns(t *testing.T) {
	w := lane(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	claims(t, w, 6)
	become(t, w, retry, 1, 2, 3)
	become(t, w, released, 4, 5, 6)
	w.now++
	w.o.next = Turns
	for i, want := range []uint64{4, 1, 7, 5, 2, 8, 6, 3, 9, 10} {
		wantClaims(t, w, 1, want)
		if i == 8 {
			w.o.Invalidate(nil)
		}
	}
	w.o.Invalidate(nil)
	if next := w.o.next; claims(t, w, 0) != nil || w.o.next != next {
		t.Errorf("a rebuild moves the rotation from %d to %d", next, w.o.next)
	}
	wantDrained(t, w)
}

// A Round ends after its steps, whatever it meets, and the next one goes on from there.
func TestSteps(t *testing.T) {
	w := lane(1)
	claims(t, w, 1)
	for range 1000 {
		w.put(1, 0, 0, fine)
	}
	w.put(0, 0, 0, fine)
	w.open = true
	for i := range 10 {
		r := w.o.Begin(w, 100)
		if p, _, ok := r.Next(); ok || !r.Spent() || w.o.Counts().InLine != (i+1)*100 {
			t.Fatalf("round %d: %v, %t, counts %+v", i, p, ok, w.o.Counts())
		}
	}
	r := w.o.Begin(w, 1)
	if p, src, ok := r.Next(); !ok || src != Ready || p.Seq != 1002 || r.Spent() {
		t.Fatalf("found %v, %t", p, ok)
	}
	if r.Take(); !r.Spent() {
		t.Error("an item that is handed out is not a step")
	}
	if p, _, ok := r.Next(); ok {
		t.Errorf("found %v without steps", p)
	}

	// Those in flight are no steps, since each Round meets them first.
	w = lane(0, 0, 0, 0)
	claims(t, w, 4)
	become(t, w, retry, 1, 2, 3, 4)
	w.now++
	for _, want := range []uint64{1, 2, 3, 4} {
		w.steps = 1
		wantClaims(t, w, 1, want)
	}
	wantDrained(t, w)
}

// The cursor stops while too many wait, and goes on as soon as a line is shorter, by its owner too.
func TestMaxWaiting(t *testing.T) {
	w := lane(1, 1, 1, 1, 0)
	w.o.MaxWaiting = 2
	wantClaims(t, w, 9, 1)
	if c := w.o.Counts(); c.InLine != 2 || w.o.Cursor() != 3 {
		t.Errorf("counts %+v, cursor %d", c, w.o.Cursor())
	}
	become(t, w, delivered, 1)
	w.drop(&w.d.ready, 0, fine)
	w.drop(&w.d.ready, 0, fine)
	w.o.next = Ready
	wantClaims(t, w, 9, 4, 5)
	wantDrained(t, w)
}

// A source that needs the file is asked again once that is open.
func TestResume(t *testing.T) {
	w := lane(1, 1, 0, 0)
	wantClaims(t, w, 2, 1, 3) // reads all four ahead
	become(t, w, delivered, 1)
	w.open = false
	r := w.o.Begin(w, 10)
	if p, src, ok := r.Next(); !ok || src != Ready || p.Seq != 4 || !w.o.HasTurns() {
		t.Errorf("found %v, %t without the file", p, ok)
	}
	w.memory = true
	wantClaims(t, w, 9, 4, 2)
	become(t, w, delivered, 2, 3, 4)
	wantDrained(t, w)
}

// A claim may see a commit before the order learns of it. What it gives away then is not given away
// again.
func TestDropSeenByAClaim(t *testing.T) {
	w := lane(1, 1, 1)
	claims(t, w, 1)
	become(t, w, retry, 1)
	w.o.Invalidate(nil)
	w.drop(&w.d.later, 0, late)
	wantClaims(t, w, 9, 2)
	w.tell()
	wantClaims(t, w, 9)
	wantDrained(t, w)
}

// What was in flight at a Rebuild is met again by the cursor once it is released.
func TestReleasedBeyondTheCursor(t *testing.T) {
	w := lane(1, 1, 0)
	claims(t, w, 9)
	w.o.Invalidate(nil)
	wantClaims(t, w, 0) // rebuilds
	become(t, w, released, 3, 1)
	wantClaims(t, w, 9, 1, 3)
	wantDrained(t, w)
}

func TestAwaited(t *testing.T) {
	w := lane(1)
	claims(t, w, 1)
	at := w.held[0].at
	if awaited, mayBeSent := w.o.MarkSettling(at, Sending); awaited || !mayBeSent {
		t.Errorf("awaited %t, may be sent %t", awaited, mayBeSent)
	}
	w.put(1, 0, 0, fine)
	w.open = true
	for _, c := range []struct {
		to   Result
		want bool
	}{{Sending, false}, {Retry, true}} {
		w.o.MarkSettling(at, c.to)
		w.put(1, 0, 0, fine)
		r := w.o.Begin(w, 10)
		if _, _, ok := r.Next(); ok || r.Awaited() != c.want {
			t.Errorf("result %d is awaited: %t, want %t", c.to, r.Awaited(), c.want)
		}
	}
	if awaited, mayBeSent := w.o.MarkSettling(at, Released); !awaited || !mayBeSent {
		t.Errorf("awaited %t, may be sent %t", awaited, mayBeSent)
	}
	if awaited, mayBeSent := w.o.MarkSettling(Place{Seq: at.Seq, Due: 7}, Released); awaited || mayBeSent || w.o.Holds(Place{Seq: at.Seq, Due: 7}) {
		t.Error("the item was not claimed there")
	}
	wantDrained(t, w)
}

func TestCountsAndMarks(t *testing.T) {
	w := lane(0, 0, 1, 1)
	claims(t, w, 9)
	become(t, w, retry, 1)
	w.now++
	wantClaims(t, w, 9, 1)
	become(t, w, sending, 2)
	if c := w.o.Counts(); c != (Counts{InLine: 1, InFlight: 3, Later: 1, Sent: 1}) {
		t.Errorf("counts %+v", c)
	}
	if w.o.Sent(1) || !w.o.Sent(2) || w.o.Unsent(0) || !w.o.Unsent(1) {
		t.Error("wrong about 1 or 2")
	}
	become(t, w, sending, 1) // it does not lie in later any more
	if c := w.o.Counts(); c != (Counts{InLine: 1, InFlight: 3, Sent: 2}) {
		t.Errorf("counts %+v", c)
	}
	w.drop(&w.d.dead, 1, fine)
	if c := w.o.Counts(); c.Sent != 1 || !w.o.Unsent(9) {
		t.Errorf("counts %+v", c)
	}
	become(t, w, delivered, 1, 2, 3)
	if w.o.Unsent(3) || !w.o.Unsent(4) || w.o.Cursor() != 4 {
		t.Error("seq4 alone has its turn")
	}
	wantClaims(t, w, 1, 4)
	become(t, w, released, 4)
	if w.o.Unsent(3) || !w.o.Unsent(4) {
		t.Error("seq4 alone is at the front")
	}
	w.o.Invalidate(nil)
	if w.o.Cursor() != 0 {
		t.Error("a stale order has a cursor")
	}
	wantDrained(t, w)
}

// The disk should never hold two failed items of a key. If it does, they go one at a time.
func TestTwoFailedOfAKey(t *testing.T) {
	w := newWorld(100, 1, 0)
	w.d.later = []rec{{id: 1, seq: 1, key: 1, due: 1}, {id: 2, seq: 2, key: 1, due: 1}}
	w.d.put, w.d.seq = 2, 2
	wantClaims(t, w, 9, 1)
	become(t, w, delivered, 1)
	wantClaims(t, w, 9, 2)
	wantDrained(t, w)
}

// source is an endless ready with some keys.
type source struct{ keys uint64 }

func (s source) Ready(uint64) (there, ok bool)    { return true, true }
func (s source) Due(Place) (Place, bool)          { return Place{}, false }
func (s source) Fresh(after uint64) (Place, bool) { return s.at(after + 1), true }

func (s source) at(seq uint64) Place {
	p := Place{Seq: seq}
	if s.keys > 0 {
		p.Key = 1 + seq%s.keys
	}
	return p
}

// pass hands out ten items and delivers them.
func (s *source) pass(o *Order, places []Place) {
	r := o.Begin(s, 512)
	for range 10 {
		p, _, ok := r.Next()
		if !ok {
			break
		}
		r.Take()
		places = append(places, p)
	}
	for _, p := range places {
		o.MarkSettling(p, Gone)
	}
	for _, p := range places {
		o.Settled(p, Gone, true)
	}
}

func rebuilt() *Order {
	o := new(Order)
	o.Rebuild(func(func(Place) bool) {})
	return o
}

// A busy lane whose keys are free allocates nothing for an item.
func TestAllocations(t *testing.T) {
	for _, keys := range []uint64{0, 1000} {
		o, s, places := rebuilt(), &source{keys}, make([]Place, 0, 10)
		s.pass(o, places)
		if n := testing.AllocsPerRun(1000, func() { s.pass(o, places) }); n > 0 {
			t.Errorf("%d keys: %.2f allocations for 10 items", keys, n)
		}
	}
}

func BenchmarkPass(b *testing.B) {
	for _, keys := range []uint64{0, 1000, 3} {
		b.Run(fmt.Sprint(keys, " keys"), func(b *testing.B) {
			o, s, places := rebuilt(), &source{keys}, make([]Place, 0, 10)
			o.MaxWaiting = 1000
			b.ReportAllocs()
			for i := 0; i < b.N; i += 10 {
				s.pass(o, places)
			}
		})
	}
}
