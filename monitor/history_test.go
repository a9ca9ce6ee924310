package monitor

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/sender"
)

// A fake is a lane of which only Stats is used.
type fake struct {
	lane
	outbox.Stats
}

func (f *fake) stats() outbox.Stats { return f.Stats }

func newFake() (*fake, *history) {
	f := &fake{}
	f.State = sender.LaneIdle
	h := &history{stats: f.stats, newest: number(time.Now())}
	h.look(time.Now())
	return f, h
}

func sum(ns []uint32) (total int) {
	for _, n := range ns {
		total += int(n)
	}
	return total
}

// Requests count once, however many events they carry, in the step in which they started.
func TestSeries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, h := newFake()
		since := time.Now()
		time.Sleep(step - time.Duration(time.Now().UnixNano()%int64(step))) // the beginning of one
		started := time.Now()
		time.Sleep(7 * time.Second)
		for request := range uint64(40) {
			for range 3 { // as the events of a batch, in any order with those of others
				h.outcome(sender.Outcome{Verdict: sender.Delivered, Request: 1 + (request ^ 1), Started: started})
			}
		}
		h.outcome(sender.Outcome{Verdict: sender.Retry, Err: errors.New("500"), Request: 41, Started: time.Now()})
		h.outcome(sender.Outcome{Verdict: sender.Expired})
		time.Sleep(step)
		p := h.read(time.Now(), since)
		n := len(p.Started)
		if p.Started[n-2] != 40 || p.Started[n-1] != 1 || p.Delivered[n-1] != 120 || p.Failed[n-1] != 1 || n != buckets {
			t.Errorf("%v %v %v", p.Started[n-5:], p.Delivered[n-5:], p.Failed[n-5:])
		}
		if f := p.perRequest(); f < 2.9 || f > 3 {
			t.Error(f, "events a request")
		}
		if p.pace < 5 || p.pace > 12 {
			t.Error("pace", p.pace)
		}
		time.Sleep(window15 + step)
		p = h.read(time.Now(), since)
		if sum(p.Started)+sum(p.Delivered)+sum(p.Failed) != 0 {
			t.Error("it does not forget")
		}
	})
}

// A hold ends with the first success, whenever somebody looks.
func TestEpisodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, h := newFake()
		begin := time.Now()
		f.State, f.Held, f.HeldSince = sender.LaneHeld, "401", begin
		h.outcome(sender.Outcome{Verdict: sender.Retry, Err: errors.New("401"), Request: 1, Started: begin})
		time.Sleep(time.Minute)
		opened := time.Now()
		h.outcome(sender.Outcome{Verdict: sender.Delivered, Request: 2, Started: opened}) // before Stats tells it
		f.State, f.Held, f.HeldSince = sender.LaneIdle, "", time.Time{}
		time.Sleep(time.Hour)
		p := h.read(time.Now(), begin)
		if len(p.episodes) != 1 || p.episodes[0] != (episode{sender.LaneHeld, begin, opened, "401"}) {
			t.Errorf("%+v", p.episodes)
		}
		// One follows the other, and no more than so many are kept.
		for i := range 2 * maxEpisodes {
			f.State, f.PausedUntil = sender.LaneThrottled, time.Now().Add(time.Minute)
			if i%2 == 0 {
				f.State = sender.LanePaused
			}
			h.look(time.Now())
			time.Sleep(time.Second)
		}
		p = h.read(time.Now(), begin)
		if n := len(p.episodes); n != maxEpisodes || !p.episodes[n-1].To.IsZero() || p.episodes[n-2].To.IsZero() {
			t.Errorf("%d: %+v", n, p.episodes)
		}
	})
}

// Errors that differ in numbers are one; the latest come first, and there is an end.
func TestErrorGroups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, h := newFake()
		fail := func(text string) {
			h.outcome(sender.Outcome{Verdict: sender.Retry, Err: errors.New(text), Request: 1, Item: sender.Item{ID: uuid.New(), Seq: 7}})
		}
		for range 3 {
			fail("event " + uuid.NewString() + " at 1234567890: 500")
		}
		fail("other")
		if p := h.read(time.Now(), time.Now()); len(p.errors) != 2 || p.errors[0].Error != "other" || p.errors[1].Error != "event … at …: 500" || p.errors[1].Count != 3 || p.errors[1].At != 7 {
			t.Errorf("%+v", p.errors)
		}
		time.Sleep(time.Hour)
		fail("other")
		for i := range 2 * maxErrors {
			fail(fmt.Sprint("error ", i))
		}
		p := h.read(time.Now(), time.Now())
		if len(p.errors) != maxErrors || p.errors[0].Error != "error 31" || p.errors[0].Count != 1 {
			t.Errorf("%+v", p.errors)
		}
	})
}

