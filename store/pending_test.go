package store

import (
	"sync"
	"testing"
	"time"

	"github.com/seed8107221f/outbox/sender"
)

// slowSealer is a Sealer that takes its time to open one item, as a disk does with a cold page.
type slowSealer struct {
	Sealer
	began, goOn chan struct{}
	mu          sync.Mutex
	slow        bool // the next Open is slow
}

func (s *slowSealer) Open(dst []byte, id string, sealed, additional []byte) ([]byte, error) {
	s.mu.Lock()
	slow := s.slow
	s.slow = false
	s.mu.Unlock()
	if slow {
		close(s.began)
		<-s.goOn
	}
	return s.Sealer.Open(dst, id, sealed, additional)
}

// A reader of Pending on a slow page holds up nobody: Put, Claim and Settle complete meanwhile.
func TestPendingOnASlowPage(t *testing.T) {
	aes, err := AESGCM("k", map[string][]byte{"k": make([]byte, 32)})
	if err != nil {
		t.Fatal(err)
	}
	slow := &slowSealer{Sealer: aes, began: make(chan struct{}), goOn: make(chan struct{})}
	s := newStore(t, &Options{Gather: -1, Sealer: slow})
	put(t, s, event("a", ""), event("b", ""), event("c", ""))
	held := claims(t, s, 1)

	slow.mu.Lock()
	slow.slow = true
	slow.mu.Unlock()
	listed := make(chan int, 1)
	go func() {
		n := 0
		for range s.Pending() {
			n++
		}
		listed <- n
	}()
	<-slow.began
	done := make(chan struct{})
	go func() {
		defer close(done)
		put(t, s, event("d", ""))
		settle(t, s, delivered(held...)...)
		settle(t, s, sender.Outcome{Item: claims(t, s, 1)[0], Verdict: sender.Retry, Due: time.Now()})
		if c := s.Counts(); c.Put != 4 || c.Delivered != 1 {
			t.Errorf("counts %+v", c)
		}
	}()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Error("Put, Claim and Settle wait for a reader")
	}
	close(slow.goOn)
	<-done
	if n := <-listed; n < 3 {
		t.Errorf("%d items listed, want those that were there: 3", n)
	}
}

// openingSealer is a Sealer that calls a function before it opens something.
type openingSealer struct {
	Sealer
	opening func()
}

func (s *openingSealer) Open(dst []byte, id string, sealed, additional []byte) ([]byte, error) {
	if s.opening != nil {
		s.opening()
	}
	return s.Sealer.Open(dst, id, sealed, additional)
}

// A commit that makes a claim read again does not make it overlook what may go.
func TestDropDuringASecondReading(t *testing.T) {
	aes, err := AESGCM("k", map[string][]byte{"k": make([]byte, 32)})
	if err != nil {
		t.Fatal(err)
	}
	o := &openingSealer{Sealer: aes}
	s := newStore(t, &Options{Gather: -1, Sealer: o})
	put(t, s, keyed(1, "a")...)
	claims(t, s, 1) // the key is taken: those behind it are not opened
	put(t, s, keyed(fetchItems, "a")...)
	put(t, s, event("free", ""))
	victim := list(t, s.Pending())[5]
	o.opening = func() {
		o.opening = nil
		if _, err := s.Drop(t.Context(), victim); err != nil {
			t.Error(err)
		}
	}
	items, _, err := s.Claim(t.Context(), time.Now(), 10, 0)
	if err != nil {
		t.Fatal(err)
	}
	if o.opening != nil {
		t.Fatal("nothing was opened")
	}
	wantNames(t, "claimed", kinds(items), "free")
}
