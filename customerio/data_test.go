package customerio_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox/customerio"
	"github.com/seed8107221f/outbox/customerio/customeriotest"
)

// A time goes out as Unix seconds wherever attributes hold one, and the caller's maps stay as they
// were.
func TestTimesAreSeconds(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		c := w.open(nil)
		at := time.Date(2016, 4, 28, 18, 0, 0, 999, time.FixedZone("", 3600))
		attributes := map[string]any{"created_at": at, "seen": &at, "none": (*time.Time)(nil), "nested": map[string]any{"at": at}, "list": []any{at, "x"}}
		const want = `attributes":{"created_at":1461862800,"list":[1461862800,"x"],"nested":{"at":1461862800},"none":null,"seen":1461862800}`
		object := customerio.Object("1", "acme")
		related := customerio.Relationship{Identifiers: object, Attributes: attributes}
		ctx, p := t.Context(), customerio.ID("17")
		for name, put := range map[string]func() (uuid.UUID, error){
			"identify": func() (uuid.UUID, error) { return c.Identify(ctx, p, attributes) },
			"object":   func() (uuid.UUID, error) { return c.IdentifyObject(ctx, object, attributes) },
			"event":    func() (uuid.UUID, error) { return c.Track(ctx, p, "bought", attributes) },
			"device": func() (uuid.UUID, error) {
				return c.AddDevice(ctx, p, customerio.Device{Token: "t", Platform: "ios", Attributes: attributes})
			},
			"relationship": func() (uuid.UUID, error) { return c.AddRelationships(ctx, p, related) },
			"import": func() (uuid.UUID, error) {
				_, err := c.Import(ctx, each(customerio.Row{ID: "18", Attributes: attributes}), nil)
				return uuid.Nil, err
			},
		} {
			if _, err := put(); err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			w.flush(c)
			all := w.Record()
			if body := string(all[len(all)-1].Body); !strings.Contains(body, want) {
				t.Errorf("%s: %s, want %s", name, body, want)
			}
		}
		if attributes["created_at"] != any(at) || attributes["list"].([]any)[0] != any(at) || attributes["nested"].(map[string]any)["at"] != any(at) {
			t.Errorf("the caller's map has become %v", attributes)
		}
	})
}

// created_at is Unix seconds or nothing: no other form ever matches a rule of the service.
func TestCreatedAt(t *testing.T) {
	type day string
	for _, value := range []any{int64(1461866400), 1461866400.0, json.Number("1461866400"), json.RawMessage("1461866400"), uint32(1461866400), 0, -86400, nil, ""} {
		op := customerio.Operation{Type: "person", Action: "identify", Identifiers: customerio.ID("17"), Attributes: map[string]any{"created_at": value}}
		if err := op.Check(); err != nil {
			t.Errorf("%#v: %v", value, err)
		}
	}
	cycle := map[string]any{}
	cycle["created_at"] = cycle
	for _, value := range []any{"2016-04-28T18:00:00Z", "2016-04-28", "1461866400", "1461866400000", int64(1461866400000), 1.4618664e12, json.RawMessage(`"x"`),
		day("2016-04-28"), time.Time{}, &time.Time{}, time.Time{}.Unix(), true, []int{1}, map[string]any{}, cycle} {
		for _, op := range []customerio.Operation{
			{Type: "person", Action: "identify", Identifiers: customerio.ID("17"), Attributes: map[string]any{"created_at": value}},
			{Type: "object", Action: "identify", Identifiers: customerio.Object("1", "2"), Attributes: map[string]any{"created_at": value}},
		} {
			if err := op.Check(); !errors.Is(err, customerio.ErrInvalid) || !strings.Contains(err.Error(), "attributes.created_at") || strings.Contains(err.Error(), "2016") {
				t.Errorf("%s %#v: %v", op.Type, value, err)
			}
		}
	}
}

type garbledText struct{}

func (garbledText) MarshalText() ([]byte, error) { return []byte("hush\xff"), nil }

type garbledJSON struct{}

func (garbledJSON) MarshalJSON() ([]byte, error) { return []byte("\"hush\xff\""), nil }

