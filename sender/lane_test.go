package sender_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/sender/sendertest"
)

// lane is a Memory, a Sender that drains it, and a transport that answers by script and notes each
// request. It lives in a synctest bubble.
type lane struct {
	*testing.T
	sendertest.Memory
	options sender.Options
	batch   int // items per request; 0: no BatchTransport
	bytes   int // of payload per request; 0: no limit
	limiter sender.Limiter
	queue   sender.Queue // nil: the Memory

	s     *sender.Sender
	start time.Time
	stop  func() error // ends Run and returns what it returned
	logs  safeBuffer

	mu      sync.Mutex // guards what follows
	answers map[string][]string
	trace   []string // "1s a 500": each request with its answers
	heard   []string // "a delivered 1s": what OnOutcome was told
	flying  int      // requests
	most    int      // flying at any time
}

// in runs a test with a lane in a bubble. What still runs at its end is stopped.
func in(t *testing.T, test func(l *lane)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := &lane{T: t, start: time.Now(), answers: map[string][]string{"*": {"ok"}}}
		l.stop = func() error { return nil }
		defer func() {
			l.stop()
			time.Sleep(24 * time.Hour) // the bubble wants abandoned calls to have returned, too
		}()
		test(l)
	})
}

// answer says what the transport answers to an item, one word for each request; the last one stays.
// The name "*" stands for all others.
//
//	ok, 500, 503, 400, 403, 429, later:1h, split        what they mean in HTTP, and the marks
//	404, 405                                            as 400, with the status
//	429:10s, 500:10s, 503:10s, 403:10s                   the same with Retry-After
//	timeout, panic, exit                                 wait for ctx; panic; end the goroutine
//	2s+ok                                                the same after two seconds, whatever ctx says
func (l *lane) answer(name, words string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.answers[name] = strings.Fields(words)
}

// put appends one item for each name; before a slash stands its Key.
func (l *lane) put(names string) {
	l.Helper()
	for name := range strings.FieldsSeq(names) {
		it := sender.Item{ID: uuid.New(), Created: time.Now(), Payload: []byte(name)}
		if key, _, ok := strings.Cut(name, "/"); ok {
			it.Key = key
		}
		l.append(it)
	}
}

func (l *lane) append(items ...sender.Item) {
	l.Helper()
	if err := l.Memory.Append(context.Background(), items...); err != nil {
		l.Fatal(err)
	}
	if l.s != nil {
		l.s.Wake()
	}
}

// run starts a Sender.
func (l *lane) run() {
	l.Helper()
	l.make()
	l.begin()
}

// make makes a Sender.
func (l *lane) make() {
	l.Helper()
	if l.options.Logger == nil {
		l.options.Logger = slog.New(slog.NewTextHandler(&l.logs, nil))
	}
	var t sender.Transport = sender.TransportFunc(l.send)
	if l.batch > 0 {
		t = batching{l}
	}
	q := l.queue
	if q == nil {
		q = &l.Memory
	}
	s, err := sender.New(q, t, l.limiter, &l.options)
	if err != nil {
		l.Fatal(err)
	}
	l.s = s
}

// begin runs the Sender.
func (l *lane) begin() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.s.Run(ctx) }()
	l.stop = func() error {
		l.s.Stop(noContext) // no time to finish
		cancel()
		l.stop = func() error { return nil }
		return <-done
	}
}

// crash ends Run and starts another Sender on what the queue has kept.
func (l *lane) crash() {
	l.Helper()
	if err := l.stop(); err != nil {
		l.Fatal(err)
	}
	l.Memory.Restart()
	l.run()
}

// wait lets time pass.
func (l *lane) wait(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (l *lane) send(ctx context.Context, it sender.Item) error {
	return l.request(ctx, []sender.Item{it})[0]
}

// batching makes a lane a BatchTransport.
type batching struct{ *lane }

func (b batching) Send(context.Context, sender.Item) error {
	return errors.New("a BatchTransport is sent through SendBatch alone")
}
func (b batching) BatchLimit() (items, bytes int) { return b.batch, b.lane.bytes }
func (b batching) SendBatch(ctx context.Context, items []sender.Item) []error {
	return b.request(ctx, items)
}

func (l *lane) request(ctx context.Context, items []sender.Item) []error {
	var names, words []string
	l.mu.Lock()
	for _, it := range items {
		name := string(it.Payload)
		key := name
		if _, ok := l.answers[key]; !ok {
			key = "*"
		}
		script := l.answers[key]
		if len(script) > 1 {
			l.answers[key] = script[1:]
		}
		names, words = append(names, name), append(words, script[0])
	}
	l.trace = append(l.trace, fmt.Sprintf("%v %s %s", time.Since(l.start).Round(time.Millisecond), strings.Join(names, "+"), strings.Join(slices.Compact(slices.Clone(words)), "+")))
	l.flying++
	l.most = max(l.most, l.flying)
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		l.flying--
		l.mu.Unlock()
	}()
	var errs []error
	for _, w := range words {
		if w == "short" {
			return errs
		}
		errs = append(errs, play(ctx, w))
	}
	return errs
}

