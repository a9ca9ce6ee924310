package customerio

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox"
)

// segmentPath is where the calls about a segment begin.
const segmentPath = "/api/v1/segments/"

const (
	maxSegment = 1000    // people in a call, as the API documents
	maxV1      = 500_000 // bytes of a body; the API documents 100,000 for the data of an event only
)

// AddPeopleToSegment adds people to a manual segment, by its number: at most 1,000, all named by
// ID, or all by Email, or all by CioID. The service passes over people that it does not know, and a
// segment has no order with the identify of a person: deliver that first, as by [Client.Drain].
//
// API v2 does not have this call, so it is a request of its own, in LaneTrack. Its key is the
// segment: Erase by the key of a person does not find it.
func (c *Client) AddPeopleToSegment(ctx context.Context, segment int, people ...Identifiers) (uuid.UUID, error) {
	return c.segment(ctx, "add_customers", segment, people)
}

// RemovePeopleFromSegment removes people from a manual segment, as AddPeopleToSegment adds them.
func (c *Client) RemovePeopleFromSegment(ctx context.Context, segment int, people ...Identifiers) (uuid.UUID, error) {
	return c.segment(ctx, "remove_customers", segment, people)
}

func (c *Client) segment(ctx context.Context, action string, segment int, people []Identifiers) (uuid.UUID, error) {
	switch {
	case segment < 1:
		return uuid.Nil, invalid("segment", "is %d, at least 1 expected", segment)
	case len(people) == 0 || len(people) > maxSegment:
		return uuid.Nil, invalid("people", "are %d, from 1 to %d expected", len(people), maxSegment)
	}
	kind := ""
	ids := make([]string, len(people))
	for i, p := range people {
		field := fmt.Sprintf("people[%d]", i)
		if err := p.check(field, messageKinds); err != nil {
			return uuid.Nil, err
		}
		k, id, _ := strings.Cut(p.key(), ":")
		if kind == "" {
			kind = k
		}
		if k != kind {
			return uuid.Nil, invalid(field, "is named by %s, and the people before by %s", k, kind)
		}
		ids[i] = id
	}
	number := strconv.Itoa(segment)
	return c.putV1(ctx, outbox.Event{Kind: "segment." + action, Key: "segment:" + number},
		segmentPath+number+"/"+action+"?id_type="+kind, map[string]any{"ids": ids})
}

// invite stores an event of nobody, which only API v1 has: the service sends a message to the
// address in its data.
func (c *Client) invite(ctx context.Context, op Operation) (uuid.UUID, error) {
	if c.o.TrackKey == "" {
		return uuid.Nil, errNoTrack
	}
	err := c.meta.complete(&op)
	if err == nil {
		op, err = op.prepare()
	}
	if err == nil {
		err = op.checkEvent()
	}
	if err == nil {
		err = checkTimestamp("timestamp", op.Timestamp)
	}
	to, _ := op.Attributes["recipient"].(string)
	switch {
	case err != nil:
	case strings.TrimSpace(to) == "":
		err = invalid("attributes.recipient", "is missing or blank, and there is no anonymous id")
	default:
		err = checkEmail("attributes.recipient", to)
	}
	if err != nil {
		return uuid.Nil, err
	}
	e := outbox.Event{Kind: "person.invite", Key: Email(to).key()}
	if e.ID, err = op.identity(); err != nil {
		return uuid.Nil, err
	}
	op.ID = ULID(e.ID)
	if op.Timestamp == 0 {
		op.Timestamp = time.Now().Unix()
	}
	path, body, err := op.byV1()
	if err != nil {
		return uuid.Nil, err
	}
	e.Header, e.Payload = map[string]string{headerPath: path}, body
	_, err = c.keep(ctx, LaneTrack, e)
	return e.ID, err
}

// putV1 stores a call of API v1.
func (c *Client) putV1(ctx context.Context, e outbox.Event, path string, body map[string]any) (_ uuid.UUID, err error) {
	if c.o.TrackKey == "" {
		return uuid.Nil, errNoTrack
	}
	if e.ID, err = c.meta.name(); err != nil {
		return e.ID, err
	}
	if e.Payload, err = encode("attributes", body); err != nil {
		return uuid.Nil, err
	}
	if n := len(e.Payload); n > maxV1 {
		return uuid.Nil, invalid("the body", "has %d bytes as JSON, at most %d", n, maxV1)
	}
	e.Header = map[string]string{headerPath: path}
	_, err = c.keep(ctx, LaneTrack, e)
	return e.ID, err
}
