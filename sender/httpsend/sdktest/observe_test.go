package sdktest

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	customerio "github.com/customerio/go-customerio/v3"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/sender/httpsend"
)

// around returns a transport that delivers through go-customerio itself.
func around(url string) sender.Transport {
	client := httpsend.NewClient()
	client.Transport = httpsend.Observe(client.Transport)
	track := customerio.NewTrackClient(site, key, customerio.WithURL(url), customerio.WithHTTPClient(client))
	return sender.TransportFunc(func(ctx context.Context, it sender.Item) error {
		var attributes map[string]any
		if err := json.Unmarshal(it.Payload, &attributes); err != nil {
			return sender.Permanent(err)
		}
		ctx, calls := httpsend.Watch(ctx)
		return calls.Verdict(track.IdentifyCtx(ctx, it.Key, attributes))
	})
}

// first delivers one event through the SDK and returns what became of it, and how long the lane waits.
func first(t *testing.T, v *vendor) (o sender.Outcome, pause time.Duration) {
	t.Helper()
	outcomes := make(chan sender.Outcome, 100)
	b, err := outbox.Open(file(t), around(v.URL), &outbox.Options{Sender: sender.Options{
		OnOutcome: func(o sender.Outcome, _ time.Duration) {
			select {
			case outcomes <- o:
			default:
			}
		},
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if _, err := b.Put(t.Context(), outbox.Event{Key: "7", Payload: []byte(`{"plan":"basic"}`)}); err != nil {
		t.Fatal(err)
	}
	select {
	case o = <-outcomes:
	case <-time.After(20 * time.Second):
		t.Fatal("nothing became of the event")
	}
	if !o.PauseUntil.IsZero() {
		pause = time.Until(o.PauseUntil)
	}
	return o, pause
}

// go-customerio shows no header and puts URL and answer into its error. Under observation the vendor's
// order is obeyed, and the reason that is kept holds neither.
func TestObserveSDK(t *testing.T) {
	const clock = "Sat, 01 Jun 2030 12:00:00 GMT"
	for _, row := range []struct {
		says    string
		code    int
		header  http.Header
		verdict sender.Verdict
		pause   time.Duration // the vendor's order; 0: none
		paused  bool
	}{
		{"success", 200, nil, sender.Delivered, 0, false},
		{"429 in seconds", 429, http.Header{"Retry-After": {"3600"}}, sender.Released, time.Hour, true},
		{"429 as a date, by the vendor's clock", 429, http.Header{"Date": {clock}, "Retry-After": {"Sat, 01 Jun 2030 13:00:00 GMT"}}, sender.Released, time.Hour, true},
		{"429 without the header", 429, nil, sender.Released, 0, true},
		{"503 with the header", 503, http.Header{"Retry-After": {"3600"}}, sender.Released, time.Hour, true},
		{"500", 500, http.Header{"Retry-After": {"3600"}}, sender.Retry, 0, false},
		{"400", 400, http.Header{"Retry-After": {"3600"}}, sender.Dead, 0, false},
		{"401", 401, nil, sender.Released, 0, false},
		{"the wrong region", 301, http.Header{"Location": {"http://127.0.0.1:1/"}}, sender.Released, 0, false},
	} {
		v := newVendor(t, func(_ int, w http.ResponseWriter) {
			maps.Copy(w.Header(), row.header)
			w.WriteHeader(row.code)
			w.Write([]byte("an answer that echoes " + key))
		})
		o, pause := first(t, v)
		if o.Verdict != row.verdict || o.PauseUntil.IsZero() == row.paused {
			t.Errorf("%s: %v with the pause %v, want %v", row.says, o.Verdict, pause, row.verdict)
		}
		if row.pause > 0 && (pause > row.pause || pause < row.pause-30*time.Second) {
			t.Errorf("%s: the pause is %v, want %v", row.says, pause, row.pause)
		}
		if o.Err == nil {
			continue
		}
		if strings.Contains(o.Err.Error(), "hush") || strings.Contains(o.Err.Error(), "echoes") {
			t.Errorf("%s: the error is %v", row.says, o.Err)
		}
		var own *customerio.CustomerIOError
		if row.code/100 != 3 && (!errors.As(o.Err, &own) || own.StatusCode() != row.code) {
			t.Errorf("%s: the error of the SDK is lost: %v", row.says, o.Err)
		}
	}
}

// The pause that go-customerio hid outlives the process.
func TestObservedPauseIsKept(t *testing.T) {
	v := newVendor(t, func(_ int, w http.ResponseWriter) {
		w.Header().Set("Retry-After", "3600")
		w.WriteHeader(http.StatusTooManyRequests)
	})
	path := file(t)
	paused := make(chan struct{}, 1)
	b, err := outbox.Open(path, around(v.URL), &outbox.Options{Sender: sender.Options{
		OnOutcome: func(sender.Outcome, time.Duration) { paused <- struct{}{} },
	}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Put(t.Context(), outbox.Event{Key: "7", Payload: []byte(`{}`)}); err != nil {
		t.Fatal(err)
	}
	<-paused
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	b = open(t, path, around(v.URL))
	if left := time.Until(b.Stats().PausedUntil); left < 59*time.Minute {
		t.Errorf("after a restart the pause ends in %v", left)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if n := len(v.got()); n != 1 {
		t.Errorf("%d requests, want 1", n)
	}
}
