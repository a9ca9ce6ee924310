package customeriotest_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/seed8107221f/outbox/customerio/customeriotest"
)

func TestMessages(t *testing.T) {
	x := strings.Repeat
	mail := func(rest string) string {
		return `{"to":"a@example.com","identifiers":{"id":"1"},"transactional_message_id":3` + rest + `}`
	}
	attachment := func(n int) string {
		return mail(`,"attachments":{"f":"` + base64.StdEncoding.EncodeToString(make([]byte, n)) + `"}`)
	}
	sized := func(n int) string { return mail(`,"message_data":{}`) + x(" ", n-len(mail(`,"message_data":{}`))) }
	// The clock of a bubble begins at midnight UTC 2000-01-01, which is 946684800.
	const days90 = 946684800 + 90*24*60*60
	const email, push = "/v1/send/email", "/v1/send/push"
	checkRules(t, nil, []rule{
		{"template", "POST", email, mail(""), 200, `{"delivery_id":"delivery-1","queued_at":946684800}`},
		{"template by name", "POST", email, `{"to":"a@example.com","identifiers":{"email":"e"},"transactional_message_id":"welcome"}`, 200, ""},
		{"template blank", "POST", email, `{"to":"a@example.com","identifiers":{"id":"1"},"transactional_message_id":""}`, 400, "transactional_message_id is required"},
		{"text", "POST", email, `{"to":"a@example.com","identifiers":{"id":"1"},"body":"b","subject":"s","from":"f@example.com"}`, 200, ""},
		{"text without a subject", "POST", email, `{"to":"a@example.com","identifiers":{"id":"1"},"body":"b","from":"f@example.com"}`, 400, `{"meta":{"error":"subject is required without`},
		{"to nobody", "POST", email, `{"identifiers":{"id":"1"},"transactional_message_id":3}`, 400, "to is required"},
		{"to no address", "POST", email, `{"to":"somebody","identifiers":{"id":"1"},"transactional_message_id":3}`, 400, "to is no list of addresses"},
		{"15 recipients", "POST", email, mail(`,"bcc":"b@example.com` + x(",b@example.com", 13) + `"`), 200, ""},
		{"16 recipients", "POST", email, mail(`,"cc":"c@example.com","bcc":"b@example.com` + x(",b@example.com", 13) + `"`), 400, "16 recipients, 15 are allowed"},
		{"nobody", "POST", email, `{"to":"a@example.com","transactional_message_id":3}`, 400, "identifiers is required"},
		{"two", "POST", email, `{"to":"a@example.com","identifiers":{"id":"1","email":"e"},"transactional_message_id":3}`, 400, "exactly one"},
		{"data", "POST", email, mail(`,"message_data":"x"`), 400, "message_data must be a JSON object"},
		{"send_at", "POST", email, mail(fmt.Sprintf(`,"send_at":%d`, days90)), 200, fmt.Sprintf(`"send_at":%d`, days90)},
		{"send_at too late", "POST", email, mail(fmt.Sprintf(`,"send_at":%d`, days90+1)), 400, "90 days ahead"},
		{"attachment", "POST", email, attachment(1_500_000), 200, ""},
		{"attachment no base64", "POST", email, mail(`,"attachments":{"f":"?"}`), 400, "is not base64"},
		{"request 2048000", "POST", email, sized(2_048_000), 200, ""},
		{"request 2048001", "POST", email, sized(2_048_001), 413, `{"meta":{"error":"has 2048001 bytes, 2048000 are allowed"}}`},
		{"push", "POST", push, `{"identifiers":{"cio_id":"1"},"transactional_message_id":3}`, 200, `"delivery_id"`},
		{"push without a template", "POST", push, `{"identifiers":{"id":"1"},"body":"b","subject":"s","from":"f"}`, 400, "transactional_message_id is required"},
		{"sms", "POST", "/v1/send/sms", `{"identifiers":{"id":"1"},"transactional_message_id":3}`, 200, ""},
		{"in_app", "POST", "/v1/send/in_app", `{"identifiers":{"id":"1"},"transactional_message_id":3}`, 200, ""},
		{"whatsapp", "POST", "/v1/send/whatsapp", `{"identifiers":{"id":"1"},"transactional_message_id":3}`, 200, ""},
		{"inbox_message", "POST", "/v1/send/inbox_message", `{"identifiers":{"id":"1"},"transactional_message_id":3}`, 200, ""},
		{"path", "POST", "/v1/send/fax", `{}`, 405, `{"meta":{"error":`},
		{"method", "PUT", email, mail(""), 405, `{"meta":{"error":`},
		{"not JSON", "POST", email, `{`, 400, "must be a JSON object"},
	})
	// Base64 alone would make this request too large: the limits are told apart by a larger one.
	checkRules(t, &customeriotest.Options{Sizes: customeriotest.Sizes{Message: 4_000_000}}, []rule{
		{"attachments 1999999", "POST", email, attachment(1_999_999), 200, ""},
		{"attachments 2000000", "POST", email, attachment(2_000_000), 400, "have 2000000 bytes, less than 2000000"},
	})
}

