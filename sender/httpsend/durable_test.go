package httpsend_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox/sender/httpsend"
)

func TestAnswerOfStored(t *testing.T) {
	id := uuid.New()
	put := func(*http.Request, map[string]string, []byte) (uuid.UUID, error) { return id, nil }
	for _, row := range []struct {
		d      httpsend.Durable
		status string
		body   string
	}{
		{httpsend.Durable{}, "202 Accepted", "{}\n"},
		{httpsend.Durable{Status: 200}, "200 OK", "{}\n"},
		{httpsend.Durable{Status: 201, Body: `{"id":7}`}, "201 Created", `{"id":7}`},
		{httpsend.Durable{Status: 204, Body: "ignored"}, "204 No Content", ""},
	} {
		row.d.Put = put
		resp, err := (&http.Client{Transport: &row.d}).Do(request(t, "POST", "https://example.org/", "body"))
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.Status != row.status || string(body) != row.body || resp.ContentLength != int64(len(row.body)) {
			t.Errorf("%s %q of %d bytes, %v; want %s %q", resp.Status, body, resp.ContentLength, err, row.status, row.body)
		}
		if got := resp.Header.Get(httpsend.AnswerID); got != id.String() {
			t.Errorf("the ID is %q, want %s", got, id)
		}
	}
}

// What asks for an answer goes to the destination at once, credentials and all; what changes
// something is stored, unless Match says otherwise.
func TestWhatIsStored(t *testing.T) {
	stored, passed := "", ""
	d := &httpsend.Durable{
		Put: func(req *http.Request, _ map[string]string, _ []byte) (uuid.UUID, error) {
			stored += req.Method + " " + req.URL.Host + "\n"
			return uuid.New(), nil
		},
		Next: roundTrip(func(req *http.Request) (*http.Response, error) {
			passed += req.Method + " " + req.URL.Host + " " + req.Header.Get("Authorization") + "\n"
			return &http.Response{StatusCode: 200, Body: http.NoBody, Request: req}, nil
		}),
	}
	call := func(method, host string) {
		resp, err := d.RoundTrip(request(t, method, "https://"+host+"/", "", "Authorization: mine"))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	for _, method := range []string{"GET", "HEAD", "OPTIONS", "TRACE", "POST", "PUT", "PATCH", "DELETE"} {
		call(method, "a")
	}
	d.Match = func(req *http.Request) bool { return req.URL.Host == "b" }
	call("GET", "b")
	call("POST", "c")
	if want := "POST a\nPUT a\nPATCH a\nDELETE a\nGET b\n"; stored != want {
		t.Errorf("stored: %q, want %q", stored, want)
	}
	if want := "GET a mine\nHEAD a mine\nOPTIONS a mine\nTRACE a mine\nPOST c mine\n"; passed != want {
		t.Errorf("passed: %q, want %q", passed, want)
	}
}

// closing tells that it was closed.
type closing struct {
	io.Reader
	closed bool
}

func (c *closing) Close() error { c.closed = true; return nil }

type endless struct{ read int }

func (e *endless) Read(p []byte) (int, error) { e.read += len(p); return len(p), nil }

// A body above the limit is refused with ErrTooLarge, known in advance or not; every body is closed.
func TestBodyLimit(t *testing.T) {
	for _, row := range []struct {
		says      string
		max, size int
		announced bool
		ok        bool
	}{
		{"the limit", 10, 10, false, true},
		{"one more", 10, 11, false, false},
		{"the limit, announced", 10, 10, true, true},
		{"one more, announced", 10, 11, true, false},
		{"4 MiB is the default", 0, 4 << 20, false, true},
		{"one more", 0, 4<<20 + 1, false, false},
		{"a negative limit is the default", -1, 4 << 20, true, true},
		{"the largest limit", int(^uint(0) >> 1), 100, false, true},
		{"nothing", 10, 0, false, true},
	} {
		stored := -1
		d := &httpsend.Durable{MaxBody: row.max, Put: func(_ *http.Request, _ map[string]string, body []byte) (uuid.UUID, error) {
			stored = len(body)
			return uuid.New(), nil
		}}
		req := request(t, "POST", "https://example.org/", "")
		body := &closing{Reader: strings.NewReader(strings.Repeat("x", row.size))}
		req.Body = body
		if row.announced {
			req.ContentLength = int64(row.size)
		}
		_, err := d.RoundTrip(req)
		switch {
		case row.ok && (err != nil || stored != row.size):
			t.Errorf("%s: stored are %d bytes, %v", row.says, stored, err)
		case !row.ok && (!errors.Is(err, httpsend.ErrTooLarge) || stored != -1):
			t.Errorf("%s: stored are %d bytes, %v", row.says, stored, err)
		}
		if !body.closed {
			t.Errorf("%s: the body was not closed", row.says)
		}
	}

	e := &endless{}
	req := request(t, "POST", "https://example.org/", "")
	req.Body = io.NopCloser(e)
	_, err := (&httpsend.Durable{MaxBody: 1000, Put: func(*http.Request, map[string]string, []byte) (uuid.UUID, error) {
		return uuid.New(), nil
	}}).RoundTrip(req)
	if !errors.Is(err, httpsend.ErrTooLarge) || e.read > 10000 {
		t.Errorf("an endless body: %d bytes were read, %v", e.read, err)
	}
}

// The SDK gets to see why nothing was stored.
func TestStoreFails(t *testing.T) {
	full := errors.New("the disk is full")
	d := &httpsend.Durable{Put: func(*http.Request, map[string]string, []byte) (uuid.UUID, error) { return uuid.Nil, full }}
	c := &http.Client{Transport: d}
	if _, err := c.Do(request(t, "POST", "https://example.org/", "body")); !errors.Is(err, full) {
		t.Errorf("the error is %v", err)
	}
	torn := request(t, "POST", "https://example.org/", "")
	body := &closing{Reader: io.MultiReader(strings.NewReader("half"), brokenReader{})}
	torn.Body = body
	d.Put = func(*http.Request, map[string]string, []byte) (uuid.UUID, error) {
		t.Error("half a body was stored")
		return uuid.New(), nil
	}
	if _, err := c.Do(torn); !errors.Is(err, errBroken) || !body.closed {
		t.Errorf("a broken body: %v, closed: %v", err, body.closed)
	}
	d.Put = nil
	if _, err := c.Do(request(t, "POST", "https://example.org/", "")); err == nil {
		t.Error("no error without Put")
	}
}

var errBroken = errors.New("broken")

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errBroken }
