package store

import (
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"fmt"
	"math"
	"slices"
	"strings"

	bolt "go.etcd.io/bbolt"

	"github.com/seed8107221f/outbox/internal/order"
	"github.com/seed8107221f/outbox/sender"

	"github.com/seed8107221f/outbox/store/internal/boltfile"
	"github.com/seed8107221f/outbox/store/internal/format"
)

const (
	defaultLimit = 50    // items of a page
	maxLimit     = 1000  // items of a page
	defaultScan  = 10000 // records
	listBytes    = 64 << 20
)

// List returns one page of the items in a state, in the order of Seq; retrying and scheduled items
// in the order of Due. It reads up to 128 records a transaction, and holds none when it returns. A
// page ends early with a Next when its payloads have 64 MiB.
//
//   - An item that is in flight is listed as such only, except by StateReady, which lists whatever
//     is in that part of the lane. An item that is sent at most once is not in that part while in
//     flight.
//   - Which items are in line is as Claim has seen it: an item that it has not met is ready.
//   - An item that moves between two pages may be listed twice, under different states, or not at
//     all. An item that does not move is listed once.
//
// See [sender.Browser].
func (s *Store) List(ctx context.Context, q sender.Query) (sender.Page, error) {
	if ctx == nil {
		return sender.Page{}, s.wrap("list", boltfile.ErrNilContext)
	}
	l, err := s.newListing(q)
	if err == nil {
		err = l.run(ctx)
	}
	if err != nil {
		return sender.Page{}, s.wrap("list", err)
	}
	return l.page, nil
}

// A listing is one call of List. Its goroutine owns it. It holds no lock and no transaction while
// Match runs.
type listing struct {
	s *Store
	sender.Query
	part  part
	after format.Key // of the last record that was looked at; nil: none
	page  sender.Page
	bytes int // of the payloads in page
}

// A part says where the items of a state are.
type part struct {
	letter byte // in a Cursor
	in     box  // nowhere: what memory has in flight, by Seq
}

var parts = map[sender.State]part{
	sender.StateReady:     {'r', ready},
	sender.StateInLine:    {'l', ready},
	sender.StateInFlight:  {'f', nowhere},
	sender.StateRetrying:  {'t', later},
	sender.StateScheduled: {'s', timed},
	sender.StateDead:      {'d', dead},
}

// A found is a record that a listing has read.
type found struct {
	sender.Listed
	in      box
	key     format.Key // where the listing goes on
	due     int64      // of an item of later
	hash    uint64     // of the item's key
	sending bool       // its request may be running
	gone    bool       // there is no record any more
}

func (s *Store) newListing(q sender.Query) (*listing, error) {
	p, ok := parts[q.State]
	switch {
	case !ok:
		return nil, fmt.Errorf("there is no state %.40q", q.State)
	case q.Limit < 0 || q.Limit > maxLimit:
		return nil, fmt.Errorf("the Limit is %d, 0 to %d expected", q.Limit, maxLimit)
	case q.Scan < 0:
		return nil, fmt.Errorf("the Scan is %d, 0 or more expected", q.Scan)
	}
	q.Limit, q.Scan = cmp.Or(q.Limit, defaultLimit), cmp.Or(q.Scan, defaultScan)
	l := &listing{s: s, Query: q, part: p}
	if q.After == "" {
		return l, nil
	}
	after, is := strings.CutPrefix(string(q.After), l.prefix())
	key, err := hex.DecodeString(after)
	if !is || err != nil || len(key) == 0 || p.in == nowhere && len(key) != 8 {
		return nil, fmt.Errorf("%.80q is no cursor of this listing", q.After)
	}
	l.after = key
	return l, nil
}

// prefix begins the cursors of a listing: the state, and the direction.
func (l *listing) prefix() string {
	if l.Newest {
		return string(l.part.letter) + "n"
	}
	return string(l.part.letter) + "o"
}

// full reports whether the page must end.
func (l *listing) full() bool {
	return len(l.page.Items) >= l.Limit || l.page.Looked >= l.Scan || l.bytes >= listBytes
}

