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
// is a sequence of names and values, each after its length in 4 bytes. log is the last failures,
// oldest first: nanoseconds 8, length of the reason 2, reason. The flags are listed below; other
// bits must be 0. The payload of a sealed record is ciphertext of all that a plain one has
// from byte 42 up to its checksum. Its key is the hash of the item's key, and its log has only the
// time of the last failure.
//
// The checksum covers the record and then its bucket key, so that a record is valid in its own
// place only.
//
// Methods read their receiver and return copies, except where they say otherwise.
type Record []byte

const recordVersion = 1

// The flags of a record.
const (
	FlagCodec   = 0x0f // mask of the encoding: 0 plain, CodecSealed sealed
	FlagDamaged = 0x10 // in dead: the payload is a damaged record, as it was found
	FlagSending = 0x20 // in dead: sent at most once, answer unknown; see sending.go

	CodecSealed = 1 // the value of FlagCodec in a sealed record
)

// Where the fields of a record begin, and the lengths of some. The lengths are in bytes.
const (
	OffID       = 2
	OffCreated  = 18
	offExpires  = 26
	offAttempts = 34
	offFailures = 38
	OffKindLen  = 42
	OffKeyLen   = 44
	offHeadLen  = 46
	OffLogLen   = 50
	OffPayLen   = 54
	OffBody     = 58 // and the length of what precedes the body

	CrcLen  = 4 // a checksum
	HashLen = 8 // the hash of a key, in a sealed record
)

// Limits of a record.
const (
	MaxMaxPayload = 1 << 30 // bytes of a payload
	maxReason     = 1 << 10 // bytes of one reason in the log
	MaxLog        = 8       // failures kept
)

// Castagnoli is the polynomial of all checksums in a lane.
var Castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Parts are the sections of a record after its fixed fields. They alias the record.
type Parts struct {
	kind, Key, Header, log, Payload []byte
}

// Split cuts the record into its parts by its lengths. It fails when the version is unknown or when
// the lengths do not add up. It does not compare the checksum.
func (v Record) Split() (p Parts, err error) {
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

// ClaimedLen returns how many bytes the record has by its own lengths, of which v need to be the
// first OffBody bytes only; 0: it is not the head of a record of a known version. So a search for
// records need not compute the checksum of whatever it meets.
func (v Record) ClaimedLen() int64 {
	if len(v) < OffBody || v[0] != recordVersion {
		return 0
	}
	return OffBody + CrcLen +
		int64(binary.BigEndian.Uint16(v[OffKindLen:])) + int64(binary.BigEndian.Uint16(v[OffKeyLen:])) +
		int64(binary.BigEndian.Uint32(v[offHeadLen:])) + int64(binary.BigEndian.Uint32(v[OffLogLen:])) + int64(binary.BigEndian.Uint32(v[OffPayLen:]))
}

// PayloadLen returns the number of bytes that the ledger counts for the record: the length of its
// payload, or of its sealed part; 0: its lengths do not add up.
func (v Record) PayloadLen() int {
	p, err := v.Split()
	if err != nil {
		return 0
	}
	return len(p.Payload)
}

// Payload returns the payload of the record, or its sealed part; nil: its lengths do not add up. It
// aliases the record.
func (v Record) Payload() []byte {
	p, _ := v.Split()
	return p.Payload
}

// ID returns the ID of the item; zero: the record is too short to have one.
func (v Record) ID() (id uuid.UUID) {
	if len(v) >= OffCreated {
		copy(id[:], v[OffID:])
	}
	return id
}

// Created returns when the event was put; zero: the record is too short to tell.
func (v Record) Created() time.Time {
	if len(v) < offExpires {
		return time.Time{}
	}
	return time.Unix(0, int64(binary.BigEndian.Uint64(v[OffCreated:])))
}

// Attempts returns how many requests were charged to the item. It panics on a record that is too
// short.
func (v Record) Attempts() int { return int(binary.BigEndian.Uint32(v[offAttempts:])) }

// Failures returns how often the item failed. It panics on a record that is too short.
func (v Record) Failures() int { return int(binary.BigEndian.Uint32(v[offFailures:])) }

// FailedAt returns the time of the last log entry; zero: the item never failed, or the record does
// not tell, as when it is damaged.
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

// IsSealed reports whether the record is sealed.
func (v Record) IsSealed() bool { return len(v) >= OffBody && v[1]&FlagCodec == CodecSealed }

// IsDamaged reports whether the payload of the record is a damaged record; see [Quarantine].
func (v Record) IsDamaged() bool { return len(v) >= OffBody && v[1]&FlagDamaged != 0 }

// Encode builds the record of an item that never failed: History is ignored. The record has room
// for the checksum: call [Record.SetSum] once the bucket key is known. The item must have passed
// [Validate].
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
	putCount(v[offAttempts:], it.Attempts)
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

// putCount stores a count, limited to the numbers that fit.
func putCount(b []byte, n int) { binary.BigEndian.PutUint32(b, uint32(min(max(n, 0), 1<<31-1))) }

// AppendString appends the length of s in 4 bytes, and s, as in the header of a record.
func AppendString(v []byte, s string) []byte {
	v = binary.BigEndian.AppendUint32(v, uint32(len(s)))
	return append(v, s...)
}

// BodySum returns the checksum of the record without its bucket key. [Record.SetSum] adds the key.
// They are separate because the long part is computed before the commit, and the key is known only
// inside it.
func (v Record) BodySum() uint32 { return crc32.Checksum(v[:len(v)-CrcLen], Castagnoli) }

// SetSum writes the checksum of the record under a bucket key into v. body is its [Record.BodySum].
func (v Record) SetSum(body uint32, key Key) {
	binary.BigEndian.PutUint32(v[len(v)-CrcLen:], crc32.Update(body, Castagnoli, key))
}

// Intact reports whether the checksum of the record under bucket key k is right.
func (v Record) Intact(k Key) bool {
	return len(v) >= OffBody+CrcLen && crc32.Update(v.BodySum(), Castagnoli, k) == binary.BigEndian.Uint32(v[len(v)-CrcLen:])
}

// MoveSum changes the checksum in v from one bucket key to another. v must be a copy, not memory of
// a page. The checksum of a damaged record stays wrong.
func (v Record) MoveSum(from, to Key) {
	if v.Intact(from) {
		v.SetSum(v.BodySum(), to)
	}
}

// Amend returns a copy of the record with other counts and one more log entry; a zero at adds none.
// It fails when the lengths do not add up. The copy has no checksum: call [Record.SetSum].
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
	putCount(n[offAttempts:], attempts)
	putCount(n[offFailures:], failures)
	return n, nil
}

