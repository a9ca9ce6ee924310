package store

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"slices"
)

// trees reads the tree of each bucket, all together, level by level.
func (w *inspector) trees() error {
	if err := w.lead(w.meta.root, 0, visit{keys: noKeys, root: true}); err != nil {
		return err
	}
	for depth := 0; len(w.below) > 0; depth++ {
		if depth > maxDepth {
			return fmt.Errorf("%w: the tree is deeper than %d pages", ErrCorrupt, maxDepth)
		}
		w.level, w.below = w.below, w.level[:0]
		w.keys, w.after = w.after, w.keys[:0]
		slices.SortFunc(w.level, func(a, b visit) int { return cmp.Compare(a.id, b.id) })
		for i, v := range w.level {
			w.fetch(w.level[i:])
			if err := w.visit(v); err != nil {
				return err
			}
		}
	}
	return nil
}

// lead enters page id, to which from refers, among those to be read.
func (w *inspector) lead(id, from uint64, v visit) error {
	if err := w.take(id, 0, from); err != nil {
		return err
	}
	v.id = uint32(id)
	w.below = append(w.below, v)
	return nil
}

// fetch reads ahead as far as the pages to be read lie close together.
func (w *inspector) fetch(next []visit) {
	const gap = 64 << 10 // reading that much is faster than to begin anew
	off := int64(next[0].id) * w.pageSize
	end := off + w.pageSize
	if off >= w.at && end <= w.at+int64(len(w.ahead)) {
		return
	}
	for _, v := range next[1:] {
		from := int64(v.id) * w.pageSize
		if from > end+gap || from+w.pageSize > off+maxAhead {
			break
		}
		end = from + w.pageSize
	}
	w.readAhead(off, end-off)
}

// visit reads one page of a tree.
func (w *inspector) visit(v visit) error {
	id := uint64(v.id)
	b, err := w.bytes(int64(id)*w.pageSize, headerLen, &w.page)
	if err != nil {
		return err
	}
	h := parseHeader(b)
	if h.id != id || h.kind != kindBranch && h.kind != kindLeaf {
		return w.corrupt(id, "number %d and kind %#x where a branch or a leaf, kind %#x or %#x, is expected", h.id, h.kind, kindBranch, kindLeaf)
	}
	if h.overflow > 0 {
		if err := w.take(id+1, uint64(h.overflow)-1, id); err != nil {
			return err
		}
	}
	if h.count == 0 && (h.kind == kindBranch || v.depth > 0 || !v.root) {
		return w.corrupt(id, "it has no entries")
	}
	return w.entries(v, h, int64(id)*w.pageSize, (int64(h.overflow)+1)*w.pageSize)
}

// entries reads what a page at off, with room for a number of bytes, consists of.
func (w *inspector) entries(v visit, h header, off, room int64) error {
	id, branch := uint64(v.id), h.kind == kindBranch
	end := int64(headerLen) + int64(h.count)*elementLen
	if end > room {
		return w.corrupt(id, "%d entries in %d bytes", h.count, room)
	}
	table, err := w.bytes(off, end, &w.table)
	if err != nil {
		return err
	}
	least, most := w.bounds(v)
	follow := 0
	if branch {
		if follow, err = w.probe(v, h, table); err != nil {
			return err
		}
	}
	last := least
	for i := range int(h.count) {
		e := parseElement(table[headerLen+i*elementLen:], i, branch)
		if err := e.follows(end, room); err != nil {
			return w.corrupt(id, "entry %d: %w", i, err)
		}
		end = e.end
		key, err := w.bytes(off+e.key, e.value-e.key, &w.key)
		if err != nil {
			return err
		}
		if c := bytes.Compare(last, key); c > 0 || c == 0 && i > 0 {
			return w.corrupt(id, "entry %d: key %x where one above %x is expected", i, short(key), short(last))
		}
		if branch {
			err = w.child(v, e, key, i, follow)
		} else {
			err = w.leaf(v, e, off)
		}
		if err != nil {
			return err
		}
		last, w.key, w.last = key, w.last, w.key
	}
	if most != nil && bytes.Compare(last, most) >= 0 {
		return w.corrupt(id, "its last key %x is not below %x, with which the next page begins", short(last), short(most))
	}
	if branch {
		w.after = appendKey(w.after, most)
	}
	// Older versions of bbolt gave a page that was exactly full another one.
	if n := room / w.pageSize; n != (end+w.pageSize-1)/w.pageSize && n != end/w.pageSize+1 {
		return w.corrupt(id, "%d bytes on %d pages, %d expected", end, n, (end+w.pageSize-1)/w.pageSize)
	}
	return nil
}

