package acceptance

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/limiter"
	"github.com/seed8107221f/outbox/outboxtest"
	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/sender/httpsend"
	"github.com/seed8107221f/outbox/store"
)

// The guides in docs take their Go blocks from here and from the examples.

// docs/start.md, followed word for word in an empty folder.
func TestStartGuide(t *testing.T) {
	if testing.Short() {
		t.Skip("it compiles a program: not with -short")
	}
	guide := documents(t)["docs/start.md"]
	here, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	run := func(command string) string {
		t.Helper()
		words := strings.Fields(command)
		cmd := exec.Command(words[0], words[1:]...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOPROXY=off", "GOFLAGS=-mod=mod", "GOWORK=off")
		var said bytes.Buffer
		cmd.Stderr = &said
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: %v\n%s", command, err, &said)
		}
		return string(out)
	}
	program := blocks(guide, "go")[0]
	if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte(program), 0o600); err != nil {
		t.Fatal(err)
	}
	var out string
	for _, block := range blocks(guide, "sh") {
		for command := range strings.Lines(block) {
			out = run(command)
			if strings.HasPrefix(command, "go mod init") { // this module has no release to get
				run("go mod edit -replace " + module + "=" + here)
			}
		}
	}
	if out == "" || !strings.Contains(guide, "```\n"+out+"```") {
		t.Errorf("the program prints %q, and the guide shows something else", out)
	}
	if again := run("go run ."); !strings.Contains(again, "put 2 delivered 2") {
		t.Errorf("the second run prints %q", again)
	}
}

// live answers a liveness probe. An outage of the destination is no reason to restart.
func live(b *outbox.Outbox) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if err := b.Health(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		}
	}
}

// docs/containers.md: an outage of the destination does not fail the probe.
func TestContainersGuide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := opened(t, outboxtest.NewTransport(outboxtest.Always(outboxtest.Unavailable())), nil)
		if _, err := b.Put(t.Context(), outbox.Event{Kind: "k"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		probe := func() int {
			w := httptest.NewRecorder()
			live(b)(w, nil)
			return w.Code
		}
		if code := probe(); code != http.StatusOK {
			t.Errorf("in an outage the probe gets %d: %+v", code, b.Stats())
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		if code := probe(); code != http.StatusServiceUnavailable {
			t.Errorf("after Close the probe gets %d", code)
		}
	})
}

// opened opens an outbox in a folder of the test, and closes it when the test ends.
func opened(t *testing.T, to sender.Transport, o *outbox.Options) *outbox.Outbox {
	t.Helper()
	b, err := outbox.Open(filepath.Join(t.TempDir(), "events.db"), to, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// rates returns settings of docs/rate.md.
func rates() []*outbox.Options {
	// "100 requests in any second", and a request takes 300 ms: 90 starts a second need 27 in flight.
	window := &outbox.Options{
		Limiter: limiter.Within(100, time.Second),
		Sender:  sender.Options{Concurrency: 27},
	}
	// "5 requests a second", no window named, never two at once.
	steady := &outbox.Options{
		Limiter: &limiter.Limiter{PerSecond: 5, Burst: 1},
	}
	return []*outbox.Options{window, steady}
}

// bulk posts up to 100 events, of at most 500 kB, in one request.
type bulk struct{ url string }

func (t bulk) BatchLimit() (items, bytes int) { return 100, 500_000 }

func (t bulk) SendBatch(ctx context.Context, items []sender.Item) []error {
	events := make([]json.RawMessage, len(items))
	for i, it := range items {
		events[i] = it.Payload
	}
	errs := make([]error, len(items))
	body, err := json.Marshal(events)
	if err == nil {
		var req *http.Request
		if req, err = http.NewRequestWithContext(ctx, "POST", t.url, bytes.NewReader(body)); err == nil {
			_, err = httpsend.Do(nil, req)
		}
	}
	for i := range errs {
		errs[i] = err // the same for all: the answer of this destination names no event
	}
	return errs
}

func (t bulk) Send(ctx context.Context, it sender.Item) error {
	return t.SendBatch(ctx, []sender.Item{it})[0]
}

// docs/rate.md: the settings are valid, and batches arrive as batches.
func TestRateGuide(t *testing.T) {
	for i, o := range rates() {
		if err := o.Limiter.(*limiter.Limiter).Check(); err != nil {
			t.Errorf("settings %d: %v", i, err)
		}
	}
	var mu sync.Mutex
	var sizes []int
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var events []json.RawMessage
		err := json.NewDecoder(r.Body).Decode(&events)
		mu.Lock()
		defer mu.Unlock()
		if sizes = append(sizes, len(events)); err != nil {
			t.Error(err)
		}
	}))
	defer server.Close()
	path := filepath.Join(t.TempDir(), "events.db")
	producer, err := outbox.Open(path, nil, nil) // stores only, so that the batches are full
	if err != nil {
		t.Fatal(err)
	}
	if _, err := producer.PutAll(t.Context(), slices.Repeat([]outbox.Event{{Payload: []byte(`{}`)}}, 250)...); err != nil {
		t.Fatal(err)
	}
	if err := producer.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := outbox.Open(path, bulk{server.URL}, &outbox.Options{Sender: sender.Options{Concurrency: 1}})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if err := b.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(sizes, []int{100, 100, 50}) {
		t.Errorf("the batches have %d events", sizes)
	}
}

