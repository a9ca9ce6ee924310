package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"
)

// A sample is what one run of a cell measured.
type sample struct {
	Suite   string  `json:"suite"`
	Group   string  `json:"group"`
	Name    string  `json:"name"`
	Round   int     `json:"round"`
	Metrics metrics `json:"metrics"`
}

// A harness runs suites and keeps what they measured.
type harness struct {
	ctx     context.Context // of the command: when it ends, everything ends
	dir     string          // where data goes; each run has a directory of its own in it
	scale   scale
	only    *regexp.Regexp // of "suite/group/name"
	profile string         // directory; "": no profiles
	log     io.Writer
	results results

	syncs   map[string]float64 // see addSyncs
	durable map[string]float64
}

// run measures the cells of a suite, round by round. In each round the members of a group come one
// after the other, each time with another one first, so that what else the machine does meets all
// alike.
func (h *harness) run(s suite) error {
	groups := map[string][]cell{}
	var order []string
	for _, c := range s.cells(h.scale) {
		if !h.only.MatchString(s.name + "/" + c.Group + "/" + c.Name) {
			continue
		}
		if groups[c.Group] == nil {
			order = append(order, c.Group)
		}
		groups[c.Group] = append(groups[c.Group], c)
	}
	rounds := h.scale.rounds
	if s.rounds > 0 {
		rounds = min(rounds, s.rounds)
	}
	var failed []error
	for round := range rounds {
		for _, group := range order {
			cells := groups[group]
			first := round % len(cells)
			for _, c := range slices.Concat(cells[first:], cells[:first]) {
				if err := h.ctx.Err(); err != nil {
					return err
				}
				if round > 0 && c.spec.Items >= onceFrom {
					continue
				}
				began := time.Now()
				m, err := h.measure(s, c)
				if err != nil {
					err = fmt.Errorf("%s, %s, %s: %w", s.name, c.Group, c.Name, err)
					fmt.Fprintln(h.log, err)
					failed = append(failed, err)
					continue
				}
				h.results = append(h.results, sample{s.name, c.Group, c.Name, round, m})
				fmt.Fprintf(h.log, "%s %d/%d  %s  %s  %v\n", s.name, round+1, rounds, c.Group, c.Name, time.Since(began).Round(time.Millisecond))
			}
		}
	}
	return errors.Join(failed...)
}

// onceFrom is the number of events from which on a cell is measured once: it takes minutes.
const onceFrom = 10_000_000

var notInNames = regexp.MustCompile(`[^a-zA-Z0-9.-]+`) // of directories

// measure gives a cell a directory for as long as it runs.
func (h *harness) measure(s suite, c cell) (m metrics, err error) {
	dir, err := os.MkdirTemp(h.dir, s.name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if c.spec.Dir, err = filepath.Abs(dir); err != nil {
		return nil, err
	}
	if h.profile != "" {
		c.spec.Profile = filepath.Join(h.profile, s.name+"-"+notInNames.ReplaceAllString(c.Group+"-"+c.Name, "_"))
	}
	if s.measure == nil {
		return run(h.ctx, c.spec)
	}
	return s.measure(h, c)
}
