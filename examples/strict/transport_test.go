package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox/sender"
)

func TestRequestCarriesTheEvent(t *testing.T) {
	t.Parallel()
	it := sender.Item{Seq: 42, ID: uuid.New(), Kind: "order placed\n", Key: "müller/\x00\xff %", Payload: []byte(`{"a": 1 }`)}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, key, seq, err := identify(r.Header)
		if id != it.ID || key != it.Key || seq != it.Seq || err != nil {
			t.Errorf("the receiver reads %s, %q, %d, %v, want %s, %q, %d", id, key, seq, err, it.ID, it.Key, it.Seq)
		}
		if got := r.Header.Get("Outbox-Kind"); got != "order+placed%0A" {
			t.Errorf("the kind is %q", got)
		}
		if body, _ := io.ReadAll(r.Body); string(body) != string(it.Payload) {
			t.Errorf("the body is %q, want %q", body, it.Payload)
		}
	}))
	defer srv.Close()
	if err := (&transport{srv.URL}).Send(t.Context(), it); err != nil {
		t.Error(err)
	}
}

func TestVerdictOfAStranger(t *testing.T) {
	t.Parallel()
	for name, handler := range map[string]http.HandlerFunc{
		"not found":   http.NotFound,
		"other JSON":  func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"unique":5}`) },
		"a redirect":  func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/login", http.StatusFound) },
		"nothing yet": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) },
	} {
		srv := httptest.NewServer(handler)
		if v, ok, err := (&transport{srv.URL}).verdict(); ok || err != nil {
			t.Errorf("%s: %v, %v, %v, want none", name, v, ok, err)
		}
		srv.Close()
	}
}
