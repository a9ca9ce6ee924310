package format

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// A Ledger accounts for every event that was ever put into a lane. The zero Ledger is the ledger of
// an empty lane.
//
//   - Put = Ready + Timed + Later + Dead + Delivered + Expired + Dropped.
//   - It changes in the transaction that changes the buckets, so a crash leaves both or neither.
type Ledger struct {
	Ready, Timed, Later, Dead        uint64 // records in each bucket
	Bytes, DeadBytes                 uint64 // sums of PayloadLen: pending, dead
	Put, Delivered, Expired, Dropped uint64 // items since the lane was made
}

// fields returns the fields in the order in which they are stored.
func (l *Ledger) fields() [10]*uint64 {
	return [...]*uint64{&l.Ready, &l.Timed, &l.Later, &l.Dead, &l.Bytes, &l.DeadBytes, &l.Put, &l.Delivered, &l.Expired, &l.Dropped}
}

// ledgerLen is the length of a stored ledger: ten numbers and a checksum.
const ledgerLen = 10*8 + CrcLen

// Pending returns the number of items that are not dead.
func (l *Ledger) Pending() uint64 { return l.Ready + l.Timed + l.Later }

// Encode returns the fields in order, 8 bytes each, and their CRC-32C.
func (l *Ledger) Encode() []byte {
	b := make([]byte, 0, ledgerLen)
	for _, f := range l.fields() {
		b = binary.BigEndian.AppendUint64(b, *f)
	}
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, Castagnoli))
}

// Decode is the inverse of [Ledger.Encode]. A wrong length or checksum is [ErrCorrupt], and leaves
// l as it is.
func (l *Ledger) Decode(b []byte) error {
	if len(b) != ledgerLen {
		return fmt.Errorf("%w: ledger of %d bytes, %d expected", ErrCorrupt, len(b), ledgerLen)
	}
	body := b[:ledgerLen-CrcLen]
	if got, want := crc32.Checksum(body, Castagnoli), binary.BigEndian.Uint32(b[len(body):]); got != want {
		return fmt.Errorf("%w: ledger checksum %08x, %08x expected", ErrCorrupt, got, want)
	}
	for i, f := range l.fields() {
		*f = binary.BigEndian.Uint64(b[8*i:])
	}
	return nil
}
