package sendertest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox/sender"
)

// Walk drives a queue by random steps (puts, claims, outcomes, repetitions, pauses; crashes, drops,
// revivals and failures where it can do them) beside a model of what must become of each item, and
// then until it is empty. After every step no key is in flight twice, the order of each key is
// kept, and the ledger and the listings agree; in the end nothing is lost. The same seed takes the
// same steps.
//
// [Test] takes a few walks with new seeds each time; a failed one tells its seed and its last
// steps.
func Walk(t *testing.T, open func(t *testing.T) Queue, seed uint64) {
	bubble(t, func(t *testing.T) {
		w := &walk{
			subject: &subject{t, open(t)},
			rng:     rand.New(rand.NewPCG(seed, 0)),
			byID:    make(map[uuid.UUID]*traced),
			bySeq:   make(map[uint64]*traced),
		}
		defer func() {
			if t.Failed() {
				t.Logf("seed %d, the last steps:\n%s", seed, strings.Join(w.log[max(0, len(w.log)-40):], "\n"))
			}
		}()
		for range 250 {
			w.step()
			w.check()
			w.look()
		}
		w.drain()
	})
}

// walk is the model: what the queue was told, and so what it must hold. Owned by the test's
// goroutine.
type walk struct {
	*subject
	rng    *rand.Rand
	items  []*traced // in the order of their places: a revived one moves to the end
	byID   map[uuid.UUID]*traced
	bySeq  map[uint64]*traced // all that were ever claimed
	unsure []sender.Outcome   // of a Settle that failed, and is to be repeated
	stored bool               // unsure had been applied
	paused time.Time
	counts sender.Counts // Put, Delivered, Expired, Dropped
	log    []string
}

var errTold = errors.New("told to fail")

// fate is where an item is now.
type fate string

const (
	waiting fate = "waiting" // in ready, or scheduled
	failed  fate = "failed"  // in later
	dead    fate = "dead"
	gone    fate = "gone"
)

// traced is one item, and what must be true of it.
type traced struct {
	sender.Item // as last put, claimed or settled; Seq is 0 until it has been claimed
	fate        fate
	scheduled   bool // its place is not the place of its put
	held        bool
	sending     bool // recorded as Sending: a crash finds it dead
	revived     bool // and not claimed since
}

func (x *traced) pending() bool { return x.fate == waiting || x.fate == failed }

func (w *walk) say(format string, args ...any) {
	w.log = append(w.log, time.Now().Format("04:05.000 ")+fmt.Sprintf(format, args...))
}

// with returns the items for which f is true.
func (w *walk) with(f func(*traced) bool) []*traced {
	return slices.DeleteFunc(slices.Clone(w.items), func(x *traced) bool { return !f(x) })
}

// some returns a random choice of xs, at least one if there is one.
func (w *walk) some(xs []*traced) []*traced {
	w.rng.Shuffle(len(xs), func(i, j int) { xs[i], xs[j] = xs[j], xs[i] })
	if len(xs) == 0 {
		return nil
	}
	return xs[:1+w.rng.IntN(len(xs))]
}

func (w *walk) seconds(max int) time.Duration {
	return time.Duration(1+w.rng.IntN(max*1000)) * time.Millisecond
}

func (w *walk) step() {
	if len(w.unsure) > 0 { // like the sender: nothing is claimed before the repetition succeeded
		switch w.rng.IntN(4) {
		case 0:
			w.crash()
		case 1:
			time.Sleep(w.seconds(1))
		default:
			w.settle(w.unsure, w.rng.IntN(3) == 0)
		}
		return
	}
	switch n := w.rng.IntN(100); {
	case n < 32:
		w.put()
	case n < 58:
		w.take(1 + w.rng.IntN(3))
	case n < 64:
		w.markSending()
	case n < 80:
		w.answer()
	case n < 90:
		time.Sleep(w.seconds(2))
	case n < 93:
		w.drop()
	case n < 96:
		w.revive()
	default:
		w.crash()
	}
}

