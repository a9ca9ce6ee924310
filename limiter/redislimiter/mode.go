package redislimiter

import "time"

// Modes of a Limiter.
const (
	Shared = "shared" // Redis paces the fleet
	Quiet  = "quiet"  // Redis may have forgotten starts: nothing starts until they have left the window
	Away   = "away"   // Redis cannot be asked: nothing starts
	Local  = "local"  // Redis cannot be asked: Options.Local paces this process
)

// A Status says who paces this process.
type Status struct {
	Mode  string    // Shared, Quiet, Away or Local
	Since time.Time // when it became so
	Cause error     // why Redis cannot be asked; nil unless Away or Local
}

func (s Status) away() bool { return s.Mode == Away || s.Mode == Local }

// Status returns who paces this process now, as of the last call to Redis. It does not ask Redis.
func (l *Limiter) Status() Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.status
}

// Mode returns the Mode of Status: Shared, Quiet, Away or Local.
func (l *Limiter) Mode() string { return l.Status().Mode }

// setStatus notes the status, and logs it if the mode is another one. It must be called without
// l.mu, because the logger is not ours.
func (l *Limiter) setStatus(s Status) {
	l.mu.Lock()
	was := l.status
	if was.Mode == s.Mode {
		s.Since = was.Since
	}
	l.status = s
	l.mu.Unlock()
	switch {
	case was.Mode == s.Mode, was.Mode == "" && s.Mode == Shared:
	case s.Cause != nil:
		l.log.Warn("redislimiter: Redis is away", "limiter", l.key, "mode", s.Mode, "err", s.Cause)
	default:
		l.log.Info("redislimiter: Redis answers", "limiter", l.key, "mode", s.Mode)
	}
}
