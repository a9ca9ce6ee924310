package monitor

import (
	"cmp"
	"encoding/json"
	"io"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox/sender"
)

// A ref names an event by its place and ID together, so that nothing else is hit if the place has
// changed hands.
type ref struct {
	At uint64    `json:"at"`
	ID uuid.UUID `json:"id"`
}

// An action is what somebody asks to have done.
type action struct {
	Do     string
	Items  []ref
	All    bool   // what filter matches, in place of Items
	filter        // of All
	Sure   bool   // it was confirmed; a program always is sure
	Erase  string // the key of an erase

	// Of an edit.
	Payload []byte
	Header  map[string]string // nil: as it was
	Was     string            // the contents that the reader saw; "": any
	Revive  bool

	// Of a pause.
	Until  time.Time
	Reason string

	fields url.Values // what a form has; nil: a program asks
}

// Its fields are those of a JSON body.
type actionJSON struct {
	Do      string            `json:"do"`
	Items   []ref             `json:"items"`
	All     int               `json:"all"`
	List    string            `json:"list"`
	Key     string            `json:"key"`
	Kind    string            `json:"kind"`
	ID      string            `json:"id"`
	After   string            `json:"after"`
	Newest  int               `json:"newest"`
	Limit   int               `json:"limit"`
	Sure    int               `json:"sure"`
	Payload []byte            `json:"payload"`
	Header  map[string]string `json:"header"`
	Was     string            `json:"was"`
	Revive  int               `json:"revive"`
	Until   string            `json:"until"`
	Reason  string            `json:"reason"`
}

// A verb is something that can be done.
type verb struct {
	text    string // "revive"
	done    string // "revived"
	events  bool   // it is done to events
	final   bool   // it cannot be undone
	payload bool   // it needs the right to read payloads
	program bool   // for programs: no page offers it, and no form does it
	from    []sender.State
}

var verbs = map[string]verb{
	"revive":         {text: "revive", done: "revived", events: true, from: []sender.State{sender.StateDead}},
	"drop":           {text: "drop", done: "dropped", events: true, final: true, from: states},
	"run-now":        {text: "run now", done: "made due", events: true, from: []sender.State{sender.StateRetrying, sender.StateScheduled}},
	"edit":           {text: "edit", done: "edited", events: true, final: true, payload: true, from: []sender.State{sender.StateDead}},
	"pause":          {text: "pause", done: "paused"},
	"resume":         {text: "resume", done: "resumed"},
	"clear-throttle": {text: "clear the throttle", done: "cleared", final: true, payload: true},
	"compact":        {text: "compact", done: "compacted"},
	"check":          {text: "check", done: "checked", program: true},
	"erase":          {text: "erase", done: "erased", final: true, payload: true, program: true},
}

