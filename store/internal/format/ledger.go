package format

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// ledger accounts for every event of a lane. It changes in the transaction that changes the buckets:
// Put = Ready + Timed + Later + Dead + Delivered + Expired + Dropped, always.
type Ledger struct {
	Ready, Timed, Later, Dead        uint64 // records in each bucket
	Bytes, DeadBytes                 uint64 // by payloadLen, of records pending and dead
	Put, Delivered, Expired, Dropped uint64 // since the lane was made
}

func (l *Ledger) fields() [10]*uint64 {
	return [...]*uint64{&l.Ready, &l.Timed, &l.Later, &l.Dead, &l.Bytes, &l.DeadBytes, &l.Put, &l.Delivered, &l.Expired, &l.Dropped}
}

func (l *Ledger) Pending() uint64 { return l.Ready + l.Timed + l.Later }

// encode returns the fields in order, 8 bytes each, and their CRC-32C.
func (l *Ledger) Encode() []byte {
	b := make([]byte, 0, 84)
	for _, f := range l.fields() {
		b = binary.BigEndian.AppendUint64(b, *f)
	}
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, Castagnoli))
}

func (l *Ledger) Decode(b []byte) error {
	const n = 84
	if len(b) != n {
		return fmt.Errorf("%w: ledger of %d bytes, %d expected", ErrCorrupt, len(b), n)
	}
	if got, want := crc32.Checksum(b[:n-CrcLen], Castagnoli), binary.BigEndian.Uint32(b[n-CrcLen:]); got != want {
		return fmt.Errorf("%w: ledger checksum %08x, %08x expected", ErrCorrupt, got, want)
	}
	for i, f := range l.fields() {
		*f = binary.BigEndian.Uint64(b[8*i:])
	}
	return nil
}
