package main

import (
	"testing"
	"time"
)

func TestText(t *testing.T) {
	for _, test := range []struct{ got, want string }{
		{span(0), "0s"},
		{span(-time.Second), "0s"},
		{span(400 * time.Millisecond), "0.4s"},
		{span(41 * time.Second), "41s"},
		{span(59*time.Second + 600*time.Millisecond), "1m"},
		{span(6*time.Minute + 20*time.Second), "6m20s"},
		{span(3*time.Hour + 5*time.Minute), "3h5m"},
		{span(24 * time.Hour), "1d"},
		{span(52 * time.Hour), "2d4h"},
		{count(0), "0"},
		{count(-1234), "-1,234"},
		{count(uint64(48210)), "48,210"},
		{count(1234567), "1,234,567"},
		{perSecond(0), "0"},
		{perSecond(0.333), "0.33"},
		{perSecond(1.25), "1.3"},
		{perSecond(1234), "1,234"},
		{size(999), "999 bytes"},
		{size(50647040), "48.3 MB"},
		{events(1, "dead"), "1 dead event"},
		{events(2, ""), "2 events"},
		{cut("abcdef", 4), "abc…"},
		{cut("äöüß", 4), "äöüß"},
		{visible("a\x1b[1m\xff\tb"), `a\x1b[1m\xff\x09b`},
		{visibleLines("a\x1b\n\tb"), "a\\x1b\n\tb"},
		{string(visibleJSON([]byte("\"\u009b\u202e\U000e0001ä\""))), `"\u009b\u202e\udb40\udc01ä"`},
	} {
		if test.got != test.want {
			t.Errorf("got %q, not %q", test.got, test.want)
		}
	}
}

// A path leads to a value as text.
func TestPath(t *testing.T) {
	const line = `{"a":{"b":"text","n":12345678901234567890,"t":true,"o":{"x":1},"z":null},"s":"\u001b"}`
	for path, want := range map[string]string{".a.b": "text", ".a.n": "12345678901234567890", ".a.t": "true", ".a.o": `{"x":1}`, ".a.z": "", ".a.none": "", ".s.deep": "", ".s": "\x1b"} {
		e, err := (&relay{key: path}).event([]byte(line))
		if err != nil || e.Key != want || string(e.Payload) != line {
			t.Errorf("%s leads to %q, not %q: %v", path, e.Key, want, err)
		}
	}
	for _, bad := range []string{"", "{", "{} {}", "x"} {
		if _, err := (&relay{key: ".a"}).event([]byte(bad)); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}