// docs/order.md: a failing event delays its own key only.
func TestOrderGuide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var got []string
		failures := 3
		b := opened(t, sender.TransportFunc(func(_ context.Context, it sender.Item) error {
			mu.Lock()
			defer mu.Unlock()
			if it.Kind == "order.placed" && failures > 0 {
				failures--
				return errors.New("500")
			}
			got = append(got, it.Key+" "+it.Kind)
			return nil
		}), nil)
		put := func(ctx context.Context) error {
			_, err := b.PutAll(ctx,
				outbox.Event{Kind: "order.placed", Key: "customer-17"},
				outbox.Event{Kind: "order.paid", Key: "customer-17"}, // waits for order.placed, whatever becomes of it
				outbox.Event{Kind: "signup", Key: "customer-18"},     // waits for nobody
				outbox.Event{Kind: "page.viewed"},                    // no key: no order, and no wait
			)
			return err
		}
		if err := put(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := b.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		slices.Sort(got[:2]) // of different keys
		want := []string{" page.viewed", "customer-18 signup", "customer-17 order.placed", "customer-17 order.paid"}
		if !slices.Equal(got, want) {
			t.Errorf("the order is %q, want %q", got, want)
		}
	})
}

// mail and queued are the before and after of docs/migrate.md.
type mail struct{ To string }

func queued(ctx context.Context, b *outbox.Outbox, m mail) error {
	payload, err := json.Marshal(m)
	if err != nil {
		return err
	}
	_, err = b.Put(ctx, outbox.Event{Kind: "mail", Key: m.To, Payload: payload})
	return err // nil: it is on disk, and this request may be answered
}

// mails is the transport of docs/migrate.md around the function that was there before.
func mails(sendMail func(context.Context, mail) error) sender.Transport {
	return sender.TransportFunc(func(ctx context.Context, it sender.Item) error {
		var m mail
		if err := json.Unmarshal(it.Payload, &m); err != nil {
			return sender.Permanent(err)
		}
		return sendMail(ctx, m)
	})
}

// docs/migrate.md: what was put arrives, as it was.
func TestMigrateGuide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []mail
		b := opened(t, mails(func(_ context.Context, m mail) error { got = append(got, m); return nil }), nil)
		if err := queued(t.Context(), b, mail{To: "ann@example.org"}); err != nil {
			t.Fatal(err)
		}
		if err := b.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, []mail{{To: "ann@example.org"}}) {
			t.Errorf("sent: %v", got)
		}
	})
}

// bounded holds the settings of docs/tuning.md.
func bounded() *outbox.Options {
	o := &outbox.Options{Store: store.Options{
		MaxPending: 1_000_000, // events
		MaxBytes:   2 << 30,   // of payload, dead events included
		Block:      true,      // Put waits for room until its context ends
	}}
	return o
}

