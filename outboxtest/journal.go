package outboxtest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/sender"
)

// A journal knows what was put and what became of it.
type journal struct {
	start   time.Time
	changed chan struct{} // 1-buffered; sent to after each outcome

	mu       sync.Mutex               // a leaf; guards what follows
	events   []*event                 // in the order in which they were first heard of
	byID     map[uuid.UUID][]*event   // the same
	puts     []*event                 // whose Put returned nil, in that order
	seen     int                      // how many of them a RequirePut has seen, or Forget
	passed   int                      // the same before the latest call
	outcomes [4][]outcome             // Delivered, Dead, Expired, Dropped
	reported [4]int                   // how many of them were in a Report before the latest
	next     [4]int                   // how many of them were in a Report
	requests map[sentRequest]struct{} // all
	counted  int                      // how many of them were in a Report
	process  int                      // counts crashes and restarts
}

// The places in journal.outcomes.
const (
	delivered = iota
	dead
	expired
	dropped
	pending
	nowhere // it was not stored
)

// An outcome is what became of an event. Guarded by journal.mu until it is in a Report.
type outcome struct {
	event *event
	item  sender.Item
}

type sentRequest struct {
	process int
	number  uint64
}

// An event is one Put. Guarded by journal.mu.
type event struct {
	put     string      // what its Put said; "": it has not returned
	unknown bool        // its Put could not tell whether it is stored
	item    sender.Item // as put
	state   int         // delivered to nowhere
	died    time.Time   // FailedAt of the item when it died
	steps   []string    // what became of it
}

func newJournal() *journal {
	return &journal{start: time.Now(), changed: make(chan struct{}, 1), byID: map[uuid.UUID][]*event{}, requests: map[sentRequest]struct{}{}}
}

// onPut is outbox.Options.OnPut. It hears of e after next, which may have changed it.
func (j *journal) onPut(next func(context.Context, *outbox.Event) func(uuid.UUID, error)) func(context.Context, *outbox.Event) func(uuid.UUID, error) {
	return func(ctx context.Context, e *outbox.Event) func(uuid.UUID, error) {
		var done func(uuid.UUID, error)
		if next != nil {
			done = next(ctx, e)
		}
		it := cloneItem(sender.Item{
			ID: e.ID, Kind: e.Kind, Key: e.Key, Header: e.Header, Payload: e.Payload,
			Created: time.Now(), Due: e.NotBefore, Expires: e.Expires,
		})
		return func(id uuid.UUID, err error) {
			it.ID = id
			j.wasPut(it, err)
			if done != nil {
				done(id, err)
			}
		}
	}
}

func (j *journal) wasPut(it sender.Item, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	var e *event
	for _, known := range j.byID[it.ID] {
		if known.put == "" && it.ID != uuid.Nil { // it was sent before its Put returned
			e = known
		}
	}
	if e == nil {
		e = j.add(it)
	}
	e.item = it
	e.put = "put " + j.at(it.Created)
	if err != nil {
		why, mayBe := whyNot(err)
		if e.put += " (" + why + ")"; e.state == pending {
			e.unknown = mayBe
			if !mayBe {
				e.state = nowhere
			}
		}
		return
	}
	j.puts = append(j.puts, e)
}

// add notes an event. j.mu is held.
func (j *journal) add(it sender.Item) *event {
	e := &event{item: it, state: pending}
	j.events = append(j.events, e)
	j.byID[it.ID] = append(j.byID[it.ID], e)
	return e
}

// whyNot says why a Put failed, without place and numbers, and whether its event may be stored.
func whyNot(err error) (why string, mayBe bool) {
	for _, known := range []error{outbox.ErrInvalid, outbox.ErrTooLarge, outbox.ErrFull, outbox.ErrClosed} {
		if errors.Is(err, known) {
			return "not stored: " + known.Error(), false
		}
	}
	if strings.Contains(err.Error(), "nothing was stored") {
		return "not stored: " + outbox.ErrStorage.Error(), false
	}
	for _, known := range []error{outbox.ErrStorage, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, known) {
			return "stored or not: " + known.Error(), true
		}
	}
	return "stored or not: " + cut(err), true
}

