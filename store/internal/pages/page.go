package pages

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math/bits"
)

// What follows reads the pages of bbolt's file format, version 2, without bbolt and without a map:
// numbers are in the order of the machine that wrote them.
//
//	every page   number 8, kind 2, elements 2, pages that belong to it besides 4
//	meta         magic 4, version 4, page size 4, flags 4, root bucket 16, freelist 8, high-water
//	             mark 8, transaction 8, FNV-1a of what precedes 8
//	branch       for each child: offset of its key 4, length of the key 4, page 8; then the keys
//	leaf         for each entry: flags 4, offset of its key 4, length of the key 4, of the value 4;
//	             then keys and values
//	freelist     the numbers of the pages, 8 each; more than 65534 of them are counted by the first
//	bucket       as a value: root page 8, sequence 8; a root of 0 is followed by a leaf page instead
//
// Offsets count from the element that has them. bbolt writes keys and values without gaps, in the
// order of the elements, so that every offset and length is implied by the others.
const (
	HeaderLen  = 16
	ElementLen = 16
	BucketLen  = 16
	MetaLen    = 64

	KindBranch   = 0x01
	KindLeaf     = 0x02
	KindFreelist = 0x10

	FlagBucket = 1 // of a leaf's entry: the value is a bucket

	BoltMagic   = 0xED0CDAED
	boltVersion = 2
	NoFreelist  = 1<<64 - 1

	minPageSize = 1 << 10
	maxPageSize = 16 << 20
	maxPages    = 1 << 32
	maxBoltKey  = 32 << 10 // bytes
	FirstPage   = 2        // those before are the metas
)

var Native = binary.NativeEndian

// A header is what every page leads with.
type Header struct {
	ID          uint64
	Kind, Count uint16
	Overflow    uint32
}

func ParseHeader(b []byte) Header {
	return Header{Native.Uint64(b), Native.Uint16(b[8:]), Native.Uint16(b[10:]), Native.Uint32(b[12:])}
}

// An element is one entry of a branch or a leaf, with its offsets counted from the start of the page.
type Element struct {
	Key, Value, End int64  // where the key begins, where it ends, where the value ends
	Child           uint64 // of a branch
	Flags           uint32 // of a leaf
}

func ParseElement(b []byte, i int, branch bool) Element {
	at := int64(HeaderLen + i*ElementLen)
	if branch {
		key := at + int64(Native.Uint32(b))
		end := key + int64(Native.Uint32(b[4:]))
		return Element{Key: key, Value: end, End: end, Child: Native.Uint64(b[8:])}
	}
	e := Element{Flags: Native.Uint32(b), Key: at + int64(Native.Uint32(b[4:]))}
	e.Value = e.Key + int64(Native.Uint32(b[8:]))
	e.End = e.Value + int64(Native.Uint32(b[12:]))
	return e
}

// A metaPage is one of the two roots of the file, of which the newest valid one counts.
type Meta struct {
	PageSize             int64
	Root, Freelist, TxID uint64
	Pages                uint64 // the high-water mark
}

// What is wrong with a file, or why nobody can tell.
var (
	// ErrCorrupt: it is a bbolt database, and it is damaged.
	ErrCorrupt = errors.New("damaged")
	// ErrFormat: it is not a bbolt database, or one of another version.
	ErrFormat = errors.New("not an outbox of a known format")
	// ErrRead: the system could not read it.
	ErrRead = errors.New("the file cannot be read")
)

var errNoMeta = errors.New("it has no magic number")

// parseMeta reads a meta page from its 16th byte on.
func ParseMeta(b []byte) (m Meta, err error) {
	if len(b) < MetaLen {
		return m, fmt.Errorf("%w: %d bytes, %d expected", errNoMeta, len(b), MetaLen)
	}
	if Native.Uint32(b) != BoltMagic {
		return m, errNoMeta
	}
	if v := Native.Uint32(b[4:]); v != boltVersion {
		return m, fmt.Errorf("%w: version %d of bbolt's format, this build knows %d", ErrFormat, v, boltVersion)
	}
	sum := fnv.New64a()
	sum.Write(b[:MetaLen-8])
	if got, want := sum.Sum64(), Native.Uint64(b[MetaLen-8:]); got != want {
		return m, fmt.Errorf("%w: its checksum is %016x, %016x expected", ErrCorrupt, got, want)
	}
	m = Meta{
		PageSize: int64(Native.Uint32(b[8:])),
		Root:     Native.Uint64(b[16:]), Freelist: Native.Uint64(b[32:]), Pages: Native.Uint64(b[40:]), TxID: Native.Uint64(b[48:]),
	}
	if m.PageSize < minPageSize || m.PageSize > maxPageSize || bits.OnesCount64(uint64(m.PageSize)) != 1 {
		return m, fmt.Errorf("%w: a page size of %d", ErrCorrupt, m.PageSize)
	}
	return m, nil
}

