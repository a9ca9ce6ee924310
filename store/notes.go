package store

import (
	"bytes"
	"context"
	"fmt"

	"github.com/seed8107221f/outbox/sender"

	"github.com/seed8107221f/outbox/store/internal/format"
)

// AppendNoted is [Store.Append] that also stores a note in the same commit: a small record of the
// caller, for example how far it has read its input. Items and note are both stored, or neither.
// There may be no items.
//
// value replaces the earlier value of key. An empty value removes the note. A key has 1 to 255
// bytes and a value at most 4 KiB; otherwise the error is sender.ErrTooLarge. Notes are not sealed,
// even when the lane has a Sealer.
func (s *Store) AppendNoted(ctx context.Context, key string, value []byte, items ...sender.Item) error {
	if len(key) == 0 || len(key) > format.MaxNoteKey || len(value) > format.MaxNote {
		return s.wrap("append", fmt.Errorf("%w: a note with a key of %d bytes and a value of %d, at most 1 to %d and %d", sender.ErrTooLarge, len(key), len(value), format.MaxNoteKey, format.MaxNote))
	}
	value = bytes.Clone(value) // the commit may outlive the call
	return s.appendWith(ctx, items, func(t *txn) error { return t.note(key, value) })
}

// note stores a note, or removes it if value is empty.
func (t *txn) note(key string, value []byte) error {
	if len(value) == 0 {
		if b := t.Root.Bucket(format.BucketNotes); b != nil {
			return b.Delete([]byte(key))
		}
		return nil
	}
	b, err := t.Root.CreateBucketIfNotExists(format.BucketNotes)
	if err != nil {
		return err
	}
	return b.Put([]byte(key), value)
}

// Note returns the value that AppendNoted last stored under key; nil: there is none.
func (s *Store) Note(key string) (value []byte, err error) {
	if s.closed.Load() {
		return nil, s.wrap("note", sender.ErrClosed)
	}
	err = s.view(func(t *txn) error {
		if b := t.Root.Bucket(format.BucketNotes); b != nil && key != "" {
			value = bytes.Clone(b.Get([]byte(key)))
		}
		return nil
	})
	return value, s.wrap("note", err)
}
