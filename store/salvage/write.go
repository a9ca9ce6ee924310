package salvage

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"maps"
	"math"
	"os"
	"slices"
	"time"

	"github.com/google/uuid"
	bolt "go.etcd.io/bbolt"

	"github.com/seed8107221f/outbox/sender"

	"github.com/seed8107221f/outbox/store/internal/boltfile"
	"github.com/seed8107221f/outbox/store/internal/format"
	"github.com/seed8107221f/outbox/store/internal/pages"
)

// salvaging follows the path in the name of a copy that is not complete.
const salvaging = ".salvaging-"

// A writer makes the fresh file under the name tmp, which File renames at the end. One goroutine
// uses it.
//
//   - No item is written twice to a lane: the first copy wins. Lane and Seq tell an item, not its
//     ID alone, which may be repeated.
//   - No two records of a lane have one Seq, and no two records in later have one key of items.
//   - The ledger of a lane counts what was written to it.
//   - Once err is set, nothing more is written, and finish returns err.
type writer struct {
	tmp   string
	db    *bolt.DB // nil: closed
	now   time.Time
	lanes map[string]*laneCopy
	// trust says what save does with a record; nil: the source is the newest commit, so all is
	// trusted.
	trust func(lane, bucket string, k format.Key) trust

	seed maphash.Seed

	batch []placed // for the next transaction
	size  int      // bytes of the records in batch
	late  []placed // for dead, after all others: under its key if that is free, else under a new Seq

	saved, suspicious, lost int  // for the Report
	complete                bool // all lanes of the damaged file are known
	lostUnknown             bool // what the newest commit held is not known
	err                     error
}

// trust is how certain it is that a record is what the newest commit left there.
type trust int

const (
	none trust = iota // the item was delivered or dropped since: leave the record out
	some              // the item was delivered since, or is missing: the record is suspicious
	full              // the item is missing: save the record
)

// A laneCopy is what is known of one lane of the fresh file.
type laneCopy struct {
	sequence uint64               // highest Seq that is known to be assigned
	limit    uint64               // sequence of the lane in the damaged file; 0: not known
	ledger   format.Ledger        // of the fresh file
	old      format.Ledger        // of the damaged file, if known
	format   uint32               // version as it was read; 0: it was not
	newer    bool                 // a record is intact and of a version that this build does not know
	known    bool                 // old could be read
	exact    bool                 // old is of the newest commit
	found    uint64               // records that were saved or quarantined
	lost     uint64               // records of which nothing is left
	meta     map[string][]byte    // entries of meta to be written
	notes    map[string][]byte    // entries of notes to be written
	there    map[uint64]uint64    // the items that were written: hash of ID and Seq, and body
	newest   map[uuid.UUID]uint64 // highest Seq that was written of an ID
	seqs     map[uint64]bool      // Seqs that are taken
	plain    uint64               // highest Seq of a record that was written and is not sealed
	heads    map[uint64]bool      // hashes of the item keys that are taken in later
}

// A placed record has its bucket and key in the fresh file.
type placed struct {
	lane, bucket string
	key          format.Key
	value        format.Record
}

// newWriter makes an empty outbox beside into, with permission bits mode.
func newWriter(into string, mode os.FileMode) (w *writer, err error) {
	boltfile.RemoveLeftovers(into+salvaging, time.Hour)
	w = &writer{
		tmp: into + salvaging + rand.Text(), now: time.Now(), lanes: make(map[string]*laneCopy),
		seed: maphash.MakeSeed(),
	}
	if err := boltfile.Make(w.tmp, mode, func(tx *bolt.Tx) error { return format.Create(tx, []byte(format.DefaultLane)) }); err != nil {
		w.discard()
		return nil, err
	}
	if w.db, err = bolt.Open(w.tmp, 0, &bolt.Options{Timeout: time.Second, FreelistType: bolt.FreelistMapType, NoSync: true, NoFreelistSync: true, NoStatistics: true}); err != nil {
		w.discard()
		return nil, err
	}
	return w, nil
}

// discard closes and removes the file. If it was renamed to its final name, that stays.
func (w *writer) discard() {
	if w.db != nil {
		_ = w.db.Close()
	}
	_ = os.Remove(w.tmp)
}

// lane returns the lane with a name, and its name. "" is the lane of a record whose lane is not
// known: the default lane, or the first by name if it is known that the file has no default lane.
func (w *writer) lane(name string) (string, *laneCopy) {
	if name == "" {
		name = format.DefaultLane
		if names := slices.Sorted(maps.Keys(w.lanes)); len(names) > 0 && w.lanes[name] == nil && w.complete {
			name = names[0]
		}
	}
	l := w.lanes[name]
	if l == nil {
		l = &laneCopy{
			meta: make(map[string][]byte), notes: make(map[string][]byte),
			there: make(map[uint64]uint64), newest: make(map[uuid.UUID]uint64), seqs: make(map[uint64]bool), heads: make(map[uint64]bool),
		}
		w.lanes[name] = l
	}
	return name, l
}

