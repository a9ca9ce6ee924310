package store

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/store/internal/storetest"
)

// keyed are n items of one key.
func keyed(n int, key string) []sender.Item {
	items := events(n)
	for i := range items {
		items[i].Key = key
	}
	return items
}

// putAll appends many items, some thousand at a time.
func putAll(t testing.TB, s *Store, items []sender.Item) {
	t.Helper()
	for len(items) > 0 {
		n := min(len(items), 10000)
		put(t, s, items[:n]...)
		items = items[n:]
	}
}

// hold makes the first item of a key fail, so that all others wait for an hour.
func holdKey(t testing.TB, s *Store, key string) {
	t.Helper()
	put(t, s, event("head", key))
	settle(t, s, failed(claims(t, s, 1)[0], sender.Retry, time.Now().Add(time.Hour)))
}

func TestFailingKeyDoesNotSlowTheOthers(t *testing.T) {
	t.Parallel()
	s := newStore(t, nil)
	holdKey(t, s, "failing")
	const behind, others, perClaim, steps = 10000, 1000, 10, 512
	put(t, s, keyed(behind, "failing")...)
	putAll(t, s, events(others))
	calls, got := 0, 0
	for inLine := 0; got < others; calls++ {
		if calls > 10*others {
			t.Fatalf("%d of %d after %d claims", got, others, calls)
		}
		items, next, err := s.Claim(t.Context(), time.Now(), perClaim, 0)
		if err != nil {
			t.Fatal(err)
		}
		if len(items) < perClaim && got+len(items) < others && next.After(time.Now()) {
			t.Fatalf("%d items, and nothing more before %v, though %d are due", len(items), next, others-got-len(items))
		}
		c := s.Counts()
		if c.InLine-inLine > steps {
			t.Fatalf("one claim walked past %d items", c.InLine-inLine)
		}
		inLine = c.InLine
		settle(t, s, delivered(items...)...)
		got += len(items)
	}
	// Each entry is walked past once.
	if limit := others/perClaim + (behind+others)/steps + 5; calls > limit {
		t.Errorf("%d claims, want at most %d", calls, limit)
	}
	if c := s.Counts(); c.InLine != behind {
		t.Errorf("%d in line, want %d", c.InLine, behind)
	}
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func TestMemoryOfThoseWhoWait(t *testing.T) {
	s := newStore(t, nil)
	holdKey(t, s, "failing")
	n := storetest.Pick(200_000, 200_000, 50_000)
	for range n / 10000 {
		put(t, s, keyed(10000, "failing")...)
	}
	before := heap()
	for s.Counts().InLine < n {
		if items := claims(t, s, 100); len(items) > 0 {
			t.Fatalf("claimed %q", kinds(items))
		}
	}
	after := heap()
	if each := float64(after-min(after, before)) / float64(n); each > 24 {
		t.Errorf("%.1f bytes for each item that waits, want at most 24", each)
	}
	runtime.KeepAlive(s)
}

func TestClaimAsksToBeCalledAgain(t *testing.T) {
	s := newStore(t, nil)
	holdKey(t, s, "failing")
	put(t, s, keyed(3000, "failing")...)
	put(t, s, event("free", ""))
	now := time.Now()
	for calls := 1; ; calls++ {
		items, next, err := s.Claim(t.Context(), now, 1, 0)
		if err != nil {
			t.Fatal(err)
		}
		if len(items) == 1 {
			wantNames(t, "claimed", kinds(items), "free")
			if calls < 2 {
				t.Error("one claim walked past 3,000 items")
			}
			settle(t, s, delivered(items...)...)
			break
		}
		if next.IsZero() || next.After(now) {
			t.Fatalf("call %d found nothing and does not ask for another: next %v", calls, next)
		}
	}
	if items, next, err := s.Claim(t.Context(), now, 1, 0); err != nil || len(items) > 0 || !next.After(now) {
		t.Errorf("%q, next %v, %v; want the time of the retry", kinds(items), next, err)
	}
}

// At the bound on those who wait the walk pauses, and goes on when some have gone.
func TestWalkPauses(t *testing.T) {
	s := newStore(t, nil)
	s.order.MaxWaiting = 10
	put(t, s, keyed(30, "a")...)
	put(t, s, event("last", ""))
	var names []string
	for range 31 {
		items := claims(t, s, 10)
		if len(items) == 0 {
			t.Fatalf("nothing due after %q", names)
		}
		if c := s.Counts(); c.InLine > 10 {
			t.Errorf("%d in line, at most 10", c.InLine)
		}
		settle(t, s, delivered(items...)...)
		if names = append(names, kinds(items)...); len(names) == 31 {
			break
		}
	}
	if len(names) != 31 {
		t.Errorf("delivered %q", names)
	}
}

func TestExpiredAreHandedOut(t *testing.T) {
	s := newStore(t, nil)
	it := event("late", "")
	it.Expires = time.Now().Add(-time.Hour)
	put(t, s, it)
	items := claims(t, s, 10)
	if len(items) != 1 || !items[0].Expires.Equal(it.Expires) {
		t.Fatalf("claimed %v", items)
	}
	settle(t, s, sender.Outcome{Item: items[0], Verdict: sender.Expired})
	if c := s.Counts(); c.Expired != 1 || c.Pending != 0 || c.Bytes != 0 {
		t.Errorf("counts %+v", c)
	}
}

func TestOldest(t *testing.T) {
	s := newStore(t, nil)
	oldest := func(what string, want time.Time) {
		t.Helper()
		if got := s.Counts().Oldest; !got.Equal(want) {
			t.Errorf("%s: oldest %v, want %v", what, got, want)
		}
	}
	oldest("empty", time.Time{})
	its := events(3)
	for i := range its {
		its[i].Created = born.Add(time.Duration(i) * time.Minute)
	}
	put(t, s, its...)
	oldest("three", its[0].Created)
	claims(t, s, 1)
	oldest("the first in flight", its[1].Created)
	path := s.Path()
	checkedClose(t, s)
	s = openStore(t, path, nil)
	oldest("opened again", its[0].Created)
	first := claims(t, s, 10)
	settle(t, s, delivered(first...)...)
	oldest("all delivered", time.Time{})
}

// Snapshots add up at every moment.
func TestCountsAddUp(t *testing.T) {
	t.Parallel()
	s := newStore(t, &Options{Gather: time.Millisecond})
	var wg, watching sync.WaitGroup
	var acknowledged, began, settled atomic.Int64
	stop := make(chan struct{})
	watching.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			low, done := acknowledged.Load(), settled.Load()
			c := s.Counts()
			high := began.Load()
			if sum := c.Ready + c.Scheduled + c.Retrying + c.InLine + c.InFlight; sum != c.Pending {
				t.Errorf("%d by the parts: %+v", sum, c)
				return
			}
			if sum := uint64(c.Pending+c.Dead) + c.Delivered + c.Expired + c.Dropped; sum != c.Put {
				t.Errorf("put %d, accounted for %d: %+v", c.Put, sum, c)
				return
			}
			if int64(c.Put) < low || int64(c.Put) > high || int64(c.Delivered) < done {
				t.Errorf("put %d, %d were acknowledged and %d begun; delivered %d, %d were settled", c.Put, low, high, c.Delivered, done)
				return
			}
		}
	})
	for w := range 4 {
		wg.Go(func() {
			for i := range 100 {
				began.Add(1)
				it := event(fmt.Sprint(w, "/", i), []string{"", "a", "b"}[i%3])
				if i%10 == 0 {
					it.Due = time.Now().Add(5 * time.Millisecond)
				}
				if err := s.Append(context.Background(), it); err != nil {
					t.Error(err)
				}
				acknowledged.Add(1)
			}
		})
		wg.Go(func() {
			for range 100 {
				items, _, err := s.Claim(context.Background(), time.Now(), 8, 0)
				if err != nil {
					t.Error(err)
				}
				var outcomes []sender.Outcome
				good := int64(0)
				for i, it := range items {
					switch i % 5 {
					case 0:
						outcomes = append(outcomes, failed(it, sender.Retry, time.Now().Add(time.Millisecond)))
					case 1:
						outcomes = append(outcomes, sender.Outcome{Item: it, Verdict: sender.Released})
					case 2:
						outcomes = append(outcomes, failed(it, sender.Dead, time.Time{}))
					default:
						good++
						outcomes = append(outcomes, delivered(it)...)
					}
				}
				if err := s.Settle(context.Background(), outcomes...); err != nil {
					t.Error(err)
				}
				settled.Add(good)
			}
		})
	}
	wg.Wait()
	close(stop)
	watching.Wait()
	if c := s.Counts(); c.InFlight != 0 || c.Put != 400 {
		t.Errorf("in the end: %+v", c)
	}
}

