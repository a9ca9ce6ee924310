package outbox_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"go.etcd.io/bbolt"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/internal/campaign"
	"github.com/seed8107221f/outbox/internal/loopback"
	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/sender/sendertest"
	"github.com/seed8107221f/outbox/store"
)

func TestMain(m *testing.M) {
	loopback.Only()
	campaign.Run(m)
}

// store.Store has every ability.
var _ interface {
	outbox.Store
	sender.Exclusive
	sender.Gatherer
	sender.Flusher
	sender.Refuser
	sender.Lister
	sender.Reviver
	sender.Eraser
	sender.Compacter
	sender.Checker
	sender.Fallbacker
	sender.Announcer
	sender.Placer
	sender.Browser
	sender.Editor
	sender.Operator
	sender.Explainer
	sender.LaneLister
	sender.Pather
	sender.Sizer
	outbox.TxAppender
} = (*store.Store)(nil)

// over starts an outbox over a store, and closes it when the test ends.
func over(t *testing.T, st outbox.Store, tr sender.Transport) *outbox.Outbox {
	t.Helper()
	b, err := outbox.New(st, tr, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

// recorder is a transport that accepts everything and records it.
type recorder struct{ got chan string }

func newRecorder() recorder { return recorder{make(chan string, 100)} }

func (r recorder) Send(_ context.Context, it sender.Item) error {
	r.got <- string(it.Payload)
	return nil
}

func TestStoreWithoutAbilities(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, to := new(sendertest.Memory), newRecorder()
		b := over(t, m, to)
		if _, err := b.Put(t.Context(), outbox.Event{Payload: []byte("one"), Key: "a"}); err != nil {
			t.Fatal(err)
		}
		if _, err := b.PutAll(t.Context(), outbox.Event{Payload: []byte("two"), Key: "a"}, outbox.Event{Payload: []byte("three"), Key: "a"}); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if err := b.Flush(t.Context()); err != nil || time.Since(began) > 100*time.Millisecond {
			t.Errorf("Flush: %v after %v", err, time.Since(began))
		}
		for _, want := range []string{"one", "two", "three"} {
			if got := <-to.got; got != want {
				t.Errorf("%q arrived, want %q", got, want)
			}
		}
		if _, err := b.Put(t.Context(), outbox.Event{NotBefore: time.Now().Add(time.Hour)}); err != nil {
			t.Fatal(err)
		}
		if err := b.Flush(t.Context()); !errors.Is(err, outbox.ErrPending) || err.Error() != "outbox: flush: events remain: 1 pending (1 scheduled)" {
			t.Errorf("Flush: %v", err)
		}
		if s := b.Stats(); s.Put != 4 || s.Delivered != 3 || s.Pending != 1 || s.Scheduled != 1 || s.Fallback != "" {
			t.Errorf("%+v", s)
		}
		if err := b.Shutdown(t.Context()); !errors.Is(err, outbox.ErrPending) || err.Error() != "outbox: shutdown: events remain: 1 pending (1 scheduled)" {
			t.Errorf("Shutdown: %v", err)
		}
		if _, err := b.Put(t.Context(), outbox.Event{}); !errors.Is(err, outbox.ErrClosed) {
			t.Errorf("Put after Shutdown: %v", err)
		}
		again := over(t, m, nil)
		if _, err := again.Put(t.Context(), outbox.Event{}); err != nil {
			t.Errorf("the next outbox on the store: %v", err)
		}
	})
}

// What is put past the outbox, into a store that wakes nobody, is sent all the same.
func TestStoreThatWakesNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, to := new(sendertest.Memory), newRecorder()
		over(t, m, to)
		time.Sleep(time.Hour)
		began := time.Now()
		if err := m.Append(t.Context(), sender.Item{ID: uuid.New(), Created: time.Now()}); err != nil {
			t.Fatal(err)
		}
		<-to.got
		if took := time.Since(began); took > time.Second {
			t.Errorf("it was sent after %v, want within a second", took)
		}
	})
}

