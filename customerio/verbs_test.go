package customerio_test

import (
	"errors"
	"maps"
	"math"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox/customerio"
	"github.com/seed8107221f/outbox/customerio/customeriotest"
)

// Every verb arrives as the API documents it, with an id and a time where the service uses them.
func TestVerbs(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		c := w.open(func(o *customerio.Options) { o.BatchItems = 1 })
		ctx, p := t.Context(), customerio.ID("17")
		object := customerio.Object("1", "acme")
		data := map[string]any{"n": 1, "text": "<&>"}
		rows := []struct {
			put  func() (uuid.UUID, error)
			want string // ULID stands for the event's id, NOW for the time
		}{
			{func() (uuid.UUID, error) { return c.Identify(ctx, p, data) },
				`{"type":"person","action":"identify","identifiers":{"id":"17"},"timestamp":NOW,"attributes":{"n":1,"text":"<&>"}}`},
			{func() (uuid.UUID, error) { return c.Identify(ctx, customerio.Email("a@example.org"), nil) },
				`{"type":"person","action":"identify","identifiers":{"email":"a@example.org"},"timestamp":NOW}`},
			{func() (uuid.UUID, error) { return c.Track(ctx, p, "bought", data) },
				`{"type":"person","action":"event","identifiers":{"id":"17"},"name":"bought","id":"ULID","timestamp":NOW,"attributes":{"n":1,"text":"<&>"}}`},
			{func() (uuid.UUID, error) { return c.TrackAnonymous(ctx, "a1", "seen", nil) },
				`{"type":"person","action":"event","identifiers":{"anonymous_id":"a1"},"name":"seen","id":"ULID","timestamp":NOW}`},
			{func() (uuid.UUID, error) { return c.Page(ctx, p, "/prices", nil) },
				`{"type":"person","action":"page","identifiers":{"id":"17"},"name":"/prices","id":"ULID","timestamp":NOW}`},
			{func() (uuid.UUID, error) { return c.Screen(ctx, p, "home", nil) },
				`{"type":"person","action":"screen","identifiers":{"id":"17"},"name":"home","id":"ULID","timestamp":NOW}`},
			{func() (uuid.UUID, error) { return c.Suppress(ctx, p) },
				`{"type":"person","action":"suppress","identifiers":{"id":"17"}}`},
			{func() (uuid.UUID, error) { return c.Unsuppress(ctx, p) },
				`{"type":"person","action":"unsuppress","identifiers":{"id":"17"}}`},
			{func() (uuid.UUID, error) { return c.Delete(ctx, p) },
				`{"type":"person","action":"delete","identifiers":{"id":"17"}}`},
			{func() (uuid.UUID, error) {
				return c.AddDevice(ctx, p, customerio.Device{Token: "t", Platform: "ios", LastUsed: 946684800})
			}, `{"type":"person","action":"add_device","identifiers":{"id":"17"},"device":{"token":"t","platform":"ios","last_used":946684800}}`},
			{func() (uuid.UUID, error) { return c.DeleteDevice(ctx, p, "t") },
				`{"type":"person","action":"delete_device","identifiers":{"id":"17"},"device":{"token":"t"}}`},
			{func() (uuid.UUID, error) { return c.Merge(ctx, p, customerio.Email("a@example.org")) },
				`{"type":"person","action":"merge","primary":{"id":"17"},"secondary":{"email":"a@example.org"}}`},
			{func() (uuid.UUID, error) {
				return c.AddRelationships(ctx, p, customerio.Relationship{Identifiers: object})
			},
				`{"type":"person","action":"add_relationships","identifiers":{"id":"17"},"cio_relationships":[{"identifiers":{"object_type_id":"1","object_id":"acme"}}]}`},
			{func() (uuid.UUID, error) {
				return c.DeleteRelationships(ctx, p, customerio.Relationship{Identifiers: object})
			}, `{"type":"person","action":"delete_relationships","identifiers":{"id":"17"},"cio_relationships":[{"identifiers":{"object_type_id":"1","object_id":"acme"}}]}`},
			{func() (uuid.UUID, error) {
				return c.IdentifyObject(ctx, object, map[string]any{"name": "Acme"}, customerio.Relationship{Identifiers: p})
			}, `{"type":"object","action":"identify","identifiers":{"object_type_id":"1","object_id":"acme"},"attributes":{"name":"Acme"},"cio_relationships":[{"identifiers":{"id":"17"}}]}`},
			{func() (uuid.UUID, error) { return c.DeleteObject(ctx, object) },
				`{"type":"object","action":"delete","identifiers":{"object_type_id":"1","object_id":"acme"}}`},
		}
		// The clock of a bubble begins with the year 2000.
		now := regexp.MustCompile(`"timestamp":9466848\d\d\b`)
		for _, row := range rows {
			id, err := row.put()
			if err != nil {
				t.Fatalf("%s: %v", row.want, err)
			}
			w.flush(c)
			all := w.Record()
			last := all[len(all)-1]
			got := now.ReplaceAllString(string(last.Body), `"timestamp":NOW`)
			if last.EventID != "" {
				got = strings.Replace(got, last.EventID, "ULID", 1)
				if want := crockford(id); last.EventID != want {
					t.Errorf("%s: the id is %s, the UUID has the bits of %s", row.want, last.EventID, want)
				}
			}
			if got != row.want {
				t.Errorf("got  %s\nwant %s", got, row.want)
			}
		}
		if n := w.Verdict().Operations; n != len(rows) {
			t.Errorf("%d operations arrived, %d were put", n, len(rows))
		}
		w.check(c)
	})
}

