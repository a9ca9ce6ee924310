// Package pages reads bbolt's file format without bbolt and without a memory map.
//
// bbolt trusts what it reads: on a damaged file it may panic in a goroutine of its own, fault,
// loop, or write to pages that are in use. So [Inspect] looks at a file before bbolt opens it, and
// salvage reads a damaged file page by page. The package reads with pread, checks every offset
// against the size of the file, and never writes. It knows nothing of what a lane keeps in the
// file.
//
// docs/format.md says how a file is laid out; docs/durability.md says what damage costs.
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

// bbolt's file format, version 2. Numbers have the byte order of the machine that wrote them. The
// digits are lengths in bytes.
//
//	every page   page number 8, kind 2, number of elements 2, number of overflow pages 4
//	meta         magic 4, version 4, page size 4, flags 4, root bucket 16, freelist page 8,
//	             high-water mark 8, transaction 8, FNV-1a of what precedes 8
//	branch       for each child: offset of its key 4, length of the key 4, page 8; then the keys
//	leaf         for each entry: flags 4, offset of its key 4, length of the key 4, of the value 4;
//	             then keys and values
//	freelist     the numbers of the free pages, 8 each, ascending; for 65535 or more, the
//	             header says 65535 elements, and their real number comes first
//	bucket       as a value: root page 8, sequence 8; after a root of 0 follows an inline leaf page
//
// An offset counts from the element that holds it. bbolt writes keys and values without gaps, in
// the order of the elements, so that every offset and length is implied by the others.
const (
	HeaderLen  = 16 // bytes of a page's header
	ElementLen = 16 // bytes of an element of a branch or a leaf
	BucketLen  = 16 // bytes of a bucket's value, without an inline page
	MetaLen    = 64 // bytes of a meta page behind its header
)

// The kinds of pages, and what else is written in them.
const (
	KindBranch   = 0x01
	KindLeaf     = 0x02
	KindFreelist = 0x10

	FlagBucket = 1 // of a leaf's entry: the value is a bucket

	BoltMagic   = 0xED0CDAED
	boltVersion = 2
	NoFreelist  = 1<<64 - 1 // the freelist page of a commit that kept none
	FirstPage   = 2         // the first page after the two meta pages
)

// Limits of what is taken for a bbolt file.
const (
	minPageSize = 1 << 10  // bytes
	maxPageSize = 16 << 20 // bytes
	maxPages    = 1 << 32
	maxBoltKey  = 32 << 10 // bytes
)

// Native is the byte order of bbolt's numbers.
var Native = binary.NativeEndian

// A Header is what every page begins with.
type Header struct {
	ID       uint64 // number of the page, which is its place in the file
	Kind     uint16
	Count    uint16 // elements
	Overflow uint32 // pages after it that belong to it
}

// ParseHeader reads a header. It panics when b is shorter than HeaderLen.
func ParseHeader(b []byte) Header {
	return Header{ID: Native.Uint64(b), Kind: Native.Uint16(b[8:]), Count: Native.Uint16(b[10:]), Overflow: Native.Uint32(b[12:])}
}

// An Element is one entry of a branch or a leaf. Its offsets count from the start of the page.
// Nothing in it has been checked.
type Element struct {
	Key, Value, End int64  // where the key begins, the value begins, the value ends
	Child           uint64 // page of the child, of a branch; else 0
	Flags           uint32 // of a leaf; else 0
}

// ParseElement reads element i of a page, which is a branch or a leaf, from the bytes of the
// element. It panics when b is shorter than ElementLen.
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

// A Meta is the content of one of the two meta pages. The valid one with the highest TxID is the
// newest commit.
type Meta struct {
	PageSize int64  // bytes
	Root     uint64 // page of the root bucket
	Freelist uint64 // page of the freelist; NoFreelist: there is none
	TxID     uint64 // number of the transaction that wrote it
	Pages    uint64 // high-water mark: no page from here on is in use
}

