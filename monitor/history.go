package monitor

import (
	"slices"
	"sync"
	"time"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/sender"
)

const (
	step        = 5 * time.Second // of a bucket
	buckets     = 180             // whole ones that are shown: 15 minutes
	maxEpisodes = 32
	maxErrors   = 16
	errorGap    = buckets * step // an error that was not seen for so long is counted anew
)

// A bucket counts what happened in one step.
type bucket struct {
	started, delivered, failed uint32
	put                        uint64 // Stats.Put when the bucket was last told; 0 with told false
	told                       bool
	at                         time.Time // when put was told
}

// An episode is a time in which nothing was sent for one reason.
type episode struct {
	State sender.LaneState `json:"state"` // held, throttled or paused
	From  time.Time        `json:"from"`
	To    time.Time        `json:"to,omitzero"` // zero: it goes on
	Why   string           `json:"why,omitempty"`
}

// A group is errors with the same text, except for its numbers.
type group struct {
	Error string    `json:"error"`
	Count int       `json:"count"` // since it was first seen, or seen again after a quarter of an hour
	Last  time.Time `json:"last"`
	ID    string    `json:"id"` // of the latest event that failed so
	At    uint64    `json:"at"` // its Seq
}

// A history is what was seen of a lane: in the last quarter of an hour, by bucket, and the latest
// episodes and errors. It is filled by outcomes, and when somebody looks; in between nothing runs.
// It takes less than 64 KB.
type history struct {
	stats func() outbox.Stats // does not block

	mu       sync.Mutex // a leaf, except that stats is called under it; guards what follows
	ring     [buckets + 1]bucket
	newest   int64 // the number of the bucket that time is in: Unix time by step
	requests window
	looked   time.Time // when stats was last called
	episodes []episode // oldest first; only the last one can go on
	opened   time.Time // the first success since the last failure; zero: there was none
	failing  int       // tries that failed since the last success
	errors   []group   // the latest first
}

func newHistory(l lane, now time.Time) *history {
	h := &history{stats: l.Stats, newest: number(now)}
	h.look(now)
	return h
}

// number returns which bucket a time is in.
func number(t time.Time) int64 { return t.UnixNano() / int64(step) }

// startOf returns the beginning of a bucket.
func startOf(n int64) time.Time { return time.Unix(0, n*int64(step)).UTC() }

func (h *history) bucket(n int64) *bucket { return &h.ring[n%int64(len(h.ring))] }

// advance empties the buckets that time has reached. A clock that went back stays in the newest.
// h.mu is held.
func (h *history) advance(now time.Time) {
	n := number(now)
	for k := max(h.newest+1, n-buckets); k <= n; k++ {
		*h.bucket(k) = bucket{}
	}
	h.newest = max(h.newest, n)
}

// outcome is what Observe calls.
func (h *history) outcome(o sender.Outcome) {
	now := time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.advance(now)
	if o.Request != 0 && !o.Started.IsZero() && h.requests.first(o.Request) {
		if n := min(number(o.Started), h.newest); n >= h.newest-buckets {
			h.bucket(n).started++
		}
	}
	b := h.bucket(h.newest)
	switch {
	case o.Verdict == sender.Delivered:
		b.delivered++
		h.failing = 0
		if h.opened.IsZero() {
			h.opened = now
		}
	case o.Err != nil && o.Request != 0:
		b.failed++
		h.failing++
		h.opened = time.Time{}
		h.fail(now, o)
	}
	if o.Err != nil || now.Sub(h.looked) >= time.Second || h.goesOn() != nil {
		h.note(now)
	}
}

// fail counts an error. h.mu is held.
func (h *history) fail(now time.Time, o sender.Outcome) {
	g := group{Error: normalise(o.Err.Error()), Count: 1, Last: now, ID: o.Item.ID.String(), At: o.Item.Seq}
	if i := slices.IndexFunc(h.errors, func(old group) bool { return old.Error == g.Error }); i >= 0 {
		if old := h.errors[i]; now.Sub(old.Last) < errorGap {
			g.Count += old.Count
		}
		h.errors = slices.Delete(h.errors, i, i+1)
	}
	h.errors = slices.Insert(h.errors, 0, g)
	h.errors = h.errors[:min(len(h.errors), maxErrors)]
}

// look notes how the lane is now.
func (h *history) look(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.advance(now)
	h.note(now)
}

// note asks the lane how it is, and begins or ends an episode. h.mu is held.
func (h *history) note(now time.Time) {
	s := h.stats()
	h.looked = now
	b := h.bucket(h.newest)
	b.put, b.told, b.at = s.Put, true, now
	next := episodeOf(&s, now)
	if last := h.goesOn(); last != nil {
		if last.State == next.State && (last.State != sender.LanePaused || last.From.Equal(next.From)) {
			last.Why = next.Why
			return
		}
		last.To = h.endOf(last, now)
	}
	if next.State != "" {
		h.episodes = append(h.episodes, next)
		h.episodes = slices.Delete(h.episodes, 0, max(0, len(h.episodes)-maxEpisodes))
	}
}

