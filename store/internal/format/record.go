package format

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox/sender"
)

// A Record is the value of an item in its bucket, all numbers big endian:
//
//	 0      1       2        18         26         34          38          42
//	+-------+-------+--------+----------+----------+-----------+-----------+
//	| version| flags| ID 16  | created 8| expires 8| attempts 4| failures 4|
//	+-------+-------+--------+----------+----------+-----------+-----------+
//	 42         44        46          50        54           58
//	+-----------+---------+-----------+---------+------------+
//	| kind len 2| key len 2| header len 4| log len 4| payload len 4|
//	+-----------+---------+-----------+---------+------------+
//	 58
//	+------+-----+--------+-----+---------+----------+
//	| kind | key | header | log | payload | CRC-32C 4|
//	+------+-----+--------+-----+---------+----------+
//
// created and expires are nanoseconds since 1970 by the wall clock, expires 0 meaning never. header
// is a sequence of name and value, each led by its length in 4 bytes. log is the last failures,
// oldest first: nanoseconds in 8 bytes, length in 2, reason. The low four bits of flags name the
// codec, 0 being none and 1 that the record is sealed, see [vault]; two say why a record is in dead, and
// the others are reserved and must be 0.
// The checksum covers the record as it lies there and then its bucket key, so that a record is valid in
// its own place alone.
type Record []byte

const (
	recordVersion = 1

	FlagCodec   = 0x0f // how what follows the counts is encoded: 0, or codecSealed
	FlagDamaged = 0x10 // in dead: the payload is a record that did not decode, as it was found
	FlagSending = 0x20 // in dead: sent at most once, answer unknown; the last entry of the log tells, and may be the ninth

	OffID       = 2
	OffCreated  = 18
	offExpires  = 26
	OffAttempts = 34
	offFailures = 38
	OffKindLen  = 42
	OffKeyLen   = 44
	offHeadLen  = 46
	OffLogLen   = 50
	OffPayLen   = 54
	OffBody     = 58
	CrcLen      = 4

	CodecSealed = 1
	HashLen     = 8 // bytes of the hash of a key

	MaxMaxPayload = 1 << 30  // bytes of a payload
	maxName       = 1 << 10  // bytes of a kind or a key
	maxHeader     = 64 << 10 // bytes of all names and values
	maxReason     = 1 << 10  // bytes of one reason in the log
	MaxLog        = 8        // failures kept
)

var Castagnoli = crc32.MakeTable(crc32.Castagnoli)

// parts are the sections of a record, found by its lengths alone: no checksum has been compared.
type parts struct {
	kind, Key, Header, log, Payload []byte
}

// split cuts a record into its parts, which alias it. It fails when the lengths do not add up.
func (v Record) Split() (p parts, err error) {
	if len(v) < OffBody+CrcLen {
		return p, fmt.Errorf("record of %d bytes is shorter than the smallest, %d", len(v), OffBody+CrcLen)
	}
	if v[0] != recordVersion {
		return p, fmt.Errorf("record version %d, this build knows %d", v[0], recordVersion)
	}
	lens := [...]int{
		int(binary.BigEndian.Uint16(v[OffKindLen:])), int(binary.BigEndian.Uint16(v[OffKeyLen:])),
		int(binary.BigEndian.Uint32(v[offHeadLen:])), int(binary.BigEndian.Uint32(v[OffLogLen:])),
		int(binary.BigEndian.Uint32(v[OffPayLen:])),
	}
	rest := v[OffBody : len(v)-CrcLen]
	for i, part := range [...]*[]byte{&p.kind, &p.Key, &p.Header, &p.log, &p.Payload} {
		if lens[i] < 0 || lens[i] > len(rest) {
			return p, fmt.Errorf("record of %d bytes has a part of %d where %d are left", len(v), lens[i], len(rest))
		}
		*part, rest = rest[:lens[i]:lens[i]], rest[lens[i]:]
	}
	if len(rest) != 0 {
		return p, fmt.Errorf("record of %d bytes has %d too many", len(v), len(rest))
	}
	return p, nil
}

// payloadLen is the size by which a record counts in the ledger: that of its payload, or of its sealed
// part; 0 when its lengths do not add up.
func (v Record) PayloadLen() int {
	p, err := v.Split()
	if err != nil {
		return 0
	}
	return len(p.Payload)
}

// id is the ID of the item; zero when v is too short to have one.
func (v Record) ID() (id uuid.UUID) {
	if len(v) >= OffCreated {
		copy(id[:], v[OffID:])
	}
	return id
}

// created is when the event was put; zero when v is too short to say so.
func (v Record) Created() time.Time {
	if len(v) < offExpires {
		return time.Time{}
	}
	return time.Unix(0, int64(binary.BigEndian.Uint64(v[OffCreated:])))
}

// failures counts the failures of a record that is intact.
func (v Record) Failures() int { return int(binary.BigEndian.Uint32(v[offFailures:])) }

// failedAt is when the item last failed; zero: never, or the record does not tell.
func (v Record) FailedAt() time.Time {
	p, err := v.Split()
	if err != nil {
		return time.Time{}
	}
	log, err := readLog(p.log)
	if err != nil || len(log) == 0 {
		return time.Time{}
	}
	return log[len(log)-1].At
}

