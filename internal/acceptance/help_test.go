package acceptance

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/internal/campaign"
	"github.com/seed8107221f/outbox/internal/loopback"
	"github.com/seed8107221f/outbox/outboxtest"
	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/store"
)

// The variables that make the test binary another process: which task, on which file, at which URL.
const (
	childTask = "OUTBOX_TEST_TASK"
	childPath = "OUTBOX_TEST_PATH"
	childURL  = "OUTBOX_TEST_URL"
)

// tasks is what other processes of these tests run.
var tasks = map[string]func(path string) error{}

// TestMain runs a task, or the tests. The tests wait for the disk and for other processes more than
// they compute, so that more of them than processors run at once.
func TestMain(m *testing.M) {
	if name := os.Getenv(childTask); name != "" {
		if err := tasks[name](os.Getenv(childPath)); err != nil {
			fmt.Println("failed:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	loopback.Only()
	flag.Parse()
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	campaign.Run(m)
}

// forKind is a transport that answers events of a kind so, and accepts all others.
func forKind(kind string, a outboxtest.Answer) *outboxtest.Transport {
	tr := outboxtest.NewTransport()
	tr.For(outboxtest.Want{Kind: kind}, outboxtest.Always(a))
	return tr
}

// delivered returns the payloads that tr has accepted so far, in order. Each request has one.
func delivered(tr *outboxtest.Transport) (names []string) {
	for _, r := range tr.Requests() {
		if r.Errs != nil && r.Errs[0] == nil {
			names = append(names, string(r.Items[0].Payload))
		}
	}
	return names
}

func open(t *testing.T, path string, tr sender.Transport, o *outbox.Options) *outbox.Outbox {
	t.Helper()
	b, err := outbox.Open(path, tr, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		b.Close()
		sound(t, path)
	})
	return b
}

// sound runs Check over a closed outbox.
func sound(t *testing.T, path string) {
	t.Helper()
	st, err := store.Open(path, nil)
	if err != nil {
		t.Error(err)
		return
	}
	defer st.Close()
	if err := st.Check(context.Background()); err != nil {
		t.Error(err)
	}
}

func put(t *testing.T, b *outbox.Outbox, kind, key, payload string) {
	t.Helper()
	if _, err := b.Put(t.Context(), outbox.Event{Kind: kind, Key: key, Payload: []byte(payload)}); err != nil {
		t.Fatal(err)
	}
}

func newPath(t *testing.T) string { return filepath.Join(t.TempDir(), "outbox.db") }

// ledger checks that every event put is accounted for.
func ledger(t *testing.T, s outbox.Stats) {
	t.Helper()
	if sum := uint64(s.Pending+s.Dead) + s.Delivered + s.Expired + s.Dropped; sum != s.Put {
		t.Errorf("put %d, accounted for %d: %+v", s.Put, sum, s)
	}
	if sum := s.Ready + s.Scheduled + s.Retrying + s.InLine + s.InFlight; sum != s.Pending {
		t.Errorf("pending %d, its parts come to %d: %+v", s.Pending, sum, s)
	}
}

// answer is a transport that always returns err.
func answer(err error) sender.TransportFunc {
	return func(context.Context, sender.Item) error { return err }
}

// payloads lists what is pending.
func payloads(t *testing.T, b *outbox.Outbox) (names []string) {
	t.Helper()
	for it, err := range b.Pending() {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, string(it.Payload))
	}
	return names
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
