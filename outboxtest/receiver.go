package outboxtest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"hash/maphash"
	"html"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/seed8107221f/outbox/internal/manners"
)

const (
	// grace is how long after a Retry-After was told requests may still arrive that were on their
	// way.
	grace = 50 * time.Millisecond
	// most is what a Receiver reads of a request, in bytes.
	most = 64 << 20
)

// A Receiver is an HTTP server as strict as a vendor: it counts requests in any rolling window,
// answers 429 beyond the limit, and judges its clients. A request beyond the limit counts too, as
// it does with vendors. What it accepts it answers with 200 and an empty JSON object.
//
// In a bubble of testing/synctest it listens on pipes, and only Client reaches it. All methods are
// safe for concurrent use.
type Receiver struct {
	// URL is where it answers, without a path: every path is answered.
	URL string

	t       testing.TB // nil: of a program
	o       ReceiverOptions
	client  *http.Client
	server  http.Server
	serving sync.WaitGroup // Serve, and the requests that are being answered
	closing chan struct{}  // closed by Close

	mu       sync.Mutex // a leaf; guards what follows
	closed   bool       // no request is let in any more
	script   []Fault
	until    time.Time // end of the outage
	traffic  *manners.Traffic
	first    time.Time // arrival
	last     time.Time
	failed   int
	accepted int
	repeated int
	known    map[string]bool // IDs that were accepted
	lines    map[string]*line
	disorder []string // what was seen, at most maxDisorder
	orders   int      // how often
}

// maxDisorder is how many breaches of order are described.
const maxDisorder = 5

// ReceiverOptions are the settings of a [Receiver]. nil and the zero value are fine.
type ReceiverOptions struct {
	// Addr is where it listens, as host:port. "": on a free port of this machine. In a bubble it
	// has no meaning.
	Addr   string
	Limit  int           // requests in any rolling Window; 0: no limit
	Window time.Duration // 0 means 1s
	// RetryAfter is how a 429 says when to come again: when the window has room, or what a [Fault]
	// says. 0 means Seconds.
	RetryAfter RetryAfter
	Skew       time.Duration // by how much the server's clock, and so its Date header, is ahead; below 0: behind
	Latency    time.Duration // from the arrival of a request to its answer
	// IDHeader names the header by which the server knows a repetition. "": by no header; requests
	// with the same method, path and body are the same.
	IDHeader string
	// Key names what a request is about, from the request and its body; "": nothing that has an
	// order. It is called by several goroutines at once. nil: no order is judged.
	Key func(*http.Request, []byte) string
	// Seq tells the place of a request in the order of its key, as sender.Item.Seq does, from the
	// request and its body. It is called by several goroutines at once. nil: the order is the order
	// of first arrivals. Then two requests that are swapped and both accepted at once go unnoticed.
	Seq func(*http.Request, []byte) uint64
	// Partial answers what is accepted, for batches: a 207 of one's own. The answer is written as
	// JSON. A status from 300 on means that nothing was accepted. It is called by several
	// goroutines at once. nil: 200 and an empty object.
	Partial func(body []byte) (status int, answer any)
	// Faults gives what the n-th request that arrives meets, counted from 1, if it is within the
	// limit and neither Script nor Outage has something for it: now and then a fault, for as long
	// as the server runs. It is called by several goroutines at once. nil: none.
	Faults func(n int) Fault
}

// A Fault is what one request meets. The zero Fault is none: the request passes.
type Fault struct {
	// Status is answered in place of the proper answer, and nothing is accepted. 0: the proper
	// answer.
	Status int
	// RetryAfter is told with Status, in the form of ReceiverOptions.RetryAfter. 0: it is not told.
	RetryAfter time.Duration
	// Delay passes before the answer, in addition to the latency.
	Delay time.Duration
	// Cut ends the connection in place of the answer. Without a Status the request is accepted, and
	// its client cannot know.
	Cut bool
	// Silent gives no answer until the client gives up. Without a Status the request is accepted.
	Silent bool
}

// NewReceiver starts a server, which ends with t. nil options mean the defaults.
func NewReceiver(t testing.TB, o *ReceiverOptions) *Receiver {
	t.Helper()
	v, err := start(t, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Close)
	return v
}

// StartReceiver starts a server for a program, which has no test: a demonstration, or a trial.
// Whoever calls it also calls Close, and reads Manners in place of RequireManners. nil options mean
// the defaults.
func StartReceiver(o *ReceiverOptions) (*Receiver, error) { return start(nil, o) }

func start(t testing.TB, o *ReceiverOptions) (*Receiver, error) {
	v := &Receiver{t: t, closing: make(chan struct{}), known: map[string]bool{}, lines: map[string]*line{}}
	if o != nil {
		v.o = *o
	}
	if v.o.Window == 0 {
		v.o.Window = time.Second
	}
	v.traffic = manners.NewTraffic(v.o.Limit, v.o.Window)
	tr := &http.Transport{MaxIdleConnsPerHost: 100}
	var l net.Listener
	if inBubble() {
		pipe := NewPipe()
		l, tr.DialContext = pipe, pipe.DialContext
	} else {
		var err error
		if l, err = net.Listen("tcp", cmp.Or(v.o.Addr, "127.0.0.1:0")); err != nil {
			return nil, fmt.Errorf("outboxtest: receive: %w", err)
		}
	}
	v.URL = "http://" + l.Addr().String()
	v.client = &http.Client{Transport: tr}
	v.server.Handler = http.HandlerFunc(v.serve)
	v.serving.Go(func() { v.server.Serve(l) }) // the error says that the server was closed
	return v, nil
}