// goesOn returns the episode that has not ended, or nil. h.mu is held.
func (h *history) goesOn() *episode {
	if n := len(h.episodes); n > 0 && h.episodes[n-1].To.IsZero() {
		return &h.episodes[n-1]
	}
	return nil
}

// endOf returns when an episode ended that is over at now: a hold with the first success, which may
// have been long before anybody looked. h.mu is held.
func (h *history) endOf(e *episode, now time.Time) time.Time {
	if e.State == sender.LaneHeld && h.opened.After(e.From) {
		return h.opened
	}
	return now
}

// episodeOf returns what keeps the lane from sending; no State: nothing does.
func episodeOf(s *outbox.Stats, now time.Time) episode {
	e := episode{State: s.State, From: now}
	switch s.State {
	case sender.LaneHeld:
		e.Why = s.Held
		if !s.HeldSince.IsZero() {
			e.From = s.HeldSince
		}
	case sender.LaneThrottled:
		e.Why = "the destination asked for a pause"
	case sender.LanePaused:
		e.From, e.Why = s.OperatorPause.Since, s.OperatorPause.Reason
	default:
		return episode{}
	}
	return e
}

// A window knows which of the latest requests were counted. Outcomes of one batch share a request,
// and those of several requests come in any order.
type window struct {
	highest uint64
	last    uint64 // that was asked about
	bits    [16]uint64
}

// first reports whether n was not asked about before. One that is far behind the highest may be
// counted twice.
func (w *window) first(n uint64) bool {
	const size = 64 * uint64(len(w.bits))
	defer func() { w.last = n }()
	for ; w.highest < n; w.highest++ {
		if n-w.highest > size {
			w.highest = n - size
			w.bits = [len(w.bits)]uint64{}
		}
		next := (w.highest + 1) % size
		w.bits[next/64] &^= 1 << (next % 64)
	}
	if n+size <= w.highest {
		return n != w.last
	}
	word, bit := &w.bits[n%size/64], uint64(1)<<(n%size%64)
	seen := *word&bit != 0
	*word |= bit
	return !seen
}

// A series is what happened by step, oldest first; the bucket that time is in is left out.
type series struct {
	Step      float64   `json:"step"` // seconds
	From      time.Time `json:"from"`
	Started   []uint32  `json:"started"`
	Delivered []uint32  `json:"delivered"`
	Failed    []uint32  `json:"failed"`
}

// A past is a copy of a history at a time.
type past struct {
	series
	episodes []episode // oldest first
	errors   []group   // latest first
	failing  int       // tries that failed since the last delivery; above 0: errors has the latest
	rate     float64   // requests started a second, in the last ten seconds or so
	pace     float64   // deliveries a second, in the last minute; below zero: not known yet
	put      uint64    // how many were put in the last putFor
	putFor   time.Duration
}

// read returns a copy, after a look at the lane.
func (h *history) read(now, since time.Time) past {
	h.look(now)
	h.mu.Lock()
	defer h.mu.Unlock()
	p := past{series: series{Step: step.Seconds(), From: startOf(h.newest - buckets)}, pace: -1}
	p.Started, p.Delivered, p.Failed = make([]uint32, buckets), make([]uint32, buckets), make([]uint32, buckets)
	for i := range buckets {
		b := h.bucket(h.newest - buckets + int64(i))
		p.Started[i], p.Delivered[i], p.Failed[i] = b.started, b.delivered, b.failed
	}
	p.episodes, p.errors, p.failing = slices.Clone(h.episodes), slices.Clone(h.errors), h.failing
	p.rate = h.perSecond(2, now, since, func(b *bucket) uint32 { return b.started })
	if now.Sub(since) >= 10*time.Second {
		p.pace = h.perSecond(int64(time.Minute/step), now, since, func(b *bucket) uint32 { return b.delivered })
	}
	p.put, p.putFor = h.puts(now)
	return p
}

// perSecond returns the mean of the last n whole buckets and the one that time is in. h.mu is held.
func (h *history) perSecond(n int64, now, since time.Time, count func(*bucket) uint32) float64 {
	from := startOf(h.newest - n)
	if from.Before(since) {
		from = since
	}
	sum := 0.0
	for k := h.newest - n; k <= h.newest; k++ {
		sum += float64(count(h.bucket(k)))
	}
	return sum / max(1, now.Sub(from).Seconds())
}

// puts returns how many events were put since a time about a minute ago at which somebody looked,
// and how long ago that was; 0: nobody did. h.mu is held.
func (h *history) puts(now time.Time) (uint64, time.Duration) {
	var from *bucket
	for k := h.newest - 1; k >= h.newest-buckets; k-- {
		if b := h.bucket(k); b.told && now.Sub(b.at) >= step {
			if from = b; now.Sub(b.at) >= time.Minute-step {
				break
			}
		}
	}
	latest := h.bucket(h.newest)
	if from == nil || latest.put < from.put {
		return 0, 0
	}
	return latest.put - from.put, now.Sub(from.at)
}
