package customerio_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox/customerio"
	"github.com/seed8107221f/outbox/customerio/customeriotest"
	"github.com/seed8107221f/outbox/internal/campaign"
)

// An import and a stream of live events beside it arrive complete, and unique once repetitions are taken
// out; each customer's in order; no request is refused for the rate, none comes before a told
// Retry-After: in fair weather and foul, across restarts and crashes. With OUTBOX_LONG=1 there are ten
// thousand people and twenty live events a second, without it fewer of both.
func TestAcceptance(t *testing.T) {
	imported, requests := campaign.Pick(10_000, 2_000, 500), campaign.Pick(1000, 500, 250)
	const second = time.Second
	at := func(from, until time.Duration, f customeriotest.Fault) customeriotest.Span {
		began := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) // when each bubble begins
		return customeriotest.Span{From: began.Add(from), Until: began.Add(until), Fault: f}
	}
	storm := func(form customeriotest.RetryForm) customeriotest.Fault {
		return customeriotest.Fault{Status: 429, RetryAfter: customeriotest.RetryAfter{Form: form, Delay: 7 * second}}
	}
	foul := customeriotest.Faults{
		Spans: []customeriotest.Span{
			at(2*second, 3*second, storm(customeriotest.Seconds)),
			at(20*second, 21*second, storm(customeriotest.IMFFixdate)),
			at(40*second, 41*second, storm(customeriotest.RFC850)),
			at(60*second, 61*second, storm(customeriotest.Asctime)),
			at(80*second, 82*second, storm(customeriotest.Untold)),
			at(100*second, 160*second, customeriotest.Fault{Break: customeriotest.Reset}), // an outage
		},
		Chances: []customeriotest.Chance{
			{Share: 0.05, Fault: customeriotest.Fault{Status: 502}},
			{Share: 0.02, Fault: customeriotest.Fault{Break: customeriotest.Cut}},
			{Share: 0.02, Fault: customeriotest.Fault{Break: customeriotest.Reset, Accept: true}},
		},
	}
	for _, row := range []struct {
		name   string
		faults customeriotest.Faults
		items  int // in a batch; few make it a long way
		ends   int // how often the process ends, and how
		crash  bool
	}{
		{"fair", customeriotest.Faults{}, 0, 0, false},
		{"foul", foul, imported / requests, 0, false},
		{"restarts", foul, imported / requests, 4, false},
		{"crashes", foul, imported / requests, 4, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			if testing.Short() {
				row.ends = min(row.ends, 1)
			}
			o := customeriotest.Options{Sequence: customeriotest.Attribute("seq")}
			bubble(t, &o, func(t *testing.T, w *world) {
				w.SetFaults(row.faults)
				live := &stream{t: t}
				for range row.ends {
					run(t, w, imported, row.items, live, 37*second)
					if row.crash {
						w.crash()
					}
				}
				run(t, w, imported, row.items, live, 0)
				v := w.Verdict()
				t.Logf("%d requests, after %v: %v", v.Requests, time.Since(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)).Round(second), v)
				if v.Unique != imported+live.put || v.OrderViolations != 0 || v.RefusedForRate != 0 || v.BeforeRetryAfter != 0 {
					t.Errorf("%d live events were put: %v", live.put, v)
				}
				if row.faults.Spans == nil && v.Duplicates != 0 {
					t.Errorf("repeated without need: %v", v)
				}
			})
		})
	}
}

// run opens a client, imports, and puts live events for so long; then the process ends. With 0 it goes
// on until all is delivered.
func run(t *testing.T, w *world, imported, items int, live *stream, d time.Duration) {
	c := w.open(func(o *customerio.Options) { o.BatchItems = items })
	last := d == 0
	if last {
		d = 3 * time.Minute
	}
	var importing sync.WaitGroup
	importing.Go(func() {
		p, err := c.Import(t.Context(), customerio.ReadCSV(strings.NewReader(people(imported))), nil)
		if last && (err != nil || p.Delivered != imported) {
			t.Errorf("%+v, %v", p, err)
		}
	})
	live.run(c, d)
	if !last {
		w.fork()
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		importing.Wait()
		return
	}
	importing.Wait()
	pending := func() (n int) {
		for _, s := range c.Stats() {
			n += s.Pending
		}
		return n
	}
	// A minute is the longest backoff, of an item and of a lane, and some fail again by chance.
	for end := time.Now().Add(time.Hour); pending() > 0 && time.Now().Before(end); {
		time.Sleep(10 * time.Second)
	}
	w.flush(c)
	w.check(c)
	for name, s := range c.Stats() {
		if s.Pending > 0 || s.Dead > 0 {
			t.Errorf("%s: %d pending, %d dead: %q", name, s.Pending, s.Dead, dead(t, c, name))
		}
	}
}

