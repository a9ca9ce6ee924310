package acceptance

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/bbolt"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/outboxtest"
	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/store"
)

func TestClosedRefusesAndStillTells(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := open(t, newPath(t), nil, nil)
		put(t, b, "track", "", "one")
		for range 2 {
			if err := b.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := b.Put(t.Context(), outbox.Event{}); !errors.Is(err, outbox.ErrClosed) {
			t.Errorf("Put: %v", err)
		}
		if _, err := b.PutAll(t.Context(), outbox.Event{}, outbox.Event{}); !errors.Is(err, outbox.ErrClosed) {
			t.Errorf("PutAll: %v", err)
		}
		if err := b.Flush(t.Context()); !errors.Is(err, outbox.ErrClosed) {
			t.Errorf("Flush: %v", err)
		}
		if err := b.SetConcurrency(3); !errors.Is(err, outbox.ErrClosed) {
			t.Errorf("SetConcurrency: %v", err)
		}
		if err := b.Shutdown(t.Context()); err != nil {
			t.Errorf("Shutdown after Close: %v", err)
		}
		for _, err := range b.Pending() {
			if !errors.Is(err, sender.ErrClosed) {
				t.Errorf("Pending: %v", err)
			}
		}
		if s := b.Stats(); s.Put != 1 || s.Pending != 1 {
			t.Errorf("Stats after Close: %+v", s)
		}
	})
}

func TestShutdownTwiceAtOnceAnswersAlike(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := open(t, newPath(t), nil, nil)
		put(t, b, "track", "", "one")
		var errs [2]error
		var wg sync.WaitGroup
		for i := range errs {
			wg.Go(func() { errs[i] = b.Shutdown(t.Context()) })
		}
		wg.Wait()
		for _, err := range errs {
			if !errors.Is(err, outbox.ErrPending) || !strings.Contains(err.Error(), "no transport") {
				t.Errorf("%v, want ErrPending because there is no transport", err)
			}
		}
	})
}

func TestPutRacesClose(t *testing.T) {
	t.Parallel()
	for range 5 {
		path := newPath(t)
		b := open(t, path, nil, nil)
		var mu sync.Mutex
		acknowledged := make(map[string]bool)
		refused := 0
		var wg sync.WaitGroup
		for i := range 64 {
			wg.Go(func() {
				for j := 0; ; j++ {
					name := fmt.Sprint(i, " ", j)
					_, err := b.Put(context.Background(), outbox.Event{Payload: []byte(name)})
					mu.Lock()
					if err == nil {
						acknowledged[name] = true
					} else {
						refused++
						if !errors.Is(err, outbox.ErrClosed) {
							t.Errorf("put: %v", err)
						}
					}
					mu.Unlock()
					if err != nil {
						return
					}
				}
			})
		}
		for b.Stats().Put < 100 {
			time.Sleep(time.Millisecond)
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		wg.Wait()
		b = open(t, path, nil, nil)
		found := payloads(t, b)
		slices.Sort(found)
		if want := slices.Sorted(maps.Keys(acknowledged)); !slices.Equal(found, want) || refused != 64 {
			t.Errorf("%d on disk, %d acknowledged, %d refused", len(found), len(want), refused)
		}
		b.Close()
	}
}

func TestShutdownEndsThoseWhoWaitForRoom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := open(t, newPath(t), nil, &outbox.Options{Store: store.Options{MaxPending: 1, Block: true}})
		put(t, b, "track", "", "one")
		errs := make(chan error, 3)
		for range 3 {
			go func() {
				_, err := b.Put(context.Background(), outbox.Event{})
				errs <- err
			}()
		}
		synctest.Wait()
		began := time.Now()
		if err := b.Shutdown(t.Context()); !errors.Is(err, outbox.ErrPending) {
			t.Errorf("Shutdown: %v", err)
		}
		for range 3 {
			if err := <-errs; !errors.Is(err, outbox.ErrClosed) {
				t.Errorf("a Put that waited for room: %v", err)
			}
		}
		if took := time.Since(began); took > 0 {
			t.Errorf("it took %v", took)
		}
		if s := b.Stats(); s.Put != 1 {
			t.Errorf("%d stored", s.Put)
		}
	})
}

func TestCloseEndsFlush(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := open(t, newPath(t), outboxtest.NewTransport(outboxtest.Always(outboxtest.Hang())), nil)
		put(t, b, "track", "", "one")
		flushed := make(chan error, 1)
		go func() { flushed <- b.Flush(context.Background()) }()
		synctest.Wait()
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		if err := <-flushed; !errors.Is(err, outbox.ErrClosed) && !errors.Is(err, outbox.ErrPending) {
			t.Errorf("Flush: %v", err)
		}
	})
}

