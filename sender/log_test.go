package sender_test

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox/sender"
)

// lines returns the lines of the log that contain text.
func (l *lane) lines(text string) (found []string) {
	for line := range strings.Lines(l.logs.String()) {
		if strings.Contains(line, text) {
			found = append(found, strings.TrimSpace(line))
		}
	}
	return found
}

// sum adds up an attribute of lines.
func (l *lane) sum(lines []string, name string) (sum int) {
	l.Helper()
	for _, line := range lines {
		_, rest, ok := strings.Cut(line, " "+name+"=")
		n, err := strconv.Atoi(strings.Fields(rest + " x")[0])
		if !ok || err != nil {
			l.Fatalf("no %s in %s", name, line)
		}
		sum += n
	}
	return sum
}

// A pause is told at once, as a warning after five minutes, then hourly, and when it ends, whether it
// is one order or many; also one from before a restart.
func TestLongPauseIsLogged(t *testing.T) {
	for _, word := range []string{"429:6h", "429:1m", "429"} {
		in(t, func(l *lane) {
			l.answer("*", word)
			l.put("a")
			l.run()
			l.wait(4*time.Minute + 59*time.Second)
			if n := len(l.lines("msg")); n != 1 || l.logged("level=INFO") != 1 || l.logged("asked for a pause") != 1 {
				t.Fatalf("%s: want one line so far:\n%s", word, l.logs.String())
			}
			l.wait(5*time.Hour + 50*time.Minute)
			if n := len(l.lines("level=WARN")); n != 6 || l.logged("still paused") != 6 || len(l.lines("msg")) != 7 {
				t.Fatalf("%s: want a warning after five minutes and then each hour:\n%s", word, l.logs.String())
			}
			l.answer("*", "ok")
			l.wait(30 * time.Minute)
			if n := len(l.lines("msg")); n != 8 && n != 9 || l.logged("open again") != 1 {
				t.Fatalf("%s: want the end:\n%s", word, l.logs.String())
			}
		})
	}
	in(t, func(l *lane) {
		l.answer("a", "429:3h ok")
		l.put("a")
		l.run()
		l.wait(time.Minute)
		l.crash()
		l.wait(10 * time.Minute)
		if l.logged("still paused") != 1 {
			t.Fatalf("want a warning:\n%s", l.logs.String())
		}
		l.wait(4 * time.Hour)
		if l.logged("open again") != 1 || l.logged("still paused") != 3 {
			t.Fatalf("want two more, and the end:\n%s", l.logs.String())
		}
	})
}

// A lane that falls silent again and again costs one line a minute, with the exact number.
func TestFlappingIsFolded(t *testing.T) {
	for word, level := range map[string]string{"429:1s": "INFO", "403": "WARN"} {
		in(t, func(l *lane) {
			l.options.Concurrency = 1
			l.put("first")
			l.run()
			for range 1000 {
				l.answer("x", "100ms+ok 100ms+ok "+word+" ok")
				l.put("x x x")
				l.wait(3 * time.Second)
			}
			l.wait(10 * time.Minute)
			lines := l.lines("msg")
			if min := 3000 / 60; len(lines) < min || len(lines) > 2*min {
				t.Fatalf("%s: %d lines in %d minutes", word, len(lines), min)
			}
			begins := l.logged("asked for a pause") + l.logged("lane is held")
			folded := l.lines("paused or held again")
			if n := begins + l.sum(folded, "times"); n != 1000 {
				t.Errorf("%s: the lines tell of %d silences, want 1000", word, n)
			}
			if n := len(l.lines("level=" + level)); n < len(folded) {
				t.Errorf("%s: %d lines at %s, want at least %d", word, n, level, len(folded))
			}
		})
	}
}

// A hold that follows a pause is not folded into it.
func TestHoldAfterPauseIsLogged(t *testing.T) {
	in(t, func(l *lane) {
		l.answer("a", "429:1s 403 ok")
		l.put("a")
		l.run()
		l.wait(2 * time.Second)
		if l.logged("asked for a pause") != 1 || l.logged("lane is held") != 1 {
			t.Fatalf("want both:\n%s", l.logs.String())
		}
	})
}

// The first death is told at once, with kind, ID and reason; then one line a minute has the exact
// number, the last one at the end of Run.
func TestDeathsAreLogged(t *testing.T) {
	in(t, func(l *lane) {
		l.answer("bad", "400")
		bad := sender.Item{ID: uuid.New(), Kind: "mail", Key: "secret", Payload: []byte("bad")}
		l.put("good")
		l.append(bad)
		l.run()
		l.wait(time.Second)
		want := fmt.Sprintf(`level=WARN msg="sender: an item is dead" kind=mail id=%v reason="answer 400" total=1`, bad.ID)
		if l.logged(want) != 1 {
			t.Fatalf("want %s in:\n%s", want, l.logs.String())
		}
		for range 2000 {
			l.put("bad good")
			l.wait(100 * time.Millisecond)
		}
		more := l.lines("more items are dead")
		if len(more) != 3 {
			t.Errorf("%d lines in 201s, want 3:\n%s", len(more), strings.Join(more, "\n"))
		}
		if err := l.stop(); err != nil {
			t.Fatal(err)
		}
		more = l.lines("more items are dead")
		if n := l.sum(more, "items"); n != 2000 || !strings.Contains(more[len(more)-1], " total=2001 ") {
			t.Errorf("the lines tell of %d deaths after the first, want 2000:\n%s", n, strings.Join(more, "\n"))
		}
		if n := l.s.Status().Died; n != 2001 {
			t.Errorf("Status counts %d deaths, want 2001", n)
		}
		if l.logged("secret") > 0 {
			t.Errorf("the log has a key:\n%s", l.logs.String())
		}
	})
	in(t, func(l *lane) { // seldom deaths are told each
		l.answer("bad", "400")
		l.put("good bad")
		l.run()
		l.wait(time.Hour)
		l.put("good bad")
		l.wait(time.Hour)
		if l.logged("an item is dead") != 2 || len(l.lines("dead")) != 2 {
			t.Errorf("want two lines:\n%s", l.logs.String())
		}
	})
	in(t, func(l *lane) { // a Settle that is repeated counts once
		l.FailNext(3, errors.New("disk full"), true)
		l.answer("bad", "400")
		l.put("bad")
		l.run()
		l.wait(time.Hour)
		if l.logged("an item is dead") != 1 || l.logged("total=1") != 1 {
			t.Errorf("want one line:\n%s", l.logs.String())
		}
	})
}

// What stops the lane is logged each hour that it lasts.
func TestTroubleIsRepeated(t *testing.T) {
	in(t, func(l *lane) {
		l.limiter = &metered{err: errors.New("no redis")}
		l.put("a")
		l.run()
		l.wait(5*time.Hour + 5*time.Minute)
		if n := l.logged("still nothing is sent"); n != 5 || l.logged("until this works again") != 1 {
			t.Errorf("%d repetitions in 5 hours, want 5:\n%s", n, l.logs.String())
		}
	})
}
