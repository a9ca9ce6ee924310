package monitor

import (
	"bytes"
	"encoding/json"
	"mime"
	"net/http"
	"time"

	"github.com/seed8107221f/outbox/sender"
)

const (
	writeTime   = 10 * time.Second // that one write of a stream may take
	exportAtOne = 100              // events read at a time: one may have megabytes
)

// export streams the events of a state as lines of JSON. What breaks it off ends the connection, so
// that the reader can tell it from the end.
func (q *request) export() error {
	if !q.may.Payload {
		return q.notAllowed("export payloads of")
	}
	f, err := filterOf(q.query, q.query.Get("export"))
	if err != nil {
		return err
	}
	if _, ok := stateWords[f.State]; !ok {
		return badRequest("there is no list %q", visible(cut(string(f.State), 40)))
	}
	ask := sender.Query{State: f.State, After: f.After, Newest: f.Newest, Limit: exportAtOne, Match: f.match()}
	page, err := q.lane.List(q.Context(), ask)
	if err != nil {
		return listError(err)
	}
	name := q.lane.name + "-" + string(f.State) + ".ndjson"
	q.w.Header().Set("Content-Type", "application/x-ndjson")
	q.w.Header().Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": visible(name)}))
	if q.Method == http.MethodHead {
		return nil
	}
	control := http.NewResponseController(q.w)
	for {
		control.SetWriteDeadline(time.Now().Add(6 * writeTime)) // its error: then the server's own holds
		if err := q.writeLines(page.Items); err != nil {
			panic(http.ErrAbortHandler)
		}
		if page.Next == "" {
			return nil
		}
		control.Flush() // its error: the next write has it too
		if q.m.ending.Err() != nil || !q.stillMay(func(a Access) bool { return a.Payload }) {
			panic(http.ErrAbortHandler)
		}
		ask.After = page.Next
		if page, err = q.lane.List(q.Context(), ask); err != nil {
			panic(http.ErrAbortHandler)
		}
	}
}

// stillMay asks again what the sender may do.
func (q *request) stillMay(right func(Access) bool) bool {
	return right(q.access(q.query.Get("lane")))
}

// writeLines writes events with header and payload. One that cannot be read has no payload, and
// says why.
func (q *request) writeLines(items []sender.Listed) error {
	for i := range items {
		it := &items[i]
		line := struct {
			entry
			Header  map[string]string `json:"header,omitempty"`
			Payload *[]byte           `json:"payload,omitempty"`
		}{entry: entryOf(it), Header: it.Header}
		if it.Err == nil {
			payload := append([]byte{}, it.Payload...)
			line.Payload = &payload
		}
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		if err := e.Encode(line); err != nil {
			return err
		}
		if _, err := q.w.Write(b.Bytes()); err != nil {
			return err
		}
	}
	return nil
}
