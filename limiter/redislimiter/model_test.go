package redislimiter

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// testClock makes the script take the time and the run id from a hash, so that a test can set them.
var testClock = strings.NewReplacer(
	"redis.call('TIME')", "redis.call('HMGET', 'test', 'seconds', 'micros')",
	"redis.call('INFO', 'server')", "redis.call('HGET', 'test', 'run')",
)

// loaded loads a script and returns its hash.
func loaded(t testing.TB, c *redis.Client, script string) string {
	t.Helper()
	hash, err := c.ScriptLoad(context.Background(), script).Result()
	if err != nil {
		t.Fatal(err)
	}
	return hash
}

// at runs a script with another clock and run id of Redis. now is in microseconds.
func at(c *redis.Client, script string, now int64, run string, args ...any) ([]int64, error) {
	ctx := context.Background()
	p := c.Pipeline()
	p.HSet(ctx, "test", "seconds", now/1e6, "micros", now%1e6, "run", "run_id:"+run+"\r\n")
	reply := p.EvalSha(ctx, script, []string{"outbox:{m}"}, args...)
	_, _ = p.Exec(ctx) // an error is that of the reply too
	v, err := reply.Slice()
	if err != nil {
		return nil, err
	}
	numbers := make([]int64, len(v))
	for i := range v {
		numbers[i] = v[i].(int64)
	}
	return numbers, nil
}

// A world is a fleet, a Redis that may forget, and a destination that counts. All times are
// microseconds of a clock that nobody in the fleet can see.
type world struct {
	rng    *rand.Rand
	c      *redis.Client
	script string // hash of the script, which is loaded

	now      int64
	offset   int64 // of the clock of Redis
	run      int
	used     []call  // each call, for the settings of the last hour
	instants []int64 // granted, since the clock was last set forward
	dump     string  // what a replica has; "": nothing
	pause    int64   // nothing may start before
	longest  int64   // window that was ever used
	granted  int
	gen      int64
	resumed  int64 // as every instance knows it
}

type call struct {
	at int64
	settings
}

func (w *world) exec(args ...any) error { return w.c.Do(context.Background(), args...).Err() }

// strictest is what must hold now: of all settings seen within the hour, the lowest limit and the
// longest window and jitter.
func (w *world) strictest() settings {
	s := w.used[len(w.used)-1].settings
	for _, c := range w.used {
		if w.now-c.at < time.Hour.Microseconds() {
			s.limit, s.window, s.jitter = min(s.limit, c.limit), max(s.window, c.window), max(s.jitter, c.jitter)
		}
	}
	return s
}

// step lets time pass, or something happen to Redis, and then one instance ask.
func (w *world) step(mine settings) error {
	w.now += w.rng.Int64N(40_000)
	switch w.rng.IntN(400) {
	case 0: // a replica is promoted that lags behind
		w.run++
		if w.dump != "" {
			if err := w.exec("RESTORE", "outbox:{m}", 0, w.dump, "REPLACE"); err != nil {
				return err
			}
			w.pause, w.used, w.gen = 0, nil, -1
		}
	case 1:
		if err := w.exec("DEL", "outbox:{m}"); err != nil { // flushed, evicted
			return err
		}
		w.pause, w.used, w.gen = 0, nil, -1 // only those who were told know a pause, and who asks tells its settings
	case 2:
		w.offset -= w.rng.Int64N(3_000_000)
	case 3:
		w.offset += w.rng.Int64N(3_000_000)
		w.instants, w.pause = nil, 0 // which is what a clock set forward costs
	case 4:
		w.now += w.rng.Int64N(3 * time.Hour.Microseconds())
	}
	if w.rng.IntN(100) == 0 {
		w.dump, _ = w.c.Dump(context.Background(), "outbox:{m}").Result() // "" without a key
	}
	told, slow, resume := int64(0), "", ""
	if w.rng.IntN(100) == 0 {
		told = w.rng.Int64N(3_000_000)
	}
	if w.rng.IntN(100) == 0 {
		slow = fmt.Sprint(w.gen - w.rng.Int64N(2))
	}
	if w.rng.IntN(50) == 0 {
		resume = "resume"
	}
	if w.rng.IntN(20) == 0 {
		return nil // the request is lost
	}
	w.used = append(w.used, call{w.now, mine})
	w.longest = max(w.longest, mine.window.Microseconds())
	v, err := at(w.c, w.script, w.now+w.offset, fmt.Sprint(w.run), mine.limit, mine.window.Microseconds(), mine.jitter.Microseconds(), 1+w.rng.IntN(3), told, slow, w.rng.Float64(), "run", "pauses", []string{"", "place"}[w.rng.IntN(2)], w.resumed, resume)
	if err != nil {
		return err
	}
	if resume != "" {
		w.pause = 0
		if v[1] > told {
			return fmt.Errorf("a pause of %d us is left after a resume, at most %d expected", v[1], told)
		}
	}
	if (v[8] > w.resumed) != (resume != "") {
		return fmt.Errorf("the latest resume was %d and is %d, by a call with %q", w.resumed, v[8], resume)
	}
	w.resumed = v[8]
	w.pause = max(w.pause, w.now+told)
	if w.gen >= 0 && slow == fmt.Sprint(w.gen) && v[3] != w.gen+1 {
		return fmt.Errorf("a refusal of generation %d leads to generation %d", w.gen, v[3])
	}
	w.gen = v[3]
	if v[0] == 0 && len(v) == 9 {
		return fmt.Errorf("nothing is granted, and asking again is not asked for: %v", v)
	}
	for _, wait := range v[9:] { // a reply that is lost wastes its instants, and they count all the same
		if err := w.grant(wait); err != nil {
			return err
		}
	}
	return nil
}

