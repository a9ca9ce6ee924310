// Customerio-import reads people from CSV and imports them into Customer.io, with a progress bar:
//
//	go run ./examples/customerio-import -db people.db people.csv
//
// The first line names the columns: id, email or both; all others are attributes. Without a file
// there are 10,000 people of its own making. Without credentials in the environment they go to a
// stand-in, which is as strict as the service: at most 100 requests in any rolling second. With
// CUSTOMERIO_SITE_ID and CUSTOMERIO_TRACK_API_KEY they go to the service, or to whatever
// CUSTOMERIO_TRACK_URL names.
//
// How far it is lies in the outbox file. A run that was killed is finished by the next one with the
// same -db, which puts no row twice. The last line says what was put and what arrived; the exit
// status is 1 when rows were not put, were refused, or remain.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

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
	in   string  // "": people of our own making
	db   string  // "": a temporary file
	rate float64 // requests a second; 0: 50
}

// run is the program without its process. It returns the exit status.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	var set settings
	flags := flag.NewFlagSet("customerio-import", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&set.in, "in", "", "CSV `file`; - is standard input (default the argument, or 10,000 people made up)")
	flags.StringVar(&set.db, "db", "", "outbox `file`; it is kept (default a temporary file, removed once all is delivered)")
	flags.Float64Var(&set.rate, "rate", 0, "requests a second (default 50)")
	err := flags.Parse(args)
	if set.in == "" && flags.NArg() == 1 {
		set.in = flags.Arg(0)
	} else if flags.NArg() > 0 && err == nil {
		err = fmt.Errorf("customerio-import: one file at a time: %q", flags.Args())
		fmt.Fprintln(stderr, err)
	}
	switch {
	case errors.Is(err, flag.ErrHelp):
		return success
	case err != nil:
		return misuse // it was said why
	case set.rate < 0 || set.rate > 1e6:
		fmt.Fprintf(stderr, "customerio-import: -rate %g, from 0 to 1000000\n", set.rate)
		return misuse
	}
	if err := deliver(ctx, set, stdin, stdout, stderr); err != nil {
		fmt.Fprintln(stderr, err)
		return failure
	}
	return success
}

// deliver imports the input and prints the verdict.
func deliver(ctx context.Context, set settings, stdin io.Reader, stdout, stderr io.Writer) (err error) {
	in, err := openInput(set.in, stdin)
	if err != nil {
		return fmt.Errorf("customerio-import: input: %w", err)
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
		o.ImportRate = set.rate
		o.TrackLimit = max(100, int(set.rate/0.8+0.5)) // of which four fifths are used
	}
	o.Logger = slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	path := set.db
	if path == "" {
		dir, e := os.MkdirTemp("", "customerio-import-")
		if e != nil {
			return fmt.Errorf("customerio-import: %w", e)
		}
		path = filepath.Join(dir, "outbox.db")
		defer func() {
			if err == nil {
				err = os.RemoveAll(dir)
			} else {
				fmt.Fprintln(stderr, "customerio-import: the outbox is kept in", path)
			}
		}()
	}
	c, err := customerio.Open(path, &o)
	if err != nil {
		return err
	}
	before := c.Stats()[customerio.LaneImport]
	bar := newBar(stdout)
	p, err := c.Import(ctx, customerio.ReadCSV(in), &customerio.ImportOptions{
		OnProgress: bar.show,
		Every:      bar.every(),
		OnInvalid:  func(err error) { bar.clear(); fmt.Fprintln(stderr, "customerio-import:", err) },
	})
	bar.clear()
	if p.Refused > 0 {
		err = errors.Join(err, warnOfDead(c, stderr), fmt.Errorf("customerio-import: %d rows were refused", p.Refused))
	}
	err = errors.Join(err, c.Close())
	if service == nil {
		fmt.Fprintf(stdout, "put=%d delivered=%d\n", p.Put, p.Delivered)
		return err
	}
	// The stand-in saw this run alone: what was delivered before, it cannot know.
	v, after := service.Verdict(), c.Stats()[customerio.LaneImport]
	fmt.Fprintf(stdout, "put=%d received=%d unique=%d duplicates=%d fullest_second=%d refused_for_rate=%d\n",
		p.Put, v.Operations, v.Unique, v.Duplicates, v.FullestSecond, v.RefusedForRate)
	if want := after.Delivered - before.Delivered; uint64(v.Unique) != want || v.RefusedForRate > 0 {
		err = errors.Join(err, fmt.Errorf("customerio-import: %d distinct rows were received, %d expected; %d requests were above the limit", v.Unique, want, v.RefusedForRate))
	}
	return err
}

