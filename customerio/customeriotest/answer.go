package customeriotest

import (
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// An answer is what the client is to receive, unless a fault has other plans.
type answer struct {
	status   int
	kind     string // content type; "" means JSON
	location string // of a redirect
	retry    RetryAfter
	body     []byte
}

// A Refusal says why an operation was not accepted, in the words of the v2 API.
type Refusal struct {
	Index   *int   `json:"batch_index,omitempty"` // place in the batch, from 0; nil: not told
	Reason  string `json:"reason"`                // one word, such as "invalid" or "required"
	Field   string `json:"field"`                 // such as "attributes.plan"; "": none
	Message string `json:"message"`
}

// A problem is a refusal with the status that goes with it.
type problem struct {
	status int
	Refusal
}

func invalid(field, format string, args ...any) *problem {
	return &problem{http.StatusBadRequest, Refusal{Reason: "invalid", Field: field, Message: fmt.Sprintf(format, args...)}}
}

func required(field string) *problem {
	return &problem{http.StatusBadRequest, Refusal{Reason: "required", Field: field, Message: "is required"}}
}

func oversize(status int, field string, n, limit int) *problem {
	return &problem{status, Refusal{Reason: "size", Field: field, Message: fmt.Sprintf("has %d bytes, %d are allowed", n, limit)}}
}

// text is the refusal in one line.
func (r Refusal) text() string { return strings.TrimSpace(r.Field + " " + r.Message) }

// A shape is how a part of the service writes a refusal.
type shape func(*problem) any

type object = map[string]any

func metaError(p *problem) any { return object{"meta": object{"error": p.text()}} }

func metaErrors(p *problem) any { return object{"meta": object{"errors": []string{p.text()}}} }

func entityErrors(p *problem) any { return object{"errors": []Refusal{p.Refusal}} }

func detailErrors(p *problem) any {
	e := object{"detail": p.text(), "status": strconv.Itoa(p.status)}
	if p.Field != "" {
		e["source"] = object{"pointer": "/" + strings.ReplaceAll(p.Field, ".", "/")}
	}
	return object{"errors": []object{e}}
}

// ok answers with v as JSON and a newline.
func ok(v any) answer {
	return answer{status: http.StatusOK, body: encode(v)}
}

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("customeriotest: write an answer: " + err.Error()) // only values of this package come here
	}
	return append(b, '\n')
}

// refuse counts the refusal and gives it the shape of the route.
func (s *Server) refuse(c *call, p *problem) answer {
	s.count(p.status, p.Reason)
	if p.status >= 500 {
		return page(p.status)
	}
	return answer{status: p.status, body: encode(c.route.shape(p))}
}

// throttle refuses a request above the rate.
func (s *Server) throttle(c *call) answer {
	s.mu.Lock()
	s.traffic[c.route.api].Throttled++
	s.mu.Unlock()
	a := s.refuse(c, &problem{s.o.Open.ThrottleStatus, Refusal{Reason: "rate", Message: "too many requests"}})
	a.retry = s.o.RetryAfter
	if a.retry.Delay == 0 {
		a.retry.Delay = max(time.Until(c.room), 0)
	}
	return a
}

// fail answers as the fault of the call says.
func (s *Server) fail(c *call) answer {
	f := c.fault
	a := answer{status: f.Status}
	switch {
	case f.Status >= 500:
		a = page(f.Status)
	case f.Status >= 400:
		a = s.refuse(c, &problem{f.Status, Refusal{Reason: "fault", Message: strings.ToLower(http.StatusText(f.Status))}})
	case f.Status >= 300:
		a.location = f.Location + c.r.URL.RequestURI()
	}
	a.retry = f.RetryAfter
	return a
}

// page is what a load balancer in front of the service answers when the service does not.
func page(status int) answer {
	title := html.EscapeString(fmt.Sprintf("%d %s", status, http.StatusText(status)))
	return answer{status: status, kind: "text/html; charset=UTF-8", body: fmt.Appendf(nil,
		"<!DOCTYPE html>\n<html><head><title>%s</title></head>\n<body><h1>%[1]s</h1>\n<p>Please try again later.</p></body></html>\n", title)}
}

func (s *Server) count(status int, reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refused[fmt.Sprintf("%d %s", status, reason)]++
}

// send delivers the answer, as far as the fault of the call lets it.
func (s *Server) send(w http.ResponseWriter, c *call, a answer) {
	if d := c.fault.Delay; d > 0 {
		late := time.NewTimer(d)
		defer late.Stop()
		s.hold(c, late.C)
	}
	switch c.fault.Break {
	case Silence:
		s.hold(c, nil)
	case Reset:
		reset(w)
	}
	h := w.Header()
	h.Set("Content-Type", a.kind)
	if a.kind == "" {
		h.Set("Content-Type", "application/json; charset=utf-8")
	}
	if a.location != "" {
		h.Set("Location", a.location)
	}
	s.tell(h, c, a.retry)
	if a.status != http.StatusNoContent {
		h.Set("Content-Length", strconv.Itoa(len(a.body)))
	}
	w.WriteHeader(a.status)
	if c.fault.Break == Cut {
		w.Write(a.body[:len(a.body)/2])
		http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	w.Write(a.body) // an error means that the client has gone; its answer is lost like any other
}

// hold waits for until, and aborts the request when the client gives up or the server closes first.
func (s *Server) hold(c *call, until <-chan time.Time) {
	select {
	case <-until:
	case <-c.r.Context().Done():
		panic(http.ErrAbortHandler)
	case <-s.closing:
		panic(http.ErrAbortHandler)
	}
}

// tell writes the Retry-After, and notes from when to when nothing should arrive now.
func (s *Server) tell(h http.Header, c *call, r RetryAfter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	value, until := r.header(now)
	if value == "" {
		return
	}
	h.Set("Retry-After", value)
	s.traffic[c.route.api].Tell(now, until)
}
