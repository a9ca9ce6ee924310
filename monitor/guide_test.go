package monitor_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/monitor"
)

type user struct {
	Name                 string
	Staff, OnCall, Admin bool
}

func userOf(r *http.Request) user {
	name, _, ok := r.BasicAuth()
	return user{Name: name, Staff: ok, OnCall: name == "ann"}
}

func requireLogin(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, _, ok := r.BasicAuth(); !ok {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// mounted holds the first Go block of docs/monitor.md; serve is called before it returns.
func mounted(b *outbox.Outbox, mux *http.ServeMux, server *http.Server, serve func()) error {
	m, err := monitor.New(map[string]*outbox.Outbox{"mail": b}, &monitor.Options{
		Allow: func(r *http.Request, lane string) monitor.Access {
			user := userOf(r) // of your own login
			return monitor.Access{Name: user.Name, Read: user.Staff, Act: user.OnCall, Payload: user.Admin}
		},
		Logger: slog.Default(),
	})
	if err != nil {
		return err
	}
	defer m.Close()
	mux.Handle("/outbox/", requireLogin(m))
	server.RegisterOnShutdown(func() { m.Close() })
	serve()
	return nil
}

// reachable holds the second one.
func reachable(ctx context.Context, b *outbox.Outbox, lanes map[string]*outbox.Outbox) {
	local, _ := monitor.New(lanes, &monitor.Options{Allow: func(*http.Request, string) monitor.Access {
		return monitor.Access{Name: "local", Read: true, Payload: true, Act: true}
	}})
	go func() {
		if err := monitor.Serve(ctx, b.Path()+".sock", local); err != nil {
			slog.Error("the socket beside the file", "error", err)
		}
	}()
}

var _ = reachable

func TestGuide(t *testing.T) {
	b, err := outbox.Open(filepath.Join(t.TempDir(), "events.db"), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	mux := http.NewServeMux()
	if err := mounted(b, mux, &http.Server{Handler: mux}, func() {
		for name, want := range map[string]int{"": http.StatusUnauthorized, "ben": http.StatusOK} {
			r, w := httptest.NewRequest("GET", "/outbox/", nil), httptest.NewRecorder()
			if name != "" {
				r.SetBasicAuth(name, "secret")
			}
			if mux.ServeHTTP(w, r); w.Code != want {
				t.Errorf("the answer to %q is %d, want %d", name, w.Code, want)
			}
		}
	}); err != nil {
		t.Fatal(err)
	}
}
