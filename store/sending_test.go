package store

import (
	"context"
	"fmt"
	"path/filepath"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/seed8107221f/outbox/sender"

	"github.com/seed8107221f/outbox/store/internal/format"
)

const unknown = "sent, answer unknown"

// announced are the outcomes by which items are recorded before they are sent at most once.
func announced(items ...sender.Item) (outcomes []sender.Outcome) {
	for _, it := range items {
		it.FailedAt, it.LastErr = time.Now(), unknown
		outcomes = append(outcomes, sender.Outcome{Item: it, Verdict: sender.Sending})
	}
	return outcomes
}

// addUp checks that the parts of pending are all there, and so is the ledger.
func addUp(t *testing.T, s *Store, ready, retrying, inLine, inFlight, dead int) {
	t.Helper()
	c := s.Counts()
	if c.Ready != ready || c.Retrying != retrying || c.InLine != inLine || c.InFlight != inFlight || c.Dead != dead {
		t.Errorf("%+v, want %d ready, %d retrying, %d in line, %d in flight, %d dead", c, ready, retrying, inLine, inFlight, dead)
	}
	if sum := c.Ready + c.Scheduled + c.Retrying + c.InLine + c.InFlight; sum != c.Pending {
		t.Errorf("the parts add up to %d, pending are %d: %+v", sum, c.Pending, c)
	}
	if sum := uint64(c.Pending+c.Dead) + c.Delivered + c.Expired + c.Dropped; sum != c.Put {
		t.Errorf("%d are accounted for, %d were put: %+v", sum, c.Put, c)
	}
}

// While its request is under way an item counts, and is listed, as pending and in flight; once that is
// over, as what the answer made of it.
func TestSendingCountsAsInFlight(t *testing.T) {
	s := newStore(t, nil)
	put(t, s, event("a1", "a"), event("a2", "a"), event("b", ""), event("c", ""))
	for _, it := range claims(t, s, 3) {
		if it.Kind == "b" {
			settle(t, s, failed(it, sender.Retry, time.Now()))
		} else {
			settle(t, s, sender.Outcome{Item: it, Verdict: sender.Released})
		}
	}
	held := claims(t, s, 10)
	addUp(t, s, 0, 0, 1, 3, 0)
	settle(t, s, announced(held...)...)
	addUp(t, s, 0, 0, 1, 3, 0)
	if n := len(list(t, s.Pending())); n != 4 {
		t.Errorf("%d items are listed as pending, want all 4", n)
	}
	if dead := list(t, s.Dead()); len(dead) != 0 {
		t.Errorf("dead: %v", kinds(dead))
	}
	const first = 1 // a1, which lies in dead; those behind it do not count
	if remains, err := s.Remains(first); err != nil || !remains {
		t.Errorf("remains: %t, %v", remains, err)
	}
	if err := s.Check(t.Context()); err != nil {
		t.Error(err)
	}
	for _, it := range held {
		switch it.Kind {
		case "a1":
			settle(t, s, failed(it, sender.Dead, time.Time{}))
		case "b":
			settle(t, s, sender.Outcome{Item: it, Verdict: sender.Released})
		case "c":
			settle(t, s, failed(it, sender.Retry, time.Now().Add(time.Hour)))
		}
	}
	addUp(t, s, 1, 2, 0, 0, 1)
	wantNames(t, "pending", kinds(list(t, s.Pending())), "a2", "b", "c")
	wantNames(t, "dead", kinds(list(t, s.Dead())), "a1")
}

// What was recorded before the request is gone without a trace when the answer is there, also from a
// history that was full; after a crash it is the last of it.
func TestSendingLeavesNoTrace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "outbox")
	s := openStore(t, path, nil)
	put(t, s, event("a", ""))
	for n := range format.MaxLog + 2 {
		it := claims(t, s, 1)[0]
		o := failed(it, sender.Retry, time.Now())
		o.Item.LastErr = fmt.Sprint("failure ", n)
		settle(t, s, o)
	}
	before := claims(t, s, 1)[0]
	if len(before.History) != format.MaxLog {
		t.Fatalf("a history of %d", len(before.History))
	}
	settle(t, s, announced(before)...)
	settle(t, s, announced(before)...)
	settle(t, s, sender.Outcome{Item: before, Verdict: sender.Released})
	after := claims(t, s, 1)[0]
	if !reflect.DeepEqual(after, before) {
		t.Errorf("released as\n%+v, comes as\n%+v", before, after)
	}

	settle(t, s, announced(after)...)
	checkedClose(t, s)
	s = openStore(t, path, nil)
	dead := list(t, s.Dead())
	if len(dead) != 1 {
		t.Fatalf("dead: %+v", dead)
	}
	it := dead[0]
	if len(it.History) != format.MaxLog || it.LastErr != unknown || it.History[format.MaxLog-1].Reason != unknown || it.Failures != before.Failures || it.Attempts != before.Attempts {
		t.Errorf("after a crash it is %+v", it)
	}
	if _, err := s.Revive(t.Context(), it); err != nil {
		t.Fatal(err)
	}
	again := claims(t, s, 1)[0]
	if again.LastErr != "" || len(again.History) != 0 {
		t.Errorf("revived as %+v", again)
	}
	checkedClose(t, s) // and it is not dead again
	s = openStore(t, path, nil)
	addUp(t, s, 1, 0, 0, 0, 0)
}

