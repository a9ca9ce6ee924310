package redislimiter

import "time"

// States of a Mode.
const (
	Shared = "shared" // Redis paces the fleet
	Quiet  = "quiet"  // Redis may have forgotten starts: nothing starts until they have left the window
	Away   = "away"   // Redis cannot be asked: nothing starts
	Local  = "local"  // Redis cannot be asked: Options.Local paces this process
)

// A Mode says who paces this process.
type Mode struct {
	State string    // Shared, Quiet, Away or Local
	Since time.Time // when it became so
	Cause error     // why Redis cannot be asked; nil unless Away or Local
}

func (m Mode) away() bool { return m.State == Away || m.State == Local }

// Mode returns who paces this process now, as of the last call to Redis.
func (l *Limiter) Mode() Mode {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mode
}

// setMode notes the mode, and logs it if it is another one. It must be called without l.mu, because
// the logger is not ours.
func (l *Limiter) setMode(m Mode) {
	l.mu.Lock()
	was := l.mode
	if was.State == m.State {
		m.Since = was.Since
	}
	l.mode = m
	l.mu.Unlock()
	switch {
	case was.State == m.State, was.State == "" && m.State == Shared:
	case m.Cause != nil:
		l.log.Warn("redislimiter: Redis is away", "limiter", l.key, "mode", m.State, "error", m.Cause)
	default:
		l.log.Info("redislimiter: Redis answers", "limiter", l.key, "mode", m.State)
	}
}
