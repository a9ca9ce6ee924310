package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox"
)

// maxLine is the longest line that is taken, in bytes, its ending not counted.
const maxLine = 1 << 20

var byteOrderMark = []byte("\xef\xbb\xbf")

// errTooLong is a line above maxLine. The reader has passed over it and can go on.
var errTooLong = fmt.Errorf("longer than %d bytes", maxLine)

// A lineReader reads lines of any length in bounded memory, counts them, and keeps a fingerprint of
// all it has read. A last line needs no ending.
type lineReader struct {
	r    *bufio.Reader
	n    uint64    // lines read so far
	hash hash.Hash // of those lines, each with its ending
	line []byte    // reused from line to line
}

// A fingerprint identifies the first lines of an input, whatever its size and wherever it lies.
type fingerprint [sha256.Size]byte

func newLineReader(r io.Reader) *lineReader {
	return &lineReader{r: bufio.NewReaderSize(r, 64<<10), hash: sha256.New()}
}

// next returns the next line without its ending, valid until the following call; io.EOF after the
// last; errTooLong for one that is passed over.
func (l *lineReader) next() ([]byte, error) {
	l.line = l.line[:0]
	length := 0
	for {
		part, err := l.r.ReadSlice('\n')
		if err != nil && err != bufio.ErrBufferFull && err != io.EOF {
			return nil, fmt.Errorf("strict: input: line %d: %w", l.n+1, err)
		}
		text := bytes.TrimSuffix(part, []byte("\n"))
		l.hash.Write(text)
		length += len(text)
		if len(l.line)+len(text) <= maxLine+1 { // a carriage return may follow
			l.line = append(l.line, text...)
		}
		switch {
		case err == bufio.ErrBufferFull:
			continue
		case err == io.EOF && length == 0:
			return nil, io.EOF
		}
		break
	}
	l.n++
	l.hash.Write([]byte("\n")) // also after a last line without one: it may get one later
	line := bytes.TrimSuffix(l.line, []byte("\r"))
	if length > len(l.line) || len(line) > maxLine {
		return nil, errTooLong
	}
	if l.n == 1 {
		line = bytes.TrimPrefix(line, byteOrderMark)
	}
	return line, nil
}

// seen is the fingerprint of the lines read so far.
func (l *lineReader) seen() fingerprint { return fingerprint(l.hash.Sum(nil)) }

// atHand tells whether the next line can be had without waiting for the input.
func (l *lineReader) atHand() bool {
	buffered, _ := l.r.Peek(l.r.Buffered())
	return bytes.IndexByte(buffered, '\n') >= 0
}

// parseEvent reads one line of the input. Its errors say what is wrong and nothing of the payload.
func parseEvent(line []byte) (outbox.Event, error) {
	if !utf8.Valid(line) {
		return outbox.Event{}, errors.New("not valid UTF-8")
	}
	var in struct {
		ID        string          `json:"id"`
		Kind      string          `json:"kind"`
		Key       string          `json:"key"`
		NotBefore string          `json:"not_before"`
		Payload   json.RawMessage `json:"payload"` // byte for byte
	}
	// A field that is not known is refused: a misspelt not_before would be sent at once.
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&in); err != nil {
		return outbox.Event{}, explain(err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return outbox.Event{}, errors.New("more than one JSON value")
	}
	if in.Kind == "" {
		return outbox.Event{}, errors.New("kind is missing")
	}
	if in.Payload == nil {
		return outbox.Event{}, errors.New("payload is missing")
	}
	e := outbox.Event{Kind: in.Kind, Key: in.Key, Payload: in.Payload}
	var err error
	if in.ID != "" {
		if e.ID, err = uuid.Parse(in.ID); err != nil {
			return outbox.Event{}, errors.New("id is not a UUID")
		}
	}
	if in.NotBefore != "" {
		if e.NotBefore, err = time.Parse(time.RFC3339, in.NotBefore); err != nil {
			return outbox.Event{}, errors.New("not_before is not an RFC 3339 time")
		}
	}
	return e, nil
}

// explain says what encoding/json found, without the values that it quotes.
func explain(err error) error {
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return fmt.Errorf("not valid JSON at byte %d", syntax.Offset)
	}
	var wrong *json.UnmarshalTypeError
	switch {
	case errors.As(err, &wrong) && wrong.Field == "":
		return errors.New("not a JSON object")
	case errors.As(err, &wrong):
		return fmt.Errorf("%s has the wrong type", wrong.Field)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("the JSON is cut off")
	}
	return errors.New("it has a field that is none of id, kind, key, payload and not_before")
}
