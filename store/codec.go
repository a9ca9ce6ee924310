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
	secretLen = 40  // bytes, see codec.set
)

// codec seals and opens the records of a lane. Its zero value is that of a plain lane, and leaves them as
// they are.
//
// A sealed record keeps the shape of a plain one. Its head stays readable up to the counts; its parts are:
//
//	kind, header  empty
//	key           8 bytes: the key's hash, for the order per key; 0: it has none
//	log           empty, or one entry without a reason: when the item last failed, for KeepDead
//	payload       length of the key id 1, key id, what the Sealer made of the plain record from its
//	              kind length to its end, checksum excluded
//
// What precedes the payload, but for the payload's length, and the name of the lane are the additional
// data, so that nothing of a record can be exchanged for something of another. The bucket key is not among
// them: who can write to the file can move, repeat and remove whole records.
type codec struct {
	sealer Sealer // nil: the lane is plain
	lane   []byte
	since  uint64          // the highest Seq when the lane was sealed; beyond it only what was buried may be plain
	macs   sync.Pool       // of hash.Hash: HMAC-SHA256 under the lane's secret
	kinds  format.Interned // of the records that were opened
}

// set makes c the codec of a sealed lane. Nobody may use it meanwhile. secret has secretLen bytes: a key
// of 32, since in 8.
func (c *codec) set(sealer Sealer, lane, secret []byte) {
	c.sealer, c.lane = sealer, lane
	c.since = binary.BigEndian.Uint64(secret[sha256.Size:])
	c.macs.New = func() any { return hmac.New(sha256.New, secret[:sha256.Size]) }
}

// hash names a key in 8 bytes, never 0, which stands for no key. In a sealed lane only who has the
// lane's secret can tell which key has which hash.
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

// recordHash is the hash of a record's key, sealed or not; 0 when it has none, or its lengths do not
// add up.
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

// seal returns the plain record v as it is to lie in the lane. Call SetSum before use.
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

// open verifies record v under bucket key k and returns it as a plain one: v itself, or a copy without a
// checksum. [ErrSealed] says that it cannot be opened now, any other error that it is damaged.
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

// decode turns record v under bucket key k into an item without its Seq and Due. Nothing of the item
// aliases v.
func (c *codec) decode(k format.Key, v format.Record) (sender.Item, error) {
	plain, err := c.open(k, v)
	if err != nil {
		return sender.Item{}, err
	}
	return plain.Item(&c.kinds)
}

// additional is what binds a payload to the record that begins with these bytes.
func (c *codec) additional(before []byte) []byte {
	return slices.Concat(before[:format.OffPayLen], before[format.OffBody:], c.lane)
}

// sealBytes appends to dst a key id and plain sealed under it.
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

// openBytes appends to dst what sealBytes sealed.
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

func cutKeyID(locked []byte) (id string, rest []byte, err error) {
	if len(locked) < 2 || locked[0] == 0 || int(locked[0]) >= len(locked) {
		return "", nil, errors.New("a sealed part without a key id")
	}
	n := 1 + int(locked[0])
	return string(locked[1:n]), locked[n:], nil
}
