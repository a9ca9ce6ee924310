package customeriotest_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/seed8107221f/outbox/customerio/customeriotest"
)

func TestV2Entity(t *testing.T) {
	x := strings.Repeat
	person := func(action, rest string) string {
		return `{"type":"person","identifiers":{"id":"42"},"action":"` + action + `"` + rest + `}`
	}
	thing := func(action, rest string) string {
		return `{"type":"object","identifiers":{"object_type_id":"1","object_id":"acme"},"action":"` + action + `"` + rest + `}`
	}
	delivery := func(name, token string) string {
		return `{"type":"delivery","action":"event","identifiers":{"id":"d"},"name":"` + name + `","attributes":{"device_token":"` + token + `"}}`
	}
	sized := func(n int) string { // n bytes in all, within the limits of attributes
		head, tail := person("event", `,"name":"x","attributes":{"v":"`), `"}}`
		head = head[:len(head)-1]
		return head + x("v", n-len(head)-len(tail)) + tail
	}
	rules := []rule{
		{name: "identify", body: person("identify", `,"attributes":{"plan":"free"},"timestamp":1700000000`)},
		{name: "identify bare", body: person("identify", "")},
		{name: "delete", body: person("delete", "")},
		{name: "suppress", body: person("suppress", "")},
		{name: "unsuppress", body: person("unsuppress", "")},
		{name: "event", body: person("event", `,"name":"x","id":"`+ulid+`","attributes":{"n":1}`)},
		{name: "screen", body: person("screen", `,"name":"x"`)},
		{name: "page", body: person("page", `,"name":"x"`)},
		{name: "relationships", body: person("add_relationships", `,"cio_relationships":[{"identifiers":{"object_id":"a"}}]`)},
		{name: "device", body: person("add_device", `,"device":{"token":"t","platform":"android"}`)},
		{name: "delete device", body: person("delete_device", `,"device":{"token":"t"}`)},
		{name: "merge", body: `{"type":"person","action":"merge","primary":{"id":"1"},"secondary":{"cio_id":"2"}}`},
		{name: "phone", body: `{"type":"person","action":"delete","identifiers":{"phone":"+15551234"}}`},
		{name: "anonymous event", body: `{"type":"person","action":"event","name":"x","identifiers":{"anonymous_id":"v1"}}`},
		{name: "object", body: thing("identify", `,"attributes":{"a":1}`)},
		{name: "object by cio id", body: `{"type":"object","action":"delete","identifiers":{"cio_object_id":"o1"}}`},
		{name: "object relationships", body: thing("delete_relationships", `,"cio_relationships":[{"identifiers":{"id":"1"}}]`)},
		{name: "delivery", body: delivery("opened", "t")},
		{name: "32000 bytes", body: sized(32_000)},

		{name: "32001 bytes", body: sized(32_001), status: 413, answer: `"message":"has 32001 bytes, 32000 are allowed"`},
		{name: "not JSON", body: `{`, status: 400, answer: `{"errors":[{"reason":"invalid","field":"","message":"must be a JSON object`},
		{name: "no type", body: `{"action":"identify"}`, status: 400, answer: `{"reason":"required","field":"type","message":"is required"}`},
		{name: "no action", body: `{"type":"person"}`, status: 400, answer: `"field":"action"`},
		{name: "type unknown", body: `{"type":"robot","action":"identify"}`, status: 400, answer: "must be person, object or delivery"},
		{name: "person action unknown", body: person("greet", ""), status: 400, answer: "is unknown for a person"},
		{name: "object action unknown", body: thing("event", ""), status: 400, answer: "is unknown for an object"},
		{name: "delivery action unknown", body: `{"type":"delivery","action":"identify"}`, status: 400, answer: "is unknown for a delivery"},
		{name: "no identifiers", body: `{"type":"person","action":"delete"}`, status: 400, answer: `"field":"identifiers"`},
		{name: "two identifiers", body: `{"type":"person","action":"delete","identifiers":{"id":"1","email":"e"}}`, status: 400, answer: "exactly one"},
		{name: "identifier unknown", body: `{"type":"person","action":"delete","identifiers":{"name":"1"}}`, status: 400, answer: "exactly one"},
		{name: "identify anonymous", body: `{"type":"person","action":"identify","identifiers":{"anonymous_id":"1"}}`, status: 400, answer: "exactly one"},
		{name: "identifier blank", body: `{"type":"person","action":"delete","identifiers":{"id":""}}`, status: 400, answer: `"field":"identifiers.id"`},
		{name: "identifier long", body: `{"type":"person","action":"delete","identifiers":{"id":"` + x("i", 151) + `"}}`, status: 400, answer: "151 bytes, 150"},
		{name: "identifier a number", body: `{"type":"person","action":"delete","identifiers":{"id":1}}`, status: 400, answer: `"field":"identifiers.id"`},
		{name: "attribute value", body: person("identify", `,"attributes":{"plan":"`+x("v", 1001)+`"}`), status: 400, answer: `"field":"attributes.plan"`},
		{name: "attributes a list", body: person("identify", `,"attributes":[]`), status: 400, answer: `"field":"attributes"`},
		{name: "timestamp", body: person("identify", `,"timestamp":1`), status: 400, answer: `"field":"timestamp"`},
		{name: "event without a name", body: person("event", ""), status: 400, answer: `"field":"name"`},
		{name: "event id", body: person("event", `,"name":"x","id":"42"`), status: 400, answer: `"field":"id"`},
		{name: "event attributes", body: person("event", `,"name":"x","attributes":"n"`), status: 400, answer: `"field":"attributes"`},
		{name: "no relationships", body: person("add_relationships", ""), status: 400, answer: `"field":"cio_relationships"`},
		{name: "empty relationships", body: person("add_relationships", `,"cio_relationships":[]`), status: 400, answer: `"field":"cio_relationships"`},
		{name: "relationship to nobody", body: person("identify", `,"cio_relationships":[{}]`), status: 400, answer: `"field":"cio_relationships.identifiers"`},
		{name: "no device", body: person("add_device", ""), status: 400, answer: `"field":"device"`},
		{name: "device token", body: person("delete_device", `,"device":{"id":"t"}`), status: 400, answer: `"field":"device.token"`},
		{name: "device platform", body: person("add_device", `,"device":{"token":"t"}`), status: 400, answer: `"field":"device.platform"`},
		{name: "merge with nobody", body: `{"type":"person","action":"merge","secondary":{"id":"1"}}`, status: 400, answer: `"field":"primary"`},
		{name: "object without its type", body: `{"type":"object","action":"delete","identifiers":{"object_id":"o"}}`, status: 400, answer: `"field":"identifiers.object_type_id"`},
		{name: "delivery name", body: delivery("read", "t"), status: 400, answer: "opened, converted or delivered"},
		{name: "delivery token", body: delivery("opened", ""), status: 400, answer: `"field":"attributes.device_token"`},
	}
	for i := range rules {
		rules[i].method, rules[i].path = "POST", "/api/v2/entity"
		if rules[i].status == 0 {
			rules[i].status, rules[i].answer = 200, "{}\n"
		}
	}
	checkRules(t, nil, rules)
}