// crockford writes 128 bits in base 32, by division.
func crockford(id uuid.UUID) string {
	text := make([]byte, 26)
	for i := range text {
		rest := 0
		for j := range id {
			rest = rest<<8 | int(id[j])
			id[j], rest = byte(rest/32), rest%32
		}
		text[25-i] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"[rest]
	}
	return string(text)
}

// A time and an id of the caller's are kept, and the item has the bits of the id.
func TestOwnIDAndTime(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		c := w.open(nil)
		const id = "01BX5ZZKBKACTAV9WEVGEMMVRZ"
		ids, err := c.Put(t.Context(), customerio.Operation{Type: customerio.TypePerson, Action: customerio.ActionEvent,
			Identifiers: customerio.ID("17"), Name: "bought", ID: id, Timestamp: 1700000000})
		if err != nil {
			t.Fatal(err)
		}
		w.flush(c)
		got := w.Record()[0]
		if got.EventID != id || got.Timestamp != 1700000000 || crockford(ids[0]) != id {
			t.Errorf("id %s, time %d, UUID %s; want %s and 1700000000", got.EventID, got.Timestamp, crockford(ids[0]), id)
		}
	})
}

type unencodable struct{}

func (unencodable) MarshalJSON() ([]byte, error) { return nil, errors.New("hush-hush") }

