package store

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox/internal/campaign"
	"github.com/seed8107221f/outbox/sender"
)

// crashing appends, claims and settles until it is killed, and says what it was told: "put" and an ID
// when Append has returned, "try" before Settle is called and "done" when it has returned, for items
// that are delivered.
func crashing(path string) error {
	s, err := Open(path, &Options{Gather: 2 * time.Millisecond})
	if err != nil {
		return err
	}
	var mu sync.Mutex
	say := func(what string, ids ...uuid.UUID) {
		var lines strings.Builder
		for _, id := range ids {
			fmt.Fprintln(&lines, what, id)
		}
		mu.Lock()
		defer mu.Unlock()
		_, _ = os.Stdout.WriteString(lines.String())
	}
	fmt.Println("begun")
	broken := make(chan error, 1)
	end := func(err error) {
		select {
		case broken <- err:
		default:
		}
	}
	for w := range 8 {
		go func() {
			for n := w; ; n++ {
				items := make([]sender.Item, 1+n%3)
				var ids []uuid.UUID
				for i := range items {
					items[i] = event("crash", []string{"", "a", "b", "c"}[(n+i)%4])
					items[i].Payload = make([]byte, rand.IntN(2000))
					ids = append(ids, items[i].ID)
				}
				if err := s.Append(context.Background(), items...); err != nil {
					end(err)
					return
				}
				say("put", ids...)
			}
		}()
	}
	for range 2 {
		go func() {
			for {
				items, _, err := s.Claim(context.Background(), time.Now(), 8, 0)
				if err != nil {
					end(err)
					return
				}
				var outcomes []sender.Outcome
				var ids []uuid.UUID
				for _, it := range items {
					switch rand.IntN(6) {
					case 0:
						outcomes = append(outcomes, failed(it, sender.Retry, time.Now().Add(time.Millisecond)))
					case 1:
						outcomes = append(outcomes, failed(it, sender.Dead, time.Time{}))
					case 2:
						outcomes = append(outcomes, sender.Outcome{Item: it, Verdict: sender.Released})
					default:
						outcomes = append(outcomes, delivered(it)...)
						ids = append(ids, it.ID)
					}
				}
				say("try", ids...)
				if err := s.Settle(context.Background(), outcomes...); err != nil {
					end(err)
					return
				}
				say("done", ids...)
			}
		}()
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // the parent has ended
		end(nil)
	}()
	return <-broken
}

// What a killed process had acknowledged is there, or was delivered; what it had recorded as delivered
// does not come back.
func TestKill(t *testing.T) {
	t.Parallel()
	rounds := campaign.Pick(50, 10, 2)
	path := filepath.Join(t.TempDir(), "outbox")
	var (
		expected  = make(map[uuid.UUID]bool) // acknowledged, and not seen to be delivered
		tried     = make(map[uuid.UUID]bool) // of which the outcome is unknown
		gone      = make(map[uuid.UUID]bool) // recorded as delivered
		appended  uint64
		delivered uint64
	)
	// On a busy machine the first rounds may end before anything was delivered.
	for round := 0; round < rounds || delivered == 0 && round < 100; round++ {
		c := startChild(t, "crash", path)
		c.says(t, "begun")
		timer := time.AfterFunc(time.Duration(rand.IntN(60))*time.Millisecond, func() { _ = c.cmd.Process.Kill() })
		for c.out.Scan() {
			what, rest, _ := strings.Cut(c.out.Text(), " ")
			id, err := uuid.Parse(rest)
			if err != nil {
				continue // the last line was cut short
			}
			switch what {
			case "put":
				expected[id] = true
				appended++
			case "try":
				tried[id] = true
			case "done":
				gone[id] = true
				delivered++
			}
		}
		timer.Stop()
		_ = c.cmd.Wait()
		if code := c.cmd.ProcessState.ExitCode(); code >= 0 {
			t.Fatalf("round %d: the child ended by itself, code %d", round, code)
		}

		s := openStore(t, path, nil)
		there := make(map[uuid.UUID]bool)
		for _, it := range append(list(t, s.Pending()), list(t, s.Dead())...) {
			if there[it.ID] {
				t.Errorf("round %d: %v is there twice", round, it.ID)
			}
			if gone[it.ID] {
				t.Errorf("round %d: %v was recorded as delivered and came back", round, it.ID)
			}
			there[it.ID] = true
		}
		for id := range expected {
			if !there[id] {
				if !tried[id] {
					t.Errorf("round %d: %v was acknowledged and is lost", round, id)
				}
				delete(expected, id)
			}
		}
		if n := s.Counts(); n.Put < appended || n.Delivered < delivered {
			t.Errorf("round %d: %d put and %d delivered, at least %d and %d expected", round, n.Put, n.Delivered, appended, delivered)
		}
		clear(tried)
		checkedClose(t, s)
		if t.Failed() {
			return
		}
	}
	t.Logf("%d rounds, %d acknowledged, %d recorded as delivered, %d left", rounds, appended, delivered, len(expected))
	if appended == 0 || delivered == 0 {
		t.Error("nothing happened between the kills")
	}
}
