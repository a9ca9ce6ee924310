package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed8107221f/outbox/sender"
)

func TestAppendRefuses(t *testing.T) {
	s := newStore(t, &Options{MaxPayload: 1000})
	for _, tt := range []struct {
		name     string
		spoil    func(it *sender.Item)
		sentinel error // nil: any
		words    []string
	}{
		{"payload", func(it *sender.Item) { it.Payload = make([]byte, 1001) }, sender.ErrTooLarge, []string{"payload", "1001", "1000"}},
		{"kind", func(it *sender.Item) { it.Kind = strings.Repeat("x", 40<<10) }, sender.ErrTooLarge, []string{"Kind", "40960", "1024"}},
		{"key", func(it *sender.Item) { it.Key = strings.Repeat("x", 40<<10) }, sender.ErrTooLarge, []string{"Key", "40960", "1024"}},
		{"key by a byte", func(it *sender.Item) { it.Key = strings.Repeat("x", 1025) }, sender.ErrTooLarge, []string{"1025"}},
		{"header", func(it *sender.Item) {
			it.Header = map[string]string{"a": strings.Repeat("x", 40<<10), "b": strings.Repeat("x", 40<<10)}
		}, sender.ErrTooLarge, []string{"Header", "81922", "65536"}},
		{"no Created", func(it *sender.Item) { it.Created = time.Time{} }, nil, []string{"Created"}},
		{"Created in year 1", func(it *sender.Item) { it.Created = time.Date(1, 1, 2, 0, 0, 0, 0, time.UTC) }, nil, []string{"Created"}},
		{"Due in 1969", func(it *sender.Item) { it.Due = time.Unix(-1, 0) }, nil, []string{"NotBefore"}},
		{"Due in 9999", func(it *sender.Item) { it.Due = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC) }, nil, []string{"NotBefore"}},
		{"Expires in 2263", func(it *sender.Item) { it.Expires = time.Date(2263, 1, 1, 0, 0, 0, 0, time.UTC) }, nil, []string{"Expires"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			it := event("spoilt", "")
			tt.spoil(&it)
			err := s.Append(t.Context(), event("good", ""), it) // all or none
			if err == nil || tt.sentinel != nil && !errors.Is(err, tt.sentinel) {
				t.Fatalf("error %v, want %v", err, tt.sentinel)
			}
			for _, word := range tt.words {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("error %q does not say %q", err, word)
				}
			}
		})
	}
	if c := s.Counts(); c.Put != 0 {
		t.Errorf("stored all the same: %+v", c)
	}
}

func TestAppendKeepsBytes(t *testing.T) {
	s := newStore(t, nil)
	odd := "\x00\xff\xc3\x28 \u2028\x00"
	its := []sender.Item{event("largest", ""), event(odd, odd), event("none", ""), event("nil", "")}
	its[0].Payload = bytes.Repeat([]byte{0, 0xff}, 2<<20) // 4 MiB, the default limit
	its[0].Kind, its[0].Key = strings.Repeat("k", 1024), strings.Repeat("y", 1024)
	its[0].Header = map[string]string{"n": strings.Repeat("x", 64<<10-1)}
	its[1].Header = map[string]string{odd: odd, "": ""}
	its[1].Payload = []byte(odd)
	its[2].Payload = []byte{}
	its[3].Payload = nil
	its[3].Expires = time.Unix(0, math.MaxInt64) // in 2262
	put(t, s, its...)
	for i, got := range claims(t, s, 10) {
		want := its[i]
		want.Seq = got.Seq
		if want.Payload == nil {
			want.Payload = []byte{}
		}
		if !same(got, want) {
			t.Errorf("item %d is %.200v\nwant %.200v", i, got, want)
		}
	}
}

// The caller may use its slice again while Append waits for the disk, and after it.
func TestAppendCopiesFirst(t *testing.T) {
	s := newStore(t, nil)
	begun, goOn := make(chan struct{}), make(chan struct{})
	var once sync.Once
	s.Fault(func(committed bool) error {
		once.Do(func() { close(begun); <-goOn })
		return nil
	})
	it := event("a", "")
	payload := it.Payload
	want := bytes.Clone(payload)
	var wg sync.WaitGroup
	wg.Go(func() { put(t, s, it) })
	<-begun
	clear(payload)
	close(goOn)
	wg.Wait()
	for i := range payload {
		payload[i] = 'x'
	}
	if got := claims(t, s, 1)[0]; !bytes.Equal(got.Payload, want) {
		t.Errorf("payload %q, want %q", got.Payload, want)
	}
}

