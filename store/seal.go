package store

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/seed8107221f/outbox/store/internal/boltfile"
	"github.com/seed8107221f/outbox/store/internal/format"
)

// A Sealer keeps what records hold from whoever reads the file: kind, key, header, payload and the
// recorded reasons. [AESGCM] is the usual one; others may ask a key service. All methods must be safe
// for concurrent use, keep none of their arguments, and put nothing of a payload or a key into errors.
//
// The store writes the id of the key in front of what Seal returned, and hands it to Open, so that keys
// can be exchanged: open the lane with a Sealer whose Current is the new one and which still knows the old
// ones. What was sealed before stays as it is until it is rewritten or gone.
type Sealer interface {
	// Current returns the id of the key to seal with from now on, 1 to 255 bytes, which are readable in
	// the file.
	Current() (id string)
	// Seal appends to dst what only Open under the same id and with the same additional data makes plain
	// again. Additional data is authenticated and not kept.
	Seal(dst []byte, id string, plain, additional []byte) ([]byte, error)
	// Open appends to dst what Seal was given. An error that wraps [ErrCorrupt] says that these bytes are
	// not what was sealed so: the record is damaged, for good. Any other says that they cannot be opened
	// now, for want of the key: [Store.Claim] returns it, and the record stays where it is. In the middle
	// of a commit it fails that commit.
	Open(dst []byte, id string, sealed, additional []byte) ([]byte, error)
}

// secretData is the additional data of the lane's secret; no record's begins so.
func (s *Store) secretData() []byte { return append([]byte("secret of lane "), s.bucket...) }

// openCodec makes ready what seals and opens the records of the lane, before anything of it is used. A
// lane that was plain becomes a sealed one, and one that was sealed under another key than the current
// has its secret sealed anew. ErrSealed says that it cannot be opened, and nothing was changed.
func (s *Store) openCodec() error {
	var kept []byte
	var checks [][]byte
	half, last := false, uint64(0)
	if err := s.view(func(t *txn) error {
		kept, half, last = bytes.Clone(t.Meta.Get(format.MetaSecret)), t.Meta.Get(format.MetaRehash) != nil, t.Root.Sequence()
		c := t.Meta.Cursor()
		for k, v := c.Seek(format.MetaKey); bytes.HasPrefix(k, format.MetaKey); k, v = c.Next() {
			checks = append(checks, bytes.Clone(v))
		}
		return nil
	}); err != nil {
		return err
	}
	if kept == nil && s.opts.Sealer == nil {
		return nil
	}
	var err error
	id, secret := "", make([]byte, secretLen)
	if kept == nil {
		_, _ = rand.Read(secret) // never fails
		binary.BigEndian.PutUint64(secret[secretLen-8:], last)
	} else if id, secret, err = s.openSecret(kept, checks); err != nil {
		return err
	}
	s.codec.set(s.opts.Sealer, s.bucket, secret)
	if id != s.opts.Sealer.Current() {
		if err := s.keepSecret(secret); err != nil {
			return err
		}
	}
	if half || kept == nil {
		return s.rehash()
	}
	return nil
}

// openSecret opens the lane's secret and tells the id of the key that it is sealed under. A key of
// earlier may be missing, but not be another than it was: its records would be taken for damaged ones.
func (s *Store) openSecret(kept []byte, checks [][]byte) (id string, secret []byte, err error) {
	if id, secret, err = s.openKept(kept); err != nil {
		return "", nil, err
	}
	if len(secret) != secretLen {
		return "", nil, fmt.Errorf("%w: under key %q the secret of the lane has %d bytes, %d expected", ErrSealed, id, len(secret), secretLen)
	}
	for _, check := range checks {
		if _, _, err := s.openKept(check); errors.Is(err, errOtherKey) || errors.Is(err, ErrCorrupt) {
			return "", nil, err
		}
	}
	return id, secret, nil
}

var errOtherKey = errors.New("it is another key than the one given")

// openKept opens what meta keeps sealed, and tells under which key.
func (s *Store) openKept(kept []byte) (id string, plain []byte, err error) {
	n := len(kept) - format.CrcLen
	if n < 0 || crc32.Checksum(kept[:n], format.Castagnoli) != binary.BigEndian.Uint32(kept[n:]) {
		return "", nil, fmt.Errorf("%w: the secret of the lane, %d bytes, does not have its checksum", ErrCorrupt, len(kept))
	}
	id, sealed, err := cutKeyID(kept[:n])
	switch {
	case err != nil:
		return "", nil, fmt.Errorf("%w: the secret of the lane: %w", ErrCorrupt, err)
	case s.opts.Sealer == nil:
		return "", nil, fmt.Errorf("%w under key %q, and there is no Sealer in the options", ErrSealed, id)
	}
	plain, err = s.opts.Sealer.Open(nil, id, sealed, s.secretData())
	switch {
	case errors.Is(err, ErrCorrupt): // the checksum held: it is the key that is wrong
		return "", nil, fmt.Errorf("%w under key %q: %w: %v", ErrSealed, id, errOtherKey, err)
	case err != nil:
		return "", nil, fmt.Errorf("%w under key %q: %w", ErrSealed, id, err)
	}
	return id, plain, nil
}

// keepSecret seals the lane's secret under the current key and keeps it, with what tells that key from
// another for as long as the lane exists. In a lane that was plain it begins format 2, and notes that the
// keys in later have yet to be hashed anew.
func (s *Store) keepSecret(secret []byte) error {
	id := s.opts.Sealer.Current()
	keep := func(plain []byte) ([]byte, error) {
		b, err := s.codec.sealBytes(nil, id, plain, s.secretData())
		return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, format.Castagnoli)), err
	}
	kept, err := keep(secret)
	if err != nil {
		return err
	}
	check, err := keep(nil)
	if err != nil {
		return err
	}
	return s.update(context.Background(), func(t *txn) error {
		if t.Meta.Get(format.MetaSecret) == nil {
			if err := errors.Join(t.SetFormat(format.FormatSealed), t.Meta.Put(format.MetaRehash, []byte{1})); err != nil {
				return err
			}
		}
		return errors.Join(t.Meta.Put(format.MetaSecret, kept), t.Meta.Put(append(bytes.Clone(format.MetaKey), id...), check))
	})
}

// rehash gives the entries of later, which end with the hash of their key, the hash of a sealed lane. It
// is done before the lane is used, and begun anew after a crash: order per key needs one hash for each key.
func (s *Store) rehash() error {
	var after format.Key
	for done := false; !done; {
		if err := s.update(context.Background(), func(t *txn) error {
			var old []place
			last, err := t.page(later, after, maxMoves, boltfile.MaxGroupBytes, func(k format.Key, v format.Record) error {
				if len(k) == 24 && k.Hash() != s.codec.recordHash(v) {
					old = append(old, place{later, bytes.Clone(k)})
				}
				return nil
			})
			if err != nil {
				return err
			}
			for _, from := range old {
				to := place{later, format.LaterKey(from.key.Due(), from.key.Seq(), s.codec.recordHash(t.at(from)))}
				if err := t.rekey(from, to); err != nil {
					return err
				}
			}
			if after, done = last, last == nil; done {
				return t.Meta.Delete(format.MetaRehash)
			}
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}
