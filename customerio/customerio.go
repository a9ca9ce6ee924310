// Package customerio delivers to Customer.io: people, events, messages and broadcasts. What a call
// puts is durable when the call returns nil.
//
// One file holds four lanes, each under the limit of its API: the Track API, in batches; messages;
// broadcasts; and imports, which give way to live events. Operations on one person or object arrive
// in the order in which they were put, at least once. Events carry an id, by which the service
// removes repetitions. Messages are sent at most once.
//
//	o, err := customerio.FromEnv()
//	if err != nil {
//		return err
//	}
//	c, err := customerio.Open("customerio.db", &o)
//	if err != nil {
//		return err
//	}
//	defer c.Close()
//	_, err = c.Identify(ctx, customerio.ID("17"), map[string]any{"plan": "basic"})
//	_, err = c.Track(ctx, customerio.ID("17"), "bought", map[string]any{"price": 12})
//
// By default a client sends 80 requests a second under a limit of 100, as the vendor's guides
// advise. Options.TrackLimit raises it. A 429 pauses and slows a lane. Wrong credentials, a wrong
// region and an outage hold it. None of them loses anything.
//
// docs/customerio.md says which method takes the place of each one of the vendor's SDK for Go, and
// which request it sends. [Client.RoundTripper] makes the SDK itself durable.
//
// # Caveats
//
// Order is per identifier as it is given. Operations on the same person by id and by email are two
// orders, and a merge is in the order of its primary. A 200 of the service means that it has
// accepted the operation; its activity log shows what it did with it. A message whose answer was
// lost is among the dead, where a person decides: see [Client.Lane].
package customerio

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/sender/httpsend"
	"github.com/seed8107221f/outbox/store"
)

// A Lane is one of the queues in the file. Each has its own limit.
type Lane string

// The lanes. LaneTrack is the lane "outbox" of the file, the others go by their names.
const (
	LaneTrack         Lane = "track"
	LaneTransactional Lane = "transactional"
	LaneBroadcast     Lane = "broadcast"
	LaneImport        Lane = "import"
)

// Lanes returns all lanes, in the order in which they are logged.
func Lanes() []Lane { return []Lane{LaneTrack, LaneTransactional, LaneBroadcast, LaneImport} }

// A Client puts operations into a file and delivers them in the background. All methods are safe
// for concurrent use. Close it before the process ends.
type Client struct {
	*shared
	meta  Meta   // of what this client puts
	group *group // what Together gathers; nil: each call stores at once
}

// shared is what the clients that With and Together make have in common with the one of Open.
type shared struct {
	o                      Options // complete, with defaults
	file                   *store.Store
	lanes                  map[Lane]*lane
	http                   *http.Client
	young                  *http.Client // for what must not be sent twice
	track                  *api
	app                    *api
	trackPace              sender.Limiter // for all of the Track API
	queryPace              sender.Limiter // for Do
	trackPause, queryPause pause          // what trackPace and queryPace were told by other than lanes
	job                    chan struct{}  // full while one ImportJob runs
	importing              chan struct{}  // full while one Import puts rows

	stop    context.CancelFunc // ends the health line
	health  sync.WaitGroup
	closing sync.Once
	quit    chan struct{} // closed when closing begins
	done    chan struct{} // closed when everything has ended
	err     error         // result of closing; read it only after done is closed
}

type lane struct {
	name  Lane
	place string // "lane track of /var/lib/app/customerio.db"
	store *store.Store
	*outbox.Outbox
}

// Open opens the file at path, creates it if there is none, and starts to deliver. An invalid
// option is an error, and the file is not touched; so is a nil *Options, which has no credentials.
// Errors of store.Open are wrapped.
func Open(path string, o *Options) (*Client, error) {
	d, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	if d.TrackKey == "" && d.AppKey == "" {
		return nil, fmt.Errorf("%w: SiteID and TrackKey, AppKey, or all of them are needed", ErrCredentials)
	}
	if err := d.Sender.Check(); err != nil {
		return nil, fmt.Errorf("customerio: %w", err)
	}
	c := &Client{shared: &shared{o: d, lanes: make(map[Lane]*lane), quit: make(chan struct{}), done: make(chan struct{}), job: make(chan struct{}, 1), importing: make(chan struct{}, 1)}}
	c.http = d.Client
	if c.http == nil {
		c.http = httpsend.NewClient()
	}
	c.young = httpsend.Young(c.http)
	c.track, c.app = trackAPI(&d, c.http), appAPI(&d, c.young)
	if d.Sender.AtMostOnce {
		c.track.client = c.young
	}
	c.trackPace = or(d.Limiters.Track, paced(d.TrackLimit, d.Share))
	c.queryPace = or(d.Limiters.Query, paced(d.QueryLimit, d.Share))
	c.trackPause.pace, c.trackPause.note, c.trackPause.turn = c.trackPace, "customerio/pause/track", make(chan struct{}, 1)
	c.queryPause.pace, c.queryPause.note, c.queryPause.turn = c.queryPace, "customerio/pause/app", make(chan struct{}, 1)

	if c.file, err = store.Open(path, &d.Store); err != nil {
		return nil, fmt.Errorf("customerio: %w", err)
	}
	for _, p := range []*pause{&c.trackPause, &c.queryPause} {
		if err := c.restore(p); err != nil {
			return nil, errors.Join(fmt.Errorf("customerio: %w", err), c.Close())
		}
	}
	if err := c.openLanes(); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	var ctx context.Context
	ctx, c.stop = context.WithCancel(context.Background())
	if d.HealthEvery > 0 {
		c.health.Go(func() { c.logHealth(ctx) })
	}
	return c, nil
}

