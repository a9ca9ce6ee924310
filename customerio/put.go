package customerio

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/sender"
)

// Put stores operations, all or none, in one commit, and returns their IDs in order. They are
// durable when it returns nil.
//
// ErrInvalid and ErrCredentials mean that nothing was stored; for other errors see
// outbox.Outbox.PutAll. The service sees the ID of an event as a ULID. Dead operations have the
// same IDs.
func (c *Client) Put(ctx context.Context, ops ...Operation) ([]uuid.UUID, error) {
	events, err := c.events(time.Now(), ops)
	if err != nil {
		return nil, err
	}
	return c.keep(ctx, LaneTrack, events...)
}

// putNoted stores events and a note, all or none.
func (l *lane) putNoted(ctx context.Context, key string, note []byte, events []outbox.Event) ([]uuid.UUID, error) {
	ids, err := l.PutAllBy(ctx, events, func(items ...sender.Item) error {
		return l.store.AppendNoted(ctx, key, note, items...)
	})
	return ids, l.fail("put", err)
}

// events encodes operations as events of the outbox.
func (c *Client) events(now time.Time, ops []Operation) ([]outbox.Event, error) {
	if c.o.TrackKey == "" {
		return nil, errNoTrack
	}
	if c.meta.ID != uuid.Nil && len(ops) != 1 {
		return nil, invalid("Meta.ID", "names one operation, there are %d", len(ops))
	}
	events := make([]outbox.Event, len(ops))
	for i, op := range ops {
		err := c.meta.complete(&op)
		if err == nil {
			events[i], err = op.event(now, c.o.OperationBytes)
		}
		if err != nil {
			if len(ops) > 1 {
				err = fmt.Errorf("operation %d of %d: %w", i+1, len(ops), err)
			}
			return nil, err
		}
		if c.meta.ID != uuid.Nil {
			events[i].ID = c.meta.ID
		}
	}
	return events, nil
}

// event completes and encodes an operation. Its id and time are fixed here, so it is the same at
// every attempt.
func (o Operation) event(now time.Time, limit int) (e outbox.Event, err error) {
	if o, err = o.prepare(); err == nil {
		err = o.check()
	}
	if err != nil {
		return e, err
	}
	if e.ID, err = o.identity(); err != nil {
		return e, err
	}
	if o.isEvent() {
		o.ID = ULID(e.ID)
	}
	if o.Timestamp == 0 && o.timed() {
		o.Timestamp = now.Unix()
	}
	if e.Payload, err = encode("the operation", o); err != nil {
		if _, inner := encode("attributes", o.Attributes); inner != nil {
			err = inner
		}
		return e, err
	}
	if n := len(e.Payload); n > limit {
		path := ""
		if o.isEvent() {
			if path, e.Payload, err = o.byV1(); err != nil {
				return e, err
			}
		}
		if path == "" {
			return e, invalid("the operation", "has %d bytes as JSON, at most %d", n, limit)
		}
		e.Header = map[string]string{headerPath: path}
	}
	e.Kind, e.Key = o.Type+"."+o.Action, o.key()
	return e, nil
}

// identity is the UUID of the operation: the bits of its ULID, if the caller gave one.
func (o *Operation) identity() (uuid.UUID, error) {
	if o.isEvent() && o.ID != "" {
		id, _ := parseULID(o.ID) // it was checked
		return id, nil
	}
	id, err := uuid.NewV7()
	if err != nil {
		return id, fmt.Errorf("customerio: making an ID: %w", err)
	}
	return id, nil
}
