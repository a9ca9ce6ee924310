package customerio

import (
	"encoding/base64"
	"encoding/hex"
	"strings"
)

// A redactor strikes secrets out of text that a destination sent, whatever form they come in. What
// a destination says goes into errors, and errors go to disk.
type redactor struct {
	forms []string // what a secret looks like once no character of it is escaped
}

const (
	struck = "***"
	// leastForm is the shortest form of a secret, other than the secret itself, that is looked for.
	// A shorter one would strike out ordinary words.
	leastForm = 6
	// escapes is how many times text may have been escaped. Each is a pass over the text.
	escapes = 8
)

// newRedactor returns a redactor of these secrets. Empty ones are left out.
func newRedactor(secrets ...string) *redactor {
	r := &redactor{}
	for _, s := range secrets {
		if s == "" {
			continue
		}
		r.add(s, 1)
		r.add(hex.EncodeToString([]byte(s)), leastForm)
		r.add(strings.ToUpper(hex.EncodeToString([]byte(s))), leastForm)
		for _, e := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			for _, f := range inside(e, s) {
				r.add(f, leastForm)
			}
		}
	}
	return r
}

// add adds a form of a secret, and what is left of it when what looks like an escape in it is taken
// away, unless they are shorter than least.
func (r *redactor) add(form string, least int) {
	for v := newView(form); len(v.text) >= least; least = max(least, leastForm) {
		r.forms = append(r.forms, string(v.text))
		if !v.unescape() {
			return
		}
	}
}

// inside returns what base64 makes of s alone, and of s inside a longer text: three forms, because
// s can begin at any byte of a group of three. Characters that depend on what is beside s are left
// out.
func inside(e *base64.Encoding, s string) []string {
	forms := []string{e.EncodeToString([]byte(s))}
	for before := range 3 {
		text := e.EncodeToString(append(make([]byte, before), s...))
		first := (before*8 + 5) / 6       // the first character that has only bits of s
		last := (before + len(s)) * 8 / 6 // after the last one
		if first < last {
			forms = append(forms, text[first:last])
		}
	}
	return forms
}

// clean returns text without the secrets.
func (r *redactor) clean(text string) string {
	secret := make([]bool, len(text))
	v := newView(text)
	found := false
	for range escapes + 1 {
		found = r.mark(v, secret) || found
		if !v.unescape() {
			break
		}
	}
	if !found {
		return text
	}
	var b strings.Builder
	for i := range len(text) {
		switch {
		case !secret[i]:
			b.WriteByte(text[i])
		case i == 0 || !secret[i-1]:
			b.WriteString(struck)
		}
	}
	return b.String()
}

// mark marks the places of the text where a view of it has a secret.
func (r *redactor) mark(v view, secret []bool) (found bool) {
	seen := string(v.text)
	for _, f := range r.forms {
		for from := 0; ; {
			i := strings.Index(seen[from:], f)
			if i < 0 {
				break
			}
			i += from
			for j := v.at[i]; j < v.at[i+len(f)]; j++ {
				secret[j] = true
			}
			from, found = i+1, true
		}
	}
	return found
}

// A view is text with some escapes taken away. at holds, for each byte and for the end, its place
// in the text as it came.
type view struct {
	text []byte
	at   []int
}

func newView(text string) view {
	v := view{text: []byte(text), at: make([]int, len(text)+1)}
	for i := range v.at {
		v.at[i] = i
	}
	return v
}

// unescape takes one level of escapes away, and line breaks, with which base64 is folded. It
// reports whether there were any.
func (v *view) unescape() (changed bool) {
	n := 0
	for i := 0; i < len(v.text); {
		c, used := next(v.text[i:])
		if used != 1 || c != rune(v.text[i]) {
			changed = true
		}
		at := v.at[i]
		if c >= 0 {
			v.text[n], v.at[n] = byte(c), at
			n++
		}
		i += used
	}
	v.at[n] = v.at[len(v.text)]
	v.text, v.at = v.text[:n], v.at[:n+1]
	return changed
}

// next reads the first character of b: what it stands for, or -1 for nothing, and its length.
// Bytes that are no escape stand for themselves.
func next(b []byte) (c rune, used int) {
	plain := rune(b[0])
	switch b[0] {
	case '\r', '\n':
		return -1, 1
	case '%': // RFC 3986 section 2.1
		if c, n := number(b[1:], 16, 2, 2); n > 0 {
			return c, 1 + n
		}
	case '\\': // JSON, Go, JavaScript
		if len(b) == 1 {
			break
		}
		digits := map[byte]int{'x': 2, 'u': 4, 'U': 8}[b[1]]
		if c, n := number(b[2:], 16, digits, digits); n > 0 {
			return c, 2 + n
		}
		if b[1] == 'n' || b[1] == 'r' {
			return -1, 2
		}
		return rune(b[1]), 2
	case '&': // HTML
		for name, c := range map[string]rune{"&amp;": '&', "&lt;": '<', "&gt;": '>', "&quot;": '"', "&apos;": '\''} {
			if strings.HasPrefix(string(b[:min(len(b), 6)]), name) {
				return c, len(name)
			}
		}
		if len(b) > 2 && b[1] == '#' {
			skip, base := 2, rune(10)
			if b[2] == 'x' || b[2] == 'X' {
				skip, base = 3, 16
			}
			if c, n := number(b[skip:], base, 1, 8); n > 0 && skip+n < len(b) && b[skip+n] == ';' {
				return c, skip + n + 1
			}
		}
	}
	return plain, 1
}

// number reads from least to most digits; n is how many there are, 0 if too few or if they are no
// character of ASCII.
func number(b []byte, base rune, least, most int) (c rune, n int) {
	for n < most && n < len(b) {
		d := rune(strings.IndexByte("0123456789abcdef", lower(b[n])))
		if d < 0 || d >= base {
			break
		}
		c = c*base + d
		n++
	}
	if n == 0 || n < least || c > '~' {
		return 0, 0
	}
	return c, n
}

func lower(b byte) byte {
	if b >= 'A' && b <= 'F' {
		b += 'a' - 'A'
	}
	return b
}
