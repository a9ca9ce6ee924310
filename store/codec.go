package store

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"slices"
	"sync"

	"github.com/seed8107221f/outbox/sender"

	"github.com/seed8107221f/outbox/store/internal/format"
)

const (
	maxKeyID  = 255 // bytes
	secretLen = 40  // bytes: 32 of an HMAC key, 8 of codec.since
)

// A codec seals and opens the records of a lane. The zero value is the codec of a plain lane and
// changes nothing.
//
//   - set is called before the lane is used. sealer, lane and since never change afterwards. All
//     methods are safe for concurrent use.
//   - In a sealed lane a plain record is damage. Exceptions: its Seq is up to since, or quarantine
//     made it.
//   - A codec writes nothing, so a crash does not concern it.
//
// A sealed record has the layout of a plain one. Everything before the kind length is readable. Its
// parts are:
//
//	kind, header  empty
//	key           8 bytes: the hash of the key, for the order per key; 0: no key
//	log           empty, or one entry without a reason: the last failure, for KeepDead
//	payload       length of the key id (1 byte), key id, and the sealed form of the plain
//	              record from its kind length to its end, without the checksum
//
// The additional data is everything before the payload, without the length of the payload, and the
// name of the lane. So no part of a record can be exchanged for a part of another. The bucket key
// is not included: a person who can write to the file can move, repeat and remove whole records.
type codec struct {
	sealer Sealer // nil: the lane is plain
	lane   []byte
	since  uint64          // the highest Seq when the lane was sealed
	macs   sync.Pool       // of hash.Hash: HMAC-SHA256 under the first 32 bytes of the secret
	kinds  format.Interned // strings that the kinds of decoded items share
}

// set makes c the codec of a sealed lane. No other method may run at the same time. secret has
// secretLen bytes.
func (c *codec) set(sealer Sealer, lane, secret []byte) {
	c.sealer, c.lane = sealer, lane
	c.since = binary.BigEndian.Uint64(secret[sha256.Size:])
	c.macs.New = func() any { return hmac.New(sha256.New, secret[:sha256.Size]) }
}

// hash returns the 8-byte hash of a key; 0: the key is empty. In a sealed lane it is an HMAC:
// without the secret of the lane one cannot tell which key has which hash.
func (c *codec) hash(key []byte) uint64 {
	if c.sealer == nil || len(key) == 0 {
		return format.HashKey(key)
	}
	m := c.macs.Get().(hash.Hash)
	defer c.macs.Put(m)
	m.Reset()
	m.Write(key)
	return max(binary.BigEndian.Uint64(m.Sum(make([]byte, 0, sha256.Size))), 1)
}

// hashName is hash of a string.
func (c *codec) hashName(key string) uint64 {
	if c.sealer == nil {
		return format.HashKey(key)
	}
	return c.hash([]byte(key))
}

// recordHash returns the hash of a record's key, for sealed and plain records. 0: the record has no
// key, or cannot be split into its parts.
func (c *codec) recordHash(v format.Record) uint64 {
	p, err := v.Split()
	switch {
	case err != nil:
		return 0
	case !v.IsSealed():
		return c.hash(p.Key)
	case len(p.Key) != format.HashLen:
		return 0
	}
	return binary.BigEndian.Uint64(p.Key)
}

// seal returns the record to store for the plain record v: v itself in a plain lane. It has no
// checksum yet; call SetSum.
func (c *codec) seal(v format.Record) (format.Record, error) {
	if c.sealer == nil {
		return v, nil
	}
	p, err := v.Split()
	if err != nil {
		return nil, err
	}
	var log []byte
	if at := v.FailedAt(); !at.IsZero() {
		log = format.WriteLog([]sender.Failure{{At: at}})
	}
	id := c.sealer.Current()
	const room = 64 // for what a Sealer usually adds
	n := make([]byte, format.OffBody, len(v)+format.HashLen+len(log)+1+len(id)+room)
	copy(n, v[:format.OffKindLen])
	n[1] |= format.CodecSealed
	binary.BigEndian.PutUint16(n[format.OffKeyLen:], format.HashLen)
	binary.BigEndian.PutUint32(n[format.OffLogLen:], uint32(len(log)))
	n = binary.BigEndian.AppendUint64(n, c.hash(p.Key))
	n = append(n, log...)
	start := len(n)
	if n, err = c.sealBytes(n, id, v[format.OffKindLen:len(v)-format.CrcLen], c.additional(n)); err != nil {
		return nil, err
	}
	binary.BigEndian.PutUint32(n[format.OffPayLen:], uint32(len(n)-start))
	return append(n, make([]byte, format.CrcLen)...), nil
}

