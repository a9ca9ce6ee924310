package customerio_test

import (
	"errors"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox/customerio"
	"github.com/seed8107221f/outbox/customerio/customeriotest"
)

// sdkCall sends what the vendor's SDK for Go sends.
func sdkCall(t *testing.T, c *customerio.Client, method, url, body string) (*http.Response, string, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Basic "+"aHVzaDpodXNo")
	req.Header.Set("Content-Type", "application/json")
	resp, err := (&http.Client{Transport: c.RoundTripper()}).Do(req)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp, string(text), err
}

// What the vendor's SDK sends is stored, each call in its lane, and arrives with our credentials.
func TestRoundTripper(t *testing.T) {
	made := customerio.ULID(uuid.NewSHA1(uuid.Nil, []byte("evt_123")))
	now := regexp.MustCompile(`"timestamp":9466848\d\d\b`)
	event := regexp.MustCompile(`"id":"[0-9A-Z]{26}"`)
	const entity = "POST /api/v2/entity "
	for _, row := range []struct {
		call, body string
		lane       customerio.Lane
		want       string
	}{
		{"PUT /api/v1/customers/17", `{"plan":"basic","n":12345678901234567890,"_timestamp":900000000}`, customerio.LaneTrack,
			entity + `{"type":"person","action":"identify","identifiers":{"id":"17"},"timestamp":900000000,"attributes":{"n":12345678901234567890,"plan":"basic"}}`},
		{"PUT /api/v1/customers/a@example.org", `{"created_at":900000000}`, customerio.LaneTrack,
			entity + `{"type":"person","action":"identify","identifiers":{"email":"a@example.org"},"timestamp":NOW,"attributes":{"created_at":900000000}}`},
		{"DELETE /api/v1/customers/cio_03%2F1", ``, customerio.LaneTrack,
			entity + `{"type":"person","action":"delete","identifiers":{"cio_id":"03/1"}}`},
		{"POST /api/v1/customers/17/events", `{"name":"bought","data":{"n":1},"id":"evt_123","timestamp":900000000}`, customerio.LaneTrack,
			entity + `{"type":"person","action":"event","identifiers":{"id":"17"},"name":"bought","id":"` + made + `","timestamp":900000000,"attributes":{"n":1}}`},
		{"POST /api/v1/customers/17/events", `{"name":"/prices","type":"page","data":null}`, customerio.LaneTrack,
			entity + `{"type":"person","action":"page","identifiers":{"id":"17"},"name":"/prices","id":"ULID","timestamp":NOW}`},
		{"POST /api/v1/events", `{"name":"seen","anonymous_id":"a1","data":{}}`, customerio.LaneTrack,
			entity + `{"type":"person","action":"event","identifiers":{"anonymous_id":"a1"},"name":"seen","id":"ULID","timestamp":NOW}`},
		{"POST /api/v1/events", `{"name":"invite","data":{"recipient":"b@example.org"}}`, customerio.LaneTrack,
			`POST /api/v1/events {"data":{"recipient":"b@example.org"},"id":"ULID","name":"invite","timestamp":NOW}`},
		{"PUT /api/v1/customers/17/devices", `{"device":{"id":"t","platform":"ios","last_used":"900000000","attributes":{"v":2}}}`, customerio.LaneTrack,
			entity + `{"type":"person","action":"add_device","identifiers":{"id":"17"},"device":{"token":"t","platform":"ios","last_used":900000000,"attributes":{"v":2}}}`},
		{"PUT /api/v1/customers/17/devices", `{"device":{"id":"t","platform":"ios","attributes":null}}`, customerio.LaneTrack,
			entity + `{"type":"person","action":"add_device","identifiers":{"id":"17"},"device":{"token":"t","platform":"ios"}}`},
		{"DELETE /api/v1/customers/17/devices/t%2F1", ``, customerio.LaneTrack,
			entity + `{"type":"person","action":"delete_device","identifiers":{"id":"17"},"device":{"token":"t/1"}}`},
		{"POST /api/v1/merge_customers", `{"primary":{"id":"17"},"secondary":{"cio_id":"03"}}`, customerio.LaneTrack,
			entity + `{"type":"person","action":"merge","primary":{"id":"17"},"secondary":{"cio_id":"03"}}`},
		{"POST /api/v1/customers/17/suppress", ``, customerio.LaneTrack,
			entity + `{"type":"person","action":"suppress","identifiers":{"id":"17"}}`},
		{"POST /api/v1/customers/17/unsuppress", ``, customerio.LaneTrack,
			entity + `{"type":"person","action":"unsuppress","identifiers":{"id":"17"}}`},
		{"POST /api/v1/segments/7/add_customers", `{"ids":["1","2"]}`, customerio.LaneTrack,
			`POST /api/v1/segments/7/add_customers?id_type=id {"ids":["1","2"]}`},
		{"POST /api/v1/segments/7/remove_customers?id_type=email", `{"ids":["a@example.org"]}`, customerio.LaneTrack,
			`POST /api/v1/segments/7/remove_customers?id_type=email {"ids":["a@example.org"]}`},
		{"POST /v1/send/email", `{"transactional_message_id":"3","identifiers":{"id":"17"},"to":"a@example.org","attachments":{"a":"aGk="}}`, customerio.LaneTransactional,
			`POST /v1/send/email {"transactional_message_id":"3","identifiers":{"id":"17"},"to":"a@example.org","attachments":{"a":"aGk="}}`},
		{"POST /v1/send/whatsapp", `{"transactional_message_id":"3","identifiers":{"id":"17"},"to":"+1555"}`, customerio.LaneTransactional,
			`POST /v1/send/whatsapp {"transactional_message_id":"3","identifiers":{"id":"17"},"to":"+1555"}`},
		{"POST /v1/campaigns/12/triggers", `{"data":null,"ids":["1"]}`, customerio.LaneBroadcast,
			`POST /v1/campaigns/12/triggers {"data":null,"ids":["1"]}`},
	} {
		bubble(t, nil, func(t *testing.T, w *world) {
			requests := w.wire()
			c := w.open(nil)
			method, path, _ := strings.Cut(row.call, " ")
			host := "https://track-eu.customer.io" // the region of the SDK does not matter
			if strings.HasPrefix(path, "/v1/") {
				host = "http://customerio.test"
			}
			resp, text, err := sdkCall(t, c, method, host+path, row.body)
			if err != nil || resp.StatusCode != 200 || strings.TrimSpace(text) != "{}" {
				t.Fatalf("%s: %v, %q, %v", row.call, resp, text, err)
			}
			if n := c.Stats()[row.lane].Put; n != 1 {
				t.Errorf("%s: %d are in lane %s, want 1", row.call, n, row.lane)
			}
			w.flush(c)
			got := strings.Join(requests(), "\n")
			got = now.ReplaceAllString(got, `"timestamp":NOW`)
			if !strings.Contains(row.want, made) {
				got = event.ReplaceAllString(got, `"id":"ULID"`)
			}
			if got != row.want {
				t.Errorf("%s:\ngot  %s\nwant %s", row.call, got, row.want)
			}
			if n := w.Verdict().Operations; n != 1 {
				t.Errorf("%s: %d were accepted", row.call, n)
			}
		})
	}
}