// What can be wrong with a file.
var (
	// ErrCorrupt: it is a bbolt database, and it is damaged.
	ErrCorrupt = errors.New("damaged")
	// ErrFormat: it is not a bbolt database, or it has another version of the format.
	ErrFormat = errors.New("not an outbox of a known format")
	// ErrRead: the system could not read the file, so its state is not known.
	ErrRead = errors.New("the file cannot be read")
)

var errNoMeta = errors.New("it has no magic number")

// ParseMeta reads a meta page; b begins behind the header. A wrong checksum or page size is
// [ErrCorrupt], another version is [ErrFormat], anything else is no meta page.
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

// ReadMetas reads the two meta pages of a file of size bytes. The page size in the first one tells
// where the second one is; when the first is not valid, all page sizes are tried. bad[i] is what is
// wrong with metas[i]; nil: nothing. err says that neither is valid: [ErrFormat] if the file does
// not look like a bbolt database, otherwise [ErrCorrupt].
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
		if err != nil && !errors.Is(err, errNoMeta) && size >= at+HeaderLen+MetaLen {
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
	second := cmp.Or(bad[1], errNoMeta)
	if bad[0].Error() == second.Error() || errors.Is(bad[0], errNoMeta) && errors.Is(second, errNoMeta) {
		return metas, bad, fmt.Errorf("%w: no meta page is valid: %v", kind, bad[0])
	}
	return metas, bad, fmt.Errorf("%w: no meta page is valid: %v, %v", kind, bad[0], second)
}

// GuessPageSize returns the page size of a file whose meta pages are lost: the size for which most
// pages begin with their own number; 0: for no size does any page.
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

// A Pager reads parts of a file through one buffer. It is not safe for concurrent use.
type Pager struct {
	R        io.ReaderAt
	Size     int64  // bytes of the file
	PageSize int64  // bytes
	Looked   int64  // bytes that Bytes was asked for, once for each time: the work that was done
	ahead    []byte // what ReadAhead read last
	at       int64  // offset in the file at which ahead begins
}

// maxAhead is the most that ReadAhead reads, in bytes.
const maxAhead = 1 << 20

// Ahead reports whether ReadAhead has read the n bytes at offset off, so that Bytes costs nothing.
func (p *Pager) Ahead(off, n int64) bool {
	return off >= p.at && off+n <= p.at+int64(len(p.ahead))
}

// Bytes returns n bytes at offset off. They alias the buffer of ReadAhead, or else *into, which
// grows if it is too small. So they are valid until the next call of ReadAhead or of Bytes with the
// same into. Bytes that lie outside the file are [ErrCorrupt]; a failed read is [ErrRead].
func (p *Pager) Bytes(off, n int64, into *[]byte) ([]byte, error) {
	if off < 0 || n < 0 || off > p.Size-n {
		return nil, fmt.Errorf("%w: bytes %d to %d, the file has %d", ErrCorrupt, off, off+n, p.Size)
	}
	p.Looked += n
	if from := off - p.at; p.Ahead(off, n) {
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

// ReadAhead fills the buffer with n bytes at off, at most 1 MiB. It ignores errors and the end of
// the file: Bytes reports them when the missing bytes are asked for.
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

// A Set is a set of page numbers, one bit each. The nil Set is empty and cannot grow.
type Set []uint64

// NewSet returns an empty set with room for page numbers below pages.
func NewSet(pages uint64) Set { return make(Set, (pages+63)/64) }

// Has reports whether id is in the set. It accepts any number.
func (s Set) Has(id uint64) bool { return id/64 < uint64(len(s)) && s[id/64]&(1<<(id%64)) != 0 }

// Add adds a page number, which must be one that the set has room for.
func (s Set) Add(id uint64) { s[id/64] |= 1 << (id % 64) }

// Remove removes a page number, which must be one that the set has room for.
func (s Set) Remove(id uint64) { s[id/64] &^= 1 << (id % 64) }

// Len returns how many page numbers are in the set.
func (s Set) Len() (n uint64) {
	for _, w := range s {
		n += uint64(bits.OnesCount64(w))
	}
	return n
}