// fork copies the file as a crash at this moment would leave it: nobody is writing when all sleep.
func (w *world) fork() {
	w.t.Helper()
	synctest.Wait()
	data, err := os.ReadFile(w.path)
	if err == nil {
		err = os.WriteFile(w.path+".crashed", data, 0o600)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// crash goes on with the copy.
func (w *world) crash() {
	w.t.Helper()
	if err := os.Rename(w.path+".crashed", w.path); err != nil {
		w.t.Fatal(err)
	}
}

// A stream puts so many live events a second, of fifty customers in turn.
type stream struct {
	t   *testing.T
	put int
}

func (s *stream) run(c *customerio.Client, d time.Duration) {
	s.t.Helper()
	every := time.Second / time.Duration(campaign.Pick(20, 5, 1))
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(every) {
		op := liveEvent(s.put)
		if _, err := c.Put(s.t.Context(), op); err != nil {
			s.t.Fatal(err)
		}
		s.put++
	}
}

func liveEvent(n int) customerio.Operation {
	return customerio.Operation{Type: "person", Action: "event", Name: "seen",
		Identifiers: customerio.ID(fmt.Sprint("live", n%50)), Attributes: map[string]any{"seq": n}}
}

// The same with a process that is killed, on a real disk and a real clock. It is killed when it has
// delivered something and has more, so that it is always busy.
func TestKilled(t *testing.T) {
	if testing.Short() {
		t.Parallel() // it waits for the disk and for its child
	}
	imported, kills := campaign.Pick(10_000, 3_000, 1_500), campaign.Pick(4, 2, 1)
	var arrived atomic.Int64 // live events
	sequence := customeriotest.Attribute("seq")
	s := customeriotest.NewServer(&customeriotest.Options{Sequence: func(o customeriotest.Operation) (int64, bool) {
		n, ok := sequence(o)
		if ok {
			arrived.Add(1)
		}
		return n, ok
	}})
	defer s.Close()
	path := filepath.Join(t.TempDir(), "killed.db")
	for n := range kills {
		cmd := childCommand(t, path, s.URL(), imported)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		// Fewer requests than the import has, so that the last run has something left to do.
		requests, live := s.Verdict().Requests+5+2*n, arrived.Load()+1
		await(t, func() bool { return s.Verdict().Requests >= requests && arrived.Load() >= live })
		cmd.Process.Kill()
		if err := cmd.Wait(); err == nil {
			t.Fatal("the child ended before it was killed")
		}
	}
	before := s.Verdict().Unique
	c, err := customerio.Open(path, childOptions(s.URL()))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if p, err := c.Import(ctx, customerio.ReadCSV(strings.NewReader(people(imported))), nil); err != nil || p.Delivered != imported {
		t.Errorf("%+v, %v", p, err)
	}
	if err := c.Flush(ctx); err != nil {
		t.Error(err)
	}
	// What the child was told to be put has arrived.
	note, err := c.Note("live")
	if err != nil {
		t.Fatal(err)
	}
	live := 0
	if _, err := fmt.Sscan(string(note), &live); err != nil || live == 0 {
		t.Fatalf("the note is %q, %v", note, err)
	}
	v := s.Verdict()
	t.Logf("%d live events, %d requests, %d operations after the last kill: %v", live, v.Requests, v.Unique-before, v)
	if v.Unique != imported+live || v.OrderViolations != 0 || v.RefusedForRate != 0 {
		t.Errorf("%d live events: %v", live, v)
	}
	for _, name := range customerio.Lanes() {
		if err := c.Lane(name).Check(ctx); err != nil {
			t.Error(err)
		}
	}
}

// await returns when another process has done what is asked for.
func await(t *testing.T, done func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("nothing came of it in a minute")
		}
	}
}

// A later run with the id of an event that may have been put already does no harm: the service knows it.
func TestRepeatedPut(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		c := w.open(nil)
		op := liveEvent(1)
		op.ID = crockford(uuid.New())
		put(t, c, op)
		put(t, c, op)
		w.flush(c)
		if v := w.Verdict(); v.Unique != 1 || v.Duplicates != 1 {
			t.Error(v)
		}
	})
}
