package store

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/seed8107221f/outbox/internal/campaign"
	"github.com/seed8107221f/outbox/sender"
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
	n := campaign.Pick(200_000, 200_000, 50_000)
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

// Oldest covers what is ready, in line, retrying and in flight, OldestReady all of these except what
// is retrying, however the lane is opened.
func TestOldest(t *testing.T) {
	s := newStore(t, nil)
	oldest := func(what string, want time.Time) {
		t.Helper()
		if got := s.Counts().Oldest; !got.Equal(want) {
			t.Errorf("%s: oldest %v, want %v", what, got, want)
		}
	}
	ready := func(what string, want time.Time) {
		t.Helper()
		if got := s.Counts().OldestReady; !got.Equal(want) {
			t.Errorf("%s: oldest that did not fail %v, want %v", what, got, want)
		}
	}
	again := func() {
		path := s.Path()
		checkedClose(t, s)
		s = openStore(t, path, nil)
	}
	oldest("empty", time.Time{})
	ready("empty", time.Time{})
	its := []sender.Item{event("first", "a"), event("second", "b"), event("in line", "a"), event("scheduled", "")}
	for i := range its {
		its[i].Created = born.Add(time.Duration(i) * time.Minute)
	}
	its[3].Created = born.Add(-time.Hour)
	its[3].Due = time.Now().Add(time.Hour)
	put(t, s, its...)
	oldest("all ready", its[0].Created)
	items := claims(t, s, 2)
	oldest("in flight", its[0].Created)
	ready("in flight", its[0].Created)
	soon, late := time.Now().Add(time.Minute), time.Now().Add(time.Hour)
	settle(t, s, failed(items[0], sender.Retry, late), failed(items[1], sender.Retry, soon))
	oldest("retrying", its[0].Created)
	ready("the first two are retrying", its[2].Created)
	again()
	oldest("retrying, opened again", its[0].Created)
	ready("the first two are retrying, opened again", its[2].Created)
	if n, err := s.Drop(t.Context(), items[0]); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if got := s.Counts().Oldest; got.After(its[1].Created) {
		t.Errorf("the oldest was dropped: %v, want at most %v", got, its[1].Created)
	}
	again()
	oldest("the second is left, opened again", its[1].Created)
	if n, err := s.Drop(t.Context(), items[1]); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	oldest("one that was in line is left", its[2].Created)
	settle(t, s, delivered(claims(t, s, 1)...)...)
	oldest("only a scheduled one is left", time.Time{})
	ready("only a scheduled one is left", time.Time{})
}

// Many retries with all kinds of times: Oldest is never later than the truth, and exact when the
// items that are older have left.
func TestOldestOfManyRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t, nil)
		const n = 500
		its := events(n)
		for i := range its {
			its[i].Created = born.Add(time.Duration(i) * time.Second)
		}
		put(t, s, its...)
		began := time.Now()
		due := func(i int) time.Time { return began.Add(time.Duration(1+i*7919%n) * time.Minute) }
		outcomes := make([]sender.Outcome, n)
		left := make(map[int]bool)
		for i, it := range claims(t, s, n) {
			outcomes[i] = failed(it, sender.Retry, due(i))
			left[i] = true
		}
		settle(t, s, outcomes...)
		for len(left) > 0 {
			first := n
			for i := range left {
				first = min(first, i)
			}
			if got := s.Counts().Oldest; got.IsZero() || got.After(its[first].Created) {
				t.Fatalf("%d left: oldest %v, want %v or earlier", len(left), got, its[first].Created)
			}
			time.Sleep(time.Until(began.Add(time.Duration(n-len(left)+1) * time.Minute)))
			items := claims(t, s, 2)
			if len(items) != 1 {
				t.Fatalf("%d items are due, want 1", len(items))
			}
			settle(t, s, delivered(items...)...)
			delete(left, int(items[0].Seq)-1)
		}
		if got := s.Counts().Oldest; !got.IsZero() {
			t.Errorf("oldest of none: %v", got)
		}
	})
}

// The report of our own commit may come after that of a later transaction of the application.
func TestCountsAddUpWhenCommitsAreReportedOutOfOrder(t *testing.T) {
	for _, verdict := range []sender.Verdict{sender.Sending, sender.Delivered, sender.Retry, sender.Dead} {
		t.Run(verdict.String(), func(t *testing.T) {
			db, s := newIn(t, nil)
			put(t, s, events(3)...)
			items := claims(t, s, 3)
			reached, goOn := make(chan struct{}), make(chan struct{})
			s.Fault(func(committed bool) error {
				if committed {
					close(reached)
					<-goOn
				}
				return nil
			})
			done := make(chan error)
			go func() {
				var outcomes []sender.Outcome
				for _, it := range items {
					outcomes = append(outcomes, sender.Outcome{Item: it, Verdict: verdict, Due: time.Now().Add(time.Hour)})
				}
				done <- s.Settle(t.Context(), outcomes...)
			}()
			<-reached
			for range 2 {
				if err := db.Update(func(tx *bolt.Tx) error { return s.AppendTx(tx, event("b", "")) }); err != nil {
					t.Fatal(err)
				}
				addsUp(t, s)
			}
			close(goOn)
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			addsUp(t, s)
			if c := s.Counts(); c.Put != 5 || c.Ready != 2 {
				t.Errorf("counts %+v", c)
			}
			s.Fault(nil)
		})
	}
}

// Snapshots add up while an application puts in its own transactions and items are sent at most once.
func TestCountsAddUpInAnApplicationsDatabase(t *testing.T) {
	db, s := newIn(t, nil)
	var wg, watching sync.WaitGroup
	stop := make(chan struct{})
	watching.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				if addsUp(t, s); t.Failed() {
					return
				}
			}
		}
	})
	const n = 300
	wg.Go(func() {
		for i := range n {
			if err := db.Update(func(tx *bolt.Tx) error { return s.AppendTx(tx, event("e", fmt.Sprint(i%5))) }); err != nil {
				t.Error(err)
			}
		}
	})
	for range 3 {
		wg.Go(func() {
			for s.Counts().Delivered < n && !t.Failed() {
				items, _, err := s.Claim(t.Context(), time.Now(), 2, 0)
				if err != nil {
					t.Error(err)
				}
				for _, it := range items {
					settle(t, s, sender.Outcome{Item: it, Verdict: sender.Sending})
					settle(t, s, delivered(it)...)
				}
			}
		})
	}
	wg.Wait()
	close(stop)
	watching.Wait()
}

func addsUp(t *testing.T, s *Store) {
	t.Helper()
	c := s.Counts()
	if sum := c.Ready + c.Scheduled + c.Retrying + c.InLine + c.InFlight; sum != c.Pending {
		t.Errorf("%d by the parts: %+v", sum, c)
	}
	if sum := uint64(c.Pending+c.Dead) + c.Delivered + c.Expired + c.Dropped; sum != c.Put {
		t.Errorf("put %d, accounted for %d: %+v", c.Put, sum, c)
	}
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