// Bytes that are not UTF-8 are refused, wherever they are, and the field is named. A U+FFFD of the
// caller's is a character like others.
func TestOnlyUTF8(t *testing.T) {
	const bad = "hush\xff"
	type named string
	type object struct {
		Text   string `json:"text"`
		Secret string `json:"-"`
		unseen string
	}
	text := bad
	values := []any{bad, named(bad), &text, []string{"a", bad}, map[string]string{"k": bad}, map[string]string{bad: "v"}, map[string]any{"k": []any{bad}},
		object{Text: bad}, &object{Text: bad}, []any{&object{Text: bad}}, json.RawMessage("\"hush\xff\""), garbledText{}, garbledJSON{}, [1]any{bad}}
	good := []any{"\ufffd", `\ufffd`, json.RawMessage(`"\ufffd"`), object{Text: `\ufffd`, Secret: bad, unseen: bad}, []byte(bad), map[string]any{"\ufffd": "\ufffd"}, []any{json.RawMessage(`"\ufffd"`), nil, (*object)(nil), (*garbledText)(nil)}}
	bubble(t, nil, func(t *testing.T, w *world) {
		c := w.open(nil)
		ctx, p := t.Context(), customerio.ID("17")
		puts := map[string]func(v map[string]any) error{
			"attributes.f":      func(v map[string]any) error { _, err := c.Identify(ctx, p, v); return err },
			"data.attributes.f": func(v map[string]any) error { _, err := c.Track(ctx, p, "seen", v); return err },
			"object.attributes.f": func(v map[string]any) error {
				_, err := c.IdentifyObject(ctx, customerio.Object("1", "2"), v)
				return err
			},
			"device.attributes.f": func(v map[string]any) error {
				_, err := c.AddDevice(ctx, p, customerio.Device{Token: "t", Platform: "ios", Attributes: v})
				return err
			},
			"[0].relationship_attributes.f": func(v map[string]any) error {
				_, err := c.AddRelationships(ctx, p, customerio.Relationship{Identifiers: customerio.Object("1", "2"), Attributes: v})
				return err
			},
			"the body.message_data.f": func(v map[string]any) error {
				_, err := c.SendSMS(ctx, customerio.Message{Template: "1", Identifiers: p, Data: v})
				return err
			},
			"the body.data.f": func(v map[string]any) error {
				_, err := c.TriggerBroadcast(ctx, 1, customerio.Broadcast{Data: v})
				return err
			},
			"line 1: attributes.f": func(v map[string]any) error {
				_, err := c.Import(ctx, each(customerio.Row{ID: uuid.NewString(), Attributes: v}), nil)
				return err
			},
		}
		for want, put := range puts {
			field := strings.TrimPrefix(strings.TrimPrefix(want, "data."), "object.")
			for i, v := range values {
				if err := put(map[string]any{"f": v, "a": "\ufffd"}); !errors.Is(err, customerio.ErrInvalid) || !strings.Contains(brief(err), field) || strings.Contains(err.Error(), "hush") {
					t.Errorf("%s, value %d: %v", want, i, err)
				}
			}
			if err := put(map[string]any{bad: 1}); !errors.Is(err, customerio.ErrInvalid) || strings.Contains(err.Error(), "hush") {
				t.Errorf("%s, a name: %v", want, err)
			}
			for i, v := range good {
				if err := put(map[string]any{"f": v}); err != nil {
					t.Errorf("%s, value %d that is UTF-8: %v", want, i, err)
				}
			}
		}
		if _, err := c.AddDevice(ctx, p, customerio.Device{Token: bad, Platform: "ios"}); !errors.Is(err, customerio.ErrInvalid) || !strings.Contains(err.Error(), "device.token") {
			t.Errorf("a token: %v", err)
		}
	})
}

