package customerio_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seed8107221f/outbox/customerio"
	"github.com/seed8107221f/outbox/customerio/customeriotest"
)

func deadline(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// A setting that is not acceptable is an error that names it, and no file is made.
func TestOpenRefuses(t *testing.T) {
	for want, change := range map[string]func(*customerio.Options){
		"no credentials":                      func(o *customerio.Options) { *o = customerio.Options{} },
		"of SiteID and TrackKey one is":       func(o *customerio.Options) { o.TrackKey = "" },
		"of SiteID and TrackKey one":          func(o *customerio.Options) { o.SiteID = "" },
		"TrackKey, of 10 bytes, has a":        func(o *customerio.Options) { o.TrackKey = "track-key\n" },
		"AppKey, of 12 bytes":                 func(o *customerio.Options) { o.AppKey = "app\r\nX: hush" },
		"SiteID, of 5 bytes, has a":           func(o *customerio.Options) { o.SiteID = " site" },
		"TrackKey, of 11 bytes, is in quotes": func(o *customerio.Options) { o.TrackKey = "\"track-key\"" },
		"SiteID, of 6 bytes, is in quotes":    func(o *customerio.Options) { o.SiteID = "'site'" },
		"AppKey, of 8 bytes, is in quotes":    func(o *customerio.Options) { o.AppKey = "app-key'" },
		"TrackURL, of 22 bytes, has a space":  func(o *customerio.Options) { o.TrackURL = "https://example.org/a " },
		"AppURL, of 20 bytes, has a space":    func(o *customerio.Options) { o.AppURL = "https://example.org\n" },
		"AppURL, of 21 bytes, has a space":    func(o *customerio.Options) { o.AppURL = "https://example.org\u00a0" },
		"AppURL, of 22 bytes, is in quotes":   func(o *customerio.Options) { o.AppURL = "https://example.org/a'" },
		"SiteID has a colon":                  func(o *customerio.Options) { o.SiteID = "si:te" },
		"Region has 4 bytes":                  func(o *customerio.Options) { o.Region = "asia" },
		"TrackURL, of 16 bytes":               func(o *customerio.Options) { o.TrackURL = "track.example.or" },
		"AppURL, of":                          func(o *customerio.Options) { o.AppURL = "https://user:hush@example.org" },
		"TrackURL, of 25 bytes":               func(o *customerio.Options) { o.TrackURL = "https://example.org/?k=ab" },
		"TrackLimit is -1":                    func(o *customerio.Options) { o.TrackLimit = -1 },
		"TransactionalLimit is -1":            func(o *customerio.Options) { o.TransactionalLimit = -1 },
		"QueryLimit is -1":                    func(o *customerio.Options) { o.QueryLimit = -1 },
		"ImportRate is -1":                    func(o *customerio.Options) { o.ImportRate = -1 },
		"Share is 1.5":                        func(o *customerio.Options) { o.Share = 1.5 },
		"Share is -1":                         func(o *customerio.Options) { o.Share = -1 },
		"BroadcastEvery is -1s":               func(o *customerio.Options) { o.BroadcastEvery = -time.Second },
		"BroadcastEvery is 1m0.000000001s":    func(o *customerio.Options) { o.BroadcastEvery = time.Minute + 1 },
		"UserAgent, of 4 bytes":               func(o *customerio.Options) { o.UserAgent = "a\r\nb" },
		"BatchItems is -1":                    func(o *customerio.Options) { o.BatchItems = -1 },
		"BatchBytes is 1000, at least":        func(o *customerio.Options) { o.BatchBytes = 1000 },
		"OperationBytes is -1":                func(o *customerio.Options) { o.OperationBytes = -1 },
		"Concurrency is -1, the least":        func(o *customerio.Options) { o.Sender.Concurrency = -1 },
		"customerio: store: MaxPayload is -1": func(o *customerio.Options) { o.Store.MaxPayload = -1 },
	} {
		o := customerio.Options{SiteID: "site", TrackKey: "track-key", AppKey: "app-key"}
		change(&o)
		path := filepath.Join(t.TempDir(), "refused.db")
		_, err := customerio.Open(path, &o)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hush") {
			t.Errorf("%v, want %q", err, want)
		}
		if _, err := os.Stat(path); !os.IsNotExist(err) {
			t.Errorf("%s: there is a file: %v", want, err)
		}
	}
	if _, err := customerio.Open(filepath.Join(t.TempDir(), "nil.db"), nil); !errors.Is(err, customerio.ErrCredentials) {
		t.Errorf("nil options: %v", err)
	}
}