// grant checks an instant against the promise.
func (w *world) grant(wait int64) error {
	instant, s := w.now+wait, w.strictest()
	span := (s.window + s.jitter).Microseconds()
	if ahead := min(w.longest, 1e6); wait < 0 || wait > ahead {
		return fmt.Errorf("a start %d us ahead is granted, at most %d allowed", wait, ahead)
	}
	if instant < w.pause {
		return fmt.Errorf("a start is granted %d us before the end of a pause", w.pause-instant)
	}
	w.granted++
	w.instants = append(w.instants, instant)
	slices.Sort(w.instants)
	at, _ := slices.BinarySearch(w.instants, instant)
	for i := max(0, at-s.limit); i <= at && i+s.limit < len(w.instants); i++ {
		if got := w.instants[i+s.limit] - w.instants[i]; got < span {
			return fmt.Errorf("%d instants span %d us, at least %d expected (%+v)", s.limit+1, got, span, s)
		}
	}
	return nil
}

// TestScript lets random fleets ask, with lost requests and replies, pauses, slow-downs, settings
// that change, and a Redis that restarts, forgets and has its clock set. After each grant the
// invariant of the package must hold.
func TestScript(t *testing.T) {
	t.Parallel()
	c := redisOf(t)
	script := loaded(t, c, testClock.Replace(take))
	for seed := range uint64(30) {
		if err := simulateScript(c, script, seed, 1500); err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
	}
}

func simulateScript(c *redis.Client, script string, seed uint64, steps int) error {
	if err := c.FlushAll(context.Background()).Err(); err != nil {
		return err
	}
	w := &world{rng: rand.New(rand.NewPCG(seed, 0)), c: c, script: script, now: 1e15}
	mine := settings{[]int{1, 3, 9, 10, 40, 100}[w.rng.IntN(6)], time.Duration(1+w.rng.IntN(3000)) * time.Millisecond, 100 * time.Millisecond}
	other := settings{1 + w.rng.IntN(50), time.Duration(1+w.rng.IntN(3000)) * time.Millisecond, 50 * time.Millisecond}
	for i := range steps {
		s := mine
		if i > steps/2 && i < steps/2+steps/8 {
			s = other
		}
		if err := w.step(s); err != nil {
			return fmt.Errorf("step %d: %w", i, err)
		}
	}
	if w.granted == 0 {
		return fmt.Errorf("nothing was granted in %d steps", steps)
	}
	return nil
}

// TestLineOfAnotherServer promotes a replica whose clock is an hour behind. The places in line that the
// first server has given are times of its clock, and mean nothing on the second.
func TestLineOfAnotherServer(t *testing.T) {
	t.Parallel()
	c := redisOf(t)
	script := loaded(t, c, testClock.Replace(take))
	ask := func(now int64, run string) []int64 {
		t.Helper()
		v, err := at(c, script, now, run, 1, int64(1e6), int64(1e5), 1, 0, "", 0.5, "run", "pauses", "", 0, "")
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	const second, hour = int64(1e6), int64(3600e6)
	now := int64(1e15)
	ask(now, "a")
	for range 5 { // one start, and a line behind it
		ask(now+4*second, "a")
	}
	now -= hour
	ask(now, "b")
	if v := ask(now+4*second, "b"); len(v) != 10 || v[9] != 0 {
		t.Fatalf("%v after the quiet time, a start expected", v)
	}
	// The next start is 1.1 s away, and its place in line is told 0.75 s before.
	if v := ask(now+4*second, "b"); len(v) != 9 || v[0] != 350_000 {
		t.Errorf("%v, to ask again after 350000 us expected", v)
	}
}

// TestScriptMutants changes one thing in the script, and expects TestScript to notice.
func TestScriptMutants(t *testing.T) {
	t.Parallel()
	c := redisOf(t)
	for _, m := range []struct{ name, from, to string }{
		{"no quiet time", "local quiet = h.forgot + span + second", "local quiet = h.forgot"},
		{"quiet without what was reserved ahead", "local quiet = h.forgot + span + second", "local quiet = h.forgot + span"},
		{"jitter left out", "local span = window + jitter", "local span = window"},
		{"ratio applied to the window", "math.max(t, oldest + span)", "math.max(t, oldest + span * ratio)"},
		{"one start too many", "h.n + 1 - limit", "h.n - limit"},
		{"the other run id is not noticed", "if h.run ~= run then", "if not h.run then"},
		{"a pause is forgotten", "math.max(now, quiet, h.pause or 0)", "math.max(now, quiet)"},
		{"reserved without end", "if t - now > most then", "if false then"},
		{"settings of others do not count", "limit = math.min(h.limit, h.limit0 or h.limit)", ""},
		{"settings of others are forgotten at once", "if now >= h.hour + 3600000000 then", "if true then"},
		{"a resume ends nothing", "if (h.pause or 0) > now then", "if false then"},
		{"a resume of an old number", "math.max(now, h.resumed + 1)", "now"},
		{"resumes are forgotten with the data", "math.max(h.resumed or 0, tonumber(ARGV[11]))", "h.resumed or 0"},
		{"a refusal halves nothing", "h.gen, h.ratio, h.since = h.gen + 1, ratio, open", ""},
	} {
		t.Run(m.name, func(t *testing.T) {
			changed := strings.Replace(take, m.from, m.to, 1)
			if changed == take {
				t.Fatalf("the script does not contain %q", m.from)
			}
			script := loaded(t, c, testClock.Replace(changed))
			for seed := range uint64(60) {
				if simulateScript(c, script, seed, 1500) != nil {
					return
				}
			}
			t.Error("not noticed")
		})
	}
}
