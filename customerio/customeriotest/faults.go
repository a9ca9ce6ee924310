package customeriotest

import (
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"time"
)

// A Break is what happens to the connection instead of a whole answer.
type Break int

const (
	// Whole: nothing; the answer arrives.
	Whole Break = iota
	// Cut: the connection ends in the middle of the answer.
	Cut
	// Silence: no answer comes until the client gives up.
	Silence
	// Reset: the connection is reset before the answer.
	Reset
)

// A Fault is what one request meets. The zero Fault is none. Examples:
//
//	Fault{Status: 502}                          a page in HTML; nothing is accepted
//	Fault{Status: 503, RetryAfter: RetryAfter{Seconds, time.Minute}}
//	Fault{Status: 429}                          without a word about when
//	Fault{Status: 301, Location: "https://track-eu.example"}
//	Fault{Break: Cut}                           accepted, and the client cannot know
//	Fault{Break: Reset}                         not accepted, and the client cannot know
//	Fault{Break: Silence, Accept: true}
//	Fault{Delay: 10 * time.Second}              accepted, and answered late
type Fault struct {
	// Status is answered instead of the proper answer: from 500 on with a page in HTML, from 400 on
	// with an error of the API, from 200 on with an empty body. 0: the proper answer.
	Status int
	// RetryAfter goes with Status; zero: no header.
	RetryAfter RetryAfter
	// Location, with a Status of 300 to 399, is the host to go to, such as "https://track-eu.example";
	// the path of the request is added.
	Location string
	// Delay passes between the acceptance of the request and the answer, or the break.
	Delay time.Duration
	// Break is what the connection suffers; the zero value is nothing.
	Break Break
	// Accept has the request handled before its answer is replaced or lost. Without it a request
	// that meets a Status, Silence or Reset leaves no trace in the record. One that meets a Cut or
	// a Delay alone is always handled.
	Accept bool
}

// passes reports whether the request is handled.
func (f Fault) passes() bool {
	return f.Accept || f.Status == 0 && (f.Break == Whole || f.Break == Cut)
}

// A Span has every request meet one fault for some time: an outage, a storm of 429.
type Span struct {
	From, Until time.Time // zero From: at once; zero Until: until the faults are set again
	Fault       Fault
}

// A Chance has a share of the requests meet one fault.
type Chance struct {
	Share float64 // of the requests, from 0, none, to 1, all
	Fault Fault
}

// Faults are the ways in which a [Server] misbehaves. The zero value is none. Its functions are
// called by many goroutines at once, and must not modify the operation.
type Faults struct {
	// Only names the APIs that Spans and Chances, and those that Script adds, strike; nil: all.
	Only []API
	// Spans come before Chances; of several that last, the first counts.
	Spans []Span
	// Chances exclude each other: a request meets at most one, so the shares add up to at most 1.
	Chances []Chance
	// Refuse returns why a valid operation of the Track API is refused: in a batch by an item of a
	// 207, else by a 400. nil lets it pass. Index is of no account.
	Refuse func(Operation) *Refusal
	// Poison returns the status, such as 400, 413 or 500, with which a request of the Track API
	// that contains the operation is refused as a whole; 0 lets it pass.
	Poison func(Operation) int
	// Rewrite replaces the refusals that a batch of n operations is about to be answered with,
	// which may be none; what was accepted remains accepted. nil leaves them. [IndexOutOfRange],
	// [IndexRepeated] and [IndexMissing] are such functions.
	Rewrite func(n int, refused []Refusal) []Refusal
}

// SetFaults replaces the faults for the requests that arrive from now on. What Script has added
// stays.
func (s *Server) SetFaults(f Faults) {
	f.Only, f.Spans, f.Chances = slices.Clone(f.Only), slices.Clone(f.Spans), slices.Clone(f.Chances)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = f
}

// Script adds faults that the next requests meet, one each, in order of arrival and before all
// other faults. A zero Fault lets one request pass unharmed.
func (s *Server) Script(next ...Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.script = append(s.script, next...)
}

// meet decides which fault the call meets. s.mu is held.
func (s *Server) meet(c *call) Fault {
	if s.faults.Only != nil && !slices.Contains(s.faults.Only, c.route.api) {
		return Fault{}
	}
	if len(s.script) > 0 {
		f := s.script[0]
		s.script = s.script[1:]
		return f
	}
	for _, p := range s.faults.Spans {
		if !c.at.Before(p.From) && (p.Until.IsZero() || c.at.Before(p.Until)) {
			return p.Fault
		}
	}
	return s.chance.pick(s.faults.Chances)
}

// poisoned asks the faults whether a valid operation spoils its request.
func poisoned(c *call, op Operation) *problem {
	if c.faults.Poison == nil {
		return nil
	}
	if status := c.faults.Poison(op); status != 0 {
		return &problem{status, Refusal{Reason: "poison", Message: "the request is refused as a whole"}}
	}
	return nil
}

// chosen asks the faults whether a valid operation is refused.
func chosen(c *call, op Operation) *problem {
	if c.faults.Refuse == nil {
		return nil
	}
	r := c.faults.Refuse(op)
	if r == nil {
		return nil
	}
	p := &problem{http.StatusBadRequest, *r}
	p.Index = nil
	return p
}

// chance is the same in every run with the same seed.
type chance struct{ r *rand.Rand }

func newChance(seed uint64) chance { return chance{rand.New(rand.NewPCG(seed, 0))} }

func (c chance) pick(of []Chance) Fault {
	if len(of) == 0 {
		return Fault{}
	}
	draw := c.r.Float64()
	for _, o := range of {
		if draw -= o.Share; draw < 0 {
			return o.Fault
		}
	}
	return Fault{}
}

// reset ends the connection without an answer; on TCP with a reset, so that the client does not
// take it for an orderly end.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err == nil {
		if tcp, ok := conn.(*net.TCPConn); ok {
			tcp.SetLinger(0)
		}
		conn.Close()
	}
	panic(http.ErrAbortHandler)
}

// IndexOutOfRange adds a refusal of an operation after the last one of the batch.
func IndexOutOfRange(n int, refused []Refusal) []Refusal {
	return append(refused, Refusal{Index: &n, Reason: "invalid", Message: "is not in the batch"})
}

// IndexRepeated refuses everything twice.
func IndexRepeated(_ int, refused []Refusal) []Refusal {
	return append(refused, refused...)
}

// IndexMissing keeps to itself which operations were refused.
func IndexMissing(_ int, refused []Refusal) []Refusal {
	for i := range refused {
		refused[i].Index = nil
	}
	return refused
}
