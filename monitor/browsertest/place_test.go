package browsertest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/monitor"
	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/sender/httpsend"
)

// A place is an outbox on a file, the destinations of its lanes, and a monitor of them under a path
// that it does not know.
type place struct {
	t     *testing.T
	file  string
	lanes map[string]*outbox.Outbox
	m     *monitor.Monitor
	url   string // of the overview
	host  string // of the server

	mu      sync.Mutex
	may     monitor.Access
	answers map[string]answer // by lane; nil: 200
	took    []string          // bodies that were accepted
}

// An answer is what a destination says to a body.
type answer func(w http.ResponseWriter, body string) (status int)

var everything = monitor.Access{Name: "oncall", Read: true, Payload: true, Act: true}

// newPlace opens lanes; the first is the default lane of the file.
func newPlace(t *testing.T, lanes ...string) *place {
	t.Helper()
	if browser == nil {
		t.Skip(why)
	}
	p := &place{t: t, file: filepath.Join(t.TempDir(), "events.db"), lanes: map[string]*outbox.Outbox{}, may: everything, answers: map[string]answer{}}
	destination := httptest.NewServer(http.HandlerFunc(p.destination))
	t.Cleanup(destination.Close)
	client := httpsend.NewClient()
	t.Cleanup(client.CloseIdleConnections)
	var file *outbox.Outbox
	for _, name := range lanes {
		transport := sender.TransportFunc(func(ctx context.Context, it sender.Item) error {
			req, err := http.NewRequestWithContext(ctx, "POST", destination.URL+"/"+name+"/batch", bytes.NewReader(it.Payload))
			if err != nil {
				return err
			}
			_, err = httpsend.Do(client, req)
			return err
		})
		var err error
		if file == nil {
			file, err = outbox.Open(p.file, transport, nil)
			p.lanes[name] = file
		} else {
			p.lanes[name], err = file.Lane(name, transport, nil)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { file.Close() })
	var err error
	if p.m, err = monitor.New(p.lanes, &monitor.Options{Allow: func(*http.Request, string) monitor.Access {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.may
	}}); err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/ops/outbox/", http.StripPrefix("/ops", p.m))
	p.serve(mux)
	return p
}

// serve has a server answer, which ends before the outbox.
func (p *place) serve(h http.Handler) *httptest.Server {
	s := httptest.NewServer(h)
	p.t.Cleanup(func() {
		p.m.Close() // ends the streams that the server waits for
		s.Close()
	})
	p.host, p.url = s.URL, s.URL+"/ops/outbox/"
	return s
}

func (p *place) destination(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	lane, _, _ := strings.Cut(r.URL.Path[1:], "/")
	p.mu.Lock()
	defer p.mu.Unlock()
	status := 200
	if a := p.answers[lane]; a != nil {
		status = a(w, string(body))
	}
	if status == 200 {
		p.took = append(p.took, string(body))
	}
	w.WriteHeader(status)
}

// answer has the destination of a lane give another answer from now on.
func (p *place) answer(lane string, a answer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answers[lane] = a
}

// allow has readers do what a says from now on.
func (p *place) allow(a monitor.Access) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.may = a
}

func (p *place) accepted() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.took, "\n")
}

func (p *place) put(lane string, es ...outbox.Event) {
	p.t.Helper()
	if _, err := p.lanes[lane].PutAll(p.t.Context(), es...); err != nil {
		p.t.Fatal(err)
	}
}

// event is one of customer n.
func event(n int, email string) outbox.Event {
	return outbox.Event{Kind: "identify", Key: fmt.Sprint("customer-", n), Header: map[string]string{"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
		Payload: fmt.Appendf(nil, `{"customer":%d,"email":%q}`, n, email)}
}

// until waits until a lane is as ok wants it.
func (p *place) until(lane string, ok func(outbox.Stats) bool) {
	p.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !ok(p.lanes[lane].Stats()); <-tick.C {
		if time.Now().After(end) {
			p.t.Fatalf("lane %s: %+v", lane, p.lanes[lane].Stats())
		}
	}
}

// settled fails unless everything that was put is where the counts say, and nothing is left.
func (p *place) settled(lane string, delivered uint64) {
	p.t.Helper()
	b := p.lanes[lane]
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	if err := b.Flush(ctx); err != nil {
		p.t.Fatal(err)
	}
	if err := b.Check(ctx); err != nil {
		p.t.Fatal(err)
	}
	if s := b.Stats(); s.Pending != 0 || s.Dead != 0 || s.Delivered != delivered || s.Put != delivered {
		p.t.Fatalf("%+v", s)
	}
}

// query is a URL of the monitor.
func (p *place) query(q string) string { return p.url + "?" + q }

// deadOf returns the dead events of a lane.
func (p *place) deadOf(lane string) (items []sender.Item) {
	p.t.Helper()
	for it, err := range p.lanes[lane].Dead() {
		if err != nil {
			p.t.Fatal(err)
		}
		items = append(items, it)
	}
	return items
}

// unauthorized refuses credentials: the lane is held.
func unauthorized(http.ResponseWriter, string) int { return 401 }

// strict refuses an event without a mail address: it dies.
func strict(_ http.ResponseWriter, body string) int {
	if strings.Contains(body, `"email":""`) {
		return 400
	}
	return 200
}

// slow asks for a pause of an hour.
func slow(w http.ResponseWriter, _ string) int {
	w.Header().Set("Retry-After", "3600")
	return 429
}