// bare is a store without any ability.
type bare struct{ outbox.Store }

func TestMissingAbilities(t *testing.T) {
	b := over(t, bare{new(sendertest.Memory)}, nil)
	ctx := t.Context()
	one := func(items iter.Seq2[sender.Item, error]) (err error) {
		n := 0
		for _, err = range items {
			n++
		}
		if n != 1 {
			t.Errorf("%d items were listed, want one error", n)
		}
		return err
	}
	second := func(_ any, err error) error { return err }
	for _, c := range []struct {
		op, ability string
		err         error
	}{
		{"pending", "sender.Lister", one(b.Pending())},
		{"dead", "sender.Lister", one(b.Dead())},
		{"find", "sender.Lister", second(b.Find(ctx, uuid.New()))},
		{"revive", "sender.Reviver", second(b.Revive(ctx, sender.Item{}))},
		{"drop", "sender.Reviver", second(b.Drop(ctx, sender.Item{}))},
		{"erase", "sender.Eraser", second(b.Erase(ctx, "a"))},
		{"check", "sender.Checker", b.Check(ctx)},
		{"compact", "sender.Compacter", b.Compact(ctx)},
		{"list", "sender.Browser", second(b.List(ctx, sender.Query{State: sender.StateDead}))},
		{"explain", "sender.Explainer", second(b.Explain(ctx, uuid.New(), 0))},
		{"revive", "sender.Browser", second(b.ReviveAll(ctx, nil))},
		{"run now", "sender.Editor", second(b.RunNow(ctx, sender.Item{}))},
		{"edit", "sender.Editor", b.Edit(ctx, sender.Item{}, nil, nil)},
		{"pause", "sender.Operator", b.Pause(ctx, sender.Pause{})},
		{"resume", "sender.Operator", b.Resume(ctx)},
		{"clear throttle", "sender.Operator", b.ClearThrottle(ctx)},
		{"lane", "*store.Store", second(b.Lane("other", nil, nil))},
		{"lanes", "sender.LaneLister", second(b.Lanes())},
		{"put", "outbox.TxAppender", second(b.PutTx(ctx, nil, outbox.Event{}))},
	} {
		want := "outbox: " + c.op + ": outbox_test.bare is no " + c.ability + ": unsupported operation"
		if !errors.Is(c.err, errors.ErrUnsupported) || c.err.Error() != want {
			t.Errorf("%s: %v, want %q", c.op, c.err, want)
		}
	}
	if err := b.SetConcurrency(1); !errors.Is(err, errors.ErrUnsupported) || err.Error() != "outbox: set concurrency: no transport: unsupported operation" {
		t.Errorf("set concurrency: %v", err)
	}
	b.Observe(func(sender.Outcome) { t.Error("an outcome without a transport") })()
	if s := b.Stats(); s.Put != 0 || s.State != sender.LaneStoring || s.FileBytes != 0 || b.Path() != "" || b.Health() != nil {
		t.Errorf("%+v", s)
	}
}

