package store

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

	"github.com/seed8107221f/outbox/store/internal/format"
)

// salvaging follows the path in the name of a file that is not complete.
const salvaging = ".salvaging-"

// A salvageWriter makes the fresh file. Its methods do nothing once err is set.
type salvageWriter struct {
	tmp   string
	db    *bolt.DB
	now   time.Time
	lanes map[string]*salvagedLane
	trust func(lane, bucket string, k []byte) trust // what save makes of a record; nil: all is as the newest commit says

	seed   maphash.Seed
	there  map[uint64]struct{}  // hashes of ID and Seq
	newest map[uuid.UUID]uint64 // the highest Seq of an ID

	batch []salvagedRecord
	size  int              // bytes in batch
	late  []salvagedRecord // for the end of the dead

	saved, suspicious, lost int
	err                     error
}

// trust is how certain it is that a record is what the newest commit left there.
type trust int

const (
	none trust = iota // it was delivered, or dropped
	some              // it was delivered, or is missing
	full
)

type salvagedLane struct {
	sequence uint64        // as far as it is known, and the highest Seq
	limit    uint64        // what the damaged file says; 0: nothing
	ledger   format.Ledger // of the fresh file
	old      format.Ledger // of the damaged one; see known
	known    bool
	found    uint64 // saved or buried
	lost     uint64 // of which nothing is left
	meta     map[string][]byte
	notes    map[string][]byte
	seqs     map[uint64]bool
	heads    map[uint64]bool // hashes of keys in later
}

type salvagedRecord struct {
	lane, bucket string
	key, value   []byte
}

func newSalvageWriter(into string, mode os.FileMode) (w *salvageWriter, err error) {
	removeLeftovers(into+salvaging, time.Hour)
	w = &salvageWriter{
		tmp: into + salvaging + rand.Text(), now: time.Now(), lanes: make(map[string]*salvagedLane),
		seed: maphash.MakeSeed(), there: make(map[uint64]struct{}), newest: make(map[uuid.UUID]uint64),
	}
	if err := makeFile(w.tmp, []byte(defaultLane), mode); err != nil {
		w.discard()
		return nil, err
	}
	if w.db, err = bolt.Open(w.tmp, 0, &bolt.Options{Timeout: time.Second, FreelistType: bolt.FreelistMapType, NoSync: true, NoFreelistSync: true, NoStatistics: true}); err != nil {
		w.discard()
		return nil, err
	}
	return w, nil
}

// discard removes the file, unless it has got its name.
func (w *salvageWriter) discard() {
	if w.db != nil {
		_ = w.db.Close()
	}
	_ = os.Remove(w.tmp)
}

// lane returns a lane of the damaged file. An orphan's, "", is the only one, or the one that is always
// there, or the first.
func (w *salvageWriter) lane(name string) (string, *salvagedLane) {
	if name == "" {
		name = defaultLane
		if names := slices.Sorted(maps.Keys(w.lanes)); len(names) > 0 && w.lanes[name] == nil {
			name = names[0]
		}
	}
	l := w.lanes[name]
	if l == nil {
		l = &salvagedLane{meta: make(map[string][]byte), notes: make(map[string][]byte), seqs: make(map[uint64]bool), heads: make(map[uint64]bool)}
		w.lanes[name] = l
	}
	return name, l
}

// sequence notes the highest Seq that a lane has assigned.
func (w *salvageWriter) sequence(name string, seq uint64) {
	_, l := w.lane(name)
	if l.limit == 0 && seq < math.MaxUint64/2 {
		l.limit, l.sequence = seq, max(l.sequence, seq)
	}
}

// keepEntry keeps an entry of meta or notes; the first of a key wins. It reports whether the checksum
// of the entry holds, if it has one.
func (w *salvageWriter) keepEntry(lane, bucket string, k, v []byte) (holds bool) {
	_, l := w.lane(lane)
	kept := l.meta
	switch {
	case bucket == string(format.BucketNotes):
		if kept = l.notes; len(k) > maxNoteKey || len(v) > maxNote {
			return true
		}
	case bytes.Equal(k, format.MetaFormat):
		// A number that large was no flipped bit, or that of a build long after this one.
		if n := len(v); n == 4 && binary.BigEndian.Uint32(v) > format.FormatSealed && binary.BigEndian.Uint32(v) < 64 {
			w.fail(fmt.Errorf("%w: lane %q has format %d, this build knows up to %d", ErrFormat, lane, binary.BigEndian.Uint32(v), format.FormatSealed))
		}
		return true
	case bytes.Equal(k, format.MetaName): // createLane writes it
		return format.CutSum(v) != nil
	case bytes.Equal(k, format.MetaLedger):
		l.known = l.known || l.old.Decode(v) == nil
		return l.known
	case bytes.Equal(k, format.MetaSecret), bytes.HasPrefix(k, format.MetaKey):
		if format.CutSum(v) == nil { // all that has a checksum has it at its end
			return false
		}
	}
	if _, ok := kept[string(k)]; !ok {
		kept[string(k)] = bytes.Clone(v)
	}
	return true
}

func (w *salvageWriter) fail(err error) { w.err = cmp.Or(w.err, err) }

func (w *salvageWriter) hash(seq uint64, id uuid.UUID) uint64 {
	return maphash.Bytes(w.seed, append(format.ReadyKey(seq), id[:]...))
}

// has reports whether an item was saved, as it is here or as it became later: Revive and a time that
// comes give it a higher Seq.
func (w *salvageWriter) has(k, v []byte) bool {
	seq, id := format.Key(k).Seq(), format.Record(v).ID()
	if _, ok := w.there[w.hash(seq, id)]; ok {
		return true
	}
	return w.newest[id] > seq && placeOf(k, v) != "ready"
}

// save puts a record into a bucket as it is.
func (w *salvageWriter) save(lane, bucket string, k, v []byte) {
	if w.err != nil || w.has(k, v) {
		return
	}
	if w.trust != nil {
		switch w.trust(lane, bucket, k) {
		case none:
			return
		case some:
			w.suspect(lane, k, v)
			return
		}
	}
	name, l := w.lane(lane)
	seq := format.Key(k).Seq()
	if seq == 0 || l.seqs[seq] || len(k) == 24 && format.Key(k).Hash() != 0 && l.heads[format.Key(k).Hash()] || bucketOf(k) != bucket && (bucket != "dead" || len(k) != 8) {
		w.suspect(lane, k, v) // no two can be what the file says
		return
	}
	if len(k) == 24 {
		l.heads[format.Key(k).Hash()] = true
	}
	w.note(l, seq, format.Record(v).ID())
	w.put(name, l, bucket, k, v)
	w.saved++
	l.found++
}

func (w *salvageWriter) note(l *salvagedLane, seq uint64, id uuid.UUID) {
	w.there[w.hash(seq, id)] = struct{}{}
	w.newest[id] = max(w.newest[id], seq)
	l.seqs[seq] = true
	l.sequence = max(l.sequence, seq)
}

const suspicion = "store: salvaged from a page that was no longer in use, or may not have been: it may have been delivered, or be an older copy of another item, or of another lane"

// suspect puts a record among the dead, under its own Seq if that is not taken.
func (w *salvageWriter) suspect(lane string, k, v []byte) {
	if w.err != nil {
		return
	}
	if format.Record(v).IsSealed() && lane == "" && len(w.lanes) > 1 {
		w.bury(hole{}, k, v) // it can be opened in its own lane alone
		return
	}
	name, l := w.lane(lane)
	seq := format.Key(k).Seq()
	rec := bytes.Clone(v)
	if v[1]&(format.FlagCodec|format.FlagDamaged) == 0 {
		if n, err := format.Record(v).Amend(int(binary.BigEndian.Uint32(v[format.OffAttempts:])), format.Record(v).Failures(), w.now, suspicion); err == nil {
			n[1] &^= format.FlagSending
			rec = n
		}
	}
	w.toDead(name, l, seq, rec)
	w.suspicious++
}

