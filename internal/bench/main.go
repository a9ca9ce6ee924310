// Bench measures outbox beside what people use instead, on the machine where it runs.
//
//	go -C internal/bench run . -md tables.md -json samples.json -svg put.svg
//
// See README.md beside it.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"syscall"
	"time"
)

func main() {
	if isChild() {
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := command(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// suites in the order of the report. The first counts syncs, which the second shows.
func suites() []suite {
	return []suite{
		syncsSuite, putSuite, drainSuite, e2eSuite, backlogSuite, wakeSuite, paceSuite,
		customerioSuite, bytesSuite, allocsSuite, fairSuite,
	}
}

// command measures what the arguments ask for and writes the reports.
func command(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	var (
		only     = flags.String("run", "", "measure only what matches this `regexp` in \"suite/group/row\"")
		rounds   = flags.Int("rounds", 5, "how often everything is measured; some suites take less")
		duration = flags.Duration("duration", time.Second, "how long a put is measured; the other times follow")
		quick    = flags.Bool("quick", false, "a few seconds in all, to see that everything works; the figures mean nothing")
		big      = flags.Bool("big", false, "a backlog of ten million too: some minutes, and 8 GB of disk")
		dir      = flags.String("dir", "", "where the data goes, in a new directory that is removed; \"\": the system's place for temporary files")
		md       = flags.String("md", "", "write the tables to this `file`; \"\": to standard output")
		samples  = flags.String("json", "", "write every single sample to this `file`")
		profile  = flags.String("profile", "", "write profiles of every process into this `directory`; what is profiled is slower")
		svg      = flags.String("svg", "", "write a drawing of the puts to this `file`")
		from     = flags.String("from", "", "measure nothing, and take the samples that -json wrote to this `file`")
	)
	if err := flags.Parse(args); err != nil {
		return err
	}
	pattern, err := regexp.Compile(*only)
	if err != nil {
		return err
	}
	s := scale{quick: *quick, big: *big, duration: *duration, rounds: *rounds}
	if s.quick {
		s.duration, s.rounds = 50*time.Millisecond, 1
	}
	if s.rounds < 1 || s.duration <= 0 {
		return errors.New("there must be a round, and it must last")
	}
	reports := func(about []string, r results) error {
		return errors.Join(
			write(*md, stdout, func(w io.Writer) error { return report(w, about, versions(), suites(), s, r) }),
			write(*samples, nil, func(w io.Writer) error { return writeSamples(w, about, r) }),
			write(*svg, nil, func(w io.Writer) error { return draw(w, r) }),
		)
	}
	if *from != "" {
		about, r, err := readSamples(*from)
		if err != nil {
			return err
		}
		return reports(about, r)
	}
	data, err := os.MkdirTemp(*dir, "outbox-bench")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(data)) }()

	h := &harness{ctx: ctx, dir: data, scale: s, only: pattern, profile: *profile, log: stderr, syncs: map[string]float64{}, durable: map[string]float64{}}
	about, load := facts(data, s), loadAverage()
	var failed []error
	for _, suite := range suites() {
		failed = append(failed, h.run(suite))
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	about = append(about, fmt.Sprintf("load average %s before, %s after", load, loadAverage()))
	return errors.Join(append(failed, reports(about, h.results))...)
}

// write makes the file at path; without one it writes to instead, if there is that.
func write(path string, instead io.Writer, content func(io.Writer) error) error {
	if path == "" {
		if instead == nil {
			return nil
		}
		return content(instead)
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(content(f), f.Close())
}

// A record is everything that was measured, as -json keeps it.
type record struct {
	Facts   []string `json:"facts"`
	Samples results  `json:"samples"`
}

func writeSamples(w io.Writer, facts []string, r results) error {
	out := json.NewEncoder(w)
	out.SetIndent("", " ")
	return out.Encode(record{facts, r})
}

func readSamples(path string) (facts []string, r results, err error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, err
	}
	var all record
	if err := json.Unmarshal(b, &all); err != nil {
		return nil, nil, fmt.Errorf("samples in %s: %w", path, err)
	}
	return all.Facts, all.Samples, nil
}
