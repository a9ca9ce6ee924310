package customerio

import (
	"context"

	"github.com/google/uuid"
)

func (c *Client) put(ctx context.Context, op Operation) (uuid.UUID, error) {
	ids, err := c.Put(ctx, op)
	if len(ids) == 0 {
		return uuid.Nil, err
	}
	return ids[0], err
}

func person(action string, who Identifiers) Operation {
	return Operation{Type: TypePerson, Action: action, Identifiers: who}
}

// Identify creates a person or sets attributes of a person. It carries the time of the call, so
// that the service knows which of two values is newer. As with all methods like it, the operation
// is durable when it returns nil; for errors see [Client.Put].
func (c *Client) Identify(ctx context.Context, who Identifiers, attributes map[string]any) (uuid.UUID, error) {
	op := person(ActionIdentify, who)
	op.Attributes = attributes
	return c.put(ctx, op)
}

// Track reports that a person did something. It carries the time of the call and an id, by which
// the service recognizes a repetition.
func (c *Client) Track(ctx context.Context, who Identifiers, event string, data map[string]any) (uuid.UUID, error) {
	return c.event(ctx, ActionEvent, who, event, data)
}

// TrackAnonymous is Track for a person who is not known yet, by an id that the application makes.
// API v2 accepts it, and other integrations use it, but its specification does not mention it.
//
// anonymousID "" makes an invitation: the service sends the message of the event to the address in
// data["recipient"], which must be there. API v2 does not have it, so it is a request of its own.
func (c *Client) TrackAnonymous(ctx context.Context, anonymousID, event string, data map[string]any) (uuid.UUID, error) {
	if anonymousID == "" {
		op := person(ActionEvent, Identifiers{})
		op.Name, op.Attributes = event, data
		return c.invite(ctx, op)
	}
	return c.event(ctx, ActionEvent, Identifiers{AnonymousID: anonymousID}, event, data)
}

// Page reports that a person saw a page, by name or URL.
func (c *Client) Page(ctx context.Context, who Identifiers, page string, data map[string]any) (uuid.UUID, error) {
	return c.event(ctx, ActionPage, who, page, data)
}

// Screen reports that a person saw a screen of an app.
func (c *Client) Screen(ctx context.Context, who Identifiers, screen string, data map[string]any) (uuid.UUID, error) {
	return c.event(ctx, ActionScreen, who, screen, data)
}

func (c *Client) event(ctx context.Context, action string, who Identifiers, name string, data map[string]any) (uuid.UUID, error) {
	op := person(action, who)
	op.Name, op.Attributes = name, data
	return c.put(ctx, op)
}

// Delete deletes a person. A later identify or event creates the person again.
func (c *Client) Delete(ctx context.Context, who Identifiers) (uuid.UUID, error) {
	return c.put(ctx, person(ActionDelete, who))
}

// Suppress deletes a person and makes the service ignore everything later under this identifier.
func (c *Client) Suppress(ctx context.Context, who Identifiers) (uuid.UUID, error) {
	return c.put(ctx, person(ActionSuppress, who))
}

// Unsuppress ends Suppress. It does not restore the person.
func (c *Client) Unsuppress(ctx context.Context, who Identifiers) (uuid.UUID, error) {
	return c.put(ctx, person(ActionUnsuppress, who))
}

// AddDevice adds a device to a person, or updates it.
func (c *Client) AddDevice(ctx context.Context, who Identifiers, d Device) (uuid.UUID, error) {
	op := person(ActionAddDevice, who)
	op.Device = &d
	return c.put(ctx, op)
}

// DeleteDevice removes a device from a person.
func (c *Client) DeleteDevice(ctx context.Context, who Identifiers, token string) (uuid.UUID, error) {
	op := person(ActionDeleteDevice, who)
	op.Device = &Device{Token: token}
	return c.put(ctx, op)
}

// Merge merges two people into one: the primary stays. Only the order of the primary applies, so
// operations put for the secondary may arrive later. The service ignores a merge into a person that
// it has only just created.
func (c *Client) Merge(ctx context.Context, primary, secondary Identifiers) (uuid.UUID, error) {
	return c.put(ctx, Operation{Type: TypePerson, Action: ActionMerge, Primary: primary, Secondary: secondary})
}

// AddRelationships relates a person to objects.
func (c *Client) AddRelationships(ctx context.Context, who Identifiers, objects ...Relationship) (uuid.UUID, error) {
	op := person(ActionAddRelationships, who)
	op.Relationships = objects
	return c.put(ctx, op)
}

// DeleteRelationships removes relations of a person to objects.
func (c *Client) DeleteRelationships(ctx context.Context, who Identifiers, objects ...Relationship) (uuid.UUID, error) {
	op := person(ActionDeleteRelationships, who)
	op.Relationships = objects
	return c.put(ctx, op)
}

// IdentifyObject creates an object or sets its attributes, and relates it to the given people.
func (c *Client) IdentifyObject(ctx context.Context, object Identifiers, attributes map[string]any, people ...Relationship) (uuid.UUID, error) {
	return c.put(ctx, Operation{Type: TypeObject, Action: ActionIdentify, Identifiers: object, Attributes: attributes, Relationships: people})
}

// DeleteObject deletes an object.
func (c *Client) DeleteObject(ctx context.Context, object Identifiers) (uuid.UUID, error) {
	return c.put(ctx, Operation{Type: TypeObject, Action: ActionDelete, Identifiers: object})
}