// Sending waits for no company, and takes along what does.
func TestSendingDoesNotGather(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t, &Options{Gather: time.Hour})
		put(t, s, event("a", ""), event("b", ""))
		held := claims(t, s, 2)
		gathering := make(chan error, 1)
		go func() { gathering <- s.Settle(t.Context(), delivered(held[0])...) }()
		synctest.Wait() // it waits for company
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := s.Settle(ctx, announced(held[1])...); err != nil {
			t.Fatal(err)
		}
		if err := <-gathering; err != nil {
			t.Fatal(err)
		}
		addUp(t, s, 0, 0, 0, 1, 0)
	})
}

// A failed commit, of whatever outcome, leaves the item in flight and its key taken; what was recorded
// can be taken back, and a Sending that is repeated is recorded.
func TestSendingAndFailedCommits(t *testing.T) {
	for _, armed := range []int32{1, 2} { // before it is on disk, and after
		for _, released := range []bool{false, true} {
			s := newStore(t, nil)
			f := makeFaulty(s)
			put(t, s, event("a1", "a"), event("a2", "a"))
			a1 := claims(t, s, 1)
			f.armed.Store(armed)
			wantError(t, s.Settle(t.Context(), announced(a1...)...), sender.ErrStorage)
			wantNames(t, "free", kinds(claims(t, s, 10)))
			addUp(t, s, 0, 0, 1, 1, 0)
			if !released {
				settle(t, s, announced(a1...)...)
				f.armed.Store(armed)
				wantError(t, s.Settle(t.Context(), delivered(a1...)...), sender.ErrStorage)
				settle(t, s, delivered(a1...)...)
				wantNames(t, "then", drain(t, s), "a2")
				continue
			}
			f.armed.Store(armed)
			wantError(t, s.Settle(t.Context(), sender.Outcome{Item: a1[0], Verdict: sender.Released}), sender.ErrStorage)
			settle(t, s, sender.Outcome{Item: a1[0], Verdict: sender.Released})
			wantNames(t, "then", drain(t, s), "a1", "a2")
			if n := s.Counts().Dead; n != 0 {
				t.Errorf("%d are dead", n)
			}
		}
	}
}

// A commit that a caller no longer waits for is followed by what takes it back.
func TestSendingWithdrawn(t *testing.T) {
	s := newStore(t, nil)
	put(t, s, event("a", ""))
	a := claims(t, s, 1)[0]
	ctx, cancel := context.WithCancel(t.Context())
	s.Fault(func(committed bool) error {
		if !committed {
			cancel()
			time.Sleep(20 * time.Millisecond) // for the caller to notice
		}
		return nil
	})
	wantError(t, s.Settle(ctx, announced(a)...), context.Canceled)
	settle(t, s, sender.Outcome{Item: a, Verdict: sender.Released})
	wantNames(t, "then", drain(t, s), "a")
}

// KeepDead does not reach what is in flight, however long ago its request began.
func TestKeepDeadSparesWhatIsInFlight(t *testing.T) {
	path := filepath.Join(t.TempDir(), "outbox")
	o := prompt
	o.KeepDead = time.Minute
	s := openStore(t, path, &o)
	put(t, s, event("a", ""), event("b", ""))
	held := claims(t, s, 2)
	long := announced(held...)
	for i := range long {
		long[i].Item.FailedAt = time.Now().Add(-time.Hour)
	}
	settle(t, s, long...)
	put(t, s, event("c", ""))
	settle(t, s, delivered(held[0])...)
	if c := s.Counts(); c.Delivered != 1 || c.Dropped != 0 {
		t.Errorf("%+v", c)
	}
	checkedClose(t, s)
	s = openStore(t, path, &o) // now nobody waits for an answer any more
	put(t, s, event("d", ""))
	if c := s.Counts(); c.Dropped != 1 || c.Dead != 0 {
		t.Errorf("%+v", c)
	}
}

