package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"net/url"
	"strings"
)

// maxAnswer is the largest answer that is read into memory, in bytes: a thousand events, or one
// with the largest payload.
const maxAnswer = 2 << 30

// A client speaks to a monitor: over the network, over a socket, or in memory for a file that no
// program has open.
type client struct {
	http    *http.Client
	base    *url.URL
	header  http.Header
	name    string // what the user called it
	stopped bool   // a file that no program has open; http is nil after release
	close   func() error
	again   func() (*client, error) // opens the target again
}

// release closes a file that no program has open until the next request, so that a program can have
// it while a person thinks.
func (c *client) release() error {
	if !c.stopped || c.http == nil {
		return nil
	}
	err := c.close()
	c.http, c.close = nil, func() error { return nil }
	return err
}

// get asks for a document and returns its text.
func (c *client) get(ctx context.Context, doc any, pairs ...string) ([]byte, error) {
	resp, err := c.do(ctx, http.MethodGet, nil, pairs...)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return read(resp, doc)
}

// act asks for an action.
func (c *client) act(ctx context.Context, lane string, a *action) (d done, err error) {
	body, err := json.Marshal(a)
	if err != nil {
		return d, err
	}
	resp, err := c.do(ctx, http.MethodPost, body, "lane", lane)
	if err != nil {
		return d, err
	}
	defer resp.Body.Close()
	_, err = read(resp, &d)
	return d, err
}

// do sends a request. An answer that is returned is a success of a monitor.
func (c *client) do(ctx context.Context, method string, body []byte, pairs ...string) (*http.Response, error) {
	if c.http == nil {
		now, err := c.again()
		if err != nil {
			return nil, err
		}
		*c = *now
	}
	u := *c.base
	q := u.Query()
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			q.Set(pairs[i], pairs[i+1])
		}
	}
	u.RawQuery = q.Encode()
	req, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, fail(exitUsage, "%s: %w", c.name, err)
	}
	maps.Copy(req.Header, c.header)
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		var of *url.Error // says the address, which may have a password
		if errors.As(err, &of) {
			err = of.Err
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("%s: %w", c.name, ctx.Err())
		}
		if errors.Is(err, fs.ErrPermission) { // of a socket
			return nil, fail(exitNotAllowed, "%s: %w; run this as the user of the program that made the socket", c.name, err)
		}
		return nil, fail(exitInUse, "%s does not answer: %w", c.name, err)
	}
	if resp.Header.Get("Outbox-Monitor") == "" {
		resp.Body.Close()
		code := exitFailed
		if resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden || resp.StatusCode == http.StatusProxyAuthRequired {
			code = exitNotAllowed
		}
		return nil, fail(code, "%s: the answer is %s, and not of a monitor; --header-file gives what a login in front of it needs", c.name, resp.Status)
	}
	if resp.StatusCode >= 300 {
		defer resp.Body.Close()
		return nil, refusalOf(c.name, resp)
	}
	return resp, nil
}

// A refusal is a monitor's answer that is not what was asked for.
type refusal struct {
	code, message string
}

func (r *refusal) Error() string { return r.message }

func refusalOf(name string, resp *http.Response) error {
	var doc struct {
		Error struct{ Code, Message string }
	}
	if _, err := read(resp, &doc); err != nil || doc.Error.Message == "" {
		return fail(exitFailed, "%s: the answer is %s", name, resp.Status)
	}
	r := &refusal{doc.Error.Code, doc.Error.Message}
	code := exitFailed
	switch r.code {
	case "bad_request":
		code = exitUsage
	case "not_found":
		code = exitNotFound
	case "not_allowed", "cross_origin", "wrong_host":
		code = exitNotAllowed
	}
	return &exitError{code, r}
}

// isRefusal reports whether a monitor refused with that code.
func isRefusal(err error, code string) bool {
	var r *refusal
	return errors.As(err, &r) && r.code == code
}

func read(resp *http.Response, doc any) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("the answer breaks off: %w", err)
	}
	if err := json.Unmarshal(text, doc); err != nil {
		return nil, fmt.Errorf("the answer cannot be read: %w", err)
	}
	return text, nil
}

// theLane returns the name of the lane that is meant.
func (c *client) theLane(ctx context.Context, name string) (string, error) {
	if name != "" {
		return name, nil
	}
	var o overview
	if _, err := c.get(ctx, &o); err != nil {
		return "", err
	}
	if len(o.Lanes) == 1 {
		return o.Lanes[0].Name, nil
	}
	var names []string
	for _, l := range o.Lanes {
		names = append(names, l.Name)
	}
	if len(names) == 0 {
		return "", fail(exitNotAllowed, "%s: there is no lane that you may read", c.name)
	}
	return "", fail(exitUsage, "%s has several lanes: give one by --lane: %s", c.name, strings.Join(names, ", "))
}
