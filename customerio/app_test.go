package customerio_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox/customerio"
	"github.com/seed8107221f/outbox/customerio/customeriotest"
)

func email(to string) customerio.Message {
	return customerio.Message{Template: "7", Identifiers: customerio.ID("17"), To: to, Data: map[string]any{"n": 1}}
}

// Messages and broadcasts arrive as documented, each lane under the limit of its own API.
func TestSends(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, w *world) {
		c := w.open(nil)
		ctx := t.Context()
		letter := email("a@example.org")
		letter.Attachments = map[string][]byte{"a.txt": []byte("hello"), "b.bin": {0xfb, 0xff}}
		push := customerio.Message{Template: "welcome", Identifiers: customerio.ID("18"), SendAt: time.Now().Add(time.Hour).Unix(), Extra: map[string]any{"language": "de"}}
		for _, row := range []struct {
			put  func() (uuid.UUID, error)
			want string
		}{
			{func() (uuid.UUID, error) { return c.SendEmail(ctx, email("a@example.org")) },
				`email {"identifiers":{"id":"17"},"message_data":{"n":1},"to":"a@example.org","transactional_message_id":7}`},
			{func() (uuid.UUID, error) { return c.SendEmail(ctx, letter) },
				`email {"attachments":{"a.txt":"aGVsbG8=","b.bin":"+/8="},"identifiers":{"id":"17"},"message_data":{"n":1},"to":"a@example.org","transactional_message_id":7}`},
			{func() (uuid.UUID, error) {
				return c.SendWhatsApp(ctx, customerio.Message{Template: "7", Identifiers: customerio.CioID("17"), To: "+15551234567", Extra: map[string]any{"from": "+1555"}})
			}, `whatsapp {"from":"+1555","identifiers":{"cio_id":"17"},"to":"+15551234567","transactional_message_id":7}`},
			{func() (uuid.UUID, error) {
				return c.SendPush(ctx, customerio.Message{Template: "7", Identifiers: customerio.ID("17"), To: "token"})
			}, `push {"identifiers":{"id":"17"},"to":"token","transactional_message_id":7}`},
			{func() (uuid.UUID, error) { return c.SendPush(ctx, push) },
				fmt.Sprintf(`push {"identifiers":{"id":"18"},"language":"de","send_at":%d,"transactional_message_id":"welcome"}`, push.SendAt)},
			{func() (uuid.UUID, error) {
				return c.SendSMS(ctx, customerio.Message{Template: "7", Identifiers: customerio.ID("17"), To: "+15551234567"})
			}, `sms {"identifiers":{"id":"17"},"to":"+15551234567","transactional_message_id":7}`},
			{func() (uuid.UUID, error) {
				return c.SendInApp(ctx, customerio.Message{Template: "7", Identifiers: customerio.ID("17")})
			}, `in_app {"identifiers":{"id":"17"},"transactional_message_id":7}`},
			{func() (uuid.UUID, error) {
				return c.SendInboxMessage(ctx, customerio.Message{Template: "7", Identifiers: customerio.ID("17")})
			}, `inbox_message {"identifiers":{"id":"17"},"transactional_message_id":7}`},
			{func() (uuid.UUID, error) {
				return c.TriggerBroadcast(ctx, 12, customerio.Broadcast{IDs: []string{"17"}, Data: map[string]any{"n": 1}})
			}, `trigger {"data":{"n":1},"ids":["17"]}`},
		} {
			if _, err := row.put(); err != nil {
				t.Fatalf("%s: %v", row.want, err)
			}
			w.flush(c)
			all := w.Record()
			last := all[len(all)-1]
			if got := last.Action + " " + string(last.Body); got != row.want {
				t.Errorf("got  %s\nwant %s", got, row.want)
			}
		}
		began := time.Now()
		for range 5 {
			if _, err := c.TriggerBroadcast(ctx, 12, customerio.Broadcast{}); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 300 {
			if _, err := c.SendSMS(ctx, customerio.Message{Template: "7", Identifiers: customerio.ID(fmt.Sprint(i))}); err != nil {
				t.Fatal(err)
			}
		}
		w.flush(c)
		v := w.Verdict()
		if took := time.Since(began); v.RefusedForRate != 0 || v.Operations != 9+305 || took < 50*time.Second || took > 61*time.Second {
			t.Errorf("in %v: %v", took, v)
		}
		w.check(c)
	})
}

