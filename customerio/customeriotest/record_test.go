package customeriotest_test

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/seed8107221f/outbox/customerio/customeriotest"
)

func TestRecord(t *testing.T) {
	bubble(t, nil, func(t *testing.T, c *client) {
		begin := time.Now()
		c.send("GET", "/v1/segments", "")
		time.Sleep(time.Second)
		r := c.request("POST", "/api/v1/customers/4%2F2/events", `{"name":" bought ","id":"`+ulid+`","timestamp":1700000000,"data":{"n":7},"type":"page"}`)
		r.Header.Set("Idempotency-Key", "key-1")
		c.want(c.do(r), 200, "")
		time.Sleep(time.Second)
		item := `{"type":"person","action":"identify","identifiers":{"cio_id":"07"},"attributes":{"plan":"free"},"timestamp":1700000001}`
		c.want(c.send("POST", "/api/v2/batch", `{"batch":[{}, `+item+`]}`), 207, "")

		rec := c.Record()
		if len(rec) != 2 {
			t.Fatalf("%d operations are in the record", len(rec))
		}
		type accepted struct {
			API                                              customeriotest.API
			Type, Action, Subject, Name, EventID, Key, Attrs string
			Timestamp                                        int64
			At                                               time.Duration
			Request, Index                                   int
			Hash                                             [sha256.Size]byte
		}
		for i, want := range []accepted{
			{customeriotest.Track, "person", "page", "4/2", "bought", ulid, "key-1", "map[n:7]", 1700000000, time.Second, 2, 0, rec[0].Hash},
			{customeriotest.Track, "person", "identify", "cio_07", "", "", "", "map[plan:free]", 1700000001, 2 * time.Second, 3, 1, sha256.Sum256([]byte(item))},
		} {
			a := rec[i]
			got := accepted{a.API, a.Type, a.Action, a.Subject, a.Name, a.EventID, a.IdempotencyKey, fmt.Sprint(a.Attributes), a.Timestamp, a.At.Sub(begin), a.Request, a.Index, a.Hash}
			if got != want {
				t.Errorf("operation %d\nis   %+v\nwant %+v", i, got, want)
			}
		}
		if string(rec[1].Body) != item {
			t.Errorf("the body is %s", rec[1].Body)
		}
		// cio_ is how the two versions of the API write the same person.
		if got := c.Attributes("cio_07")["plan"]; got != "free" {
			t.Errorf("the plan is %v", got)
		}
	})
}

func TestTypesOfEvents(t *testing.T) {
	bubble(t, nil, func(t *testing.T, c *client) {
		for _, row := range []struct{ kind, action string }{{"event", "event"}, {"page", "page"}, {"screen", "screen"}, {"video", "event"}, {"", "event"}} {
			c.want(c.send("POST", "/api/v1/events", fmt.Sprintf(`{"name":"x","type":%q}`, row.kind)), 200, "")
			if rec := c.Record(); rec[len(rec)-1].Action != row.action {
				t.Errorf("type %q is %q, want %q", row.kind, rec[len(rec)-1].Action, row.action)
			}
		}
	})
}

func TestAttributes(t *testing.T) {
	bubble(t, nil, func(t *testing.T, c *client) {
		if c.Attributes("1") != nil {
			t.Error("a stranger has attributes")
		}
		c.send("PUT", "/api/v1/customers/1", `{"plan":"free"}`)
		c.send("PUT", "/api/v1/customers/1", `{"seats":3}`)
		if got := fmt.Sprint(c.Attributes("1")); got != "map[seats:3]" {
			t.Errorf("the last identify brought %s", got)
		}
		c.send("POST", "/api/v2/entity", `{"type":"person","action":"identify","identifiers":{"id":"1"}}`)
		if got := c.Attributes("1"); got == nil || len(got) != 0 {
			t.Errorf("the last identify brought %v", got)
		}
		c.send("DELETE", "/api/v1/customers/1", "")
		if got := c.Attributes("1"); got != nil {
			t.Errorf("after the delete there is %v", got)
		}
	})
}

