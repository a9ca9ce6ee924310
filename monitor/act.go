package monitor

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"net/http"
	"strconv"

	"github.com/seed8107221f/outbox/sender"
)

// A done is the JSON of what an action did.
type done struct {
	V          int           `json:"v"`
	Done       int           `json:"done"`
	PassedOver int           `json:"passed_over"`
	Next       sender.Cursor `json:"next"` // where to go on with all=1; "": nothing is left
}

// act does an action, or asks whether it is meant.
func (q *request) act(a *action) error {
	v := verbs[a.Do]
	if !q.may.Act {
		return q.notAllowed("act on")
	}
	if v.payload && !q.may.Payload {
		return q.notAllowed("read payloads, so not " + v.text + " in")
	}
	if !a.Sure {
		ask, err := q.mustAsk(a)
		if err != nil {
			return err
		}
		if ask != nil {
			q.writePage(http.StatusOK, "ask", *ask)
			return nil
		}
	}
	// What is done does not stop half way because the reader is gone; each call is one commit.
	ctx := context.WithoutCancel(q.Context())
	d, ids, err := q.perform(ctx, a)
	attrs := []any{"who", q.may.Name, "do", a.Do, "lane", q.lane.name, "count", d.Done}
	if len(ids) > 0 {
		attrs = append(attrs, "ids", ids)
	}
	if err != nil {
		attrs = append(attrs, "err", err.Error())
	}
	q.m.options.Logger.Info("monitor: action", attrs...)
	if err != nil {
		r := actError(a, err)
		if a.Do == "edit" && d.Done == 0 && !q.json { // what was typed is not lost
			q.writePage(r.status, "refusal", q.editRefused(a, r))
			return nil
		}
		if a.Do == "pause" && (r.code == "bad_request" || r.code == "too_large") && !q.json {
			q.writePage(http.StatusBadRequest, "pause", q.pauseView(a, r))
			return nil
		}
		return r
	}
	if q.json {
		q.writeJSON(http.StatusOK, d)
		return nil
	}
	to := []string{"lane", q.lane.name, "did", a.Do, "n", strconv.Itoa(d.Done), "over", strconv.Itoa(d.PassedOver)}
	if a.Revive {
		to = append(to, "revive", "1")
	}
	if v.events {
		to = append(to, a.query("", "")[2:]...)
		to = append(to, "more", string(d.Next))
	}
	// Relative, because nobody here knows the path: http.Redirect would make one of what a router
	// left.
	q.w.Header().Set("Location", link(to...))
	q.w.WriteHeader(http.StatusSeeOther)
	return nil
}

// actError tells a mistake of the reader from a failure of the store.
func actError(a *action, err error) *refusal {
	if r := refusalOf(err); r.code != "storage" || a.Do != "pause" && a.Do != "edit" {
		return r
	}
	return refusalOf(listError(err))
}

// perform does an action. It returns up to ten IDs for the log.
func (q *request) perform(ctx context.Context, a *action) (d done, ids []string, err error) {
	d.V = version
	switch a.Do {
	case "pause":
		return d, nil, q.lane.Pause(ctx, sender.Pause{Until: a.Until, By: cut(q.may.Name, 64), Reason: a.Reason})
	case "resume":
		return d, nil, q.lane.Resume(ctx)
	case "clear-throttle":
		return d, nil, q.lane.ClearThrottle(ctx)
	case "compact":
		return d, nil, q.lane.Compact(ctx)
	case "check": // it changes nothing, so it may end with its reader
		return d, nil, q.lane.Check(q.Context())
	case "erase":
		d.Done, err = q.lane.Erase(ctx, a.Erase)
		return d, nil, err
	}
	items, next, err := q.chosen(ctx, a)
	if err != nil {
		return d, nil, err
	}
	for _, it := range items[:min(len(items), 10)] {
		ids = append(ids, it.ID.String())
	}
	switch d.Next = next; a.Do {
	case "revive":
		d.Done, err = q.lane.Revive(ctx, items...)
	case "drop":
		d.Done, err = q.lane.Drop(ctx, items...)
	case "run-now":
		d.Done, err = q.lane.RunNow(ctx, items...)
	case "edit":
		d.Done, err = q.edit(ctx, a, items[0])
	}
	d.PassedOver = len(items) - d.Done
	return d, ids, err
}

