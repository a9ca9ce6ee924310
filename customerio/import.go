package customerio

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"hash/maphash"
	"iter"
	"strings"
	"time"

	"github.com/seed8107221f/outbox"
)

// ImportOptions are the settings of [Client.Import]. nil and the zero value mean the defaults.
type ImportOptions struct {
	// Name identifies an import: an import with the same name continues where the last one was
	// interrupted. One that is complete has nothing left to put but rows that were added at the
	// end, so use each name once. "" means that the first row is the name, until the import is
	// complete and another one has put rows: then it starts from the beginning. At most 200 bytes.
	Name string
	// OnProgress is called with the progress, by the goroutine of Import. nil: no calls.
	OnProgress func(Progress)
	// Every is how often OnProgress is called. 0 means 1s.
	Every time.Duration
	// OnInvalid is called with each row that is not put, as a *RowError, by the goroutine of
	// Import. nil: only the error at the end names such rows.
	OnInvalid func(error)
	// NoWait makes Import return when all rows are put, instead of when all are delivered or
	// refused.
	NoWait bool
}

// Progress is how far an import is. It includes earlier runs.
type Progress struct {
	Rows      int           // read
	Put       int           // stored: they will be delivered, whatever happens
	Invalid   int           // not stored
	Delivered int           // accepted by the service
	Refused   int           // refused by the service: among the dead of LaneImport
	Rate      float64       // delivered and refused per second, since this run began
	Left      time.Duration // until all that is put is delivered, at this rate; 0: unknown
	Complete  bool          // the input has been read to its end
}

// ErrInputChanged: the first rows of the input are not the rows that an earlier run has put.
// Nothing was put. Give a different input its own Name.
var ErrInputChanged = errors.New("customerio: the input of the import has changed")

const (
	chunkRows   = 1000
	chunkBytes  = 8 << 20
	dupWindow   = 100_000 // within so many rows an id must not come twice
	importNotes = "customerio/import/"
	maxName     = 200
)

// Import puts people into LaneImport, in commits of up to 1,000, and returns when all are delivered
// or refused. It reads rows one by one, from [ReadCSV] or any other iterator, and keeps few of them
// in memory. It sends up to 50 requests a second (Options.ImportRate), within the limit of the
// Track API, and live requests go first. It does not promise whether a row or a live event of the
// same person arrives first. nil options mean the defaults.
//
// The progress is stored in the same commits. After a crash, or when ctx ends, the same call with
// the same input continues after the last row that was put, and puts no row twice. The earlier rows
// must be the same, otherwise the error is ErrInputChanged. Rows may be added at the end. An import
// without a Name that was complete before another import put its rows is a thing of the past: the
// same call then puts all rows again.
//
// An invalid row is left out: it has neither id nor email, [Client.Put] would refuse it, its id or
// email is not as [Row] says, the line is malformed, or its id came within the last 100,000 rows.
// The error at the end names the first
// ten such rows and wraps ErrInvalid. Any other error ends the import at that row; rows that were
// put are still delivered. One import of a client puts rows at a time; others wait.
func (c *Client) Import(ctx context.Context, rows iter.Seq2[Row, error], o *ImportOptions) (Progress, error) {
	im := &importer{c: c, lane: c.lanes[LaneImport], hash: sha256.New(), seen: newWindow(dupWindow)}
	if o != nil {
		im.o = *o
	}
	if im.o.Every <= 0 {
		im.o.Every = time.Second
	}
	switch {
	case c.o.TrackKey == "":
		return Progress{}, errNoTrack
	case len(im.o.Name) > maxName:
		return Progress{}, invalid("Name", "has %d bytes, at most %d", len(im.o.Name), maxName)
	}
	select {
	case c.importing <- struct{}{}:
		defer func() { <-c.importing }()
	case <-ctx.Done():
		return Progress{}, fmt.Errorf("customerio: import: another one is running: %w", context.Cause(ctx))
	}
	im.began, im.start = time.Now(), im.lane.Stats()
	im.told = im.began
	err := im.putAll(ctx, rows)
	if err == nil && !im.o.NoWait {
		err = im.wait(ctx)
	}
	im.tell(true)
	if err == nil {
		err = im.invalid()
	}
	return im.progress(), err
}

// importer is one call of Import.
type importer struct {
	c    *Client
	lane *lane
	o    ImportOptions // complete

	rows     int         // read, including rows of earlier runs
	hash     hash.Hash   // of these rows
	kept     importState // what earlier runs have put
	state    importState // what this run has put as well
	complete bool
	seen     *window
	events   []outbox.Event
	size     int // bytes of events
	bad      []error

	began time.Time
	start outbox.Stats // of the lane, when this run began
	told  time.Time    // when OnProgress was last called
}