// What would be refused is an error of the SDK's call, and nothing is stored. What is no call of the
// SDK is sent at once.
func TestRoundTripperRefusesAndPasses(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		requests := w.wire()
		c := w.open(nil)
		const host = "https://track.customer.io"
		for call, body := range map[string]string{
			"POST " + host + "/api/v1/customers/17/events":                   `{"name":" "}`,
			"POST " + host + "/api/v1/customers/18/events":                   `{"name":{"hush":1}}`,
			"PUT " + host + "/api/v1/customers/17":                           `{"hush"`,
			"PUT " + host + "/api/v1/customers/18":                           `{} {}`,
			"PUT " + host + "/api/v1/customers/17/devices":                   `{"device":{"id":"t","platform":"ios","last_used":"hush"}}`,
			"POST " + host + "/api/v1/segments/x/add_customers":              `{"ids":["1"]}`,
			"POST " + host + "/api/v1/segments/1/add_customers?id_type=hush": `{"ids":["1"]}`,
			"POST " + host + "/v1/send/email":                                `{"to":"hush@example.org"}`,
			"POST " + host + "/v1/campaigns/0/triggers":                      `{}`,
			"POST " + host + "/api/v1/events":                                `{"name":"invite","data":{"hush":1}}`,
		} {
			method, url, _ := strings.Cut(call, " ")
			if _, _, err := sdkCall(t, c, method, url, body); !errors.Is(err, customerio.ErrInvalid) || strings.Contains(strings.ReplaceAll(err.Error(), url, ""), "hush") {
				t.Errorf("%s: %v", call, err)
			}
		}
		for name, s := range c.Stats() {
			if s.Put != 0 {
				t.Errorf("%s: %d were stored", name, s.Put)
			}
		}
		if got := requests(); len(got) != 0 {
			t.Errorf("sent: %q", got)
		}
		for _, call := range []string{"GET http://customerio.test/v1/segments", "POST http://elsewhere.test/api/v1/events", "POST http://customerio.test/api/v2/entity"} {
			method, url, _ := strings.Cut(call, " ")
			if _, _, err := sdkCall(t, c, method, url, `{}`); err != nil {
				t.Errorf("%s: %v", call, err)
			}
		}
		if got := requests(); len(got) != 3 {
			t.Errorf("at once were sent %q, want 3", got)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if _, _, err := sdkCall(t, c, "DELETE", host+"/api/v1/customers/17", ""); err == nil {
			t.Error("it is stored after Close")
		}
	})
	bubble(t, nil, func(t *testing.T, w *world) {
		// An API below a path, as behind a proxy.
		c := w.open(func(o *customerio.Options) { o.TrackURL = "http://customerio.test/cio" })
		w.SetFaults(always(customeriotest.Fault{Status: 503}))
		if _, _, err := sdkCall(t, c, "DELETE", "http://customerio.test/cio/api/v1/customers/17", ""); err != nil || c.Stats()[customerio.LaneTrack].Put != 1 {
			t.Errorf("%+v, %v", c.Stats()[customerio.LaneTrack], err)
		}
	})
}