func (l *listing) run(ctx context.Context) error {
	for more := true; more; {
		if l.s.closed.Load() {
			return sender.ErrClosed
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		var fs []found
		var err error
		if fs, more, err = l.read(); err != nil {
			return err
		}
		for i := range fs {
			if l.full() {
				more = true
				break
			}
			l.look(&fs[i])
		}
		if more && l.full() {
			l.page.Next = sender.Cursor(l.prefix() + hex.EncodeToString(l.after))
			return nil
		}
	}
	return nil
}

// look takes the next record into the page, if it is asked for.
func (l *listing) look(f *found) {
	l.page.Looked++
	l.after = f.key
	if f.gone || f.State != l.State && l.State != sender.StateReady {
		return
	}
	if f.Err == nil && l.Match != nil && !l.Match(&f.Item) {
		return
	}
	l.page.Items = append(l.page.Items, f.Listed)
	l.bytes += len(f.Payload)
}

// read reads the next records, and labels them. more: others follow. There may be others even if it
// found none.
func (l *listing) read() (fs []found, more bool, err error) {
	s := l.s
	n := min(pageItems, l.Scan-l.page.Looked)
	if l.Match == nil {
		n = min(n, l.Limit-len(l.page.Items))
	}
	s.mu.Lock()
	flying, seen := s.flying(), s.order.Seen()
	s.mu.Unlock()
	err = s.view(func(t *txn) (err error) {
		switch {
		case l.part.in == nowhere:
			fs, more = t.readFlights(l.nextFlights(flying), n)
		case l.State == sender.StateInLine:
			fs, more, err = t.readPart(ready, l.after, l.Newest, n, seen)
		default:
			fs, more, err = t.readPart(l.part.in, l.after, l.Newest, n, math.MaxUint64)
		}
		return err
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range fs {
		fs[i].State = s.stateOf(&fs[i], placed(flying, fs[i].Seq)) // it may have been settled since
	}
	return fs, more, err
}

// flying returns where all items in flight were claimed, sorted by Seq. s.mu is held.
func (s *Store) flying() (ps []order.Place) {
	for seq := range s.order.Flights() {
		p, _, _ := s.order.Flight(seq)
		ps = append(ps, p)
	}
	slices.SortFunc(ps, func(p, q order.Place) int { return cmp.Compare(p.Seq, q.Seq) })
	return ps
}

// placed returns the place with that Seq; zero: there is none.
func placed(ps []order.Place, seq uint64) order.Place {
	i, ok := slices.BinarySearchFunc(ps, seq, func(p order.Place, seq uint64) int { return cmp.Compare(p.Seq, seq) })
	if !ok {
		return order.Place{}
	}
	return ps[i]
}

// nextFlights returns those of the items in flight that the listing has yet to come to, in its
// order.
func (l *listing) nextFlights(flying []order.Place) []order.Place {
	flying = slices.Clone(flying)
	if l.Newest {
		slices.Reverse(flying)
	}
	if l.after == nil {
		return flying
	}
	last := l.after.Seq()
	return slices.DeleteFunc(flying, func(p order.Place) bool {
		return p.Seq == last || p.Seq < last != l.Newest
	})
}

// readFlights reads up to n items in flight, which were claimed at these places. It marks as gone
// what is neither there nor, as Sending, in dead.
func (t *txn) readFlights(flying []order.Place, n int) (fs []found, more bool) {
	for i, at := range flying {
		if i == n {
			return fs, true
		}
		f := found{gone: true}
		for _, p := range [...]place{placeOf(at), {dead, format.ReadyKey(at.Seq)}} {
			if v := t.at(p); f.gone && v != nil && (p.in != dead || v.IsSending()) {
				f = t.s.found(p.in, p.key, v)
			}
		}
		f.key = format.ReadyKey(at.Seq) // by which this listing goes on
		fs = append(fs, f)
	}
	return fs, false
}

// readPart reads up to n records of a bucket that follow the key after, or precede it if back is
// set. It leaves out those with a Seq above last, which only ready may be asked for.
func (t *txn) readPart(in box, after format.Key, back bool, n int, last uint64) (fs []found, more bool, err error) {
	c, size := t.bucket(in).Cursor(), 0
	move := c.Next
	var k, v []byte
	switch {
	case !back:
		k, v = seekAfter(c, after)
	case last < math.MaxUint64 && (after == nil || after.Seq() > last):
		move = c.Prev
		k, v = seekBefore(c, format.ReadyKey(last+1))
	default:
		move = c.Prev
		k, v = seekBefore(c, after)
	}
	for ; k != nil; k, v = move() {
		switch {
		case !back:
			err = format.CheckOrder(in.String(), after, k)
		case after != nil:
			err = format.CheckOrder(in.String(), k, after)
		}
		key := format.Key(bytes.Clone(k))
		if err != nil || key.Seq() > last && !back {
			return fs, false, err
		}
		if len(fs) == n || size >= pageBytes {
			return fs, true, nil
		}
		fs, size, after = append(fs, t.s.found(in, key, v)), size+len(v), key
	}
	return fs, false, nil
}

// seekBefore moves c to the last key that precedes before; nil: to the last key.
func seekBefore(c *bolt.Cursor, before format.Key) (k, v []byte) {
	if before == nil {
		return c.Last()
	}
	if k, _ = c.Seek(before); k == nil {
		return c.Last()
	}
	return c.Prev()
}

// found decodes a record that a listing has met.
func (s *Store) found(in box, k format.Key, v format.Record) found {
	f := found{in: in, key: k, hash: s.codec.recordHash(v), sending: v.IsSending()}
	if in == later && len(k) == 24 {
		f.due = k.Due()
	}
	if f.Item, f.Err = s.item(k, v); f.Err != nil {
		f.Item = sender.Item{Seq: f.Seq, ID: f.ID, Due: f.Due}
	}
	return f
}

// stateOf labels what was found. flew is where it was claimed, if it was in flight before it was
// read. An item that is in flight and lies elsewhere has been settled: memory will hear of that.
// s.mu is held.
func (s *Store) stateOf(f *found, flew order.Place) sender.State {
	flies := func(p order.Place) bool {
		return p.Seq != 0 && p.Seq == f.Seq && (f.in == dead && f.sending || f.in != dead && p.Due == f.due)
	}
	now, _, _ := s.order.Flight(f.Seq)
	switch {
	case flies(flew), flies(now):
		return sender.StateInFlight
	case f.in == dead:
		return sender.StateDead
	case f.in == timed:
		return sender.StateScheduled
	case f.in == later:
		return sender.StateRetrying
	case s.order.Waits(order.Place{Seq: f.Seq, Key: f.hash}):
		return sender.StateInLine
	}
	return sender.StateReady
}

// Lanes returns the names of the lanes of the file, open or not, in the order of their bytes. In an
// application's database, buckets that are no lanes are left out.
func (s *Store) Lanes() (names []string, err error) {
	if s.closed.Load() {
		return nil, s.wrap("list lanes", sender.ErrClosed)
	}
	err = naming(s.file.View(func(tx *bolt.Tx) error {
		names = nil
		return tx.ForEach(func(name []byte, b *bolt.Bucket) error {
			if format.IsLane(b) {
				names = append(names, string(name))
			}
			return nil
		})
	}))
	return names, s.wrap("list lanes", err)
}