// What was put lately is known from two looks.
func TestPuts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, h := newFake()
		if p := h.read(time.Now(), time.Now()); p.putFor != 0 {
			t.Error(p.put, p.putFor)
		}
		for range 100 {
			time.Sleep(time.Second)
			f.Put += 10
			h.look(time.Now())
		}
		p := h.read(time.Now(), time.Now())
		if rate := float64(p.put) / p.putFor.Seconds(); rate < 9.9 || rate > 10.1 || p.putFor < 55*time.Second || p.putFor > 66*time.Second {
			t.Error(p.put, p.putFor)
		}
	})
}

func TestTimeLeft(t *testing.T) {
	idle := past{series: series{Started: make([]uint32, 1), Delivered: make([]uint32, 1)}, pace: -1}
	batches := past{series: series{Started: []uint32{10}, Delivered: []uint32{500}}, pace: -1}
	slow := past{series: series{Started: make([]uint32, 1), Delivered: make([]uint32, 1)}, pace: 20}
	for _, c := range []struct {
		name  string
		stats outbox.Stats
		past  past
		known bool
		want  time.Duration
		why   string
	}{
		{"nothing", outbox.Stats{Pending: 3, Scheduled: 3}, idle, true, 0, "nothing waits"},
		{"held", outbox.Stats{State: sender.LaneHeld, Pending: 48210, Scheduled: 22, Rate: 80, Limit: 80}, idle, true, 602350 * time.Millisecond, "once the lane opens, at 80/s, as allowed"},
		{"throttled", outbox.Stats{State: sender.LaneThrottled, Pending: 800, Rate: 40, Limit: 80}, idle, true, 10 * time.Second, "once the lane opens, at 80/s, as allowed"},
		{"batches", outbox.Stats{State: sender.LaneSending, Pending: 4000, Rate: 80, Limit: 80}, batches, true, time.Second, "at 4,000/s, as allowed"},
		{"slow", outbox.Stats{State: sender.LaneSending, Pending: 200, Rate: 80, Limit: 80}, slow, true, 10 * time.Second, "at the pace of the last minute, 20/s"},
		{"no limit", outbox.Stats{State: sender.LaneSending, Pending: 200}, idle, false, 0, "no limit is set, and nothing was delivered lately"},
	} {
		if l := timeLeft(&c.stats, &c.past); l.known != c.known || l.span != c.want || l.why != c.why {
			t.Errorf("%s: %+v", c.name, l)
		}
	}
}

// Each hold has words of its own, and an order.
func TestCauses(t *testing.T) {
	seen := make(map[string]bool)
	for _, by := range []string{sender.HeldByDestination, sender.HeldByStorage, sender.HeldByLimiter, sender.HeldByTransport} {
		c := causeOf(by, errors.New("x"))
		if c.What == "" || c.Do == "" || c.Then == "" || seen[c.What] {
			t.Errorf("%s: %+v", by, c)
		}
		seen[c.What] = true
	}
	for err, want := range map[error]string{
		outbox.ErrSealed: "the sealer cannot open what is stored", outbox.ErrCorrupt: "the file is damaged", outbox.ErrFull: "the disk is full", outbox.ErrStorage: "the storage fails",
		errors.New("another file has taken its place while it was in use"): "another file has taken the place of the file",
	} {
		if c := causeOf(sender.HeldByStorage, fmt.Errorf("x: %w", err)); c.What != want {
			t.Errorf("%v: %s", err, c.What)
		}
	}
}

func TestText(t *testing.T) {
	for _, c := range [][2]string{
		{visible("a\x1b\x00\u202e\u200b\xffé\n"), `a\x1b\x00\u202e\u200b\xffé\x0a`}, {visible("plain é…"), "plain é…"}, {cut("aé", 2), "a"},
		{count(0), "0"}, {count(999), "999"}, {count(1000), "1,000"}, {count(1204381), "1,204,381"}, {count(-1234), "-1,234"},
		{size(41), "41 bytes"}, {size(50647040), "48.3 MB"}, {size(15833210), "15.1 MB"}, {size(1 << 40), "1 TB"},
		{perSecond(0.1), "0.1"}, {perSecond(0.05), "0.05"}, {perSecond(79.6), "80"}, {perSecond(4.44), "4.4"}, {perSecond(1234), "1,234"},
		{span(400 * time.Millisecond), "0.4 s"}, {span(380 * time.Second), "6 min 20 s"}, {span(time.Hour), "1 h"}, {span(130 * time.Minute), "2 h 10 min"}, {span(50 * time.Hour), "2 d 2 h"}, {short(380 * time.Second), "6 min"}, {span(-time.Second), "0 s"},
		{normalise("abcdef not hex, deadbeef01 is"), "abcdef not hex, … is"}, {capital("x"), "X"},
		{headline(1, 4), "1 of 4 lanes needs you"}, {headline(2, 4), "2 of 4 lanes need you"}, {headline(0, 4), "All 4 lanes are well"}, {headline(0, 1), "The lane is well"},
	} {
		if c[0] != c[1] {
			t.Errorf("%q, want %q", c[0], c[1])
		}
	}
}
