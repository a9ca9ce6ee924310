// Package lane sees a lane as one: its store, its sender and its limiter. It says how the lane is
// and what its items wait for, and waits for them.
package lane

import (
	"context"
	"sync"
	"time"

	"github.com/seed8107221f/outbox/internal/lifecycle"
	"github.com/seed8107221f/outbox/sender"
)

// A Store is what a lane needs of its store.
type Store interface {
	sender.Queue
	Counts() sender.Counts
}

// A Lane is a lane of an outbox. Its fields do not change. All methods are safe for concurrent use.
type Lane struct {
	Store   Store
	Sender  *sender.Sender // nil: it only stores
	Limiter sender.Limiter // nil: there is none
	Life    *lifecycle.Life

	wakes   bool               // the store does not wake the sender
	cancel  context.CancelFunc // ends what running counts
	running sync.WaitGroup     // the goroutines of Start; Stop waits for them
	runErr  error              // what Sender.Run returned; read after running
}

// Stats returns a snapshot in constant time. Of the disk it asks the size of the file only.
func (l *Lane) Stats() sender.Stats {
	now, c := time.Now(), l.Store.Counts()
	s := sender.Stats{Pending: c.Pending, Ready: c.Ready, Scheduled: c.Scheduled, Retrying: c.Retrying,
		InLine: c.InLine, InFlight: c.InFlight, Dead: c.Dead, Bytes: c.Bytes, DeadBytes: c.DeadBytes, Oldest: c.Oldest, OldestReady: c.OldestReady,
		Put: c.Put, Delivered: c.Delivered, Expired: c.Expired, Dropped: c.Dropped}
	if l.Sender != nil {
		st := l.Sender.Status()
		s.Held, s.HeldBy, s.HeldErr, s.HeldSince, s.Probe = st.Held, st.HeldBy, st.HeldErr, st.HeldSince, st.Probe
		s.Abandoned, s.Requests, s.Concurrency = st.Abandoned, st.Requests, st.Concurrency
		c.PausedUntil = st.PausedUntil // of the store too, and of a shared limiter
	}
	if c.PausedUntil.After(now) {
		s.PausedUntil = c.PausedUntil
	}
	if c.Err != nil {
		s.Failed = c.Err.Error()
		if s.HeldBy != sender.HeldByStorage { // the sender has not met it, or knows of something else
			s.Held, s.HeldBy, s.HeldErr, s.HeldSince, s.Probe = s.Failed, sender.HeldByStorage, c.Err, time.Time{}, time.Time{}
		}
	}
	if o, ok := l.Store.(sender.Operator); ok {
		if p := o.OperatorPause(); p.On(now) {
			s.OperatorPause = p
		}
	}
	if f, ok := l.Store.(sender.Fallbacker); ok && f.Fallback() != nil {
		s.Fallback = f.Fallback().Error()
	}
	if f, ok := l.Store.(sender.Sizer); ok {
		s.FileBytes = f.FileBytes()
	}
	l.pace(&s)
	s.State = l.state(&s)
	return s
}

// pace fills in what the limiter tells.
func (l *Lane) pace(s *sender.Stats) {
	if l.Limiter == nil {
		return
	}
	s.Rate = l.Limiter.Rate()
	if limited, ok := l.Limiter.(sender.Limited); ok {
		s.Limit = limited.Limit()
	}
	if m, ok := l.Limiter.(interface{ Mode() string }); ok {
		s.LimiterMode = m.Mode()
	}
}

// state returns the word for a snapshot that is complete except for it.
func (l *Lane) state(s *sender.Stats) sender.LaneState {
	switch {
	case l.Life.Ending():
		return sender.LaneClosed
	case s.HeldBy == sender.HeldByStorage:
		return sender.LaneHeld
	case s.OperatorPause != sender.Pause{}:
		return sender.LanePaused
	case s.Held != "":
		return sender.LaneHeld
	case !s.PausedUntil.IsZero():
		return sender.LaneThrottled
	case l.Sender == nil:
		return sender.LaneStoring
	case s.Ready > 0 || s.InFlight > 0:
		return sender.LaneSending
	case s.Pending > 0:
		return sender.LaneWaiting
	}
	return sender.LaneIdle
}