// follows reports whether an element lies right behind what ends at end, on a page with room for a
// number of bytes.
func (e *element) follows(end, room int64) error {
	if e.key != end || e.value == e.key || e.value-e.key > maxBoltKey || e.end > room {
		return fmt.Errorf("key at byte %d to %d and value up to %d, where byte %d of %d is next", e.key, e.value, e.end, end, room)
	}
	return nil
}

// probe tells how many children of a branch, of which table has the elements, are to be read.
func (w *inspector) probe(v visit, h header, table []byte) (int, error) {
	if w.whole || v.depth < 2 {
		return int(h.count), nil
	}
	id := native.Uint64(table[headerLen+8:])
	if id < firstPage || id >= w.meta.pages {
		return 1, nil // child says so
	}
	b, err := w.bytes(int64(id)*w.pageSize, headerLen, &w.page)
	if err != nil {
		return 0, err
	}
	if parseHeader(b).kind == kindLeaf {
		return 1, nil
	}
	return int(h.count), nil
}

// child takes child i of a branch, and enters it among the pages to be read if it is one of the first that
// are to be followed.
func (w *inspector) child(v visit, e element, key []byte, i, follow int) error {
	keys := uint32(noKeys)
	if i <= follow && uint64(len(w.after)) < noKeys-4*maxBoltKey { // each bounds the one before it
		keys = uint32(len(w.after))
		w.after = appendKey(w.after, key)
	}
	if i >= follow {
		return w.take(e.child, 0, uint64(v.id))
	}
	return w.lead(e.child, uint64(v.id), visit{keys: keys, depth: v.depth})
}

// leaf looks at an entry of a leaf at off: only a bucket needs to be followed.
func (w *inspector) leaf(v visit, e element, off int64) error {
	id, size := uint64(v.id), e.end-e.value
	if e.flags&^flagBucket != 0 || v.depth == 0 && e.flags == 0 {
		return w.corrupt(id, "the entry at byte %d has the flags %#x", e.key, e.flags)
	}
	if e.flags == 0 {
		return nil
	}
	if size < bucketLen || size > bucketLen+w.pageSize {
		return w.corrupt(id, "the bucket at byte %d has %d bytes", e.key, size)
	}
	b, err := w.bytes(off+e.value, size, &w.page)
	if err != nil {
		return err
	}
	if root := native.Uint64(b); root != 0 {
		if size != bucketLen {
			return w.corrupt(id, "the bucket at byte %d has %d bytes, %d expected", e.key, size, bucketLen)
		}
		return w.lead(root, id, visit{keys: noKeys, depth: v.depth + 1, root: true})
	}
	if err := inline(b[bucketLen:]); err != nil {
		return w.corrupt(id, "the bucket at byte %d: %w", e.key, err)
	}
	return nil
}

// inline checks the page of a bucket that lies in its parent's leaf.
func inline(b []byte) error {
	if len(b) < headerLen {
		return fmt.Errorf("a page of %d bytes", len(b))
	}
	h, room := parseHeader(b), int64(len(b))
	end := int64(headerLen) + int64(h.count)*elementLen
	if h.kind != kindLeaf || h.overflow != 0 || end > room {
		return fmt.Errorf("kind %#x where a leaf, kind %#x, is expected, with %d entries and %d pages more in %d bytes", h.kind, kindLeaf, h.count, h.overflow, room)
	}
	var last []byte
	for i := range int(h.count) {
		e := parseElement(b[headerLen+i*elementLen:], i, false)
		if err := e.follows(end, room); err != nil {
			return fmt.Errorf("entry %d: %w", i, err)
		}
		key := b[e.key:e.value]
		if e.flags != 0 || bytes.Compare(last, key) >= 0 {
			return fmt.Errorf("entry %d: flags %#x, key %x after %x", i, e.flags, short(key), short(last))
		}
		last, end = key, e.end
	}
	if end != room {
		return fmt.Errorf("%d bytes, %d expected", room, end)
	}
	return nil
}

// bounds returns the least key that page v may have, and the one it must stay below; nil: none.
func (w *inspector) bounds(v visit) (least, most []byte) {
	if v.keys == noKeys {
		return nil, nil
	}
	least, rest := cutKey(w.keys[v.keys:])
	most, _ = cutKey(rest)
	return least, most
}

// appendKey enters a key among those that bound pages; nil bounds nothing.
func appendKey(keys, key []byte) []byte {
	n := uint16(len(key))
	if key == nil {
		n = math.MaxUint16
	}
	return append(native.AppendUint16(keys, n), key...)
}

func cutKey(keys []byte) (key, rest []byte) {
	if len(keys) < 2 || native.Uint16(keys) == math.MaxUint16 {
		return nil, keys
	}
	n := native.Uint16(keys)
	return keys[2 : 2+n : 2+n], keys[2+n:]
}

// short is as much of a key as a message has room for.
func short(key []byte) []byte { return key[:min(len(key), 32)] }