// destination is the service if the environment has credentials, else a stand-in that the caller
// closes.
func destination() (customerio.Options, *customeriotest.Server, error) {
	o, err := customerio.FromEnv()
	if err != nil || o.TrackKey != "" {
		return o, nil, err
	}
	s := customeriotest.NewServer(&customeriotest.Options{CountOnly: true})
	return customerio.Options{SiteID: "site", TrackKey: "track-key", TrackURL: s.URL()}, s, nil
}

// openInput opens the file, or standard input for "-", or makes people up for "".
func openInput(name string, stdin io.Reader) (io.ReadCloser, error) {
	switch name {
	case "-":
		return io.NopCloser(stdin), nil
	case "":
		r, w := io.Pipe()
		go func() { w.CloseWithError(makePeople(w, 10_000)) }() // ends with the reader: its Close fails the write
		return r, nil
	}
	return os.Open(name)
}

// makePeople writes n people, the same ones each time.
func makePeople(w io.Writer, n int) error {
	b := bufio.NewWriter(w)
	fmt.Fprintln(b, "id,email,name,plan,created_at")
	for i := range n {
		plan := [...]string{"free", "basic", "premium"}[i%3]
		fmt.Fprintf(b, "person-%05d,person-%05d@example.org,\"Person, No. %d\",%s,%d\n", i, i, i, plan, 1700000000+i)
	}
	return b.Flush()
}

// warnOfDead names the first rows that the service refused, and why.
func warnOfDead(c *customerio.Client, stderr io.Writer) error {
	shown := 0
	for it, err := range c.Lane(customerio.LaneImport).Dead() {
		if err != nil || shown == 10 {
			return err
		}
		shown++
		fmt.Fprintf(stderr, "customerio-import: %s is dead: %s\n", it.ID, it.LastErr)
	}
	return nil
}

// A bar shows progress: on a terminal in one line that is redrawn, else in a line every second.
type bar struct {
	out      io.Writer
	terminal bool
}

func newBar(out io.Writer) *bar {
	f, ok := out.(*os.File)
	if !ok {
		return &bar{out: out}
	}
	info, err := f.Stat()
	return &bar{out, err == nil && info.Mode()&os.ModeCharDevice != 0}
}

func (b *bar) every() time.Duration {
	if b.terminal {
		return 200 * time.Millisecond
	}
	return time.Second
}

func (b *bar) show(p customerio.Progress) {
	const width = 20
	filled := 0
	if p.Put > 0 {
		filled = width * (p.Delivered + p.Refused) / p.Put
	}
	line := fmt.Sprintf("[%s%s] rows=%d put=%d delivered=%d refused=%d %.0f/s", strings.Repeat("#", filled), strings.Repeat(".", width-filled),
		p.Rows, p.Put, p.Delivered, p.Refused, p.Rate)
	if p.Left > 0 {
		line += fmt.Sprintf(" left=%v", p.Left.Round(time.Second))
	}
	if b.terminal {
		fmt.Fprintf(b.out, "\r%s\x1b[K", line)
	} else {
		fmt.Fprintln(b.out, line)
	}
}

func (b *bar) clear() {
	if b.terminal {
		fmt.Fprint(b.out, "\r\x1b[K")
	}
}
