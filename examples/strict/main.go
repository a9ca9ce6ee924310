// Strict reads events from a file, one JSON object a line, puts them into an outbox and delivers
// them over HTTP:
//
//	go run ./examples/strict
//
// Without -url it starts a receiver of its own, as strict as a vendor: at most 100 requests in any
// rolling second, 429 with Retry-After beyond, now and then a 503 or a slow answer. The last line
// is that receiver's verdict, with the rate that it measured; the exit status is 1 when the verdict
// is bad or events remain.
//
// Events and the position in the input share one file and its transactions. So a run that was
// killed at any moment is finished by the next one with the same -db, which puts no line twice. To
// see it, keep the receiver and its record in a process of their own:
//
//	strict -receive 127.0.0.1:8080
//	strict -url http://127.0.0.1:8080 -db events.db    # kill -9, and again
//
// That one gives its verdict when it is interrupted.
//
// A line is {"kind":…,"key":…,"payload":…}, with "id" (a UUID) and "not_before" (RFC 3339) if
// wanted.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the first signal asks, a second one kills
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// Exit statuses.
const (
	success = 0
	failure = 1
	misuse  = 2
)

// run is the program without its process. It returns the exit status.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	set, err := parseFlags(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return success
	case err != nil:
		return misuse // the flag set has said why
	}
	s := newScreen(stdout, stderr)
	if set.receive != "" {
		s.fail(receive(ctx, s, set.receive))
	} else {
		s.fail(deliver(ctx, s, set, stdin))
	}
	return s.status()
}

// settings are the flags.
type settings struct {
	in          string  // "": the sample
	db          string  // "": a temporary file
	url         string  // "": a receiver of our own
	receive     string  // "": deliver
	rate        float64 // requests a second; 0: what the receiver allows
	burst       int     // with rate only
	concurrency int     // requests in flight
}

func parseFlags(args []string, stderr io.Writer) (settings, error) {
	var set settings
	flags := flag.NewFlagSet("strict", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&set.in, "in", "", "`file` of events, one JSON object a line; - is standard input (default "+sampleFile+")")
	flags.StringVar(&set.db, "db", "", "outbox `file`; it is kept (default a temporary file, removed once all is delivered)")
	flags.StringVar(&set.url, "url", "", "`URL` to post the events to (default a receiver of its own)")
	flags.StringVar(&set.receive, "receive", "", "only receive, on this `address`, until interrupted")
	flags.Float64Var(&set.rate, "rate", 0, "requests a second (default: never more than 100 in any rolling second)")
	flags.IntVar(&set.burst, "burst", 1, "with -rate: requests that may start at once")
	flags.IntVar(&set.concurrency, "concurrency", 10, "requests in flight")
	if err := flags.Parse(args); err != nil {
		return set, err
	}
	if err := set.check(flags.Args()); err != nil {
		fmt.Fprintln(stderr, err)
		return set, err
	}
	return set, nil
}

func (set settings) check(rest []string) error {
	if len(rest) > 0 {
		return fmt.Errorf("strict: %q is not a flag", rest[0])
	}
	if set.url != "" {
		u, err := url.Parse(set.url)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return errors.New("strict: -url wants an http or https URL")
		}
	}
	if set.rate < 0 || set.burst < 1 || set.concurrency < 1 {
		return fmt.Errorf("strict: -rate %g, -burst %d, -concurrency %d: want at least 0, 1 and 1", set.rate, set.burst, set.concurrency)
	}
	return nil
}

// receive runs the receiver alone, until ctx ends, and fails when the sender's manners did.
func receive(ctx context.Context, s *screen, addr string) error {
	r, err := startReceiver(addr)
	if err != nil {
		return err
	}
	s.printf("receiving on %s", r.URL)
	<-ctx.Done()
	r.Close() // cuts off the requests that are being answered: they come again
	judge(s, r)
	s.printf("%s", summary(r.Verdict()))
	return nil
}
