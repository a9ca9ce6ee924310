package main

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"go.etcd.io/bbolt"

	"github.com/seed8107221f/outbox"
)

//go:generate go run generate.go events.ndjson

// sample is the default input, for a binary that runs away from its source.
//
//go:embed events.ndjson
var sample []byte

const sampleFile = "examples/strict/events.ndjson"

// openInput opens the file, or standard input for "-", or the sample for "".
func openInput(name string, stdin io.Reader) (io.ReadCloser, error) {
	switch name {
	case "-":
		return io.NopCloser(stdin), nil
	case "":
		f, err := os.Open(sampleFile)
		if errors.Is(err, fs.ErrNotExist) {
			return io.NopCloser(bytes.NewReader(sample)), nil
		}
		return f, err
	}
	return os.Open(name)
}

// A position says how much of one input lies in the outbox: so many lines, and what they were. It
// is kept under the fingerprint of the input's first line, so that one file can take several
// inputs.
type position struct {
	lines uint64
	seen  fingerprint
}

// positions is the bucket that holds them, beside the outbox in the same file.
var positions = []byte("input")

func (p position) save(tx *bbolt.Tx, input fingerprint) error {
	bucket, err := tx.CreateBucketIfNotExists(positions)
	if err != nil {
		return err
	}
	return bucket.Put(input[:], append(binary.BigEndian.AppendUint64(nil, p.lines), p.seen[:]...))
}

// loadPositions returns the positions of all inputs that the file has taken events from.
func loadPositions(db *bbolt.DB) (map[fingerprint]position, error) {
	all := map[fingerprint]position{}
	err := db.View(func(tx *bbolt.Tx) error {
		bucket := tx.Bucket(positions)
		if bucket == nil {
			return nil
		}
		return bucket.ForEach(func(k, v []byte) error {
			if len(k) != len(fingerprint{}) || len(v) != 8+len(fingerprint{}) {
				return fmt.Errorf("a position of %d and %d bytes, want %d and %d",
					len(k), len(v), len(fingerprint{}), 8+len(fingerprint{}))
			}
			all[fingerprint(k)] = position{lines: binary.BigEndian.Uint64(v), seen: fingerprint(v[8:])}
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("strict: read the position in the input: %w", err)
	}
	return all, nil
}

// chunkLines is how many lines share a commit, at most.
const chunkLines = 200

// A chunk is what one transaction puts: some events, and the position behind them.
type chunk struct {
	events    []numbered
	malformed []malformed
	input     fingerprint // of its first line: where the position is kept
	behind    position
}

type numbered struct {
	outbox.Event
	line uint64
}

type malformed struct {
	line uint64
	err  error
}

// An input yields, in chunks, the lines that no earlier run has put.
type input struct {
	lines *lineReader
	known map[fingerprint]position // what earlier runs have put, by input
	id    fingerprint              // of the first line
	done  position                 // what earlier runs have put of this one
}

func newInput(r io.Reader, known map[fingerprint]position) *input {
	return &input{lines: newLineReader(r), known: known}
}

// next returns the next chunk, or io.EOF. A chunk ends also where the input has no more at hand, so
// that a slow pipe holds no event back.
func (in *input) next() (chunk, error) {
	var c chunk
	for range chunkLines {
		line, err := in.nextNew()
		if err != nil && err != errTooLong {
			return chunk{}, err // c is empty: after its first line, only lines at hand are read
		}
		if err != nil {
			c.malformed = append(c.malformed, malformed{in.lines.n, err})
		} else if len(bytes.TrimSpace(line)) > 0 {
			e, err := parseEvent(line)
			if err != nil {
				c.malformed = append(c.malformed, malformed{in.lines.n, err})
			} else {
				c.events = append(c.events, numbered{e, in.lines.n})
			}
		}
		if !in.lines.atHand() {
			break
		}
	}
	c.input = in.id
	c.behind = position{lines: in.lines.n, seen: in.lines.seen()}
	return c, nil
}

// nextNew returns the next line that no earlier run has put. It does not trust a count alone: lines
// that were changed, or removed, since they were put would make it lose others.
func (in *input) nextNew() ([]byte, error) {
	for {
		line, err := in.lines.next()
		if err == io.EOF && in.lines.n < in.done.lines {
			return nil, fmt.Errorf("strict: input: it has %d lines, %d were put before", in.lines.n, in.done.lines)
		}
		if err != nil && err != errTooLong {
			return nil, err
		}
		if in.lines.n == 1 {
			in.id = in.lines.seen()
			in.done = in.known[in.id]
		}
		if in.lines.n > in.done.lines {
			return line, err
		}
		if in.lines.n == in.done.lines && in.lines.seen() != in.done.seen {
			return nil, fmt.Errorf("strict: input: its first %d lines have changed since they were put; "+
				"new lines belong behind them, or in an input of their own", in.done.lines)
		}
	}
}

// put puts the events of a chunk, and the position behind them, in one transaction: after a crash
// both are there, or neither. report is told of each line that is passed over.
func (c chunk) put(ctx context.Context, db *bbolt.DB, b *outbox.Outbox, report func(malformed)) error {
	for _, m := range c.malformed {
		report(m)
	}
	err := db.Update(func(tx *bbolt.Tx) error {
		for _, e := range c.events {
			_, err := b.PutTx(ctx, tx, e.Event)
			if errors.Is(err, outbox.ErrInvalid) {
				report(malformed{e.line, err})
			} else if err != nil {
				return fmt.Errorf("line %d: %w", e.line, err)
			}
		}
		return c.behind.save(tx, c.input)
	})
	if err != nil {
		return fmt.Errorf("strict: put up to line %d: %w", c.behind.lines, err)
	}
	return nil
}