func TestBroadcasts(t *testing.T) {
	ids := func(key, id string, n int) string {
		return `{"` + key + `":[` + id + strings.Repeat(","+id, n-1) + `]}`
	}
	const path = "/v1/campaigns/7/triggers"
	checkRules(t, nil, []rule{
		{"bare", "POST", path, `{}`, 200, `{"id":1}`},
		{"recipients", "POST", path, `{"data":{"a":1},"recipients":{"segment":{"id":1}},"id_ignore_missing":true}`, 200, `{"id":1}`},
		{"file", "POST", path, `{"data_file_url":"https://files.example/f"}`, 200, ""},
		{"10000 ids", "POST", path, ids("ids", `"1"`, 10_000), 200, ""},
		{"10001 ids", "POST", path, ids("ids", `"1"`, 10_001), 422, `{"errors":[{"detail":"ids are 10001, 10000 are allowed","source":{"pointer":"/ids"},"status":"422"}]}`},
		{"10001 people", "POST", path, ids("per_user_data", `{"id":"1"}`, 10_001), 422, "per_user_data are 10001"},
		{"two audiences", "POST", path, `{"ids":["1"],"emails":["e"]}`, 422, "is a second audience"},
		{"empty recipients", "POST", path, `{"recipients":{}}`, 422, `"pointer":"/recipients"`},
		{"unknown field", "POST", path, `{"subject":"s"}`, 422, "subject is unknown"},
		{"data no object", "POST", path, `{"data":[]}`, 422, `"pointer":"/data"`},
		{"file no address", "POST", path, `{"data_file_url":"f.csv"}`, 422, "must begin with https://"},
		{"no JSON", "POST", path, ``, 422, "must be a JSON object"},
		{"no such broadcast", "POST", "/v1/campaigns/spring/triggers", `{}`, 404, `{"errors":[{"detail":`},
		{"method", "GET", path, ``, 405, `"status":"405"`},
	})
}