// withLog returns a copy of the record with another log and no checksum. p are the parts of v.
func (v Record) withLog(p Parts, log []byte) Record {
	n := slices.Concat(v[:OffBody], p.kind, p.Key, p.Header, log, p.Payload, make([]byte, CrcLen))
	binary.BigEndian.PutUint32(n[OffLogLen:], uint32(len(log)))
	return n
}

// WithContents returns a copy of the record with another header and payload. It fails when the
// lengths do not add up. The copy has no checksum: call [Record.SetSum]. The header must have
// passed [Validate].
func (v Record) WithContents(header map[string]string, payload []byte) (Record, error) {
	p, err := v.Split()
	if err != nil {
		return nil, err
	}
	var head []byte
	for _, name := range sortedNames(header) {
		head = AppendString(AppendString(head, name), header[name])
	}
	n := slices.Concat(v[:OffBody], p.kind, p.Key, head, p.log, payload, make([]byte, CrcLen))
	binary.BigEndian.PutUint32(n[offHeadLen:], uint32(len(head)))
	binary.BigEndian.PutUint32(n[OffPayLen:], uint32(len(payload)))
	return n, nil
}

// Fresh returns a copy of the record as if it had never failed or been sent. It fails when the
// lengths do not add up. The copy has no checksum: call [Record.SetSum].
func (v Record) Fresh() (Record, error) {
	p, err := v.Split()
	if err != nil {
		return nil, err
	}
	n := v.withLog(p, nil)
	clear(n[offAttempts:OffKindLen])
	n[1] &^= FlagSending
	return n, nil
}

// appendLog adds an entry to a log and drops the oldest entries beyond MaxLog. It drops a log that
// cannot be read.
func appendLog(log []byte, at time.Time, reason string) []byte {
	entries, err := readLog(log)
	if err != nil {
		entries = nil
	}
	entries = append(entries, sender.Failure{At: at, Reason: reason})
	return WriteLog(entries[max(0, len(entries)-MaxLog):])
}

// WriteLog returns the log of these entries. It cuts reasons of more than a KiB.
func WriteLog(entries []sender.Failure) (log []byte) {
	for _, e := range entries {
		reason := e.Reason[:min(len(e.Reason), maxReason)]
		log = binary.BigEndian.AppendUint64(log, uint64(Nanos(e.At)))
		log = binary.BigEndian.AppendUint16(log, uint16(len(reason)))
		log = append(log, reason...)
	}
	return log
}

// readLog is the inverse of [WriteLog].
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

// readHeader reads the header of a record; nil: it is empty.
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

// Verify returns what is wrong with the record under bucket key k: lengths, checksum, codec or
// flags. It does not open a sealed record, nor read header and log.
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

// Item returns the item of a record that is not sealed and that passed [Record.Verify]. Seq and Due
// are zero, since the bucket key has them. The item does not alias v. Its kind comes from kinds.
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
	it.Attempts = v.Attempts()
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

// Quarantine returns a record for dead whose payload is the damaged record v. It keeps the ID as
// far as v has one; at is when the damage was found and why is what is wrong. The record is plain
// and has no checksum: call [Record.SetSum].
func Quarantine(v Record, at time.Time, why error) Record {
	it := sender.Item{ID: v.ID(), Created: at, Failures: 1, Payload: v}
	n, err := Encode(&it).Amend(0, 1, at, "damaged: "+why.Error())
	if err != nil {
		panic(err) // Split is the inverse of Encode
	}
	n[1] |= FlagDamaged
	return n
}

// Validate returns an error for an item that a record cannot hold: [sender.ErrTooLarge] for a part
// that is too large, payloads having at most maxPayload bytes, and a plain one for a time.
func Validate(it *sender.Item, maxPayload int) error {
	if n := len(it.Payload); n > maxPayload {
		return fmt.Errorf("payload has %d bytes, at most %d: %w", n, maxPayload, sender.ErrTooLarge)
	}
	if ns := it.Created.UnixNano(); ns <= 0 || !time.Unix(0, ns).Equal(it.Created) {
		return fmt.Errorf("the time in Created is %s, it must be after 1970-01-01 and at most 2262-04-11", it.Created.UTC().Format(time.RFC3339Nano))
	}
	return it.Check()
}
