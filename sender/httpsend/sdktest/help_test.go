package sdktest

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/sender/httpsend"
)

// TestMain sends whatever would leave the machine to a port where nobody listens. Loopback addresses
// need no proxy.
func TestMain(m *testing.M) {
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"} {
		os.Setenv(name, "http://127.0.0.1:1")
	}
	os.Exit(m.Run())
}

// A call is a request that the vendor got.
type call struct {
	line, auth, agent, key, body string
}

// A vendor answers as it is told, and keeps what it got.
type vendor struct {
	*httptest.Server
	mu     sync.Mutex
	calls  []call
	answer func(n int, w http.ResponseWriter) // n counts from 1; nil: 200 and {}
}

func newVendor(t *testing.T, answer func(n int, w http.ResponseWriter)) *vendor {
	v := &vendor{answer: answer}
	v.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		v.mu.Lock()
		v.calls = append(v.calls, call{
			line:  req.Method + " " + req.URL.RequestURI(),
			auth:  req.Header.Get("Authorization"),
			agent: req.Header.Get("User-Agent"),
			key:   req.Header.Get("Idempotency-Key"),
			body:  string(body),
		})
		n := len(v.calls)
		v.mu.Unlock()
		if v.answer != nil {
			v.answer(n, w)
			return
		}
		io.WriteString(w, "{}\n")
	}))
	t.Cleanup(v.Close)
	return v
}

func (v *vendor) got() []call {
	v.mu.Lock()
	defer v.mu.Unlock()
	return append([]call(nil), v.calls...)
}

// open opens an outbox in a file; a nil transport sends nothing.
func open(t *testing.T, path string, tr sender.Transport) *outbox.Outbox {
	t.Helper()
	b, err := outbox.Open(path, tr, nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func file(t *testing.T) string { return filepath.Join(t.TempDir(), "sdk.db") }

// durable returns the client for an SDK whose requests go into b. go-customerio takes 200 alone for
// success.
func durable(b *outbox.Outbox) *http.Client {
	return &http.Client{Transport: &httpsend.Durable{
		Status: http.StatusOK,
		Put: func(req *http.Request, header map[string]string, body []byte) (uuid.UUID, error) {
			return b.Put(req.Context(), outbox.Event{Kind: "customerio", Key: req.URL.Host, Header: header, Payload: body})
		},
	}}
}

// shutdown delivers what is there.
func shutdown(t *testing.T, b *outbox.Outbox) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := b.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
}