func (w *walk) put() {
	var items []sender.Item
	for range 1 + w.rng.IntN(3) {
		it := newItem(fmt.Sprintf("%s%d", []string{"", "a", "b", "c"}[w.rng.IntN(4)], len(w.items)+1))
		x := &traced{Item: it, fate: waiting, scheduled: w.rng.IntN(6) == 0}
		if x.scheduled {
			it.Due = time.Now().Add(w.seconds(5))
			x.Due = it.Due
		}
		w.say("put %s due %v", it.Payload, it.Due)
		w.items, w.byID[it.ID] = append(w.items, x), x
		items = append(items, it)
	}
	w.append(items...)
	w.counts.Put += uint64(len(items))
}

// take claims, and checks each item that it gets.
func (w *walk) take(max int) {
	got, next := w.claimNext(max)
	paused := w.paused.After(time.Now())
	if paused && !near(w.paused, time.Now()) && (len(got) > 0 || !near(next, w.paused)) {
		w.Fatalf("claimed %q, next %v, during a pause until %v", payloads(got), next, w.paused)
	}
	for _, it := range got {
		w.say("claimed %s, Seq %d", it.Payload, it.Seq)
		w.verify(it)
	}
	if len(got) < max && !paused {
		w.stalled()
	}
}

// stalled checks that nothing was held back without a reason when Claim had no more to give.
func (w *walk) stalled() {
	for _, x := range w.with(func(x *traced) bool { return x.pending() && !x.held && !x.Due.After(time.Now()) }) {
		reasons := w.with(func(y *traced) bool {
			return x.fate == waiting && x.Key != "" && x.Key == y.Key && (y.held || y.fate == failed)
		})
		if len(reasons) == 0 {
			w.Fatalf("%s is %s and could be claimed, and was not", x.Payload, x.fate)
		}
	}
}

func (w *walk) verify(it sender.Item) {
	x := w.byID[it.ID]
	if x == nil || string(it.Payload) != string(x.Payload) || it.Key != x.Key {
		w.Fatalf("claimed %+v, which was never put", it)
	}
	if !x.pending() || x.held {
		w.Fatalf("claimed %s, which is %s; in flight: %v", it.Payload, x.fate, x.held)
	}
	if now := time.Now(); x.Due.After(now) {
		w.Fatalf("claimed %s at %v, due at %v", it.Payload, now, x.Due)
	}
	if x.fate == failed && !it.Due.Equal(x.Due) || x.fate == waiting && !it.Due.IsZero() {
		w.Fatalf("claimed %s with Due %v, it is %s and due %v", it.Payload, it.Due, x.fate, x.Due)
	}
	if it.Attempts != x.Attempts || !x.revived && (it.Failures != x.Failures || it.LastErr != x.LastErr || !it.FailedAt.Equal(x.FailedAt)) {
		w.Fatalf("claimed %+v, want the state of %+v", it, x.Item)
	}
	if was := w.bySeq[it.Seq]; was != nil && was != x || x.Seq != 0 && x.Seq != it.Seq {
		w.Fatalf("claimed %s with Seq %d; it had %d before", it.Payload, it.Seq, x.Seq)
	}
	x.Item, x.held, x.revived = it, true, false
	w.bySeq[it.Seq] = x
	if x.Key == "" {
		return
	}
	behind := false // whether y stands behind x, by their puts
	for _, y := range w.items {
		if y == x {
			behind = true
			continue
		}
		if y.Key != x.Key {
			continue
		}
		before := y.Seq != 0 && y.Seq < x.Seq || !x.scheduled && !y.scheduled && !behind
		if y.held || y.fate == failed || y.pending() && before {
			w.Fatalf("claimed %s (Seq %d) while %s (Seq %d) is %s; in flight: %v", x.Payload, x.Seq, y.Payload, y.Seq, y.fate, y.held)
		}
	}
}