// What the service would refuse is refused before anything is stored. The error names field, length
// and limit, and never the value.
func TestValidation(t *testing.T) {
	long := func(n int) string { return strings.Repeat("hush", n/4+1)[:n] }
	many := map[string]any{}
	for i := range 301 {
		many[uuid.NewString()] = i
	}
	event := func(name string) customerio.Operation {
		return customerio.Operation{Type: "person", Action: "event", Identifiers: customerio.ID("17"), Name: name}
	}
	identify := func(attributes map[string]any) customerio.Operation {
		return customerio.Operation{Type: "person", Action: "identify", Identifiers: customerio.ID("17"), Attributes: attributes}
	}
	who := func(i customerio.Identifiers) customerio.Operation {
		return customerio.Operation{Type: "person", Action: "delete", Identifiers: i}
	}
	with := func(o customerio.Operation, change func(*customerio.Operation)) customerio.Operation {
		change(&o)
		return o
	}
	relation := []customerio.Relationship{{Identifiers: customerio.ID("7")}}
	bubble(t, nil, func(t *testing.T, w *world) {
		c := w.open(nil)
		for _, row := range []struct {
			op   customerio.Operation
			want string // in the error; "": it is taken
		}{
			{who(customerio.ID(long(150))), ""},
			{who(customerio.ID(long(151))), "identifiers.id has 151 bytes, at most 150"},
			{who(customerio.ID("")), "identifiers are 0, exactly one"},
			{who(customerio.ID(" \t")), "identifiers.id is blank"},
			{who(customerio.ID("hush\xff")), "identifiers.id has 5 bytes that are not UTF-8"},
			{who(customerio.Identifiers{ID: "1", Email: "a@example.org"}), "identifiers are 2, exactly one"},
			{who(customerio.Identifiers{AnonymousID: "1"}), "identifiers.anonymous_id does not belong here"},
			{who(customerio.Object("1", "2")), "identifiers.object_type_id does not belong here"},
			{with(event("seen"), func(o *customerio.Operation) { o.Identifiers = customerio.Identifiers{AnonymousID: "1"} }), ""},

			{event(long(100)), ""},
			{event("  " + long(100) + "  "), ""},
			{event(long(101)), "name has 101 bytes, at most 100"},
			{event(""), "name is missing or blank"},
			{event(" \n"), "name is missing or blank"},
			{event("hush\xff"), "name has 5 bytes that are not UTF-8"},
			{with(event("seen"), func(o *customerio.Operation) { o.ID = "hush" }), "id has 4 bytes and is no ULID"},
			{with(event("seen"), func(o *customerio.Operation) { o.ID = "8" + long(25) }), "id has 26 bytes and is no ULID"},

			{with(event("seen"), func(o *customerio.Operation) { o.Timestamp = 1700000000000 }), "timestamp must be Unix seconds below 100000000000, and looks like milliseconds"},
			{with(event("seen"), func(o *customerio.Operation) { o.Timestamp = -1 }), "timestamp must be Unix seconds above"},
			{with(identify(nil), func(o *customerio.Operation) { o.Timestamp = 1700000000000 }), "looks like milliseconds"},
			{identify(map[string]any{"created_at": int64(1700000000000)}), "attributes.created_at must be Unix seconds"},
			{identify(map[string]any{"created_at": 1700000000, "other": int64(1700000000000)}), ""},

			{identify(map[string]any{long(150): 1}), ""},
			{identify(map[string]any{long(151): 1}), "attributes have a name of 151 bytes, at most 150"},
			{identify(map[string]any{" ": 1}), "attributes have a name that is blank"},
			{identify(map[string]any{"plan": long(1000)}), ""},
			{identify(map[string]any{"plan": long(1001)}), "attributes.plan has a value of 1001 bytes, at most 1000"},
			{identify(map[string]any{"plan": []string{long(600), long(600)}}), "attributes.plan has a value of 1207 bytes, at most 1000"},
			{identify(many), "attributes are 301, at most 300"},
			{identify(map[string]any{"n": math.NaN()}), "attributes.n cannot be written as JSON: it holds NaN"},
			{identify(map[string]any{"n": make(chan int)}), "attributes.n cannot be written as JSON: it holds a chan int"},
			{identify(map[string]any{"n": unencodable{}}), "attributes.n cannot be written as JSON"},
			{with(event("seen"), func(o *customerio.Operation) { o.Attributes = map[string]any{"n": math.Inf(1)} }), "attributes cannot be written as JSON: it holds +Inf"},
			{with(event("seen"), func(o *customerio.Operation) { o.Attributes = map[string]any{"n": long(31000)} }), ""},
			{with(event("seen"), func(o *customerio.Operation) { o.Attributes = map[string]any{"n": long(99_992)} }), ""},
			{with(event("seen"), func(o *customerio.Operation) { o.Attributes = map[string]any{"n": long(99_993)} }), "attributes have 100001 bytes as JSON, at most 100000"},
			{with(event("seen"), func(o *customerio.Operation) {
				o.Attributes, o.Identifiers = map[string]any{"n": long(32000)}, customerio.Identifiers{Phone: "+14155552671"}
			}), "bytes as JSON, at most 32000"},

			{with(who(customerio.ID("1")), func(o *customerio.Operation) { o.Type = "hush" }), "type must be person, object or delivery"},
			{with(who(customerio.ID("1")), func(o *customerio.Operation) { o.Action = "hush" }), "action is none that a person has"},
			{with(who(customerio.ID("1")), func(o *customerio.Operation) { o.Action = "add_device" }), "device.token is missing"},
			{with(who(customerio.ID("1")), func(o *customerio.Operation) {
				o.Action, o.Device = "add_device", &customerio.Device{Token: "t", Platform: "hush"}
			}), "device.platform must be ios or android"},
			{with(who(customerio.ID("1")), func(o *customerio.Operation) {
				o.Action, o.Device = "add_device", &customerio.Device{Token: "t", Platform: "ios", LastUsed: 1700000000000}
			}), "device.last_used must be Unix seconds"},
			{with(who(customerio.ID("1")), func(o *customerio.Operation) { o.Action = "add_relationships" }), "cio_relationships are missing"},
			{with(who(customerio.ID("1")), func(o *customerio.Operation) { o.Action, o.Relationships = "add_relationships", relation }), "cio_relationships[0].identifiers.id does not belong here"},
			{customerio.Operation{Type: "person", Action: "merge", Primary: customerio.ID("1")}, "secondary are 0, exactly one"},
			{customerio.Operation{Type: "object", Action: "delete", Identifiers: customerio.Object("1", "")}, "identifiers need both object_type_id and object_id"},
			{customerio.Operation{Type: "object", Action: "delete", Identifiers: customerio.Identifiers{CioObjectID: "1"}}, ""},
			{customerio.Operation{Type: "object", Action: "event", Identifiers: customerio.Object("1", "2")}, "action is none that an object has"},
			{customerio.Operation{Type: "delivery", Action: "event", Name: "hush", Identifiers: customerio.ID("1")}, "name of a delivery must be opened"},
			{customerio.Operation{Type: "delivery", Action: "event", Name: "opened", Identifiers: customerio.ID("1")}, "attributes.device_token is missing"},
			{customerio.Operation{Type: "delivery", Action: "event", Name: "opened", Identifiers: customerio.ID("1"), Attributes: map[string]any{"device_token": "t"}}, ""},
		} {
			before := c.Stats()[customerio.LaneTrack].Put
			_, err := c.Put(t.Context(), row.op)
			put := c.Stats()[customerio.LaneTrack].Put - before
			switch {
			case row.want == "" && (err != nil || put != 1):
				t.Errorf("%d put, %v", put, err)
			case row.want != "" && (!errors.Is(err, customerio.ErrInvalid) || !strings.Contains(err.Error(), row.want) || put != 0):
				t.Errorf("%d put, %v, want %q", put, err, row.want)
			case err != nil && strings.Contains(strings.ReplaceAll(err.Error(), "hush\":", ""), "hush"):
				t.Errorf("the error tells a value: %v", err)
			}
		}
		// One that is not acceptable keeps all from being stored.
		before := c.Stats()[customerio.LaneTrack].Put
		_, err := c.Put(t.Context(), event("seen"), event(""))
		if now := c.Stats()[customerio.LaneTrack].Put; now != before || err == nil || !strings.Contains(err.Error(), "operation 2 of 2") {
			t.Errorf("%d of two were put, the second not acceptable: %v", now-before, err)
		}
		// What was accepted here is accepted there.
		w.flush(c)
		if reasons := dead(t, c, customerio.LaneTrack); len(reasons) > 0 {
			t.Errorf("refused by the service: %q", reasons)
		}
		if took := time.Since(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)); took > time.Minute {
			t.Errorf("it took %v", took)
		}
	})
}

