package main

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed8107221f/outbox/customerio"
	"github.com/seed8107221f/outbox/customerio/customeriotest"
	"github.com/seed8107221f/outbox/limiter/redislimiter"
)

// TestCustomerio has two clients of Customer.io share the limit of the Track API, as two processes
// would: each with a file, a connection to Redis and a limiter of its own. One of them also imports.
// Without the limiter each sends 80 requests a second, and the server, which accepts 100, refuses some.
func TestCustomerio(t *testing.T) {
	needRedis(t)
	db, err := newRedis(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { db.stop() }()
	s := customeriotest.NewServer(nil)
	defer s.Close()

	const each = 150
	var all sync.WaitGroup
	for n := range 2 {
		r := redis.NewClient(&redis.Options{Addr: db.addr, ContextTimeoutEnabled: true})
		defer r.Close()
		o := customerio.Options{SiteID: "site", TrackKey: "track-key", TrackURL: s.URL(), BatchItems: 1}
		l, err := redislimiter.New(r, "customerio-track", 100, time.Second, &redislimiter.Options{
			Jitter: 400 * time.Millisecond, Logger: slog.New(slog.DiscardHandler), // this machine may stall
		})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		o.Limiters.Track = l
		c, err := customerio.Open(filepath.Join(t.TempDir(), "customerio.db"), &o)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for i := range each {
			if _, err := c.Identify(t.Context(), customerio.ID(fmt.Sprintf("%d-%d", n, i)), nil); err != nil {
				t.Fatal(err)
			}
		}
		if n == 0 {
			all.Go(func() {
				rows := "id\nimported\nimported-too\n"
				if p, err := c.Import(t.Context(), customerio.ReadCSV(strings.NewReader(rows)), nil); err != nil || p.Delivered != 2 {
					t.Errorf("import: %+v, %v", p, err)
				}
			})
		}
		all.Go(func() {
			if err := c.Flush(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	v := s.Verdict()
	t.Log(v)
	if v.Unique != 2*each+2 || v.RefusedForRate != 0 || v.FullestSecond > 100 {
		t.Errorf("%d operations were put: %v", 2*each+2, v)
	}
}
