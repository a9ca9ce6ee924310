package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"strings"

	"github.com/seed8107221f/outbox/customerio"
)

const (
	maxLine = 1 << 20 // bytes
	chunk   = 500     // lines that share a commit
)

// openInput opens the file, or standard input for "-", or the sample for "".
func openInput(name string, stdin io.Reader) (io.ReadCloser, error) {
	switch name {
	case "-":
		return io.NopCloser(stdin), nil
	case "":
		return io.NopCloser(strings.NewReader(sample())), nil
	}
	return os.Open(name)
}

// sample is a shop: 500 customers, of whom each buys three times.
func sample() string {
	var b strings.Builder
	for i := range 500 {
		fmt.Fprintf(&b, `{"op":"identify","id":"c%d","attributes":{"plan":"basic"}}`+"\n", i)
	}
	for i := range 1500 {
		fmt.Fprintf(&b, `{"op":"track","id":"c%d","name":"bought","data":{"price":%d}}`+"\n", i%500, i)
	}
	return b.String()
}

// A position says how much of the input lies in the outbox: so many lines, and what they were. It
// is kept in a note under the hash of the input's first line.
type position struct {
	Lines int    `json:"lines"`
	Hash  string `json:"hash"`
}

// A reader reads lines and remembers what they were.
type reader struct {
	*bufio.Scanner
	lines int
	hash  hash.Hash
	note  string   // where the position is kept; known after the first line
	kept  position // of an earlier run
}

func (r *reader) position() position {
	return position{r.lines, hex.EncodeToString(r.hash.Sum(nil))}
}

// next reads a line, and finds out what an earlier run has put at the first one. known is true for
// a line that was put before.
func (r *reader) next(c *customerio.Client) (known bool, err error) {
	r.lines++
	r.hash.Write(r.Bytes())
	r.hash.Write([]byte("\n"))
	if r.lines == 1 {
		r.note = "line/" + r.position().Hash
		raw, err := c.Note(r.note)
		if err == nil && raw != nil {
			err = json.Unmarshal(raw, &r.kept)
		}
		if err != nil {
			return false, fmt.Errorf("customerio: the position in the input: %w", err)
		}
	}
	if r.lines == r.kept.Lines && r.position() != r.kept {
		return false, fmt.Errorf("customerio: input: its first %d lines have changed since they were put", r.lines)
	}
	return r.lines <= r.kept.Lines, nil
}

// feed puts what is new in the input. A line that is not acceptable is told, counted and skipped.
func feed(ctx context.Context, c *customerio.Client, in io.Reader, stderr io.Writer) (skipped int, err error) {
	r := &reader{Scanner: bufio.NewScanner(in), hash: sha256.New()}
	r.Buffer(nil, maxLine)
	var ops []customerio.Operation
	waiting := 0 // lines since the last commit
	commit := func() error {
		note, err := json.Marshal(r.position())
		if err == nil {
			_, err = c.With(customerio.Meta{NoteKey: r.note, Note: note}).Put(ctx, ops...)
		}
		ops, waiting = ops[:0], 0
		return err
	}
	for r.Scan() {
		known, err := r.next(c)
		if err != nil {
			return skipped, err
		}
		if known {
			continue
		}
		if op, err := parse(r.Bytes()); err != nil {
			skipped++
			fmt.Fprintf(stderr, "customerio: line %d is skipped: %v\n", r.lines, err)
		} else if op.Type != "" {
			ops = append(ops, op)
		}
		if waiting++; waiting == chunk {
			if err := commit(); err != nil {
				return skipped, err
			}
		}
	}
	if err := r.Err(); err != nil {
		return skipped, fmt.Errorf("customerio: input: line %d: %w", r.lines+1, err)
	}
	if r.lines < r.kept.Lines {
		return skipped, fmt.Errorf("customerio: input: it has %d lines, %d were put before", r.lines, r.kept.Lines)
	}
	if waiting > 0 {
		return skipped, commit()
	}
	return skipped, nil
}

// actions are the words of a line's op.
var actions = map[string]string{
	"identify":   customerio.ActionIdentify,
	"track":      customerio.ActionEvent,
	"page":       customerio.ActionPage,
	"screen":     customerio.ActionScreen,
	"suppress":   customerio.ActionSuppress,
	"unsuppress": customerio.ActionUnsuppress,
	"delete":     customerio.ActionDelete,
}

// parse reads one line; an empty one is no operation. Its errors say nothing of the values.
func parse(line []byte) (op customerio.Operation, err error) {
	line = bytes.TrimSpace(bytes.TrimPrefix(line, []byte("\ufeff")))
	if len(line) == 0 {
		return op, nil
	}
	var in struct {
		Op         string         `json:"op"`
		ID         string         `json:"id"`
		Name       string         `json:"name"`
		Attributes map[string]any `json:"attributes"`
		Data       map[string]any `json:"data"`
		Timestamp  int64          `json:"timestamp"`
	}
	d := json.NewDecoder(bytes.NewReader(line))
	d.UseNumber() // large numbers stay as they are
	if d.Decode(&in) != nil || d.More() {
		return op, errors.New("not one JSON object with the fields op, id, name, attributes, data and timestamp")
	}
	action, ok := actions[in.Op]
	switch {
	case !ok:
		return op, errors.New("op is missing or unknown")
	case in.Attributes != nil && in.Data != nil:
		return op, errors.New("attributes and data are two names for one thing")
	case in.Attributes == nil:
		in.Attributes = in.Data
	}
	who := customerio.ID(in.ID)
	if strings.Contains(in.ID, "@") {
		who = customerio.Email(in.ID)
	}
	op = customerio.Operation{Type: customerio.TypePerson, Action: action, Identifiers: who,
		Name: in.Name, Attributes: in.Attributes, Timestamp: in.Timestamp}
	return op, op.Check()
}
