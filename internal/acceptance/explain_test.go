package acceptance

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/internal/campaign"
	"github.com/seed8107221f/outbox/sender"
)

// What Explain names holds the event, and the event goes once that is gone.
func TestExplainTellsWhatHappens(t *testing.T) {
	t.Parallel()
	runs := campaign.Pick(3_000, 200, 60)
	seen := make(map[sender.ReasonCode]int)
	dir := t.TempDir()
	for seed := range runs {
		synctest.Test(t, func(t *testing.T) {
			path := filepath.Join(dir, fmt.Sprint(seed))
			s := &explained{t: t, seed: seed, rnd: rand.New(rand.NewPCG(uint64(seed), 17)), seen: seen, events: make(map[uuid.UUID]string)}
			s.run(path)
			os.Remove(path)
		})
		if t.Failed() {
			return
		}
	}
	t.Log(seen)
	for _, code := range []sender.ReasonCode{
		sender.ReasonScheduled, sender.ReasonRetrying, sender.ReasonThrottled, sender.ReasonHeld, sender.ReasonPaused, sender.ReasonStoring,
		sender.ReasonInLine, sender.ReasonBehind, sender.ReasonInFlight, sender.ReasonDead, sender.ReasonExpired,
	} {
		if seen[code] == 0 {
			t.Errorf("no run met %q", code)
		}
	}
}

// explained is one run: a lane in a random state, and the destination of it.
type explained struct {
	t    *testing.T
	seed int
	rnd  *rand.Rand
	seen map[sender.ReasonCode]int

	b      *outbox.Outbox
	slots  int                  // its Concurrency
	events map[uuid.UUID]string // kinds of what was put

	mu        sync.Mutex
	good      bool // every answer is a success
	answer    error
	latency   time.Duration
	calling   map[uuid.UUID]bool // requests that run
	delivered []uuid.UUID
}

// Send answers what was decided when the request began.
func (s *explained) Send(ctx context.Context, it sender.Item) error {
	s.mu.Lock()
	err, latency := s.answer, s.latency
	switch {
	case s.good:
		err = nil
	case it.Kind == "dead":
		err = sender.Permanent(errors.New("400"))
	case it.Kind == "fails" && err == nil:
		err = errors.New("500")
	}
	s.calling[it.ID] = true
	s.mu.Unlock()
	time.Sleep(latency)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.calling, it.ID)
	if err == nil {
		s.delivered = append(s.delivered, it.ID)
	}
	return err
}

func (s *explained) arrived(id uuid.UUID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Contains(s.delivered, id)
}

func (s *explained) run(path string) {
	s.calling = make(map[uuid.UUID]bool)
	s.latency = time.Duration(s.rnd.IntN(3)) * time.Second
	s.answer = []error{nil, nil, sender.Throttled(errors.New("429"), time.Minute), sender.Unavailable(errors.New("no route"))}[s.rnd.IntN(4)]
	var transport sender.Transport = s
	if s.rnd.IntN(20) == 0 {
		transport = nil
	}
	s.slots = 1 + s.rnd.IntN(3)
	s.b = open(s.t, path, transport, &outbox.Options{Sender: sender.Options{Concurrency: s.slots}})
	s.pause(4)
	for range 1 + s.rnd.IntN(4) {
		for range 1 + s.rnd.IntN(4) {
			s.put()
		}
		time.Sleep(time.Duration(s.rnd.IntN(3000)) * time.Millisecond)
	}
	s.pause(4)
	time.Sleep(10 * time.Millisecond)
	synctest.Wait()

	var left []uuid.UUID
	for id := range s.events {
		if !s.arrived(id) {
			left = append(left, id)
		}
	}
	if len(left) > 0 {
		slices.SortFunc(left, func(a, b uuid.UUID) int { return slices.Compare(a[:], b[:]) })
		s.follow(left[s.rnd.IntN(len(left))])
	}
	s.mu.Lock()
	s.latency = 0
	s.mu.Unlock()
	if err := s.b.Close(); err != nil {
		s.t.Errorf("seed %d: %v", s.seed, err)
	}
}

// pause pauses the lane, once in n times.
func (s *explained) pause(n int) {
	if s.rnd.IntN(n) > 0 {
		return
	}
	p := sender.Pause{By: "ann", Reason: "a move"}
	if s.rnd.IntN(2) == 0 {
		p.Until = time.Now().Add(time.Duration(1+s.rnd.IntN(200)) * time.Second)
	}
	if err := s.b.Pause(s.t.Context(), p); err != nil {
		s.t.Error(err)
	}
}

