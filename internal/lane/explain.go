package lane

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox/internal/errtext"
	"github.com/seed8107221f/outbox/sender"
)

// Explain says what keeps an item from being sent now.
func (l *Lane) Explain(ctx context.Context, id uuid.UUID, seq uint64) (e sender.Explanation, err error) {
	err = errtext.With(l.Store, func(s sender.Explainer) error {
		w, err := s.Explain(ctx, id, seq)
		if err == nil {
			e = explain(w, l.Stats(), l.Sender == nil, time.Now())
		}
		return err
	})
	return e, err
}

// explain puts together what the store knows of an item and how its lane is.
func explain(w sender.Wait, s sender.Stats, stores bool, now time.Time) sender.Explanation {
	e := sender.Explanation{Item: w.Listed, Ahead: w.Ahead}
	if r, ok := final(w, now); ok {
		e.Reasons, e.Ahead = []sender.Reason{r}, 0
		return e
	}
	e.Reasons = append(ofItem(w, now), ofLane(s, stores)...)
	slices.SortStableFunc(e.Reasons, func(a, b sender.Reason) int { return cmp.Compare(rank(a), rank(b)) })
	e.About = about(e, s, now)
	return e
}

// final returns the only reason of an item that nothing else holds: it is on its way, or never
// goes.
func final(w sender.Wait, now time.Time) (sender.Reason, bool) {
	switch {
	case w.Err != nil:
		return sender.Reason{Code: sender.ReasonDamaged, Text: "Its record cannot be read.", Cause: w.Err.Error()}, true
	case w.State == sender.StateDead:
		return sender.Reason{Code: sender.ReasonDead, Cause: w.LastErr,
			Text: "It failed for good" + at(w.FailedAt) + ", and stays until it is revived or dropped."}, true
	case w.State == sender.StateInFlight:
		return sender.Reason{Code: sender.ReasonInFlight, Text: "It is being sent, or its answer is being recorded."}, true
	case !w.Expires.IsZero() && !w.Expires.After(now):
		return sender.Reason{Code: sender.ReasonExpired,
			Text: "It expired" + at(w.Expires) + ": it is not sent, and is counted as expired when its turn comes."}, true
	}
	return sender.Reason{}, false
}

// ofItem returns why the item itself waits.
func ofItem(w sender.Wait, now time.Time) []sender.Reason {
	overdue := !w.Due.After(now) // its time has come, and the lane holds it up
	switch {
	case w.State == sender.StateRetrying && overdue:
		return []sender.Reason{{Code: sender.ReasonRetrying, Cause: w.LastErr,
			Text: "Its last try failed; it has been due again since " + w.Due.Format(time.RFC3339) + "."}}
	case w.State == sender.StateScheduled:
		return []sender.Reason{{Code: sender.ReasonScheduled, Until: w.Due, Text: "It is scheduled for " + w.Due.Format(time.RFC3339) + "."}}
	case w.State == sender.StateRetrying:
		return []sender.Reason{{Code: sender.ReasonRetrying, Until: w.Due, Cause: w.LastErr,
			Text: "Its last try failed; the next one is due at " + w.Due.Format(time.RFC3339) + "."}}
	case w.State == sender.StateInLine:
		r := sender.Reason{Code: sender.ReasonInLine, Text: "An earlier event of its key goes first.", Head: w.Head}
		if w.Behind > 1 {
			r.Text = fmt.Sprintf("%d earlier events of its key go first.", w.Behind)
		}
		if r.Head != nil && r.Head.LastErr != "" {
			r.Text, r.Cause = r.Text+" The first failed, and is tried again.", r.Head.LastErr
		}
		return []sender.Reason{r}
	case w.Ahead > 0:
		return []sender.Reason{{Code: sender.ReasonBehind, Text: fmt.Sprintf("At most %d events go before it.", w.Ahead)}}
	}
	return nil
}

// ofLane returns why the lane sends nothing.
func ofLane(s sender.Stats, stores bool) (rs []sender.Reason) {
	if t := s.PausedUntil; !t.IsZero() {
		rs = append(rs, sender.Reason{Code: sender.ReasonThrottled, Until: t, Text: "The destination asked for a pause" + until(t) + "."})
	}
	if s.Held != "" {
		rs = append(rs, sender.Reason{Code: sender.ReasonHeld, Until: s.Probe, Cause: s.Held, Text: broken(s)})
	}
	if p := s.OperatorPause; p != (sender.Pause{}) {
		rs = append(rs, sender.Reason{Code: sender.ReasonPaused, Until: p.Until, Cause: p.Reason,
			Text: "The lane was paused by " + cmp.Or(p.By, "its operator") + until(p.Until) + "."})
	}
	if stores {
		rs = append(rs, sender.Reason{Code: sender.ReasonStoring, Text: "The outbox has no transport: it only stores."})
	}
	if s.State == sender.LaneClosed {
		rs = append(rs, sender.Reason{Code: sender.ReasonClosed, Text: "The outbox is shut down."})
	}
	return rs
}

func broken(s sender.Stats) string {
	switch s.HeldBy {
	case sender.HeldByStorage:
		return "The store cannot be read or written."
	case sender.HeldByLimiter:
		return "The limiter fails."
	case sender.HeldByTransport:
		return "Every request in flight ignores the end of its context."
	}
	if s.Probe.IsZero() {
		return "The destination does not work."
	}
	return "The destination does not work; it is tried again" + at(s.Probe) + "."
}

// rank orders reasons as they give way: by their time, then reasons that a person must end, and
// last reasons that end only when the lane sends.
func rank(r sender.Reason) int64 {
	const unknown = 1 << 62
	switch {
	case !r.Until.IsZero():
		return min(r.Until.UnixMilli(), unknown-1)
	case r.Code == sender.ReasonInLine || r.Code == sender.ReasonBehind || r.Code == sender.ReasonRetrying:
		return unknown + 1
	}
	return unknown
}

// about returns when the item may go; zero: nobody can tell.
func about(e sender.Explanation, s sender.Stats, now time.Time) time.Time {
	t := now
	for _, r := range e.Reasons {
		switch {
		case r.Code == sender.ReasonHeld:
			return time.Time{}
		case r.Code == sender.ReasonInLine && (r.Head == nil || r.Head.LastErr != ""):
			return time.Time{} // nobody knows how often it fails
		case r.Code == sender.ReasonInLine, r.Code == sender.ReasonBehind:
		case r.Code == sender.ReasonRetrying && r.Until.IsZero(): // it is due
		case r.Until.IsZero():
			return time.Time{}
		case r.Until.After(t):
			t = r.Until
		}
	}
	if e.Ahead == 0 {
		return t
	}
	if s.Rate <= 0 {
		return time.Time{}
	}
	wait := float64(e.Ahead) / s.Rate
	if wait > 1e9 { // more than 30 years
		return time.Time{}
	}
	return t.Add(time.Duration(wait * float64(time.Second)))
}

// at and until return a time as the end of a sentence; "": it is not known.
func at(t time.Time) string    { return phrase(" at ", t) }
func until(t time.Time) string { return phrase(" until ", t) }

func phrase(word string, t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return word + t.Format(time.RFC3339)
}
