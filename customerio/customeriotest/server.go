// Package customeriotest stands in for Customer.io in tests: a server that checks requests as the
// service documents it, misbehaves on demand, and judges the client that sent them.
//
// What it has answered with success is in its record, and so is what it accepted before its answer
// was lost. It knows nothing of the client: any code that speaks to Customer.io can be tested.
//
//	s := customeriotest.NewServer(nil)
//	defer s.Close()
//	s.Script(customeriotest.Fault{Status: 502}, customeriotest.Fault{Break: customeriotest.Cut})
//	// run the code under test against s.URL(), site id "site", key "track-key"
//	if v := s.Verdict(); v.Unique != 100 || v.OrderViolations > 0 {
//		t.Error(v)
//	}
//
// One server answers for all hosts: the Track API (v1 and v2), of the App API the transactional
// messages, broadcasts, imports and a few queries. Where the documentation of the service is
// silent, [Open] has a switch. outboxtest.Guard fails a test that dials the real hosts.
//
// # Caveats
//
// Accepted means recorded: the server keeps no profiles beyond the last identify of a person, and
// suppresses, merges and sends nothing. Its memory grows with every operation, and with every
// distinct one even under Options.CountOnly: it is made for a trial. It speaks HTTP/1.1.
//
// In a bubble of testing/synctest, start an unstarted server on an outboxtest.Pipe.
package customeriotest

import (
	"net"
	"net/http"
	"sync"

	"github.com/seed8107221f/outbox/internal/manners"
)

// A Server is the stand-in. Make one with [NewServer], or with [NewUnstartedServer] to serve it by
// other means: it is an http.Handler. All methods are safe for concurrent use.
type Server struct {
	o        Options                  // every default filled in; never changed
	closing  chan struct{}            // closed by Close: ends silence and delays
	serving  http.Server              // serves the listener of Start
	served   sync.WaitGroup           // the goroutine of Start
	handlers sync.WaitGroup           // requests being answered; added to under mu, and not once closed
	mu       sync.Mutex               // a leaf; guards what follows
	closed   bool                     // by Close
	url      string                   // set by Start
	faults   Faults                   // replaced as a whole
	script   []Fault                  // what the next requests meet
	chance   chance                   // decides Faults.Chances
	requests int                      // that arrived
	traffic  map[API]*manners.Traffic // one for each API
	record   record                   // what was accepted
	refused  map[string]int           // requests and items by status and reason
	imports  []*importJob             // by id, which counts from 1
}

// NewServer returns a server that listens on an address of this machine; see URL. nil means the
// defaults. The caller closes it. NewServer panics if it cannot listen.
func NewServer(o *Options) *Server {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		if l, err = net.Listen("tcp", "[::1]:0"); err != nil {
			panic("customeriotest: listen on a port of this machine: " + err.Error())
		}
	}
	s := NewUnstartedServer(o)
	s.Start(l)
	return s
}

// NewUnstartedServer returns a server that does not listen: to be used as an http.Handler, or to be
// started on a listener of the caller's choice. nil means the defaults.
func NewUnstartedServer(o *Options) *Server {
	if o == nil {
		o = &Options{}
	}
	s := &Server{o: o.withDefaults(), closing: make(chan struct{}), refused: map[string]int{}}
	s.serving.Handler = s
	s.chance = newChance(s.o.Seed)
	s.record = newRecord()
	s.traffic = map[API]*manners.Traffic{}
	for api, limit := range s.o.Limits {
		s.traffic[api] = manners.NewTraffic(limit.Requests, limit.Window)
	}
	return s
}

// Start serves l until Close, which also closes l. It returns at once.
func (s *Server) Start(l net.Listener) {
	s.mu.Lock()
	s.url = "http://" + l.Addr().String()
	s.mu.Unlock()
	s.served.Go(func() { s.serving.Serve(l) }) // the error says that Close was called, or l closed
}

// URL returns where the server answers, such as "http://127.0.0.1:4711"; "" before Start.
func (s *Server) URL() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.url
}

// Close cuts all connections and returns when the last request has ended. The record and the
// verdict stay. Close may be called more than once.
func (s *Server) Close() {
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		close(s.closing)
	}
	s.mu.Unlock()
	s.serving.Close()
	s.served.Wait()
	s.handlers.Wait()
}

// ServeHTTP answers one request. Where the connection is to break, and after Close, it panics with
// http.ErrAbortHandler, as servers expect it.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c, ok := s.arrive(r)
	if !ok {
		panic(http.ErrAbortHandler)
	}
	defer s.handlers.Done()
	p, err := c.read()
	if err != nil {
		panic(http.ErrAbortHandler) // the client went away in the middle of its request: it made none
	}
	var a answer
	if c.fault.passes() {
		a = s.handle(c, p)
	}
	if c.fault.Status != 0 {
		a = s.fail(c)
	}
	s.send(w, c, a)
}

// handle gives the proper answer. p is what is wrong with the body as a whole.
func (s *Server) handle(c *call, p *problem) answer {
	switch {
	case !c.within:
		return s.throttle(c)
	case c.route.handle == nil:
		return s.refuse(c, c.route.missing)
	case !s.authorized(c):
		return s.refuse(c, &problem{http.StatusUnauthorized, Refusal{Reason: "credentials", Message: "credentials are missing or wrong"}})
	case p != nil:
		return s.refuse(c, p)
	}
	return c.route.handle(s, c)
}
