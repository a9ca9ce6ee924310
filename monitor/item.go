package monitor

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/sender"
)

// An item is the JSON of one event.
type item struct {
	V    int    `json:"v"`
	Lane string `json:"lane"`
	entry
	History []failure `json:"history"`
	Reasons []reason  `json:"reasons"` // in the order in which they give way
	Ahead   int       `json:"ahead"`   // at most
	About   time.Time `json:"about,omitzero"`

	// Only with the right to read payloads.
	Header   map[string]string `json:"header,omitempty"`
	Payload  *[]byte           `json:"payload,omitempty"`
	Contents string            `json:"contents,omitempty"` // names both: an edit says so what it was made from
}

type failure struct {
	At     time.Time `json:"at"`
	Reason string    `json:"reason"`
}

type reason struct {
	Code  string    `json:"code"`
	Until time.Time `json:"until,omitzero"`
	Text  string    `json:"text"`
	Cause string    `json:"cause,omitempty"`
	Head  *headItem `json:"head,omitempty"`
}

type headItem struct {
	ID string `json:"id"`
	At uint64 `json:"at"`
}

// itemOf returns the JSON of an event, with what is in it if may says so.
func itemOf(lane string, e *outbox.Explanation, may Access) item {
	d := item{V: version, Lane: lane, entry: entryOf(&e.Item), History: []failure{}, Reasons: []reason{}, Ahead: e.Ahead, About: e.About.UTC()}
	for _, f := range e.Item.History {
		d.History = append(d.History, failure{f.At.UTC(), f.Reason})
	}
	for _, r := range e.Reasons {
		one := reason{Code: string(r.Code), Until: r.Until.UTC(), Text: r.Text, Cause: r.Cause}
		if r.Head != nil {
			one.Head = &headItem{r.Head.ID.String(), r.Head.Seq}
		}
		d.Reasons = append(d.Reasons, one)
	}
	if may.Payload && e.Item.Err == nil {
		payload := append([]byte{}, e.Item.Payload...)
		d.Header, d.Payload, d.Contents = e.Item.Header, &payload, contentsOf(&e.Item.Item)
	}
	return d
}

// contentsOf names payload and header of an event by the first half of a SHA-256, in hexadecimal.
// Only readers with the right to payloads see it: a short payload can be guessed from it.
func contentsOf(it *sender.Item) string {
	h := sha256.New()
	part := func(p string) { // with its length, so that no two lists of parts are alike
		fmt.Fprintf(h, "%d ", len(p))
		io.WriteString(h, p)
	}
	part(string(it.Payload))
	for _, name := range slices.Sorted(maps.Keys(it.Header)) {
		part(name)
		part(it.Header[name])
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// readItem answers with one event.
func (q *request) readItem() error {
	id, err := uuid.Parse(q.query.Get("item"))
	if err != nil {
		return badRequest("item is %q, an ID expected", visible(cut(q.query.Get("item"), 80)))
	}
	at, err := place(q.query.Get("at"))
	if err != nil {
		return err
	}
	e, err := q.lane.Explain(q.Context(), id, at)
	if err != nil {
		return err
	}
	if q.json {
		q.writeJSON(200, itemOf(q.lane.name, &e, q.may))
		return nil
	}
	q.writePage(200, "item", q.itemView(&e))
	return nil
}

// place reads a Seq; 0: not known.
func place(text string) (uint64, error) {
	if text == "" {
		return 0, nil
	}
	at, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, badRequest("at is %q, a number expected", visible(cut(text, 40)))
	}
	return at, nil
}

// itemLink returns the page of an event.
func itemLink(lane, id string, at uint64) string {
	return link("lane", lane, "item", id, "at", strconv.FormatUint(at, 10))
}

// answerUnknown reports whether a dead event may have arrived: it was sent at most once, and nobody
// knows the answer.
func answerUnknown(lastErr string) bool { return strings.HasPrefix(lastErr, "sent, answer unknown") }
