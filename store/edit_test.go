package store

import (
	"errors"
	"path/filepath"
	"slices"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/store/internal/format"
)

var _ sender.Editor = (*Store)(nil)

// A retry that becomes due while RunNow moves it is not claimed at its old place, where its outcome
// would not find it. After a commit that failed it can be claimed as before.
func TestRunNowBesideClaim(t *testing.T) {
	t.Parallel()
	for _, fails := range []bool{false, true} {
		s := newStore(t, nil)
		put(t, s, event("1", "k"))
		settle(t, s, failed(claims(t, s, 1)[0], sender.Retry, time.Now().Add(time.Hour)))
		asked := 0
		s.Fault(func(committed bool) error {
			if asked++; asked > 2 {
				return nil
			}
			items, _, err := s.Claim(t.Context(), time.Now().Add(2*time.Hour), 1, 0)
			if err != nil || len(items) > 0 {
				t.Errorf("claimed %q, %v, while it moved (committed: %t)", kinds(items), err, committed)
			}
			if fails && !committed {
				asked = 2
				return errors.New("broken")
			}
			return nil
		})
		n, err := s.RunNow(t.Context(), list(t, s.Pending())...)
		if (err != nil) != fails || n != 1 && !fails {
			t.Fatalf("RunNow: %d, %v", n, err)
		}
		s.Fault(nil)
		now := time.Now()
		if fails {
			now = now.Add(2 * time.Hour)
		}
		items, _, err := s.Claim(t.Context(), now, 1, 0)
		if err != nil || len(items) != 1 {
			t.Fatalf("claimed %q, %v", kinds(items), err)
		}
		settle(t, s, delivered(items...)...)
		if c := s.Counts(); c.Delivered != 1 || c.Pending != 0 {
			t.Errorf("%+v", c)
		}
	}
}

func TestRunNowPassesOver(t *testing.T) {
	t.Parallel()
	s := furnished(t)
	var all []sender.Item
	for _, state := range states {
		for _, l := range listAll(t, s, sender.Query{State: state}) {
			all = append(all, l.Item)
		}
	}
	before := s.Counts()
	n, err := s.RunNow(t.Context(), append(all, event("unknown", ""))...)
	if n != 2 || err != nil {
		t.Errorf("RunNow: %d, %v; want the retry and the scheduled one", n, err)
	}
	wantNames(t, "ready", labels(listAll(t, s, sender.Query{State: sender.StateReady})), "a1 in-flight", "a2 in-line", "z1 ready", "b2 ready", "t1 ready")
	after := s.Counts()
	if after.Pending != before.Pending || after.Dead != before.Dead || after.Dropped != 0 || after.Put != before.Put {
		t.Errorf("%+v, before %+v", after, before)
	}
}

func TestEdit(t *testing.T) {
	t.Parallel()
	for _, o := range []*Options{{Gather: -1, LockTimeout: -1, MaxPayload: 100, MaxBytes: 400}, sealedWith(t)} {
		s := newStore(t, o)
		it := event("1", "k")
		it.Header = map[string]string{"a": "b"}
		put(t, s, it, event("2", ""))
		settle(t, s, failed(claims(t, s, 1)[0], sender.Dead, time.Time{}))
		was := list(t, s.Dead())[0]
		for i, c := range []struct {
			payload []byte
			header  map[string]string
			want    map[string]string
		}{{[]byte("longer than it was before"), nil, it.Header}, {[]byte{}, map[string]string{"c": "d", "e": ""}, nil}, {[]byte("x"), map[string]string{}, nil}} {
			if err := s.Edit(t.Context(), was, c.payload, c.header); err != nil {
				t.Fatal(err)
			}
			want := was
			want.Payload, want.Header = c.payload, c.header
			if c.header == nil {
				want.Header = c.want
			} else if len(c.header) == 0 {
				want.Header = nil
			}
			was = list(t, s.Dead())[0]
			if !same(was, want) {
				t.Errorf("%d: edited it is %+v, want %+v", i, was, want)
			}
			if err := s.Check(t.Context()); err != nil {
				t.Error(err)
			}
		}
		path := s.Path()
		checkedClose(t, s)
		s = openStore(t, path, o)
		if got := list(t, s.Dead())[0]; string(got.Payload) != "x" {
			t.Errorf("after Open it is %q", got.Payload)
		}
		if n, err := s.Revive(t.Context(), was); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		wantNames(t, "delivered", drain(t, s), "2", "1")
	}
}

