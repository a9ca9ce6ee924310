package store

import (
	"errors"
	"fmt"

	"github.com/seed8107221f/outbox/sender"

	"github.com/seed8107221f/outbox/store/internal/format"
)

// What Claim reads ahead of its cursor in ready.
const (
	nearItems = 128
	nearBytes = 256 << 10 // of records; one always fits
)

// near is an item of ready that was read ahead. Nobody holds it: it is handed out, or joins a line, when
// the cursor comes to it.
type near struct {
	hash   uint64
	item   sender.Item // Seq alone, unless read
	read   bool        // false: its key was taken, and it would only have to wait
	damage error       // why the record does not decode
}

// readAhead reads what lies behind the cursor, and reports whether there was something.
func (c *claim) readAhead() bool {
	if c.t == nil {
		c.thirst = true
		return false
	}
	w := c.w
	w.near = w.nearby[:0]
	size, last := 0, format.ReadyKey(w.cursor)
	cur := c.t.Ready.Cursor()
	for k, v := cur.Seek(format.ReadyKey(w.cursor + 1)); k != nil && len(w.near) < nearItems && size < nearBytes; k, v = cur.Next() {
		err := c.t.CheckEntry("ready", k, v, 8)
		if err == nil {
			err = format.CheckOrder("ready", last, k)
		}
		if err != nil {
			c.stop(err)
			break
		}
		last = k
		seq := format.Key(k).Seq()
		if w.flights[seq] != nil {
			if len(w.near) == 0 {
				w.cursor = seq
			}
			continue
		}
		n := near{hash: c.s.vault.recordHash(v), item: sender.Item{Seq: seq}}
		if _, taken := w.taken[n.hash]; n.hash == 0 || !taken && !w.isNear(n.hash) {
			if !c.read(&n, k, v) {
				break
			}
			size += len(v)
		}
		w.near = append(w.near, n)
	}
	w.nearby = w.near[:0]
	return len(w.near) > 0
}

// isNear reports whether an item of that key was read ahead: the next one will find it taken.
func (w *walk) isNear(hash uint64) bool {
	for i := range w.near {
		if w.near[i].hash == hash {
			return true
		}
	}
	return false
}

// read decodes the record v of n, under bucket key k. It is false when there is none, since its owner dropped
// it, or when it cannot be opened now.
func (c *claim) read(n *near, k, v []byte) bool {
	if v == nil {
		return false
	}
	seq := n.item.Seq
	it, err := c.s.sendable(k, v)
	if errors.Is(err, ErrSealed) {
		c.stop(fmt.Errorf("item %v: %w", format.Record(v).ID(), err))
		return false
	}
	n.item, n.damage, n.read = it, err, true
	n.item.Seq = seq
	return true
}

// advance moves the cursor over the first of near.
func (w *walk) advance() {
	w.cursor = w.near[0].item.Seq
	w.near[0] = near{} // the payload is its holder's now
	w.near = w.near[1:]
}

// forgetNear forgets what was read ahead: it may have been dropped.
func (w *walk) forgetNear() {
	clear(w.near)
	w.near = nil
}
