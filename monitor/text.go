package monitor

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	maxShown = 64 << 10 // bytes of a payload that a page shows
	maxError = 200      // bytes of an error in a group
)

// visible returns text with what could change how a page or a terminal shows it as an escape:
// control characters, marks of direction, and bytes that are not UTF-8.
func visible(s string) string { return escape(s, "") }

// escape is visible, except that the characters in keep stay.
func escape(s, keep string) string {
	hidden := func(r rune) bool {
		return unicode.Is(unicode.Cc, r) || unicode.Is(unicode.Cf, r) || r == '\u2028' || r == '\u2029' || r == utf8.RuneError
	}
	if strings.IndexFunc(s, hidden) < 0 {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case !hidden(r) || r == utf8.RuneError || strings.ContainsRune(keep, r):
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

// cut returns at most n bytes of s, and whole characters.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// varying is what differs between errors that mean the same: numbers and names by hexadecimal.
var varying = regexp.MustCompile(`[0-9A-Fa-f]{8,}(-[0-9A-Fa-f]{4,})*`)

// normalise returns the text of an error without what varies.
func normalise(s string) string {
	return cut(varying.ReplaceAllString(cut(s, 4*maxError), "…"), maxError)
}

// count returns a number with commas.
func count[N int | int64 | uint32 | uint64](n N) string {
	s := strconv.FormatInt(int64(n), 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// events returns "1 event" or "2 events".
func events[N int | int64 | uint64](n N) string {
	if n == 1 {
		return "1 event"
	}
	return count(n) + " events"
}

// size returns a number of bytes for people.
func size(n int64) string {
	if n < 1000 {
		return fmt.Sprint(n, " bytes")
	}
	f, unit := float64(n)/1024, "KB"
	for _, next := range []string{"MB", "GB", "TB"} {
		if f < 1000 {
			break
		}
		f, unit = f/1024, next
	}
	return fmt.Sprintf("%.3g %s", f, unit)
}

// perSecond returns a rate for people, without an exponent.
func perSecond(f float64) string {
	switch {
	case f >= 10:
		return count(int64(math.Round(f)))
	case f >= 1:
		return strconv.FormatFloat(math.Round(f*10)/10, 'f', -1, 64)
	}
	return strconv.FormatFloat(math.Round(f*100)/100, 'f', -1, 64)
}

// span returns a duration for people, in two units at most.
func span(d time.Duration) string {
	d = max(d, 0)
	switch {
	case d < 10*time.Second && d%time.Second != 0:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return two(int(d.Minutes()), "min", int(d.Seconds())%60, "s")
	case d < 24*time.Hour:
		return two(int(d.Hours()), "h", int(d.Minutes())%60, "min")
	}
	return two(int(d.Hours())/24, "d", int(d.Hours())%24, "h")
}

func two(a int, unit string, b int, smaller string) string {
	if b == 0 {
		return fmt.Sprint(a, " ", unit)
	}
	return fmt.Sprint(a, " ", unit, " ", b, " ", smaller)
}

// short returns a duration for people, in one unit.
func short(d time.Duration) string {
	if s, _, more := strings.Cut(span(d), " "); more {
		return s + " " + strings.Fields(span(d))[1]
	}
	return span(d)
}

// clock returns a time in UTC: the time of day alone if it is within half a day of now.
func clock(t, now time.Time) string {
	t, now = t.UTC(), now.UTC()
	switch {
	case t.Sub(now).Abs() < 12*time.Hour:
		return t.Format("15:04:05")
	case t.Year() == now.Year():
		return t.Format("2 January 15:04")
	}
	return t.Format("2 January 2006 15:04")
}

// readable returns a payload as text for people, and whether all of it: JSON indented, other text
// as it is, else hexadecimal.
func readable(p []byte) string {
	var indented bytes.Buffer
	switch {
	case len(p) <= maxShown && json.Indent(&indented, p, "", "  ") == nil:
		return indented.String()
	case isText(p):
		return string(p)
	}
	return hex.Dump(p[:min(len(p), maxShown/4)])
}

// isText reports whether a payload is text: UTF-8 without control characters, except for the usual
// ones.
func isText(p []byte) bool {
	return utf8.Valid(p) && bytes.IndexFunc(p, func(r rune) bool {
		return unicode.Is(unicode.Cc, r) && r != '\n' && r != '\t' && r != '\r'
	}) < 0
}

// brief is the beginning of an ID: the time in it, and the count of those of one millisecond. Less
// is the same for all events that were put together.
func brief(id string) string { return cut(id, 18) }
