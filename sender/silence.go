package sender

import "time"

// laneBackoff is how long a lane waits before it probes, by the number of failures in a row. The
// user's curve is for items, not for the lane.
var laneBackoff = Exponential(time.Second, time.Minute)

// silence is the state of a lane that starts one request at a time, the probe, to find out whether
// the destination works again. There are two reasons: the destination ordered it (a pause), or the
// destination does not work (a hold). The zero silence is an open lane. The loop owns it.
type silence struct {
	since  time.Time // when it began; zero: the lane is open
	until  time.Time // no probe before
	paused time.Time // the destination ordered that nothing starts before; zero: no order
	held   bool      // the last answer says that the destination does not work
	tested bool      // since then a Prober has found that it answers: the next probe is an item
	failed int       // requests that failed in a row: the one that began it, and the probes
	cause  string    // of the last failure; "": a pause kept from before the start
	err    *error    // behind cause, or nil; a pointer, because not every error can be compared
}

func (s *silence) on() bool { return !s.since.IsZero() }

// untested reports whether nothing says that the destination answers again.
func (s *silence) untested() bool { return s.held && !s.tested }

// pause begins or extends a silence by order of the destination.
func (s *silence) pause(now, until time.Time, cause string) {
	if !s.on() {
		s.since, s.failed = now, 1
	}
	s.held, s.tested, s.cause = false, false, cause
	s.paused = latest(s.paused, until)
	s.until = latest(s.until, s.paused)
}

// hold begins a silence because the destination does not work. During a silence it does nothing:
// the probe decides.
func (s *silence) hold(now time.Time, cause string) {
	if s.on() {
		return
	}
	*s = silence{since: now, until: now.Add(laneBackoff(1)), held: true, failed: 1, cause: cause}
}

// probeFailed prolongs the silence after a probe that failed without an order to wait.
func (s *silence) probeFailed(now time.Time, cause string) {
	s.failed++
	s.held, s.tested, s.cause = true, false, cause
	s.until = latest(now.Add(laneBackoff(s.failed)), s.paused)
}

// probeRefused prolongs the silence after a probe that was refused for good, like many others.
func (s *silence) probeRefused(now time.Time, cause string) {
	s.probeFailed(now, cause)
	s.until = latest(now.Add(min(laneBackoff(s.failed), longestRefused)), s.paused)
}

// testPassed lets an item be the next probe, at once unless a pause is in force.
func (s *silence) testPassed(now time.Time) {
	s.tested = true
	s.until = latest(now, s.paused)
}

// probeThrottled prolongs the silence after a probe that was told to wait, or to back off.
func (s *silence) probeThrottled(now, until time.Time, cause string) {
	s.failed++
	s.pause(now, until, cause)
}

// succeeded ends the silence, if the request began during the silence and no pause is in force. A
// request from before the silence proves nothing: if one item is always refused and others are not,
// the lane would open and close without end.
func (s *silence) succeeded(began, now time.Time) {
	if s.on() && began.After(s.since) && !s.paused.After(now) {
		*s = silence{}
	}
}
