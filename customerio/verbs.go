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

// Identify creates a person or sets attributes. It carries the time of the call, so that the service
// knows which of two values is newer. As with all verbs, it is durable when it returns nil; see [Client.Put].
func (c *Client) Identify(ctx context.Context, who Identifiers, attributes map[string]any) (uuid.UUID, error) {
	op := person(ActionIdentify, who)
	op.Attributes = attributes
	return c.put(ctx, op)
}

// Track reports that a person did something. It carries the time of the call, and an id by which the
// service knows a repetition.
func (c *Client) Track(ctx context.Context, who Identifiers, event string, data map[string]any) (uuid.UUID, error) {
	return c.event(ctx, ActionEvent, who, event, data)
}

// TrackAnonymous is Track of a person not yet known, by an id of the application's making. (API v2 takes
// it, as other integrations use it, though its specification does not mention it.)
func (c *Client) TrackAnonymous(ctx context.Context, anonymousID, event string, data map[string]any) (uuid.UUID, error) {
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

// Delete deletes a person. An identify or event that follows makes them anew.
func (c *Client) Delete(ctx context.Context, who Identifiers) (uuid.UUID, error) {
	return c.put(ctx, person(ActionDelete, who))
}

// Suppress deletes a person and has the service ignore whatever follows under this identifier.
func (c *Client) Suppress(ctx context.Context, who Identifiers) (uuid.UUID, error) {
	return c.put(ctx, person(ActionSuppress, who))
}

// Unsuppress takes Suppress back; the person is not restored.
func (c *Client) Unsuppress(ctx context.Context, who Identifiers) (uuid.UUID, error) {
	return c.put(ctx, person(ActionUnsuppress, who))
}

// AddDevice adds a device to a person, or updates it.
func (c *Client) AddDevice(ctx context.Context, who Identifiers, d Device) (uuid.UUID, error) {
	op := person(ActionAddDevice, who)
	op.Device = &d
	return c.put(ctx, op)
}

// DeleteDevice takes a device away from a person.
func (c *Client) DeleteDevice(ctx context.Context, who Identifiers, token string) (uuid.UUID, error) {
	op := person(ActionDeleteDevice, who)
	op.Device = &Device{Token: token}
	return c.put(ctx, op)
}

// Merge makes two people one: the primary stays. It is in the order of the primary alone, so what was
// put for the secondary may arrive after it; and the service ignores a merge into someone it has only
// just been told of.
func (c *Client) Merge(ctx context.Context, primary, secondary Identifiers) (uuid.UUID, error) {
	return c.put(ctx, Operation{Type: TypePerson, Action: ActionMerge, Primary: primary, Secondary: secondary})
}

// AddRelationships relates a person to objects.
func (c *Client) AddRelationships(ctx context.Context, who Identifiers, objects ...Relationship) (uuid.UUID, error) {
	op := person(ActionAddRelationships, who)
	op.Relationships = objects
	return c.put(ctx, op)
}

// DeleteRelationships takes relations to objects back.
func (c *Client) DeleteRelationships(ctx context.Context, who Identifiers, objects ...Relationship) (uuid.UUID, error) {
	op := person(ActionDeleteRelationships, who)
	op.Relationships = objects
	return c.put(ctx, op)
}

// IdentifyObject creates an object or sets its attributes, and relates it to people, if any are given.
func (c *Client) IdentifyObject(ctx context.Context, object Identifiers, attributes map[string]any, people ...Relationship) (uuid.UUID, error) {
	return c.put(ctx, Operation{Type: TypeObject, Action: ActionIdentify, Identifiers: object, Attributes: attributes, Relationships: people})
}

// DeleteObject deletes an object.
func (c *Client) DeleteObject(ctx context.Context, object Identifiers) (uuid.UUID, error) {
	return c.put(ctx, Operation{Type: TypeObject, Action: ActionDelete, Identifiers: object})
}
