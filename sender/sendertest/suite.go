// Package sendertest has a [sender.Queue] in memory, and the suite that any Queue must pass.
//
// The author of a Queue calls [Test] from a test:
//
//	func TestQueue(t *testing.T) {
//		sendertest.Test(t, func(t *testing.T) sendertest.Queue {
//			q, err := Open(filepath.Join(t.TempDir(), "queue"))
//			if err != nil {
//				t.Fatal(err)
//			}
//			t.Cleanup(func() { q.Close() })
//			return q
//		})
//	}
//
// A test of a Transport or a Sender uses a [Memory] in place of the real queue.
//
// # Caveats
//
// The suite runs in the bubbles of testing/synctest, where time stands still until every goroutine
// waits. A Queue must read its clock by package time, and its goroutines must end when it is
// closed.
package sendertest

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/seed8107221f/outbox/sender"
)

// Queue is what [Test] tests: a queue for a sender, and the way into it.
type Queue interface {
	sender.Queue
	// Append stores items durably in their order, all or none, and assigns their Seq. An item whose
	// Due is after now waits until then, by the wall clock; any other is ready. It keeps no
	// reference to what the items hold.
	Append(ctx context.Context, items ...sender.Item) error
}

// The suite finds further abilities of a Queue by type assertion, and skips what needs one that is
// absent. A test may wrap its queue to add them.
type (
	// Reopener can crash, or be closed, and opened again.
	Reopener interface {
		// Reopen returns the queue as it is found afterwards: nothing is in flight, and everything
		// that had been acknowledged is there. The old one is not used any more.
		Reopen(t *testing.T) Queue
	}
	// Counter counts, as a store does.
	Counter interface {
		Counts() sender.Counts
	}
	// Owner gives the owner of the items a say in them, by their Seq. See [Memory] for what each
	// method does.
	Owner interface {
		Dead() []sender.Item
		Drop(seqs ...uint64)
		Revive(seqs ...uint64)
	}
	// Failer can fail on demand.
	Failer interface {
		// FailNext makes the next n calls of Settle that have outcomes return an error that wraps
		// err, after having been recorded (applied) or without.
		FailNext(n int, err error, applied bool)
	}
)

// Test runs the suite: one subtest for each clause of the contract, and random walks. open is
// called once in each, with the subtest's own t and inside its bubble; it returns a fresh, empty
// queue and registers what must be cleaned up with t.
func Test(t *testing.T, open func(t *testing.T) Queue) {
	for _, c := range clauses {
		t.Run(c.says, func(t *testing.T) {
			bubble(t, func(t *testing.T) { c.test(&subject{t, open(t)}) })
		})
	}
	walks := 8
	if testing.Short() {
		walks = 2
	}
	for range walks {
		seed := rand.Uint64()
		t.Run(fmt.Sprintf("random walk %d", seed), func(t *testing.T) { Walk(t, open, seed) })
	}
}

// bubble is synctest.Test, and tells the outer t that the inner one was skipped.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	skipped := false
	synctest.Test(t, func(t *testing.T) {
		defer func() { skipped = t.Skipped() }()
		f(t)
	})
	if skipped {
		t.SkipNow()
	}
}

// subject is the queue under test, with the words in which the clauses are written. Each fails the
// test if the queue breaks the contract.
//
// An item is written as a name like "a1", which is its payload; the letters are its key. A name
// without letters has no key. Several are written "a1 a2 b1 7".
type subject struct {
	*testing.T
	q Queue
}

var named = regexp.MustCompile(`^([a-z]*)[0-9]+$`)

func newItem(name string) sender.Item {
	return sender.Item{
		ID:      uuid.New(),
		Kind:    "test",
		Key:     named.FindStringSubmatch(name)[1],
		Payload: []byte(name),
		Created: time.Now(),
	}
}

// put appends items that are ready, in one call.
func (s *subject) put(names string) {
	s.Helper()
	var items []sender.Item
	for name := range strings.FieldsSeq(names) {
		items = append(items, newItem(name))
	}
	s.append(items...)
}

// schedule appends one item that is not due before at.
func (s *subject) schedule(name string, at time.Time) {
	s.Helper()
	it := newItem(name)
	it.Due = at
	s.append(it)
}

func (s *subject) append(items ...sender.Item) {
	s.Helper()
	if err := s.q.Append(s.Context(), items...); err != nil {
		s.Fatalf("Append of %d items: %v", len(items), err)
	}
}

// claim claims until it has max items or there is nothing more, and returns them in order.
func (s *subject) claim(max int) []sender.Item {
	s.Helper()
	items, _ := s.claimNext(max)
	return items
}

// claimNext is claim, and returns the last next too.
func (s *subject) claimNext(max int) ([]sender.Item, time.Time) {
	s.Helper()
	var all []sender.Item
	for range 1000 {
		items, next := s.claimOnce(max-len(all), 0)
		all = append(all, items...)
		if len(all) == max || next.IsZero() || next.After(time.Now()) {
			return all, next
		}
	}
	s.Fatalf("Claim wanted to be called again 1000 times, and gave only %d items of %d", len(all), max)
	return nil, time.Time{}
}