func TestFromEnv(t *testing.T) {
	for name, value := range map[string]string{"SITE_ID": "s", "TRACK_API_KEY": "t", "APP_API_KEY": "a", "REGION": "EU",
		"TRACK_URL": "http://127.0.0.1:1", "APP_URL": "http://127.0.0.1:2"} {
		t.Setenv("CUSTOMERIO_"+name, value)
	}
	o, err := customerio.FromEnv()
	if err != nil || o.SiteID != "s" || o.TrackKey != "t" || o.AppKey != "a" || o.Region != "EU" || o.TrackURL != "http://127.0.0.1:1" || o.AppURL != "http://127.0.0.1:2" {
		t.Errorf("%+v, %v", o, err)
	}
	c, err := customerio.Open(filepath.Join(t.TempDir(), "env.db"), &o)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	t.Setenv("CUSTOMERIO_REGION", "asia")
	if _, err := customerio.FromEnv(); err == nil {
		t.Error("an unknown region is taken")
	}
}

// Two processes with half of the limit each, and one with today's limit, keep to it, and use most of it.
func TestShareAndLimit(t *testing.T) {
	t.Parallel()
	const silence = 100 * time.Millisecond // of a limiter that has just been made
	for _, row := range []struct {
		ops            int
		limit, clients int
		share          float64
		fastest        time.Duration // four fifths of the limit
	}{
		{200, 0, 1, 0, silence + 200*time.Second/80},
		{200, 0, 2, 0.5, silence + 200*time.Second/80},
		{400, 1000, 1, 0, silence + 400*time.Second/800},
		{50, 5, 1, 0, 50 / 5 * time.Second * 11 / 10}, // below ten there is no bucket, and a tenth more of window
	} {
		o := customeriotest.Options{Limits: map[customeriotest.API]customeriotest.Limit{customeriotest.Track: {Requests: row.limit}}}
		bubble(t, &o, func(t *testing.T, w *world) {
			var clients []*customerio.Client
			for i := range row.clients {
				c := w.open(func(o *customerio.Options) { o.BatchItems, o.TrackLimit, o.Share = 1, row.limit, row.share })
				put(t, c, identifies(i*row.ops/row.clients, row.ops/row.clients)...)
				clients = append(clients, c)
				w.path += fmt.Sprint(i)
			}
			began := time.Now()
			for _, c := range clients {
				w.flush(c)
			}
			took := time.Since(began)
			if v := w.Verdict(); v.Unique != row.ops || v.RefusedForRate != 0 || took > row.fastest*11/10 || took < row.fastest*9/10 {
				t.Errorf("%+v: %v, want about %v: %v", row, took, row.fastest, v)
			}
		})
	}
}

// An import leaves room: a live event that comes while thousands of rows wait is there at once.
func TestImportGivesWay(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, w *world) {
		c := w.open(func(o *customerio.Options) { o.BatchItems = 1 })
		if _, err := c.Import(t.Context(), customerio.ReadCSV(strings.NewReader(people(2_000))), &customerio.ImportOptions{NoWait: true}); err != nil {
			t.Fatal(err)
		}
		for range 10 {
			put(t, c, liveEvent(1))
			began := time.Now()
			if err := c.Lane(customerio.LaneTrack).Flush(t.Context()); err != nil {
				t.Error(err)
			}
			if took := time.Since(began); took > 200*time.Millisecond {
				t.Errorf("a live event took %v", took)
			}
			time.Sleep(time.Second)
		}
		if s := c.Stats()[customerio.LaneImport]; s.Pending == 0 || s.Delivered < 450 || s.Delivered > 550 {
			t.Errorf("after 10 seconds %d delivered, %d pending", s.Delivered, s.Pending)
		}
	})
}

// An import and a backlog of live operations, each with enough for the whole limit, keep to it together.
func TestImportSharesTheLimit(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, w *world) {
		c := w.open(func(o *customerio.Options) { o.BatchItems = 1 })
		put(t, c, identifies(0, 480)...)
		if _, err := c.Import(t.Context(), customerio.ReadCSV(strings.NewReader(people(270))), nil); err != nil {
			t.Fatal(err)
		}
		w.flush(c)
		if v := w.Verdict(); v.Unique != 750 || v.RefusedForRate != 0 || v.FullestSecond < 80 {
			t.Error(v)
		}
	})
}

// Outboxes holds the outbox of each lane, in a map that the caller may change.
func TestOutboxes(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, w *world) {
		c := w.open(nil)
		all := c.Outboxes()
		for _, lane := range customerio.Lanes() {
			if b := all[string(lane)]; b == nil || b != c.Lane(lane) {
				t.Errorf("%s: %p, want %p", lane, b, c.Lane(lane))
			}
		}
		if len(all) != len(customerio.Lanes()) {
			t.Errorf("%d outboxes of %d lanes", len(all), len(customerio.Lanes()))
		}
		clear(all)
		if n := len(c.Outboxes()); n != len(customerio.Lanes()) {
			t.Errorf("%d outboxes are left after the map was cleared", n)
		}
	})
}
