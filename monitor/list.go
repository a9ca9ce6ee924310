package monitor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/sender"
)

const (
	pageLimit  = 50
	maxLimit   = 1000
	maxLooked  = 10_000                 // records that one request looks at
	maxLooking = 100 * time.Millisecond // and how long
	atOnce     = 1000                   // records between two looks at the clock
)

// A filter is what a list shows.
type filter struct {
	State         sender.State
	Key, Kind, ID string // "": any. Key and Kind with a trailing * and ID are beginnings
	After         sender.Cursor
	Newest        bool
	Limit         int
}

// filterOf reads a filter from a query or a form. An empty state stays so.
func filterOf(v url.Values, state string) (filter, error) {
	f := filter{State: sender.State(state), Key: v.Get("key"), Kind: v.Get("kind"), ID: strings.ToLower(strings.TrimSpace(v.Get("id"))),
		After: sender.Cursor(v.Get("after")), Newest: v.Get("newest") != "", Limit: pageLimit}
	if text := v.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maxLimit {
			return f, badRequest("limit is %q, 1 to %d expected", visible(cut(text, 40)), maxLimit)
		}
		f.Limit = n
	}
	return f, f.check()
}

func (f *filter) check() error {
	if _, known := stateWords[f.State]; !known && f.State != "" {
		return badRequest("there is no list %q; the lists are %s", visible(cut(string(f.State), 40)), joined(states))
	}
	return nil
}

// narrow reports whether not every event of the state matches.
func (f *filter) narrow() bool { return f.Key != "" || f.Kind != "" || f.ID != "" }

// match returns what selects the events; nil: all.
func (f *filter) match() func(*sender.Item) bool {
	if !f.narrow() {
		return nil
	}
	return func(it *sender.Item) bool {
		return like(it.Key, f.Key) && like(it.Kind, f.Kind) && strings.HasPrefix(it.ID.String(), f.ID)
	}
}

// like reports whether s is what was asked for, or begins so if that ends with a star.
func like(s, pattern string) bool {
	begin, star := strings.CutSuffix(pattern, "*")
	return pattern == "" || s == pattern || star && strings.HasPrefix(s, begin)
}

// query returns the parts of a link to this list.
func (f *filter) query(lane string, after sender.Cursor) []string {
	newest := ""
	if f.Newest {
		newest = "1"
	}
	return []string{"lane", lane, "list", string(f.State), "key", f.Key, "kind", f.Kind, "id", f.ID, "newest", newest, "after", string(after)}
}

// An entry is the JSON of an event in a list.
type entry struct {
	ID       string       `json:"id"`
	At       uint64       `json:"at"`
	State    sender.State `json:"state"`
	Kind     string       `json:"kind"`
	Key      string       `json:"key"`
	Created  time.Time    `json:"created,omitzero"`
	Due      time.Time    `json:"due,omitzero"`
	Expires  time.Time    `json:"expires,omitzero"`
	Attempts int          `json:"attempts"`
	Failures int          `json:"failures"`
	Failed   time.Time    `json:"failed,omitzero"`
	LastErr  string       `json:"last_error,omitempty"`
	Bytes    int          `json:"bytes"` // of the payload
	Headers  []string     `json:"headers,omitempty"`
	Damage   string       `json:"error,omitempty"` // why it cannot be read
}

func entryOf(it *sender.Listed) entry {
	e := entry{ID: it.ID.String(), At: it.Seq, State: it.State, Kind: it.Kind, Key: it.Key,
		Created: it.Created.UTC(), Due: it.Due.UTC(), Expires: it.Expires.UTC(), Attempts: it.Attempts, Failures: it.Failures,
		Failed: it.FailedAt.UTC(), LastErr: it.LastErr, Bytes: len(it.Payload), Headers: slices.Sorted(maps.Keys(it.Header))}
	if it.Err != nil {
		e.Damage = it.Err.Error()
	}
	return e
}

// A listing is the JSON of a list.
type listing struct {
	V      int           `json:"v"`
	Lane   string        `json:"lane"`
	List   sender.State  `json:"list"`
	Of     int           `json:"of"`     // how many are in that state; ready: also in line and in flight
	Looked int           `json:"looked"` // how many of them this answer is about
	Next   sender.Cursor `json:"next"`   // "": the end was reached
	Items  []entry       `json:"items"`
}

// list looks for events until it has f.Limit, or has looked for long enough.
func (w *watched) list(ctx context.Context, f *filter) (listing, error) {
	l := listing{V: version, Lane: w.name, List: f.State, Items: []entry{}, Next: f.After}
	s := w.Stats()
	if l.Of = countOf(&s, f.State); f.State == sender.StateReady {
		l.Of += s.InLine + s.InFlight // which the list has too
	}
	for end := time.Now().Add(maxLooking); ; {
		page, err := w.List(ctx, sender.Query{State: f.State, After: l.Next, Newest: f.Newest, Limit: f.Limit - len(l.Items), Scan: atOnce, Match: f.match()})
		if err != nil {
			return l, listError(err)
		}
		for i := range page.Items {
			l.Items = append(l.Items, entryOf(&page.Items[i]))
		}
		l.Looked += page.Looked
		l.Next = page.Next
		if l.Next == "" || len(l.Items) >= f.Limit || l.Looked >= maxLooked || !time.Now().Before(end) {
			return l, nil
		}
	}
}

// listError tells a cursor that the store does not know from a store that fails.
func listError(err error) error {
	for _, known := range []error{outbox.ErrStorage, outbox.ErrClosed, outbox.ErrCorrupt, outbox.ErrSealed, errors.ErrUnsupported, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, known) {
			return err
		}
	}
	return badRequest("%s", visible(textOf(err)))
}

// countOf returns how many events are in a state.
func countOf(s *outbox.Stats, state sender.State) int {
	switch state {
	case sender.StateReady:
		return s.Ready
	case sender.StateInLine:
		return s.InLine
	case sender.StateInFlight:
		return s.InFlight
	case sender.StateRetrying:
		return s.Retrying
	case sender.StateScheduled:
		return s.Scheduled
	}
	return s.Dead
}

// said says how far a list was looked through.
func (l *listing) said(f *filter) string {
	of := max(l.Of, l.Looked)
	switch {
	case f.After != "" && l.Next == "":
		return fmt.Sprintf("Looked at %s more, to the end.", count(l.Looked))
	case f.After != "":
		return fmt.Sprintf("Looked at %s more of %s.", count(l.Looked), count(of))
	case l.Next == "" && l.Looked == 1:
		return "The only one was looked at."
	case l.Next == "":
		return fmt.Sprintf("All %s were looked at.", count(l.Looked))
	}
	return fmt.Sprintf("Looked at %s of %s.", count(l.Looked), count(of))
}
