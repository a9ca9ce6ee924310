package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/limiter"
	"github.com/seed8107221f/outbox/monitor"
	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/store"
)

// A relay sends lines of JSON to an HTTP server, through a file.
type relay struct {
	to, db, in    string
	rate          string
	idHeader      string
	authEnv       string
	concurrency   int
	maxBytes      int64
	patience      time.Duration // 0: no end
	id, key, kind string        // paths

	header http.Header
	errs   *status
}

func (c *command) sendVerb() *cobra.Command {
	var r relay
	v := &cobra.Command{
		Use: "send --to URL --db FILE", Short: "Relays lines of JSON to HTTP: durable, paced, resumable",
		Long: `Send reads lines from standard input, or from --in, and POSTs each as a body to
--to.

A line is in the file --db, synced, before it is sent, and stays there until the
destination accepted it. Send obeys Retry-After, retries, and keeps to --rate,
across crashes too. At the end of the input it delivers what is left. Started
again with the same --db it goes on.

A path as .customer.id leads to a value of the line. Lines with the same --key
are sent one at a time, in order.`,
		Example: "  tail -F app.ndjson | outbox send --to https://api.example.com/events \\\n      --db spool.db --rate 100/1s --key .customer",
		Args:    usage(cobra.NoArgs),
		RunE:    func(cmd *cobra.Command, _ []string) error { return c.send(cmd.Context(), &r) },
	}
	f := v.Flags()
	f.StringVar(&r.to, "to", "", "where to POST to")
	f.StringVar(&r.db, "db", "", "the file that keeps the lines; made if there is none")
	f.StringVar(&r.in, "in", "", "the file to read; how far it was read is kept in --db (default: standard input)")
	f.StringVar(&r.rate, "rate", "", "what the destination allows, as 100/1s: requests in any rolling window (default: no limit)")
	f.StringVar(&r.key, "key", "", "the path of what orders lines (default: no order)")
	f.StringVar(&r.id, "id", "", "the path of the ID; an ID that is no UUID is hashed to one (default: a new ID)")
	f.StringVar(&r.kind, "kind", "", "the path of the kind, which lists show")
	f.StringVar(&r.idHeader, "id-header", "", "the header that tells the ID, the same on every attempt, as Idempotency-Key")
	f.StringVar(&r.authEnv, "auth-env", "", "the environment variable with the token, sent as Authorization: Bearer; a value with a space is sent as it is")
	f.IntVar(&r.concurrency, "concurrency", 10, "how many requests may be in flight")
	f.Int64Var(&r.maxBytes, "max-bytes", 1<<30, "how much the file may hold; beyond that send stops reading")
	f.DurationVar(&r.patience, "for", 0, "how long to deliver after the end of the input (default: until all is done)")
	return v
}

