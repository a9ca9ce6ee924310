package redislimiter

import (
	"fmt"
	"time"

	"github.com/seed8107221f/outbox/sender"
)

// Pause lets nothing start before until, in all processes of the fleet: here at once, in the others
// as soon as Redis has told them. A call can only extend a pause.
func (l *Limiter) Pause(until time.Time) {
	l.mu.Lock()
	now := time.Now()
	until = now.Add(min(until.Sub(now), longestPause)) // with a monotonic reading
	if until.After(now) && until.After(l.pause) {
		l.pause, l.told = until, until
		l.wakeTeller()
	}
	l.mu.Unlock()
	if l.opts.Local != nil {
		l.opts.Local.Pause(until)
	}
}

// Paused returns the end of the pause that this or another process was told, as far as this one
// knows; zero: it is over, or there was none. The quiet time is no pause.
func (l *Limiter) Paused() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.pause.After(time.Now()) {
		return time.Time{}
	}
	return l.pause
}

// Resume ends the pause of the fleet: here at once, in the other processes as soon as Redis
// has told them, or within ten seconds if that gets lost. It grants no burst, and the rate stays as
// low as Slow made it. While Redis is away the others stay paused; they are told when it is back.
// What an outbox of another process has in its own file stays: clear the throttle there.
func (l *Limiter) Resume() {
	l.mu.Lock()
	l.pause, l.told = time.Time{}, time.Time{}
	l.resumes++
	l.wakeTeller()
	l.wakeWaiter()
	l.mu.Unlock()
	l.resumeLocal()
}

func (l *Limiter) resumeLocal() {
	if r, ok := l.opts.Local.(sender.Resumer); ok {
		r.Resume()
	}
}

// wakeWaiter lets the call in turn look again, if it sleeps. l.mu is held.
func (l *Limiter) wakeWaiter() {
	l.askNext, l.place = time.Time{}, false // the place in line was behind the pause
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// hear takes over what Redis publishes: the latest resume, and what is left of a pause in
// microseconds.
func (l *Limiter) hear(message string) {
	var resumed, micros int64
	if _, err := fmt.Sscan(message, &resumed, &micros); err != nil {
		return
	}
	until := time.Now().Add(time.Duration(micros) * time.Microsecond)
	l.mu.Lock()
	ended := l.heard(resumed, until)
	l.mu.Unlock()
	if ended {
		l.resumeLocal()
	}
	if l.opts.Local != nil && micros > 0 {
		l.opts.Local.Pause(until)
	}
}

// heard takes over the pause that Redis had at a time when the latest resume was resumed, and
// reports whether an earlier pause ended. What another process was told is not forgotten when Redis
// forgets it: only a resume makes a pause shorter. l.mu is held.
func (l *Limiter) heard(resumed int64, until time.Time) (ended bool) {
	if resumed < l.resumed || l.resumes > 0 {
		return false // of before a resume
	}
	if resumed > l.resumed {
		l.resumed, l.pause, ended = resumed, l.told, true
		l.wakeWaiter()
	}
	if until.After(time.Now()) && until.After(l.pause) {
		l.pause = until
	}
	return ended
}
