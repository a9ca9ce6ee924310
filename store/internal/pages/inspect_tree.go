package pages

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"slices"
)

// trees reads the trees of all buckets together, level by level.
func (w *inspector) trees() error {
	if err := w.enqueue(w.meta.Root, 0, visit{keys: noKeys, root: true}); err != nil {
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
			w.prefetch(w.level[i:])
			if err := w.visit(v); err != nil {
				return err
			}
		}
	}
	return nil
}

// enqueue takes page id, to which from refers, and adds it to the next level.
func (w *inspector) enqueue(id, from uint64, v visit) error {
	if err := w.take(id, 0, from); err != nil {
		return err
	}
	v.id = uint32(id)
	w.below = append(w.below, v)
	return nil
}

// prefetch reads the first page of next, and with it those that lie close behind it.
func (w *inspector) prefetch(next []visit) {
	const gap = 64 << 10 // bytes: to read them is faster than a second read
	off := int64(next[0].id) * w.PageSize
	end := off + w.PageSize
	if off >= w.at && end <= w.at+int64(len(w.ahead)) {
		return
	}
	for _, v := range next[1:] {
		from := int64(v.id) * w.PageSize
		if from > end+gap || from+w.PageSize > off+maxAhead {
			break
		}
		end = from + w.PageSize
	}
	w.ReadAhead(off, end-off)
}

// visit reads one page of a tree, and adds its children to the next level.
func (w *inspector) visit(v visit) error {
	id := uint64(v.id)
	b, err := w.Bytes(int64(id)*w.PageSize, HeaderLen, &w.page)
	if err != nil {
		return err
	}
	h := ParseHeader(b)
	if h.ID != id || h.Kind != KindBranch && h.Kind != KindLeaf {
		return w.corrupt(id, "number %d and kind %#x where a branch or a leaf, kind %#x or %#x, is expected", h.ID, h.Kind, KindBranch, KindLeaf)
	}
	if h.Overflow > 0 {
		if err := w.take(id+1, uint64(h.Overflow)-1, id); err != nil {
			return err
		}
	}
	if h.Count == 0 && (h.Kind == KindBranch || v.depth > 0 || !v.root) {
		return w.corrupt(id, "it has no entries")
	}
	return w.entries(v, h, int64(id)*w.PageSize, (int64(h.Overflow)+1)*w.PageSize)
}

