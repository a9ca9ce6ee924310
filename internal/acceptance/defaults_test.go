package acceptance

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/limiter"
	"github.com/seed8107221f/outbox/outboxtest"
	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/store"
)

var means = regexp.MustCompile(`\b(?:0|nil) means (Exponential\([^)]*\)|[^;.,:)]+)`)

// documented reads what the settings of a package mean when they are not set, from the comments of
// the fields of one of its types.
func documented(t *testing.T, dir, typeName string) map[string]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	defaults := make(map[string]string)
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok || spec.Name.Name != typeName {
				return true
			}
			if s, ok := spec.Type.(*ast.StructType); ok {
				for _, field := range s.Fields.List {
					text := strings.Join(strings.Fields(field.Doc.Text()+field.Comment.Text()), " ")
					if m := means.FindStringSubmatch(text); m != nil && len(field.Names) == 1 {
						defaults[dir+"."+field.Names[0].Name] = strings.TrimSpace(m[1])
					}
				}
			}
			return true
		})
	}
	return defaults
}

// observed says how the settings that are not set are seen to work, in the words of the comments.
var observed = map[string]func(*testing.T) string{
	"sender.Concurrency": func(t *testing.T) string {
		d := deaf{make(chan struct{})}
		b := open(t, newPath(t), d, nil)
		for range 50 {
			put(t, b, "track", "", "")
		}
		synctest.Wait()
		defer close(d.answer)
		return fmt.Sprint(b.Stats().InFlight)
	},
	"sender.Timeout": func(t *testing.T) string {
		took := make(chan time.Duration, 1)
		b := open(t, newPath(t), sender.TransportFunc(func(ctx context.Context, _ sender.Item) error {
			began := time.Now()
			<-ctx.Done()
			took <- time.Since(began)
			return sender.Permanent(ctx.Err())
		}), nil)
		put(t, b, "track", "", "")
		return short(<-took)
	},
	"sender.MaxAttempts": func(t *testing.T) string {
		d := forKind("bad", outboxtest.Fail("500"))
		b := open(t, newPath(t), d, &outbox.Options{Sender: sender.Options{Backoff: func(int) time.Duration { return time.Second }}})
		put(t, b, "bad", "", "bad")
		for range 200 {
			put(t, b, "track", "", "good") // the destination works
			time.Sleep(300 * time.Millisecond)
		}
		if b.Stats().Dead != 1 {
			t.Errorf("not dead: %+v", b.Stats())
		}
		tried := 0
		for _, r := range d.Requests() {
			if r.Items[0].Kind == "bad" {
				tried++
			}
		}
		return fmt.Sprint(tried)
	},
	"sender.Backoff": func(t *testing.T) string {
		d := forKind("bad", outboxtest.Fail("500"))
		b := open(t, newPath(t), d, nil)
		put(t, b, "bad", "", "bad")
		time.Sleep(15 * time.Minute)
		got := d.Requests()
		first, last := got[1].At.Sub(got[0].At), got[len(got)-1].At.Sub(got[len(got)-2].At)
		// Up to a quarter is added at random.
		if first < time.Second || first > 1250*time.Millisecond || last < time.Minute || last > 75*time.Second {
			return fmt.Sprint(first, last)
		}
		return "Exponential(time.Second, time.Minute)"
	},
	"store.LockTimeout": func(t *testing.T) string {
		path := newPath(t)
		open(t, path, nil, nil)
		began := time.Now()
		if _, err := store.Open(path, nil); !errors.Is(err, store.ErrLocked) {
			t.Errorf("the second Open: %v", err)
		}
		return short(time.Since(began))
	},
	"store.MaxPayload": func(t *testing.T) string {
		b := open(t, newPath(t), nil, nil)
		largest := 0
		for mib := 1; mib <= 16; mib++ {
			if _, err := b.Put(t.Context(), outbox.Event{Payload: make([]byte, mib<<20)}); err == nil {
				largest = mib
			}
			if _, err := b.Put(t.Context(), outbox.Event{Payload: make([]byte, mib<<20+1)}); err != nil && largest == mib {
				return fmt.Sprint(mib, " MiB")
			}
		}
		return fmt.Sprint("more than ", largest, " MiB")
	},
	"store.Gather": func(t *testing.T) string {
		var sent atomic.Pointer[time.Time]
		took := make(chan time.Duration, 1)
		b := open(t, newPath(t), sender.TransportFunc(func(context.Context, sender.Item) error {
			now := time.Now()
			sent.Store(&now)
			return nil
		}), &outbox.Options{Sender: sender.Options{OnOutcome: func(sender.Outcome, time.Duration) { took <- time.Since(*sent.Load()) }}})
		put(t, b, "track", "", "")
		return short(<-took)
	},
	"store.Mode": func(t *testing.T) string {
		path := newPath(t)
		open(t, path, nil, nil)
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("%04o", info.Mode().Perm())
	},
	"limiter.Burst": func(t *testing.T) string {
		l := &limiter.Limiter{PerSecond: 10}
		l.Rate() // the life of the bucket begins
		time.Sleep(time.Minute)
		n := 0
		for began := time.Now(); ; n++ {
			if err := l.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			if time.Since(began) > 0 {
				return fmt.Sprint(n)
			}
		}
	},
	"limiter.Floor": func(t *testing.T) string {
		l := &limiter.Limiter{PerSecond: 1600}
		for range 100 {
			l.Wait(t.Context())
			l.Slow()
		}
		return fmt.Sprint("PerSecond/", 1600/l.Rate())
	},
	"limiter.Recovery": func(t *testing.T) string {
		l := &limiter.Limiter{PerSecond: 1600, Floor: 800}
		l.Slow()
		began := time.Now()
		for l.Rate() < 1600 {
			time.Sleep(100 * time.Millisecond)
		}
		return short(time.Since(began))
	},
}

// short writes a duration as the comments do, to a tenth of a second.
func short(d time.Duration) string {
	d = d.Round(100 * time.Millisecond)
	if d == time.Minute {
		return "a minute"
	}
	return d.String()
}

func TestDefaultsAreAsDocumented(t *testing.T) {
	t.Parallel()
	want := make(map[string]string)
	for _, d := range [...][2]string{{"sender", "Options"}, {"store", "Options"}, {"limiter", "Limiter"}} {
		maps.Copy(want, documented(t, d[0], d[1]))
	}
	if told, seen := slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(observed)); !slices.Equal(told, seen) {
		t.Errorf("comments give defaults for\n%q, this test looks at\n%q", told, seen)
	}
	for name, look := range observed {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				if got := look(t); got != want[name] {
					t.Errorf("0 is seen to mean %q, the comment says %q", got, want[name])
				}
			})
		})
	}
}
