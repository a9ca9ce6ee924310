package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/google/uuid"
)

// What the receiver does beside keeping its limit, so that a run meets what production meets.
const (
	failShare  = 0.02  // of the requests within the limit: 503
	slowShare  = 0.005 // accepted, but answered late
	slowAnswer = 300 * time.Millisecond
	maxBody    = 8 << 20
)

// A receiver stands in for the vendor: POST delivers one event, GET /verdict returns the verdict as
// JSON. It keeps its record in memory, for as long as the process lives.
type receiver struct {
	mu     sync.Mutex // guards what follows; held for no longer than a line of the record takes
	record *record
	fate   *rand.Rand // the same in every run, so that a run can be repeated
}

func newReceiver() *receiver {
	return &receiver{record: newRecord(), fate: rand.New(rand.NewPCG(1, 1))}
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	switch {
	case req.Method == http.MethodGet && req.URL.Path == verdictPath:
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set(verdictHeader, "1")
		json.NewEncoder(w).Encode(r.verdict())
	case req.Method == http.MethodPost:
		r.receive(w, req)
	default:
		http.Error(w, "POST an event, or GET "+verdictPath, http.StatusMethodNotAllowed)
	}
}

func (r *receiver) receive(w http.ResponseWriter, req *http.Request) {
	within, fate := r.arrive()
	if !within {
		w.Header().Set("Retry-After", "1")
		http.Error(w, "too many requests", http.StatusTooManyRequests)
		return
	}
	// A request that was cut off, by a sender that was killed, is none.
	if _, err := io.Copy(io.Discard, http.MaxBytesReader(w, req.Body, maxBody)); err != nil {
		http.Error(w, "the body is cut or too large", http.StatusBadRequest)
		return
	}
	if fate < failShare {
		r.fail()
		http.Error(w, "try again", http.StatusServiceUnavailable)
		return
	}
	id, key, seq, err := identify(req.Header)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	r.accept(id, key, seq)
	if fate < failShare+slowShare {
		select {
		case <-time.After(slowAnswer):
		case <-req.Context().Done():
		}
	}
	w.WriteHeader(http.StatusNoContent)
}

// identify reads from the headers which event this is and where it stood in the queue.
func identify(h http.Header) (id uuid.UUID, key string, seq uint64, err error) {
	if id, err = uuid.Parse(h.Get(headerID)); err != nil {
		return id, "", 0, fmt.Errorf("%s is not a UUID", headerID)
	}
	if key, err = url.QueryUnescape(h.Get(headerKey)); err != nil {
		return id, "", 0, fmt.Errorf("%s is not percent-encoded", headerKey)
	}
	if seq, err = strconv.ParseUint(h.Get(headerSeq), 10, 64); err != nil {
		return id, "", 0, fmt.Errorf("%s is not a number", headerSeq)
	}
	return id, key, seq, nil
}

// arrive reads the clock under the lock: the record wants arrivals in order.
func (r *receiver) arrive() (within bool, fate float64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.record.arrive(time.Now()), r.fate.Float64()
}

// fail counts an answer of 503.
func (r *receiver) fail() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.record.failed++
}

func (r *receiver) accept(id uuid.UUID, key string, seq uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.record.accept(id, key, seq)
}

func (r *receiver) verdict() verdict {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.record.verdict()
}

// serve answers on addr until stop is called, which waits for the requests being answered, a second
// at most. url is where it answers.
func (r *receiver) serve(addr string) (url string, stop func() error, err error) {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return "", nil, fmt.Errorf("strict: receive: %w", err)
	}
	srv := &http.Server{Handler: r, ReadHeaderTimeout: 10 * time.Second}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }() // ends with Shutdown or Close in stop, which waits for it
	return "http://" + ln.Addr().String(), func() error {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if srv.Shutdown(ctx) != nil {
			srv.Close()
		}
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("strict: receive: %w", err)
		}
		return nil
	}, nil
}
