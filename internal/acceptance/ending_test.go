package acceptance

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/internal/campaign"
	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/store"
)

// service accepts each request when it arrives, and answers later.
type service struct {
	latency func() time.Duration

	mu       sync.Mutex
	accepted map[string]int // requests, by payload
	answered int
}

func (s *service) Send(ctx context.Context, it sender.Item) error {
	s.mu.Lock()
	if s.accepted == nil {
		s.accepted = make(map[string]int)
	}
	s.accepted[string(it.Payload)]++
	s.mu.Unlock()
	select {
	case <-time.After(s.latency()):
	case <-ctx.Done():
		return ctx.Err()
	}
	s.mu.Lock()
	s.answered++
	s.mu.Unlock()
	return nil
}

func (s *service) count() (accepted, answered int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.accepted), s.answered
}

// once checks that each of n events was accepted once.
func (s *service) once(t *testing.T, n int) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.accepted) != n {
		t.Errorf("the service accepted %d events, want %d", len(s.accepted), n)
	}
	for name, times := range s.accepted {
		if times != 1 {
			t.Errorf("event %s arrived %d times", name, times)
		}
	}
}

func always(d time.Duration) func() time.Duration { return func() time.Duration { return d } }

// shutdown is Shutdown with a grace.
func shutdown(grace time.Duration) func(*outbox.Outbox) error {
	return func(b *outbox.Outbox) error {
		ctx, cancel := context.WithTimeout(context.Background(), grace)
		defer cancel()
		return b.Shutdown(ctx)
	}
}

// A deploy with a backlog repeats nothing, and leaves nothing dead.
func TestEndingRepeatsNothing(t *testing.T) {
	t.Parallel()
	const events = 500
	varied := rand.New(rand.NewPCG(1, 2))
	var mu sync.Mutex
	for _, c := range []struct {
		name    string
		end     func(*outbox.Outbox) error
		within  time.Duration
		latency func() time.Duration
		more    int // answers that the end must not prevent
	}{
		{"Close", (*outbox.Outbox).Close, 400 * time.Millisecond, always(300 * time.Millisecond), 4},
		{"Shutdown 400ms", shutdown(400 * time.Millisecond), 400 * time.Millisecond, always(300 * time.Millisecond), 4},
		{"Shutdown 1s", shutdown(time.Second), time.Second, always(300 * time.Millisecond), 20},
		{"Shutdown 3s", shutdown(3 * time.Second), 3 * time.Second, always(300 * time.Millisecond), 80},
		{"Shutdown 10s", shutdown(10 * time.Second), 10 * time.Second, always(300 * time.Millisecond), 300},
		{"Shutdown 3s, latencies vary", shutdown(3 * time.Second), 3 * time.Second, func() time.Duration {
			mu.Lock()
			defer mu.Unlock()
			return 200*time.Millisecond + time.Duration(varied.IntN(200))*time.Millisecond
		}, 60},
		{"Close, slow", (*outbox.Outbox).Close, 4600 * time.Millisecond, always(4500 * time.Millisecond), 4},
	} {
		for _, once := range []bool{false, true}[:campaign.Pick(2, 2, 1)] {
			t.Run(fmt.Sprintf("%s, at most once %t", c.name, once), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					path, s := newPath(t), &service{latency: c.latency}
					o := &outbox.Options{Sender: sender.Options{AtMostOnce: once}}
					b := open(t, path, s, o)
					for i := range events {
						put(t, b, "track", "", fmt.Sprint(i))
					}
					time.Sleep(5 * c.latency() / 2)
					_, before := s.count()
					began := time.Now()
					if err := c.end(b); err != nil && !errors.Is(err, outbox.ErrPending) {
						t.Errorf("the end: %v", err)
					}
					if took := time.Since(began); took > c.within {
						t.Errorf("it took %v, at most %v expected", took, c.within)
					}
					accepted, answered := s.count()
					if answered != accepted {
						t.Errorf("%d requests were cut off", accepted-answered)
					}
					more := c.more
					if once {
						more /= 4 // some wait for their record
					}
					if answered-before < more {
						t.Errorf("%d answers came during the end, at least %d expected", answered-before, more)
					}
					if st := b.Stats(); st.Delivered != uint64(answered) || st.Dead != 0 {
						t.Errorf("%d answered, and the outbox says %+v", answered, st)
					}
					b = open(t, path, s, o)
					if err := shutdown(time.Hour)(b); err != nil {
						t.Error(err)
					}
					s.once(t, events)
				})
			})
		}
	}
}