// edit replaces what is in an event, if it is still what the reader saw. A browser ends the lines of
// a text with CR and LF, whatever they ended with; so the text gets back the ends that it had.
func (q *request) edit(ctx context.Context, a *action, it sender.Item) (n int, err error) {
	if a.fields != nil || a.Was != "" {
		e, err := q.lane.Explain(ctx, it.ID, it.Seq)
		if err != nil {
			return 0, err
		}
		now := &e.Item.Item
		if a.fields != nil && !bytes.Contains(now.Payload, []byte("\r")) {
			a.Payload = bytes.ReplaceAll(a.Payload, []byte("\r\n"), []byte("\n"))
		}
		if a.Was != "" {
			saved := bytes.Equal(now.Payload, a.Payload) && (a.Header == nil || maps.Equal(now.Header, a.Header))
			if contentsOf(now) != a.Was && !saved {
				return 0, fmt.Errorf("%w: it was edited since it was read: nothing was changed", sender.ErrChanged)
			}
			it.Payload, it.Header = append([]byte{}, now.Payload...), now.Header // not nil: Edit compares
		}
	}
	if err := q.lane.Edit(ctx, it, a.Payload, a.Header); err != nil {
		return 0, err
	}
	if !a.Revive {
		return 1, nil
	}
	revived, err := q.lane.Revive(ctx, it)
	if err == nil && revived == 0 {
		err = sender.ErrChanged
	}
	if err != nil {
		err = fmt.Errorf("edited, and not revived: %w", err)
	}
	return 1, err
}

// chosen returns the events of an action, by place and ID alone.
func (q *request) chosen(ctx context.Context, a *action) (items []sender.Item, next sender.Cursor, err error) {
	if !a.All {
		for _, r := range a.Items {
			items = append(items, sender.Item{Seq: r.At, ID: r.ID})
		}
		return items, "", nil
	}
	refs, next, _, err := q.matching(ctx, &a.filter)
	for _, r := range refs {
		items = append(items, sender.Item{Seq: r.At, ID: r.ID})
	}
	return items, next, err
}

// matching returns what a filter matches, at most a thousand, and how many of these may have
// arrived.
func (q *request) matching(ctx context.Context, f *filter) (refs []ref, next sender.Cursor, unknown int, err error) {
	l, err := q.lane.list(ctx, f)
	for _, e := range l.Items {
		r, err := refOf(strconv.FormatUint(e.At, 10), e.ID)
		if err != nil {
			return nil, "", 0, err
		}
		if refs = append(refs, r); answerUnknown(e.LastErr) {
			unknown++
		}
	}
	return refs, l.Next, unknown, err
}

// mustAsk returns the page that asks, or nil. What is final is asked about, and so is what concerns
// more than one event or one that may have arrived.
func (q *request) mustAsk(a *action) (*askView, error) {
	v := verbs[a.Do]
	n, more, unknown := len(a.Items), false, 0
	if a.All {
		refs, next, u, err := q.matching(q.Context(), &a.filter)
		if err != nil {
			return nil, err
		}
		n, more, unknown = len(refs), next != "", u
	} else if a.Do == "revive" {
		for _, r := range a.Items {
			if e, err := q.lane.Explain(q.Context(), r.ID, r.At); err == nil && answerUnknown(e.Item.LastErr) {
				unknown++
			}
		}
	}
	if !v.final && n <= 1 && unknown == 0 && !a.All && a.Do != "compact" {
		return nil, nil
	}
	return q.askView(a, n, more, unknown), nil
}