// claimOnce is one call of Claim.
func (s *subject) claimOnce(max, maxBytes int) ([]sender.Item, time.Time) {
	s.Helper()
	items, next, err := s.q.Claim(s.Context(), time.Now(), max, maxBytes)
	if err != nil {
		s.Fatalf("Claim of up to %d items: %v", max, err)
	}
	if len(items) > max {
		s.Fatalf("Claim gave %d items, asked for at most %d", len(items), max)
	}
	return items, next
}

// claims claims whatever is there: these items, in any order. It returns them in the order of
// names.
func (s *subject) claims(names string) []sender.Item {
	s.Helper()
	want := strings.Fields(names)
	got := s.claim(len(want) + 1)
	byName := make(map[string]sender.Item)
	for _, it := range got {
		byName[string(it.Payload)] = it
	}
	sorted := slices.Sorted(slices.Values(want))
	if len(got) != len(want) || !slices.Equal(slices.Sorted(maps.Keys(byName)), sorted) {
		s.Fatalf("claimed %q, want %q", payloads(got), want)
	}
	var items []sender.Item
	for _, name := range want {
		items = append(items, byName[name])
	}
	return items
}

func payloads(items []sender.Item) []string {
	var names []string
	for _, it := range items {
		names = append(names, string(it.Payload))
	}
	return names
}

// settle gives all items the same verdict.
func (s *subject) settle(v sender.Verdict, items ...sender.Item) {
	s.Helper()
	var outcomes []sender.Outcome
	for _, it := range items {
		outcomes = append(outcomes, sender.Outcome{Item: it, Verdict: v})
	}
	s.record(outcomes...)
}

// retry settles items as failed, due again at the moment it returns, which is d from now.
func (s *subject) retry(d time.Duration, items ...sender.Item) time.Time {
	s.Helper()
	due := time.Now().Add(d)
	var outcomes []sender.Outcome
	for _, it := range items {
		outcomes = append(outcomes, sender.Outcome{Item: it, Verdict: sender.Retry, Due: due})
	}
	s.record(outcomes...)
	return due
}

func (s *subject) record(outcomes ...sender.Outcome) {
	s.Helper()
	given := slices.Clone(outcomes)
	if err := s.q.Settle(s.Context(), given...); err != nil {
		s.Fatalf("Settle of %d outcomes: %v", len(outcomes), err)
	}
	clear(given) // it is ours again
}

// is checks a moment that the queue tells, with room for what is lost between clock and file.
func (s *subject) is(what string, got, want time.Time) {
	s.Helper()
	if !near(got, want) {
		s.Fatalf("%s is %v, want %v", what, got, want)
	}
}

func near(a, b time.Time) bool { return a.Sub(b).Abs() <= time.Millisecond }

// until sleeps until the moment at.
func until(at time.Time) { time.Sleep(time.Until(at)) }

// reopen goes on with the queue as a crash leaves it.
func (s *subject) reopen() {
	s.Helper()
	s.q = need[Reopener](s).Reopen(s.T)
}

// need returns the queue as one that has the ability A, and skips the test if it has not.
func need[A any](s *subject) A {
	s.Helper()
	a, ok := s.q.(A)
	if !ok {
		s.Skipf("the queue is no %v", reflect.TypeFor[A]())
	}
	return a
}

// counts returns the ledger of a Counter; of any other queue, zeros.
func (s *subject) counts() sender.Counts {
	if c, ok := s.q.(Counter); ok {
		return ledger(c.Counts())
	}
	return sender.Counts{}
}

// ledger returns what does not depend on how a queue counts: without bytes, times, and the division
// of what is neither scheduled nor retrying nor in flight into Ready and InLine.
func ledger(c sender.Counts) sender.Counts {
	return sender.Counts{
		Pending: c.Pending, Scheduled: c.Scheduled, Retrying: c.Retrying, InFlight: c.InFlight, Dead: c.Dead,
		Put: c.Put, Delivered: c.Delivered, Expired: c.Expired, Dropped: c.Dropped,
	}
}

// ledger checks the counts of a Counter; of any other queue, nothing.
func (s *subject) ledger(want sender.Counts) {
	s.Helper()
	c, ok := s.q.(Counter)
	if !ok {
		return
	}
	got := c.Counts()
	if ledger(got) != want {
		s.Fatalf("the ledger is %+v, want %+v", ledger(got), want)
	}
	s.adds(got)
}

// adds checks that the parts of the counts add up.
func (s *subject) adds(c sender.Counts) {
	s.Helper()
	if sum := uint64(c.Pending+c.Dead) + c.Delivered + c.Expired + c.Dropped; sum != c.Put {
		s.Fatalf("put %d, accounted for %d: %+v", c.Put, sum, c)
	}
	// What was dropped in flight or in line may be counted there until it is settled.
	sum := c.Ready + c.Scheduled + c.Retrying + c.InLine + c.InFlight
	if sum < c.Pending || sum > c.Pending+int(c.Dropped) {
		s.Fatalf("pending %d, its parts come to %d: %+v", c.Pending, sum, c)
	}
	if min(c.Ready, c.Scheduled, c.Retrying, c.InLine, c.InFlight, c.Dead) < 0 || c.Bytes < 0 || c.DeadBytes < 0 {
		s.Fatalf("a count is negative: %+v", c)
	}
}
