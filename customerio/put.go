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
	ids, err := c.lanes[LaneTrack].PutAll(ctx, events...)
	if err != nil {
		return ids, fmt.Errorf("customerio: %w", err)
	}
	return ids, nil
}

// PutNoted is [Client.Put] that also stores a note in the same commit: what the application must
// remember together with the operations, for example how far it has read its input. See
// store.Store.AppendNoted. Keys that begin with "customerio/" are reserved.
func (c *Client) PutNoted(ctx context.Context, key string, note []byte, ops ...Operation) ([]uuid.UUID, error) {
	now := time.Now()
	events, err := c.events(now, ops)
	if err != nil {
		return nil, err
	}
	return c.lanes[LaneTrack].putNoted(ctx, now, key, note, events)
}

// Note returns the note that PutNoted last stored under key; nil: there is none.
func (c *Client) Note(key string) ([]byte, error) {
	note, err := c.lanes[LaneTrack].store.Note(key)
	if err != nil {
		return nil, fmt.Errorf("customerio: %w", err)
	}
	return note, nil
}

func (l *lane) putNoted(ctx context.Context, now time.Time, key string, note []byte, events []outbox.Event) ([]uuid.UUID, error) {
	items := make([]sender.Item, len(events))
	ids := make([]uuid.UUID, len(events))
	for i, e := range events {
		ids[i] = e.ID
		items[i] = sender.Item{ID: e.ID, Kind: e.Kind, Key: e.Key, Payload: e.Payload, Created: now}
	}
	if err := l.store.AppendNoted(ctx, key, note, items...); err != nil {
		return ids, fmt.Errorf("customerio: %w", err)
	}
	return ids, nil
}

// events encodes operations as events of the outbox.
func (c *Client) events(now time.Time, ops []Operation) ([]outbox.Event, error) {
	if c.o.TrackKey == "" {
		return nil, fmt.Errorf("%w: the Track API needs SiteID and TrackKey", ErrCredentials)
	}
	events := make([]outbox.Event, len(ops))
	for i := range ops {
		var err error
		if events[i], err = ops[i].event(now, c.o.OperationBytes); err != nil {
			if len(ops) > 1 {
				err = fmt.Errorf("operation %d of %d: %w", i+1, len(ops), err)
			}
			return nil, err
		}
	}
	return events, nil
}

// event completes and encodes an operation. Its id and time are fixed here, so it is the same at
// every attempt.
func (o Operation) event(now time.Time, limit int) (e outbox.Event, err error) {
	if err := o.Check(); err != nil {
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
	if e.Payload, err = encode("attributes", o); err != nil {
		return e, err
	}
	if n := len(e.Payload); n > limit {
		return e, invalid("the operation", "has %d bytes as JSON, at most %d", n, limit)
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
