package acceptance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/internal/campaign"
	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/store"
)

// holdings are what a process has, and may forget to give back.
type holdings struct {
	descriptors, mappings, goroutines int
	heap                              uint64
	file                              int64
}

func holds(t *testing.T, path string) (h holdings) {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return holdings{len(fds), bytes.Count(maps, []byte(path)), runtime.NumGoroutine(), m.HeapInuse, info.Size()}
}

// An outbox that is opened and closed again and again (a thousand times if long), in every way,
// gives everything back.
func TestCycles(t *testing.T) {
	cycles := campaign.Pick(1000, 120, 30)
	if raceDetector {
		cycles = min(cycles, 200)
	}
	path := newPath(t)
	ways := []func() error{
		func() error { // nothing happens
			b, err := outbox.Open(path, answer(nil), nil)
			if err != nil {
				return err
			}
			return b.Close()
		},
		func() error { // an event is left
			b, err := outbox.Open(path, nil, nil)
			if err != nil {
				return err
			}
			_, err = b.Put(context.Background(), outbox.Event{Key: "a", Payload: make([]byte, 1000)})
			return errors.Join(err, b.Close())
		},
		func() error { // and sent
			b, err := outbox.Open(path, answer(nil), nil)
			if err != nil {
				return err
			}
			return b.Shutdown(context.Background())
		},
		func() error { // it is compacted
			s, err := store.Open(path, nil)
			if err != nil {
				return err
			}
			return errors.Join(s.Compact(context.Background()), s.Close())
		},
		func() error { // it is closed while a request hangs
			b, err := outbox.Open(path, sender.TransportFunc(patient), nil)
			if err != nil {
				return err
			}
			_, err = b.Put(context.Background(), outbox.Event{Key: "b"})
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond) // Close would wait for seconds
			defer cancel()
			if ended := b.Shutdown(ctx); !errors.Is(ended, outbox.ErrPending) {
				return fmt.Errorf("Shutdown while a request hangs: %w", errors.Join(err, ended))
			}
			return err
		},
		func() error { // it is locked
			s, err := store.Open(path, nil)
			if err != nil {
				return err
			}
			_, err = outbox.Open(path, nil, &outbox.Options{Store: store.Options{LockTimeout: -1}})
			if !errors.Is(err, store.ErrLocked) {
				return fmt.Errorf("a second Open: %w", err)
			}
			return s.Close()
		},
	}
	var before holdings
	for i := range cycles {
		if i == max(6, cycles/10) { // each way once
			before = holds(t, path)
		}
		if err := ways[i%len(ways)](); err != nil {
			t.Fatalf("cycle %d: %v", i, err)
		}
	}
	after := holds(t, path)
	for range 100 { // goroutines that have done their work end by themselves
		if after.goroutines <= before.goroutines {
			break
		}
		time.Sleep(10 * time.Millisecond)
		after = holds(t, path)
	}
	if after.descriptors > before.descriptors || after.mappings > 0 || after.goroutines > before.goroutines || after.heap > before.heap+2<<20 || after.file > before.file {
		t.Errorf("after a tenth of %d cycles %+v, after all %+v", cycles, before, after)
	}
	sound(t, path)
}

// patient is a transport whose calls end with their context.
func patient(ctx context.Context, _ sender.Item) error {
	<-ctx.Done()
	return ctx.Err()
}
