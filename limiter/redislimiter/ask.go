package redislimiter

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// A question is what one call asks and tells Redis.
type question struct {
	n       int       // starts wanted; 0: tell only
	told    time.Time // end of a pause; zero: none
	refused int64     // generation of a refused start; -1: none
	place   bool      // Redis has told to ask now
	resumed int64     // the latest resume that is known
	resumes int       // calls of Resume that Redis may not know
	sent    time.Time
}

func (l *Limiter) question(n int) question {
	l.mu.Lock()
	defer l.mu.Unlock()
	return question{n, l.told, l.refused, l.place, l.resumed, l.resumes, time.Now()}
}

// ask reserves n starts, tells Redis what it may not know, and takes the answer over.
func (l *Limiter) ask(ctx context.Context, n int) error {
	q := l.question(n)
	reply, err := l.call(ctx, q)
	if err == nil || ctx.Err() == nil { // else the caller gave up, which says nothing about Redis
		l.answered(q, reply, err)
	}
	return err
}

// call runs the script.
func (l *Limiter) call(ctx context.Context, q question) ([]int64, error) {
	refused, run, place, resume, pause := "", "run", "", "", time.Duration(0)
	if q.refused >= 0 {
		refused = strconv.FormatInt(q.refused, 10)
	}
	if l.opts.WithoutRunID {
		run = ""
	}
	if q.place {
		place = "place"
	}
	if q.resumes > 0 {
		resume = "resume"
	}
	if !q.told.IsZero() {
		pause = min(max(0, q.told.Sub(q.sent)), longestPause)
	}
	ctx, cancel := context.WithTimeout(ctx, l.opts.Timeout)
	defer cancel()
	reply, err := l.script.Run(ctx, l.c, []string{l.key}, l.limit, l.window.Microseconds(), l.jitter.Microseconds(),
		q.n, pause.Microseconds(), refused, rand.Float64(), run, l.channel, place, q.resumed, resume).Int64Slice()
	if err == nil && len(reply) < 9 {
		err = fmt.Errorf("the script returned %d values, at least 9 expected", len(reply))
	}
	return reply, err
}

// answered takes the answer of a call over, and notes whether Redis can be asked.
func (l *Limiter) answered(q question, reply []int64, err error) {
	received, resumed := time.Now(), false
	s := Status{Mode: Shared, Since: received, Cause: err}
	l.mu.Lock()
	l.looked = received
	if err != nil {
		l.delay = min(max(2*l.delay, minRetry), maxRetry)
		l.askNext, l.place = received.Add(l.delay), false
	} else {
		resumed = l.takeOver(q, reply, received)
	}
	l.mu.Unlock()
	if resumed {
		l.resumeLocal()
	}
	switch {
	case err != nil && l.opts.Local != nil:
		s.Mode = Local
	case err != nil:
		s.Mode = Away
	case reply[2] > 0:
		s.Mode = Quiet
	}
	l.setStatus(s)
}

// takeOver updates memory from a reply of the script, and reports whether it ended a pause. l.mu is
// held.
func (l *Limiter) takeOver(q question, reply []int64, now time.Time) (resumed bool) {
	after := func(micros int64) time.Time { return now.Add(time.Duration(micros) * time.Microsecond) }
	if l.told.Equal(q.told) {
		if reply[8] < l.resumed && l.pause.Equal(l.told) {
			l.pause = time.Time{} // Redis was told, and then somebody ended it, who was heard first
		}
		l.told = time.Time{}
	}
	if l.resumes == q.resumes {
		l.resumes = 0
	}
	if l.refused == q.refused {
		l.refused = -1
	}
	switch again := reply[0]; {
	case again > 0:
		l.askNext, l.place = after(again), true
	case q.n > 0 || l.delay > 0: // else the place in line stays
		l.askNext, l.place = time.Time{}, false
	}
	l.delay = 0
	resumed = l.heard(reply[8], after(reply[1]))
	l.gen, l.ratio = reply[3], float64(reply[4])/1e6
	l.inForce = settings{int(reply[5]), time.Duration(reply[6]) * time.Microsecond, time.Duration(reply[7]) * time.Microsecond}
	for _, wait := range reply[9:] {
		l.granted = append(l.granted, start{at: after(wait), late: now.Sub(q.sent)})
	}
	return resumed
}

// passing reports whether err says that Redis cannot be asked now, rather than never.
func passing(err error) bool {
	var answer redis.Error
	if err == nil || !errors.As(err, &answer) {
		return true
	}
	word, _, _ := strings.Cut(answer.Error(), " ")
	return slices.Contains([]string{
		"LOADING", "READONLY", "MASTERDOWN", "MISCONF", "BUSY", "TRYAGAIN", "CLUSTERDOWN", "MOVED", "ASK", "NOREPLICAS", "OOM",
	}, word)
}