// Order is per person and per object: one identifier of one kind is one order, and no other's.
func TestKeys(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		w.SetFaults(always(customeriotest.Fault{Status: 401}))
		c := w.open(nil)
		people := []customerio.Identifiers{{ID: "+71"}, {Phone: "+71"}, {CioID: "+71"}, {Email: "7@example.org"}}
		for _, p := range people {
			for range 2 {
				if _, err := c.Suppress(t.Context(), p); err != nil {
					t.Fatal(err)
				}
			}
		}
		merge := customerio.Operation{Type: "person", Action: "merge", Primary: customerio.ID("+71"), Secondary: customerio.ID("8")}
		object := customerio.Operation{Type: "object", Action: "delete", Identifiers: customerio.Object("1", "7")}
		other := customerio.Operation{Type: "object", Action: "delete", Identifiers: customerio.Object("2", "7")}
		put(t, c, merge, object, object, other)
		times := map[string]int{}
		for it, err := range c.Lane(customerio.LaneTrack).Pending() {
			if err != nil {
				t.Fatal(err)
			}
			times[it.Key]++
		}
		want := map[string]int{"id:+71": 3, "phone:+71": 2, "cio_id:+71": 2, "email:7@example.org": 2, "object:1/7": 2, "object:2/7": 1}
		if !maps.Equal(times, want) {
			t.Errorf("keys: %v, want %v", times, want)
		}
	})
}
