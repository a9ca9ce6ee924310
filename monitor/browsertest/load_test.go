package browsertest

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"testing"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/sender"
)

// A page is as small and as readable with a million pending as with none. With OUTBOX_LONG there are
// so many.
func TestPending(t *testing.T) {
	amounts := []int{0, 10, 2000}
	if os.Getenv("OUTBOX_LONG") != "" {
		amounts = []int{0, 10, 1_000_000}
	}
	for _, n := range amounts {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			p := newPlace(t, "track")
			p.answer("track", unauthorized)
			const batch = 5000
			for put := 0; put < n; {
				var es []outbox.Event
				for ; put < n && len(es) < batch; put++ {
					es = append(es, event(put, "some@example.com"))
				}
				p.put("track", es...)
			}
			if n > 0 {
				p.until("track", func(s outbox.Stats) bool { return s.State == sender.LaneHeld })
			}
			page := newTab(t, true)
			for _, query := range []string{"", "lane=track", "lane=track&list=ready&newest=1"} {
				page.to(p.query(query))
				if size := p.size(query); size > 60<<10 {
					t.Errorf("%s: %d bytes, at most 60 KB expected", query, size)
				}
				for _, width := range []int64{360, 1440} {
					page.view(width, "light")
					if wide := page.overflow(); wide != "" {
						t.Errorf("%s, %d pixels: %s", query, width, wide)
					}
					page.keep(fmt.Sprint(query, " ", width))
				}
			}
			page.to(p.query("lane=track"))
			page.reads(grouped(n) + " pending")
		})
	}
}

// grouped is a number as the pages write it.
func grouped(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// size is how long a page is.
func (p *place) size(query string) int64 {
	p.t.Helper()
	r, err := http.Get(p.query(query))
	if err != nil {
		p.t.Fatal(err)
	}
	defer r.Body.Close()
	n, err := io.Copy(io.Discard, r.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return n
}
