package monitor

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/sender"
)

// Options are the settings of a [Monitor]. nil and the zero value are fine.
type Options struct {
	// Allow says what the sender of r may do with a lane; lane is "" for the overview, which shows
	// the lanes that may be read. It is asked for every request, and again before each event of a
	// stream, and must be safe for concurrent use. nil: who reaches the handler may read; nobody
	// may act or see payloads.
	Allow func(r *http.Request, lane string) Access
	// Payload makes a payload readable, for readers with the right to it. nil: JSON is indented, other
	// text is as it is, the rest is hexadecimal. 64 KiB are shown.
	Payload func(sender.Item) string
	// Hosts are the host names to answer to, without port; nil: all. Set it where nothing in front
	// asks for a password: see Caveats.
	Hosts []string
	// Origins are further origins to take actions from, as "https://ops.example.com": behind a
	// proxy that changes the Host of requests.
	Origins []string
	// Logger gets every action with who did it, and at most one refusal a second. It is never told
	// a payload or a key. nil: nothing is logged.
	Logger *slog.Logger
}

// Access is what somebody may do. The zero Access is nothing at all: 403.
type Access struct {
	// Name is who it is: shown on the pages, logged with actions, kept with a pause. "": not known.
	Name string
	// Read allows counts, lists, keys and errors. Without it nothing else is allowed.
	Read bool
	// Payload allows payloads and values of headers, and exports, which have both.
	Payload bool
	// Act allows to revive, drop, run now, pause, resume, compact and check; together with Payload,
	// also to edit, to clear a throttle and to erase a key.
	Act bool
}

// A lane is what the monitor needs of an outbox.
type lane interface {
	Stats() outbox.Stats
	Path() string
	List(ctx context.Context, q sender.Query) (sender.Page, error)
	Explain(ctx context.Context, id uuid.UUID, seq uint64) (outbox.Explanation, error)
	Observe(fn func(sender.Outcome)) (stop func())

	Revive(ctx context.Context, items ...sender.Item) (int, error)
	Drop(ctx context.Context, items ...sender.Item) (int, error)
	RunNow(ctx context.Context, items ...sender.Item) (int, error)
	Edit(ctx context.Context, it sender.Item, payload []byte, header map[string]string) error
	Pause(ctx context.Context, p sender.Pause) error
	Resume(ctx context.Context) error
	ClearThrottle(ctx context.Context) error
	Check(ctx context.Context) error
	Compact(ctx context.Context) error
	Erase(ctx context.Context, key string) (int, error)
}

// A watched lane is one with its name and what was seen of it.
type watched struct {
	lane
	name string
	seen *history
	stop func() // ends Observe
}

// A Monitor is a handler for the pages and the JSON of some lanes. It is safe for concurrent use.
// It has no goroutine of its own.
type Monitor struct {
	lanes   []*watched // by name
	options Options    // Logger and Allow are not nil
	origins *http.CrossOriginProtection
	since   time.Time // when it was made

	ending  context.Context // ends with Close
	close   context.CancelFunc
	once    sync.Once     // of Close
	streams chan struct{} // holds one token for each open stream
	refused occasionally  // limits the log
}

// New returns a handler for lanes, by the names they are shown under. It observes them until Close.
// It is an error if there is no lane, if one is nil or has no name, or if one of o.Origins is not
// an origin.
func New(lanes map[string]*outbox.Outbox, o *Options) (*Monitor, error) {
	all := make(map[string]lane, len(lanes))
	for name, b := range lanes {
		if b == nil {
			return nil, fmt.Errorf("monitor: lane %q is nil", name)
		}
		all[name] = b
	}
	return newMonitor(all, o)
}

func newMonitor(lanes map[string]lane, o *Options) (*Monitor, error) {
	m := &Monitor{since: time.Now(), origins: http.NewCrossOriginProtection(), streams: make(chan struct{}, maxStreams)}
	if o != nil {
		m.options = *o
	}
	if m.options.Logger == nil {
		m.options.Logger = slog.New(slog.DiscardHandler)
	}
	if m.options.Allow == nil {
		m.options.Allow = func(*http.Request, string) Access { return Access{Read: true} }
	}
	for _, origin := range m.options.Origins {
		if err := m.origins.AddTrustedOrigin(origin); err != nil {
			return nil, fmt.Errorf("monitor: Origins: %w", err)
		}
	}
	if len(lanes) == 0 {
		return nil, errors.New("monitor: there are no lanes")
	}
	if _, unnamed := lanes[""]; unnamed {
		return nil, errors.New("monitor: a lane has no name")
	}
	m.ending, m.close = context.WithCancel(context.Background())
	for _, name := range slices.Sorted(maps.Keys(lanes)) {
		w := &watched{lane: lanes[name], name: name}
		w.seen = newHistory(w.lane, m.since)
		w.stop = w.Observe(w.seen.outcome)
		m.lanes = append(m.lanes, w)
	}
	return m, nil
}

// Close ends the streams and stops observing the lanes. Pages are still answered, without streams
// and with a history that ends here. It does not close the outboxes. It always returns nil, and may
// be called again.
func (m *Monitor) Close() error {
	m.once.Do(func() {
		m.close()
		for _, w := range m.lanes {
			w.stop()
		}
	})
	return nil
}

// String returns the overview as JSON, with all lanes, so that expvar.Publish("outbox", m) works.
func (m *Monitor) String() string {
	text, err := json.Marshal(m.overview(time.Now(), func(string) Access { return Access{Read: true} }))
	if err != nil { // no field can fail
		return "{}"
	}
	return string(text)
}

// find returns the lane of that name, or nil.
func (m *Monitor) find(name string) *watched {
	i, found := slices.BinarySearchFunc(m.lanes, name, func(w *watched, name string) int { return cmp.Compare(w.name, name) })
	if !found {
		return nil
	}
	return m.lanes[i]
}

// file returns the base name of the lane's file, and its size. "": it has none.
func (w *watched) file(s *outbox.Stats) file {
	f := file{Bytes: s.FileBytes}
	if path := w.Path(); path != "" {
		f.Name = filepath.Base(path)
	}
	return f
}

// occasionally says yes at most once a second.
type occasionally struct {
	mu   sync.Mutex // a leaf; guards last
	last time.Time
}

func (o *occasionally) now() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := time.Now()
	if !o.last.IsZero() && now.Sub(o.last) < time.Second {
		return false
	}
	o.last = now
	return true
}
