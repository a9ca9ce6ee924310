package sender_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox/sender"
)

// gateway is a destination that loses its routes at times, and always refuses the items called bad. No
// two of its answers come at the same instant, as outside of a bubble. It notes what Permanent says about
// each death. The mutex of its lane guards it.
type gateway struct {
	*lane
	dice      *rand.Rand
	lost      bool // everything is refused
	slow      int  // percent of the requests take up to twenty seconds
	flying    int
	successes []success
	mended    time.Time            // when a success ended the last hold
	kept      map[string]time.Time // when an item was last kept because everything is refused
	dead      []string             // good items
	died      int                  // kept items, since the last success
	faults    []string
}

type success struct{ began, ended time.Time }

func (g *gateway) chance(most time.Duration) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	return time.Duration(1 + g.dice.Int64N(int64(most)))
}

func (g *gateway) set(lost bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.lost = lost
}

// Send answers by what the gateway is in the middle of the request.
func (g *gateway) Send(ctx context.Context, it sender.Item) error {
	began := time.Now()
	half := time.Millisecond + g.chance(25*time.Millisecond)
	g.mu.Lock()
	g.flying++
	if g.dice.IntN(100) < g.slow {
		half += time.Duration(g.dice.Int64N(int64(10 * time.Second)))
	}
	g.mu.Unlock()
	time.Sleep(half)
	g.mu.Lock()
	refused := g.lost || strings.HasPrefix(string(it.Payload), "bad")
	g.mu.Unlock()
	time.Sleep(half)
	st := g.s.Status()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.flying--
	if refused {
		return sender.Permanent(statusError(404))
	}
	now := time.Now()
	if st.Held != "" && began.After(st.HeldSince) {
		g.mended = now
	}
	g.successes = append(g.successes, success{began, now})
	g.died = 0
	return nil
}

func (g *gateway) hear(o sender.Outcome) {
	g.mu.Lock()
	defer g.mu.Unlock()
	name, ended := string(o.Item.Payload), o.Started.Add(o.Took)
	at, kept := g.kept[name]
	delete(g.kept, name)
	switch {
	case o.Verdict == sender.Retry && strings.HasPrefix(o.Item.LastErr, "refused like others"):
		g.kept[name] = o.Item.FailedAt
		return
	case o.Verdict != sender.Dead:
		return
	case strings.HasPrefix(name, "good"):
		g.dead = append(g.dead, name)
	}
	fault := func(what string) {
		g.faults = append(g.faults, fmt.Sprintf("%s, refused from %v to %v: %s", name, o.Started.Sub(g.start), ended.Sub(g.start), what))
	}
	if o.Started.Before(g.mended) && !ended.Before(g.mended) {
		fault("the request is from before the end of the hold")
	}
	if slices.ContainsFunc(g.successes, func(s success) bool { return !s.began.Before(ended) }) {
		return
	}
	if !kept {
		if g.flying > 0 {
			fault("dead, though the answers in flight may be refusals as well")
		}
		return
	}
	if !slices.ContainsFunc(g.successes, func(s success) bool { return s.began.After(at) && !s.ended.After(o.Started) }) {
		fault("dead, but nothing that began after it was kept had succeeded")
	}
	if last := g.successes[len(g.successes)-1]; ended.After(last.ended) {
		if g.died++; g.died > 4 {
			fault("more than four died for one success")
		}
	}
}

// What Permanent says, over many outages, short and long, with items that are good and bad.
func TestRefusedByChance(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			in(t, func(l *lane) {
				g := &gateway{lane: l, dice: rand.New(rand.NewPCG(seed, 1)), kept: make(map[string]time.Time)}
				g.slow = []int{0, 5, 30}[seed%3]
				l.options.Concurrency = []int{1, 3, 10, 40}[seed%4]
				bad := []int{0, 5, 50}[g.dice.IntN(3)] // percent
				l.askOver(g)
				l.s.Observe(g.hear)
				put := func(bad int) {
					kind := "good"
					if g.chance(100) <= time.Duration(bad) {
						kind = "bad"
					}
					l.append(sender.Item{ID: uuid.New(), Created: time.Now(), Payload: fmt.Append(nil, kind, " ", l.Counts().Put)})
				}
				const outages = 8
				for i := range 2 * outages {
					g.set(i%2 == 1)
					end := time.Now().Add(g.chance([]time.Duration{200 * time.Millisecond, 3 * time.Second, time.Minute}[g.dice.IntN(3)]))
					between := []time.Duration{5 * time.Millisecond, 50 * time.Millisecond, 2 * time.Second}[g.dice.IntN(3)]
					for n := 0; time.Now().Before(end) && n < 100; n++ {
						put(bad)
						time.Sleep(g.chance(between))
					}
				}
				g.set(false)
				for range 300 {
					put(0)
					time.Sleep(g.chance(time.Minute))
				}
				time.Sleep(time.Hour)
				g.mu.Lock()
				defer g.mu.Unlock()
				if len(g.faults) > 0 {
					t.Errorf("%d faults:\n%s", len(g.faults), strings.Join(g.faults[:min(5, len(g.faults))], "\n"))
				}
				if len(g.dead) > 4*outages {
					t.Errorf("%d good ones are dead of %d outages: %q", len(g.dead), outages, g.dead)
				}
				for _, it := range l.Pending() {
					if strings.HasPrefix(string(it.Payload), "good") {
						t.Errorf("%s is pending: %s", it.Payload, it.LastErr)
					}
				}
			})
		})
	}
}
