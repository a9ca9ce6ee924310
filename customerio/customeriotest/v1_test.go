package customeriotest_test

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/seed8107221f/outbox/customerio/customeriotest"
)

const ulid = "01ARZ3NDEKTSV4RRFFQ69G5FAV"

// A rule is a request, and what the server must answer.
type rule struct {
	name, method, path, body string
	status                   int
	answer                   string // is part of the body
}

// checkRules sends each, and checks that what was accepted, and only that, is in the record.
func checkRules(t *testing.T, o *customeriotest.Options, rules []rule) {
	t.Helper()
	if o == nil {
		o = &customeriotest.Options{}
	}
	o.Limits = unlimited
	for _, r := range rules {
		t.Run(r.name, func(t *testing.T) {
			bubble(t, o, func(t *testing.T, c *client) {
				c.want(c.send(r.method, r.path, r.body), r.status, r.answer)
				recorded := 0
				if r.status < 300 && r.status != 207 && r.method != "GET" {
					recorded = 1
				}
				c.accepted(recorded)
			})
		})
	}
}

func TestV1(t *testing.T) {
	x := strings.Repeat
	many := func(n int) string { // attributes
		m := map[string]int{}
		for i := range n {
			m[fmt.Sprint("a", i)] = i
		}
		return toJSON(t, m)
	}
	ids := func(n int) string { return `{"ids":["1"` + x(`,"2"`, n-1) + `]}` }
	data := func(n int) string { // of n bytes
		return `{"name":"x","data":{"k":"` + x("v", n-len(`{"k":""}`)) + `"}}`
	}
	const person, events, devices = "/api/v1/customers/42", "/api/v1/customers/42/events", "/api/v1/customers/42/devices"
	checkRules(t, nil, []rule{
		{"identify", "PUT", person, `{"email":"a@example.com","_timestamp":1700000000}`, 200, "{}\n"},
		{"id 150", "PUT", "/api/v1/customers/" + x("i", 150), `{}`, 200, "{}\n"},
		{"id 151", "PUT", "/api/v1/customers/" + x("i", 151), `{}`, 400, `{"meta":{"error":"id has 151 bytes, 150 are allowed"}}`},
		{"id 150 when decoded", "PUT", "/api/v1/customers/" + x("%C3%A4", 75), `{}`, 200, "{}\n"},
		{"id empty", "PUT", "/api/v1/customers/", `{}`, 400, `{"meta":{"error":"id is required"}}`},
		{"id in body blank", "PUT", person, `{"id":" "}`, 400, "id is required"},
		{"id in body a number", "PUT", person, `{"id":5}`, 400, "id must be a string"},
		{"not JSON", "PUT", person, `{"a":`, 400, `{"meta":{"error":"must be a JSON object`},
		{"not an object", "PUT", person, `[]`, 400, "must be a JSON object"},
		{"null", "PUT", person, `null`, 400, "must be a JSON object"},
		{"name 150", "PUT", person, `{"` + x("n", 150) + `":1}`, 200, ""},
		{"name 151", "PUT", person, `{"` + x("n", 151) + `":1}`, 400, "name of 151 bytes, 150 are allowed"},
		{"value 1000", "PUT", person, `{"a":"` + x("v", 1000) + `"}`, 200, ""},
		{"value 1001", "PUT", person, `{"a":"` + x("v", 1001) + `"}`, 400, "a has a value of 1001 bytes, 1000 are allowed"},
		{"list 1001", "PUT", person, `{"a":[` + x("1", 999) + `]}`, 400, "1001 bytes, 1000"},
		{"relationships are no value", "PUT", person, `{"cio_relationships":{"a":"` + x("v", 1001) + `"}}`, 200, ""},
		{"attributes 300", "PUT", person, many(300), 200, ""},
		{"attributes 301", "PUT", person, many(301), 400, "are 301, 300 are allowed"},
		{"timestamp in milliseconds", "PUT", person, `{"_timestamp":1700000000000}`, 400, "not 1700000000000"},
		{"timestamp too small", "PUT", person, `{"_timestamp":100000000}`, 400, "between 10^8 and 10^11"},
		{"timestamp with a fraction", "PUT", person, `{"_timestamp":1700000000.5}`, 400, "whole seconds"},
		{"timestamp as text", "PUT", person, `{"_timestamp":"1700000000"}`, 400, "whole seconds"},

		{"delete", "DELETE", person, "", 200, "{}\n"},
		{"suppress", "POST", person + "/suppress", "", 200, "{}\n"},
		{"unsuppress", "POST", person + "/unsuppress", "", 200, "{}\n"},
		{"delete long id", "DELETE", person + x("i", 149), "", 400, "151 bytes"},

		{"device", "PUT", devices, `{"device":{"id":"t","platform":"ios"}}`, 200, "{}\n"},
		{"device missing", "PUT", devices, `{}`, 400, `{"meta":{"errors":["device is required"]}}`},
		{"device id missing", "PUT", devices, `{"device":{"platform":"ios"}}`, 400, "device.id is required"},
		{"platform", "PUT", devices, `{"device":{"id":"t","platform":"palm"}}`, 400, "ios or android"},
		{"delete device", "DELETE", devices + "/t", "", 200, "{}\n"},
		{"delete no device", "DELETE", devices + "/", "", 400, "device is required"},

		{"event", "POST", events, `{"name":"bought","id":"` + ulid + `","timestamp":1700000000,"data":{"n":1}}`, 200, "{}\n"},
		{"event data null", "POST", events, `{"name":"x","data":null}`, 200, ""},
		{"event name missing", "POST", events, `{}`, 400, `{"meta":{"errors":["name is required"]}}`},
		{"event name blank", "POST", events, `{"name":" "}`, 400, "name is required"},
		{"event name 100 in spaces", "POST", events, `{"name":" ` + x("n", 100) + ` "}`, 200, ""},
		{"event name 101", "POST", events, `{"name":"` + x("n", 101) + `"}`, 400, "name has 101 bytes, 100 are allowed"},
		{"event name a number", "POST", events, `{"name":1}`, 400, "must be a string"},
		{"event data a list", "POST", events, `{"name":"x","data":[1]}`, 400, "data must be a JSON object"},
		{"event data 100000", "POST", events, data(100_000), 200, ""},
		{"event data 100001", "POST", events, data(100_001), 400, "data has 100001 bytes, 100000 are allowed"},
		{"event id short", "POST", events, `{"name":"x","id":"` + ulid[1:] + `"}`, 400, "id must be a ULID"},
		{"event id alphabet", "POST", events, `{"name":"x","id":"` + ulid[1:] + `U"}`, 400, "id must be a ULID"},
		{"event id too large", "POST", events, `{"name":"x","id":"8` + ulid[1:] + `"}`, 400, "id must be a ULID"},
		{"event timestamp", "POST", events, `{"name":"x","timestamp":1700000000000}`, 400, "timestamp must be"},
		{"event type a number", "POST", events, `{"name":"x","type":1}`, 400, "type must be a string"},

		{"anonymous", "POST", "/api/v1/events", `{"name":"x","anonymous_id":"v1"}`, 200, ""},
		{"anonymous blank", "POST", "/api/v1/events", `{"name":"invite","anonymous_id":"","data":{"recipient":"a@example.com"}}`, 200, ""},
		{"anonymous a number", "POST", "/api/v1/events", `{"name":"x","anonymous_id":3}`, 400, "anonymous_id must be a string"},

		{"merge", "POST", "/api/v1/merge_customers", `{"primary":{"id":"1"},"secondary":{"email":"a@example.com"}}`, 200, ""},
		{"merge with two", "POST", "/api/v1/merge_customers", `{"primary":{"id":"1","email":"e"},"secondary":{"id":"2"}}`, 400, `{"meta":{"error":"primary must be exactly one`},
		{"merge with phone", "POST", "/api/v1/merge_customers", `{"primary":{"phone":"1"},"secondary":{"id":"2"}}`, 400, "primary must be exactly one"},
		{"merge without", "POST", "/api/v1/merge_customers", `{"primary":{"id":"1"}}`, 400, "secondary is required"},

		{"segment", "POST", "/api/v1/segments/7/add_customers?id_type=email", ids(1000), 200, ""},
		{"segment none", "POST", "/api/v1/segments/7/remove_customers", `{"ids":[]}`, 400, `{"meta":{"errors":["ids are 0`},
		{"segment 1001", "POST", "/api/v1/segments/7/remove_customers", ids(1001), 400, "ids are 1001, from 1 to 1000"},
		{"segment name", "POST", "/api/v1/segments/vip/add_customers", ids(1), 400, "must be a number"},
		{"segment id_type", "POST", "/api/v1/segments/7/add_customers?id_type=phone", ids(1), 400, "id_type must be"},
		{"segment numbers", "POST", "/api/v1/segments/7/add_customers", `{"ids":[1]}`, 400, "is not the list"},

		{"form", "POST", "/api/v1/forms/f/submit", `{"data":{"email":"a@example.com"}}`, 204, ""},
		{"form nobody", "POST", "/api/v1/forms/f/submit", `{"data":{"name":"n"}}`, 400, "data must have an id or an email"},
		{"metrics", "POST", "/api/v1/metrics", `{"delivery_id":"d"}`, 200, ""},
		{"push events", "POST", "/api/v1/push/events", `{"delivery_id":"d"}`, 200, ""},
		{"metrics text", "POST", "/api/v1/metrics", `opened`, 400, "must be a JSON object"},
		{"unsubscribe", "POST", "/unsubscribe/d", `{"unsubscribe":true}`, 200, ""},
		{"unsubscribe nothing", "POST", "/unsubscribe/", `{"unsubscribe":true}`, 400, "delivery is required"},

		{"region", "GET", "/api/v1/accounts/region", "", 200, `"region":"us"`},
		{"path", "PUT", "/api/v1/people/42", `{}`, 404, `{"meta":{"error":"there is no such path"}}`},
		{"method", "POST", person, `{}`, 405, "is not allowed here: POST"},
	})
}