// importState is what the file stores about an import.
type importState struct {
	Rows    int    `json:"rows"`
	Put     int    `json:"put"`
	Invalid int    `json:"invalid"`
	Hash    string `json:"hash"`          // of the rows
	Before  uint64 `json:"before"`        // items put into the lane before this import
	Refused uint64 `json:"refused"`       // how many of those were dead or dropped
	End     uint64 `json:"end,omitempty"` // items put into the lane when the input had been read to its end; 0: not yet
}

// past reports whether this import was complete before the latest one began.
func (s *importState) past(lane outbox.Stats) bool { return s.End > 0 && lane.Put > s.End }

func (im *importer) putAll(ctx context.Context, rows iter.Seq2[Row, error]) error {
	for row, err := range rows {
		if ctx.Err() != nil {
			return fmt.Errorf("customerio: import: after %d rows: %w", im.rows, context.Cause(ctx))
		}
		var bad *RowError
		if err != nil && !errors.As(err, &bad) {
			return err
		}
		if err := im.take(row, bad); err != nil {
			return err
		}
		if len(im.events) >= chunkRows || im.size >= chunkBytes {
			if err := im.commit(ctx); err != nil {
				return err
			}
		}
	}
	if im.rows < im.kept.Rows {
		return fmt.Errorf("%w: it has %d rows, %d were put before", ErrInputChanged, im.rows, im.kept.Rows)
	}
	im.complete = true
	if im.rows == im.state.Rows && (im.state.End > 0 || im.rows == 0) {
		return nil
	}
	return im.commit(ctx)
}

// take handles one row. It gathers the row for the next commit, unless an earlier run has put it.
func (im *importer) take(row Row, bad *RowError) error {
	im.rows++
	if row.Line == 0 {
		row.Line = im.rows
	}
	var op Operation
	var err error
	if bad != nil {
		row.Line, err = bad.Line, bad.Err
	} else {
		op, err = row.operation()
	}
	im.note(row, bad)
	if im.rows == 1 {
		if err := im.resume(); err != nil {
			return err
		}
	}
	if err == nil {
		key := op.key()
		if op.Identifiers.Email != "" {
			key = strings.ToLower(key) // https://docs.customer.io/journeys/identifying-people: ids have a case, addresses do not
		}
		if line := im.seen.before(key, row.Line); line > 0 {
			err = invalid("the row", "has the id or email of line %d", line)
		}
	}
	if im.rows <= im.kept.Rows {
		if im.rows == im.kept.Rows && im.sum() != im.kept.Hash {
			return fmt.Errorf("%w: its first %d rows are not those that were put before", ErrInputChanged, im.rows)
		}
		return nil
	}
	var e outbox.Event
	if err == nil {
		e, err = op.event(time.Now(), im.c.o.OperationBytes)
	}
	if errors.Is(err, ErrInvalid) {
		im.refuse(&RowError{row.Line, err})
		return nil
	}
	if err != nil {
		return err
	}
	im.events = append(im.events, e)
	im.size += len(e.Payload)
	return nil
}

// note adds a row to the hash.
func (im *importer) note(row Row, bad *RowError) {
	attributes, _ := json.Marshal(row.Attributes) // a row whose encoding fails is not put
	text := ""
	if bad != nil {
		text = bad.Error()
	}
	for _, s := range []string{row.ID, row.Email, string(attributes), text} {
		im.hash.Write(binary.AppendUvarint(nil, uint64(len(s))))
		im.hash.Write([]byte(s))
	}
}

func (im *importer) sum() string { return hex.EncodeToString(im.hash.Sum(nil)) }

// resume reads what an earlier run has put. It is called after the first row.
func (im *importer) resume() error {
	unnamed := im.o.Name == ""
	if unnamed {
		im.o.Name = im.sum()
	}
	raw, err := im.lane.store.Note(importNotes + im.o.Name)
	if err != nil {
		return fmt.Errorf("customerio: import: %w", err)
	}
	var kept importState
	if raw != nil {
		if err := json.Unmarshal(raw, &kept); err != nil {
			return fmt.Errorf("customerio: import: the note of %d bytes in the file is not readable: %w", len(raw), err)
		}
	}
	s := im.lane.Stats()
	if raw == nil || unnamed && kept.past(s) {
		im.state.Before, im.state.Refused = s.Put, uint64(s.Dead)+s.Dropped
		return nil
	}
	im.kept, im.state = kept, kept
	return nil
}

