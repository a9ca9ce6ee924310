package httpsend_test

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/sender/httpsend"
)

// catch sends an item and returns the request that goes out, and its body.
func catch(t *testing.T, tr httpsend.Transport, it sender.Item) (*http.Request, []byte) {
	t.Helper()
	var out *http.Request
	var body []byte
	tr.Client = &http.Client{Transport: roundTrip(func(req *http.Request) (*http.Response, error) {
		out = req
		if req.Body != nil {
			body, _ = io.ReadAll(req.Body)
		}
		return &http.Response{StatusCode: 200, Body: http.NoBody, Request: req}, nil
	})}
	if err := tr.Send(t.Context(), it); err != nil {
		t.Fatal(err)
	}
	return out, body
}

// What is stored is what is sent: method, URL, Host, all values of all headers as they were spelled,
// and the body.
func TestStoredFaithfully(t *testing.T) {
	const seed = 7
	r := rand.New(rand.NewPCG(seed, 0))
	text := func(alphabet string, least, most int) string {
		a := []rune(alphabet)
		s := make([]rune, least+r.IntN(most-least+1))
		for i := range s {
			s[i] = a[r.IntN(len(a))]
		}
		return string(s)
	}
	const token = "abcXYZ019!#$%&'*+-.^_`|~"
	for round := range 3000 {
		url := "https://" + text("abc", 1, 5) + ".example:8443/" + strings.ReplaceAll(text("ab/@ü.+~", 0, 9), "ü", "%2F")
		if r.IntN(2) == 0 {
			url += "?" + text("ab=&+;", 0, 9) + "%20%C3%BC"
		}
		body := []byte(text("\x00{}ü\r\n", 0, 40))
		req, err := http.NewRequest(text(token, 1, 8), url, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if r.IntN(3) == 0 {
			req.Host = "virtual.example"
		}
		for range r.IntN(5) {
			values := make([]string, 1+r.IntN(3))
			for i := range values {
				values[i] = text("ab ,;\t\"\xc3\xbcü", 0, 6)
			}
			req.Header["X-"+text(token, 1, 9)] = values // not made canonical
		}
		it := store(t, httpsend.Durable{}, req)
		out, sent := catch(t, httpsend.Transport{}, it)
		if out.Method != req.Method || out.URL.String() != req.URL.String() || out.URL.RequestURI() != req.URL.RequestURI() || out.Host != req.Host {
			t.Fatalf("seed %d, round %d: %s %s %s was stored, %s %s %s sent", seed, round, req.Method, req.URL, req.Host, out.Method, out.URL, out.Host)
		}
		if !reflect.DeepEqual(out.Header, req.Header) {
			t.Fatalf("seed %d, round %d: %q was stored, %q sent", seed, round, req.Header, out.Header)
		}
		if !bytes.Equal(sent, body) || out.ContentLength != int64(len(body)) {
			t.Fatalf("seed %d, round %d: %q was stored, %q sent", seed, round, body, sent)
		}
	}
}

// Credentials are not stored, in no spelling; all else is.
func TestCredentialsAreNotStored(t *testing.T) {
	req := request(t, "POST", "https://hush:hush@example.org/a?x=1&API_key=hush&y=2&api%5Fkey=hush#hush", "body",
		"Authorization: hush", "Cookie: hush", "Proxy-Authorization: hush", "X-Api-Key: hush", "X-Other: kept")
	req.Header["authorization"] = []string{"hush"}
	req.Header["COOKIE"] = []string{"hush", "hush"}
	before := req.Clone(t.Context())

	var seen *http.Request
	var header map[string]string
	c := &http.Client{Transport: &httpsend.Durable{Secret: []string{"x-api-key", "api_key"},
		Put: func(req *http.Request, h map[string]string, _ []byte) (uuid.UUID, error) {
			seen, header = req, h
			return uuid.New(), nil
		}}}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()

	if all := fmt.Sprint(header, seen.URL, seen.Header); strings.Contains(all, "hush") {
		t.Errorf("a credential is left: %s", all)
	}
	if got, want := seen.URL.String(), "https://example.org/a?x=1&y=2"; got != want {
		t.Errorf("the URL is %s, want %s", got, want)
	}
	if got := slices.Sorted(maps.Keys(seen.Header)); !slices.Equal(got, []string{"X-Other"}) {
		t.Errorf("kept are %q", got)
	}
	if req.URL.String() != before.URL.String() || !reflect.DeepEqual(req.Header, before.Header) {
		t.Errorf("the SDK's request was changed: %s %q", req.URL, req.Header)
	}
}

// What belongs to a connection is not stored.
func TestConnectionHeaders(t *testing.T) {
	req := request(t, "POST", "https://example.org/", "body", "Connection: close", "Keep-Alive: 5",
		"Transfer-Encoding: chunked", "Upgrade: h2c", "Te: trailers", "Content-Length: 99", "X-Other: kept")
	out, _ := catch(t, httpsend.Transport{}, store(t, httpsend.Durable{}, req))
	if want := (http.Header{"X-Other": {"kept"}}); !reflect.DeepEqual(out.Header, want) {
		t.Errorf("sent are %q", out.Header)
	}
}

// A request that could not be sent is refused at once, not stored.
func TestBadRequestsAreRefused(t *testing.T) {
	rows := map[string]func(*http.Request){
		"LF in a value":        func(r *http.Request) { r.Header["X-A"] = []string{"a\nX-B: b"} },
		"CR in a value":        func(r *http.Request) { r.Header["X-A"] = []string{"a\rb"} },
		"NUL in a value":       func(r *http.Request) { r.Header["X-A"] = []string{"a\x00"} },
		"LF in a name":         func(r *http.Request) { r.Header["X-A\nX-B"] = []string{"b"} },
		"CR in a name":         func(r *http.Request) { r.Header["X-A\r"] = []string{"b"} },
		"space in a name":      func(r *http.Request) { r.Header["X A"] = []string{"b"} },
		"an empty name":        func(r *http.Request) { r.Header[""] = []string{"b"} },
		"a name of ours":       func(r *http.Request) { r.Header[":url"] = []string{"https://evil.example"} },
		"a name not ASCII":     func(r *http.Request) { r.Header["X-Ü"] = []string{"b"} },
		"a method with a line": func(r *http.Request) { r.Method = "POST /\r\n" },
		"LF in the query":      func(r *http.Request) { r.URL.RawQuery = "a\nb" },
		"LF in the host":       func(r *http.Request) { r.Host = "a\nb" },
		"an opaque URL":        func(r *http.Request) { r.URL.Opaque = "//evil.example/" },
		"an opaque path":       func(r *http.Request) { r.URL.Opaque = "//example.org/a" },
		"another scheme":       func(r *http.Request) { r.URL.Scheme = "ftp" },
		"no host":              func(r *http.Request) { r.URL.Host = "" },
		"a trailer":            func(r *http.Request) { r.Trailer = http.Header{"X-Sum": {"1"}} },
		"a short body":         func(r *http.Request) { r.ContentLength = 5 },
		"a long body":          func(r *http.Request) { r.ContentLength = 3 },
	}
	for says, spoil := range rows {
		req := request(t, "POST", "https://example.org/", "body")
		spoil(req)
		d := &httpsend.Durable{Put: func(*http.Request, map[string]string, []byte) (uuid.UUID, error) {
			t.Errorf("%s: it was stored", says)
			return uuid.New(), nil
		}}
		if _, err := d.RoundTrip(req); err == nil {
			t.Errorf("%s: no error", says)
		}
	}
}

// An item that no Durable of this version stored is not sent.
func TestForeignItems(t *testing.T) {
	good := func() map[string]string {
		return store(t, httpsend.Durable{}, request(t, "POST", "https://example.org/", "body", "X-A: a")).Header
	}
	for says, row := range map[string]struct {
		spoil func(map[string]string)
		want  string
	}{
		"nothing stored":     {func(h map[string]string) { clear(h) }, permanent},
		"a newer version":    {func(h map[string]string) { h[":version"] = "2" }, later},
		"no method":          {func(h map[string]string) { delete(h, ":method") }, permanent},
		"no URL":             {func(h map[string]string) { delete(h, ":url") }, permanent},
		"a relative URL":     {func(h map[string]string) { h[":url"] = "/a" }, permanent},
		"a file":             {func(h map[string]string) { h[":url"] = "file:///etc/passwd" }, permanent},
		"userinfo":           {func(h map[string]string) { h[":url"] = "https://hush:hush@example.org/" }, permanent},
		"not a URL":          {func(h map[string]string) { h[":url"] = "https://hush%zz:hush@[/" }, permanent},
		"a host of lines":    {func(h map[string]string) { h[":host"] = "a\r\nb" }, permanent},
		"a method of lines":  {func(h map[string]string) { h[":method"] = "GET\r\n" }, permanent},
		"a name of lines":    {func(h map[string]string) { h["a\r\nb"] = "c" }, permanent},
		"a value with a CR":  {func(h map[string]string) { h["X-A"] = "hush\r" }, permanent},
		"control characters": {func(h map[string]string) { h["X-A"] = "hush\x7f" }, permanent},
	} {
		h := good()
		row.spoil(h)
		tr := &httpsend.Transport{Client: &http.Client{Transport: roundTrip(func(*http.Request) (*http.Response, error) {
			t.Errorf("%s: it was sent", says)
			return &http.Response{StatusCode: 200, Body: http.NoBody}, nil
		})}}
		it := sender.Item{ID: uuid.New(), Header: h}
		err := tr.Send(t.Context(), it)
		if err == nil || strings.Contains(err.Error(), "hush") || !strings.Contains(err.Error(), it.ID.String()) {
			t.Errorf("%s: the error is %v", says, err)
		}
		mark, wait := fate(t, err)
		if mark != row.want || mark == later && wait != time.Hour {
			t.Errorf("%s: %v means %s %v, want %s", says, err, mark, wait, row.want)
		}
	}
}