func TestSettleCountsWhatWasStored(t *testing.T) {
	s := newStore(t, nil)
	put(t, s, event("a", ""), event("b", ""))
	items := claims(t, s, 2)
	items[0].Payload, items[1].Payload = nil, make([]byte, 1000) // let go of, and replaced
	settle(t, s, delivered(items[0])...)
	settle(t, s, failed(items[1], sender.Dead, time.Time{}))
	if c := s.Counts(); c.Bytes != 0 || c.DeadBytes != int64(len("payload of b")) {
		t.Errorf("counts %+v", c)
	}
}

// Claims are full as long as there are items, whatever was read ahead before, and say so.
func TestClaimsAreFull(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 7, 100, fetchItems, fetchItems + 1, 500} {
		s := newStore(t, nil)
		put(t, s, events(1000)...)
		for left := 1000; left > 0; {
			items, next, err := s.Claim(t.Context(), time.Now(), n, 0)
			if err != nil {
				t.Fatal(err)
			}
			if len(items) != min(n, left) {
				t.Fatalf("%d items of %d that are left, want %d", len(items), left, n)
			}
			if left -= n; left > 0 && (next.IsZero() || next.After(time.Now())) {
				t.Fatalf("more is due at %v, want now: %d are left", next, left)
			}
			if left%3 == 0 {
				settle(t, s, delivered(items...)...)
			}
		}
	}
}

// A commit of another lane of the file does not keep a claim out of the counts.
func TestCountsBesideAnotherLane(t *testing.T) {
	s := newStore(t, nil)
	other, err := s.Lane("other", nil)
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, event("a", ""))
	put(t, other, event("b", ""))
	claims(t, s, 1)
	if c := s.Counts(); c.InFlight != 1 || c.Ready != 0 {
		t.Errorf("%d in flight and %d ready, want 1 and 0", c.InFlight, c.Ready)
	}
}
