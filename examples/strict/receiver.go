package main

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/seed8107221f/outbox/outboxtest"
)

// The limit that the receiver keeps, as strictly as the vendor: at most so many requests in any
// rolling second, refused ones included.
const (
	limitRequests = 100
	limitWindow   = time.Second
)

// What the receiver does beside keeping its limit, so that a run meets what production meets.
const (
	failShare  = 0.02  // of the requests within the limit: 503
	slowShare  = 0.005 // accepted, but answered late
	slowAnswer = 300 * time.Millisecond
)

// startReceiver starts what stands in for the vendor. "": on a free port. It keeps its record in
// memory, for as long as the process lives.
func startReceiver(addr string) (*outboxtest.Receiver, error) {
	r, err := outboxtest.StartReceiver(&outboxtest.ReceiverOptions{
		Addr: addr, Limit: limitRequests, Window: limitWindow,
		IDHeader: headerID,
		Key:      func(r *http.Request, _ []byte) string { return r.Header.Get(headerKey) },
		Seq: func(r *http.Request, _ []byte) uint64 {
			seq, _ := strconv.ParseUint(r.Header.Get(headerSeq), 10, 64) // 0, the first place, if it is none
			return seq
		},
		Faults: fate,
	})
	if err != nil {
		return nil, fmt.Errorf("strict: %w", err)
	}
	return r, nil
}

// fate is what the n-th request meets. It is the same in every run, so that a run can be repeated.
func fate(n int) outboxtest.Fault {
	switch f := rand.New(rand.NewPCG(52, uint64(n))).Float64(); {
	case f < failShare:
		return outboxtest.Fault{Status: http.StatusServiceUnavailable}
	case f < failShare+slowShare:
		return outboxtest.Fault{Delay: slowAnswer}
	}
	return outboxtest.Fault{}
}

// judge fails s when the sender broke a promise about order or rate.
func judge(s *screen, r *outboxtest.Receiver) {
	if r.Verdict().Requests > 0 { // a run that finds nothing to send has broken none
		s.fail(r.Manners())
	}
}

// summary is what a verdict comes to.
func summary(v outboxtest.Verdict) string {
	rate := 0.0 // requests a second, from the first arrival to the latest
	if v.Took > 0 {
		rate = float64(v.Requests-1) / v.Took.Seconds()
	}
	return fmt.Sprintf("received=%d unique=%d duplicates=%d order_violations=%d fullest_second=%d answered_429=%d answered_503=%d rate=%.1f",
		v.Accepted, v.Accepted-v.Repeated, v.Repeated, v.Disordered, v.Fullest, v.Throttled, v.Failed, rate)
}
