package sender

import (
	"errors"
	"log/slog"
	"time"
)

const (
	repeatLog = time.Hour       // the interval of log lines about what lasts
	foldLog   = time.Minute     // the interval of log lines about what happens again and again
	longPause = 5 * time.Minute // a pause that lasts so long is logged as a warning
)

// silenceLog is what the log has been told about silences. The loop owns it.
type silenceLog struct {
	last     time.Time  // when a line about a begin was last logged; zero: never
	lastHold time.Time  // the same for a hold
	folded   int        // begins that were not logged
	level    slog.Level // of the line about them
	cause    string     // of the last of them
	told     bool       // the log knows of the silence that is on
	again    time.Time  // when to log that it lasts; zero: the lane is open
}

// logSilence logs the begin of a pause or a hold, and the recovery. Within a minute of a line about
// a begin, others are counted, and their ends are not logged: logFolded logs how many there were. A
// hold is not hidden by a pause before it.
func (l *loop) logSilence(now time.Time, was silence) {
	g, is := &l.silenceLog, &l.silence
	begins := is.on() && !was.on() || is.held && !was.held
	if !begins {
		if !is.on() {
			if g.told {
				l.options.Logger.Info("sender: the lane is open again", "failures", was.failed, "after", now.Sub(was.since))
			}
			g.told, g.again = false, time.Time{}
		}
		return
	}
	level, last := slog.LevelInfo, g.last
	if g.again = now.Add(longPause); is.held {
		level, last, g.again = slog.LevelWarn, g.lastHold, now.Add(repeatLog)
	}
	if !last.IsZero() && now.Sub(last) < foldLog {
		g.folded++
		g.level, g.cause = max(g.level, level), is.cause
		return
	}
	g.last, g.told = now, true
	if !is.held {
		l.options.Logger.Info("sender: the destination asked for a pause", "until", is.paused, "err", is.cause)
		return
	}
	g.lastHold = now
	l.options.Logger.Warn("sender: the destination does not work, the lane is held", "err", is.cause)
}

// nextFolded returns when to log what was folded; zero: nothing was.
func (g *silenceLog) nextFolded() time.Time {
	if g.folded == 0 {
		return time.Time{}
	}
	return g.last.Add(foldLog)
}

// logLasting logs a pause or a hold that lasts, and pauses and holds that came again and again.
func (l *loop) logLasting(now time.Time) {
	g, is := &l.silenceLog, &l.silence
	if at := g.nextFolded(); !at.IsZero() && !now.Before(at) {
		l.options.Logger.Log(l.ctx, g.level, "sender: the lane was paused or held again", "times", g.folded, "within", now.Sub(g.last), "on", is.on(), "err", g.cause)
		g.last = now
		if g.level == slog.LevelWarn {
			g.lastHold = now
		}
		g.folded, g.level, g.told = 0, slog.LevelInfo, is.on()
	}
	if g.again.IsZero() || now.Before(g.again) {
		return
	}
	g.told, g.again = true, now.Add(repeatLog)
	if is.held {
		l.options.Logger.Warn("sender: the lane is still held", "failures", is.failed, "for", now.Sub(is.since), "err", is.cause)
	} else {
		l.options.Logger.Warn("sender: the lane is still paused", "until", is.paused, "for", now.Sub(is.since), "err", is.cause)
	}
}

// deathLog is what the log has been told about dead items. The loop owns it.
type deathLog struct {
	total  int       // items that died since Run began
	last   time.Time // when a line was last logged; zero: never
	unsaid int       // items that died since then
	item   Item      // the last of them: Kind, ID and LastErr alone
}

// logDeaths logs the first death, and then how many there were in each minute. It counts what the
// queue has recorded.
func (l *loop) logDeaths(recorded []Outcome) {
	g := &l.deathLog
	for i := range recorded {
		if recorded[i].Verdict != Dead {
			continue
		}
		it := &recorded[i].Item
		g.total++
		l.changed = true
		if now := l.now(); g.unsaid == 0 && (g.last.IsZero() || now.Sub(g.last) >= foldLog) {
			g.last = now
			l.options.Logger.Warn("sender: an item is dead", "kind", it.Kind, "id", it.ID, "reason", it.LastErr, "total", g.total)
			continue
		}
		g.unsaid++
		g.item = Item{Kind: it.Kind, ID: it.ID, LastErr: it.LastErr}
	}
}

// next returns when to log further deaths; zero: there were none.
func (g *deathLog) next() time.Time {
	if g.unsaid == 0 {
		return time.Time{}
	}
	return g.last.Add(foldLog)
}

// logFurtherDeaths logs the deaths since the last line.
func (l *loop) logFurtherDeaths(now time.Time) {
	g := &l.deathLog
	if g.unsaid == 0 {
		return
	}
	l.options.Logger.Warn("sender: more items are dead", "items", g.unsaid, "within", now.Sub(g.last), "total", g.total,
		"last_kind", g.item.Kind, "last_id", g.item.ID, "last_reason", g.item.LastErr)
	g.last, g.unsaid, g.item = now, 0, Item{}
}

// logAbsurdWait logs a wait that is too long to be obeyed, at most once an hour.
func (l *loop) logAbsurdWait(r *request) {
	if r.asksFor <= longestPause || !l.absurdLogged.IsZero() && r.ended.Sub(l.absurdLogged) < repeatLog {
		return
	}
	l.absurdLogged = r.ended
	l.options.Logger.Warn("sender: the destination asked for a wait that must be a mistake; the usual backoff is used", "asked", r.asksFor, "most", longestPause)
}

// logUnknownKind logs the first answer of [ByKind] about each kind that has no transport.
func (l *loop) logUnknownKind(err error) {
	var u *unknownKind
	if !errors.As(err, &u) || l.unknownKinds[u.kind] || len(l.unknownKinds) >= maxUnknownKinds {
		return
	}
	l.unknownKinds[u.kind] = true
	l.options.Logger.Warn("sender: no transport for this kind; its items wait an hour at a time", "kind", u.kind)
	if len(l.unknownKinds) == maxUnknownKinds {
		l.options.Logger.Warn("sender: further unknown kinds are not logged", "logged", maxUnknownKinds)
	}
}