// What cannot be sent is refused before it is stored.
func TestSendValidation(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		c := w.open(nil)
		change := func(f func(*customerio.Message)) customerio.Message {
			m := email("a@example.org")
			f(&m)
			return m
		}
		for want, m := range map[string]customerio.Message{
			"identifiers are 0":                 change(func(m *customerio.Message) { m.Identifiers = customerio.Identifiers{} }),
			"identifiers.phone does not belong": change(func(m *customerio.Message) { m.Identifiers = customerio.Identifiers{Phone: "1"} }),
			"To is missing":                     change(func(m *customerio.Message) { m.To = "" }),
			"To has 27 bytes, with a line":      change(func(m *customerio.Message) { m.To = "a@example.org\r\nBcc: b@c.org" }),
			"Extra.body is missing":             change(func(m *customerio.Message) { m.Template = "" }),
			"SendAt is 2184h0m0s ahead":         change(func(m *customerio.Message) { m.SendAt = time.Now().Unix() + 91*24*3600 }),
			"Extra.send_at is the zero time":    change(func(m *customerio.Message) { m.Extra = map[string]any{"send_at": time.Time{}} }),
			"SendAt must be Unix seconds":       change(func(m *customerio.Message) { m.SendAt = 1700000000000 }),
			"Attachments need a name":           change(func(m *customerio.Message) { m.Attachments = map[string][]byte{" ": nil} }),
			"have 2000000 bytes, less than":     change(func(m *customerio.Message) { m.Attachments = map[string][]byte{"a": make([]byte, 2_000_000)} }),
			"Extra.attachments is there": change(func(m *customerio.Message) {
				m.Attachments, m.Extra = map[string][]byte{"a": nil}, map[string]any{"attachments": map[string]string{"b": ""}}
			}),
			"Extra.to is there already":  change(func(m *customerio.Message) { m.Extra = map[string]any{"to": "x"} }),
			"the body cannot be written": change(func(m *customerio.Message) { m.Data = map[string]any{"f": func() {}} }),
			"at most 2048000":            change(func(m *customerio.Message) { m.Data = map[string]any{"f": strings.Repeat("x", 2_048_000)} }),
		} {
			if _, err := c.SendEmail(t.Context(), m); !errors.Is(err, customerio.ErrInvalid) || !strings.Contains(err.Error(), want) {
				t.Errorf("%q: %v", want, err)
			}
		}
		if _, err := c.SendSMS(t.Context(), customerio.Message{Identifiers: customerio.ID("1")}); !errors.Is(err, customerio.ErrInvalid) {
			t.Errorf("without a template: %v", err)
		}
		for want, b := range map[string]customerio.Broadcast{
			"given 2 times, at most 1":    {IDs: []string{"1"}, Emails: []string{"a@example.org"}},
			"IDs are 10001, at most":      {IDs: make([]string, 10001)},
			"Recipients is an empty":      {Recipients: map[string]any{}},
			"Extra.data is there already": {Data: map[string]any{}, Extra: map[string]any{"data": 1}},
		} {
			if _, err := c.TriggerBroadcast(t.Context(), 1, b); !errors.Is(err, customerio.ErrInvalid) || !strings.Contains(err.Error(), want) {
				t.Errorf("%q: %v", want, err)
			}
		}
		if _, err := c.TriggerBroadcast(t.Context(), 0, customerio.Broadcast{}); !errors.Is(err, customerio.ErrInvalid) {
			t.Errorf("broadcast 0: %v", err)
		}
		for name, s := range c.Stats() {
			if s.Put != 0 {
				t.Errorf("%s: %d put", name, s.Put)
			}
		}
	})
}

// A message whose answer was lost is not sent again: it lies among the dead. With AtLeastOnce it is.
func TestSendsAreNotRepeated(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		fault   customeriotest.Fault
		again   bool // with AtLeastOnce
		arrived int
		dead    int
	}{
		{customeriotest.Fault{Break: customeriotest.Silence, Accept: true}, false, 1, 1},
		{customeriotest.Fault{Break: customeriotest.Reset, Accept: true}, false, 1, 1},
		{customeriotest.Fault{Status: 502, Accept: true}, false, 1, 1},
		{customeriotest.Fault{Status: 502, Accept: true}, true, 2, 0},
		{customeriotest.Fault{Break: customeriotest.Cut}, false, 1, 0}, // the status has said it
		{customeriotest.Fault{Status: 429}, false, 1, 0},
		{customeriotest.Fault{Status: 401}, false, 1, 0},
		{customeriotest.Fault{Status: 400}, false, 0, 1},
	} {
		bubble(t, nil, func(t *testing.T, w *world) {
			w.Script(row.fault)
			c := w.open(func(o *customerio.Options) { o.AtLeastOnce = row.again })
			if _, err := c.SendEmail(t.Context(), email("a@example.org")); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Minute)
			reasons := dead(t, c, customerio.LaneTransactional)
			if n := w.Verdict().Operations; n != row.arrived || len(reasons) != row.dead {
				t.Errorf("%+v: %d arrived, dead: %q, %+v", row, n, reasons, c.Stats()[customerio.LaneTransactional])
			}
			w.check(c)
		})
	}
}