// What the service refuses by its documentation is refused by Put.
func TestRefusedByTheService(t *testing.T) {
	identify := func(i customerio.Identifiers) customerio.Operation {
		return customerio.Operation{Type: "person", Action: "identify", Identifiers: i}
	}
	merge := func(a, b customerio.Identifiers) customerio.Operation {
		return customerio.Operation{Type: "person", Action: "merge", Primary: a, Secondary: b}
	}
	related := func(attributes map[string]any) customerio.Operation {
		return customerio.Operation{Type: "person", Action: "add_relationships", Identifiers: customerio.ID("17"),
			Relationships: []customerio.Relationship{{Identifiers: customerio.Object("1", "2"), Attributes: attributes}}}
	}
	phone := customerio.Identifiers{Phone: "+14155552671"}
	for want, op := range map[string]customerio.Operation{
		"identifiers.email has 4 bytes and is no email":   identify(customerio.Email("hush")),
		"identifiers.email has a space":                   identify(customerio.Email("hush @example.org")),
		"identifiers.email has a space or a character":    identify(customerio.Email("hush@example.org\u00a0")),
		"identifiers.email has 5 bytes":                   identify(customerio.Email("hush@")),
		"identifiers.phone has 10 bytes and is no phone":  identify(customerio.Identifiers{Phone: "4155552671"}),
		"identifiers.phone has 15 bytes":                  identify(customerio.Identifiers{Phone: "+1 415-555-2671"}),
		"identifiers.phone has 17 bytes":                  identify(customerio.Identifiers{Phone: "+1415555267112345"}),
		"identifiers.phone has 12 bytes":                  identify(customerio.Identifiers{Phone: "+04155552671"}),
		"primary.phone does not belong":                   merge(phone, customerio.ID("1")),
		"secondary.phone does not belong":                 merge(customerio.ID("1"), phone),
		"relationship_attributes.role has a value of 100": related(map[string]any{"role": strings.Repeat("x", 1001)}),
		"relationship_attributes have a name that is bla": related(map[string]any{" ": 1}),
	} {
		if err := op.Check(); !errors.Is(err, customerio.ErrInvalid) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hush") {
			t.Errorf("%v, want %q", err, want)
		}
	}
	op := identify(customerio.ID("17"))
	for _, address := range []any{"hush", plan("hush me"), json.RawMessage(`"hush"`)} {
		op.Attributes = map[string]any{"email": address}
		if err := op.Check(); !errors.Is(err, customerio.ErrInvalid) || !strings.Contains(err.Error(), "attributes.email") || strings.Contains(err.Error(), "hush") {
			t.Errorf("%v: %v", address, err)
		}
	}
}

// What the service takes is taken, and arrives.
func TestTakenByTheService(t *testing.T) {
	long := strings.Repeat("x", 998)
	bubble(t, &customeriotest.Options{Open: customeriotest.Open{AnyTimestamp: true}}, func(t *testing.T, w *world) {
		c := w.open(nil)
		ops := []customerio.Operation{
			{Type: "person", Action: "identify", Identifiers: customerio.Identifiers{Phone: "+14155552671"}},
			{Type: "person", Action: "identify", Identifiers: customerio.Email("Jörg.o'x+y..z@bücher.example")},
			{Type: "person", Action: "identify", Identifiers: customerio.ID(" a b "), Attributes: map[string]any{"email": "", "plan": plan(long)}},
			{Type: "person", Action: "identify", Identifiers: customerio.ID("1"), Attributes: map[string]any{"email": nil}, Timestamp: 1},
			{Type: "person", Action: "identify", Identifiers: customerio.Identifiers{ID: "2", AnonymousID: "a2"}},
			{Type: "person", Action: "event", Name: "born", Identifiers: customerio.ID("1"), Timestamp: 86400},
			{Type: "person", Action: "merge", Primary: customerio.Email("a@b.c"), Secondary: customerio.Identifiers{CioID: "cio_1"}},
			{Type: "object", Action: "identify_anonymous", Identifiers: customerio.Object("1", "2"),
				Relationships: []customerio.Relationship{{Identifiers: customerio.Identifiers{AnonymousID: "a3"}}}},
		}
		for _, op := range ops {
			put(t, c, op)
		}
		w.flush(c)
		if reasons := dead(t, c, customerio.LaneTrack); len(reasons) > 0 || w.Verdict().Unique != len(ops) {
			t.Errorf("%v, refused: %q", w.Verdict(), reasons)
		}
		// The id of before is an attribute, by which the service joins the two.
		if a := w.Attributes("2"); a["anonymous_id"] != "a2" {
			t.Errorf("%v", a)
		}
		// By that id alone other integrations identify too. The specification does not mention it.
		alone := customerio.Operation{Type: "person", Action: "identify", Identifiers: customerio.Identifiers{AnonymousID: "a1"}}
		if err := alone.Check(); err != nil {
			t.Error(err)
		}
		both := customerio.Operation{Type: "person", Action: "identify", Identifiers: customerio.Identifiers{ID: "2", AnonymousID: "a2"}, Attributes: map[string]any{"anonymous_id": "a4"}}
		if err := both.Check(); !errors.Is(err, customerio.ErrInvalid) {
			t.Errorf("two of them: %v", err)
		}
	})
}

