package order

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
)

func long() bool { return os.Getenv("OUTBOX_LONG") != "" }

// op is one step of a sequence. do is false if there is nothing that it could be done to.
type op struct {
	name string
	do   func(*world) (done bool, err error)
}

func step(name string, do func(*world)) op {
	return op{name, func(w *world) (bool, error) { do(w); return true, nil }}
}

func claimOp(n int, memory, fails bool) op {
	return op{fmt.Sprintf("claim %d, memory %t, fails %t", n, memory, fails), func(w *world) (bool, error) {
		w.memory = memory
		return true, w.claim(n, fails)
	}}
}

// settleOp settles the nth item in flight that has no outcome yet.
func settleOp(nth int, v verdict, f fault) op {
	return op{fmt.Sprint("settle ", nth, verdictNames[v], faultNames[f]), func(w *world) (bool, error) {
		if w.kept != nil {
			return false, nil
		}
		n := nth
		for _, h := range w.held {
			if h.settling || v == sending && h.sent {
				continue
			}
			if n--; n < 0 {
				w.settle(f, outcome{rec: h.rec, at: h.at, v: v, due: w.now + 1})
				return true, nil
			}
		}
		return false, nil
	}}
}

// dropOp drops the first item of a bucket, in flight or not, or the last.
func dropOp(bucket int, last bool, f fault) op {
	return op{fmt.Sprint("drop ", bucket, last, faultNames[f]), func(w *world) (bool, error) {
		b := w.d.buckets()[bucket]
		if len(*b) == 0 {
			return false, nil
		}
		i := 0
		if last {
			i = len(*b) - 1
		}
		w.drop(b, i, f)
		return true, nil
	}}
}

// again settles once more what was kept, as a caller does who was told an error, or what was told last,
// as one does who did not hear of it.
func again(w *world) (bool, error) {
	os := append([]outcome(nil), w.kept...)
	if os == nil {
		for _, o := range w.last {
			if o.v == sending || slices.ContainsFunc(w.held, func(h held) bool { return h.at == o.at }) {
				return false, nil // it was claimed there again since
			}
		}
		os = append(os, w.last...)
	}
	if len(os) == 0 {
		return false, nil
	}
	w.settle(fine, os...)
	return true, nil
}

var ops = []op{
	claimOp(1, false, false),
	claimOp(9, false, false),
	claimOp(1, true, false),
	claimOp(2, false, true),
	settleOp(0, delivered, fine),
	settleOp(1, delivered, fine),
	settleOp(0, delivered, late),
	settleOp(0, delivered, durable),
	settleOp(0, retry, fine),
	settleOp(0, retry, durable),
	settleOp(0, released, fine),
	settleOp(0, sending, fine),
	settleOp(0, dead, fine),
	dropOp(0, false, fine),
	dropOp(0, true, fine),
	dropOp(2, false, fine),
	dropOp(2, false, late),
	dropOp(3, false, fine),
	{"again", again},
	{"revive", func(w *world) (bool, error) {
		if len(w.d.dead) == 0 || w.o.InFlight(w.d.dead[0].seq) {
			return false, nil
		}
		w.revive(0, fine)
		return true, nil
	}},
	step("put", func(w *world) { w.put(1, 0, 0, fine) }),
	step("unknown", func(w *world) { w.commit(lost, nil, nil) }),
	step("crash", func(w *world) { w.crash() }),
	step("tick", func(w *world) { w.now++ }),
}

// starts are the lanes that all sequences begin from.
var starts = []struct {
	name string
	ops  []op
}{
	{"two keys", []op{
		step("", func(w *world) { w.put(1, 0, 0, fine) }), step("", func(w *world) { w.put(1, 0, 0, fine) }),
		step("", func(w *world) { w.put(0, 0, 0, fine) }), step("", func(w *world) { w.put(2, 0, 0, fine) }),
		claimOp(1, false, false),
	}},
	{"a line", []op{
		step("", func(w *world) { w.put(1, 0, 0, fine) }), step("", func(w *world) { w.put(1, 0, 0, fine) }),
		step("", func(w *world) { w.put(1, 0, 0, fine) }), claimOp(2, false, false),
	}},
	{"a failed head", []op{
		step("", func(w *world) { w.put(1, 0, 0, fine) }), step("", func(w *world) { w.put(1, 0, 0, fine) }),
		step("", func(w *world) { w.put(2, 3, 0, fine) }), step("", func(w *world) { w.put(1, 0, 0, fine) }),
		claimOp(1, false, false), settleOp(0, retry, fine), claimOp(1, false, false),
	}},
	{"rebuilt in flight", []op{
		step("", func(w *world) { w.put(0, 0, 0, fine) }), step("", func(w *world) { w.put(2, 0, 0, fine) }),
		step("", func(w *world) { w.put(1, 0, 0, fine) }), step("", func(w *world) { w.put(1, 0, 0, fine) }),
		claimOp(9, false, false), settleOp(0, delivered, fine), step("", func(w *world) { w.commit(lost, nil, nil) }),
	}},
}