func TestFull(t *testing.T) {
	t.Run("MaxPending", func(t *testing.T) {
		s := newStore(t, &Options{MaxPending: 3, Gather: -1})
		put(t, s, events(2)...)
		err := s.Append(t.Context(), events(2)...)
		wantError(t, err, sender.ErrFull)
		for _, word := range []string{"2 pending", "2 more", "at most 3", "nothing was stored"} {
			if err == nil || !strings.Contains(err.Error(), word) {
				t.Errorf("error %q does not say %q", err, word)
			}
		}
		put(t, s, events(1)...)
		items := claims(t, s, 3)
		// What is in flight counts; acknowledging, retrying and giving up work at the limit.
		wantError(t, s.Append(t.Context(), events(1)...), sender.ErrFull)
		settle(t, s, failed(items[0], sender.Retry, time.Now()))
		wantError(t, s.Append(t.Context(), events(1)...), sender.ErrFull)
		settle(t, s, failed(items[1], sender.Dead, time.Time{}))
		put(t, s, events(1)...)
		wantError(t, second(s.Revive(t.Context(), list(t, s.Dead())...)), sender.ErrFull)
		settle(t, s, delivered(items[2])...)
		if _, err := s.Revive(t.Context(), list(t, s.Dead())...); err != nil {
			t.Error(err)
		}
	})
	t.Run("MaxBytes", func(t *testing.T) {
		s := newStore(t, &Options{MaxBytes: 100, Gather: -1})
		sized := func(n int) sender.Item {
			it := event("a", "")
			it.Payload = make([]byte, n)
			return it
		}
		put(t, s, sized(60), sized(0))
		err := s.Append(t.Context(), sized(41))
		wantError(t, err, sender.ErrFull)
		for _, word := range []string{"60 bytes", "41 more", "at most 100"} {
			if err == nil || !strings.Contains(err.Error(), word) {
				t.Errorf("error %q does not say %q", err, word)
			}
		}
		put(t, s, sized(40))
		settle(t, s, failed(claims(t, s, 1)[0], sender.Dead, time.Time{}))
		wantError(t, s.Append(t.Context(), sized(1)), sender.ErrFull) // the dead count
		if _, err := s.Drop(t.Context(), list(t, s.Dead())...); err != nil {
			t.Error(err)
		}
		put(t, s, sized(60))
	})
}

// blocked starts an Append that has to wait for room, and returns what it will.
func blocked(t *testing.T, ctx context.Context, s *Store, items ...sender.Item) <-chan error {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- s.Append(ctx, items...) }()
	synctest.Wait()
	select {
	case err := <-done:
		t.Fatalf("it did not wait: %v", err)
	default:
	}
	return done
}

func TestBlock(t *testing.T) {
	options := &Options{MaxPending: 2, Block: true, Gather: -1}
	full := func(t *testing.T) *Store {
		s := newStore(t, options)
		put(t, s, events(2)...)
		return s
	}
	t.Run("a settled item makes room", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := full(t)
			items := claims(t, s, 1)
			done := blocked(t, t.Context(), s, event("waited", ""))
			settle(t, s, failed(items[0], sender.Retry, time.Now().Add(time.Hour)))
			synctest.Wait()
			if len(done) > 0 {
				t.Error("a retry made room")
			}
			settle(t, s, failed(claims(t, s, 1)[0], sender.Dead, time.Time{}))
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	})
	t.Run("many wait, one at a time gets in", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := full(t)
			var wg sync.WaitGroup
			for i := range 20 {
				wg.Go(func() { put(t, s, event(fmt.Sprint("waited ", i), "")) })
			}
			for n := 0; n < 22; {
				items := claims(t, s, 10)
				if len(items) > 2 {
					t.Errorf("%d at once, at most 2", len(items))
				}
				settle(t, s, delivered(items...)...)
				n += len(items)
				synctest.Wait()
			}
			wg.Wait()
		})
	})
	t.Run("the context ends", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := full(t)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			err := <-blocked(t, ctx, s, event("waited", ""))
			wantError(t, err, context.DeadlineExceeded)
			wantError(t, err, sender.ErrFull)
			if strings.Count(err.Error(), "nothing was stored") != 1 || s.Counts().Put != 2 {
				t.Errorf("%v; %+v", err, s.Counts())
			}
		})
	})
	t.Run("Refuse", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := full(t)
			done := blocked(t, t.Context(), s, event("waited", ""))
			why := errors.New("shutting down")
			s.Refuse(why)
			wantError(t, <-done, why)
			wantError(t, s.Append(t.Context(), event("a", "")), why)
			s.Refuse(nil)
			settle(t, s, delivered(claims(t, s, 1)...)...)
			put(t, s, event("a", ""))
		})
	})
	t.Run("Close", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := full(t)
			done := blocked(t, t.Context(), s, event("waited", ""))
			checkedClose(t, s)
			wantError(t, <-done, sender.ErrClosed)
		})
	})
	t.Run("what never fits does not wait", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newStore(t, options)
			wantError(t, s.Append(t.Context(), events(3)...), sender.ErrFull)
		})
	})
}