// sequence notes the sequence of a lane in the damaged file. The first one counts; absurd ones do
// not.
func (w *writer) sequence(name string, seq uint64) {
	_, l := w.lane(name)
	if l.limit == 0 && seq < math.MaxUint64/2 {
		l.limit, l.sequence = seq, max(l.sequence, seq)
	}
}

// keepEntry keeps an entry of meta or notes; the first entry of a key wins. It returns false if the
// entry has a checksum and that is wrong. A damaged pause of the operator becomes one without an
// end: the lane must not send what its operator may have stopped.
func (w *writer) keepEntry(lane, bucket string, k, v []byte) bool {
	_, l := w.lane(lane)
	kept := l.meta
	switch {
	case bucket == notes:
		if kept = l.notes; len(k) > format.MaxNoteKey || len(v) > format.MaxNote {
			return true
		}
	case bytes.Equal(k, format.MetaFormat):
		if len(v) == 4 && w.trust == nil {
			l.format = binary.BigEndian.Uint32(v)
		}
		return len(v) == 4 && format.KnownVersion(binary.BigEndian.Uint32(v))
	case bytes.Equal(k, format.MetaName): // format.Create writes it
		return format.CutSum(v) != nil
	case bytes.Equal(k, format.MetaLedger):
		if !l.known && l.old.Decode(v) == nil {
			l.known, l.exact = true, w.trust == nil
		}
		return l.known
	case bytes.Equal(k, format.MetaOperator):
		if _, err := format.DecodePause(v); err != nil {
			w.keepEntry(lane, bucket, k, format.EncodePause(sender.Pause{Since: w.now, By: "salvage", Reason: damagedPause}))
			return false
		}
	case bytes.Equal(k, format.MetaSecret), bytes.HasPrefix(k, format.MetaKey):
		if format.CutSum(v) == nil {
			return false
		}
	}
	if _, ok := kept[string(k)]; !ok {
		kept[string(k)] = bytes.Clone(v)
	}
	return true
}

// damagedPause is the reason of a pause that takes the place of a damaged one.
const damagedPause = "the pause of the operator was damaged, and may have been in force"

// fail sets err, unless it is set.
func (w *writer) fail(err error) { w.err = cmp.Or(w.err, err) }

// hash returns the hash of an item as it was put under a Seq.
func (w *writer) hash(seq uint64, id uuid.UUID) uint64 {
	return maphash.Bytes(w.seed, append(format.ReadyKey(seq), id[:]...))
}

// body returns the hash of the payload of a record; 0: it is sealed, with other bytes each time.
// Copies of one item have the same body, and one event in two lanes may not.
func (w *writer) body(v format.Record) uint64 {
	if v.IsSealed() {
		return 0
	}
	return maphash.Bytes(w.seed, v.Payload())
}

// has reports whether an item was written to a lane under the Seq of this key. A lane of "" means
// any, if its body is the same.
func (w *writer) has(lane string, k format.Key, v format.Record) bool {
	h := w.hash(k.Seq(), v.ID())
	if lane != "" {
		l := w.lanes[lane]
		if l == nil {
			return false
		}
		_, ok := l.there[h]
		return ok
	}
	for _, l := range w.lanes {
		if body, ok := l.there[h]; ok && body == w.body(v) {
			return true
		}
	}
	return false
}

// save writes a record to a bucket as it is, unless the item was written before. A record that
// cannot be true beside those that were written is suspicious.
func (w *writer) save(lane, bucket string, k format.Key, v format.Record) {
	name, l := w.lane(lane)
	seq := k.Seq()
	if w.err != nil || w.has(name, k, v) {
		return
	}
	if w.trust != nil {
		switch t := w.trust(lane, bucket, k); {
		case t == none:
			return
		// An item gets a higher Seq when it is revived, or when its time has come. Then this is its
		// state of before; or another item has the same ID.
		case t == some, l.newest[v.ID()] > seq && placeOf(k, v) != ready:
			w.suspect(lane, k, v)
			return
		}
	}
	head := len(k) == 24 && k.Hash() != 0
	wrongBucket := bucketOf(k) != bucket && (bucket != dead || len(k) != 8)
	if seq == 0 || l.seqs[seq] || head && l.heads[k.Hash()] || wrongBucket {
		w.suspect(lane, k, v)
		return
	}
	if head {
		l.heads[k.Hash()] = true
	}
	w.note(l, seq, v)
	w.put(name, l, bucket, k, v)
	w.saved++
	l.found++
}