func TestBatchAsAWhole(t *testing.T) {
	item := `{"type":"person","action":"delete","identifiers":{"id":"1"}}`
	sized := func(n int) string { // n bytes in all
		body := `{"batch":[` + strings.Repeat(item+",", 1000) + item + `]}`
		return body + strings.Repeat(" ", n-len(body))
	}
	rules := []rule{
		{name: "500001 bytes", body: sized(500_001), status: 413, answer: `{"errors":[{"reason":"size","field":"batch","message":"has 500001 bytes, 500000 are allowed"}]}`},
		{name: "no batch", body: `{}`, status: 400, answer: `{"reason":"required","field":"batch"`},
		{name: "empty", body: `{"batch":[]}`, status: 400, answer: `{"reason":"required","field":"batch"`},
		{name: "no list", body: `{"batch":{}}`, status: 400, answer: `"field":"batch"`},
		{name: "not JSON", body: `{"batch":[}`, status: 400, answer: "must be a JSON object"},
		{name: "one", body: `{"batch":[` + item + `]}`, status: 200, answer: "{}\n"},
	}
	for i := range rules {
		rules[i].method, rules[i].path = "POST", "/api/v2/batch"
	}
	checkRules(t, nil, rules)
	bubble(t, nil, func(t *testing.T, c *client) {
		c.want(c.send("POST", "/api/v2/batch", sized(500_000)), 200, "{}\n")
		c.accepted(1001)
	})
}

// batchOf makes a batch of deletes of these people.
func batchOf(people ...string) string {
	items := make([]string, len(people))
	for i, p := range people {
		items[i] = fmt.Sprintf(`{"type":"person","action":"delete","identifiers":{"id":%q}}`, p)
	}
	return `{"batch":[` + strings.Join(items, ",") + `]}`
}

func subjects(record []customeriotest.Accepted) string {
	var s []string
	for _, a := range record {
		s = append(s, a.Subject)
	}
	return strings.Join(s, " ")
}