func TestDuplicates(t *testing.T) {
	event := func(id, data string) string { return `{"name":"x","id":"` + id + `","data":{"n":` + data + `}}` }
	const events, person, send = "/api/v1/customers/1/events", "/api/v1/customers/1", "/v1/send/push"
	message := `{"identifiers":{"id":"1"},"transactional_message_id":3,"message_data":{"n":1}}`
	byN := func(o customeriotest.Operation) string {
		if n, ok := o.Attributes["n"]; ok {
			return fmt.Sprint(n)
		}
		return ""
	}
	other := ulid[:25] + "W"
	for _, row := range []struct {
		name              string
		o                 *customeriotest.Options
		first, second     rule
		operations, again int // duplicates
	}{
		{"event id", nil, rule{"", "POST", events, event(ulid, "1"), 0, ""}, rule{"", "POST", events, event(ulid, "2"), 0, ""}, 2, 1},
		{"event id, other version", nil, rule{"", "POST", events, event(ulid, "1"), 0, ""},
			rule{"", "POST", "/api/v2/entity", `{"type":"person","action":"event","identifiers":{"id":"1"},"name":"x","id":"` + ulid + `"}`, 0, ""}, 2, 1},
		{"other event id", nil, rule{"", "POST", events, event(ulid, "1"), 0, ""}, rule{"", "POST", events, event(other, "1"), 0, ""}, 2, 0},
		{"event id wins over the marker", &customeriotest.Options{Marker: byN}, rule{"", "POST", events, event(ulid, "1"), 0, ""}, rule{"", "POST", events, event(other, "1"), 0, ""}, 2, 0},
		{"no ULID, no removal", &customeriotest.Options{Open: customeriotest.Open{AnyEventID: true}},
			rule{"", "POST", events, event("5", "1"), 0, ""}, rule{"", "POST", events, event("5", "2"), 0, ""}, 2, 0},
		{"body", nil, rule{"", "PUT", person, `{"n":1}`, 0, ""}, rule{"", "PUT", person, `{"n":1}`, 0, ""}, 2, 1},
		{"other body", nil, rule{"", "PUT", person, `{"n":1}`, 0, ""}, rule{"", "PUT", person, `{"n":2}`, 0, ""}, 2, 0},
		{"other person", nil, rule{"", "PUT", person, `{"n":1}`, 0, ""}, rule{"", "PUT", "/api/v1/customers/2", `{"n":1}`, 0, ""}, 2, 0},
		{"other action", nil, rule{"", "POST", person + "/suppress", "", 0, ""}, rule{"", "POST", person + "/unsuppress", "", 0, ""}, 2, 0},
		{"marker", &customeriotest.Options{Marker: byN}, rule{"", "PUT", person, `{"n":1,"a":1}`, 0, ""}, rule{"", "PUT", person, `{"n":1,"a":2}`, 0, ""}, 2, 1},
		{"no marker", &customeriotest.Options{Marker: byN}, rule{"", "PUT", person, `{"a":1}`, 0, ""}, rule{"", "PUT", person, `{"a":2}`, 0, ""}, 2, 0},
		{"message", nil, rule{"", "POST", send, message, 0, ""}, rule{"", "POST", send, message, 0, ""}, 2, 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			bubble(t, row.o, func(t *testing.T, c *client) {
				for _, r := range []rule{row.first, row.second} {
					c.want(c.send(r.method, r.path, r.body), 200, "")
				}
				v := c.Verdict()
				if v.Operations != row.operations || v.Duplicates != row.again || v.Unique != row.operations-row.again {
					t.Errorf("%s", v)
				}
				if rec := c.Record(); rec[0].Duplicate || rec[1].Duplicate != (row.again == 1) {
					t.Errorf("marked as duplicates: %v, %v", rec[0].Duplicate, rec[1].Duplicate)
				}
			})
		})
	}
}

func TestOrder(t *testing.T) {
	// Each step is a person and the place of the operation in its sequence; "-" has none.
	for _, row := range []struct {
		steps      string
		violations int
	}{
		{"a1 a2 b1 a3 b2", 0},
		{"a1 a3 a2", 1},
		{"a3 a1 a2", 2},
		{"a2 b1 a3", 0},
		{"a1 a2 a1 a3", 0}, // a repetition is no violation
		{"a5 a- a6", 0},
		{"a0 a-1", 1}, // the first place may be zero, and one may lie below
	} {
		for _, batch := range []bool{false, true} {
			t.Run(fmt.Sprint(row.steps, " ", batch), func(t *testing.T) {
				bubble(t, &customeriotest.Options{Sequence: customeriotest.Attribute("n")}, func(t *testing.T, c *client) {
					var items []string
					for step := range strings.FieldsSeq(row.steps) {
						attributes := `{"n":` + step[1:] + `}`
						if step[1:] == "-" {
							attributes = `{"m":1}`
						}
						items = append(items, `{"type":"person","action":"identify","identifiers":{"id":"`+step[:1]+`"},"attributes":`+attributes+`}`)
					}
					if batch {
						c.want(c.send("POST", "/api/v2/batch", `{"batch":[`+strings.Join(items, ",")+`]}`), 200, "")
					} else {
						for _, item := range items {
							c.want(c.send("POST", "/api/v2/entity", item), 200, "")
						}
					}
					if v := c.Verdict(); v.OrderViolations != row.violations {
						t.Errorf("%d violations, want %d", v.OrderViolations, row.violations)
					}
				})
			})
		}
	}
}

func TestOrderByTimestamp(t *testing.T) {
	bubble(t, &customeriotest.Options{Sequence: customeriotest.Timestamp}, func(t *testing.T, c *client) {
		for i, stamp := range []string{"1700000005", "1700000005", "1700000004"} {
			c.want(c.send("PUT", "/api/v1/customers/1", fmt.Sprintf(`{"a":%d,"_timestamp":%s}`, i, stamp)), 200, "")
		}
		c.want(c.identify(), 200, "")
		if v := c.Verdict(); v.OrderViolations != 1 {
			t.Errorf("%s", v)
		}
	})
}

func TestCountOnly(t *testing.T) {
	bubble(t, &customeriotest.Options{CountOnly: true}, func(t *testing.T, c *client) {
		c.identify()
		c.identify()
		if v := c.Verdict(); v.Operations != 2 || v.Duplicates != 1 || len(c.Record()) != 0 {
			t.Errorf("%s, %d in the record", v, len(c.Record()))
		}
	})
}

func TestVerdictLine(t *testing.T) {
	v := customeriotest.Verdict{Operations: 1, Unique: 2, Duplicates: 3, OrderViolations: 4, FullestSecond: 5, RefusedForRate: 6, BeforeRetryAfter: 7}
	want := "operations=1 unique=2 duplicates=3 order_violations=4 fullest_second=5 refused_for_rate=6 before_retry_after=7"
	if got := v.String(); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}
