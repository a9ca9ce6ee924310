package main

import (
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/uuid"
)

func TestParseEvent(t *testing.T) {
	t.Parallel()
	id := uuid.MustParse("0190163d-8694-739b-aea5-966c26f8ad91")
	e, err := parseEvent([]byte(`{"id":"0190163d-8694-739b-aea5-966c26f8ad91","kind":"event","key":"c\u00e9","not_before":"2026-03-02T07:00:00+01:00","payload": { "a" : 1.0,"b":"é"} }`))
	if err != nil {
		t.Fatal(err)
	}
	if e.ID != id || e.Kind != "event" || e.Key != "cé" || !e.NotBefore.Equal(time.Date(2026, 3, 2, 6, 0, 0, 0, time.UTC)) {
		t.Errorf("the event is %+v", e)
	}
	for _, payload := range []string{`{ "a" : 1.0,"b":"é\u00e9"}`, `[1, 2]`, `"text"`, `1e400`, `null`, `{}`} {
		e, err := parseEvent([]byte(`{"kind":"event","payload":` + payload + `}`))
		if err != nil || string(e.Payload) != payload {
			t.Errorf("payload %s: %s, %v, want it byte for byte", payload, e.Payload, err)
		}
		if e.ID != uuid.Nil || e.Key != "" || !e.NotBefore.IsZero() {
			t.Errorf("what the line leaves out is %+v", e)
		}
	}
}

// Each of these lines is refused for the reason given, and no word of the payload comes out.
func TestMalformedLines(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		`{"kind":"event","payload":{"email":"secret"}`: "cut off",
		`{"kind":"event","payload":{"email":secret}}`:  "not valid JSON at byte",
		`secret`:                          "not valid JSON at byte",
		`"secret"`:                        "not a JSON object",
		`[{"kind":"event","payload":{}}]`: "not a JSON object",
		`null`:                            "kind is missing",
		`{"payload":{"email":"secret"}}`:  "kind is missing",
		`{"kind":"event","key":"secret"}`: "payload is missing",
		`{"kind":7,"payload":"secret"}`:   "kind has the wrong type",
		`{"kind":"event","key":["secret"],"payload":{}}`:              "key has the wrong type",
		`{"kind":"event","payload":{},"id":"secret"}`:                 "id is not a UUID",
		`{"kind":"event","payload":{},"not_before":"secret"}`:         "not_before is not an RFC 3339 time",
		`{"kind":"event","payload":{},"notBefore":"secret"}`:          "a field that is none of",
		`{"kind":"event","payload":{}}{"secret":1}`:                   "more than one JSON value",
		`{"kind":"event","payload":{}} secret`:                        "more than one JSON value",
		"{\"kind\":\"event\",\"payload\":{\"email\":\"secret\xff\"}}": "not valid UTF-8",
	} {
		_, err := parseEvent([]byte(line))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", line, err, want)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error tells the payload: %v", line, err)
		}
	}
}

func TestLineReader(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", maxLine)
	const tooLong = "(too long)"
	for _, c := range []struct {
		name, input string
		want        []string
	}{
		{"nothing", "", nil},
		{"one line", "a\n", []string{"a"}},
		{"the last line has no ending", "a\nb", []string{"a", "b"}},
		{"empty lines", "\n\na\n\n", []string{"", "", "a", ""}},
		{"carriage returns", "a\r\nb\r\n", []string{"a", "b"}},
		{"a byte order mark", "\xef\xbb\xbfa\n\xef\xbb\xbfb\n", []string{"a", "\xef\xbb\xbfb"}},
		{"the longest line", long + "\nb\n", []string{long, "b"}},
		{"the longest line, carriage return", long + "\r\nb\n", []string{long, "b"}},
		{"a byte longer", long + "y\nb\n", []string{tooLong, "b"}},
		{"much longer, in the middle", "a\n" + long + long + long + "\nb\n", []string{"a", tooLong, "b"}},
		{"much longer, at the end", "a\n" + long + long, []string{"a", tooLong}},
	} {
		for how, r := range map[string]io.Reader{
			"at once":     strings.NewReader(c.input),
			"in halves":   iotest.HalfReader(strings.NewReader(c.input)),
			"late ending": iotest.DataErrReader(strings.NewReader(c.input)),
		} {
			l := newLineReader(r)
			var got []string
			for {
				line, err := l.next()
				if err == io.EOF {
					break
				}
				if err == errTooLong {
					line = []byte(tooLong)
				} else if err != nil {
					t.Fatal(err)
				}
				got = append(got, string(line))
				if l.n != uint64(len(got)) {
					t.Fatalf("%s: line %d is numbered %d", c.name, len(got), l.n)
				}
			}
			if strings.Join(got, "\n") != strings.Join(c.want, "\n") || len(got) != len(c.want) {
				t.Errorf("%s, %s: %d lines, want %d, or others", c.name, how, len(got), len(c.want))
			}
		}
	}
}

func TestLineReaderReportsTheLineThatFailed(t *testing.T) {
	t.Parallel()
	l := newLineReader(io.MultiReader(strings.NewReader("a\nb\nc"), iotest.ErrReader(io.ErrClosedPipe)))
	l.next()
	l.next()
	if _, err := l.next(); err == nil || !strings.Contains(err.Error(), "line 3") {
		t.Errorf("the error is %v, want line 3", err)
	}
}