// answer settles some of the items in flight, at times twice.
func (w *walk) answer() {
	var outcomes []sender.Outcome
	for _, x := range w.some(w.with(func(x *traced) bool { return x.held })) {
		o := sender.Outcome{Item: x.Item}
		switch n := w.rng.IntN(20); {
		case n < 9:
			o.Verdict = sender.Delivered
		case n < 15:
			o.Verdict, o.Due = sender.Retry, time.Now().Add(w.seconds(5))
			o.Item.Failures++
			o.Item.Attempts += n % 2
			o.Item.LastErr, o.Item.FailedAt = fmt.Sprintf("failure %d", o.Item.Failures), time.Now()
		case n < 17:
			o.Verdict = sender.Released
		case n < 19:
			o.Verdict = sender.Dead
		default:
			o.Verdict = sender.Expired
		}
		if w.rng.IntN(30) == 0 {
			o.PauseUntil = time.Now().Add(w.seconds(3))
		}
		outcomes = append(outcomes, o)
	}
	if len(outcomes) == 0 {
		return
	}
	w.settle(outcomes, w.rng.IntN(8) == 0)
	if len(w.unsure) == 0 && w.rng.IntN(4) == 0 {
		w.say("the same again")
		w.record(outcomes...)
	}
}

// settle settles outcomes, which fails if told to and the queue can.
func (w *walk) settle(outcomes []sender.Outcome, fail bool) {
	f, ok := w.q.(Failer)
	again, stored := len(w.unsure) > 0, w.stored
	fail = fail && ok
	apply := !fail
	if fail {
		apply = w.rng.IntN(2) == 0
		f.FailNext(1, errTold, apply)
	}
	err := w.q.Settle(w.Context(), outcomes...)
	for _, o := range outcomes {
		w.say("settled %s, Seq %d: %v, due %v, pause %v: %v (applied %v)", o.Item.Payload, o.Item.Seq, o.Verdict, o.Due, o.PauseUntil, err, apply)
	}
	if fail != errors.Is(err, errTold) || !fail && err != nil {
		w.Fatalf("Settle: %v; told to fail: %v", err, fail)
	}
	if apply && !(again && stored) {
		w.apply(outcomes)
	}
	if fail {
		w.unsure, w.stored = outcomes, apply || again && stored
		return
	}
	w.unsure, w.stored = nil, false
	for _, o := range outcomes {
		w.byID[o.Item.ID].held = false
	}
}

// apply does to the model what the outcomes do to the queue.
func (w *walk) apply(outcomes []sender.Outcome) {
	for _, o := range outcomes {
		if o.PauseUntil.After(w.paused) {
			w.paused = o.PauseUntil
		}
		x := w.byID[o.Item.ID]
		if !x.pending() { // dropped
			continue
		}
		x.sending = false
		switch o.Verdict {
		case sender.Delivered:
			x.fate = gone
			w.counts.Delivered++
		case sender.Expired:
			x.fate = gone
			w.counts.Expired++
		case sender.Retry:
			x.Item, x.Due, x.fate = o.Item, o.Due, failed
		case sender.Dead:
			x.fate = dead
		}
	}
}

func (w *walk) drop() {
	o, ok := w.q.(Owner)
	if !ok {
		return
	}
	if known := w.some(w.with(func(x *traced) bool { return x.fate != gone && x.Seq != 0 })); len(known) > 0 {
		x := known[0]
		w.say("drop %s", x.Payload)
		o.Drop(x.Seq)
		x.fate = gone
		w.counts.Dropped++
	}
}