// Without credentials for an API its calls are errors, and what lies in its lanes stays.
func TestMissingCredentials(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		w.SetFaults(always(customeriotest.Fault{Status: 503}))
		c := w.open(nil)
		put(t, c, identifies(0, 2)...)
		if _, err := c.SendEmail(t.Context(), email("a@example.org")); err != nil {
			t.Fatal(err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		w.SetFaults(customeriotest.Faults{})

		c = w.open(func(o *customerio.Options) { o.SiteID, o.TrackKey = "", "" })
		_, putErr := c.Put(t.Context(), identifies(0, 1)...)
		_, importErr := c.Import(t.Context(), nil, nil)
		for _, err := range []error{putErr, importErr, c.CheckCredentials(t.Context())} {
			if !errors.Is(err, customerio.ErrCredentials) {
				t.Errorf("without those of the Track API: %v", err)
			}
		}
		time.Sleep(time.Hour)
		if s := c.Stats(); s[customerio.LaneTrack].Pending != 2 || s[customerio.LaneTrack].Dead != 0 {
			t.Errorf("%+v", s[customerio.LaneTrack])
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}

		c = w.open(func(o *customerio.Options) { o.AppKey = "" })
		_, sendErr := c.SendEmail(t.Context(), email("a@example.org"))
		_, triggerErr := c.TriggerBroadcast(t.Context(), 1, customerio.Broadcast{})
		_, jobErr := c.ImportJob(t.Context(), customerio.Job{Name: "n", URL: "https://example.org/"})
		req, _ := http.NewRequest("GET", "/v1/segments", nil)
		_, doErr := c.Do(req)
		for _, err := range []error{sendErr, triggerErr, jobErr, doErr} {
			if !errors.Is(err, customerio.ErrCredentials) {
				t.Errorf("without that of the App API: %v", err)
			}
		}
		time.Sleep(time.Minute)
		if v := w.Verdict(); v.Unique != 3 { // the message went while there was a key for it
			t.Errorf("the Track API alone: %v", v)
		}
	})
}

// Calls of the application's are paced, obey what a 429 says, and take the key to the App API alone.
func TestDo(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		c := w.open(nil)
		get := func(url string) (status int, body string, err error) {
			req, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := c.Do(req)
			if err != nil {
				return 0, "", err
			}
			defer resp.Body.Close()
			b, err := io.ReadAll(resp.Body)
			return resp.StatusCode, string(b), err
		}
		if status, body, err := get("/v1/segments?limit=1"); status != 200 || !strings.Contains(body, "segments") || err != nil {
			t.Errorf("a path: %d %s, %v", status, body, err)
		}
		for range 100 {
			if status, _, err := get("http://customerio.test/v1/campaigns"); status != 200 || err != nil {
				t.Fatalf("%d, %v", status, err)
			}
		}
		w.Script(customeriotest.Fault{Status: 429, RetryAfter: customeriotest.RetryAfter{Form: customeriotest.Seconds, Delay: 20 * time.Second}})
		if status, _, err := get("/v1/segments"); status != 429 || err != nil {
			t.Errorf("%d, %v", status, err)
		}
		began := time.Now()
		if status, _, err := get("/v1/segments"); status != 200 || err != nil || time.Since(began) < 20*time.Second {
			t.Errorf("%d after %v, %v", status, time.Since(began), err)
		}
		w.Script(customeriotest.Fault{Status: 302, Location: "http://elsewhere.test"})
		if status, _, err := get("/v1/segments"); status != 302 || err != nil {
			t.Errorf("a redirect: %d, %v", status, err)
		}
		for _, url := range []string{"http://elsewhere.test/v1/segments", "https://customerio.test/v1/segments", "segments", "//elsewhere.test/"} {
			if _, _, err := get(url); !errors.Is(err, customerio.ErrInvalid) {
				t.Errorf("%s: %v", url, err)
			}
		}
		if v := w.Verdict(); v.RefusedForRate != 0 || v.BeforeRetryAfter != 0 {
			t.Error(v)
		}
	})
}

