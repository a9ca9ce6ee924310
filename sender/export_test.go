package sender

import "time"

// RealLaneBackoff is the lane's backoff as it is outside of tests.
var RealLaneBackoff = laneBackoff

// In tests the lane's backoff doubles from a second to a minute without jitter, so that a story can
// name its times.
func init() {
	laneBackoff = func(n int) time.Duration { return min(time.Second<<min(n-1, 6), time.Minute) }
}

// SetClock replaces the only clock of s. It must be called before Run.
func (s *Sender) SetClock(now func() time.Time) { s.now = now }
