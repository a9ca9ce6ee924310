package main

import (
	"encoding/json"
	"fmt"
	"math"
	"time"
)

// A spec says what one child process is to do. It travels as JSON; what an operation does not use
// is zero.
type spec struct {
	Op       string        // a key of operations
	Dir      string        // where its data lies
	Peer     string        // a name of package peers
	Writers  int           // goroutines that put
	Size     int           // bytes of a payload
	Keys     int           // different keys, used in turn; 0: none
	Items    int           // how many, where an operation counts instead of watching the clock
	Duration time.Duration // how long, after a warm-up of a fifth of it
	Variant  string        // what the operation calls its choices
	Profile  string        // the directory for profiles; "": none
}

// metrics are what was measured in one run, by name. Durations are in seconds.
// What could not be measured is NaN, or missing.
type metrics map[string]float64

// MarshalJSON leaves out NaN, which JSON does not know.
func (m metrics) MarshalJSON() ([]byte, error) {
	known := map[string]float64{}
	for name, x := range m {
		if !math.IsNaN(x) {
			known[name] = x
		}
	}
	return json.Marshal(known)
}

// A cell is one row of a table: something that is measured once in every round.
type cell struct {
	Group string // cells of a group are compared with each other, round by round
	Name  string
	spec  spec
}

// A suite is a set of cells of one kind, and how to show them.
type suite struct {
	name    string
	title   string
	intro   string // Markdown, above the tables
	rounds  int    // at most; 0: as many as asked for
	cells   func(s scale) []cell
	measure func(h *harness, c cell) (metrics, error) // nil: one child does spec
	columns []column
	ratio   string // the metric of which the table shows how many times that of the row the outbox has; "": none
}

// A column of a table shows the median of a metric.
type column struct {
	head   string
	metric string
	show   func(float64) string
	spread bool // with the lowest and the highest of all rounds
}

// A scale says how much is measured.
type scale struct {
	quick, big bool
	duration   time.Duration
	rounds     int
}

// pick chooses between the full and the quick version of something.
func pick[T any](s scale, full, quick T) T {
	if s.quick {
		return quick
	}
	return full
}

func writersGroup(writers, size int) string {
	return fmt.Sprintf("%s, %s", counted(writers, "writer"), bytesOf(size))
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%s %ss", grouped(float64(n)), what)
}

func bytesOf(n int) string {
	if n >= 1024 && n%1024 == 0 {
		return fmt.Sprintf("%d KiB", n/1024)
	}
	return fmt.Sprintf("%d B", n)
}