// isSealed reports whether v is a sealed record.
func (v Record) IsSealed() bool { return len(v) >= OffBody && v[1]&FlagCodec == CodecSealed }

// isDamaged reports whether v is the record of a dead item whose payload is a damaged record.
func (v Record) IsDamaged() bool { return len(v) >= OffBody && v[1]&FlagDamaged != 0 }

// encode builds the record of an item that never failed, with room for the checksum, which SetSum adds
// once the bucket key is known.
func Encode(it *sender.Item) Record {
	head := 0
	for name, value := range it.Header {
		head += 8 + len(name) + len(value)
	}
	n := OffBody + len(it.Kind) + len(it.Key) + head + len(it.Payload) + CrcLen
	v := make([]byte, OffBody, n)
	v[0] = recordVersion
	copy(v[OffID:], it.ID[:])
	binary.BigEndian.PutUint64(v[OffCreated:], uint64(it.Created.UnixNano()))
	if !it.Expires.IsZero() {
		binary.BigEndian.PutUint64(v[offExpires:], uint64(it.Expires.UnixNano()))
	}
	putCount(v[OffAttempts:], it.Attempts)
	putCount(v[offFailures:], it.Failures)
	binary.BigEndian.PutUint16(v[OffKindLen:], uint16(len(it.Kind)))
	binary.BigEndian.PutUint16(v[OffKeyLen:], uint16(len(it.Key)))
	binary.BigEndian.PutUint32(v[offHeadLen:], uint32(head))
	binary.BigEndian.PutUint32(v[OffPayLen:], uint32(len(it.Payload)))
	v = append(v, it.Kind...)
	v = append(v, it.Key...)
	for _, name := range sortedNames(it.Header) {
		v = AppendString(v, name)
		v = AppendString(v, it.Header[name])
	}
	v = append(v, it.Payload...)
	return v[:n]
}

func sortedNames(header map[string]string) []string {
	if len(header) == 0 {
		return nil
	}
	return slices.Sorted(maps.Keys(header))
}

func putCount(b []byte, n int) { binary.BigEndian.PutUint32(b, uint32(min(max(n, 0), 1<<31-1))) }

func AppendString(v []byte, s string) []byte {
	v = binary.BigEndian.AppendUint32(v, uint32(len(s)))
	return append(v, s...)
}

// bodySum is the checksum of a record without its bucket key; SetSum finishes it. The two are apart so
// that the long part is computed by whoever puts, outside the commit.
func (v Record) BodySum() uint32 { return crc32.Checksum(v[:len(v)-CrcLen], Castagnoli) }

func (v Record) SetSum(body uint32, key []byte) {
	binary.BigEndian.PutUint32(v[len(v)-CrcLen:], crc32.Update(body, Castagnoli, key))
}

// intact reports whether the checksum of record v under bucket key k holds.
func (v Record) Intact(k Key) bool {
	return len(v) >= OffBody+CrcLen && crc32.Update(v.BodySum(), Castagnoli, k) == binary.BigEndian.Uint32(v[len(v)-CrcLen:])
}

// moveSum moves the checksum of a record, a copy of its own, from one bucket key to another. That of a
// damaged record stays wrong.
func (v Record) MoveSum(from, to Key) {
	if v.Intact(from) {
		v.SetSum(v.BodySum(), to)
	}
}

// amend returns a copy of record v with other counts and one more entry in its log; a zero at adds
// none. Call SetSum before use.
func (v Record) Amend(attempts, failures int, at time.Time, reason string) (Record, error) {
	p, err := v.Split()
	if err != nil {
		return nil, err
	}
	log := p.log
	if !at.IsZero() {
		log = appendLog(log, at, reason)
	}
	n := v.withLog(p, log)
	putCount(n[OffAttempts:], attempts)
	putCount(n[offFailures:], failures)
	return n, nil
}

// withLog returns a copy of record v, of which p are the parts, with another log and no checksum.
func (v Record) withLog(p parts, log []byte) Record {
	n := slices.Concat(v[:OffBody], p.kind, p.Key, p.Header, log, p.Payload, make([]byte, CrcLen))
	binary.BigEndian.PutUint32(n[OffLogLen:], uint32(len(log)))
	return n
}

// fresh returns a copy of record v as if it had never failed.
func (v Record) Fresh() (Record, error) {
	p, err := v.Split()
	if err != nil {
		return nil, err
	}
	n := v.withLog(p, nil)
	clear(n[OffAttempts:OffKindLen])
	n[1] &^= FlagSending
	return n, nil
}

// appendLog adds an entry to a log and forgets the oldest beyond maxLog.
func appendLog(log []byte, at time.Time, reason string) []byte {
	entries, err := readLog(log)
	if err != nil {
		entries = nil
	}
	entries = append(entries, sender.Failure{At: at, Reason: reason})
	return WriteLog(entries[max(0, len(entries)-MaxLog):])
}

