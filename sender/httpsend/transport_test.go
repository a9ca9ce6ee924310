package httpsend_test

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/sender/httpsend"
)

var _ sender.Transport = (*httpsend.Transport)(nil)

// The credentials are put back at each attempt, and may have changed; the ID is the same on each.
func TestEachAttempt(t *testing.T) {
	req := request(t, "POST", "https://old:hush@example.org/a", "body", "Authorization: old", "Idempotency-Key: the SDK's own")
	req.Header["idempotency-KEY"] = []string{"the same, spelled otherwise"}
	it := store(t, httpsend.Durable{}, req)
	attempt := 0
	tr := httpsend.Transport{
		IDHeader: "Idempotency-Key",
		Authorize: func(req *http.Request) error {
			attempt++
			req.SetBasicAuth("site", strings.Repeat("x", attempt))
			return nil
		},
	}
	for n := 1; n <= 3; n++ {
		out, body := catch(t, tr, it)
		if user, key, _ := out.BasicAuth(); user != "site" || len(key) != n {
			t.Errorf("attempt %d has the credentials %s:%s", n, user, key)
		}
		var ids []string
		for name, values := range out.Header {
			if strings.EqualFold(name, "Idempotency-Key") {
				ids = append(ids, values...)
			}
		}
		if len(ids) != 1 || ids[0] != it.ID.String() {
			t.Errorf("attempt %d has the IDs %q, want %s", n, ids, it.ID)
		}
		if string(body) != "body" {
			t.Errorf("attempt %d has the body %q", n, body)
		}
	}
}

// Without IDHeader the SDK's own key arrives as it was.
func TestKeyOfTheSDK(t *testing.T) {
	var got []string
	inBubble(t, func(_ http.ResponseWriter, req *http.Request) { got = req.Header.Values("Idempotency-Key") },
		func(t *testing.T, c *http.Client) {
			it := store(t, httpsend.Durable{}, request(t, "POST", "http://example.org/", "", "Idempotency-Key: 7"))
			if err := (&httpsend.Transport{Client: c}).Send(t.Context(), it); err != nil {
				t.Fatal(err)
			}
		})
	if len(got) != 1 || got[0] != "7" {
		t.Errorf("the destination got %q", got)
	}
}

// What Authorize or IDHeader lacks is not the item's fault, and nothing is sent.
func TestSettingsAtFault(t *testing.T) {
	expired := errors.New("the token has expired")
	for says, tr := range map[string]httpsend.Transport{
		"Authorize": {Authorize: func(*http.Request) error {
			return &url.Error{Op: "Post", URL: "https://login.example/?secret=hush", Err: expired}
		}},
		"IDHeader": {IDHeader: "Bad\r\nName"},
	} {
		tr.Client = &http.Client{Transport: roundTrip(func(*http.Request) (*http.Response, error) {
			t.Errorf("%s: it was sent", says)
			return nil, io.EOF
		})}
		err := send(t, &tr, "https://example.org/")
		expect(t, err, unavailable)
		if err != nil && strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: the error is %v", says, err)
		}
		if says == "Authorize" && !errors.Is(err, expired) {
			t.Errorf("%v has lost its cause", err)
		}
	}
}

// A bad header from Authorize does not get onto the wire.
func TestAuthorizeCannotSmuggle(t *testing.T) {
	for _, spoil := range []func(http.Header){
		func(h http.Header) { h.Set("X-Token", "hush\r\nX-Evil: 1") },
		func(h http.Header) { h["X-A\r\nX-Evil"] = []string{"hush"} },
	} {
		inBubble(t, func(http.ResponseWriter, *http.Request) { t.Error("a request arrived") }, func(t *testing.T, c *http.Client) {
			err := send(t, &httpsend.Transport{Client: c, Authorize: func(req *http.Request) error { spoil(req.Header); return nil }}, "http://example.org/")
			if err == nil || strings.Contains(err.Error(), "hush") {
				t.Errorf("the error is %v", err)
			}
		})
	}
}

// One Transport serves many items at a time.
func TestConcurrentSends(t *testing.T) {
	var mu sync.Mutex
	seen := map[string]string{}
	inBubble(t, func(_ http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		mu.Lock()
		defer mu.Unlock()
		seen[req.Header.Get("X-Id")] = string(body)
	}, func(t *testing.T, c *http.Client) {
		tr := &httpsend.Transport{Client: c, IDHeader: "X-Id", Authorize: func(req *http.Request) error {
			req.Header.Set("Authorization", "x")
			return nil
		}}
		var wg sync.WaitGroup
		want := map[string]string{}
		for range 50 {
			body := uuid.NewString()
			it := store(t, httpsend.Durable{}, request(t, "POST", "http://example.org/", body))
			want[it.ID.String()] = body
			wg.Go(func() {
				if err := tr.Send(t.Context(), it); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		for id, body := range want {
			if seen[id] != body {
				t.Errorf("%s arrived with %q, want %q", id, seen[id], body)
			}
		}
	})
}