// readMetas finds the two meta pages, the first valid one telling where the second is. An error of a
// page is in its place in bad; err says that neither is valid.
func ReadMetas(r io.ReaderAt, size int64) (metas [2]Meta, bad [2]error, err error) {
	read := func(at int64) (Meta, error) {
		b := make([]byte, min(MetaLen, max(0, size-at-HeaderLen)))
		if _, err := r.ReadAt(b, at+HeaderLen); err != nil && err != io.EOF {
			return Meta{}, fmt.Errorf("%w: reading at %d: %w", ErrRead, at, err)
		}
		return ParseMeta(b)
	}
	if metas[0], bad[0] = read(0); bad[0] == nil {
		if metas[1], bad[1] = read(metas[0].PageSize); bad[1] == nil && metas[1].PageSize != metas[0].PageSize {
			bad[1] = fmt.Errorf("%w: a page size of %d, the other meta page has %d", ErrCorrupt, metas[1].PageSize, metas[0].PageSize)
		}
		return metas, bad, nil
	}
	magic := !errors.Is(bad[0], errNoMeta)
	for at := int64(minPageSize); at <= maxPageSize && at < size; at *= 2 {
		m, err := read(at)
		if err == nil && m.PageSize == at {
			metas[1] = m
			return metas, bad, nil
		}
		if err != nil && !errors.Is(err, errNoMeta) && len(err.Error()) > 0 && size >= at+HeaderLen+MetaLen {
			bad[1], magic = err, true
		}
	}
	kind := ErrCorrupt
	switch {
	case errors.Is(bad[0], ErrFormat), errors.Is(bad[1], ErrFormat):
		kind = ErrFormat
	case !magic:
		if GuessPageSize(r, size) == 0 {
			kind = ErrFormat
		}
	}
	return metas, bad, fmt.Errorf("%w: no meta page is valid: %v, %v", kind, bad[0], cmp.Or(bad[1], errNoMeta))
}

// guessPageSize tells the size of the pages of a file without metas by the numbers they lead with; 0:
// these are no pages.
func GuessPageSize(r io.ReaderAt, size int64) (best int64) {
	most := 0
	for pageSize := int64(64 << 10); pageSize >= minPageSize; pageSize /= 2 {
		n := 0
		for id := int64(FirstPage); id < min(size/pageSize, 1<<12); id++ {
			var b [HeaderLen]byte
			if _, err := r.ReadAt(b[:], id*pageSize); err != nil {
				continue
			}
			h := ParseHeader(b[:])
			if h.ID == uint64(id) && (h.Kind == KindBranch || h.Kind == KindLeaf || h.Kind == KindFreelist) {
				n++
			}
		}
		if n > most {
			best, most = pageSize, n
		}
	}
	return best
}

// A pager reads pages with one buffer that is filled ahead. It is not safe for concurrent use.
type Pager struct {
	R        io.ReaderAt
	Size     int64 // of the file
	PageSize int64
	ahead    []byte // what was read ahead
	at       int64  // where that begins
}

const maxAhead = 1 << 20

// bytes returns n bytes at off, which alias the buffer that was read ahead, or into, which grows.
func (p *Pager) Bytes(off, n int64, into *[]byte) ([]byte, error) {
	if off < 0 || n < 0 || off > p.Size-n {
		return nil, fmt.Errorf("%w: bytes %d to %d, the file has %d", ErrCorrupt, off, off+n, p.Size)
	}
	if from := off - p.at; from >= 0 && from+n <= int64(len(p.ahead)) {
		return p.ahead[from : from+n : from+n], nil
	}
	if int64(cap(*into)) < n {
		*into = make([]byte, n)
	}
	b := (*into)[:n]
	if _, err := p.R.ReadAt(b, off); err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, fmt.Errorf("%w: the file ends before byte %d", ErrCorrupt, off+n)
	} else if err != nil {
		return nil, fmt.Errorf("%w: reading %d bytes at %d: %w", ErrRead, n, off, err)
	}
	return b, nil
}

// readAhead fills the buffer with n bytes at off; bytes beyond the end of the file, or that cannot be
// read, are left to whoever asks for them.
func (p *Pager) ReadAhead(off, n int64) {
	n = min(n, maxAhead, p.Size-off)
	if n <= 0 || off >= p.at && off+n <= p.at+int64(len(p.ahead)) {
		return
	}
	if int64(cap(p.ahead)) < n {
		p.ahead = make([]byte, n, maxAhead)
	}
	got, _ := p.R.ReadAt(p.ahead[:n], off)
	p.ahead, p.at = p.ahead[:got], off
}

// A pageSet is a set of page numbers, one bit each.
type Set []uint64

func NewSet(pages uint64) Set { return make(Set, (pages+63)/64) }

func (s Set) Has(id uint64) bool { return id/64 < uint64(len(s)) && s[id/64]&(1<<(id%64)) != 0 }

func (s Set) Add(id uint64) { s[id/64] |= 1 << (id % 64) }

func (s Set) Remove(id uint64) { s[id/64] &^= 1 << (id % 64) }

func (s Set) Len() (n uint64) {
	for _, w := range s {
		n += uint64(bits.OnesCount64(w))
	}
	return n
}