func WriteLog(entries []sender.Failure) (log []byte) {
	for _, e := range entries {
		reason := e.Reason[:min(len(e.Reason), maxReason)]
		log = binary.BigEndian.AppendUint64(log, uint64(e.At.UnixNano()))
		log = binary.BigEndian.AppendUint16(log, uint16(len(reason)))
		log = append(log, reason...)
	}
	return log
}

func readLog(log []byte) (entries []sender.Failure, err error) {
	for len(log) > 0 {
		if len(log) < 10 {
			return nil, fmt.Errorf("log entry of %d bytes, at least 10 expected", len(log))
		}
		at, n := int64(binary.BigEndian.Uint64(log)), int(binary.BigEndian.Uint16(log[8:]))
		if log = log[10:]; n > len(log) {
			return nil, fmt.Errorf("log entry of %d bytes where %d are left", n, len(log))
		}
		entries = append(entries, sender.Failure{At: time.Unix(0, at), Reason: string(log[:n])})
		log = log[n:]
	}
	return entries, nil
}

func readHeader(h []byte) (map[string]string, error) {
	if len(h) == 0 {
		return nil, nil
	}
	next := func() (string, error) {
		if len(h) < 4 {
			return "", fmt.Errorf("header string of %d bytes, at least 4 expected", len(h))
		}
		n := binary.BigEndian.Uint32(h)
		if h = h[4:]; uint64(n) > uint64(len(h)) {
			return "", fmt.Errorf("header string of %d bytes where %d are left", n, len(h))
		}
		s := string(h[:n])
		h = h[n:]
		return s, nil
	}
	m := make(map[string]string)
	for len(h) > 0 {
		name, err := next()
		if err != nil {
			return nil, err
		}
		if m[name], err = next(); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// verify says what is wrong with record v under bucket key k, as far as it shows without opening it.
func (v Record) Verify(k Key) error {
	if _, err := v.Split(); err != nil {
		return err
	}
	if !v.Intact(k) {
		return errors.New("the checksum does not hold")
	}
	if c := v[1] & FlagCodec; c > CodecSealed {
		return fmt.Errorf("codec %d, this build knows 0 and %d", c, CodecSealed)
	}
	if f := v[1] &^ (FlagCodec | FlagDamaged | FlagSending); f != 0 {
		return fmt.Errorf("reserved flags %#02x are set", f)
	}
	return nil
}

// item turns a record that is not sealed into an item without its Seq and Due. Nothing of the item
// aliases v.
func (v Record) Item(kinds *Interned) (it sender.Item, err error) {
	p, err := v.Split()
	if err != nil {
		return it, err
	}
	copy(it.ID[:], v[OffID:])
	it.Created = time.Unix(0, int64(binary.BigEndian.Uint64(v[OffCreated:])))
	if ns := binary.BigEndian.Uint64(v[offExpires:]); ns != 0 {
		it.Expires = time.Unix(0, int64(ns))
	}
	it.Attempts = int(binary.BigEndian.Uint32(v[OffAttempts:]))
	it.Failures = v.Failures()
	it.Kind, it.Key = kinds.Of(p.kind), string(p.Key)
	if it.Header, err = readHeader(p.Header); err != nil {
		return it, err
	}
	if it.History, err = readLog(p.log); err != nil {
		return it, err
	}
	if n := len(it.History); n > 0 {
		it.LastErr = it.History[n-1].Reason
		if it.Failures > 0 || v.IsSending() {
			it.FailedAt = it.History[n-1].At
		}
		it.History = it.History[max(0, n-MaxLog):]
	}
	it.Payload = slices.Clone(p.Payload)
	if it.Payload == nil {
		it.Payload = []byte{}
	}
	return it, nil
}

// damaged wraps a record that did not decode into one that does, for the dead.
func Quarantine(v []byte, at time.Time, why error) Record {
	it := sender.Item{ID: Record(v).ID(), Created: at, Failures: 1, Payload: v}
	n, err := Record(Encode(&it)).Amend(0, 1, at, "damaged: "+why.Error())
	if err != nil {
		panic(err) // encode and split are each other's inverse
	}
	n[1] |= FlagDamaged
	return n
}

// validate refuses what a record cannot hold.
func Validate(it *sender.Item, maxPayload int) error {
	head := 0
	for name, value := range it.Header {
		head += len(name) + len(value)
	}
	for _, f := range [...]struct {
		name   string
		n, max int
	}{{"payload", len(it.Payload), maxPayload}, {"kind", len(it.Kind), maxName}, {"key", len(it.Key), maxName}, {"header", head, maxHeader}} {
		if f.n > f.max {
			return fmt.Errorf("%w: %s of %d bytes, at most %d", sender.ErrTooLarge, f.name, f.n, f.max)
		}
	}
	if ns := it.Created.UnixNano(); ns <= 0 || !time.Unix(0, ns).Equal(it.Created) {
		return errors.New("Created is outside 1970 to 2262")
	}
	for _, t := range [...]time.Time{it.Due, it.Expires} {
		if !t.IsZero() && (t.UnixNano() <= 0 || !time.Unix(0, t.UnixNano()).Equal(t)) {
			return errors.New("Due or Expires is outside 1970 to 2262")
		}
	}
	return nil
}