func TestBatchRefusesItems(t *testing.T) {
	bubble(t, nil, func(t *testing.T, c *client) {
		large := `{"type":"person","action":"event","name":"x","identifiers":{"id":"5"},"attributes":{"v":"` + strings.Repeat("v", 32_000) + `"}}`
		good := func(id string) string { return strings.TrimSuffix(strings.TrimPrefix(batchOf(id), `{"batch":[`), `]}`) }
		r := c.send("POST", "/api/v2/batch", `{"batch":[`+good("0")+`,7,`+good("2")+`,{"type":"person"},`+large+`,`+good("5")+`]}`)
		c.want(r, 207, `{"errors":[{"batch_index":1,"reason":"invalid","field":"","message":"must be a JSON object`)
		c.want(r, 207, `{"batch_index":3,"reason":"required","field":"action","message":"is required"}`)
		c.want(r, 207, `{"batch_index":4,"reason":"size"`)
		if got := subjects(c.Record()); got != "0 2 5" {
			t.Errorf("accepted were %s", got)
		}
		for i, want := range []int{0, 2, 5} {
			if got := c.Record()[i].Index; got != want {
				t.Errorf("operation %d has index %d, want %d", i, got, want)
			}
		}
		if v := c.Verdict(); v.Refused["207 invalid"] != 1 || v.Refused["207 required"] != 1 || v.Refused["207 size"] != 1 {
			t.Errorf("refused by reason: %v", v.Refused)
		}
	})
}

func TestChosenRefusals(t *testing.T) {
	refuse := customeriotest.Faults{Refuse: func(o customeriotest.Operation) *customeriotest.Refusal {
		if o.Subject == "bad" {
			other := 9 // the server knows better
			return &customeriotest.Refusal{Index: &other, Reason: "chosen", Field: "f", Message: "m"}
		}
		return nil
	}}
	const refusal = `"reason":"chosen","field":"f","message":"m"}`
	for _, row := range []struct {
		name    string
		rewrite func(int, []customeriotest.Refusal) []customeriotest.Refusal
		people  []string
		status  int
		answer  string
	}{
		{"as it is", nil, []string{"a", "bad", "c"}, 207, `{"errors":[{"batch_index":1,` + refusal + "]}\n"},
		{"all", nil, []string{"bad"}, 207, `{"errors":[{"batch_index":0,` + refusal + "]}\n"},
		{"none", nil, []string{"a"}, 200, "{}\n"},
		{"out of range", customeriotest.IndexOutOfRange, []string{"a", "bad"}, 207, `,{"batch_index":2,"reason":`},
		{"out of range alone", customeriotest.IndexOutOfRange, []string{"a", "b"}, 207, `{"errors":[{"batch_index":2,"reason":`},
		{"repeated", customeriotest.IndexRepeated, []string{"a", "bad"}, 207, `{"errors":[{"batch_index":1,` + refusal + `,{"batch_index":1,` + refusal + "]}\n"},
		{"missing", customeriotest.IndexMissing, []string{"a", "bad"}, 207, `{"errors":[{` + refusal + "]}\n"},
	} {
		t.Run(row.name, func(t *testing.T) {
			bubble(t, nil, func(t *testing.T, c *client) {
				f := refuse
				f.Rewrite = row.rewrite
				c.SetFaults(f)
				c.want(c.send("POST", "/api/v2/batch", batchOf(row.people...)), row.status, row.answer)
				good := strings.Join(strings.Fields(strings.ReplaceAll(strings.Join(row.people, " "), "bad", "")), " ")
				if got := subjects(c.Record()); got != good {
					t.Errorf("accepted were %q, want %q", got, good)
				}
			})
		})
	}
	t.Run("alone", func(t *testing.T) {
		bubble(t, nil, func(t *testing.T, c *client) {
			c.SetFaults(refuse)
			c.want(c.send("DELETE", "/api/v1/customers/bad", ""), 400, `{"meta":{"error":"f m"}}`)
			c.want(c.send("DELETE", "/api/v1/customers/good", ""), 200, "{}")
			c.want(c.send("POST", "/api/v2/entity", `{"type":"person","action":"delete","identifiers":{"id":"bad"}}`), 400, `{"errors":[{`+refusal)
			c.accepted(1)
		})
	})
}

func TestPoison(t *testing.T) {
	for _, status := range []int{400, 413, 500} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			bubble(t, nil, func(t *testing.T, c *client) {
				c.SetFaults(customeriotest.Faults{Poison: func(o customeriotest.Operation) int {
					if o.Subject == "bad" {
						return status
					}
					return 0
				}})
				r := c.send("POST", "/api/v2/batch", batchOf("a", "bad", "c"))
				c.want(r, status, "")
				if html := strings.HasPrefix(r.header.Get("Content-Type"), "text/html"); html != (status >= 500) || strings.Contains(r.body, "bad") {
					t.Errorf("answered %s", r.body)
				}
				c.accepted(0)
				c.want(c.send("POST", "/api/v2/batch", batchOf("a", "c")), 200, "{}")
				c.want(c.send("DELETE", "/api/v1/customers/bad", ""), status, "")
				c.accepted(2)
			})
		})
	}
}