func TestPutBy(t *testing.T) {
	b := over(t, new(sendertest.Memory), nil)
	given := outbox.Event{Kind: "track", Key: "a", Payload: []byte("x"), Header: map[string]string{"h": "v"}, NotBefore: time.Unix(10, 0), Expires: time.Unix(20, 0)}
	var it sender.Item
	id, err := b.PutBy(t.Context(), given, func(i sender.Item) error { it = i; return nil })
	if err != nil || id == uuid.Nil || it.ID != id || it.Kind != "track" || it.Key != "a" || string(it.Payload) != "x" || it.Header["h"] != "v" ||
		!it.Due.Equal(given.NotBefore) || !it.Expires.Equal(given.Expires) || time.Since(it.Created) > time.Minute {
		t.Errorf("%v, %v: %+v", id, err, it)
	}
	given.ID = uuid.New()
	if id, err := b.PutBy(t.Context(), given, func(sender.Item) error { return nil }); id != given.ID || err != nil {
		t.Errorf("%v, %v, want the ID %v", id, err, given.ID)
	}
	own := errors.New("the transaction has ended")
	if id, err := b.PutBy(t.Context(), given, func(sender.Item) error { return own }); id != given.ID || !errors.Is(err, own) || err.Error() != "outbox: put: the transaction has ended" {
		t.Errorf("%v, %v", id, err)
	}
	never := func(sender.Item) error { t.Error("the function was called"); return nil }
	if id, err := b.PutBy(t.Context(), outbox.Event{Key: strings.Repeat("k", 2000)}, never); id != uuid.Nil || !errors.Is(err, outbox.ErrInvalid) {
		t.Errorf("an invalid event: %v, %v", id, err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if id, err := b.PutBy(t.Context(), given, never); id != given.ID || !errors.Is(err, outbox.ErrClosed) {
		t.Errorf("after Close: %v, %v", id, err)
	}
}

func TestPutByIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := over(t, new(sendertest.Memory), nil)
		goOn, put := make(chan struct{}), make(chan error, 1)
		go func() {
			_, err := b.PutBy(t.Context(), outbox.Event{}, func(sender.Item) error { <-goOn; return nil })
			put <- err
		}()
		synctest.Wait()
		closed := make(chan error, 1)
		go func() { closed <- b.Close() }()
		time.Sleep(time.Second)
		select {
		case err := <-closed:
			t.Errorf("Close did not wait: %v", err)
		default:
		}
		close(goOn)
		if err := errors.Join(<-put, <-closed); err != nil {
			t.Error(err)
		}
	})
}

// A call that hangs in a store that cannot refuse it is left behind.
func TestCloseWhilePutHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := over(t, new(sendertest.Memory), nil)
		goOn := make(chan struct{})
		defer close(goOn)
		go b.PutBy(t.Context(), outbox.Event{}, func(sender.Item) error { <-goOn; return nil })
		synctest.Wait()
		began := time.Now()
		if err := b.Close(); err != nil || time.Since(began) > 6*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

const place = `lane "mail" of /var/lib/app/events.db`

// failing is a store with a place, all of whose methods return errors.
type failing struct {
	sendertest.Memory
	err    error
	counts sender.Counts
}

func (f *failing) Counts() sender.Counts { return f.counts }

func (f *failing) in(op string) error {
	return &sender.StoreError{Op: "store: " + op, Place: place, Err: f.err}
}

func (f *failing) Append(context.Context, ...sender.Item) error        { return f.in("append") }
func (f *failing) AppendTx(*bbolt.Tx, ...sender.Item) error            { return f.in("append") }
func (f *failing) Place() string                                       { return place }
func (f *failing) Check(context.Context) error                         { return f.in("check") }
func (f *failing) Compact(context.Context) error                       { return f.in("compact") }
func (f *failing) Revive(context.Context, ...sender.Item) (int, error) { return 0, f.in("revive") }
func (f *failing) Drop(context.Context, ...sender.Item) (int, error)   { return 0, f.in("drop") }
func (f *failing) Erase(context.Context, string) (int, error)          { return 0, f.in("erase") }
func (f *failing) Find(context.Context, uuid.UUID) (sender.Item, error) {
	return sender.Item{}, f.in("find")
}
func (f *failing) Pending() iter.Seq2[sender.Item, error] {
	return func(yield func(sender.Item, error) bool) {
		_ = yield(sender.Item{}, nil) && yield(sender.Item{}, f.in("list"))
	}
}
func (f *failing) Dead() iter.Seq2[sender.Item, error] { return f.Pending() }

