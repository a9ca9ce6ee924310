package main

import (
	"bufio"
	"context"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"net/textproto"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/seed8107221f/outbox/store"
)

// environment stands in for the target.
const environment = "OUTBOX"

// split takes the target off the arguments of a verb that needs n more of them. Negative: any
// number of IDs, and one at least.
func split(args []string, n int) (target string, rest []string, err error) {
	target = os.Getenv(environment)
	switch {
	case n >= 0 && len(args) == n+1, n < 0 && len(args) > 0 && (target == "" || !looksLikeID(args[0])):
		target, args = args[0], args[1:]
	case n >= 0 && len(args) != n:
		return "", nil, fail(exitUsage, "%d arguments, a target and %d more expected", len(args), n)
	}
	if target == "" {
		return "", nil, fail(exitUsage, "which outbox? Give a file, http(s)://… or unix:/path, or set %s", environment)
	}
	return target, args, nil
}

// looksLikeID reports whether an argument is an ID or the beginning of one.
func looksLikeID(s string) bool {
	return len(s) >= minPrefix && len(s) <= 36 && strings.Trim(strings.ToLower(s), "0123456789abcdef-") == ""
}

// open returns a client for a target. Close it.
func (c *command) open(target string) (*client, error) {
	cl, err := c.reach(target)
	if err == nil {
		cl.again = func() (*client, error) { return c.open(target) }
	}
	return cl, err
}

func (c *command) reach(target string) (*client, error) {
	scheme, rest, _ := strings.Cut(target, ":")
	switch scheme {
	case "http", "https":
		return c.openURL(target)
	case "unix":
		return openSocket(rest, target), nil
	}
	cl, err := c.openFile(target, -1)
	// The program that has a file may go on after the file was removed: then it alone knows.
	if !errors.Is(err, store.ErrLocked) && !errors.Is(err, fs.ErrNotExist) {
		return cl, err
	}
	if answers(target + ".sock") {
		return openSocket(target+".sock", target), nil
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	// Perhaps another call of this program has it, which is soon done.
	if cl, err = c.openFile(target, time.Second); !errors.Is(err, store.ErrLocked) {
		return cl, err
	}
	return nil, inUse(target)
}

// inUse says how to make the socket.
func inUse(target string) error {
	return fail(exitInUse, `%s is in use, and nobody answers on %s.sock. The program that has it can make that socket:

	m, err := monitor.New(map[string]*outbox.Outbox{"events": b}, &monitor.Options{Allow: everything})
	// … everything returns monitor.Access{Name: "shell", Read: true, Payload: true, Act: true}
	go monitor.Serve(ctx, b.Path()+".sock", m)
`, target, target)
}

func (c *command) openURL(target string) (*client, error) {
	u, err := url.Parse(target)
	if err != nil || u.Host == "" {
		return nil, fail(exitUsage, "%q is not the address of a monitor", target)
	}
	cl := newClient(http.DefaultTransport.(*http.Transport).Clone())
	cl.base, cl.name = u, u.Redacted()
	if c.headerFile != "" {
		if cl.header, err = headers(c.headerFile); err != nil {
			return nil, err
		}
	}
	return cl, nil
}

func openSocket(path, name string) *client {
	cl := newClient(&http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}})
	cl.base, cl.name = &url.URL{Scheme: "http", Host: "outbox"}, name
	return cl
}

// answerTime is how long a monitor may take to begin an answer about what there is. An action, such
// as a compaction, may take as long as it takes.
const answerTime = 30 * time.Second

// newClient returns a client that follows no redirect.
func newClient(tr *http.Transport) *client {
	p := patience{act: tr, read: tr.Clone()}
	p.read.ResponseHeaderTimeout = answerTime
	return &client{
		http:  &http.Client{Transport: p, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
		close: func() error { p.act.CloseIdleConnections(); p.read.CloseIdleConnections(); return nil },
	}
}

// patience sends requests that read by one transport, and those that act by another.
type patience struct{ read, act *http.Transport }

func (p patience) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Method == http.MethodGet {
		return p.read.RoundTrip(req)
	}
	return p.act.RoundTrip(req)
}

// answers reports whether somebody answers on a socket.
func answers(path string) bool {
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// headers reads a file of headers. Empty lines, and those that begin with #, are skipped.
func headers(path string) (http.Header, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fail(exitUsage, "--header-file: %w", err)
	}
	defer f.Close()
	h := make(http.Header)
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok || strings.ContainsAny(name, " \t") { // the line may be a secret: it is not shown
			return nil, fail(exitUsage, "--header-file: line %d of %s is not \"Name: value\"", n, path)
		}
		h.Add(textproto.CanonicalMIMEHeaderKey(name), strings.TrimSpace(value))
	}
	if err := lines.Err(); err != nil {
		return nil, fail(exitUsage, "--header-file: %w", err)
	}
	return h, nil
}

// with opens the target of a verb and its lane, and calls do.
func (c *command) with(ctx context.Context, target string, do func(cl *client, lane string) error) (err error) {
	cl, err := c.open(target)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cl.close()) }()
	lane, err := cl.theLane(ctx, c.lane)
	if err != nil {
		return err
	}
	return do(cl, lane)
}