func (c *command) send(ctx context.Context, r *relay) (err error) {
	transport, l, err := r.prepare(c.headerFile)
	if err != nil {
		return err
	}
	if err := noDirectory(r.db); err != nil {
		return err
	}
	st, err := store.Open(r.db, &store.Options{LockTimeout: time.Second, MaxPayload: maxLine, MaxBytes: r.maxBytes, Block: true})
	if errors.Is(err, store.ErrLocked) {
		return fail(exitInUse, "%s is in use, perhaps by another send", r.db)
	}
	if err != nil {
		return opening(r.db, err)
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	in, err := r.input(st, c.in)
	if err != nil {
		return err
	}
	defer in.close()
	r.errs = &status{w: c.err, terminal: isTerminal(c.err)}
	b, err := outbox.New(st, transport, &outbox.Options{Limiter: l, Sender: sender.Options{
		Concurrency: r.concurrency,
		Logger:      slog.New(slog.NewTextHandler(r.errs, nil)),
	}})
	if err != nil {
		return &exitError{exitUsage, err}
	}
	showing := r.show(b)
	bad := in.putAll(ctx, b)
	if ctx.Err() == nil {
		wait, cancel := ctx, func() {}
		if r.patience > 0 {
			wait, cancel = context.WithTimeout(ctx, r.patience)
		}
		b.Drain(wait) // its error: what is left is counted below
		cancel()
	}
	closed := b.Close()
	showing()
	s := b.Stats()
	if err := c.sent(&s); err != nil {
		return err
	}
	left := r.left(&s)
	switch {
	case ctx.Err() != nil && s.Pending > 0:
		return fail(exitUnfinished, "interrupted; %s", left)
	case ctx.Err() != nil:
		return fail(exitUnfinished, "interrupted; start it again to go on")
	case bad != nil && left != "":
		return fail(codeOf(bad), "%w; %s", bad, left)
	case bad != nil:
		return bad
	case s.Pending > 0:
		return fail(exitUnfinished, "%s", left)
	case s.Dead > 0:
		return fail(exitUnhealthy, "%s", left)
	}
	return closed
}

// left says what the file still holds; "": nothing.
func (r *relay) left(s *outbox.Stats) string {
	var parts []string
	if s.Pending > 0 {
		parts = append(parts, plural(s.Pending, "1 line remains", count(s.Pending)+" lines remain")+" in "+r.db+": start it again to go on")
	}
	if s.Dead > 0 {
		parts = append(parts, plural(s.Dead, "1 line is", count(s.Dead)+" lines are")+" dead: see outbox dead "+r.db)
	}
	return strings.Join(parts, "; ")
}

// prepare reads the flags.
func (r *relay) prepare(headerFile string) (sender.Transport, sender.Limiter, error) {
	u, err := url.Parse(r.to)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return nil, nil, fail(exitUsage, "--to is no address with http:// or https://")
	case r.db == "":
		return nil, nil, fail(exitUsage, "--db is missing: the file that keeps the lines")
	case r.maxBytes <= 0 || r.patience < 0:
		return nil, nil, fail(exitUsage, "--max-bytes and --for are above 0")
	}
	r.header = make(http.Header)
	if headerFile != "" {
		if r.header, err = headers(headerFile); err != nil {
			return nil, nil, err
		}
	}
	if r.authEnv != "" {
		token := os.Getenv(r.authEnv)
		if token == "" {
			return nil, nil, fail(exitUsage, "--auth-env: %s is not set", r.authEnv)
		}
		if !strings.Contains(token, " ") {
			token = "Bearer " + token
		}
		r.header.Set("Authorization", token)
	}
	if r.idHeader != "" && !isHeaderName(r.idHeader) {
		return nil, nil, fail(exitUsage, "--id-header: %q is no name of a header", r.idHeader)
	}
	for name, values := range r.header { // a value may be a secret: it is not shown
		if !isHeaderName(name) {
			return nil, nil, fail(exitUsage, "%q is no name of a header", name)
		}
		if slices.ContainsFunc(values, func(v string) bool {
			return strings.ContainsFunc(v, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
		}) {
			return nil, nil, fail(exitUsage, "the header %s has a value that no header can have, perhaps an end of line", name)
		}
	}
	for _, path := range []string{r.id, r.key, r.kind} {
		if path != "" && path[0] != '.' {
			return nil, nil, fail(exitUsage, "%q is no path: it begins with a dot, as .customer.id", path)
		}
	}
	l, err := r.limit()
	return sender.TransportFunc(r.post), l, err
}

// isHeaderName reports whether a header may have that name: a token of RFC 9110, section 5.6.2.
func isHeaderName(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
	})
}

// limit reads --rate.
func (r *relay) limit() (sender.Limiter, error) {
	if r.rate == "" {
		return nil, nil
	}
	n, window, ok := strings.Cut(r.rate, "/")
	limit, err := strconv.Atoi(n)
	d, wrong := time.ParseDuration(window)
	if !ok || err != nil || wrong != nil {
		return nil, fail(exitUsage, "--rate is %q, as 100/1s expected", r.rate)
	}
	l := limiter.Within(limit, d)
	if err := l.Check(); err != nil {
		return nil, fail(exitUsage, "--rate: %w", err)
	}
	return l, nil
}

// show shows how the relay is, here and to those who ask at the socket beside the file, until the
// function that it returns is called.
func (r *relay) show(b *outbox.Outbox) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() { r.errs.follow(ctx, b) })
	m, err := monitor.New(map[string]*outbox.Outbox{"outbox": b}, &monitor.Options{Allow: func(*http.Request, string) monitor.Access {
		return monitor.Access{Name: me(), Read: true, Payload: true, Act: true}
	}})
	if err == nil {
		all.Go(func() {
			if err := monitor.Serve(ctx, b.Path()+".sock", m); err != nil {
				fmt.Fprintln(r.errs, "outbox: no socket, so other calls cannot look into the file:", err)
			}
		})
	}
	return func() {
		cancel()
		all.Wait()
		if m != nil {
			m.Close()
		}
	}
}

// sent writes how it ended.
func (c *command) sent(s *outbox.Stats) error {
	if c.json {
		return c.write(map[string]any{"v": 1, "put": s.Put, "delivered": s.Delivered, "pending": s.Pending, "dead": s.Dead, "expired": s.Expired, "dropped": s.Dropped})
	}
	_, err := fmt.Fprintf(c.out, "put %s   delivered %s   pending %s   dead %s\n", count(s.Put), count(s.Delivered), count(s.Pending), count(s.Dead))
	return err
}
