package outboxtest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/internal/fault"
	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/store"
)

// An Outbox is a real outbox in the folder of a test, and what the test needs around it. Its own
// methods are for the goroutine of the test, except FullDisk, FailCommits and HangCommits, which
// any may call while none is in Crash or Restart. Those of outbox.Outbox are for all.
type Outbox struct {
	// Outbox is given to the code under test. Crash and Restart replace it.
	*outbox.Outbox
	// Sent is what it delivers to; nil if that is not one of ours.
	Sent *Transport

	t       testing.TB
	o       Options // every default filled in
	bubble  bool
	dir     string
	path    string // of the file
	files   int    // how many there were
	disk    *disk
	journal *journal
}

// Options are the settings of an [Outbox]. nil and the zero value are fine.
type Options struct {
	// Transport is what it delivers to. nil: a Transport that accepts everything, found in
	// Outbox.Sent.
	Transport sender.Transport
	// Outbox are the settings of the outbox itself. A nil Logger means the log of t. Outside a
	// bubble a nil Backoff means 10ms.
	Outbox outbox.Options
	// Limiter makes the Limiter of each process: New calls it, and Crash and Restart do. A new one
	// knows nothing of past starts. nil: all processes use the Limiter of Outbox.
	Limiter func() sender.Limiter
	// Patience is how long Drain and Settle wait. 0 means 48h in a bubble and 10s outside.
	Patience time.Duration
}

// New opens an outbox in t's folder. When t ends, requests in flight are cut off, the outbox is
// closed, and its file is checked (store.Store.Check). If t failed, what was put and what became of
// it is logged, event by event, without payloads. nil options mean the defaults.
func New(t testing.TB, o *Options) *Outbox {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatalf("outboxtest: the folder of the test: %v", err)
	}
	b := &Outbox{t: t, bubble: inBubble(), dir: dir, disk: newDisk(), journal: newJournal()}
	if o != nil {
		b.o = *o
	}
	if b.o.Transport == nil {
		b.o.Transport = NewTransport()
	}
	b.Sent, _ = b.o.Transport.(*Transport)
	s := &b.o.Outbox.Sender
	if s.Backoff == nil && !b.bubble {
		s.Backoff = func(int) time.Duration { return 10 * time.Millisecond }
	}
	if s.Logger == nil {
		s.Logger = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{ReplaceAttr: b.sinceNew}))
	}
	if b.o.Patience == 0 {
		b.o.Patience = 10 * time.Second
		if b.bubble {
			b.o.Patience = 48 * time.Hour
		}
	}
	s.OnOutcome = b.journal.onOutcome(s.OnOutcome)
	b.o.Outbox.OnPut = b.journal.onPut(b.o.Outbox.OnPut)
	t.Cleanup(b.end)
	b.path = b.newPath()
	b.open()
	return b
}

// sinceNew has the log tell the time since New.
func (b *Outbox) sinceNew(groups []string, a slog.Attr) slog.Attr {
	if a.Key == slog.TimeKey && len(groups) == 0 && a.Value.Kind() == slog.KindTime {
		return slog.String(slog.TimeKey, b.journal.at(a.Value.Time()))
	}
	return a
}

func (b *Outbox) newPath() string {
	b.files++
	return filepath.Join(b.dir, fmt.Sprintf("outbox-%d.db", b.files))
}

// open opens the outbox in the file at b.path.
func (b *Outbox) open() {
	b.t.Helper()
	defer fault.Set(b.path, b.disk.faults())()
	if b.o.Limiter != nil {
		b.o.Outbox.Limiter = b.o.Limiter()
	}
	var err error
	if b.Outbox, err = outbox.Open(b.path, b.o.Transport, &b.o.Outbox); err != nil {
		b.t.Fatalf("outboxtest: %v", err)
	}
}

// ended is a context that has ended.
var ended = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// end closes and checks the outbox when t ends.
func (b *Outbox) end() {
	b.t.Helper()
	if b.Outbox != nil {
		b.disk.heal()
		closeErr := b.Shutdown(ended)
		if st, err := b.store(); err != nil {
			b.t.Errorf("outboxtest: the file cannot be checked: %v", errors.Join(err, closeErr))
		} else if err := errors.Join(st.Check(context.Background()), st.Close()); err != nil {
			b.t.Errorf("outboxtest: %v", err)
		}
	}
	if b.t.Failed() {
		b.t.Logf("outboxtest: what was put and what became of it, by the time since New:\n%s", b.journal)
	}
}

// store opens the file, which no outbox uses, without an outbox.
func (b *Outbox) store() (*store.Store, error) {
	o := b.o.Outbox.Store
	o.LockTimeout = -1
	return store.Open(b.path, &o)
}

// Crash is kill -9: the outbox is abandoned, and its file as it lies on disk is opened again. What
// was in flight goes again; a Put that has not returned gives an error, and its event is stored or
// not.
//
// The outbox in b.Outbox is a new one. The code under test is to be given that, as a program that
// was started again would be; the old one is closed. The new file has a path of its own, so that
// nothing of the old outbox can touch it. Faults of the disk are over.
//
// The Limiter of Options.Outbox lives on, and with it what it knows of past starts, unless
// Options.Limiter makes a new one. A pause that it was told ends, if it is a sender.Resumer: a new
// process knows only the pause in the file.
func (b *Outbox) Crash() {
	b.t.Helper()
	old, from := b.Outbox, b.path
	b.disk.crash()
	b.path = b.newPath()
	file, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(b.path, file, 0o600)
	}
	if err != nil {
		b.t.Fatalf("outboxtest: crash: %v", err)
	}
	_ = old.Shutdown(ended) // it cannot record what it did
	b.disk = newDisk()
	b.again("crash")
}

// Restart closes the outbox as a program does that ends in good order, and opens it again. Requests
// in flight may finish for five seconds. The outbox in b.Outbox is a new one, in the same file, and
// so the old one must have nothing to do; see Crash. Faults of the disk are over.
func (b *Outbox) Restart() {
	b.t.Helper()
	b.disk.heal()
	if err := b.Close(); err != nil && !errors.Is(err, outbox.ErrPending) {
		b.t.Fatalf("outboxtest: restart: %v", err)
	}
	b.again("restart")
}

// again opens the outbox again, after the journal has caught up with the file.
func (b *Outbox) again(how string) {
	b.t.Helper()
	st, err := b.store()
	if err != nil {
		b.t.Fatalf("outboxtest: %s: %v", how, err)
	}
	c := st.Counts()
	err = b.journal.follow(lane{st.Pending(), st.Dead(), c.Delivered, c.Expired})
	if err = errors.Join(err, st.Close()); err != nil {
		b.t.Fatalf("outboxtest: %s: %v", how, err)
	}
	b.journal.crashed(how)
	if r, ok := b.o.Outbox.Limiter.(sender.Resumer); ok && b.o.Limiter == nil {
		r.Resume()
	}
	b.open()
}