func TestOpenPoints(t *testing.T) {
	const events = "/api/v1/customers/42/events"
	checkRules(t, &customeriotest.Options{
		Region: "eu",
		Open:   customeriotest.Open{AnyEventID: true, AnyTimestamp: true, OversizeStatus: 400, BatchItems: 1},
		Sizes:  customeriotest.Sizes{Identifier: 3},
	}, []rule{
		{"event id", "POST", events, `{"name":"x","id":"order 5"}`, 200, ""},
		{"timestamp", "POST", events, `{"name":"x","timestamp":1700000000000}`, 200, ""},
		{"timestamp with a fraction", "POST", events, `{"name":"x","timestamp":1.5}`, 400, "whole seconds"},
		{"oversize", "POST", "/api/v2/entity", `{"a":"` + strings.Repeat("v", 32_000) + `"}`, 400, "32000 are allowed"},
		{"batch items", "POST", "/api/v2/batch", `{"batch":[{},{}]}`, 400, "has 2 operations, 1 are allowed"},
		{"region", "GET", "/api/v1/accounts/region", "", 200, `"region":"eu"`},
		{"size", "PUT", "/api/v1/customers/1234", `{}`, 400, "4 bytes, 3 are allowed"},
	})
}

func TestCredentials(t *testing.T) {
	// The key's encoding has characters that the two alphabets of base64 write differently.
	o := &customeriotest.Options{SiteID: "s", TrackKey: "\xfb\xff\xfe?>", AppKey: "k"}
	const right = "s:\xfb\xff\xfe?>"
	std, url := base64.StdEncoding.EncodeToString([]byte(right)), base64.URLEncoding.EncodeToString([]byte(right))
	if std == url {
		t.Fatal("the alphabets do not differ for this key")
	}
	const track, send = "/api/v2/batch", "/v1/send/email"
	for _, row := range []struct {
		path, header string
		refused      bool
	}{
		{track, "Basic " + std, false},
		{track, "basic " + url, false},
		{track, "", true},
		{track, "Basic", true},
		{track, "Basic ?", true},
		{track, "Basic " + base64.StdEncoding.EncodeToString([]byte("s:other")), true},
		{track, "Basic " + base64.StdEncoding.EncodeToString([]byte("other:\xfb\xff\xfe?>")), true},
		{track, "Bearer k", true},
		{send, "Bearer k", false},
		{send, "Bearer other", true},
		{send, "Bearer", true},
		{send, "Token k", true},
		{send, "Basic " + std, true},
		{"/api/v1/metrics", "", false},
	} {
		t.Run(row.path+" "+row.header, func(t *testing.T) {
			bubble(t, o, func(t *testing.T, c *client) {
				r := c.request("POST", row.path, `[`) // so that what passes is refused for the body
				r.Header.Del("Authorization")
				if row.header != "" {
					r.Header.Set("Authorization", row.header)
				}
				if got := c.do(r); (got.status == 401) != row.refused || !row.refused && got.status != 400 {
					t.Errorf("answered %d %s", got.status, got.body)
				}
			})
		})
	}
}

func TestEncodedBodies(t *testing.T) {
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	w.Write([]byte(`{"plan":"free"}`))
	w.Close()
	for _, row := range []struct {
		name, encoding, body string
		taken                bool
		status               int
	}{
		{"taken", "gzip", z.String(), true, 200},
		{"no gzip", "gzip", `{"plan":"free"}`, true, 400},
		{"not taken", "gzip", z.String(), false, 415},
		{"unknown", "br", z.String(), true, 415},
		{"identity", "identity", `{"plan":"free"}`, false, 200},
	} {
		t.Run(row.name, func(t *testing.T) {
			bubble(t, &customeriotest.Options{Open: customeriotest.Open{Gzip: row.taken}}, func(t *testing.T, c *client) {
				r := c.request("PUT", "/api/v1/customers/1", row.body)
				r.Header.Set("Content-Encoding", row.encoding)
				c.want(c.do(r), row.status, "")
				if row.status == 200 && c.Attributes("1")["plan"] != "free" {
					t.Errorf("the attributes are %v", c.Attributes("1"))
				}
			})
		})
	}
}