func sealedWith(t *testing.T) *Options { return sealed(t, "k1") }

func TestEditRefuses(t *testing.T) {
	t.Parallel()
	s := newStore(t, &Options{Gather: -1, LockTimeout: -1, MaxPayload: 100, MaxBytes: 150})
	put(t, s, event("1", ""), event("2", ""))
	items := claims(t, s, 2)
	settle(t, s, failed(items[0], sender.Dead, time.Time{}))
	was := list(t, s.Dead())[0]
	other := was
	other.ID[0] ^= 1
	for _, c := range []struct {
		it      sender.Item
		payload []byte
		header  map[string]string
		want    error
	}{
		{was, make([]byte, 101), nil, sender.ErrTooLarge},
		{was, nil, map[string]string{"": string(make([]byte, 65<<10))}, sender.ErrTooLarge},
		{items[1], nil, nil, sender.ErrChanged}, {other, nil, nil, sender.ErrChanged}, {sender.Item{ID: was.ID}, nil, nil, sender.ErrChanged},
	} {
		wantError(t, s.Edit(t.Context(), c.it, c.payload, c.header), c.want)
	}
	put(t, s, sender.Item{ID: event("3", "").ID, Payload: make([]byte, 100), Created: time.Now()})
	wantError(t, s.Edit(t.Context(), was, make([]byte, 100), nil), sender.ErrFull)
	if got := list(t, s.Dead())[0]; !same(got, was) {
		t.Errorf("it is %+v, was %+v", got, was)
	}
	if err := s.Edit(t.Context(), was, nil, nil); err != nil { // a smaller one is fine where there is no room
		t.Error(err)
	}
}

// A damaged record cannot be edited: what is kept of it is all there is.
func TestEditDamaged(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "outbox")
	s, err := Open(path, &prompt)
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, events(2)...)
	settle(t, s, failed(claims(t, s, 1)[0], sender.Dead, time.Time{}))
	checkedClose(t, s)
	db := openDB(t, path)
	if err := db.Update(func(tx *bolt.Tx) error {
		for name, seq := range map[string]uint64{"dead": 1, "ready": 2} {
			b := tx.Bucket([]byte("outbox")).Bucket([]byte(name))
			v := slices.Clone(b.Get(format.ReadyKey(seq)))
			v[60] ^= 1
			if err := b.Put(format.ReadyKey(seq), v); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	db.Close()
	if s, err = Open(path, &prompt); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if items := claims(t, s, 1); len(items) > 0 { // quarantines the second one
		t.Fatalf("claimed %q", kinds(items))
	}
	all := listAll(t, s, sender.Query{State: sender.StateDead})
	if len(all) != 2 {
		t.Fatalf("%+v", all)
	}
	for _, l := range all {
		wantError(t, s.Edit(t.Context(), l.Item, nil, nil), sender.ErrChanged)
	}
}

// An item whose Settle failed is in flight until the repeated Settle, whether the first was stored or
// not: RunNow leaves it to that, and finds it afterwards.
func TestRunNowBetweenSettleAndItsRepetition(t *testing.T) {
	for _, when := range []int32{1, 2} { // before and after the commit is on disk
		s := newStore(t, nil)
		f := makeFaulty(s)
		put(t, s, event("a", "a"))
		it := claims(t, s, 1)[0]
		retry := failed(it, sender.Retry, time.Now().Add(time.Hour))
		f.armed.Store(when)
		wantError(t, s.Settle(t.Context(), retry), sender.ErrStorage)
		for _, want := range []int{0, 1} {
			if n, err := s.RunNow(t.Context(), it); n != want || err != nil {
				t.Errorf("RunNow: %d, %v, want %d", n, err, want)
			}
			if got := claims(t, s, 10); len(got) != want {
				t.Errorf("handed out: %q, want %d", kinds(got), want)
			}
			if want == 0 {
				settle(t, s, retry)
			}
		}
	}
}