func cut(err error) string {
	const most = 120
	text := strings.Join(strings.Fields(err.Error()), " ")
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}

// onOutcome is sender.Options.OnOutcome. Unlike an observer it misses nothing of a sender that
// starts.
func (j *journal) onOutcome(next func(sender.Outcome, time.Duration)) func(sender.Outcome, time.Duration) {
	return func(o sender.Outcome, took time.Duration) {
		if next != nil {
			next(o, took)
		}
		j.hear(o) // last: then Drain returns
	}
}

func (j *journal) hear(o sender.Outcome) {
	defer j.ring()
	j.mu.Lock()
	defer j.mu.Unlock()
	if o.Request != 0 {
		j.requests[sentRequest{j.process, o.Request}] = struct{}{}
	}
	e := j.find(o.Item)
	if e.state == dead && o.Verdict != sender.Expired {
		e.state = pending
		e.steps = append(e.steps, "revived")
	}
	at, why := j.at(time.Now()), ""
	if !o.Started.IsZero() {
		at = j.at(o.Started.Add(o.Took))
	}
	if o.Err != nil {
		why = " (" + cut(o.Err) + ")"
	}
	step := ""
	switch o.Verdict {
	case sender.Delivered:
		step = "delivered " + at
		j.ended(delivered, e, o.Item)
	case sender.Dead:
		step = "dead " + at + why
		j.ended(dead, e, o.Item)
	case sender.Expired:
		step = "expired " + at
		j.ended(expired, e, o.Item)
	case sender.Retry:
		step = "failed " + at + why + " · retry " + j.at(o.Due)
	case sender.Released:
		switch {
		case !o.PauseUntil.IsZero():
			step = "throttled until " + j.at(o.PauseUntil)
		case o.Err != nil:
			step = "put back " + at + why
		default:
			return // nothing happened to it
		}
	}
	e.steps = append(e.steps, step)
}

func (j *journal) ring() {
	select {
	case j.changed <- struct{}{}:
	default:
	}
}

// find returns the event that an item is of. j.mu is held.
func (j *journal) find(it sender.Item) *event {
	known := j.byID[it.ID]
	for _, e := range known {
		if e.state == pending {
			return e
		}
	}
	for _, e := range known {
		if e.state == dead {
			return e
		}
	}
	it = cloneItem(it)
	it.Due = time.Time{}
	return j.add(it)
}

// ended notes that an event has ended as it is. j.mu is held.
func (j *journal) ended(as int, e *event, it sender.Item) {
	e.state, e.died = as, it.FailedAt
	j.outcomes[as] = append(j.outcomes[as], outcome{e, cloneItem(it)})
}

// crashed notes that another process goes on.
func (j *journal) crashed(how string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.process++
	for _, e := range j.events {
		if e.state == pending {
			e.steps = append(e.steps, how+" "+j.at(time.Now()))
		}
	}
}

// A lane is where the truth is: the file of an outbox.
type lane struct {
	pending, dead iter.Seq2[sender.Item, error]
	delivered     uint64 // by the ledger
	expired       uint64
}