// note remembers that an item was written under a Seq.
func (w *writer) note(l *laneCopy, seq uint64, v format.Record) {
	id := v.ID()
	l.there[w.hash(seq, id)] = w.body(v)
	l.newest[id] = max(l.newest[id], seq)
	l.seqs[seq] = true
	l.sequence = max(l.sequence, seq)
	if !v.IsSealed() && !v.IsDamaged() {
		l.plain = max(l.plain, seq)
	}
}

// suspicion is the reason in the log of a suspicious item.
const suspicion = "salvaged from a page that was no longer in use, or may not have been: it may have been delivered, or be an older copy of another item, or of another lane"

// suspect writes a record to dead, with the reason, under its own Seq if that is free.
func (w *writer) suspect(lane string, k format.Key, v format.Record) {
	if w.err != nil {
		return
	}
	name, l := w.lane(lane)
	if lane == "" && (v.IsSealed() && len(w.lanes) > 1 || !l.takes(k.Seq(), v)) {
		w.quarantine(hole{}, k, v) // only its own lane can hold it, and that is not known
		return
	}
	rec := slices.Clone(v)
	if v[1]&(format.FlagCodec|format.FlagDamaged) == 0 {
		if n, err := v.Amend(v.Attempts(), v.Failures(), w.now, suspicion); err == nil {
			n[1] &^= format.FlagSending
			rec = n
		}
	}
	w.toDead(name, l, k.Seq(), rec)
	w.suspicious++
}

// quarantine writes a record that does not decode to dead, wrapped in one that does. from says
// where it was found. It comes last: the damage may be in its key, and it must not take the place
// of a sound item. It does so only for the tree of the newest commit.
func (w *writer) quarantine(from hole, k format.Key, v format.Record) {
	if w.err != nil || w.trust != nil {
		return
	}
	name, l := w.lane(from.lane)
	l.newer = l.newer || v.Intact(k) && v.ClaimedLen() == 0
	seq := uint64(0)
	if bucketOf(k) != "" && from.bounds(k) {
		seq = k.Seq()
	}
	w.late = append(w.late, placed{lane: name, key: format.ReadyKey(seq), value: format.Quarantine(v, w.now, cmp.Or(v.Verify(k), errors.New("its place is not known")))})
	w.lost++
	l.found++
}

// lose counts a record of which nothing is left. It does so only for the tree of the newest commit.
func (w *writer) lose(lane string) {
	if w.trust == nil {
		_, l := w.lane(lane)
		l.lost++
	}
}

// toDead writes a record to dead under its Seq. If that is 0, taken, or higher than an item can
// have, the record gets a new Seq at the end.
func (w *writer) toDead(name string, l *laneCopy, seq uint64, rec format.Record) {
	if !l.placeable(seq) {
		l.there[w.hash(seq, rec.ID())] = w.body(rec)
		w.late = append(w.late, placed{lane: name, value: rec})
		return
	}
	w.note(l, seq, rec)
	w.putDead(name, l, seq, rec)
}

// placeable reports whether a dead record can have a Seq: it is not taken, and an item can have it.
func (l *laneCopy) placeable(seq uint64) bool {
	return seq != 0 && !l.seqs[seq] && (l.limit == 0 || seq <= l.limit+maxBatch) && seq <= math.MaxUint64/2
}

// putDead writes a record to dead under a Seq, and sets its checksum.
func (w *writer) putDead(name string, l *laneCopy, seq uint64, rec format.Record) {
	k := format.ReadyKey(seq)
	rec.SetSum(rec.BodySum(), k)
	w.put(name, l, dead, k, rec)
}

// takes reports whether the lane could hold a record under a Seq, as far as is known: a lane with a
// secret has plain records only from before it had one, and one without has no sealed records. The
// secret says which Seq was the last one before, but only a Sealer can read that. What the lane
// itself has tells enough.
func (l *laneCopy) takes(seq uint64, v format.Record) bool {
	switch {
	case v.IsDamaged():
		return true
	case v.IsSealed():
		return l.sealed() || l.format == format.FormatSealed || !l.known
	}
	return !l.sealed() || seq <= l.plain
}

// assigned reports whether the lane may have given a Seq to an item. Its sequence and its ledger
// both say how far it came, and one of them may be damaged.
func (l *laneCopy) assigned(seq uint64) bool {
	return l.limit == 0 || !l.exact || seq <= max(l.limit, l.old.Put)
}