func (s *explained) put() {
	e := outbox.Event{Kind: []string{"good", "good", "fails", "dead"}[s.rnd.IntN(4)], Key: []string{"", "", "a", "b"}[s.rnd.IntN(4)]}
	switch s.rnd.IntN(8) {
	case 0:
		e.NotBefore = time.Now().Add(time.Duration(s.rnd.IntN(100)) * time.Second)
	case 1:
		e.Expires = time.Now().Add(time.Millisecond)
	}
	id, err := s.b.Put(s.t.Context(), e)
	if err != nil {
		s.t.Fatal(err)
	}
	s.events[id] = e.Kind
}

// follow has an event explained, ends each reason in its turn, and looks whether the event goes then
// and not before.
func (s *explained) follow(id uuid.UUID) {
	e, err := s.b.Explain(s.t.Context(), id, 0)
	if errors.Is(err, outbox.ErrNotFound) {
		return // it expired
	}
	if err != nil || e.Item.ID != id {
		s.t.Fatalf("seed %d: %v: %+v", s.seed, err, e)
	}
	again, err := s.b.Explain(s.t.Context(), id, e.Item.Seq)
	if err != nil || fmt.Sprint(codes(again)) != fmt.Sprint(codes(e)) {
		s.t.Fatalf("seed %d: by its Seq %v, %v, without %v", s.seed, codes(again), err, codes(e))
	}
	flying := s.b.Stats().InFlight // some have their answer, which is not recorded yet
	s.mu.Lock()
	s.good, s.latency = true, time.Millisecond // so that those that go at once also arrive at once
	before, calling := len(s.delivered), len(s.calling)
	s.mu.Unlock()
	waits := func(what string) {
		s.t.Helper()
		if synctest.Wait(); s.arrived(id) {
			s.t.Fatalf("seed %d: at %v it had arrived although it is %s: %v", s.seed, time.Now(), what, codes(e))
		}
	}
	patience := 10 * time.Second // for requests in flight, and for the probe that opens the lane
	for _, r := range e.Reasons {
		s.seen[r.Code]++
		if r.Text == "" {
			s.t.Fatalf("seed %d: %s without a text", s.seed, r.Code)
		}
		switch r.Code {
		case sender.ReasonInFlight:
			time.Sleep(patience)
			if !s.arrived(id) {
				s.follow(id) // its answer brought other reasons
			}
			return
		case sender.ReasonDead, sender.ReasonExpired, sender.ReasonStoring:
			s.b.Resume(s.t.Context())
			time.Sleep(time.Hour)
			waits(string(r.Code))
			return
		case sender.ReasonInLine:
			patience = 5 * time.Minute // the first of its key may wait for its retry
			continue
		case sender.ReasonBehind:
			continue
		case sender.ReasonRetrying:
			if r.Until.IsZero() {
				continue // it is due, and goes when the lane does
			}
		case sender.ReasonHeld:
			time.Sleep(max(0, time.Until(r.Until)))
			continue
		}
		if r.Until.IsZero() {
			time.Sleep(time.Minute)
			waits(string(r.Code))
			if err := s.b.Resume(s.t.Context()); err != nil {
				s.t.Error(err)
			}
			continue
		}
		if left := time.Until(r.Until); left > time.Millisecond {
			time.Sleep(left - time.Millisecond)
			waits(string(r.Code))
		}
		time.Sleep(time.Until(r.Until))
	}
	last := time.Now()
	for time.Since(last) < patience && !s.arrived(id) {
		time.Sleep(100 * time.Millisecond)
	}
	synctest.Wait()
	if !s.arrived(id) && calling > 0 {
		s.follow(id) // an answer that was under way brought other reasons
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	at := slices.Index(s.delivered, id)
	if at < 0 {
		s.t.Fatalf("seed %d: %s does not go, %v after the last of %v: %+v", s.seed, s.events[id], patience, codes(e), s.b.Stats())
	}
	if ahead := at - before - flying - (s.slots - 1); ahead > e.Ahead { // those that go at once arrive in any order
		s.t.Errorf("seed %d: %d went before it, at most %d were ahead: %v", s.seed, ahead, e.Ahead, codes(e))
	}
}

func codes(e outbox.Explanation) (list []string) {
	for _, r := range e.Reasons {
		list = append(list, fmt.Sprintf("%s %s", r.Code, r.Until.Format("15:04:05.000000")))
	}
	return append(list, string(e.Item.State))
}