// What is being sent counts against MaxPending, and makes room when it is delivered.
func TestSendingAndMaxPending(t *testing.T) {
	o := prompt
	o.MaxPending = 1
	s := newStore(t, &o)
	put(t, s, event("a", ""))
	a := claims(t, s, 1)
	settle(t, s, announced(a...)...)
	wantError(t, s.Append(t.Context(), event("b", "")), sender.ErrFull)
	room, err := s.open()
	if err != nil {
		t.Fatal(err)
	}
	settle(t, s, delivered(a...)...)
	select {
	case <-room:
	default:
		t.Error("those who wait for room have not been told")
	}
	put(t, s, event("b", ""))
}

// The owner may give up what is being sent: it is dropped once, and the counts add up when its answer
// has come.
func TestDropWhileSending(t *testing.T) {
	s := newStore(t, nil)
	put(t, s, event("a1", "a"), event("a2", "a"))
	a1 := claims(t, s, 1)
	settle(t, s, announced(a1...)...)
	if _, err := s.Drop(t.Context(), a1...); err != nil {
		t.Fatal(err)
	}
	if c := s.Counts(); c.Dead != 0 || c.InFlight != 1 || c.Dropped != 1 || c.Pending != 1 {
		t.Errorf("%+v", c)
	}
	settle(t, s, delivered(a1...)...)
	addUp(t, s, 1, 0, 0, 0, 0)
}

// A record that is found damaged when its item is about to be sent becomes dead, and the key stays taken:
// the request is made all the same.
func TestDamagedBeforeSending(t *testing.T) {
	s := newStore(t, nil)
	put(t, s, event("a1", "a"), event("a2", "a"))
	a1 := claims(t, s, 1)
	spoil(t, s, format.BucketReady, "a1", damages["a bit of the payload"])
	settle(t, s, announced(a1...)...)
	wantNames(t, "free", kinds(claims(t, s, 10)))
	settle(t, s, delivered(a1...)...)
	wantNames(t, "then", drain(t, s), "a2")
	addUp(t, s, 0, 0, 0, 0, 1)
}

// A record that is damaged while its item is being sent becomes dead with its answer, once.
func TestDamagedWhileSending(t *testing.T) {
	for _, o := range []func(sender.Item) sender.Outcome{
		func(it sender.Item) sender.Outcome { return failed(it, sender.Retry, time.Now()) },
		func(it sender.Item) sender.Outcome { return sender.Outcome{Item: it, Verdict: sender.Released} },
		func(it sender.Item) sender.Outcome { return failed(it, sender.Dead, time.Time{}) },
	} {
		s := newStore(t, nil)
		put(t, s, event("a1", "a"), event("a2", "a"))
		a1 := claims(t, s, 1)[0]
		settle(t, s, announced(a1)...)
		if err := tamper(s, func(tx *bolt.Tx) error {
			b := tx.Bucket(s.bucket).Bucket(format.BucketDead)
			v := append([]byte(nil), b.Get(format.ReadyKey(a1.Seq))...)
			v[format.OffID] ^= 1
			return b.Put(format.ReadyKey(a1.Seq), v)
		}); err != nil {
			t.Fatal(err)
		}
		settle(t, s, o(a1))
		wantNames(t, "the next", kinds(claims(t, s, 10)), "a2")
		addUp(t, s, 0, 0, 0, 1, 1)
	}
}

// Check finds a record that is marked as sent where none may be.
func TestCheckFindsSendingOutsideOfDead(t *testing.T) {
	s := newStore(t, nil)
	put(t, s, event("a", ""))
	mark := func(set bool) {
		t.Helper()
		if err := tamper(s, func(tx *bolt.Tx) error {
			b := tx.Bucket(s.bucket).Bucket(format.BucketReady)
			k, v := b.Cursor().First()
			rec := append([]byte(nil), v...)
			if rec[1] = 0; set {
				rec[1] = format.FlagSending
			}
			format.Record(rec).SetSum(format.Record(rec).BodySum(), k)
			return b.Put(append([]byte(nil), k...), rec)
		}); err != nil {
			t.Fatal(err)
		}
	}
	mark(true)
	wantError(t, s.Check(t.Context()), ErrCorrupt)
	mark(false)
}
