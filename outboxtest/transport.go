package outboxtest

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/seed8107221f/outbox/sender"
)

// A Transport answers as scripted, then accepts. It is a sender.BatchTransport, of one item a
// request unless Batch was called. It is safe for concurrent use.
type Transport struct {
	mu       sync.Mutex // a leaf; guards what follows
	script   script     // the common one
	special  []special  // in the order of For
	outages  []outage
	items    int // of Batch
	bytes    int
	requests []Request
}

// A Request is one attempt.
type Request struct {
	At    time.Time // when it arrived
	Items []sender.Item
	Errs  []error // what the sender was told, one for each item; nil: it has no answer yet, or panicked
}

type special struct {
	want   Want
	script *script
}

type outage struct{ from, until time.Time }

// NewTransport returns a transport that answers one request with each answer of the script.
func NewTransport(script ...Answer) *Transport {
	tr := &Transport{items: 1}
	tr.Next(script...)
	return tr
}

// Next adds answers behind what is left of the script.
func (tr *Transport) Next(script ...Answer) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.script.add(script)
}

// For adds answers for events that match w. They come before the common script, and take nothing
// from it. Of several that match, the first that has answers left counts. In a batch the common
// answer is for the other items. After a failure the NotBefore of an event is the time of its
// retry.
func (tr *Transport) For(w Want, answers ...Answer) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	s := new(script)
	s.add(answers)
	tr.special = append(tr.special, special{w, s})
}

// Outage has every request meet a refused connection, from in from now for as long as it lasts. It
// comes before all scripts, and takes nothing from them. See sender.Unavailable.
func (tr *Transport) Outage(in, lasts time.Duration) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	from := time.Now().Add(in)
	tr.outages = append(tr.outages, outage{from, from.Add(lasts)})
}

// Batch lets one request carry so many items and bytes of payload; bytes below 1: no limit. Call it
// before the transport is used.
func (tr *Transport) Batch(items, bytes int) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.items, tr.bytes = items, bytes
}

// Requests returns what has arrived so far, in order.
func (tr *Transport) Requests() []Request {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return slices.Clone(tr.requests)
}

// BatchLimit returns what Batch was told.
func (tr *Transport) BatchLimit() (items, bytes int) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return tr.items, tr.bytes
}

// Send answers a request of one item.
func (tr *Transport) Send(ctx context.Context, it sender.Item) error {
	return tr.SendBatch(ctx, []sender.Item{it})[0]
}

// SendBatch answers a request.
func (tr *Transport) SendBatch(ctx context.Context, items []sender.Item) []error {
	n, common, single := tr.arrive(items)
	errs := make([]error, len(items))
	var rest []int // the items that the common answer is for
	for i := range items {
		if a := single[i]; a != nil {
			errs[i] = a.answer(ctx, items[i:i+1])[0]
		} else {
			rest = append(rest, i)
		}
	}
	if rest != nil {
		those := make([]sender.Item, len(rest))
		for k, i := range rest {
			those[k] = items[i]
		}
		for k, err := range common.answer(ctx, those) {
			errs[rest[k]] = err
		}
	}
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.requests[n].Errs = slices.Clone(errs)
	return errs
}

// arrive notes a request and chooses its answers: those for single items, nil where the common one
// is meant.
func (tr *Transport) arrive(items []sender.Item) (n int, common Answer, single []*Answer) {
	tr.mu.Lock()
	fits := tr.special
	tr.mu.Unlock()
	matches := make([][]*script, len(items)) // found without the lock: Where is the caller's
	for i := range items {
		for _, s := range fits {
			if s.want.differs(items[i]) == "" {
				matches[i] = append(matches[i], s.script)
			}
		}
	}
	tr.mu.Lock()
	defer tr.mu.Unlock()
	n = len(tr.requests)
	now := time.Now()
	tr.requests = append(tr.requests, Request{At: now, Items: cloneItems(items)})
	single = make([]*Answer, len(items))
	for _, o := range tr.outages {
		if !now.Before(o.from) && now.Before(o.until) {
			return n, all(sender.Unavailable(errOutage)), single
		}
	}
	for i := range items {
		for _, s := range matches[i] {
			if len(*s) > 0 {
				a := s.next()
				single[i] = &a
				break
			}
		}
	}
	if slices.Contains(single, nil) {
		common = tr.script.next()
	}
	return n, common, single
}

var errOutage = errors.New("connection refused: an outage")

// cloneItems copies items with all that they hold: the memory belongs to the sender.
func cloneItems(items []sender.Item) []sender.Item {
	c := slices.Clone(items)
	for i := range c {
		c[i] = cloneItem(c[i])
	}
	return c
}

func cloneItem(it sender.Item) sender.Item {
	it.Payload = bytes.Clone(it.Payload)
	it.Header = maps.Clone(it.Header)
	it.History = slices.Clone(it.History)
	return it
}
