package httpsend_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/sender/httpsend"
)

// An sdk hides what its HTTP client sees: its errors hold neither header nor cause.
type sdk struct{ http *http.Client }

var errSDK = errors.New("the SDK failed: token=hush")

func (s sdk) call(ctx context.Context, path string) error {
	req, err := http.NewRequestWithContext(ctx, "POST", "https://example.org/"+path, strings.NewReader("body"))
	if err != nil {
		return err
	}
	resp, err := s.http.Do(req)
	if err != nil {
		return errSDK
	}
	defer resp.Body.Close()
	if resp.StatusCode != 200 {
		return errSDK
	}
	if _, err := io.ReadAll(resp.Body); err != nil {
		return errSDK
	}
	return nil
}

// observed returns an SDK whose requests are answered by f, under observation.
func observed(f roundTrip) sdk { return sdk{&http.Client{Transport: httpsend.Observe(f)}} }

func reply(req *http.Request, code int, fields ...string) *http.Response {
	h := http.Header{}
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		h.Add(name, value)
	}
	return &http.Response{StatusCode: code, Header: h, Body: http.NoBody, Request: req}
}

// A transport around an SDK gives the verdict of the answer that the SDK hides.
func TestObserve(t *testing.T) {
	const date = "Date: Sat, 01 Jun 2030 12:00:00 GMT"
	for _, row := range []struct {
		code   int
		fields []string
		want   string
		wait   time.Duration // at least, for Throttled
	}{
		{200, nil, delivered, 0},
		{200, []string{"Retry-After: 3600"}, delivered, 0},
		{204, nil, retry, 0}, // the SDK takes it for a failure, and may be right
		{400, []string{"Retry-After: 3600"}, permanent, 0},
		{401, nil, unavailable, 0},
		{307, []string{"Location: https://elsewhere.example/"}, unavailable, 0},
		{302, []string{"Location: https://elsewhere.example/"}, unavailable, 0},
		{429, nil, throttled, 0},
		{429, []string{"Retry-After: 3600"}, throttled, time.Hour},
		{429, []string{date, "Retry-After: Sat, 01 Jun 2030 13:00:00 GMT"}, throttled, time.Hour},
		{503, nil, retry, 0},
		{503, []string{"Retry-After: 3600"}, throttled, time.Hour},
		{500, nil, retry, 0},
	} {
		var err error
		synctest.Test(t, func(t *testing.T) {
			s := observed(func(req *http.Request) (*http.Response, error) {
				if req.URL.Host != "example.org" {
					t.Errorf("%d: a request went to %s", row.code, req.URL.Host)
				}
				return reply(req, row.code, row.fields...), nil
			})
			ctx, calls := httpsend.Watch(t.Context())
			err = calls.Verdict(s.call(ctx, "a?token=hush"))
			if got := calls.Status(); got != row.code {
				t.Errorf("the status is %d, want %d", got, row.code)
			}
		})
		mark, wait := fate(t, err)
		if mark != row.want || row.wait > 0 && wait != row.wait {
			t.Errorf("%d %q means %s %v, want %s %v", row.code, row.fields, mark, wait, row.want, row.wait)
		}
		if err == nil {
			continue
		}
		if !errors.Is(err, errSDK) && row.code/100 != 3 {
			t.Errorf("%d: the error of the SDK is lost: %v", row.code, err)
		}
		if text := err.Error(); strings.Contains(text, "hush") || !strings.Contains(text, fmt.Sprint("POST example.org/a: ", row.code)) {
			t.Errorf("%d: the error is %s", row.code, text)
		}
	}
}

// An SDK that calls several times: the last call decides, but an order to wait holds until it ends.
func TestObserveSeveralCalls(t *testing.T) {
	for _, row := range []struct {
		says  string
		codes []int // 0: no answer; 429 asks for an hour, 503 for a minute
		pause time.Duration
		want  string
		wait  time.Duration
	}{
		{"the last decides", []int{400, 500}, 0, retry, 0},
		{"the last decides", []int{500, 400}, 0, permanent, 0},
		{"the last is lost", []int{400, 0}, 0, retry, 0},
		{"the last is answered", []int{0, 401}, 0, unavailable, 0},
		{"the order still holds", []int{429, 500}, 10 * time.Minute, throttled, 50 * time.Minute},
		{"the order still holds, and no answer", []int{429, 0}, 10 * time.Minute, throttled, 50 * time.Minute},
		{"a longer order replaces a shorter", []int{503, 429}, 10 * time.Second, throttled, time.Hour},
		{"a shorter order does not end a longer", []int{429, 503}, 10 * time.Minute, throttled, 50 * time.Minute},
		{"the order has ended", []int{429, 500}, 2 * time.Hour, retry, 0},
	} {
		var err error
		synctest.Test(t, func(t *testing.T) {
			n := 0
			s := observed(func(req *http.Request) (*http.Response, error) {
				code := row.codes[n]
				n++
				switch code {
				case 0:
					return nil, io.ErrUnexpectedEOF
				case 429:
					return reply(req, code, "Retry-After: 3600"), nil
				case 503:
					return reply(req, code, "Retry-After: 60"), nil
				}
				return reply(req, code), nil
			})
			ctx, calls := httpsend.Watch(t.Context())
			s.call(ctx, "a")
			time.Sleep(row.pause)
			err = calls.Verdict(s.call(ctx, "b"))
		})
		if mark, wait := fate(t, err); mark != row.want || row.wait > 0 && wait != row.wait {
			t.Errorf("%s: %s %v, want %s %v", row.says, mark, wait, row.want, row.wait)
		}
	}
}

// Without an answer the cause decides, which the SDK hides as well.
func TestObserveNoAnswer(t *testing.T) {
	c := httpsend.NewClient()
	c.Transport = httpsend.Observe(c.Transport) // by the proxy of TestMain, where nobody listens
	ctx, calls := httpsend.Watch(t.Context())
	expect(t, calls.Verdict(sdk{c}.call(ctx, "a")), unavailable)
	if got := calls.Status(); got != 0 {
		t.Errorf("the status is %d", got)
	}

	lost := observed(func(*http.Request) (*http.Response, error) { return nil, io.ErrUnexpectedEOF })
	ctx, calls = httpsend.Watch(t.Context())
	err := calls.Verdict(lost.call(ctx, "a"))
	expect(t, err, retry)
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%v has lost its cause", err)
	}

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	ctx, calls = httpsend.Watch(ended)
	if err := calls.Verdict(sdk{c}.call(ctx, "a")); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// A call that the SDK did not make is its own to judge.
func TestObserveNoCall(t *testing.T) {
	_, calls := httpsend.Watch(t.Context())
	own := sender.Permanent(errors.New("customer is missing"))
	if err := calls.Verdict(own); err != own {
		t.Errorf("got %v", err)
	}
	if err := calls.Verdict(nil); err != nil {
		t.Errorf("got %v", err)
	}
}

// Calls that nobody watches pass through, redirects included.
func TestObserveUnwatched(t *testing.T) {
	var hosts []string
	s := observed(func(req *http.Request) (*http.Response, error) {
		hosts = append(hosts, req.URL.Host)
		if req.URL.Host == "example.org" {
			return reply(req, 302, "Location: https://elsewhere.example/"), nil
		}
		return reply(req, 200), nil
	})
	if err := s.call(t.Context(), "a"); err != nil || fmt.Sprint(hosts) != "[example.org elsewhere.example]" {
		t.Errorf("%v, the requests went to %q", err, hosts)
	}
}