func (a *action) fromJSON(q *request) error {
	var j actionJSON
	d := json.NewDecoder(q.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(&j); err != nil {
		if r := refusalOf(err); r.code == "too_large" {
			return r
		}
		return badRequest("the body: %s", visible(err.Error()))
	}
	if _, err := d.Token(); err != io.EOF {
		if r := refusalOf(cmp.Or(err, io.ErrUnexpectedEOF)); r.code == "too_large" {
			return r
		}
		return badRequest("the body: more than one document")
	}
	a.Do, a.Items, a.All, a.Sure = firstOf(q.query.Get("do"), j.Do), j.Items, j.All != 0, true
	a.filter = filter{State: sender.State(j.List), Key: j.Key, Kind: j.Kind, ID: strings.ToLower(j.ID), After: sender.Cursor(j.After), Newest: j.Newest != 0, Limit: maxLimit}
	if j.Limit != 0 {
		a.Limit = j.Limit
	}
	if a.Limit < 1 || a.Limit > maxLimit {
		return badRequest("limit is %d, 1 to %d expected", a.Limit, maxLimit)
	}
	a.Erase, a.Payload, a.Header, a.Was, a.Revive, a.Reason = j.Key, j.Payload, j.Header, j.Was, j.Revive != 0, j.Reason
	return a.check(j.Until, q.now)
}

func (a *action) fromForm(q *request) error {
	if err := q.ParseForm(); err != nil {
		if r := refusalOf(err); r.code == "too_large" {
			return r
		}
		return badRequest("the form cannot be read")
	}
	v := q.Form // with the query, which has the lane
	a.fields = q.PostForm
	a.Do, a.All, a.Sure, a.Revive = v.Get("do"), v.Get("all") != "", v.Get("sure") != "", v.Get("revive") != ""
	if a.All {
		var err error
		if a.filter, err = filterOf(q.PostForm, v.Get("list")); err != nil {
			return err
		}
		a.Limit = maxLimit
	} else {
		a.State = sender.State(v.Get("list")) // to go back to
		ids := q.PostForm["id"]
		for i, text := range q.PostForm["at"] {
			at, id, both := strings.Cut(text, ".")
			if !both && i < len(ids) {
				id = ids[i]
			}
			r, err := refOf(at, id)
			if err != nil {
				return err
			}
			a.Items = append(a.Items, r)
		}
	}
	if verbs[a.Do].program {
		return badRequest("%s is for programs, which send JSON", a.Do)
	}
	a.Payload, a.Was, a.Reason = []byte(q.PostForm.Get("payload")), q.PostForm.Get("was"), v.Get("reason")
	if err := a.filter.check(); err != nil {
		return err
	}
	return a.check(v.Get("until"), q.now)
}

func refOf(at, id string) (r ref, err error) {
	if r.At, err = place(at); err != nil {
		return r, err
	}
	if r.ID, err = uuid.Parse(id); err != nil || r.At == 0 {
		return r, badRequest("an event is named by at and id, not by %q and %q", visible(cut(at, 40)), visible(cut(id, 80)))
	}
	return r, nil
}

// check tells what an action lacks.
func (a *action) check(until string, now time.Time) error {
	v, known := verbs[a.Do]
	switch {
	case !known:
		return badRequest("do is %q, which is none of the actions %s", visible(cut(a.Do, 40)), joined(slices.Sorted(maps.Keys(verbs))))
	case v.events && !a.All && len(a.Items) == 0:
		return badRequest("no event was chosen")
	case len(a.Items) > maxLimit:
		return badRequest("%d events, at most %d in one request", len(a.Items), maxLimit)
	case a.Do == "edit" && (a.All || len(a.Items) != 1):
		return badRequest("an edit is of one event")
	case v.events && a.All && !slices.Contains(v.from, a.State):
		return badRequest("list is %q, and %s is for %v", visible(string(a.State)), v.text, v.from)
	case a.Do == "erase" && a.Erase == "":
		return badRequest("an erase needs a key")
	}
	if slices.ContainsFunc(a.Items, func(r ref) bool { return r.At == 0 }) {
		return badRequest("an event is named by at and id together")
	}
	if a.Do == "pause" && until != "" {
		if d, err := time.ParseDuration(until); err == nil {
			a.Until = now.Add(d)
		} else if a.Until, err = time.Parse(time.RFC3339, until); err != nil {
			return badRequest("until is %q, a time as in RFC 3339 or a duration expected", visible(cut(until, 60)))
		}
	}
	return nil
}

// joined lists names.
func joined[S ~string](names []S) string {
	var text strings.Builder
	for i, name := range names {
		if i > 0 {
			text.WriteString(", ")
		}
		text.WriteString(string(name))
	}
	return text.String()
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// hidden returns the fields of the form again, for the page that asks.
func (a *action) hidden() []field {
	var fs []field
	for _, name := range slices.Sorted(maps.Keys(a.fields)) {
		if name != "sure" {
			for _, value := range a.fields[name] {
				fs = append(fs, field{name, value})
			}
		}
	}
	if a.fields.Get("do") == "" {
		fs = append(fs, field{"do", a.Do})
	}
	return append(fs, field{"sure", "1"})
}

// A field is a hidden one of a form.
type field struct{ Name, Value string }

// value returns how a checkbox names an event.
func (e *entry) value() string { return strconv.FormatUint(e.At, 10) + "." + e.ID }