// follow makes the journal agree with the file where it was told nothing: events that were dropped,
// and what was recorded when a process ended before it could tell.
func (j *journal) follow(l lane) error {
	j.mu.Lock()
	before := len(j.events)
	j.mu.Unlock()
	held := map[uuid.UUID]int{}
	died := map[uuid.UUID]sender.Item{}
	for it, err := range l.pending {
		if err != nil {
			return err
		}
		held[it.ID]++
	}
	for it, err := range l.dead {
		if err != nil {
			return err
		}
		held[it.ID]++
		died[it.ID] = it
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	var gone, unknown []*event // not in the file; and among them those of which nobody knew whether they were
	for _, e := range j.events[:before] {
		it, isDead := died[e.item.ID]
		switch {
		case e.state != pending && e.state != dead:
		case isDead && e.state == pending:
			e.steps = append(e.steps, "dead "+j.at(it.FailedAt)+" ("+it.LastErr+")")
			j.ended(dead, e, it)
		case held[e.item.ID] > 0:
			held[e.item.ID]--
			e.unknown = false
		case e.unknown:
			unknown = append(unknown, e)
		default:
			gone = append(gone, e)
		}
	}
	for _, e := range append(gone, unknown...) { // the ledger tells what became of them
		switch {
		case uint64(len(j.outcomes[delivered])) < l.delivered:
			e.steps = append(e.steps, "delivered")
			j.ended(delivered, e, e.item)
		case uint64(len(j.outcomes[expired])) < l.expired:
			e.steps = append(e.steps, "expired")
			j.ended(expired, e, e.item)
		case e.unknown:
			e.state = nowhere
		default:
			e.steps = append(e.steps, "dropped")
			j.ended(dropped, e, e.item)
		}
	}
	return nil
}

// complete reports whether the journal has heard of all that the file says.
func (j *journal) complete(s outbox.Stats, deadItems iter.Seq2[sender.Item, error]) bool {
	if j.count(delivered) < s.Delivered || j.count(expired) < s.Expired {
		return false
	}
	if s.Dead == 0 {
		return true
	}
	for it, err := range deadItems {
		if err != nil {
			return errors.Is(err, outbox.ErrClosed) // then it has told all
		}
		if !j.knowsDead(it) {
			return false
		}
	}
	return true
}

func (j *journal) knowsDead(it sender.Item) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, e := range j.byID[it.ID] {
		if e.state == dead && e.died.Equal(it.FailedAt) {
			return true
		}
	}
	return false
}

// count returns how many events have ended so.
func (j *journal) count(as int) uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return uint64(len(j.outcomes[as]))
}

// report returns what happened since the last one.
func (j *journal) report(took time.Duration) Report {
	j.mu.Lock()
	defer j.mu.Unlock()
	var items [4][]sender.Item
	for k, list := range j.outcomes {
		for _, o := range list[j.next[k]:] {
			items[k] = append(items[k], o.item)
		}
		j.reported[k], j.next[k] = j.next[k], len(list)
	}
	r := Report{items[delivered], items[dead], items[expired], items[dropped], len(j.requests) - j.counted, took}
	j.counted = len(j.requests)
	return r
}

// at writes a moment as the time since New.
func (j *journal) at(t time.Time) string {
	d := t.Sub(j.start).Round(time.Millisecond)
	if d.Abs() < time.Minute {
		return fmt.Sprint(d.Seconds()) + "s"
	}
	text := d.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(text, zero) {
			text = text[:len(text)-2]
		}
	}
	return text
}

// String tells what became of each event, one a line.
func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	const most = 1000
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	for i, e := range j.events {
		if i == most {
			fmt.Fprintf(w, "and %d more\n", len(j.events)-most)
			break
		}
		fmt.Fprintln(w, e.line())
	}
	w.Flush()
	return text.String()
}

// line tells what became of the event. journal.mu is held.
func (e *event) line() string {
	const first, last = 4, 6 // of many steps
	steps := e.steps
	if n := len(steps) - first - last; n > 1 {
		steps = append(append(steps[:first:first], fmt.Sprintf("%d more", n)), steps[len(steps)-last:]...)
	}
	if e.put != "" {
		steps = append([]string{e.put}, steps...)
	}
	if e.state == pending {
		steps = append(steps[:len(steps):len(steps)], "pending")
	}
	return fmt.Sprintf("%s\t%s\t%s\t%s", orDash(e.item.Key), orDash(e.item.Kind), short(e.item.ID), strings.Join(steps, " · "))
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return fmt.Sprintf("%.40s", strings.Map(func(r rune) rune {
		if r < ' ' {
			return '·'
		}
		return r
	}, s))
}

// short is the beginning and the end of an ID: those of one moment begin alike.
func short(id uuid.UUID) string { s := id.String(); return s[:4] + "…" + s[len(s)-4:] }