// openLanes starts each lane. A lane without credentials keeps what it holds and sends nothing.
func (c *Client) openLanes() error {
	var track sender.Transport
	if c.o.TrackKey != "" {
		track = &trackTransport{api: c.track, items: c.o.BatchItems, bytes: c.o.BatchBytes}
	}
	for _, l := range [...]struct {
		name  Lane
		t     sender.Transport
		pace  sender.Limiter
		sends bool
	}{
		{LaneTrack, track, c.trackPace, false},
		{LaneTransactional, nil, or(c.o.Limiters.Transactional, paced(c.o.TransactionalLimit, c.o.Share)), true},
		{LaneBroadcast, nil, or(c.o.Limiters.Broadcast, broadcasts(c.o.BroadcastEvery, c.o.Share)), true},
		{LaneImport, track, behind(c.trackPace, c.o.ImportRate*c.o.Share), false},
	} {
		st, err := c.file, error(nil)
		if l.name != LaneTrack {
			if st, err = c.file.Lane(string(l.name), &c.o.Store); err != nil {
				return fmt.Errorf("customerio: %w", err)
			}
		}
		o := outbox.Options{Sender: c.o.Sender, Limiter: l.pace, OnPut: c.o.OnPut}
		if o.Sender.Logger != nil {
			o.Sender.Logger = o.Sender.Logger.With("lane", string(l.name))
		}
		var r *receipts
		if l.sends {
			o.Sender.AtMostOnce = !c.o.AtLeastOnce
			if c.o.OnOutcome != nil {
				r = &receipts{all: map[uint64]Receipt{}}
			}
			if c.o.AppKey != "" {
				l.t = &appTransport{c.app, r}
			}
		}
		if c.o.OnOutcome != nil {
			o.Sender.OnOutcome = tell(l.name, r, c.o.OnOutcome)
		}
		if c.o.Instrument != nil {
			if t := c.o.Instrument(l.name, &o, l.t); l.t != nil {
				l.t = t
			}
		}
		b, err := outbox.New(st, l.t, &o)
		if err != nil {
			return fmt.Errorf("customerio: %w", err)
		}
		c.lanes[l.name] = &lane{l.name, "lane " + string(l.name) + " of " + st.Path(), st, b}
	}
	return nil
}

// Lane returns the outbox of a lane, to list pending and dead items and to revive or drop them;
// nil: there is no such lane. Do not call its Put and Shutdown.
func (c *Client) Lane(name Lane) *outbox.Outbox {
	if l := c.lanes[name]; l != nil {
		return l.Outbox
	}
	return nil
}

// Outboxes returns the outbox of each lane by its name, as packages that show or measure outboxes
// take them. The map belongs to the caller. What [Client.Lane] says about its results applies.
func (c *Client) Outboxes() map[string]*outbox.Outbox {
	all := make(map[string]*outbox.Outbox, len(c.lanes))
	for name, l := range c.lanes {
		all[string(name)] = l.Outbox
	}
	return all
}

// Stats returns a snapshot of each lane in constant time, also after Close.
func (c *Client) Stats() map[Lane]outbox.Stats {
	all := make(map[Lane]outbox.Stats, len(c.lanes))
	for name, l := range c.lanes {
		all[name] = l.Stats()
	}
	return all
}

// Flush waits until everything put before the call, in all lanes, has been sent or has been tried
// once since; see outbox.Outbox.Flush. Its error names the lanes where something remains.
func (c *Client) Flush(ctx context.Context) error {
	return c.each("flush", func(l *lane) error { return l.Flush(ctx) })
}

// each runs fn for all lanes at the same time. op is what fn does.
func (c *Client) each(op string, fn func(*lane) error) error {
	errs := make([]error, len(c.lanes))
	var all sync.WaitGroup
	i := 0
	for _, l := range c.lanes {
		at := i
		i++
		all.Go(func() { errs[at] = l.fail(op, fn(l)) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// Shutdown refuses new operations, flushes under ctx, lets requests in flight finish, and closes
// the file; see outbox.Outbox.Shutdown. What is not sent when ctx ends stays in the file for the
// next start, and the error wraps outbox.ErrPending. Shutdown returns at most two seconds after ctx
// ends. So give it 7 seconds where SIGKILL follows SIGTERM after 10. A second call waits for the
// first and returns the same. A nil ctx is an error, and nothing ends.
func (c *Client) Shutdown(ctx context.Context) error {
	if ctx == nil {
		return errors.New("customerio: shutdown: the context is nil")
	}
	return c.end(ctx, func(l *lane) error { return l.Shutdown(ctx) })
}

// Close is Shutdown with five seconds, without the flush: requests in flight may finish, and no
// other starts. It returns within seven seconds.
func (c *Client) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return c.end(ctx, func(l *lane) error { return l.Close() })
}

func (c *Client) end(ctx context.Context, stop func(*lane) error) error {
	c.closing.Do(func() {
		close(c.quit)
		go func() {
			defer close(c.done)
			err := c.each("shutdown", stop)
			if c.stop != nil {
				c.stop()
			}
			c.health.Wait()
			if e := c.file.Close(); e != nil {
				err = errors.Join(err, fmt.Errorf("customerio: %w", e))
			}
			if t, ok := c.young.Transport.(*http.Transport); ok {
				t.CloseIdleConnections() // it is ours: Young has made it
			}
			if c.o.Client == nil {
				c.http.CloseIdleConnections()
			}
			c.err = err
		}()
	})
	select {
	case <-c.done:
		return c.err
	case <-ctx.Done():
	}
	select {
	case <-c.done:
		return c.err
	case <-time.After(2 * time.Second):
		return fmt.Errorf("customerio: closing is still under way, what is not delivered stays in the file: %w", context.Cause(ctx))
	}
}