// sealed reports whether the lane has a secret.
func (l *laneCopy) sealed() bool { return l.meta[string(format.MetaSecret)] != nil }

// put adds a copy of a record to the batch, counts it, and writes the batch if it is large.
func (w *writer) put(name string, l *laneCopy, bucket string, k format.Key, v format.Record) {
	size := uint64(v.PayloadLen())
	switch bucket {
	case ready:
		l.ledger.Ready++
	case timed:
		l.ledger.Timed++
	case later:
		l.ledger.Later++
	case dead:
		l.ledger.Dead++
	}
	if bucket == dead {
		l.ledger.DeadBytes += size
	} else {
		l.ledger.Bytes += size
	}
	w.batch = append(w.batch, placed{lane: name, bucket: bucket, key: slices.Clone(k), value: slices.Clone(v)})
	if w.size += len(v); w.size >= maxBatchBytes || len(w.batch) >= maxBatch {
		w.flush()
	}
}

// flush writes the batch in one transaction, which is not synced.
func (w *writer) flush() {
	w.fail(w.db.Update(func(tx *bolt.Tx) error {
		for _, r := range w.batch {
			if err := format.Create(tx, []byte(r.lane)); err != nil {
				return err
			}
			b := tx.Bucket([]byte(r.lane)).Bucket([]byte(r.bucket))
			b.FillPercent = 0.9
			if err := b.Put(r.key, r.value); err != nil {
				return err
			}
		}
		return nil
	}))
	clear(w.batch)
	w.batch, w.size = w.batch[:0], 0
}

// checkVersions fails when a lane was written by a newer build.
func (w *writer) checkVersions() {
	for name, l := range w.lanes {
		if l.format != 0 && !format.KnownVersion(l.format) && !format.DamagedVersion(l.format, len(l.seqs) > 0 && !l.newer) {
			w.fail(fmt.Errorf("%w: lane %q has format %d, this build knows up to %d", pages.ErrFormat, name, l.format, format.FormatSealed))
		}
	}
}

// finish writes the rest and the ledgers, closes the file and syncs it.
func (w *writer) finish() error {
	for _, r := range w.late {
		_, l := w.lane(r.lane)
		seq := r.key.Seq() // 0: any
		if !l.placeable(seq) {
			l.sequence++
			seq = l.sequence
			if l.sealed() && !l.takes(seq, r.value) { // it was from before the lane was sealed
				r.value = format.Quarantine(r.value, w.now, errors.New("another record has its place"))
			}
		}
		w.note(l, seq, r.value)
		w.putDead(r.lane, l, seq, r.value)
	}
	w.flush()
	for _, l := range w.lanes {
		w.lostUnknown = w.lostUnknown || !l.exact
	}
	w.lane(format.DefaultLane)
	for name, l := range w.lanes {
		if w.err == nil {
			w.fail(w.db.Update(func(tx *bolt.Tx) error { return l.write(tx, []byte(name)) }))
		}
		lost := l.lost
		if o := &l.old; l.known {
			lost = max(lost, o.Pending()+o.Dead-min(o.Pending()+o.Dead, l.found))
		}
		w.lost += int(lost)
	}
	err := errors.Join(w.err, w.db.Sync(), w.db.Close())
	w.db = nil
	return errors.Join(err, boltfile.SyncFile(w.tmp))
}

// write writes format version, meta, notes, ledger and sequence of the lane.
func (l *laneCopy) write(tx *bolt.Tx, name []byte) error {
	if err := format.Create(tx, name); err != nil {
		return err
	}
	root := tx.Bucket(name)
	metaBucket := root.Bucket(format.BucketMeta)
	if l.sealed() {
		if err := (&format.Lane{Meta: metaBucket}).SetFormat(format.FormatSealed); err != nil {
			return err
		}
	}
	for k, v := range l.meta {
		if err := metaBucket.Put([]byte(k), v); err != nil {
			return err
		}
	}
	if len(l.notes) > 0 {
		notesBucket, err := root.CreateBucketIfNotExists(format.BucketNotes)
		if err != nil {
			return err
		}
		for k, v := range l.notes {
			if err := notesBucket.Put([]byte(k), v); err != nil {
				return err
			}
		}
	}
	n := &l.ledger
	n.Delivered, n.Expired, n.Dropped = l.old.Delivered, l.old.Expired, l.old.Dropped
	n.Put = n.Pending() + n.Dead + n.Delivered + n.Expired + n.Dropped
	l.sequence = max(l.sequence, n.Put) // each item had a Seq of its own
	return errors.Join(root.SetSequence(l.sequence), metaBucket.Put(format.MetaLedger, n.Encode()))
}
