package customeriotest

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"time"
)

// maxBody is what the server reads of a request, in bytes: more than any documented limit.
const maxBody = 16 << 20

// A call is one request on its way through the server. It belongs to the goroutine that answers.
type call struct {
	r      *http.Request
	route  route
	args   []string // what stands in the path for the route's wildcards, unescaped
	at     time.Time
	number int       // of the request, from 1
	within bool      // the rate
	room   time.Time // if not within: when the window has room, if nothing else arrives
	faults Faults    // as they were when the request arrived
	fault  Fault     // what this request meets
	gzip   bool      // taken
	body   []byte
}

// arrive counts the request and decides what it meets. It reports false after Close. The clock is
// read under the lock: windows want arrivals in order.
func (s *Server) arrive(r *http.Request) (*call, bool) {
	c := &call{r: r, gzip: s.o.Open.Gzip}
	c.route, c.args = find(r.Method, r.URL.EscapedPath())
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, false
	}
	s.handlers.Add(1)
	s.requests++
	c.number = s.requests
	c.at = time.Now()
	c.within, c.room = s.traffic[c.route.api].Arrive(c.at, s.o.Grace)
	c.faults = s.faults
	c.fault = s.meet(c)
	return c, true
}

// read takes in the body, and says what is wrong with it as a whole. An error says that the client
// did not send all of it.
func (c *call) read() (*problem, error) {
	raw, err := io.ReadAll(io.LimitReader(c.r.Body, maxBody+1))
	if err != nil {
		return nil, err
	}
	switch e := c.r.Header.Get("Content-Encoding"); {
	case e == "" || e == "identity":
	case e == "gzip" && c.gzip:
		z, err := gzip.NewReader(bytes.NewReader(raw))
		if err == nil {
			raw, err = io.ReadAll(io.LimitReader(z, maxBody+1))
		}
		if err != nil {
			return invalid("", "the body is not compressed by gzip: %v", err), nil
		}
	default:
		return &problem{http.StatusUnsupportedMediaType, Refusal{Reason: "encoding",
			Message: fmt.Sprintf("content encoding %q is not taken", e)}}, nil
	}
	if len(raw) > maxBody {
		return oversize(http.StatusRequestEntityTooLarge, "", len(raw), maxBody), nil
	}
	c.body = raw
	return nil, nil
}
