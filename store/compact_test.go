package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed8107221f/outbox/internal/campaign"
	"github.com/seed8107221f/outbox/sender"
)

func sizeOf(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// backlog puts n items of a kilobyte.
func backlog(t *testing.T, s *Store, n int) {
	t.Helper()
	items := make([]sender.Item, n)
	for i := range items {
		items[i] = event("bulk", "")
		items[i].Payload = make([]byte, 1000)
	}
	put(t, s, items...)
}

func mayCompact(t *testing.T) {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("an open file cannot be replaced here")
	}
}

// A file that a backlog has made large becomes small when the backlog has been delivered, without being
// asked, and all goes on.
func TestShrinksWhenDrained(t *testing.T) {
	if testing.Short() {
		t.Skip("it needs its size: not with -short")
	}
	t.Parallel()
	mayCompact(t)
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t, nil)
		dead := event("dead", "")
		put(t, s, dead)
		settle(t, s, failed(claims(t, s, 1)[0], sender.Dead, time.Time{}))
		const n = 30_000 // fewer leave a file that is not worth it
		backlog(t, s, n)
		large := sizeOf(t, s.Path())
		drain(t, s)
		synctest.Wait() // it is done as soon as nobody waits
		if small := sizeOf(t, s.Path()); small > large/8 {
			t.Errorf("%d bytes with the backlog, %d without", large, small)
		}
		if got := entries(t, filepath.Dir(s.Path())); !slices.Equal(got, []string{"outbox.db"}) {
			t.Errorf("in the directory: %q", got)
		}
		c := s.Counts()
		if c.Put != n+1 || c.Delivered != n || c.Dead != 1 {
			t.Errorf("counts %+v", c)
		}
		put(t, s, event("a", "k"), event("b", "k"))
		checkedClose(t, s)
		s = openStore(t, s.Path(), nil)
		wantNames(t, "dead", kinds(list(t, s.Dead())), "dead")
		wantNames(t, "left", drain(t, s), "a", "b")
	})
}

// What is in flight, in line, failed and scheduled stays so while the file is exchanged, and so do the
// other lanes and the notes.
func TestCompactKeepsEverything(t *testing.T) {
	t.Parallel()
	mayCompact(t)
	s := newStore(t, nil)
	other, err := s.Lane("other", &prompt)
	if err != nil {
		t.Fatal(err)
	}
	put(t, other, event("x", ""), event("y", ""))
	if err := s.AppendNoted(t.Context(), "note", []byte("kept"), event("a1", "a"), event("a2", "a"), event("f1", "f"), event("f2", "f"), event("d", "")); err != nil {
		t.Fatal(err)
	}
	later := event("scheduled", "")
	later.Due = time.Now().Add(time.Hour)
	put(t, s, later)
	held := claims(t, s, 10)
	wantNames(t, "claimed", kinds(held), "a1", "f1", "d")
	settle(t, s, failed(held[1], sender.Retry, time.Now().Add(time.Hour)), failed(held[2], sender.Dead, time.Time{}))
	before, old := s.Counts(), sizeOf(t, s.Path())
	backlog(t, s, 2000)
	for range 3 {
		if err := s.Compact(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if now := sizeOf(t, s.Path()); now > 2*old+5<<20 {
		t.Errorf("%d bytes after compaction", now)
	}
	after := s.Counts()
	if after.InFlight != before.InFlight || after.InLine != before.InLine || after.Retrying != before.Retrying || after.Scheduled != before.Scheduled || after.Dead != before.Dead {
		t.Errorf("before %+v, after %+v", before, after)
	}
	if note, err := s.Note("note"); err != nil || string(note) != "kept" {
		t.Errorf("the note is %q, %v", note, err)
	}
	settle(t, s, delivered(held[0])...)
	wantNames(t, "behind it", kinds(claims(t, s, 1)), "a2")
	wantNames(t, "the other lane", drain(t, other), "x", "y")
}

// Producers, a consumer and readers go on while the file is compacted again and again.
func TestCompactBesideOthers(t *testing.T) {
	t.Parallel()
	mayCompact(t)
	s := newStore(t, nil)
	const producers = 4
	each := campaign.Pick(100, 100, 25)
	ctx, cancel := context.WithCancel(t.Context())
	var all, rest sync.WaitGroup
	for p := range producers {
		all.Go(func() {
			for i := range each {
				put(t, s, event(fmt.Sprintf("%d-%03d", p, i), fmt.Sprint(p)))
			}
		})
	}
	rest.Go(func() {
		for ctx.Err() == nil {
			if err := s.Compact(ctx); err != nil && ctx.Err() == nil {
				t.Error(err)
			}
		}
	})
	rest.Go(func() {
		for ctx.Err() == nil {
			list(t, s.Pending())
			s.Counts()
		}
	})
	var got []string
	for len(got) < producers*each {
		items := claims(t, s, 10)
		got = append(got, kinds(items)...)
		settle(t, s, delivered(items...)...)
	}
	all.Wait()
	cancel()
	rest.Wait()
	for p := range producers {
		mine := slices.DeleteFunc(slices.Clone(got), func(name string) bool { return !strings.HasPrefix(name, fmt.Sprint(p, "-")) })
		if len(mine) != each || !slices.IsSorted(mine) {
			t.Errorf("of producer %d: %d items, sorted %t", p, len(mine), slices.IsSorted(mine))
		}
	}
}

// Who waits for the lock of a file that is compacted meanwhile gets the file that the path names then.
func TestWaitsForTheRightFile(t *testing.T) {
	t.Parallel()
	mayCompact(t)
	s := newStore(t, nil)
	put(t, s, event("a", ""))
	type opened struct {
		s   *Store
		err error
	}
	waiting := make(chan opened)
	go func() {
		second, err := Open(s.Path(), &Options{LockTimeout: time.Minute, Gather: -1})
		waiting <- opened{second, err}
	}()
	for range 5 {
		if err := s.Compact(t.Context()); err != nil {
			t.Fatal(err)
		}
		put(t, s, event("b", ""))
		time.Sleep(15 * time.Millisecond) // longer than it takes to ask for the lock again
	}
	checkedClose(t, s)
	o := <-waiting
	if o.err != nil {
		t.Fatal(o.err)
	}
	checkAtEnd(t, o.s)
	wantNames(t, "found", drain(t, o.s), "a", "b", "b", "b", "b", "b")
}

// What a killed compaction left behind is removed, and never taken for the file.
func TestOpenClearsCompactions(t *testing.T) {
	s := newStore(t, nil)
	put(t, s, event("a", ""))
	checkedClose(t, s)
	writeFile(t, s.Path()+".compacting-X", []byte("half"))
	s = openStore(t, s.Path(), nil)
	if got := entries(t, filepath.Dir(s.Path())); !slices.Equal(got, []string{"outbox.db"}) {
		t.Errorf("in the directory: %q", got)
	}
	wantNames(t, "left", drain(t, s), "a")
}

func TestCompactRefuses(t *testing.T) {
	in, err := In(openDB(t, filepath.Join(t.TempDir(), "app")), "lane", &prompt)
	if err != nil {
		t.Fatal(err)
	}
	checkAtEnd(t, in)
	wantError(t, in.Compact(t.Context()), errors.ErrUnsupported)
	s := newStore(t, nil)
	checkedClose(t, s)
	wantError(t, s.Compact(t.Context()), sender.ErrClosed)
}