// docs/tuning.md: a full outbox makes Put wait, and its context ends the wait.
func TestTuningGuide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := bounded()
		o.Store.MaxPending = 1
		b := opened(t, nil, o)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		start := time.Now()
		_, err := b.PutAll(ctx, outbox.Event{})
		_, err2 := b.Put(ctx, outbox.Event{})
		if err != nil || !errors.Is(err2, context.DeadlineExceeded) || time.Since(start) != time.Hour {
			t.Errorf("%v, then %v after %v", err, err2, time.Since(start))
		}
	})
}

// sealed opens the outbox of docs/security.md.
func sealed(path string, key, old []byte, to sender.Transport) (*outbox.Outbox, error) {
	seal, err := store.AESGCM("2026-11", map[string][]byte{ // the first seals, all open
		"2026-11": key, // 32 random bytes from your secret store
		"2025-11": old,
	})
	if err != nil {
		return nil, err
	}
	return outbox.Open(path, to, &outbox.Options{Store: store.Options{Sealer: seal}})
}

// forget is the answer of docs/security.md to a person who asks to be deleted.
func forget(ctx context.Context, b *outbox.Outbox, person string) error {
	n, err := b.Erase(ctx, person)
	if errors.Is(err, errors.ErrUnsupported) {
		log.Printf("%d events are gone; their bytes stay in the file until its pages are used again: %v", n, err)
		return nil
	}
	return err // not nil: call it again
}

// correct repairs the dead events of docs/dead.md and sends them again.
func correct(ctx context.Context, b *outbox.Outbox) (int, error) {
	match := func(it *sender.Item) bool { return strings.Contains(it.LastErr, "unknown plan") }
	for it, err := range b.Dead() {
		if err != nil {
			return 0, err
		}
		if !match(&it) {
			continue
		}
		fixed := bytes.ReplaceAll(it.Payload, []byte(`"plan":"Basic"`), []byte(`"plan":"basic"`))
		if err := b.Edit(ctx, it, fixed, nil); err != nil { // nil: the header stays
			return 0, err
		}
	}
	return b.ReviveAll(ctx, match)
}

// docs/dead.md: what was refused is corrected, revived and delivered.
func TestDeadGuide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := outboxtest.NewTransport()
		tr.For(outboxtest.Want{Kind: "odd"}, outboxtest.Always(outboxtest.Refuse("400: no name")))
		tr.For(outboxtest.Want{Payload: `{"plan":"Basic"}`}, outboxtest.Always(outboxtest.Refuse("422: unknown plan")))
		b := opened(t, tr, nil)
		_, err := b.PutAll(t.Context(), outbox.Event{Kind: "signup", Payload: []byte(`{"plan":"Basic"}`)}, outbox.Event{Kind: "odd"})
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		n, err := correct(t.Context(), b)
		if n != 1 || err != nil {
			t.Fatalf("%d revived, %v", n, err)
		}
		if err := b.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		if s := b.Stats(); s.Delivered != 1 || s.Dead != 1 {
			t.Errorf("%d delivered and %d dead, want 1 and 1", s.Delivered, s.Dead)
		}
	})
}

// docs/security.md: nothing of a sealed event can be read in the file, and Erase leaves no event.
func TestSecurityGuide(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.db")
	b, err := sealed(path, bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if _, err := b.Put(t.Context(), outbox.Event{Kind: "signup", Key: "ann@example.org", Payload: []byte("a secret")}); err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(path)
	if err != nil || len(file) == 0 {
		t.Fatal("no file: ", err)
	}
	for _, text := range []string{"signup", "ann@example.org", "a secret"} {
		if bytes.Contains(file, []byte(text)) {
			t.Errorf("%q can be read in the file", text)
		}
	}
	if err := forget(t.Context(), b, "ann@example.org"); err != nil || b.Stats().Pending != 0 {
		t.Errorf("%v, and %d events remain", err, b.Stats().Pending)
	}
}
