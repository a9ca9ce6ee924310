package customerio_test

import (
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/customerio"
	"github.com/seed8107221f/outbox/customerio/customeriotest"
)

// watch lets see see every request of the clients opened from now on.
func (w *world) watch(see func(*http.Request)) {
	next := w.http.Transport
	w.http = &http.Client{Transport: roundTrip(func(req *http.Request) (*http.Response, error) {
		see(req)
		return next.RoundTrip(req)
	})}
}

// The service sees the application's name with every request, or the name of this package.
func TestUserAgent(t *testing.T) {
	for set, want := range map[string]string{"": "outbox-customerio", "shop/1.2 (staging)": "shop/1.2 (staging)"} {
		bubble(t, nil, func(t *testing.T, w *world) {
			var mu sync.Mutex
			agents := map[string]string{} // by path
			w.watch(func(req *http.Request) {
				mu.Lock()
				defer mu.Unlock()
				agents[req.URL.Path] = req.Header.Get("User-Agent")
			})
			c := w.open(func(o *customerio.Options) { o.UserAgent = set })
			put(t, c, identifies(0, 1)...)
			if _, err := c.SendEmail(t.Context(), email("a@example.org")); err != nil {
				t.Fatal(err)
			}
			if err := c.CheckCredentials(t.Context()); err != nil {
				t.Error(err)
			}
			for path, agent := range map[string]string{"/v1/segments": "", "/v1/campaigns": "mine"} {
				req, err := http.NewRequestWithContext(t.Context(), "GET", path, nil)
				if err != nil {
					t.Fatal(err)
				}
				if agent != "" {
					req.Header.Set("User-Agent", agent)
				}
				resp, err := c.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
			}
			w.flush(c)
			mu.Lock()
			defer mu.Unlock()
			if agents["/v1/campaigns"] != "mine" {
				t.Errorf("a request with a name of its own went under %q", agents["/v1/campaigns"])
			}
			for _, path := range []string{"/api/v2/entity", "/v1/send/email", "/api/v1/accounts/region", "/v1/segments"} {
				if agents[path] != want {
					t.Errorf("%s went under %q, want %q", path, agents[path], want)
				}
			}
		})
	}
}

// The pace of broadcasts is a setting, and a part of it if there are others.
func TestBroadcastEvery(t *testing.T) {
	for _, row := range []struct {
		every time.Duration
		share float64
		want  time.Duration // from one to the next
	}{
		{0, 0, 10 * time.Second},
		{0, 0.01, time.Minute},
		{time.Second, 0, time.Second},
		{time.Second, 0.5, 2 * time.Second},
	} {
		none := &customeriotest.Options{Limits: map[customeriotest.API]customeriotest.Limit{customeriotest.Broadcasts: {Requests: -1}}}
		bubble(t, none, func(t *testing.T, w *world) {
			c := w.open(func(o *customerio.Options) { o.BroadcastEvery, o.Share = row.every, row.share })
			for n := range 4 {
				if _, err := c.TriggerBroadcast(t.Context(), n+1, customerio.Broadcast{}); err != nil {
					t.Fatal(err)
				}
			}
			w.flush(c)
			var last time.Time
			all := w.Record()
			for i, a := range all {
				if gap := a.At.Sub(last); i > 0 && (gap < row.want || gap > row.want+row.want/10) {
					t.Errorf("every %v, share %v: %v after the one before, want %v", row.every, row.share, gap, row.want)
				}
				last = a.At
			}
			if len(all) != 4 {
				t.Errorf("%d arrived, want 4", len(all))
			}
		})
	}
}

// While the service runs the import of somebody else, it answers 409. The start waits for its end.
func TestImportJobWaitsForOthers(t *testing.T) {
	job := customerio.Job{Name: "people", URL: "https://example.org/people.csv"}
	conflict := customeriotest.Fault{Status: http.StatusConflict}
	bubble(t, nil, func(t *testing.T, w *world) {
		c := w.open(nil)
		w.Script(conflict, conflict, conflict)
		began := time.Now()
		r, err := c.ImportJob(t.Context(), job)
		if took := time.Since(began); err != nil || r.State != "imported" || took < 15*time.Second {
			t.Errorf("after %v: %+v, %v", took, r, err)
		}
		if n := w.Verdict().Operations; n != 1 {
			t.Errorf("%d imports were started, want 1", n)
		}
		// It ends with ctx, and with the client; nothing was started.
		w.SetFaults(always(conflict))
		if _, err := c.ImportJob(deadline(t, time.Minute), job); !errors.Is(err, deadline(t, 0).Err()) || !strings.Contains(err.Error(), "409") {
			t.Errorf("at the end of ctx: %v", err)
		}
		ended := make(chan error)
		go func() {
			_, err := c.ImportJob(t.Context(), job)
			ended <- err
		}()
		synctest.Wait()
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if err := <-ended; !errors.Is(err, outbox.ErrClosed) || !strings.Contains(err.Error(), "409") {
			t.Errorf("at the end of the client: %v", err)
		}
	})
}

// The id of a stored event is the ULID under which the service knows it.
func TestULID(t *testing.T) {
	for uuidText, want := range map[string]string{
		"00000000-0000-0000-0000-000000000000": "00000000000000000000000000",
		"ffffffff-ffff-ffff-ffff-ffffffffffff": "7ZZZZZZZZZZZZZZZZZZZZZZZZZ",
		"0195f3a4-1b2c-7d3e-8f40-51627384950a": "",
	} {
		id := uuid.MustParse(uuidText)
		if want == "" {
			want = crockford(id)
		}
		if got := customerio.ULID(id); got != want {
			t.Errorf("%s: %s, want %s", uuidText, got, want)
		}
	}
}
