package monitor

import (
	"bytes"
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox"
)

// A followed event is one whose page is open. Its stream owns it.
type followed struct {
	id   uuid.UUID
	at   uint64    // where it was last seen
	dead bool      // it was, when the page was made
	next time.Time // when to look again
	view itemView  // what was seen last
	gone bool
}

// followed reads which event a stream is about; nil: none.
func (q *request) followed() (*followed, error) {
	text := q.query.Get("item")
	if text == "" || q.lane == nil {
		return nil, nil
	}
	id, err := uuid.Parse(text)
	if err != nil {
		return nil, badRequest("item is %q, an ID expected", visible(cut(text, 80)))
	}
	at, err := place(q.query.Get("at"))
	if err != nil {
		return nil, err
	}
	return &followed{id: id, at: at, dead: q.query.Get("dead") != ""}, nil
}

// itemRegions writes the live regions of the page of an event. If the event is not where it was, the
// lane is searched for it: so the longer a look takes, the later is the next one, and none follows
// when it has gone.
func (s *stream) itemRegions(b *bytes.Buffer) error {
	f := s.item
	if f.gone || s.now.Before(f.next) {
		b.Write(s.last)
		return nil
	}
	begun := time.Now()
	e, err := s.lane.Explain(s.Context(), f.id, f.at)
	f.next = s.now.Add(20 * time.Since(begun))
	switch {
	case err == nil:
		f.at = e.Item.Seq
		f.view = s.itemParts(&e)
		if f.view.Dead != f.dead {
			f.view.Moved, f.view.MovedTo = "It is no longer dead.", itemLink(s.lane.name, f.id.String(), f.at)
		}
		if f.view.Dead && !f.dead {
			f.view.Moved = "It is dead now."
		}
	case errors.Is(err, outbox.ErrNotFound):
		f.gone = true
		f.view.Word, f.view.Gates = word{Text: "Gone", Class: "mute", Icon: "check"}, nil
		f.view.Moved, f.view.MovedTo = "It is no longer here: it was delivered, or dropped, or it expired.", ""
	default: // as it was; perhaps the next look can tell
		b.Write(s.last)
		return nil
	}
	return pages.ExecuteTemplate(b, "item-regions", f.view)
}