// An email has at most 15 recipients, each an address, and attachments in base64.
func TestEnvelope(t *testing.T) {
	list := func(n int) string {
		return strings.Repeat("a@example.org,", n)
	}
	file := func(text string) map[string]any { return map[string]any{"attachments": map[string]any{"f.txt": text}} }
	bubble(t, nil, func(t *testing.T, w *world) {
		c := w.open(nil)
		taken := []customerio.Message{
			{To: list(15)},
			{To: list(5), Extra: map[string]any{"cc": list(5), "bcc": list(5)}},
			{To: `"Doe, Jane" <jane@example.org>, John <john@example.org>`},
			{To: "a@example.org", Extra: file(base64.StdEncoding.EncodeToString([]byte("text")))},
			{To: "a@example.org", Extra: map[string]any{"attachments": map[string][]byte{"f.txt": []byte("\xff\xfe")}}},
		}
		for i, m := range taken {
			m.Template, m.Identifiers = "7", customerio.ID("17")
			if _, err := c.SendEmail(t.Context(), m); err != nil {
				t.Errorf("message %d: %v", i, err)
			}
		}
		w.flush(c)
		if v := w.Verdict(); v.Operations != len(taken) {
			t.Errorf("%d arrived: %q", v.Operations, dead(t, c, customerio.LaneTransactional))
		}
		for want, m := range map[string]customerio.Message{
			"To has, with cc and bcc, 16 addresses":        {To: list(16)},
			"To has, with cc and bcc, 17 addresses":        {To: list(6), Extra: map[string]any{"cc": list(6), "bcc": list(5)}},
			"To has 4 bytes and is no email address":       {To: "a@example.org, hush"},
			"To has a space or a character that cannot be": {To: "a@example.org\u00a0"},
			"Extra.bcc has 4 bytes":                        {To: "a@example.org", Extra: map[string]any{"bcc": "hush"}},
			"Extra.cc must be a string":                    {To: "a@example.org", Extra: map[string]any{"cc": []string{"a@example.org"}}},
			"Extra.attachments.f.txt has 5 bytes that":     {To: "a@example.org", Extra: file("hush!")},
			"Extra.attachments must be names of files":     {To: "a@example.org", Extra: map[string]any{"attachments": []string{"hush"}}},
			"Extra.attachments have 2000000 bytes, less ":  {To: "a@example.org", Extra: map[string]any{"attachments": map[string][]byte{"f": make([]byte, 2_000_000)}}},
		} {
			m.Template, m.Identifiers = "7", customerio.ID("17")
			if _, err := c.SendEmail(t.Context(), m); !errors.Is(err, customerio.ErrInvalid) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hush") {
				t.Errorf("%v, want %q", err, want)
			}
		}
	})
}

// A broadcast to a list that is empty goes to nobody, and not to all.
func TestBroadcastToNobody(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		c := w.open(nil)
		bad := map[string]customerio.Broadcast{
			"IDs are an empty list":             {IDs: []string{}},
			"Emails are an empty list":          {Emails: make([]string, 0, 3)},
			"Recipients is an empty filter":     {Recipients: map[string]any{}},
			"Extra.per_user_data are of 0":      {Extra: map[string]any{"per_user_data": []map[string]any{}}},
			"Extra.per_user_data are of 10001":  {Extra: map[string]any{"per_user_data": make([]int, 10_001)}},
			"Extra.per_user_data must be a lis": {Extra: map[string]any{"per_user_data": "hush"}},
			"Extra.ids has a field of its own":  {Extra: map[string]any{"ids": []string{}}},
			"Extra.emails has a field of its":   {Extra: map[string]any{"emails": nil}},
			"IDs[1] are 0":                      {IDs: []string{"1", ""}},
			"Emails[1] has 4 bytes and is no":   {Emails: []string{"a@b.c", "hush"}},
		}
		for _, want := range slices.Sorted(maps.Keys(bad)) {
			if _, err := c.TriggerBroadcast(t.Context(), 1, bad[want]); !errors.Is(err, customerio.ErrInvalid) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hush") {
				t.Errorf("%v, want %q", err, want)
			}
		}
		if n := c.Stats()[customerio.LaneBroadcast].Put; n != 0 {
			t.Errorf("%d put", n)
		}
	})
}