// Close ends the server. Requests that are being answered are cut off. What was counted stays. A
// receiver of NewReceiver closes with its test. Closing again does nothing.
func (v *Receiver) Close() {
	v.mu.Lock()
	again := v.closed
	v.closed = true
	v.mu.Unlock()
	if !again {
		close(v.closing)
		v.client.CloseIdleConnections()
		v.server.Close()
	}
	v.serving.Wait()
}

// Client returns a client that reaches the server, also in a bubble. Its transport uses no proxy.
// The caller may change the client, and must not change its transport.
func (v *Receiver) Client() *http.Client {
	c := *v.client
	return &c
}

// Script adds faults that the next requests meet, one each, in the order of arrival, and before an
// outage or the limit is looked at.
func (v *Receiver) Script(f ...Fault) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.script = append(v.script, f...)
}

// Outage has every request be answered 503, with a page and without a Retry-After, from now on for
// as long as it lasts. 0 ends an outage.
func (v *Receiver) Outage(lasts time.Duration) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.until = time.Now().Add(lasts)
}

// arrive counts a request and decides what it meets. The clock is read under the lock, since
// windows want arrivals in order.
func (v *Receiver) arrive() (f Fault, ok bool) {
	v.mu.Lock()
	if v.closed {
		v.mu.Unlock()
		return Fault{}, false
	}
	v.serving.Add(1)
	now := time.Now()
	within, room := v.traffic.Arrive(now, grace)
	n := v.traffic.Requests
	if v.last = now; n == 1 {
		v.first = now
	}
	free := false
	switch {
	case len(v.script) > 0:
		f, v.script = v.script[0], v.script[1:]
	case now.Before(v.until):
		f.Status = http.StatusServiceUnavailable
	case !within:
		v.traffic.Throttled++
		f = Fault{Status: http.StatusTooManyRequests, RetryAfter: max(room.Sub(now), 1)}
	default:
		free = v.o.Faults != nil
	}
	v.mu.Unlock()
	if free {
		f = v.o.Faults(n) // without the lock: it is the caller's
	}
	return f, true
}

// serve answers one request. It panics with http.ErrAbortHandler where the connection is to end.
func (v *Receiver) serve(w http.ResponseWriter, r *http.Request) {
	f, ok := v.arrive()
	if !ok {
		panic(http.ErrAbortHandler)
	}
	defer v.serving.Done()
	body, err := io.ReadAll(io.LimitReader(r.Body, most))
	if err != nil {
		panic(http.ErrAbortHandler) // the client went away in the middle of its request: it made none
	}
	key, id := "", v.id(r, body)
	if v.o.Key != nil {
		key = v.o.Key(r, body)
	}
	var seq uint64
	if v.o.Seq != nil {
		seq = v.o.Seq(r, body)
	}
	v.begin(key, id, seq)
	defer v.over(key, id) // the end of the answer goes out after that, so no client can be faster
	status, kind, answer := f.Status, "application/json", []byte("{}\n")
	switch {
	case status >= 500:
		kind, answer = "text/html; charset=utf-8", page(status)
	case status == 0 && v.o.Partial != nil:
		status, answer = v.partial(body)
	case status == 0:
		status = http.StatusOK
	}
	v.decided(key, id, status)
	v.hold(r, time.After(v.o.Latency+f.Delay))
	if f.Silent {
		v.hold(r, nil)
	}
	if f.Cut {
		panic(http.ErrAbortHandler)
	}
	h := w.Header()
	v.tell(h, f)
	h.Set("Content-Type", kind)
	w.WriteHeader(status)
	w.Write(answer) // an error means that the client has gone, and its answer is lost
}

func (v *Receiver) partial(body []byte) (status int, answer []byte) {
	status, value := v.o.Partial(body)
	answer, err := json.Marshal(value)
	if err != nil {
		text := fmt.Sprintf("outboxtest: ReceiverOptions.Partial: its answer cannot be written as JSON: %v", err)
		if v.t == nil {
			panic(text)
		}
		v.t.Error(text)
	}
	return status, append(answer, '\n')
}

// page is what a load balancer answers when the service behind it does not.
func page(status int) []byte {
	title := html.EscapeString(fmt.Sprintf("%d %s", status, http.StatusText(status)))
	return fmt.Appendf(nil, "<!DOCTYPE html>\n<html><head><title>%s</title></head><body><h1>%[1]s</h1></body></html>\n", title)
}

// hold waits, and aborts the request if the client gives up or the server closes first.
func (v *Receiver) hold(r *http.Request, until <-chan time.Time) {
	select {
	case <-until:
	case <-r.Context().Done():
		panic(http.ErrAbortHandler)
	case <-v.closing:
		panic(http.ErrAbortHandler)
	}
}

// tell writes the Date and, if the fault has one, the Retry-After. It notes from when to when
// nothing should arrive.
func (v *Receiver) tell(h http.Header, f Fault) {
	v.mu.Lock()
	defer v.mu.Unlock()
	now := time.Now()
	clock := now.Add(v.o.Skew)
	h.Set("Date", clock.UTC().Format(http.TimeFormat))
	if f.RetryAfter <= 0 {
		return
	}
	value, until := v.o.RetryAfter.header(f.RetryAfter, now, clock)
	if value != "" {
		h.Set("Retry-After", value)
	}
	if !until.IsZero() {
		v.traffic.Tell(now, until)
	}
}

var seed = maphash.MakeSeed()

// id names what a request stands for.
func (v *Receiver) id(r *http.Request, body []byte) string {
	if v.o.IDHeader != "" {
		return r.Header.Get(v.o.IDHeader)
	}
	return r.Method + " " + r.URL.RequestURI() + " " + strconv.FormatUint(maphash.Bytes(seed, body), 16)
}
