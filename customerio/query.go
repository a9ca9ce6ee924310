package customerio

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/seed8107221f/outbox/limiter"
	"github.com/seed8107221f/outbox/sender/httpsend"
)

// Do sends a request to the App API for the application, for example a query. It waits for
// Options.QueryLimit and for the end of a pause, adds the key, and returns the answer, whose body
// the caller closes. Do stores and repeats nothing. After a 429, or a 503 with Retry-After, the
// next calls wait as long as the answer says, or one second.
//
// The URL may be only a path, such as "/v1/segments". A URL with another host than the App API is
// ErrInvalid, because the key would go to that host. Redirects are not followed.
func (c *Client) Do(req *http.Request) (*http.Response, error) {
	if c.o.AppKey == "" {
		return nil, errNoApp
	}
	out, err := c.app.request(req)
	if err != nil {
		return nil, err
	}
	if err := c.queryPace.Wait(req.Context()); err != nil {
		return nil, fmt.Errorf("customerio: %w", err)
	}
	once := *c.http
	once.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := once.Do(out)
	if err != nil {
		return nil, fmt.Errorf("customerio: %w", err)
	}
	heed(c.queryPace, httpsend.Verdict(resp, time.Now()))
	return resp, nil
}

// heed makes the next calls wait, if the answer asks for it.
func heed(l *limiter.Limiter, verdict error) {
	var status *httpsend.StatusError
	if !errors.As(verdict, &status) || status.Code != http.StatusTooManyRequests &&
		(status.Code != http.StatusServiceUnavailable || status.RetryAfter <= 0) {
		return
	}
	l.Slow()
	l.Pause(time.Now().Add(max(status.RetryAfter, time.Second)))
}

// request copies the caller's request, with our host and key.
func (a *api) request(req *http.Request) (*http.Request, error) {
	if req.URL == nil {
		return nil, invalid("the request", "has no URL")
	}
	base, err := url.Parse(a.base)
	if err != nil {
		return nil, fmt.Errorf("customerio: AppURL of %d bytes is not a URL", len(a.base))
	}
	out := req.Clone(req.Context())
	switch {
	case out.URL.Host == "" && strings.HasPrefix(out.URL.Path, "/"):
		// This keeps the encoding of the path's segments.
		at, err := url.Parse(a.base + out.URL.EscapedPath())
		if err != nil {
			return nil, invalid("the path", "of %d bytes is not one", len(out.URL.Path))
		}
		at.RawQuery = out.URL.RawQuery
		out.URL, out.Host = at, ""
	case out.URL.Scheme != base.Scheme || !strings.EqualFold(out.URL.Host, base.Host) || out.Host != "" && !strings.EqualFold(out.Host, base.Host):
		return nil, invalid("the URL", "has another scheme or host than the App API, %s://%s", base.Scheme, base.Host)
	}
	if out.Header == nil {
		out.Header = http.Header{}
	}
	out.Header.Set("Authorization", a.header)
	if out.Header.Get("User-Agent") == "" {
		out.Header.Set("User-Agent", a.agent)
	}
	return out, nil
}

// CheckCredentials asks the Track API whether the credentials are valid and belong to the
// configured region. nil: they are and do; otherwise the error names the probable cause. It counts
// against TrackLimit.
func (c *Client) CheckCredentials(ctx context.Context) error {
	if c.o.TrackKey == "" {
		return errNoTrack
	}
	if err := c.trackPace.Wait(ctx); err != nil {
		return fmt.Errorf("customerio: %w", err)
	}
	answer, err := c.track.do(ctx, http.MethodGet, "/api/v1/accounts/region", nil)
	if err != nil {
		heed(c.trackPace, err)
		return fmt.Errorf("customerio: check credentials: %w", err)
	}
	var account struct {
		Region string `json:"region"`
	}
	if json.Unmarshal(answer.Body, &account) != nil || account.Region == "" {
		return fmt.Errorf("customerio: check credentials: status %d with %d bytes that name no region: is that the Track API?", answer.Status, len(answer.Body))
	}
	if !strings.EqualFold(account.Region, string(c.o.Region)) {
		return fmt.Errorf("customerio: check credentials: the account is in region %s, Region is %s", c.track.line(account.Region), c.o.Region)
	}
	return nil
}
