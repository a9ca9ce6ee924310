package store

import (
	"context"
	"errors"
	"fmt"
	"slices"

	bolt "go.etcd.io/bbolt"

	"github.com/seed8107221f/outbox/sender"

	"github.com/seed8107221f/outbox/store/internal/boltfile"
	"github.com/seed8107221f/outbox/store/internal/format"
)

// Check verifies the whole lane. nil: no damage was found. It verifies that
//
//   - every record decodes and is in exactly one bucket;
//   - no key has two failed items;
//   - the ledger agrees with the buckets and adds up;
//   - the pause of the operator can be read;
//   - the pages of the file are in order, as bbolt checks them.
//
// The error lists what was found, up to a hundred problems of records and a hundred of pages. It
// wraps [ErrCorrupt]; only [ErrSealed] if some records could not be opened and nothing else was
// found.
//
// Check reads all records in one transaction; pages that are freed while it runs cannot be reused
// until then. It then reads all pages in the place of a commit; writes wait until it returns. It
// needs about 10 bytes of memory for each scheduled or failed item and 100 for each page. When ctx
// ends, it returns the error of ctx.
func (s *Store) Check(ctx context.Context) error {
	if ctx == nil {
		return s.wrap("check", boltfile.ErrNilContext)
	}
	if s.closed.Load() {
		return s.wrap("check", sender.ErrClosed)
	}
	var found []error
	err := s.view(func(t *txn) error {
		c := checker{ctx: ctx, codec: &s.codec, t: t, seen: make(map[uint64]bool), last: t.Root.Sequence()}
		c.bucket("ready", t.Ready, 8, t.Ledger.Ready, &c.bytes)
		c.bucket("timed", t.Timed, 16, t.Ledger.Timed, &c.bytes)
		c.bucket("later", t.Later, 24, t.Ledger.Later, &c.bytes)
		c.bucket("dead", t.Dead, 8, t.Ledger.Dead, &c.deadBytes)
		c.equal("pending bytes", c.bytes, t.Ledger.Bytes)
		c.equal("dead bytes", c.deadBytes, t.Ledger.DeadBytes)
		if _, err := t.Operator(); err != nil {
			c.say("meta: %w", err)
		}
		l := &t.Ledger
		c.equal("put, against pending + dead + delivered + expired + dropped", l.Pending()+l.Dead+l.Delivered+l.Expired+l.Dropped, l.Put)
		found = c.found
		return ctx.Err()
	})
	if err == nil {
		err = s.checkPages(ctx)
	}
	if err == nil && len(found) == 0 {
		return nil
	}
	if err == nil && slices.ContainsFunc(found, func(err error) bool { return !errors.Is(err, ErrSealed) }) {
		err = ErrCorrupt
	}
	return s.wrap("check", errors.Join(append([]error{err}, found...)...))
}

// checkPages makes bbolt check its pages, after an inspection that shows that bbolt survives this.
// It runs inside a commit because bbolt reads the freelist, which only the commit goroutine may
// use.
func (s *Store) checkPages(ctx context.Context) error {
	return s.update(ctx, func(t *txn) error {
		tx := t.Root.Tx()
		if err := s.file.Inspect(uint64(tx.ID() - 1)); err != nil {
			return refused{err}
		}
		var c checker
		for err := range tx.Check() {
			c.say("bbolt: %w", err)
		}
		if len(c.found) == 0 {
			return refused{} // there is nothing to commit
		}
		return refused{errors.Join(append([]error{ErrCorrupt}, c.found...)...)}
	})
}

// checker is one run of Check.
type checker struct {
	ctx              context.Context
	codec            *codec
	t                *txn
	last             uint64          // highest Seq ever assigned
	seen             map[uint64]bool // Seqs met in timed and later
	bytes, deadBytes uint64
	found            []error
}

// say adds a problem to found, up to a hundred.
func (c *checker) say(format string, args ...any) {
	if len(c.found) < 100 {
		c.found = append(c.found, fmt.Errorf(format, args...))
	}
}

// equal compares a number that was counted with the number in the ledger.
func (c *checker) equal(what string, got, want uint64) {
	if got != want {
		c.say("%s: %d found, the ledger has %d", what, got, want)
	}
}

// bucket checks all records of a bucket and adds the bytes of their payloads to bytes. want is the
// number of records in the ledger.
func (c *checker) bucket(name string, b *bolt.Bucket, keyLen int, want uint64, bytes *uint64) {
	n := uint64(0)
	heads := make(map[uint64]bool)
	cur := b.Cursor()
	for k, v := cur.First(); k != nil && c.ctx.Err() == nil; k, v = cur.Next() {
		n++
		*bytes += uint64(format.Record(v).PayloadLen())
		if len(k) != keyLen {
			c.say("%s: bucket key of %d bytes, %d expected", name, len(k), keyLen)
			continue
		}
		seq := format.Key(k).Seq()
		if seq == 0 || seq > c.last {
			c.say("%s: record %d, the highest ever assigned is %d", name, seq, c.last)
		}
		it, err := c.codec.decode(k, v)
		if err != nil {
			c.say("%s: record %d: %w", name, seq, err)
		}
		if name != "dead" && format.Record(v).IsSending() {
			c.say("%s: record %d is marked as sent, which only a dead one may be", name, seq)
		}
		c.once(name, seq, keyLen)
		if keyLen == 24 {
			hash := format.Key(k).Hash()
			if err == nil && hash != c.codec.hashName(it.Key) {
				c.say("later: record %d lies under another key than its own", seq)
			}
			if hash != 0 && heads[hash] {
				c.say("later: record %d is the second of its key", seq)
			}
			heads[hash] = true
		}
	}
	c.equal("records in "+name, n, want)
}

// once notes a Seq and reports a problem when another bucket has it too.
func (c *checker) once(name string, seq uint64, keyLen int) {
	twice := false
	switch {
	case keyLen > 8:
		twice = c.seen[seq] || c.t.Ready.Get(format.ReadyKey(seq)) != nil || c.t.Dead.Get(format.ReadyKey(seq)) != nil
		c.seen[seq] = true
	case name == "ready":
		twice = c.t.Dead.Get(format.ReadyKey(seq)) != nil
	}
	if twice {
		c.say("%s: record %d lies in another bucket too", name, seq)
	}
}
