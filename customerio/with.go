package customerio

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox"
)

// Meta is what a call stores in addition to its arguments; see [Client.With].
type Meta struct {
	// ID names the operation, message or broadcast: in the file, among the dead and in its Outcome.
	// The service sees the ID of an event, page or screen, as a ULID, and ignores a second one with
	// the same ID. Messages are not protected in this way: two messages with one ID are both sent.
	// Zero: a new UUIDv7.
	ID uuid.UUID
	// Time is when it happened, in whole seconds, for what has a time: events, pages, screens,
	// deliveries and identifies of people. The others leave it out. Zero: the moment of the call.
	Time time.Time
	// NoteKey and Note are stored in the same commit, both or neither: what the application must
	// remember together with what it puts, for example that the message for an order was put. See
	// store.Store.AppendNoted for their sizes. A note stays in the file until an empty Note for its
	// key removes it. "": no note.
	NoteKey string
	Note    []byte
}

// noteKeys is where the keys of our own notes begin.
const noteKeys = "customerio/"

// With returns a client that shares everything with c, and adds m to what its methods put. Zero
// fields of m leave what an earlier With has set. Import and ImportJob take no notice of m.
//
// A note makes a call repeatable whose outcome is unknown, because [Client.Note] tells whether it
// was stored. The ctx of such a call should not end, because a commit that ctx has left may still
// follow.
//
//	once := customerio.Meta{NoteKey: "receipt/" + order, Note: []byte{1}}
//	if note, err := c.Note(once.NoteKey); err == nil && note == nil {
//		_, err = c.With(once).SendEmail(context.WithoutCancel(ctx), receipt)
//	}
func (c *Client) With(m Meta) *Client {
	d := *c
	if m.ID != uuid.Nil {
		d.meta.ID = m.ID
	}
	if !m.Time.IsZero() {
		d.meta.Time = m.Time
	}
	if m.NoteKey != "" || m.Note != nil {
		d.meta.NoteKey, d.meta.Note = m.NoteKey, m.Note
	}
	return &d
}

func (m *Meta) check() error {
	switch {
	case m.NoteKey == "" && m.Note != nil:
		return invalid("Meta.NoteKey", "is missing, and there is a Note of %d bytes", len(m.Note))
	case strings.HasPrefix(m.NoteKey, noteKeys):
		return invalid("Meta.NoteKey", "begins with %s, which is reserved", noteKeys)
	}
	return nil
}

// complete adds ID and time to an operation.
func (m *Meta) complete(op *Operation) error {
	if m.ID != uuid.Nil && op.isEvent() {
		if op.ID != "" && !strings.EqualFold(op.ID, ULID(m.ID)) {
			return invalid("Meta.ID", "is not the ID of the operation")
		}
		op.ID = ULID(m.ID)
	}
	if !m.Time.IsZero() && op.Timestamp == 0 && op.timed() {
		op.Timestamp = m.Time.Unix()
		if op.Timestamp == 0 {
			op.Timestamp = -1 // 1970 is no time that the service accepts, and 0 would mean now
		}
	}
	return nil
}

// name returns the ID of what is put.
func (m *Meta) name() (uuid.UUID, error) {
	if m.ID != uuid.Nil {
		return m.ID, nil
	}
	id, err := uuid.NewV7()
	if err != nil {
		return id, fmt.Errorf("customerio: making an ID: %w", err)
	}
	return id, nil
}

// Note returns the note that was last stored under key; nil: there is none. Each lane has its own
// notes: use a key for one kind of call, because Note returns the note of the first lane of [Lanes]
// that has one.
func (c *Client) Note(key string) ([]byte, error) {
	for _, name := range Lanes() {
		l := c.lanes[name]
		if note, err := l.store.Note(key); err != nil || note != nil {
			return note, l.fail("note", err)
		}
	}
	return nil, nil
}

// keep stores events, all or none, or leaves them to Together. Each has an ID.
func (c *Client) keep(ctx context.Context, name Lane, events ...outbox.Event) ([]uuid.UUID, error) {
	if err := c.meta.check(); err != nil {
		return nil, err
	}
	if c.group != nil {
		return c.group.add(name, &c.meta, events)
	}
	return c.lanes[name].commit(ctx, &c.meta, events)
}

func (l *lane) commit(ctx context.Context, m *Meta, events []outbox.Event) ([]uuid.UUID, error) {
	if m.NoteKey != "" {
		return l.putNoted(ctx, m.NoteKey, m.Note, events)
	}
	ids, err := l.PutAll(ctx, events...)
	return ids, l.fail("put", err)
}

// Together calls fn with a client that stores nothing yet, and then stores all that fn has put
// through it, in order, in one commit: all or none. It is durable when Together returns nil.
//
//	err := c.Together(ctx, func(c *customerio.Client) error {
//		_, err1 := c.Identify(ctx, who, attributes)
//		_, err2 := c.Track(ctx, who, "signed up", nil)
//		return errors.Join(err1, err2)
//	})
//
// An error of fn is returned, and nothing is stored. A commit has one lane: operations and
// segments, or messages, or broadcasts; anything else is ErrInvalid, and so is a second note.
// Import and ImportJob are not part of it. After fn has returned its client accepts nothing more.
func (c *Client) Together(ctx context.Context, fn func(*Client) error) error {
	if c.group != nil {
		return fn(c)
	}
	if c.meta.ID != uuid.Nil {
		return invalid("Meta.ID", "names one call, Together makes several")
	}
	if err := c.meta.check(); err != nil {
		return err
	}
	g := &group{lane: LaneTrack, meta: c.meta}
	err := fn(&Client{shared: c.shared, meta: Meta{Time: c.meta.Time}, group: g})
	events := g.end()
	if err != nil || len(events) == 0 && g.meta.NoteKey == "" {
		return err
	}
	_, err = c.lanes[g.lane].commit(ctx, &g.meta, events)
	return err
}

// A group is what one Together gathers.
type group struct {
	mu     sync.Mutex // fn may use goroutines
	ended  bool
	lane   Lane
	meta   Meta // holds the note
	events []outbox.Event
}

func (g *group) add(name Lane, m *Meta, events []outbox.Event) ([]uuid.UUID, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.ended:
		return nil, invalid("the call", "comes after the end of Together")
	case len(g.events) > 0 && name != g.lane:
		return nil, invalid("the call", "is for lane %s, and %d calls before it in Together are for %s", name, len(g.events), g.lane)
	case m.NoteKey != "" && g.meta.NoteKey != "":
		return nil, invalid("Meta.NoteKey", "is the second one in Together")
	}
	if m.NoteKey != "" {
		g.meta.NoteKey, g.meta.Note = m.NoteKey, m.Note
	}
	ids := make([]uuid.UUID, len(events))
	for i, e := range events {
		ids[i] = e.ID
	}
	g.lane, g.events = name, append(g.events, events...)
	return ids, nil
}

// end closes the group and returns what it has.
func (g *group) end() []outbox.Event {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ended = true
	return g.events
}