func (w *walk) revive() {
	o, ok := w.q.(Owner)
	if !ok {
		return
	}
	for _, x := range w.some(w.with(func(x *traced) bool { return x.fate == dead })) {
		w.say("revive %s", x.Payload)
		o.Revive(x.Seq)
		x.Seq, x.Due, x.Attempts = 0, time.Time{}, 0
		x.fate, x.scheduled, x.revived = waiting, false, true
		i := slices.Index(w.items, x)
		w.items = append(slices.Delete(w.items, i, i+1), x)
	}
}

// crash forgets what is in flight: in a crash, or because another sender is attached.
func (w *walk) crash() {
	_, canCrash := w.q.(Reopener)
	q, exclusive := w.q.(sender.Exclusive)
	switch {
	case exclusive && len(w.unsure) == 0 && (!canCrash || w.rng.IntN(2) == 0):
		w.say("another sender is attached")
		q.Detach()
		if err := q.Attach(func() {}); err != nil {
			w.Fatal(err)
		}
	case canCrash:
		w.say("crash")
		w.reopen()
	default:
		return
	}
	w.unsure, w.stored = nil, false
	for _, x := range w.items {
		if x.sending && x.pending() {
			x.fate = dead
		}
		x.held, x.sending = false, false
	}
}

// check compares the ledger of a Counter with the model.
func (w *walk) check() {
	c, ok := w.q.(Counter)
	if !ok {
		return
	}
	synctest.Wait() // for what a queue commits beside Claim
	want, got := w.counts, c.Counts()
	if len(w.unsure) == 0 { // else what is recorded and what is held may disagree
		w.adds(got)
	}
	want.Pending = len(w.with((*traced).pending))
	want.Dead = len(w.with(func(x *traced) bool { return x.fate == dead }))
	want.InFlight = len(w.with(func(x *traced) bool { return x.held }))
	got = ledger(got)
	got.Scheduled, got.Retrying = 0, 0 // the model does not know
	if got != want {
		w.Fatalf("the ledger is %+v, want %+v", got, want)
	}
}

// look compares the listings of a Browser with the model, now and then.
func (w *walk) look() {
	b, ok := w.q.(sender.Browser)
	if !ok || len(w.unsure) > 0 || len(w.log)%16 > 0 {
		return
	}
	listed := map[uuid.UUID]sender.State{}
	for _, state := range states { // in line and in flight after ready, which has them too
		for it := range w.pages(b, sender.Query{State: state, Limit: 50}) {
			if was, again := listed[it.ID]; again && was != it.State {
				w.Fatalf("%s is listed as %s and as %s", it.Payload, was, it.State)
			}
			listed[it.ID] = it.State
		}
	}
	for _, x := range w.items {
		state, is := listed[x.ID]
		delete(listed, x.ID)
		if is != (x.fate != gone) || is && ((state == sender.StateDead) != (x.fate == dead) || (state == sender.StateInFlight) != (x.held && x.pending())) {
			w.Fatalf("%s is %s, in flight: %v; it is listed as %q", x.Payload, x.fate, x.held, state)
		}
	}
	if len(listed) > 0 {
		w.Fatalf("%d more items are listed than were put", len(listed))
	}
}

// drain delivers everything that is left.
func (w *walk) drain() {
	w.say("drain")
	for range 10000 {
		if len(w.unsure) > 0 {
			w.settle(w.unsure, false)
		}
		w.take(3)
		var outcomes []sender.Outcome
		for _, x := range w.with(func(x *traced) bool { return x.held }) {
			outcomes = append(outcomes, sender.Outcome{Item: x.Item, Verdict: sender.Delivered})
		}
		if len(outcomes) > 0 {
			w.settle(outcomes, false)
			w.check()
			continue
		}
		_, next, err := w.q.Claim(context.WithoutCancel(w.Context()), time.Now(), 0, 0)
		if err != nil || next.IsZero() {
			break
		}
		until(next)
	}
	if lost := w.with((*traced).pending); len(lost) > 0 {
		w.Fatalf("%d items never came, the first is %s", len(lost), lost[0].Payload)
	}
}
