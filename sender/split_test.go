package sender_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/sender/sendertest"
)

// picky is a destination that refuses batches as a whole: those above a limit, and those with a bad
// item.
type picky struct {
	mu       sync.Mutex
	limit    int // 0: none
	bad      string
	sizes    []int // of the requests that were accepted
	refused  []int // of the others
	accepted int   // items
}

func (p *picky) BatchLimit() (items, bytes int) { return 500, 0 }

func (p *picky) Send(context.Context, sender.Item) error { return errors.New("not in a batch") }

func (p *picky) SendBatch(_ context.Context, items []sender.Item) []error {
	p.mu.Lock()
	defer p.mu.Unlock()
	errs := make([]error, len(items))
	if p.limit > 0 && len(items) > p.limit || slices.ContainsFunc(items, func(it sender.Item) bool { return it.Kind == p.bad }) {
		p.refused = append(p.refused, len(items))
		for i := range errs {
			errs[i] = sender.Split(errors.New("refused as a whole"))
		}
		return errs
	}
	p.sizes = append(p.sizes, len(items))
	p.accepted += len(items)
	return errs
}

// deliver puts n items, named from start on, and waits until they are gone.
func (p *picky) deliver(t *testing.T, q *sendertest.Memory, s *sender.Sender, start, n int) {
	t.Helper()
	for i := range n {
		it := sender.Item{ID: uuid.New(), Kind: fmt.Sprint(start + i), Created: time.Now()}
		if err := q.Append(t.Context(), it); err != nil {
			t.Fatal(err)
		}
	}
	s.Wake()
	time.Sleep(10 * time.Minute)
	if c := q.Counts(); c.Pending != 0 {
		t.Fatalf("%+v", c)
	}
}

// A limit is learnt once for the life of the lane, is tried again seldom, and one bad item is none.
func TestLimitOfABatchIsLearnt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, p := new(sendertest.Memory), &picky{limit: 100}
		s, err := sender.New(q, p, nil, &sender.Options{Concurrency: 4})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- s.Run(ctx) }()

		p.deliver(t, q, s, 0, 5000)
		first := len(p.refused)
		if first == 0 || first > 12 { // each of the four workers may have sent one that is too large
			t.Errorf("%d requests were refused: %v", first, p.refused)
		}
		p.deliver(t, q, s, 5000, 5000)
		if n := len(p.refused) - first; n != 0 {
			t.Errorf("later %d more were refused: %v", n, p.refused[first:])
		}
		if n := slices.Max(p.sizes); n < 50 || len(p.sizes) > 2*10_000/50 {
			t.Errorf("%d requests of at most %d items", len(p.sizes), n)
		}
		learnt := slices.Max(p.sizes)
		time.Sleep(time.Hour)
		p.deliver(t, q, s, 10_000, 5000)
		larger := slices.Max(p.sizes) > learnt // 50 was learnt, and 100 is not refused
		if n := len(p.refused) - first; n == 0 && !larger || n > 12 {
			t.Errorf("after an hour %d more were refused: %v; %d were learnt", n, p.refused[first:], learnt)
		}
		p.mu.Lock()
		p.limit = 0
		p.mu.Unlock()
		for i := range 4 {
			time.Sleep(time.Hour)
			p.deliver(t, q, s, 15_000+i*1000, 1000)
		}
		if n := slices.Max(p.sizes); n != 500 {
			t.Errorf("hours after the limit was lifted at most %d items, want 500", n)
		}
		if p.accepted != 19_000 {
			t.Errorf("%d items accepted, want 19000", p.accepted)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestABadItemTeachesNoLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, p := new(sendertest.Memory), &picky{bad: "77"}
		s, err := sender.New(q, p, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- s.Run(ctx) }()
		p.deliver(t, q, s, 0, 500)
		p.sizes = nil
		p.deliver(t, q, s, 500, 500)
		if n := slices.Max(p.sizes); n != 500 || q.Counts().Dead != 1 {
			t.Errorf("at most %d items in a request, want 500; %d dead, want 1", n, q.Counts().Dead)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
