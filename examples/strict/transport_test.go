package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox/sender"
)

func TestRequestCarriesTheEvent(t *testing.T) {
	t.Parallel()
	it := sender.Item{Seq: 42, ID: uuid.New(), Kind: "order placed\n", Key: "müller/\x00\xff %", Payload: []byte(`{"a": 1 }`)}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, seq := r.Header.Get("Outbox-Id"), r.Header.Get("Outbox-Seq")
		if key, err := url.QueryUnescape(r.Header.Get("Outbox-Key")); id != it.ID.String() || key != it.Key || seq != "42" || err != nil {
			t.Errorf("the receiver reads %s, %q, %s, %v, want %s, %q, %d", id, key, seq, err, it.ID, it.Key, it.Seq)
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
