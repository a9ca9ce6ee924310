package customerio

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/seed8107221f/outbox/sender"
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
	resp, err := httpsend.Ask(c.http, out)
	if err != nil {
		return nil, fmt.Errorf("customerio: %w", err)
	}
	c.heed(&c.queryPause, httpsend.Verdict(resp, time.Now()))
	return resp, nil
}

// A pause is how long an API has told its callers to wait. The file keeps it, as it keeps the pause
// of a lane.
type pause struct {
	pace  sender.Limiter
	note  string        // its name in the file
	turn  chan struct{} // full while it is written
	until atomic.Int64  // Unix time in nanoseconds; 0: there was none
}

// longestPause is the longest wait that is believed.
const longestPause = 24 * time.Hour

// restore reads a pause from the file. One that ends later than any order can say comes from a
// clock that was wrong, and is ignored.
func (c *Client) restore(p *pause) error {
	raw, err := c.file.Note(p.note)
	if err != nil || raw == nil {
		return err
	}
	ns, err := strconv.ParseInt(string(raw), 10, 64)
	if err != nil {
		return fmt.Errorf("the note %s has %d bytes and is not a time", p.note, len(raw))
	}
	if until := time.Unix(0, ns); time.Until(until) > 0 && time.Until(until) <= longestPause {
		p.until.Store(ns)
		p.pace.Pause(until)
	}
	return nil
}

// heed makes the next calls wait, if the answer asks for it. When it returns, the file has the end
// of the wait. If it cannot be stored, a restart forgets it; a log line says so.
func (c *Client) heed(p *pause, verdict error) {
	var status *httpsend.StatusError
	if !errors.As(verdict, &status) || status.Code != http.StatusTooManyRequests &&
		(status.Code != http.StatusServiceUnavailable || status.RetryAfter <= 0) {
		return
	}
	wait := max(status.RetryAfter, time.Second)
	if wait > longestPause {
		c.o.Logger.Warn("customerio: told to wait for more than a day, which is taken for a mistake", "wait", wait, "request", status.Request)
		wait = time.Second
	}
	until := time.Now().Add(wait)
	p.pace.Slow()
	p.pace.Pause(until)
	for old := p.until.Load(); old < until.UnixNano(); old = p.until.Load() {
		if p.until.CompareAndSwap(old, until.UnixNano()) {
			if err := c.keepPause(p); err != nil {
				c.o.Logger.Warn("customerio: the pause is not in the file: a restart forgets it", "err", err)
			}
			return
		}
	}
}

// keepPause stores a pause. The end of the caller's context does not stop it: the pause is in
// force.
func (c *Client) keepPause(p *pause) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	return c.file.AppendNoted(ctx, p.note, strconv.AppendInt(nil, p.until.Load(), 10))
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
	answer, err := c.track.do(ctx, http.MethodGet, regionPath, nil)
	if err != nil {
		c.heed(&c.trackPause, err)
		return fail("check credentials", err)
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
