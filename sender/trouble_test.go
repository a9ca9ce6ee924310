package sender_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/sender/sendertest"
)

// A neighbour that fails stops the lane, is asked again after 1s to 30s, and is logged once.
func TestNeighbourFails(t *testing.T) {
	for _, who := range []string{"limiter", "queue"} {
		t.Run(who, func(t *testing.T) {
			in(t, func(l *lane) {
				q, m := &watched{Memory: &l.Memory}, &metered{}
				l.queue, l.limiter = q, m
				broken := errors.New("broken")
				fail := func(err error) {
					if who == "limiter" {
						m.fail(err)
					} else if err == nil {
						q.claimErr.Store(nil)
					} else {
						q.claimErr.Store(&err)
					}
				}
				fail(broken)
				l.put("a b")
				l.run()
				l.wait(time.Hour)
				asked := int(q.claims.Load())
				if who == "limiter" {
					asked = m.waited()
				}
				if asked < 3600*4/(30*5) || asked > 3600/30+5 { // with a jitter of a quarter
					l.Errorf("asked %d times in an hour, want every 30s", asked)
				}
				l.wants("")
				st := l.s.Status()
				if !strings.Contains(st.Held, who+": ") || !strings.Contains(st.Held, "broken") || !st.HeldSince.Equal(l.start) {
					l.Errorf("Status is %+v", st)
				}
				fail(nil)
				l.wait(40 * time.Second)
				l.ends("delivered 2")
				if st := l.s.Status(); st.Held != "" || l.logged("broken") != 2 {
					l.Errorf("Status is %+v; want one line at the beginning and one at the end of:\n%s", st, l.logs.String())
				}
			})
		})
	}
}

// A queue that fails while there is nothing to send recovers without an item.
func TestQueueRecoversWhileIdle(t *testing.T) {
	in(t, func(l *lane) {
		q := &watched{Memory: &l.Memory}
		l.queue, l.limiter = q, &metered{}
		err := errors.New("broken")
		q.claimErr.Store(&err)
		l.run()
		l.wait(time.Minute)
		if l.s.Status().Held == "" {
			l.Fatal("the lane moves")
		}
		q.claimErr.Store(nil)
		l.wait(time.Minute)
		if st := l.s.Status(); st.Held != "" {
			l.Fatalf("Status is %+v", st)
		}
	})
}

// When outcomes cannot be recorded nothing is sent; they are recorded together later, and nothing
// is lost, whether or not the failed call had an effect.
func TestSettleFails(t *testing.T) {
	for _, applied := range []bool{false, true} {
		in(t, func(l *lane) {
			q := &watched{Memory: &l.Memory}
			l.queue = q
			l.options.Concurrency = 4
			l.options.OnOutcome = l.hear
			l.answer("a", "500ms+ok")
			l.answer("b", "1s+400")
			l.answer("c", "5s+ok")
			l.answer("d", "6s+500 ok")
			l.answer("e", "7s+ok")
			l.FailNext(8, errors.New("disk full"), applied)
			l.put("a b c d e f")
			l.run()
			l.wait(time.Minute)
			if n := len(l.requests()); n > 5 {
				l.Fatalf("%d requests while nothing can be recorded, want 4, and one that began while the first call failed", n)
			}
			st := l.s.Status()
			if !strings.Contains(st.Held, "queue: ") || !strings.Contains(st.Held, "disk full") || !st.HeldSince.Equal(l.start.Add(500*time.Millisecond)) {
				l.Fatalf("Status is %+v", st)
			}
			if n := q.settles.Load(); n > 8 {
				l.Fatalf("Settle was called %d times in a minute", n)
			}
			if len(l.told()) != 0 {
				l.Fatalf("OnOutcome heard %q, and nothing is recorded", l.told())
			}
			l.wait(10 * time.Minute)
			l.ends("delivered 5, dead b")
			told := slices.DeleteFunc(l.told(), func(s string) bool { return strings.Contains(s, "released") })
			if len(told) != 7 || l.s.Status().Held != "" || l.logged("disk full") != 2 {
				l.Fatalf("OnOutcome heard %q, Status %+v\n%s", told, l.s.Status(), l.logs.String())
			}
			if c := l.Counts(); c.InFlight != 0 {
				l.Fatalf("%d items are still held", c.InFlight)
			}
		})
	}
}

// slowClaim is a queue that takes a second to find items, and ignores the end of its context.
type slowClaim struct{ *sendertest.Memory }

func (q slowClaim) Claim(ctx context.Context, now time.Time, max, bytes int) ([]sender.Item, time.Time, error) {
	time.Sleep(time.Second)
	return q.Memory.Claim(context.WithoutCancel(ctx), now, max, bytes)
}

// What a worker claims while the lane falls silent goes back unsent.
func TestSilenceDuringClaim(t *testing.T) {
	in(t, func(l *lane) {
		l.queue = slowClaim{&l.Memory}
		l.answer("a", "500ms+403 ok")
		l.put("a b c")
		l.run()
		l.wait(4 * time.Second)
		// At 1.5s the lane is held, while b is being claimed; at 2.5s the claim for the probe
		// begins.
		l.wants(`1s a 500ms+403
			3.5s b ok`)
		l.wait(time.Minute)
		l.ends("delivered 3")
	})
}

// slowQueue has a disk that takes its time.
type slowQueue struct {
	*sendertest.Memory
	delay time.Duration
	held  atomic.Int64 // claimed and not settled
	most  atomic.Int64
}

func (q *slowQueue) Claim(ctx context.Context, now time.Time, max, bytes int) ([]sender.Item, time.Time, error) {
	items, next, err := q.Memory.Claim(ctx, now, max, bytes)
	if n := q.held.Add(int64(len(items))); n > q.most.Load() {
		q.most.Store(n)
	}
	return items, next, err
}

func (q *slowQueue) Settle(ctx context.Context, outcomes ...sender.Outcome) error {
	if len(outcomes) > 0 {
		time.Sleep(q.delay)
	}
	q.held.Add(int64(-len(outcomes)))
	return q.Memory.Settle(ctx, outcomes...)
}

// A slow disk does not stop the loop, and what is unsettled stays bounded.
func TestSlowDisk(t *testing.T) {
	in(t, func(l *lane) {
		q := &slowQueue{Memory: &l.Memory, delay: 10 * time.Second}
		l.queue = q
		l.put(strings.Repeat("x ", 2500))
		l.run()
		l.wait(time.Second)
		if n := len(l.requests()); n < 1024 || n > 1024+10 {
			l.Fatalf("%d requests while the disk is busy, want 1024 and those in flight", n)
		}
		l.wait(time.Minute)
		l.ends("delivered 2500")
		if n := q.most.Load(); n > 1024+10 {
			l.Fatalf("%d items were claimed and not settled", n)
		}
	})
}
