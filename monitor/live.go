package monitor

import (
	"bytes"
	"context"
	"net/http"
	"time"
)

const (
	maxStreams  = 32
	streamTick  = time.Second
	streamQuiet = 15 * time.Second // after so long a comment shows that the stream works
	streamLife  = 5 * time.Minute  // then the browser opens another
)

// endingKey is the key in the context of requests that Serve answers: the value ends before them.
type endingKey struct{}

// live streams the live regions of a page: at most once a second, and only what has changed.
func (q *request) live() error {
	if q.m.ending.Err() != nil {
		return refuse(http.StatusServiceUnavailable, "closed", "the monitor is closed")
	}
	item, err := q.followed()
	if err != nil {
		return err
	}
	if !canFlush(q.w) {
		return refuse(http.StatusServiceUnavailable, "busy", "what is in front of the monitor cannot stream")
	}
	select {
	case q.m.streams <- struct{}{}:
		defer func() { <-q.m.streams }()
	default:
		return refuse(http.StatusServiceUnavailable, "busy", "%d streams are open, at most %d", maxStreams, maxStreams)
	}
	h := q.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no")
	serving, _ := q.Context().Value(endingKey{}).(context.Context)
	if serving == nil {
		serving = q.m.ending
	}
	s := stream{request: q, control: http.NewResponseController(q.w), written: q.now, item: item}
	if s.write([]byte("retry: 2000\n\n")) != nil {
		return nil
	}
	tick := time.NewTicker(streamTick)
	defer tick.Stop()
	for end := q.now.Add(streamLife); ; {
		if s.renew() != nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-q.Context().Done():
			return nil
		case <-q.m.ending.Done():
			return nil
		case <-serving.Done():
			return nil
		}
		if q.now = time.Now(); !q.now.Before(end) || !q.stillMay(func(a Access) bool { return a.Read }) {
			return nil
		}
		q.may = q.access(q.query.Get("lane"))
	}
}

// A stream is one that is open. Its goroutine owns it.
type stream struct {
	*request
	control *http.ResponseController
	last    []byte    // what was sent
	written time.Time // when something was
	item    *followed // nil: the page is not of an event
}

// renew sends the regions if they changed, or a comment if nothing was sent for long.
func (s *stream) renew() error {
	var b bytes.Buffer
	if err := s.regions(&b); err != nil {
		return err
	}
	switch {
	case !bytes.Equal(b.Bytes(), s.last):
		s.last = b.Bytes()
		return s.write(event(s.last))
	case s.now.Sub(s.written) >= streamQuiet:
		return s.write([]byte(":\n\n"))
	}
	return nil
}

// write sends bytes, and fails if the reader does not take them in time.
func (s *stream) write(p []byte) error {
	s.control.SetWriteDeadline(time.Now().Add(writeTime)) // its error: then the server's own holds
	s.written = s.now
	if _, err := s.w.Write(p); err != nil {
		return err
	}
	return s.control.Flush()
}

// regions writes the live regions of the page as HTML.
func (s *stream) regions(b *bytes.Buffer) error {
	if s.item != nil {
		return s.itemRegions(b)
	}
	if s.lane == nil {
		return pages.ExecuteTemplate(b, "overview-regions", s.overviewView())
	}
	return pages.ExecuteTemplate(b, "lane-regions", s.laneRegions(nil))
}

// event frames HTML as a server-sent event.
func event(html []byte) []byte {
	var b bytes.Buffer
	for line := range bytes.SplitSeq(html, []byte("\n")) {
		b.WriteString("data: ")
		b.Write(bytes.TrimSuffix(line, []byte("\r")))
		b.WriteByte('\n')
	}
	b.WriteByte('\n')
	return b.Bytes()
}

// canFlush reports whether a writer, or one that it wraps, can send what it has so far.
func canFlush(w http.ResponseWriter) bool {
	for {
		switch t := w.(type) {
		case interface{ FlushError() error }, http.Flusher:
			return true
		case interface{ Unwrap() http.ResponseWriter }:
			w = t.Unwrap()
		default:
			return false
		}
	}
}