func play(ctx context.Context, word string) error {
	if before, after, ok := strings.Cut(word, "+"); ok {
		d, err := time.ParseDuration(before)
		if err != nil {
			panic(err)
		}
		time.Sleep(d)
		return play(ctx, after)
	}
	word, wait, _ := strings.Cut(word, ":")
	d, _ := time.ParseDuration(wait)
	err := errors.New("answer " + word)
	switch word {
	case "ok":
		return nil
	case "400":
		return sender.Permanent(err)
	case "404":
		return sender.Permanent(statusError(404))
	case "405":
		return sender.Permanent(statusError(405))
	case "403":
		return sender.MinWait(sender.Unavailable(err), d)
	case "503":
		return sender.NotAccepted(sender.MinWait(err, d))
	case "500":
		return sender.MinWait(err, d)
	case "429":
		return sender.Throttled(err, d)
	case "later":
		return sender.Later(err, d)
	case "split":
		return sender.Split(err)
	case "timeout":
		<-ctx.Done()
		return ctx.Err()
	case "panic":
		panic("secret")
	case "exit":
		runtime.Goexit()
	}
	return err
}

// hear is an OnOutcome.
func (l *lane) hear(o sender.Outcome, took time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.heard = append(l.heard, fmt.Sprintf("%s %v %v", o.Item.Payload, o.Verdict, took))
}

// told returns what OnOutcome was told.
func (l *lane) told() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.heard)
}

// inFlight returns how many requests are in flight, and how many ever were at once.
func (l *lane) inFlight() (now, most int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.flying, l.most
}

// requests returns the trace. Several workers have no order within an instant: theirs is sorted.
func (l *lane) requests() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	trace := slices.Clone(l.trace)
	if l.options.Concurrency == 1 {
		return trace // it has an order
	}
	slices.SortStableFunc(trace, func(a, b string) int {
		at, a, _ := strings.Cut(a, " ")
		bt, b, _ := strings.Cut(b, " ")
		if at != bt {
			return 0
		}
		return strings.Compare(a, b)
	})
	return trace
}

// wants compares the trace with one request on each line.
func (l *lane) wants(lines string) {
	l.Helper()
	var want []string
	for line := range strings.Lines(lines) {
		if line = strings.Join(strings.Fields(line), " "); line != "" {
			want = append(want, line)
		}
	}
	if got := l.requests(); !slices.Equal(got, want) {
		l.Fatalf("the requests were\n\t%s\nwant\n\t%s\nlog:\n%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"), l.logs.String())
	}
}

// sent returns how often an item was sent alone, and when for the last time.
func (l *lane) sent(name string) (count int, last time.Duration) {
	for _, line := range l.requests() {
		f := strings.Fields(line)
		if f[1] == name {
			count++
			last, _ = time.ParseDuration(f[0])
		}
	}
	return count, last
}

// ends compares what became of the items: "delivered 3, dead a b, pending c".
func (l *lane) ends(want string) {
	l.Helper()
	if got := l.ending(); got != want {
		l.Fatalf("in the end: %s; want: %s\nlog:\n%s", got, want, l.logs.String())
	}
}

func (l *lane) ending() string {
	parts := []string{fmt.Sprintf("delivered %d", l.Counts().Delivered)}
	if n := l.Counts().Expired; n > 0 {
		parts = append(parts, fmt.Sprintf("expired %d", n))
	}
	for what, items := range map[string][]sender.Item{"dead": l.Dead(), "pending": l.Pending()} {
		if len(items) > 0 {
			for _, it := range items {
				what += " " + string(it.Payload)
			}
			parts = append(parts, what)
		}
	}
	slices.Sort(parts[1:])
	return strings.Join(parts, ", ")
}

// item returns the item with that name, pending or dead.
func (l *lane) item(name string) sender.Item {
	l.Helper()
	for _, it := range append(l.Pending(), l.Dead()...) {
		if string(it.Payload) == name {
			return it
		}
	}
	l.Fatalf("there is no %s", name)
	return sender.Item{}
}

// logged returns how many lines of the log contain text.
func (l *lane) logged(text string) int { return strings.Count(l.logs.String(), text) }

// safeBuffer is a bytes.Buffer for several goroutines.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// steady is a backoff without jitter.
func steady(d time.Duration) func(int) time.Duration { return func(int) time.Duration { return d } }

// noContext is a caller's mistake, or a Stop without a grace.
var noContext context.Context