// commit puts the gathered rows and stores how far the input is read, both or neither.
func (im *importer) commit(ctx context.Context) error {
	next := im.state
	next.Put += len(im.events)
	next.Rows, next.Hash, next.End = im.rows, im.sum(), 0
	if im.complete {
		next.End = im.lane.Stats().Put + uint64(len(im.events)) // nobody else puts into this lane
	}
	note, err := json.Marshal(next)
	if err != nil {
		return fmt.Errorf("customerio: import: %w", err)
	}
	if _, err := im.lane.putNoted(ctx, importNotes+im.o.Name, note, im.events); err != nil {
		return fail(fmt.Sprintf("import: %d rows after the first %d", len(im.events), im.state.Rows), err)
	}
	im.state = next
	clear(im.events)
	im.events, im.size = im.events[:0], 0
	im.tell(false)
	return nil
}

// refuse records a row that is not put.
func (im *importer) refuse(err *RowError) {
	im.state.Invalid++
	if len(im.bad) < 10 {
		im.bad = append(im.bad, err)
	}
	if im.o.OnInvalid != nil {
		im.o.OnInvalid(err)
	}
}

// invalid returns the error of an import that has ended.
func (im *importer) invalid() error {
	if im.state.Invalid == 0 {
		return nil
	}
	texts := make([]string, len(im.bad))
	for i, err := range im.bad {
		texts[i] = strings.Replace(err.Error(), ErrInvalid.Error()+": ", "", 1)
	}
	if more := im.state.Invalid - len(im.bad); more > 0 {
		texts = append(texts, fmt.Sprintf("%d more, or told by an earlier run", more))
	}
	return fmt.Errorf("%w: import: %d of %d rows were not put: %s", ErrInvalid, im.state.Invalid, im.state.Rows, strings.Join(texts, "; "))
}

// wait returns when all rows are delivered or refused.
func (im *importer) wait(ctx context.Context) error {
	tick := time.NewTicker(min(im.o.Every, 100*time.Millisecond))
	defer tick.Stop()
	for {
		p := im.progress()
		if p.Delivered+p.Refused >= p.Put {
			return nil
		}
		select {
		case <-tick.C:
			im.tell(false)
		case <-im.c.quit:
			return fmt.Errorf("customerio: import: %d of %d rows are yet to be delivered: %w", p.Put-p.Delivered-p.Refused, p.Put, outbox.ErrClosed)
		case <-ctx.Done():
			return fmt.Errorf("customerio: import: %d of %d rows are yet to be delivered: %w", p.Put-p.Delivered-p.Refused, p.Put, context.Cause(ctx))
		}
	}
}

// tell calls OnProgress when it is time.
func (im *importer) tell(now bool) {
	if im.o.OnProgress != nil && (now || time.Since(im.told) >= im.o.Every) {
		im.told = time.Now()
		im.o.OnProgress(im.progress())
	}
}

func (im *importer) progress() Progress {
	s := im.lane.Stats()
	p := Progress{Rows: im.rows, Put: im.state.Put, Invalid: im.state.Invalid, Complete: im.complete}
	// It assumes that items which were in the lane before go first.
	done := min(p.Put, int(max(ended(s), im.state.Before)-im.state.Before))
	p.Refused = min(done, int(max(uint64(s.Dead)+s.Dropped, im.state.Refused)-im.state.Refused))
	p.Delivered = done - p.Refused
	if took := time.Since(im.began).Seconds(); took > 0 {
		p.Rate = float64(ended(s)-min(ended(s), ended(im.start))) / took
	}
	if im.complete && p.Rate > 0 {
		p.Left = time.Duration(float64(p.Put-done) / p.Rate * float64(time.Second))
	}
	return p
}

// ended counts the items that have left a lane or are dead.
func ended(s outbox.Stats) uint64 { return s.Delivered + s.Expired + s.Dropped + uint64(s.Dead) }

// A window remembers the last keys and the lines where they were.
type window struct {
	seed  maphash.Seed
	lines map[uint64]int
	ring  []uint64
	next  int
}

func newWindow(size int) *window {
	return &window{seed: maphash.MakeSeed(), lines: map[uint64]int{}, ring: make([]uint64, 0, size)}
}

// before returns the line of a key that it remembers, or adds the key and returns 0.
func (w *window) before(key string, line int) int {
	h := maphash.String(w.seed, key)
	if l := w.lines[h]; l > 0 {
		return l
	}
	if len(w.ring) < cap(w.ring) {
		w.ring = append(w.ring, h)
	} else {
		delete(w.lines, w.ring[w.next])
		w.ring[w.next] = h
		w.next = (w.next + 1) % len(w.ring)
	}
	w.lines[h] = line
	return 0
}
