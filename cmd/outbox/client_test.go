package main

import (
	"net/http"
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed8107221f/outbox/outboxtest"
)

// A monitor that takes a request and gives no answer does not hang a probe; an action may take long.
func TestSilentMonitor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pipe := outboxtest.NewPipe()
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost {
				time.Sleep(10 * answerTime)
				w.Header().Set("Outbox-Monitor", "1")
				w.Write([]byte(`{"v":1,"done":3}`))
				return
			}
			<-r.Context().Done()
		})}
		go server.Serve(pipe)
		defer server.Close()
		cl := newClient(&http.Transport{DialContext: pipe.DialContext})
		defer cl.close()
		cl.base, cl.name = &url.URL{Scheme: "http", Host: "outbox"}, "outbox"

		begun := time.Now()
		if _, err := cl.get(t.Context(), new(overview)); codeOf(err) != exitInUse || time.Since(begun) != answerTime {
			t.Errorf("after %v: %v", time.Since(begun), err)
		}
		if d, err := cl.act(t.Context(), "events", &action{Do: "erase", Key: "k"}); err != nil || d.Done != 3 {
			t.Errorf("an action: %+v, %v", d, err)
		}
	})
}