// entries checks the elements of a page. The page begins at off and has room bytes, overflow pages
// included.
func (w *inspector) entries(v visit, h Header, off, room int64) error {
	id, branch := uint64(v.id), h.Kind == KindBranch
	end := int64(HeaderLen) + int64(h.Count)*ElementLen
	if end > room {
		return w.corrupt(id, "%d entries in %d bytes", h.Count, room)
	}
	table, err := w.Bytes(off, end, &w.table)
	if err != nil {
		return err
	}
	least, most := w.bounds(v)
	follow := 0
	if branch {
		if follow, err = w.childrenToRead(v, h, table); err != nil {
			return err
		}
	}
	last := least
	for i := range int(h.Count) {
		e := ParseElement(table[HeaderLen+i*ElementLen:], i, branch)
		if !e.Follows(end, room) {
			return w.corrupt(id, "entry %d: %w", i, e.misplaced(end, room))
		}
		end = e.End
		key, err := w.Bytes(off+e.Key, e.Value-e.Key, &w.key)
		if err != nil {
			return err
		}
		if c := bytes.Compare(last, key); c > 0 || c == 0 && i > 0 {
			return w.corrupt(id, "entry %d: key %x where one above %x is expected", i, Short(key), Short(last))
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
		return w.corrupt(id, "its last key %x is not below %x, with which the next page begins", Short(last), Short(most))
	}
	if branch {
		w.after = appendKey(w.after, most)
	}
	// Older versions of bbolt gave one more page to a page that was exactly full.
	if n := room / w.PageSize; n != (end+w.PageSize-1)/w.PageSize && n != end/w.PageSize+1 {
		return w.corrupt(id, "%d bytes on %d pages, %d expected", end, n, (end+w.PageSize-1)/w.PageSize)
	}
	return nil
}

// Follows reports whether the key of the element begins at offset end, where the previous one
// ended, is not empty, and key and value fit on the page, which has room bytes. Salvage asks this
// of whole files of garbage.
func (e *Element) Follows(end, room int64) bool {
	return e.Key == end && e.Value != e.Key && e.Value-e.Key <= maxBoltKey && e.End <= room
}

// misplaced is the error of an element that does not follow.
func (e *Element) misplaced(end, room int64) error {
	return fmt.Errorf("key at byte %d to %d and value up to %d, where byte %d of %d is next", e.Key, e.Value, e.End, end, room)
}

// childrenToRead returns how many children of a branch are to be read: all, or the first one if
// they are leaves and not the whole file is read. table is the header and the elements of the
// branch.
func (w *inspector) childrenToRead(v visit, h Header, table []byte) (int, error) {
	if w.whole || v.depth < 2 {
		return int(h.Count), nil
	}
	id := Native.Uint64(table[HeaderLen+8:])
	if id < FirstPage || id >= w.meta.Pages {
		return 1, nil // child returns the error
	}
	b, err := w.Bytes(int64(id)*w.PageSize, HeaderLen, &w.page)
	if err != nil {
		return 0, err
	}
	if ParseHeader(b).Kind == KindLeaf {
		return 1, nil
	}
	return int(h.Count), nil
}

// child takes child i of a branch, which begins with key. It adds the child to the next level if it
// is one of the first follow children.
func (w *inspector) child(v visit, e Element, key []byte, i, follow int) error {
	keys := uint32(noKeys)
	if i <= follow && uint64(len(w.after)) < noKeys-4*maxBoltKey { // also the limit of the child before it
		keys = uint32(len(w.after))
		w.after = appendKey(w.after, key)
	}
	if i >= follow {
		return w.take(e.Child, 0, uint64(v.id))
	}
	return w.enqueue(e.Child, uint64(v.id), visit{keys: keys, depth: v.depth})
}

// leaf checks an element of a leaf page at off. If it is a bucket, its root is added to the next
// level.
func (w *inspector) leaf(v visit, e Element, off int64) error {
	id, size := uint64(v.id), e.End-e.Value
	if e.Flags&^FlagBucket != 0 || v.depth == 0 && e.Flags == 0 {
		return w.corrupt(id, "the entry at byte %d has the flags %#x", e.Key, e.Flags)
	}
	if e.Flags == 0 {
		return nil
	}
	if size < BucketLen || size > BucketLen+w.PageSize {
		return w.corrupt(id, "the bucket at byte %d has %d bytes", e.Key, size)
	}
	b, err := w.Bytes(off+e.Value, size, &w.page)
	if err != nil {
		return err
	}
	if root := Native.Uint64(b); root != 0 {
		if size != BucketLen {
			return w.corrupt(id, "the bucket at byte %d has %d bytes, %d expected", e.Key, size, BucketLen)
		}
		return w.enqueue(root, id, visit{keys: noKeys, depth: v.depth + 1, root: true})
	}
	if err := Inline(b[BucketLen:]); err != nil {
		return w.corrupt(id, "the bucket at byte %d: %w", e.Key, err)
	}
	return nil
}

// Inline checks the page of a bucket that is stored inside its parent's leaf. b is that page. The
// error does not wrap [ErrCorrupt].
func Inline(b []byte) error {
	if len(b) < HeaderLen {
		return fmt.Errorf("a page of %d bytes", len(b))
	}
	h, room := ParseHeader(b), int64(len(b))
	end := int64(HeaderLen) + int64(h.Count)*ElementLen
	if h.Kind != KindLeaf || h.Overflow != 0 || end > room {
		return fmt.Errorf("kind %#x where a leaf, kind %#x, is expected, with %d entries and %d pages more in %d bytes", h.Kind, KindLeaf, h.Count, h.Overflow, room)
	}
	var last []byte
	for i := range int(h.Count) {
		e := ParseElement(b[HeaderLen+i*ElementLen:], i, false)
		if !e.Follows(end, room) {
			return fmt.Errorf("entry %d: %w", i, e.misplaced(end, room))
		}
		key := b[e.Key:e.Value]
		if e.Flags != 0 || bytes.Compare(last, key) >= 0 {
			return fmt.Errorf("entry %d: flags %#x, key %x after %x", i, e.Flags, Short(key), Short(last))
		}
		last, end = key, e.End
	}
	if end != room {
		return fmt.Errorf("%d bytes, %d expected", room, end)
	}
	return nil
}

// bounds returns the least key that page v may hold, and the limit that its keys must stay below;
// nil: no bound.
func (w *inspector) bounds(v visit) (least, most []byte) {
	if v.keys == noKeys {
		return nil, nil
	}
	least, rest := cutKey(w.keys[v.keys:])
	most, _ = cutKey(rest)
	return least, most
}

// appendKey appends a key that bounds pages: its length in 2 bytes, and the key. nil is no bound.
func appendKey(keys, key []byte) []byte {
	n := uint16(len(key))
	if key == nil {
		n = math.MaxUint16
	}
	return append(Native.AppendUint16(keys, n), key...)
}

// cutKey cuts the first key off keys; nil: it is no bound.
func cutKey(keys []byte) (key, rest []byte) {
	if len(keys) < 2 || Native.Uint16(keys) == math.MaxUint16 {
		return nil, keys
	}
	n := Native.Uint16(keys)
	return keys[2 : 2+n : 2+n], keys[2+n:]
}

// Short returns as much of a key as an error has room for: 32 bytes.
func Short(key []byte) []byte { return key[:min(len(key), 32)] }
