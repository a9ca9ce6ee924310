package store

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"runtime"

	"github.com/seed8107221f/outbox/store/internal/boltfile"
	"github.com/seed8107221f/outbox/store/internal/format"
)

// A Sealer encrypts what records hold: kind, key, header, payload and the recorded reasons.
// [AESGCM] is the usual one; another may ask a key service. All methods must be safe for concurrent
// use, must not keep their arguments, and must not put a payload or key material into errors. A
// panic counts as an error.
//
// The store writes the key id in front of what Seal returns and passes it to Open. To change the
// key, open the lane with a Sealer whose Current is the new key and which still knows the old ones.
// Records that the old key sealed stay as they are until they are rewritten or removed.
type Sealer interface {
	// Current returns the id of the key that seals from now on. It has 1 to 255 bytes and is
	// readable in the file.
	Current() (id string)
	// Seal appends the encrypted form of plain to dst. Only Open with the same id and the same
	// additional data can decrypt it. Additional data is authenticated and not stored. After an
	// error Append stores nothing; in the middle of a commit it fails that commit.
	Seal(dst []byte, id string, plain, additional []byte) ([]byte, error)
	// Open appends the plain form of sealed to dst. An error that wraps [ErrCorrupt] means that
	// these bytes were changed, or sealed otherwise: the record is damaged for good. Any other
	// error means that it cannot be opened now, for example because the key is missing. Then
	// [Store.Claim] returns the error and the record stays where it is. In the middle of a commit
	// it fails that commit.
	Open(dst []byte, id string, sealed, additional []byte) ([]byte, error)
}

// A guardedSealer is the caller's Sealer. Its panics become errors: they must end neither the
// commit goroutine nor a caller of Append, who may not even know that there is a Sealer.
type guardedSealer struct{ Sealer }

func (g guardedSealer) Current() (id string) {
	defer recoverInto("Current", new(error)) // the empty id that is returned is an error of the caller
	return g.Sealer.Current()
}

func (g guardedSealer) Seal(dst []byte, id string, plain, additional []byte) (sealed []byte, err error) {
	defer recoverInto("Seal", &err)
	return g.Sealer.Seal(dst, id, plain, additional)
}

func (g guardedSealer) Open(dst []byte, id string, sealed, additional []byte) (plain []byte, err error) {
	defer recoverInto("Open", &err)
	return g.Sealer.Open(dst, id, sealed, additional)
}

// recoverInto is deferred. It makes a panic in a method of a Sealer an error. The value of the
// panic is left out, unless the runtime made it: it may hold a payload or a key.
func recoverInto(method string, err *error) {
	switch v := recover().(type) {
	case nil:
	case runtime.Error:
		*err = fmt.Errorf("the Sealer panicked in %s: %w", method, v)
	default:
		*err = fmt.Errorf("the Sealer panicked in %s: %T", method, v)
	}
}

// secretData is the additional data under which the lane's secret is sealed. No record's additional
// data begins like this.
func (s *Store) secretData() []byte { return append([]byte("secret of lane "), s.bucket...) }

// openCodec prepares the codec before the lane is used. s.codec never changes afterwards.
//
//   - A plain lane with a Sealer becomes sealed. It gets a new secret, and rehash follows.
//   - In a sealed lane the secret is opened. If another key than the current one sealed it, the
//     current key seals it again.
//   - A crash between keepSecret and the end of rehash leaves MetaRehash in the file. The next Open
//     starts rehash again.
//   - [ErrSealed]: the secret cannot be opened, and nothing was changed.
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

// openSecret opens the lane's secret and returns the id of the key that sealed it. A former key may
// be missing. A former id must not name a different key: all records of the former key would look
// damaged.
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

var errOtherKey = errors.New("the id names a different key than before")

// openKept opens a sealed value of meta and returns the id of its key.
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
	case errors.Is(err, ErrCorrupt): // the checksum is right, so the key is wrong
		return "", nil, fmt.Errorf("%w under key %q: %w: %v", ErrSealed, id, errOtherKey, err)
	case err != nil:
		return "", nil, fmt.Errorf("%w under key %q: %w", ErrSealed, id, err)
	}
	return id, plain, nil
}

// keepSecret stores, in one commit, the secret sealed under the current key and a check value of
// that key. openSecret finds a different key under the same id by the check value, as long as the
// lane exists. In a plain lane the same commit sets format 2 and MetaRehash.
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

// rehash replaces the hash at the end of each key in later by the hash of the sealed lane. The
// order per key needs one hash for each key, so rehash ends before the lane is used. The last
// commit deletes MetaRehash. After a crash rehash starts again at the first entry, and passes over
// entries that have the new hash.
func (s *Store) rehash() error {
	var after format.Key
	for done := false; !done; {
		var last format.Key
		if err := s.update(context.Background(), func(t *txn) (err error) {
			var old []place // a commit may be tried again: after changes only when it is done
			last, err = t.page(later, bytes.Clone(after), maxMoves, boltfile.MaxGroupBytes, func(k format.Key, v format.Record) error {
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
			if last == nil {
				return t.Meta.Delete(format.MetaRehash)
			}
			return nil
		}); err != nil {
			return err
		}
		after, done = last, last == nil
	}
	return nil
}