func TestOptions(t *testing.T) {
	for _, o := range []Options{
		{MaxPayload: -1}, {MaxPayload: 1<<30 + 1}, {MaxPending: -2}, {MaxBytes: -3}, {KeepDead: -4},
	} {
		if s, err := Open(t.TempDir()+"/outbox", &o); err == nil {
			s.Close()
			t.Errorf("%+v was accepted", o)
		} else if n := o.MaxPayload + o.MaxPending + int(o.MaxBytes) + int(o.KeepDead); !strings.Contains(err.Error(), fmt.Sprint(n)) {
			t.Errorf("error %q does not say %d", err, n)
		}
	}
	for _, mode := range []os.FileMode{0o111, 0o400, os.ModeDir | 0o600, os.ModeSetuid | 0o600} {
		if s, err := Open(t.TempDir()+"/outbox", &Options{Mode: mode}); err == nil {
			s.Close()
			t.Errorf("the Mode %v was accepted", mode)
		} else if !strings.Contains(err.Error(), "Mode is "+mode.String()) {
			t.Errorf("error %q does not say %v", err, mode)
		}
	}
	db := openDB(t, t.TempDir()+"/app")
	if _, err := In(db, "a", &Options{MaxPending: -1}); err == nil {
		t.Error("In accepted them")
	}
	if _, err := newStore(t, nil).Lane("a", &Options{MaxPending: -1}); err == nil {
		t.Error("Lane accepted them")
	}
}

func TestAppendContext(t *testing.T) {
	t.Run("ended before", func(t *testing.T) {
		s := newStore(t, nil)
		ctx, cancel := context.WithCancelCause(t.Context())
		why := errors.New("gone")
		cancel(why)
		err := s.Append(ctx, event("a", ""))
		wantError(t, err, why)
		if err == nil || !strings.Contains(err.Error(), "nothing was stored") || s.Counts().Put != 0 {
			t.Errorf("%v; %+v", err, s.Counts())
		}
	})
	t.Run("ended during the commit", func(t *testing.T) {
		s := newStore(t, nil)
		begun, goOn := make(chan struct{}), make(chan struct{})
		var once sync.Once
		s.Fault(func(committed bool) error {
			once.Do(func() { close(begun); <-goOn })
			return nil
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Append(ctx, event("a", "")) }()
		<-begun
		cancel()
		err := <-done
		wantError(t, err, context.Canceled)
		if err == nil || !strings.Contains(err.Error(), "unknown") {
			t.Errorf("error %q does not say that the outcome is unknown", err)
		}
		close(goOn)
		put(t, s, event("b", ""))
		wantNames(t, "stored", drain(t, s), "a", "b")
	})
}

func TestKeepDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &Options{KeepDead: 16 * time.Hour, Gather: -1}
		s := newStore(t, o)
		giveUp := func(name string) {
			put(t, s, event(name, ""))
			settle(t, s, failed(claims(t, s, 1)[0], sender.Dead, time.Time{}))
		}
		names := func() []string { return kinds(list(t, s.Dead())) }
		giveUp("old")
		time.Sleep(10 * time.Hour)
		giveUp("young")
		time.Sleep(5 * time.Hour)
		put(t, s, event("a commit", ""))
		wantNames(t, "after 15h", names(), "old", "young")
		time.Sleep(3 * time.Hour)
		put(t, s, event("a commit", ""))
		wantNames(t, "after 18h", names(), "young")
		if c := s.Counts(); c.Dropped != 1 || c.Dead != 1 {
			t.Errorf("counts %+v", c)
		}
		checkedClose(t, s)
		time.Sleep(10 * time.Hour)
		s = openStore(t, s.Path(), o)
		if c := s.Counts(); c.Dropped != 2 || c.Dead != 0 || c.DeadBytes != 0 {
			t.Errorf("opened after 28h: %+v", c)
		}
		if got := drain(t, s); !slices.Equal(got, []string{"a commit", "a commit"}) {
			t.Errorf("pending: %q", got)
		}
	})
}

// Storing many small items takes room for what they hold, scheduled or not, and no more than a little ahead.
func TestManyTakeLittleRoom(t *testing.T) {
	for _, due := range []time.Time{{}, time.Now().Add(time.Hour)} {
		s := newStore(t, nil)
		its := events(2000)
		for i := range its {
			its[i].Due = due
		}
		put(t, s, its...)
		if n := sizeOf(t, s.Path()); n > 4<<20 {
			t.Errorf("a file of %d bytes for 2,000 small items due at %v", n, due)
		}
	}
}
