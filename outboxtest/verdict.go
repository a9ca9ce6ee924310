package outboxtest

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// A Verdict is what a [Receiver] has seen of its clients.
type Verdict struct {
	Requests   int // that arrived
	Accepted   int // answered with success, or accepted and the answer lost; repetitions included
	Repeated   int // accepted though the same had been accepted before: see ReceiverOptions.IDHeader
	Throttled  int // beyond the limit, and answered 429 for that
	Failed     int // met a fault or an outage with a status of 500 or more
	Fullest    int // the most in any window
	Early      int // arrived before a Retry-After that was told had passed; 50ms are given to what was on its way
	Disordered int // arrived beside another one of their key, or were accepted after a later one of it

	Took time.Duration // from the first arrival to the latest
}

// Verdict judges what has arrived so far.
func (v *Receiver) Verdict() Verdict {
	v.mu.Lock()
	defer v.mu.Unlock()
	fullest, _ := v.traffic.Fullest()
	return Verdict{v.traffic.Requests, v.accepted, v.repeated, v.traffic.Throttled, v.failed, fullest, v.traffic.Early, v.orders, v.last.Sub(v.first)}
}

// RequireManners fails t with the error of Manners, unless that is nil.
func (v *Receiver) RequireManners() {
	v.t.Helper()
	if err := v.Manners(); err != nil {
		v.t.Fatal(err)
	}
}

// Manners returns nil if requests have arrived and kept to the rules, else an error that names each
// rule that was broken: no window above the limit, nothing before a Retry-After had passed, and
// order within keys. A request is out of order that arrives while another one of its key is being
// answered, or that is accepted for the first time after a later one of its key; so a request that
// was refused for a while must not be overtaken. A repetition of what was accepted may come at any
// time, as after a crash. Later is what ReceiverOptions.Seq says, or what first arrived later.
func (v *Receiver) Manners() error {
	verdict := v.Verdict()
	var wrong []string
	if verdict.Requests == 0 {
		wrong = append(wrong, "no request has arrived")
	}
	if v.o.Limit > 0 && verdict.Fullest > v.o.Limit {
		wrong = append(wrong, fmt.Sprintf("%d requests in a window of %v, %d are allowed", verdict.Fullest, v.o.Window, v.o.Limit))
	}
	if verdict.Early > 0 {
		wrong = append(wrong, fmt.Sprintf("%d of %d requests arrived before a Retry-After had passed", verdict.Early, verdict.Requests))
	}
	if verdict.Disordered > 0 {
		v.mu.Lock()
		seen := strings.Join(v.disorder, "; ")
		v.mu.Unlock()
		wrong = append(wrong, fmt.Sprintf("%d times the order of a key was not kept: %s", verdict.Disordered, seen))
	}
	if wrong == nil {
		return nil
	}
	return fmt.Errorf("outboxtest: the receiver's rules were broken:\n\t%s", strings.Join(wrong, "\n\t"))
}

// A line is what a Receiver knows of one key. Receiver.mu guards it.
type line struct {
	arrived  map[string]uint64 // ID to its place: Seq, or that in the order of first arrivals, from 1, unless it was refused for good
	last     uint64            // the place given last, without Seq
	accepted uint64            // the latest place that was accepted
	open     []string          // IDs that are being answered
}

// begin notes the arrival of a request with a key.
func (v *Receiver) begin(key, id string, seq uint64) {
	if key == "" {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	l := v.lines[key]
	if l == nil {
		l = &line{arrived: map[string]uint64{}}
		v.lines[key] = l
	}
	if slices.ContainsFunc(l.open, func(other string) bool { return other != id }) {
		v.disordered("two requests of key %q at the same time", key)
	}
	l.open = append(l.open, id)
	switch {
	case v.o.Seq != nil:
		l.arrived[id] = seq
	case l.arrived[id] == 0:
		l.last++
		l.arrived[id] = l.last
	}
}

// decided notes the decision about a request. It is made before the latency passes, so that it
// counts also if the client gives up.
func (v *Receiver) decided(key, id string, status int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	again := v.known[id]
	switch {
	case status < 300:
		v.accepted++
		if again {
			v.repeated++
		}
		v.known[id] = true
	case status >= 500:
		v.failed++
	}
	l := v.lines[key]
	switch {
	case l == nil, status < 300 && again:
	case status < 300 && l.arrived[id] < l.accepted:
		v.disordered("a request of key %q was accepted after a later one", key)
	case status < 300:
		l.accepted = l.arrived[id]
	case refusedForGood(status):
		delete(l.arrived, id) // it may be revived, and has a new place then
	}
}

// over notes that a request is being answered no more.
func (v *Receiver) over(key, id string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if l := v.lines[key]; l != nil {
		if i := slices.Index(l.open, id); i >= 0 {
			l.open = slices.Delete(l.open, i, i+1)
		}
	}
}

// disordered notes a breach of order. v.mu is held.
func (v *Receiver) disordered(format string, key string) {
	if v.orders++; len(v.disorder) < maxDisorder {
		v.disorder = append(v.disorder, fmt.Sprintf(format, key))
	}
}

// refusedForGood reports whether a status says that the same request will never be accepted.
func refusedForGood(status int) bool {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusProxyAuthRequired, http.StatusRequestTimeout, http.StatusConflict,
		http.StatusMisdirectedRequest, http.StatusLocked, http.StatusFailedDependency, http.StatusTooEarly, http.StatusTooManyRequests:
		return false
	}
	return status >= 400 && status < 500
}