// bury puts a record that does not decode among the dead.
func (w *salvageWriter) bury(from hole, k, v []byte) {
	if w.err != nil || w.trust != nil {
		return
	}
	name, l := w.lane(from.lane)
	seq := uint64(0)
	if bucketOf(k) != "" && from.bounds(k) {
		seq = format.Key(k).Seq()
	}
	w.toDead(name, l, seq, format.Quarantine(v, w.now, cmp.Or(format.Record(v).Verify(k), errors.New("its place is not known"))))
	w.lost++
	l.found++
}

// lose counts a record of which nothing is left.
func (w *salvageWriter) lose(lane string) {
	if w.trust == nil {
		_, l := w.lane(lane)
		l.lost++
	}
}

// toDead puts a record among the dead. One without a Seq, or with one that is taken, or that no item
// can have, is put last.
func (w *salvageWriter) toDead(name string, l *salvagedLane, seq uint64, rec []byte) {
	if seq == 0 || l.seqs[seq] || l.limit != 0 && seq > l.limit+maxGroup || seq > math.MaxUint64/2 {
		w.late = append(w.late, salvagedRecord{lane: name, value: rec})
		return
	}
	w.note(l, seq, format.Record(rec).ID())
	w.putDead(name, l, seq, rec)
}

func (w *salvageWriter) putDead(name string, l *salvagedLane, seq uint64, rec []byte) {
	format.Record(rec).SetSum(format.Record(rec).BodySum(), format.ReadyKey(seq))
	w.put(name, l, string(format.BucketDead), format.ReadyKey(seq), rec)
}

func (l *salvagedLane) sealed() bool { return l.meta[string(format.MetaSecret)] != nil }

// put enters a record into the next batch.
func (w *salvageWriter) put(name string, l *salvagedLane, bucket string, k, v []byte) {
	size := uint64(format.Record(v).PayloadLen())
	switch bucket {
	case string(format.BucketReady):
		l.ledger.Ready++
	case string(format.BucketTimed):
		l.ledger.Timed++
	case string(format.BucketLater):
		l.ledger.Later++
	case string(format.BucketDead):
		l.ledger.Dead++
	}
	if bucket == string(format.BucketDead) {
		l.ledger.DeadBytes += size
	} else {
		l.ledger.Bytes += size
	}
	w.batch = append(w.batch, salvagedRecord{name, bucket, bytes.Clone(k), bytes.Clone(v)})
	if w.size += len(v); w.size >= maxCut || len(w.batch) >= maxGroup {
		w.flush()
	}
}

// flush writes the batch.
func (w *salvageWriter) flush() {
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

// finish writes what is left, the ledgers, and all of it to disk.
func (w *salvageWriter) finish() error {
	for _, r := range w.late {
		_, l := w.lane(r.lane)
		l.sequence++
		w.putDead(r.lane, l, l.sequence, r.value)
	}
	w.flush()
	w.lane(defaultLane)
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
	return errors.Join(err, syncFile(w.tmp))
}

// write makes a lane account for what was put into it.
func (l *salvagedLane) write(tx *bolt.Tx, name []byte) error {
	if err := format.Create(tx, name); err != nil {
		return err
	}
	root := tx.Bucket(name)
	meta := root.Bucket(format.BucketMeta)
	if l.sealed() {
		if err := (&format.Lane{Meta: meta}).SetFormat(format.FormatSealed); err != nil {
			return err
		}
	}
	for k, v := range l.meta {
		if err := meta.Put([]byte(k), v); err != nil {
			return err
		}
	}
	if len(l.notes) > 0 {
		notes, err := root.CreateBucketIfNotExists(format.BucketNotes)
		if err != nil {
			return err
		}
		for k, v := range l.notes {
			if err := notes.Put([]byte(k), v); err != nil {
				return err
			}
		}
	}
	n := &l.ledger
	n.Delivered, n.Expired, n.Dropped = l.old.Delivered, l.old.Expired, l.old.Dropped
	n.Put = n.Pending() + n.Dead + n.Delivered + n.Expired + n.Dropped
	l.sequence = max(l.sequence, n.Put) // each had a Seq of its own
	return errors.Join(root.SetSequence(l.sequence), meta.Put(format.MetaLedger, n.Encode()))
}
