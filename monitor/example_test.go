package monitor_test

import (
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/monitor"
)

func Example() {
	dir, err := os.MkdirTemp("", "example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	b, err := outbox.Open(filepath.Join(dir, "events.db"), nil, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer b.Close()
	m, err := monitor.New(map[string]*outbox.Outbox{"mail": b}, &monitor.Options{
		Allow: func(r *http.Request, lane string) monitor.Access {
			name, _, ok := r.BasicAuth() // of the application's own login, checked in front
			return monitor.Access{Name: name, Read: ok}
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()
	mux := http.NewServeMux()
	mux.Handle("/outbox/", m)

	r := httptest.NewRequest("GET", "/outbox/", nil)
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, r)
	fmt.Println(w.Code)
	r.SetBasicAuth("oncall", "")
	w = httptest.NewRecorder()
	mux.ServeHTTP(w, r)
	fmt.Println(w.Code)
	// Output:
	// 403
	// 200
}
