package main

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/internal/bench/peers"
	"github.com/seed8107221f/outbox/sender"
)

const fairTogether = "all at once"

var fairSuite = suite{
	name:   "fair",
	title:  "Nobody starves",
	intro:  "8 producers; an import that puts 1,000 in a call, call after call; deliveries, to a transport that costs nothing; and retries, since every tenth event fails once, due 50 ms later. Each alone (deliveries and retries from a backlog), then all at once: how many a second, and the longest time in which there was none.",
	rounds: 3,
	cells: func(s scale) []cell {
		of := func(name, variant string) cell {
			return cell{"", name, spec{Op: "fair", Peer: peers.Outbox, Writers: 8, Size: 512, Items: pick(s, 200_000, 5_000), Variant: variant, Duration: 2 * s.duration}}
		}
		return []cell{
			of("producers alone", "put"), of("import alone", "import"), of("deliveries and retries alone", "deliver"),
			of(fairTogether, "put import deliver"),
		}
	},
	columns: []column{
		{"puts/s", "put", number, false}, {"none for ms", "put gap", millis, true},
		{"imported/s", "import", number, false}, {"none for ms", "import gap", millis, true},
		{"delivered/s", "deliver", number, false}, {"none for ms", "deliver gap", millis, true},
		{"retries/s", "deliver again", number, false}, {"none for ms", "deliver again gap", millis, true},
	},
}

// A tally counts what happens and keeps the longest time in which nothing did.
type tally struct {
	mu      sync.Mutex
	n       int
	last    time.Time
	longest time.Duration
}

// add counts n more; 0 only measures how long nothing has happened.
func (t *tally) add(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	t.longest = max(t.longest, now.Sub(t.last))
	t.n, t.last = t.n+n, now
}

func (t *tally) start() { t.n, t.last, t.longest = 0, time.Now(), 0 }

// into ends the tally and adds it to m, under its name.
func (t *tally) into(m metrics, name string, began time.Time) {
	t.add(0)
	t.mu.Lock() // deliveries go on
	defer t.mu.Unlock()
	m[name], m[name+" gap"] = float64(t.n)/time.Since(began).Seconds(), t.longest.Seconds()
}

func fairOp(s spec) (metrics, error) {
	var puts, imports, deliveries, retries tally
	var sent atomic.Int64
	flaky := sender.TransportFunc(func(_ context.Context, it sender.Item) error {
		if it.Failures == 0 && sent.Add(1)%10 == 0 {
			return errors.New("fails once")
		}
		if it.Failures > 0 {
			retries.add(1)
		} else {
			deliveries.add(1)
		}
		return nil
	})
	var transport sender.Transport
	delivering := strings.Contains(s.Variant, "deliver")
	if delivering {
		if err := fillOutbox(s.Dir, s, time.Time{}); err != nil {
			return nil, err
		}
		transport = flaky
	}
	began := time.Now()
	for _, t := range []*tally{&puts, &imports, &deliveries, &retries} {
		t.start()
	}
	b, err := outbox.Open(peers.OutboxPath(s.Dir), transport, &outbox.Options{Sender: sender.Options{
		Backoff: func(int) time.Duration { return 50 * time.Millisecond },
	}})
	if err != nil {
		return nil, err
	}
	defer b.Close()
	q := peers.Put(b)
	var wg sync.WaitGroup
	failed := make(chan error, 2)
	if strings.Contains(s.Variant, "put") {
		wg.Go(func() {
			_, err := newLoad(s).run(s.Duration, func(key string, payload []byte) error {
				defer puts.add(1)
				return q.Put(context.Background(), key, payload)
			})
			failed <- err
		})
	}
	if strings.Contains(s.Variant, "import") {
		wg.Go(func() {
			many := make([][]byte, 1000)
			for i, all := 0, payloads(s.Size); i < len(many); i++ {
				many[i] = all[i%len(all)]
			}
			importer := s
			importer.Writers = 1
			_, err := newLoad(importer).run(s.Duration, func(string, []byte) error {
				defer imports.add(len(many))
				return q.(peers.Many).PutMany(context.Background(), many)
			})
			failed <- err
		})
	}
	for end := began.Add(s.Duration); delivering && time.Now().Before(end) && b.Stats().Pending > 0; {
		time.Sleep(time.Millisecond)
	}
	m := metrics{}
	wg.Wait()
	close(failed)
	for e := range failed {
		err = errors.Join(err, e)
	}
	for name, t := range map[string]*tally{"put": &puts, "import": &imports, "deliver": &deliveries, "deliver again": &retries} {
		if strings.Contains(s.Variant, strings.TrimSuffix(name, " again")) {
			t.into(m, name, began)
		}
	}
	return m, err
}