func TestErrorsNameOperationAndPlaceOnce(t *testing.T) {
	full := fmt.Errorf("%w: 10 pending and 1 more, at most 10 (MaxPending): nothing was stored", sender.ErrFull)
	f := &failing{err: full}
	b := over(t, f, nil)
	ctx := t.Context()
	second := func(_ any, err error) error { return err }
	last := func(items iter.Seq2[sender.Item, error]) (err error) {
		for _, err = range items {
		}
		return err
	}
	for op, errs := range map[string][]error{
		"put": {
			second(b.Put(ctx, outbox.Event{})), second(b.PutAll(ctx, outbox.Event{})), second(b.PutTx(ctx, nil, outbox.Event{})),
			second(b.PutBy(t.Context(), outbox.Event{}, func(sender.Item) error { return full })),
		},
		"pending": {last(b.Pending())}, "dead": {last(b.Dead())}, "find": {second(b.Find(ctx, uuid.Nil))},
		"revive": {second(b.Revive(ctx))}, "drop": {second(b.Drop(ctx))}, "erase": {second(b.Erase(ctx, ""))},
		"check": {b.Check(ctx)}, "compact": {b.Compact(ctx)},
	} {
		want := "outbox: " + op + ": " + place + ": full: 10 pending and 1 more, at most 10 (MaxPending): nothing was stored"
		for i, err := range errs {
			if !errors.Is(err, outbox.ErrFull) || err.Error() != want {
				t.Errorf("%s %d: %v\nwant %s", op, i, err, want)
			}
		}
	}

	long := strings.Repeat("k", 1025)
	for _, c := range []struct {
		err  error
		is   error
		want string
	}{
		{second(b.Put(ctx, outbox.Event{Key: long})), outbox.ErrInvalid, "put: " + place + ": invalid event: Key has 1025 bytes, at most 1024: too large"},
		{second(b.PutAll(ctx, outbox.Event{}, outbox.Event{Key: long})), outbox.ErrInvalid, "put: " + place + ": event 2 of 2: invalid event: Key has 1025 bytes, at most 1024: too large"},
		{b.Close(), nil, ""},
		{second(b.Put(ctx, outbox.Event{})), outbox.ErrClosed, "put: " + place + ": closed"},
		{b.Flush(ctx), outbox.ErrClosed, "flush: " + place + ": closed"},
	} {
		if c.is == nil && c.err == nil {
			continue
		}
		if !errors.Is(c.err, c.is) || c.err.Error() != "outbox: "+c.want {
			t.Errorf("%v\nwant outbox: %s", c.err, c.want)
		}
	}
}

// broken is a store whose disk fails when outcomes are recorded.
type broken struct{ sendertest.Memory }

func (s *broken) Place() string { return place }
func (s *broken) Settle(ctx context.Context, outcomes ...sender.Outcome) error {
	if len(outcomes) == 0 {
		return nil
	}
	return &sender.StoreError{Op: "store: settle", Place: place, Err: fmt.Errorf("%w: input/output error", sender.ErrStorage)}
}

func TestShutdownErrorIsSaidOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := over(t, new(broken), newRecorder())
		if _, err := b.Put(t.Context(), outbox.Event{}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := b.Shutdown(ctx)
		if !errors.Is(err, outbox.ErrPending) || !errors.Is(err, outbox.ErrStorage) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		lines := strings.Split(err.Error(), "\n")
		for _, line := range lines {
			if !strings.HasPrefix(line, "outbox: shutdown: ") || strings.Count(line, place) > 1 || strings.Count(line, "input/output error") > 1 || strings.Contains(line, "sender:") || strings.Contains(line, "flush:") {
				t.Errorf("%s", line)
			}
		}
		if len(lines) != 2 || lines[0] == lines[1] {
			t.Errorf("want what remains and what failed, once each:\n%v", err)
		}
	})
}

func TestOpenNamesTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "none", "events.db")
	_, err := outbox.Open(path, nil, nil)
	if !errors.Is(err, os.ErrNotExist) || strings.Count(err.Error(), path) < 1 || !strings.HasPrefix(err.Error(), "outbox: open: ") {
		t.Errorf("%v", err)
	}
}

// The events of PutAll, PutBy and Put come in the order of the calls.
func TestOneOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, to := new(sendertest.Memory), newRecorder()
		b := over(t, m, to)
		event := func(s string) outbox.Event { return outbox.Event{Key: "a", Payload: []byte(s)} }
		put := func(s string) {
			if _, err := b.Put(t.Context(), event(s)); err != nil {
				t.Error(err)
			}
		}
		put("1")
		if _, err := b.PutBy(t.Context(), event("2"), func(it sender.Item) error { return m.Append(t.Context(), it) }); err != nil {
			t.Error(err)
		}
		if _, err := b.PutAll(t.Context(), event("3"), event("4")); err != nil {
			t.Error(err)
		}
		put("5")
		if err := b.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		close(to.got)
		var got []string
		for s := range to.got {
			got = append(got, s)
		}
		if want := []string{"1", "2", "3", "4", "5"}; !slices.Equal(got, want) {
			t.Errorf("%q arrived, want %q", got, want)
		}
	})
}

// What a dashboard reads: no year 1, and the reason of a store that cannot work under its own name.
func TestStatsAsJSON(t *testing.T) {
	b := over(t, &failing{err: sender.ErrFull}, nil)
	got, err := json.Marshal(b.Stats())
	if err != nil {
		t.Fatal(err)
	}
	want := `{"state":"storing","pending":0,"ready":0,"scheduled":0,"retrying":0,"in_line":0,"in_flight":0,"dead":0,"abandoned":0,"bytes":0,"dead_bytes":0,"file_bytes":0,` +
		`"rate":0,"limit":0,"concurrency":0,"requests":0,"put":0,"delivered":0,"expired":0,"dropped":0}`
	if string(got) != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	b = over(t, &failing{counts: sender.Counts{Err: errors.New("no disk")}}, nil)
	if s := b.Stats(); s.Failed != "no disk" || s.Held != "no disk" {
		t.Errorf("failed %q, held %q", s.Failed, s.Held)
	}
}

// failed is a store whose disk fails once err is set.
type failed struct {
	sendertest.Memory
	err atomic.Pointer[error]
}

func (s *failed) Counts() sender.Counts {
	c := s.Memory.Counts()
	if err := s.err.Load(); err != nil {
		c.Err = *err
	}
	return c
}

// A disk that fails comes before everything else, also before the sender meets it: because its lane is
// paused, or because the destination is out.
func TestStateOfAFailedDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := new(failed)
		b := over(t, st, sender.TransportFunc(func(context.Context, sender.Item) error { return sender.Unavailable(errors.New("no route")) }))
		if _, err := b.Put(t.Context(), outbox.Event{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if s := b.Stats(); s.HeldBy != sender.HeldByDestination {
			t.Fatalf("%+v", s)
		}
		if err := b.Pause(t.Context(), sender.Pause{}); err != nil {
			t.Fatal(err)
		}
		broken := fmt.Errorf("%w: input/output error", sender.ErrStorage)
		st.err.Store(&broken)
		if s := b.Stats(); s.State != sender.LaneHeld || s.HeldBy != sender.HeldByStorage || !errors.Is(s.HeldErr, outbox.ErrStorage) || s.Held != s.Failed || !s.Probe.IsZero() || !s.HeldSince.IsZero() {
			t.Errorf("%+v", s)
		}
		if err := b.Health(); !errors.Is(err, outbox.ErrStorage) {
			t.Errorf("%v", err)
		}
		st.err.Store(nil)
		if s := b.Stats(); s.State != sender.LanePaused || s.HeldBy != sender.HeldByDestination || b.Health() != nil {
			t.Errorf("after it healed: %+v, %v", s, b.Health())
		}
	})
}