// run does a sequence, and then drains. done is false if the last op does nothing.
func (w *world) run(seq []op) (done bool, err error) {
	for _, p := range seq {
		if done, err = p.do(w); err == nil {
			err = w.check()
		}
		if err != nil {
			return done, err
		}
	}
	if !done {
		return false, nil
	}
	return true, w.drain()
}

// must runs fn in the world that mk makes and, if it fails, again, to tell how it came to that.
func must(t *testing.T, what string, mk func() *world, fn func(*world) error) {
	t.Helper()
	if fn(mk()) == nil {
		return
	}
	w := mk()
	w.logging = true
	err := fn(w)
	t.Fatalf("%s: %v\n\t%s", what, err, strings.Join(w.log, "\n\t"))
}

// TestSequences runs every short sequence of operations over few items.
func TestSequences(t *testing.T) {
	depth := 3
	switch {
	case long():
		depth = 4
	case testing.Short():
		depth = 2
	}
	for _, start := range starts {
		for _, cfg := range []struct{ steps, ahead, maxWaiting int }{{100, 3, 0}, {1, 1, 1}} {
			t.Run(fmt.Sprint(start.name, ", ", cfg), func(t *testing.T) {
				t.Parallel()
				n := 0
				var extend func(seq []op)
				extend = func(seq []op) {
					n++
					done := false
					must(t, "a sequence", func() *world { return newWorld(cfg.steps, cfg.ahead, cfg.maxWaiting) }, func(w *world) (err error) {
						done, err = w.run(seq)
						return err
					})
					if done && len(seq) < len(start.ops)+depth {
						for _, p := range ops {
							extend(append(seq[:len(seq):len(seq)], p))
						}
					}
				}
				extend(start.ops)
				t.Logf("%d sequences", n)
			})
		}
	}
}

// randomOp does something that a lane may meet.
func randomOp(w *world, r *rand.Rand) error {
	f := fine
	if r.IntN(6) == 0 {
		f = fault(r.IntN(int(faults)))
	}
	at := func(in int64) int64 { return w.now + 1 + r.Int64N(in) }
	w.memory = r.IntN(2) == 0
	switch x := r.IntN(100); {
	case x < 30:
		var due, expires int64
		if r.IntN(6) == 0 {
			due = at(6)
		}
		if r.IntN(6) == 0 {
			expires = at(8)
		}
		w.put(uint64(r.IntN(3)), due, expires, f)
	case x < 56:
		return w.claim(1+r.IntN(3), r.IntN(20) == 0)
	case x < 60:
		w.tell()
	case x < 84:
		if w.kept != nil {
			if w.kept[0].v == sending && r.IntN(2) == 0 {
				for i := range w.kept { // it is not sent after all
					w.kept[i].v = released
				}
			}
			w.settle(f, w.kept...)
			return nil
		}
		var os []outcome
		v := verdict(-1)
		if r.IntN(6) == 0 {
			v = sending // which is never mixed with others
		}
		for _, i := range r.Perm(len(w.held)) {
			h := w.held[i]
			if h.settling || v == sending && h.sent || r.IntN(2) == 0 {
				continue
			}
			o := outcome{rec: h.rec, at: h.at, v: v, due: at(6)}
			switch y := r.IntN(10); {
			case v == sending:
			case h.expires != 0 && h.expires <= w.now:
				o.v = expired
			case y < 4:
				o.v = delivered
			case y < 7:
				o.v = retry
			case y < 9:
				o.v = released
			default:
				o.v = dead
			}
			os = append(os, o)
		}
		if len(os) > 0 {
			w.settle(f, os...)
		}
	case x < 87:
		_, err := again(w)
		return err
	case x < 91:
		w.now += 1 + r.Int64N(3)
	case x < 95:
		if b := w.d.buckets()[r.IntN(4)]; len(*b) > 0 {
			w.drop(b, r.IntN(len(*b)), f)
		}
	case x < 98:
		if n := len(w.d.dead); n > 0 {
			w.revive(r.IntN(n), f)
		}
	default:
		w.crash()
	}
	return nil
}

// TestRuns runs long random sequences.
func TestRuns(t *testing.T) {
	seeds := 1000
	switch {
	case long():
		seeds = 10000
	case testing.Short():
		seeds = 200
	}
	for _, steps := range []int{10, 25, 60, 150} {
		t.Run(fmt.Sprint(steps, " steps"), func(t *testing.T) {
			t.Parallel()
			for seed := range seeds {
				var r *rand.Rand
				must(t, fmt.Sprint("seed ", seed), func() *world {
					r = rand.New(rand.NewPCG(uint64(seed), uint64(steps)))
					return newWorld(1+r.IntN(9), 1+r.IntN(4), r.IntN(4))
				}, func(w *world) error {
					for range steps {
						if err := randomOp(w, r); err != nil {
							return err
						}
						if err := w.check(); err != nil {
							return err
						}
					}
					return w.drain()
				})
			}
		})
	}
}