func TestCheckCredentials(t *testing.T) {
	for _, row := range []struct {
		change func(*customerio.Options)
		fault  customeriotest.Fault
		want   string // "": in order
	}{
		{nil, customeriotest.Fault{}, ""},
		{func(o *customerio.Options) { o.TrackKey = "mistyped" }, customeriotest.Fault{}, "check SiteID and TrackKey"},
		{func(o *customerio.Options) { o.Region = customerio.EU }, customeriotest.Fault{}, "the account is in region us, Region is eu"},
		{nil, customeriotest.Fault{Status: 301, Location: "https://track-eu.customer.io"}, "redirected to track-eu.customer.io"},
		{nil, customeriotest.Fault{Status: 200}, "name no region"},
		{nil, customeriotest.Fault{Status: 502}, "502"},
	} {
		bubble(t, nil, func(t *testing.T, w *world) {
			w.Script(row.fault)
			err := w.open(row.change).CheckCredentials(t.Context())
			if (err == nil) != (row.want == "") || err != nil && !strings.Contains(err.Error(), row.want) {
				t.Errorf("%v, want %q", err, row.want)
			}
		})
	}
}

// One import runs at a time: another call, and another process, wait for it.
func TestImportJob(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		job := customerio.Job{Name: "people", URL: "https://example.org/people.csv?signature=hush"}
		other := customerio.Job{Name: "more people", URL: "https://example.org/more.csv", Identifier: "email"}
		c := w.open(nil)
		began := time.Now()
		r, err := c.ImportJob(t.Context(), job)
		if err != nil || r.State != "imported" || r.ID != 1 || time.Since(began) < 20*time.Second {
			t.Errorf("%+v after %v, %v", r, time.Since(began), err)
		}

		type answer struct {
			r   customerio.JobResult
			err error
		}
		started := make(chan answer, 1)
		go func() {
			r, err := c.ImportJob(t.Context(), job)
			started <- answer{r, err}
		}()
		time.Sleep(7 * time.Second)
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if a := <-started; a.err == nil || a.r.ID != 2 {
			t.Errorf("%+v, %v", a.r, a.err)
		}
		// The same after a restart; nothing is started. The next one begins when it has ended.
		c = w.open(nil)
		r, err = c.ImportJob(t.Context(), job)
		if err != nil || r.ID != 2 || r.State != "imported" {
			t.Errorf("%+v, %v", r, err)
		}
		w.Script(customeriotest.Fault{Status: 429, RetryAfter: customeriotest.RetryAfter{Form: customeriotest.Seconds, Delay: 5 * time.Second}})
		r, err = c.ImportJob(t.Context(), other)
		if err != nil || r.ID != 3 {
			t.Errorf("%+v, %v", r, err)
		}
		w.Script(customeriotest.Fault{}, customeriotest.Fault{Status: 503}, customeriotest.Fault{Status: 502})
		if r, err = c.ImportJob(t.Context(), other); err != nil || r.ID != 4 {
			t.Errorf("%+v, %v", r, err)
		}
		if v := w.Verdict(); v.Operations != 4 || v.BeforeRetryAfter != 0 {
			t.Errorf("%v", v)
		}
		for want, j := range map[string]customerio.Job{
			"Name is missing":              {URL: "https://example.org/"},
			"URL has 7 bytes and is not":   {Name: "n", URL: "ftp://x"},
			"Type has 5 bytes and is none": {Name: "n", URL: "https://example.org/", Type: "users"},
			"Extra.object_type_id is miss": {Name: "n", URL: "https://example.org/", Type: "object"},
			"URL has 21 bytes and is not":  {Name: "n", URL: "https://example.org/ "},
			"Extra.name is there already":  {Name: "n", URL: "https://example.org/", Extra: map[string]any{"name": "m"}},
		} {
			if _, err := c.ImportJob(t.Context(), j); !errors.Is(err, customerio.ErrInvalid) || !strings.Contains(err.Error(), want) {
				t.Errorf("%q: %v", want, err)
			}
		}
		synctest.Wait()
	})
}

// An import that fails is an error, and the next call starts again.
func TestImportJobFails(t *testing.T) {
	bubble(t, &customeriotest.Options{ImportEnd: "failed"}, func(t *testing.T, w *world) {
		c := w.open(nil)
		for id := range int64(2) {
			r, err := c.ImportJob(t.Context(), customerio.Job{Name: "people", URL: "https://example.org/"})
			if err == nil || r.State != "failed" || r.ID != id+1 {
				t.Errorf("%+v, %v", r, err)
			}
		}
	})
}