// An event that is too large for API v2 goes by v1, with its id, its time and in its turn.
func TestLargeEvents(t *testing.T) {
	bubble(t, &customeriotest.Options{Sequence: customeriotest.Attribute("seq")}, func(t *testing.T, w *world) {
		c := w.open(nil)
		people := []customerio.Identifiers{{ID: "a/b c?"}, {Email: "a+b@example.org"}, {CioID: "0300"}, {AnonymousID: "a1"}}
		seq := 0
		var ops []customerio.Operation
		for round := range 3 {
			for _, who := range people {
				for _, action := range []string{"event", "page", "screen"} {
					data := map[string]any{"seq": seq}
					if round == 1 {
						data["text"] = strings.Repeat("é", 45_000)
					}
					ops = append(ops, customerio.Operation{Type: "person", Action: action, Identifiers: who, Name: " seen ", Attributes: data, Timestamp: 1700000000})
					seq++
				}
			}
		}
		ids, err := c.Put(t.Context(), ops...)
		if err != nil {
			t.Fatal(err)
		}
		w.flush(c)
		v := w.Verdict()
		if v.Unique != len(ops) || v.OrderViolations != 0 || v.RefusedForRate != 0 {
			t.Errorf("%v, dead: %q", v, dead(t, c, customerio.LaneTrack))
		}
		for _, got := range w.Record() {
			n := int(got.Attributes["seq"].(float64))
			want := ops[n]
			if got.Action != want.Action || got.Name != "seen" || got.EventID != crockford(ids[n]) || got.Timestamp != want.Timestamp || got.Attributes["text"] != want.Attributes["text"] {
				t.Errorf("operation %d, %s of %+v, arrived as %s of %s, with id %s and time %d", n, want.Action, want.Identifiers, got.Action, got.Subject, got.EventID, got.Timestamp)
			}
		}
		for _, who := range []customerio.Identifiers{{ID: "a@b"}, {ID: "cio_1"}, {ID: ".."}, {Phone: "+14155552671"}} {
			if _, err := c.Track(t.Context(), who, "seen", map[string]any{"text": strings.Repeat("x", 32_000)}); !errors.Is(err, customerio.ErrInvalid) {
				t.Errorf("%+v: %v", who, err)
			}
		}
	})
}

// The data of an invitation are those of an event.
func TestDataOfInvitations(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		c := w.open(nil)
		at := time.Unix(1461866400, 0)
		if _, err := c.TrackAnonymous(t.Context(), "", "invited", map[string]any{"recipient": "a@example.org", "at": at}); err != nil {
			t.Fatal(err)
		}
		w.flush(c)
		if body := string(w.Record()[0].Body); !strings.Contains(body, `"at":1461866400`) {
			t.Error(body)
		}
		for want, data := range map[string]map[string]any{
			"attributes.recipient has 4 bytes and is no email":  {"recipient": "hush"},
			"attributes.at is the zero time":                    {"recipient": "a@example.org", "at": time.Time{}},
			"attributes.at holds text that is not UTF-8":        {"recipient": "a@example.org", "at": "hush\xff"},
			"attributes have 100044 bytes as JSON, at most 100": {"recipient": "a@example.org", "at": strings.Repeat("x", 100_000), "n": 12},
		} {
			if _, err := c.TrackAnonymous(t.Context(), "", "invited", data); !errors.Is(err, customerio.ErrInvalid) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hush") {
				t.Errorf("%v, want %q", err, want)
			}
		}
	})
}

// An event by API v1 is not at fault for a wrong address: it waits as others do.
func TestLargeEventAtAWrongAddress(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		c := w.open(func(o *customerio.Options) { o.TrackURL += "/elsewhere" })
		if _, err := c.Track(t.Context(), customerio.ID("17"), "seen", map[string]any{"text": strings.Repeat("x", 40_000)}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Minute)
		if s := c.Stats()[customerio.LaneTrack]; s.Pending != 1 || s.Dead != 0 || !strings.Contains(s.Held, "no Track API at this address") {
			t.Errorf("%d pending, dead: %q, held: %q", s.Pending, dead(t, c, customerio.LaneTrack), s.Held)
		}
	})
}