// open verifies record v under bucket key k and returns it as a plain record: v itself, or a copy
// without a checksum. [ErrSealed]: it cannot be opened now. Any other error: it is damaged.
func (c *codec) open(k format.Key, v format.Record) (format.Record, error) {
	err := v.Verify(k)
	switch {
	case err != nil:
		return nil, err
	case v.IsSealed() && c.sealer == nil:
		return nil, fmt.Errorf("codec %d, a sealed record, in a lane that is not sealed", format.CodecSealed)
	case !v.IsSealed() && c.sealer != nil && k.Seq() > c.since && !v.IsDamaged():
		return nil, fmt.Errorf("record %d is not sealed, in a lane that is sealed from %d on", k.Seq(), c.since+1)
	case !v.IsSealed():
		return v, nil
	}
	p, err := v.Split()
	if err != nil {
		return nil, err
	}
	n := append(make([]byte, 0, format.OffKindLen+len(p.Payload)+format.CrcLen), v[:format.OffKindLen]...)
	n[1] &^= format.FlagCodec
	before := v[:len(v)-format.CrcLen-len(p.Payload)]
	if n, err = c.openBytes(n, p.Payload, c.additional(before)); err != nil {
		return nil, err
	}
	return append(n, make([]byte, format.CrcLen)...), nil
}

// decode returns the item in record v under bucket key k, without its Seq and Due. The item does
// not alias v. Errors are as of open.
func (c *codec) decode(k format.Key, v format.Record) (sender.Item, error) {
	plain, err := c.open(k, v)
	if err != nil {
		return sender.Item{}, err
	}
	return plain.Item(&c.kinds)
}

// additional returns the additional data of a record that begins with the bytes before.
func (c *codec) additional(before []byte) []byte {
	return slices.Concat(before[:format.OffPayLen], before[format.OffBody:], c.lane)
}

// sealBytes appends to dst the length of id, id, and plain sealed under it.
func (c *codec) sealBytes(dst []byte, id string, plain, additional []byte) ([]byte, error) {
	if len(id) < 1 || len(id) > maxKeyID {
		return nil, fmt.Errorf("%w: the Sealer names a key id of %d bytes, 1 to %d expected", ErrSealed, len(id), maxKeyID)
	}
	dst = append(append(dst, byte(len(id))), id...)
	n, err := c.sealer.Seal(dst, id, plain, additional)
	if err != nil {
		return nil, fmt.Errorf("%w: sealing under key %q: %w", ErrSealed, id, err)
	}
	return n, nil
}

// openBytes appends to dst the plain form of what sealBytes appended.
func (c *codec) openBytes(dst, locked, additional []byte) ([]byte, error) {
	id, rest, err := cutKeyID(locked)
	if err != nil {
		return nil, err
	}
	n, err := c.sealer.Open(dst, id, rest, additional)
	switch {
	case errors.Is(err, ErrCorrupt):
		return nil, fmt.Errorf("sealed under key %q: %w", id, err)
	case err != nil:
		return nil, fmt.Errorf("%w under key %q: %w", ErrSealed, id, err)
	}
	return n, nil
}

// cutKeyID splits what sealBytes appended into the key id and the sealed bytes.
func cutKeyID(locked []byte) (id string, rest []byte, err error) {
	if len(locked) < 2 || locked[0] == 0 || int(locked[0]) >= len(locked) {
		return "", nil, errors.New("a sealed part without a key id")
	}
	n := 1 + int(locked[0])
	return string(locked[1:n]), locked[n:], nil
}
