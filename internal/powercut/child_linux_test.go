package powercut

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/store"
)

// The test binary started with childDir set is the process that uses a store in that directory, on the
// disk that is to fail. What it says on its standard output, one line each:
//
//	has ID, …, sound   what the store held when it was opened, all of it in order
//	append ID          is about to be appended
//	appended ID        was acknowledged
//	settle ID          is about to be settled as delivered
//	settled ID         was acknowledged
//	error TEXT         of an operation that failed
//	unsound TEXT       the store does not open, or is damaged: the last line
const (
	childDir   = "OUTBOX_POWERCUT_DIR"
	childSeed  = "OUTBOX_POWERCUT_SEED"
	childSteps = "OUTBOX_POWERCUT_STEPS"
)

func say(word string, rest any) {
	// One write, unbuffered: it is out before the next operation, and whole even if we are killed.
	_, _ = os.Stdout.WriteString(fmt.Sprintln(word, rest))
}

// runChild is that process. It ends when it has taken its steps, or after two failures in a row, like
// a service that is then started anew.
func runChild() {
	seed, err1 := strconv.ParseUint(os.Getenv(childSeed), 10, 64)
	steps, err2 := strconv.Atoi(os.Getenv(childSteps))
	if err := errors.Join(err1, err2); err != nil {
		say("unsound", err)
		return
	}
	s, err := store.Open(filepath.Join(os.Getenv(childDir), "outbox"), &store.Options{Gather: -1})
	if err != nil {
		say("unsound", oneLine(err))
		return
	}
	if err := inspect(s); err != nil {
		say("unsound", oneLine(err))
		return
	}
	w := worker{s: s, rng: rand.New(rand.NewPCG(seed, 0))}
	for failures := 0; steps > 0; steps-- {
		if err := w.step(); err == nil {
			failures = 0
			continue
		} else if errors.Is(err, store.ErrCorrupt) {
			say("unsound", oneLine(err))
			return
		} else {
			say("error", oneLine(err))
		}
		if failures++; failures == 2 {
			return
		}
	}
	if err := s.Close(); err != nil {
		say("error", oneLine(err))
	}
}

func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

// inspect checks the store and says what it holds.
func inspect(s *store.Store) error {
	if err := s.Check(context.Background()); err != nil {
		return err
	}
	var b strings.Builder
	n := 0
	for it, err := range s.Pending() {
		if err != nil {
			return err
		}
		if string(it.Payload) != string(payload(it.ID)) {
			return fmt.Errorf("item %d, ID %v: not the payload that was appended", it.Seq, it.ID)
		}
		fmt.Fprintln(&b, "has", it.ID)
		n++
	}
	if c := s.Counts(); c.Pending() != n || c.Dead != 0 {
		return fmt.Errorf("%d items are listed, the ledger has %d, and %d dead", n, c.Pending(), c.Dead)
	}
	_, err := os.Stdout.WriteString(b.String() + "sound\n")
	return err
}

// payload is what the item of an ID carries: 0 to 3 KB, and for every tenth 20 to 40.
func payload(id uuid.UUID) []byte {
	var key [32]byte
	copy(key[:], id[:])
	src := rand.NewChaCha8(key)
	rng := rand.New(src)
	n := rng.IntN(3000)
	if rng.IntN(10) == 0 {
		n = 20_000 + rng.IntN(20_000)
	}
	b := make([]byte, n)
	_, _ = src.Read(b) // never fails
	return b
}

type worker struct {
	s    *store.Store
	rng  *rand.Rand
	held []sender.Outcome // claimed, and not yet settled for sure
}

// A busy store holds about this many items, so that it stays small.
const enough = 60

func (w *worker) step() error {
	c := w.s.Counts()
	if len(w.held) == 0 && c.Pending() < enough && w.rng.IntN(2) == 0 {
		return w.append()
	}
	if len(w.held) == 0 {
		if err := w.claim(); err != nil {
			return err
		}
	}
	return w.settle()
}

func (w *worker) append() error {
	items := make([]sender.Item, 1+w.rng.IntN(3))
	for i := range items {
		for j := range items[i].ID {
			items[i].ID[j] = byte(w.rng.Uint32())
		}
		items[i].Created = time.Now()
		items[i].Payload = payload(items[i].ID)
		say("append", items[i].ID)
	}
	if err := w.s.Append(context.Background(), items...); err != nil {
		return err
	}
	for _, it := range items {
		say("appended", it.ID)
	}
	return nil
}

// claim takes a few items, of which most are to be delivered and some to be tried again.
func (w *worker) claim() error {
	now := time.Now()
	items, _, err := w.s.Claim(context.Background(), now, 1+w.rng.IntN(4), 0)
	for _, it := range items {
		o := sender.Outcome{Item: it, Verdict: sender.Delivered}
		if w.rng.IntN(8) == 0 {
			o.Verdict, o.Due = sender.Retry, now // at once: what is claimed next does not hang on the clock
		}
		w.held = append(w.held, o)
	}
	return err
}

func (w *worker) settle() error {
	if len(w.held) == 0 {
		return nil
	}
	for _, o := range w.held {
		if o.Verdict == sender.Delivered {
			say("settle", o.Item.ID)
		}
	}
	if err := w.s.Settle(context.Background(), w.held...); err != nil {
		return err
	}
	for _, o := range w.held {
		if o.Verdict == sender.Delivered {
			say("settled", o.Item.ID)
		}
	}
	w.held = w.held[:0]
	return nil
}
