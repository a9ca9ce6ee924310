// Customerio puts operations from a file, one JSON object a line, into an outbox and delivers them
// to Customer.io:
//
//	go run ./examples/customerio
//
// Without credentials in the environment they go to a stand-in, which is as strict as the service:
// at most 100 requests in any rolling second. With CUSTOMERIO_SITE_ID and CUSTOMERIO_TRACK_API_KEY
// they go to the service, or to whatever CUSTOMERIO_TRACK_URL names. The last line says what was
// put, and what arrived; the exit status is 1 when operations remain, are dead, or came in a wrong
// way.
//
// A line is {"op":…,"id":…}, with "name", "attributes" (or "data") and "timestamp" where they
// belong. op is identify, track, page, screen, suppress, unsuppress or delete; an id with an @ is
// an email address.
//
// How far the input has been read lies in the same file, in the same commits. So a run that was
// killed is finished by the next one with the same -db, which puts no line twice.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/customerio"
	"github.com/seed8107221f/outbox/customerio/customeriotest"
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

// settings are the flags.
type settings struct {
	in   string  // "": a sample
	db   string  // "": a temporary file
	rate float64 // requests a second; 0: 80
}

// run is the program without its process. It returns the exit status.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	var set settings
	flags := flag.NewFlagSet("customerio", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&set.in, "in", "", "`file` of operations, one JSON object a line; - is standard input (default a sample)")
	flags.StringVar(&set.db, "db", "", "outbox `file`; it is kept (default a temporary file, removed once all is delivered)")
	flags.Float64Var(&set.rate, "rate", 0, "requests a second (default 80)")
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return success
	case err != nil:
		return misuse // the flag set has said why
	case flags.NArg() > 0 || set.rate < 0 || set.rate > 1e6:
		fmt.Fprintf(stderr, "customerio: -rate %g, from 0 to 1000000; no arguments besides the flags: %q\n", set.rate, flags.Args())
		return misuse
	}
	if err := deliver(ctx, set, stdin, stdout, stderr); err != nil {
		fmt.Fprintln(stderr, err)
		return failure
	}
	return success
}

// deliver puts the input, delivers all that lies in the file, and prints the verdict.
func deliver(ctx context.Context, set settings, stdin io.Reader, stdout, stderr io.Writer) (err error) {
	in, err := openInput(set.in, stdin)
	if err != nil {
		return fmt.Errorf("customerio: input: %w", err)
	}
	defer in.Close()
	o, service, err := destination()
	if err != nil {
		return err
	}
	if service != nil {
		defer service.Close()
	}
	if set.rate > 0 {
		o.TrackLimit = max(1, int(set.rate/0.8+0.5)) // of which four fifths are used
	}
	o.Logger = slog.New(slog.NewTextHandler(stderr, nil))
	path := set.db
	if path == "" {
		dir, e := os.MkdirTemp("", "customerio-")
		if e != nil {
			return fmt.Errorf("customerio: %w", e)
		}
		path = filepath.Join(dir, "outbox.db")
		defer func() {
			if err == nil {
				err = os.RemoveAll(dir)
			} else {
				fmt.Fprintln(stderr, "customerio: the outbox is kept in", path)
			}
		}()
	}
	c, err := customerio.Open(path, &o)
	if err != nil {
		return err
	}
	before := c.Stats()[customerio.LaneTrack]
	err = work(ctx, c, in, stderr)
	after := c.Stats()[customerio.LaneTrack]
	err = errors.Join(err, warnOfDead(c, stderr), c.Close())
	if after.Pending > 0 || after.Dead > 0 {
		err = errors.Join(err, fmt.Errorf("customerio: %d operations remain, %d are dead", after.Pending, after.Dead))
	}
	if service == nil {
		fmt.Fprintf(stdout, "put=%d delivered=%d\n", after.Put, after.Delivered)
		return err
	}
	return errors.Join(err, conclude(service.Verdict(), before, after, stdout))
}

// destination is the service if the environment has credentials, else a stand-in that the caller
// closes.
func destination() (customerio.Options, *customeriotest.Server, error) {
	o, err := customerio.FromEnv()
	if err != nil || o.TrackKey != "" {
		return o, nil, err
	}
	s := customeriotest.NewServer(&customeriotest.Options{Sequence: customeriotest.Timestamp, CountOnly: true})
	return customerio.Options{SiteID: "site", TrackKey: "track-key", TrackURL: s.URL()}, s, nil
}

// work puts what is new in the input and waits until nothing is pending, or ctx ends.
func work(ctx context.Context, c *customerio.Client, in io.Reader, stderr io.Writer) error {
	skipped, err := feed(ctx, c, in, stderr)
	if skipped > 0 {
		fmt.Fprintf(stderr, "customerio: %d lines were skipped\n", skipped)
	}
	if err != nil {
		return err
	}
	if err = c.Drain(ctx); errors.Is(err, outbox.ErrPending) {
		return nil // it is in the file, and the next run delivers it
	}
	return err
}

// warnOfDead names the first operations that the service refused, and why.
func warnOfDead(c *customerio.Client, stderr io.Writer) error {
	shown := 0
	for it, err := range c.Lane(customerio.LaneTrack).Dead() {
		if err != nil || shown == 10 {
			return err
		}
		shown++
		fmt.Fprintf(stderr, "customerio: %s %s is dead: %s\n", it.Kind, it.ID, it.LastErr)
	}
	return nil
}

// conclude prints what the stand-in saw and says what is wrong with it. It saw this run alone: what
// was delivered before, it cannot know.
func conclude(v customeriotest.Verdict, before, after outbox.Stats, stdout io.Writer) error {
	fmt.Fprintf(stdout, "put=%d received=%d unique=%d duplicates=%d order_violations=%d fullest_second=%d refused_for_rate=%d\n",
		after.Put, v.Operations, v.Unique, v.Duplicates, v.OrderViolations, v.FullestSecond, v.RefusedForRate)
	switch want := after.Put - before.Delivered; {
	case v.OrderViolations > 0:
		return fmt.Errorf("customerio: %d operations came after a later one of their customer", v.OrderViolations)
	case v.RefusedForRate > 0:
		return fmt.Errorf("customerio: %d requests were above the limit", v.RefusedForRate)
	case after.Pending == 0 && after.Dead == 0 && uint64(v.Unique) != want:
		return fmt.Errorf("customerio: %d distinct operations were received, %d expected", v.Unique, want)
	}
	return nil
}