func TestTransportThatClosesItsOutbox(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		path := newPath(t)
		var b atomic.Pointer[outbox.Outbox]
		closed := make(chan error, 1)
		b.Store(open(t, path, sender.TransportFunc(func(context.Context, sender.Item) error {
			closed <- b.Load().Close()
			return nil
		}), nil))
		put(t, b.Load(), "track", "", "one")
		if err := <-closed; err != nil {
			t.Error(err)
		}
		again := open(t, path, nil, nil)
		if got := payloads(t, again); !slices.Equal(got, []string{"one"}) {
			t.Errorf("on disk are %q, want the event whose answer came too late", got)
		}
	})
}

// inApplication opens an outbox in a database of the application.
func inApplication(t *testing.T, tr sender.Transport, so *store.Options) (*bbolt.DB, *outbox.Outbox) {
	t.Helper()
	db, err := bbolt.Open(filepath.Join(t.TempDir(), "app.db"), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	st, err := store.In(db, "events", so)
	if err != nil {
		t.Fatal(err)
	}
	b, err := outbox.New(st, tr, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		b.Close()
		if err := errors.Join(st.Check(context.Background()), st.Close(), db.Close()); err != nil {
			t.Error(err)
		}
	})
	return db, b
}

// The lock of the application's transaction is no channel, so this runs in real time.
func TestShutdownWhileTheApplicationHoldsItsTransaction(t *testing.T) {
	db, b := inApplication(t, nil, nil)
	tx, err := db.Begin(true)
	if err != nil {
		t.Fatal(err)
	}
	errs := make(chan error, 4)
	for i := range 4 {
		go func() {
			_, err := b.Put(context.Background(), outbox.Event{Payload: fmt.Append(nil, i)})
			errs <- err
		}()
	}
	gone, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := b.Put(gone, outbox.Event{}); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "nothing was stored") {
		t.Errorf("a Put whose context ends before the commit begins: %v", err)
	}
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	err = b.Shutdown(ctx)
	if took := time.Since(began); took > 10*time.Second { // a busy machine adds to it
		t.Errorf("Shutdown took %v, 1.1s promised", took)
	}
	if !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, outbox.ErrPending) && err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	stored := 0
	for range 4 {
		switch err := <-errs; {
		case err == nil:
			stored++
		case !errors.Is(err, outbox.ErrClosed):
			t.Errorf("Put: %v", err)
		}
	}
	if got := payloads(t, b); len(got) != stored {
		t.Errorf("%d acknowledged, on disk are %q", stored, got)
	}
}

func TestPutTxIsPartOfTheTransaction(t *testing.T) {
	t.Parallel()
	arrived := make(chan string, 10)
	db, b := inApplication(t, sender.TransportFunc(func(_ context.Context, it sender.Item) error {
		arrived <- string(it.Payload)
		return nil
	}), nil)
	undo := errors.New("undone")
	if err := db.Update(func(tx *bbolt.Tx) error {
		if _, err := b.PutTx(t.Context(), tx, outbox.Event{Payload: []byte("rolled back")}); err != nil {
			t.Error(err)
		}
		return undo
	}); err != undo {
		t.Fatal(err)
	}
	if err := db.Update(func(tx *bbolt.Tx) error {
		_, err := b.PutTx(t.Context(), tx, outbox.Event{Payload: []byte("committed")})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	select {
	case got := <-arrived: // nobody called Flush or Put
		if got != "committed" {
			t.Errorf("%q arrived", got)
		}
	case <-time.After(2 * time.Second):
		t.Error("the sender was not woken by the commit")
	}
	if err := db.View(func(tx *bbolt.Tx) error {
		_, err := b.PutTx(t.Context(), tx, outbox.Event{})
		return err
	}); err == nil || !strings.Contains(err.Error(), "reading only") {
		t.Errorf("in a transaction for reading: %v", err)
	}
	other := open(t, newPath(t), nil, nil)
	if err := db.Update(func(tx *bbolt.Tx) error {
		_, err := other.PutTx(t.Context(), tx, outbox.Event{})
		return err
	}); err == nil || !strings.Contains(err.Error(), "another database") {
		t.Errorf("in a transaction of another database: %v", err)
	}
	if s := b.Stats(); s.Put != 1 {
		t.Errorf("%d stored, 1 committed", s.Put)
	}
}

func TestPutTxNeverBlocks(t *testing.T) {
	t.Parallel()
	db, b := inApplication(t, nil, &store.Options{MaxPending: 1, Block: true})
	err := db.Update(func(tx *bbolt.Tx) error {
		if _, err := b.PutTx(t.Context(), tx, outbox.Event{Payload: []byte("fits")}); err != nil {
			t.Error(err)
		}
		if _, err := b.PutTx(t.Context(), tx, outbox.Event{Payload: []byte("does not")}); !errors.Is(err, sender.ErrFull) {
			t.Errorf("beyond MaxPending: %v, want ErrFull", err)
		}
		return nil
	})
	if got := payloads(t, b); err != nil || !slices.Equal(got, []string{"fits"}) {
		t.Errorf("%q stored, %v", got, err)
	}
}
