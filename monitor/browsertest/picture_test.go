package browsertest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/limiter"
	"github.com/seed8107221f/outbox/monitor"
	"github.com/seed8107221f/outbox/sender"
)

// A refused answer is one that has a status.
type refused int

func (r refused) Status() int { return int(r) }
func (r refused) Error() string {
	return fmt.Sprintf("POST track.example.com/api/v2/batch: %d %s", int(r), http.StatusText(int(r)))
}

// TestPicture makes docs/monitor.png. It takes fifteen minutes, so it needs OUTBOX_PICTURE, the file to
// write, and -timeout 30m. pngquant makes the file a third as large.
func TestPicture(t *testing.T) {
	file := os.Getenv("OUTBOX_PICTURE")
	if file == "" {
		t.Skip("OUTBOX_PICTURE is not set")
	}
	var down atomic.Bool
	send := sender.TransportFunc(func(_ context.Context, it sender.Item) error {
		switch n := rand.IntN(9000); {
		case down.Load():
			return sender.Unavailable(refused(401))
		case it.Kind == "event" && n < 1:
			return sender.Permanent(errors.New("400, event name is empty"))
		case n < 9:
			return refused(503)
		}
		return nil
	})
	b, err := outbox.Open(filepath.Join(t.TempDir(), "customerio.db"), send, &outbox.Options{Limiter: &limiter.Limiter{PerSecond: 80, Burst: 8}, Sender: sender.Options{Concurrency: 24}})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	m, err := monitor.New(map[string]*outbox.Outbox{"track": b}, &monitor.Options{Allow: func(*http.Request, string) monitor.Access { return everything }})
	if err != nil {
		t.Fatal(err)
	}
	p := &place{t: t, m: m}
	p.serve(m)
	put := func(n int) {
		var es []outbox.Event
		for range n {
			e := outbox.Event{Kind: "event", Key: fmt.Sprint("customer-", 1000+rand.IntN(90000)), Payload: []byte(`{"name":"plan changed","data":{"plan":"basic"}}`)}
			if rand.IntN(3) == 0 {
				e.Kind = "identify"
			}
			if rand.IntN(400) == 0 {
				e.NotBefore = time.Now().Add(time.Hour)
			}
			es = append(es, e)
		}
		if _, err := b.PutAll(t.Context(), es...); err != nil {
			t.Fatal(err)
		}
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	rate := 45.0
	for second := range 15 * 60 {
		<-tick.C
		switch {
		case second < 5*60:
			rate += 14*rand.Float64() - 7 + (52-rate)/20
		case second < 10*60:
			rate = 75 + 10*rand.Float64()
			if second == 5*60 {
				put(20_000)
			}
		case second == 10*60:
			down.Store(true)
		}
		put(int(rate))
	}
	page := newTab(t, true)
	page.do("set the size", chromedp.EmulateViewport(1120, 1150))
	page.to(p.host + "/?lane=track")
	page.comes("Live")
	png, err := chromedp.Run(page.ctx, chromedp.CaptureScreenshot())
	page.check("take the picture", err)
	if err := os.WriteFile(file, png, 0o644); err != nil {
		t.Fatal(err)
	}
}
