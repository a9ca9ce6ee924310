package main

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// hidden reports whether a character could change how a terminal shows what is around it.
func hidden(r rune) bool {
	return unicode.Is(unicode.Cc, r) || unicode.Is(unicode.Cf, r) || r == '\u2028' || r == '\u2029'
}

// visible returns text with control characters, marks of direction and bytes that are not UTF-8
// escaped, so that it cannot drive a terminal.
func visible(s string) string { return escape(s, "") }

// visibleLines is visible, except that the text may have lines.
func visibleLines(s string) string { return escape(s, "\n\t") }

func escape(s, keep string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case !hidden(r) || strings.ContainsRune(keep, r):
			b.WriteRune(r)
		case r < 0x100:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r < 0x10000:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
		i += n
	}
	return b.String()
}

// visibleJSON escapes the same characters in a JSON document, where they can be in strings alone,
// so that it means the same.
func visibleJSON(doc []byte) []byte {
	if bytes.IndexFunc(doc, func(r rune) bool { return hidden(r) && r != '\n' && r != '\t' }) < 0 {
		return doc
	}
	var b []byte
	for _, r := range string(doc) {
		switch {
		case !hidden(r) || r == '\n' || r == '\t':
			b = utf8.AppendRune(b, r)
		case r < 0x10000:
			b = fmt.Appendf(b, `\u%04x`, r)
		default:
			b = fmt.Appendf(b, `\u%04x\u%04x`, 0xd800+(r-0x10000)>>10, 0xdc00+(r-0x10000)&0x3ff)
		}
	}
	return b
}

// cut returns at most n characters of s, and says that more was there.
func cut(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n-1]) + "…"
}

// count returns a number with commas.
func count[N int | int64 | uint64](n N) string {
	s := strconv.FormatInt(int64(n), 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// events returns "1 event" or "2 events"; what is a word before it, as "dead", or "".
func events(n int, what string) string {
	if what != "" {
		what += " "
	}
	if n == 1 {
		return "1 " + what + "event"
	}
	return count(n) + " " + what + "events"
}

// span returns a duration as short as it can be said: 0.4s, 41s, 6m20s, 3h5m, 2d4h.
func span(d time.Duration) string {
	d = max(d, 0)
	two := func(a int, unit string, b int, smaller string) string {
		if b == 0 {
			return fmt.Sprint(a, unit)
		}
		return fmt.Sprint(a, unit, b, smaller)
	}
	s := int(d.Round(time.Second).Seconds())
	switch {
	case d < 9950*time.Millisecond && d > 0:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case s < 60:
		return fmt.Sprint(s, "s")
	case s < 3600:
		return two(s/60, "m", s%60, "s")
	case s < 24*3600:
		return two(s/3600, "h", s/60%60, "m")
	}
	return two(s/86400, "d", s/3600%24, "h")
}

// clock returns a time in UTC, as short as it can be said.
func clock(t, now time.Time) string {
	t, now = t.UTC(), now.UTC()
	if t.Sub(now).Abs() < 12*time.Hour {
		return t.Format("15:04:05")
	}
	return t.Format("2006-01-02 15:04")
}

// perSecond returns a rate.
func perSecond(f float64) string {
	switch {
	case f >= 10:
		return count(int(math.Round(f)))
	case f >= 1:
		return strconv.FormatFloat(math.Round(f*10)/10, 'f', -1, 64)
	}
	return strconv.FormatFloat(math.Round(f*100)/100, 'f', -1, 64)
}

// plural returns the word for n: was or were.
func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// size returns a number of bytes.
func size(n int64) string {
	f, unit := float64(n), "bytes"
	for _, next := range []string{"KB", "MB", "GB", "TB"} {
		if f < 1000 {
			break
		}
		f, unit = f/1024, next
	}
	return fmt.Sprintf("%.3g %s", f, unit)
}

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }
