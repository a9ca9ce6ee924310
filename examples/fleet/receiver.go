package main

import (
	"net/http"
	"strconv"
	"sync"
	"time"
)

// A receiver accepts at most limit requests in any rolling second, answers 429 beyond, and
// remembers what it saw.
type receiver struct {
	limit int

	mu         sync.Mutex
	accepted   []time.Time // within the last second
	received   int
	refused    int
	fullest    int
	outOfOrder int
	seen       map[string]bool
	latest     map[string]int // number of the latest event of each key
}

type verdict struct{ received, unique, refused, fullest, outOfOrder int }

func newReceiver(limit int) *receiver {
	return &receiver{limit: limit, seen: make(map[string]bool), latest: make(map[string]int)}
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	now := time.Now()
	id, key := q.Header.Get("Idempotency-Key"), q.Header.Get("Key")
	number, err := strconv.Atoi(q.Header.Get("Number"))
	if id == "" || err != nil {
		http.Error(w, "the headers Idempotency-Key and Number are needed", http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.accepted) > 0 && now.Sub(r.accepted[0]) >= time.Second {
		r.accepted = r.accepted[1:]
	}
	if len(r.accepted) >= r.limit {
		r.refused++
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusTooManyRequests)
		return
	}
	r.accepted = append(r.accepted, now)
	r.fullest = max(r.fullest, len(r.accepted))
	r.received++
	if r.seen[id] {
		return
	}
	r.seen[id] = true
	if number <= r.latest[key] {
		r.outOfOrder++
	}
	r.latest[key] = number
}

func (r *receiver) verdict() verdict {
	r.mu.Lock()
	defer r.mu.Unlock()
	return verdict{r.received, len(r.seen), r.refused, r.fullest, r.outOfOrder}
}
