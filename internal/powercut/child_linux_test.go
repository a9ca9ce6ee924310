package powercut

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"iter"
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
//	has ID, dead ID, …, sound   what the store held when it was opened, all of it
//	append ID                   is about to be appended
//	appended ID                 was acknowledged
//	refused ID                  was not stored, says the error
//	settle ID, kill ID          is about to be settled as delivered, as dead
//	settled ID, killed ID       was acknowledged
//	kept ID                     was not settled, says the error
//	error TEXT                  of an operation that failed
//	unsound TEXT                the store does not open, or is damaged: the last line
//	broken TEXT                 it does not do what it must, whatever the disk did: the last line
//	ask WORD                    waits for a line on the standard input
const (
	childDir    = "OUTBOX_POWERCUT_DIR"
	childSeed   = "OUTBOX_POWERCUT_SEED"
	childSteps  = "OUTBOX_POWERCUT_STEPS"
	childScript = "OUTBOX_POWERCUT_SCRIPT"
)

func say(word string, rest any) {
	// One write, unbuffered: it is out before the next operation, and whole even if we are killed.
	_, _ = os.Stdout.WriteString(fmt.Sprintln(word, rest))
}

var answers = bufio.NewScanner(os.Stdin)

// ask waits for what the tests have to say.
func ask(word string) string {
	say("ask", word)
	if !answers.Scan() {
		os.Exit(0) // they have gone
	}
	return answers.Text()
}

// broken ends the process: the store does not keep a promise.
func broken(format string, args ...any) {
	say("broken", oneLine(fmt.Errorf(format, args...)))
	os.Exit(0)
}

// runChild is that process.
func runChild() {
	seed, err1 := strconv.ParseUint(os.Getenv(childSeed), 10, 64)
	steps, err2 := strconv.Atoi(os.Getenv(childSteps))
	if err := errors.Join(err1, err2); err != nil {
		say("unsound", err)
		return
	}
	w := &worker{path: filepath.Join(os.Getenv(childDir), "outbox"), rng: rand.New(rand.NewPCG(seed, 0))}
	script, op, _ := strings.Cut(os.Getenv(childScript), " ")
	if op == "create" || op == "open" {
		w.failing(op)
		return
	}
	if err := w.open(); err != nil {
		say("unsound", oneLine(err))
		return
	}
	if err := w.inspect(); err != nil {
		say("unsound", oneLine(err))
		return
	}
	switch script {
	case "":
		w.live(steps)
	case "failing":
		w.failing(op)
	case "full":
		w.fill()
	case "compact":
		w.compact(op)
	}
}

func (w *worker) open() (err error) {
	w.s, err = store.Open(w.path, &store.Options{Gather: -1})
	return err
}

// live takes steps, and ends after two failures in a row, like a service that is then started again.
func (w *worker) live(steps int) {
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
	if err := w.s.Close(); err != nil {
		say("error", oneLine(err))
	}
}

func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

// inspect checks the store and says what it holds.
func (w *worker) inspect() error {
	if err := w.s.Check(context.Background()); err != nil {
		return err
	}
	var b strings.Builder
	list := func(word string, items iter.Seq2[sender.Item, error], want int) error {
		n := 0
		for it, err := range items {
			if err != nil {
				return err
			}
			if string(it.Payload) != string(payload(it.ID)) {
				return fmt.Errorf("item %d, ID %v: not the payload that was appended", it.Seq, it.ID)
			}
			fmt.Fprintln(&b, word, it.ID)
			n++
		}
		if n != want {
			return fmt.Errorf("%d are listed of what %s, the ledger has %d", n, word, want)
		}
		return nil
	}
	c := w.s.Counts()
	if err := errors.Join(list("has", w.s.Pending(), c.Pending), list("dead", w.s.Dead(), c.Dead)); err != nil {
		return err
	}
	_, err := os.Stdout.WriteString(b.String() + "sound\n")
	return err
}

// payload is what the item of an ID carries: 0 to 3 KB, for every tenth 20 to 40, and for a large one
// 100 to 1000.
func payload(id uuid.UUID) []byte {
	var key [32]byte
	copy(key[:], id[:])
	src := rand.NewChaCha8(key)
	rng := rand.New(src)
	n := rng.IntN(3000)
	if id[0] == large {
		n = 100_000 + rng.IntN(900_000)
	} else if rng.IntN(10) == 0 {
		n = 20_000 + rng.IntN(20_000)
	}
	b := make([]byte, n)
	_, _ = src.Read(b) // never fails
	return b
}

const large = 0xff // the first byte of the ID of a large item

func newItem(rng *rand.Rand) (it sender.Item) {
	for j := range it.ID {
		it.ID[j] = byte(rng.Uint32())
	}
	it.ID[0] &^= 0x80 // not large
	it.Created = time.Now()
	it.Payload = payload(it.ID)
	return it
}

type worker struct {
	path string
	s    *store.Store
	rng  *rand.Rand
	held []sender.Outcome // claimed, and not yet settled for sure
}

// A busy store holds about this many items, so that it stays small.
const enough = 60

func (w *worker) step() error {
	if w.rng.IntN(12) == 0 {
		return w.s.Compact(context.Background())
	}
	c := w.s.Counts()
	if len(w.held) == 0 && c.Pending < enough && w.rng.IntN(2) == 0 {
		return w.append(1 + w.rng.IntN(3))
	}
	if len(w.held) == 0 {
		if err := w.claim(1+w.rng.IntN(4), 8); err != nil {
			return err
		}
	}
	return w.settle()
}

// append puts some new items.
func (w *worker) append(n int) error {
	items := make([]sender.Item, n)
	for i := range items {
		items[i] = newItem(w.rng)
	}
	return w.put(items...)
}

func (w *worker) put(items ...sender.Item) error {
	for _, it := range items {
		say("append", it.ID)
	}
	err := w.s.Append(context.Background(), items...)
	for _, it := range items {
		if err == nil {
			say("appended", it.ID)
		} else if nothing(err) {
			say("refused", it.ID)
		}
	}
	return err
}

// nothing reports whether an error promises that nothing was stored.
func nothing(err error) bool { return strings.Contains(err.Error(), "nothing was stored") }

// claim takes items, of which one in so many is to be tried again and the others are delivered.
func (w *worker) claim(n, retries int) error {
	now := time.Now()
	items, _, err := w.s.Claim(context.Background(), now, n, 0)
	for _, it := range items {
		o := sender.Outcome{Item: it, Verdict: sender.Delivered}
		if w.rng.IntN(retries) == 0 {
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
	each := func(delivered, dead string) {
		for _, o := range w.held {
			switch o.Verdict {
			case sender.Delivered:
				say(delivered, o.Item.ID)
			case sender.Dead:
				say(dead, o.Item.ID)
			}
		}
	}
	each("settle", "kill")
	if err := w.s.Settle(context.Background(), w.held...); err != nil {
		if nothing(err) {
			each("kept", "kept")
		}
		return err
	}
	each("settled", "killed")
	w.held = w.held[:0]
	return nil
}
