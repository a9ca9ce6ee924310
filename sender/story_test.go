package sender_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestStories plays the files in testdata. A line is an instruction, until "want"; after that each
// is a request as it was made, and the last one says what became of the items.
//
//	options concurrency=1 attempts=20 backoff=10s timeout=30s batch=3   before anything else
//	answer NAME WORD...                                                 see lane.answer
//	put NAME...                                                         see lane.put
//	wait DURATION
//	crash
//	log N TEXT                                                          N lines with TEXT so far
func TestStories(t *testing.T) {
	files, _ := filepath.Glob("testdata/*.txt")
	if len(files) == 0 {
		t.Fatal("no stories")
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			in(t, func(l *lane) { l.play(string(text)) })
		})
	}
}

func (l *lane) play(text string) {
	l.options.Concurrency = 1
	l.options.Backoff = steady(10 * time.Second)
	script, want, ok := strings.Cut(text, "\nwant\n")
	if !ok {
		l.Fatal("the story wants nothing")
	}
	duration := func(s string) time.Duration {
		d, err := time.ParseDuration(s)
		if err != nil {
			l.Fatal(err)
		}
		return d
	}
	for line := range strings.Lines(script) {
		word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		if l.s == nil && (word == "wait" || word == "crash") {
			l.run()
		}
		switch word {
		case "", "#":
		case "options":
			for o := range strings.FieldsSeq(rest) {
				name, value, _ := strings.Cut(o, "=")
				n, _ := strconv.Atoi(value)
				switch name {
				case "concurrency":
					l.options.Concurrency = n
				case "attempts":
					l.options.MaxAttempts = n
				case "batch":
					l.batch = n
				case "bytes":
					l.bytes = n
				case "backoff":
					l.options.Backoff = steady(duration(value))
				case "timeout":
					l.options.Timeout = duration(value)
				default:
					l.Fatalf("unknown option %q", o)
				}
			}
		case "answer":
			name, words, _ := strings.Cut(rest, " ")
			l.answer(name, words)
		case "put":
			l.put(rest)
		case "wait":
			l.wait(duration(rest))
		case "crash":
			l.crash()
		case "log":
			n, text, _ := strings.Cut(rest, " ")
			if got := strconv.Itoa(l.logged(text)); got != n {
				l.Fatalf("%s lines of the log say %q, want %s:\n%s", got, text, n, l.logs.String())
			}
		default:
			l.Fatalf("unknown instruction %q", line)
		}
	}
	if err := l.stop(); err != nil {
		l.Fatalf("Run: %v", err)
	}
	want = strings.TrimSpace(want)
	cut := strings.LastIndexByte("\n"+want, '\n')
	l.wants(want[:max(cut-1, 0)])
	l.ends(want[cut:])
}
