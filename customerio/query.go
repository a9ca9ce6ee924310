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

// Do makes a call of the App API for the application: a query, say. It waits for its turn under
// Options.QueryLimit and for the end of a pause, adds the key, and returns the answer as it comes; the
// caller closes its body. Nothing is stored and nothing repeated. After a 429, or a 503 with
// Retry-After, the next calls wait as long as was told, and one second where nothing was.
//
// The URL may be a path alone, such as "/v1/segments". With another host than that of the App API the
// request is refused: the key would go there. No redirect is followed.
func (c *Client) Do(req *http.Request) (*http.Response, error) {
	if c.o.AppKey == "" {
		return nil, fmt.Errorf("%w: the App API needs AppKey", ErrCredentials)
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

// heed has the next calls wait, if the answer wants that.
func heed(l *limiter.Limiter, verdict error) {
	var status *httpsend.StatusError
	if !errors.As(verdict, &status) || status.Code != http.StatusTooManyRequests && status.RetryAfter <= 0 {
		return
	}
	l.Slow()
	l.Pause(time.Now().Add(max(status.RetryAfter, time.Second)))
}

// request copies the caller's, to the right host and with the key.
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
		// The path keeps how its segments were encoded.
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
	return out, nil
}

// CheckCredentials asks the Track API who we are. nil: the credentials are in order and belong to the
// configured region; otherwise the error says what is probably wrong. It takes a token of the lane.
func (c *Client) CheckCredentials(ctx context.Context) error {
	if c.o.TrackKey == "" {
		return fmt.Errorf("%w: the Track API needs SiteID and TrackKey", ErrCredentials)
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