func TestImports(t *testing.T) {
	start := func(rest string) string {
		return `{"import":{"name":"n","data_file_url":"https://files.example/f"` + rest + `}}`
	}
	const path = "/v1/imports"
	checkRules(t, nil, []rule{
		{"people", "POST", path, start(`,"type":"people","identifier":"id"`), 200, `{"import":{`},
		{"object", "POST", path, start(`,"type":"object","object_type_id":"1"`), 200, ""},
		{"no identifier", "POST", path, start(`,"type":"event"`), 422, `"pointer":"/identifier"`},
		{"no object type", "POST", path, start(`,"type":"object"`), 422, `"pointer":"/object_type_id"`},
		{"type", "POST", path, start(`,"type":"robots"`), 422, "must be people, event, object or relationship"},
		{"no name", "POST", path, `{"import":{}}`, 422, `"pointer":"/name"`},
		{"no file", "POST", path, `{"import":{"name":"n"}}`, 422, `"pointer":"/data_file_url"`},
		{"no import", "POST", path, `{}`, 422, `"pointer":"/import"`},
		{"no such import", "GET", path + "/1", "", 404, `{"errors":[{"detail":`},
	})
	bubble(t, &customeriotest.Options{ImportEnd: "failed"}, func(t *testing.T, c *client) {
		state := func(r reply) (id int, state string) {
			var a struct {
				Import struct {
					ID    int
					State string
				}
			}
			if err := json.Unmarshal([]byte(r.body), &a); err != nil {
				t.Fatal(err)
			}
			return a.Import.ID, a.Import.State
		}
		id, got := state(c.send("POST", path, start(`,"type":"people","identifier":"id"`)))
		states := []string{got}
		for range 6 {
			_, got := state(c.send("GET", fmt.Sprint(path, "/", id), ""))
			states = append(states, got)
		}
		if got, want := strings.Join(states, " "), "preprocessing preprocessed validating validated importing failed failed"; got != want {
			t.Errorf("went through %s, want %s", got, want)
		}
	})
}

func TestQueries(t *testing.T) {
	bubble(t, nil, func(t *testing.T, c *client) {
		c.want(c.send("GET", "/v1/campaigns", ""), 200, `{"campaigns":[]}`)
		c.want(c.send("GET", "/v1/segments", ""), 200, `{"segments":[]}`)
		c.want(c.send("GET", "/v1/nonsense", ""), 404, `{"errors":[{"detail":`)
		c.want(c.send("GET", "/v1/customers/42/attributes", ""), 404, `{"errors":[{"detail":`)
		c.send("PUT", "/api/v1/customers/42", `{"plan":"free"}`)
		c.want(c.send("GET", "/v1/customers/42/attributes", ""), 200, `{"customer":{"attributes":{"plan":"free"},"id":"42"}}`)
	})
}

func TestDefaultLimits(t *testing.T) {
	const template = `{"identifiers":{"id":"1"},"transactional_message_id":3}`
	for _, row := range []struct {
		api                customeriotest.API
		method, path, body string
		requests           int
		window             time.Duration
	}{
		{customeriotest.Track, "PUT", "/api/v1/customers/1", `{}`, 100, time.Second},
		{customeriotest.Track, "POST", "/api/v2/batch", batchOf("1", "2"), 100, time.Second},
		{customeriotest.Transactional, "POST", "/v1/send/push", template, 100, time.Second},
		{customeriotest.Broadcasts, "POST", "/v1/campaigns/7/triggers", `{}`, 1, 10 * time.Second},
		{customeriotest.Imports, "GET", "/v1/imports/1", ``, 10, time.Second},
		{customeriotest.Queries, "GET", "/v1/segments", ``, 10, time.Second},
	} {
		t.Run(string(row.api)+" "+row.path, func(t *testing.T) {
			bubble(t, nil, func(t *testing.T, c *client) {
				for round := range 2 {
					for i := range row.requests {
						if r := c.send(row.method, row.path, row.body); r.status == 429 || r.err != nil {
							t.Fatalf("round %d, request %d: %d, %v", round, i+1, r.status, r.err)
						}
					}
					if round == 0 {
						time.Sleep(row.window)
					}
				}
				c.want(c.send(row.method, row.path, row.body), 429, "too many requests")
				v := c.Verdict()
				if a := v.APIs[row.api]; a.Fullest != row.requests+1 || a.RefusedForRate != 1 || a.Requests != 2*row.requests+1 {
					t.Errorf("%+v", a)
				}
				if v.Refused["429 rate"] != 1 || v.RefusedForRate != 1 || v.Requests != 2*row.requests+1 {
					t.Errorf("%+v", v)
				}
			})
		})
	}
}