// A lane that cannot send again before the end does not use up the grace.
func TestShutdownOfASilentLaneReturnsAtOnce(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{
		"paused": sender.Throttled(errors.New("429"), time.Hour),
		"held":   sender.Unavailable(errors.New("connection refused")),
	} {
		for _, once := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, at most once %t", name, once), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					b := open(t, newPath(t), answer(err), &outbox.Options{Sender: sender.Options{AtMostOnce: once}})
					for i := range 500 {
						put(t, b, "track", "", fmt.Sprint(i))
					}
					time.Sleep(100 * time.Second) // the probes come once a minute by now
					began := time.Now()
					if err := shutdown(9 * time.Second)(b); !errors.Is(err, outbox.ErrPending) {
						t.Errorf("Shutdown: %v, want ErrPending", err)
					}
					if took := time.Since(began); took > 0 {
						t.Errorf("it took %v", took)
					}
					if s := b.Stats(); s.Pending != 500 || s.Dead != 0 {
						t.Errorf("%+v", s)
					}
				})
			})
		}
	}
}

// What is in flight when the time is over is cut off then, and not before.
func TestEndCutsOffWhatOutlastsIt(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		end  func(*outbox.Outbox) error
		took time.Duration
	}{
		{"Close", (*outbox.Outbox).Close, 5 * time.Second},
		{"Shutdown", shutdown(3 * time.Second), 3 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				path, s := newPath(t), &service{latency: always(25 * time.Second)}
				b := open(t, path, s, nil)
				for i := range 20 {
					put(t, b, "track", "", fmt.Sprint(i))
				}
				synctest.Wait()
				began := time.Now()
				c.end(b)
				if took := time.Since(began); took != c.took {
					t.Errorf("it took %v, want %v", took, c.took)
				}
				if accepted, answered := s.count(); accepted != 10 || answered != 0 {
					t.Errorf("%d accepted, %d answered", accepted, answered)
				}
				if st := b.Stats(); st.Pending != 20 || st.Dead != 0 {
					t.Errorf("%+v", st)
				}
			})
		})
	}
}

// A call that outlasts its outbox does not keep its event, nor those behind it, from the next one
// over the same store. What may not be sent twice is dead.
func TestNextOutboxGetsWhatACallOutlasted(t *testing.T) {
	t.Parallel()
	for _, once := range []bool{false, true} {
		t.Run(fmt.Sprintf("at most once %t", once), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				st, err := store.Open(newPath(t), nil)
				if err != nil {
					t.Fatal(err)
				}
				defer st.Close()
				o := &outbox.Options{Sender: sender.Options{AtMostOnce: once}}
				start := func(tr sender.Transport) *outbox.Outbox {
					b, err := outbox.New(st, tr, o)
					if err != nil {
						t.Fatal(err)
					}
					return b
				}
				d := deaf{make(chan struct{})}
				b := start(d)
				put(t, b, "track", "ann", "one")
				put(t, b, "track", "ann", "two")
				synctest.Wait()
				if err := b.Close(); err != nil {
					t.Error(err)
				}
				s := &service{latency: always(time.Second)}
				b = start(s)
				synctest.Wait()
				close(d.answer) // too late
				if err := shutdown(time.Minute)(b); err != nil {
					t.Error(err)
				}
				if once {
					for it := range b.Dead() {
						if string(it.Payload) != "one" || !strings.Contains(it.LastErr, "unknown") {
							t.Errorf("dead is %s: %s", it.Payload, it.LastErr)
						}
					}
					s.once(t, 1)
				} else {
					s.once(t, 2)
				}
				if st := b.Stats(); st.Pending != 0 || (st.Dead == 1) != once || st.Held != "" {
					t.Errorf("%+v", st)
				}
				if err := st.Check(t.Context()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// A closed store is no store for an outbox.
func TestNewOverAClosedStore(t *testing.T) {
	t.Parallel()
	for name, tr := range map[string]sender.Transport{"sends": answer(nil), "stores only": nil} {
		t.Run(name, func(t *testing.T) {
			st, err := store.Open(newPath(t), nil)
			if err != nil {
				t.Fatal(err)
			}
			lane, err := st.Lane("other", nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := lane.Close(); err != nil {
				t.Fatal(err)
			}
			if b, err := outbox.New(lane, tr, nil); !errors.Is(err, outbox.ErrClosed) || b != nil {
				t.Errorf("over a closed lane: %v, %v", b, err)
			}
			if err := st.Close(); err != nil {
				t.Fatal(err)
			}
			if b, err := outbox.New(st, tr, nil); !errors.Is(err, outbox.ErrClosed) || b != nil {
				t.Errorf("over a closed store: %v, %v", b, err)
			}
		})
	}
}
