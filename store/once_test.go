package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox/internal/campaign"
	"github.com/seed8107221f/outbox/sender"
)

// sendingOnce sends at most once until it is killed. Its standard output is the destination, which gets
// a line "accepted" or "refused" and the ID for each item. Most answers are lost, late or an error.
func sendingOnce(path string) error {
	s, err := Open(path, &Options{Gather: 2 * time.Millisecond})
	if err != nil {
		return err
	}
	fmt.Println("begun")
	t := sender.TransportFunc(func(ctx context.Context, it sender.Item) error {
		refused := rand.IntN(4) == 0
		word := map[bool]string{false: "accepted", true: "refused"}[refused]
		if _, err := os.Stdout.WriteString(fmt.Sprintln(word, it.ID)); err != nil {
			return err
		}
		time.Sleep(time.Duration(rand.IntN(3000)) * time.Microsecond)
		switch {
		case refused && rand.IntN(2) == 0:
			return sender.Later(errors.New("not now"), time.Millisecond)
		case refused:
			return sender.Throttled(errors.New("not so fast"), time.Millisecond)
		case rand.IntN(10) == 0:
			return errors.New("500")
		}
		return nil
	})
	o := &sender.Options{AtMostOnce: true, Concurrency: 4, Backoff: func(int) time.Duration { return 10 * time.Millisecond }}
	d, err := sender.New(s, t, nil, o)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // the parent has ended
		cancel()
	}()
	s.Attach(d.Wake)
	return d.Run(ctx)
}

// However often the sender is killed, the destination accepts no item twice; each is delivered, pending,
// or dead with the reason that nobody knows its answer.
func TestKillAtMostOnce(t *testing.T) {
	t.Parallel()
	rounds := campaign.Pick(40, 10, 5)
	path := filepath.Join(t.TempDir(), "outbox")
	all := make(map[uuid.UUID]bool)
	accepted := make(map[uuid.UUID]int)
	byCrash := 0 // dead by a crash, and not by an answer
	for round := range rounds {
		s := openStore(t, path, nil)
		for n := range 60 {
			it := event("mail", []string{"", "a", "b", "c", "d"}[n%5])
			all[it.ID] = true
			put(t, s, it)
		}
		checkedClose(t, s)

		c := startChild(t, "once", path)
		c.says(t, "begun")
		timer := time.AfterFunc(time.Duration(1+rand.IntN(40))*time.Millisecond, func() { _ = c.cmd.Process.Kill() })
		for c.out.Scan() {
			word, rest, _ := strings.Cut(c.out.Text(), " ")
			id, err := uuid.Parse(rest)
			if err != nil {
				t.Fatalf("round %d: the destination got %q", round, c.out.Text())
			}
			if word == "accepted" {
				accepted[id]++
			}
		}
		timer.Stop()
		_ = c.cmd.Wait()

		s = openStore(t, path, nil)
		there := make(map[uuid.UUID]bool)
		for _, it := range list(t, s.Pending()) {
			there[it.ID] = true
			if accepted[it.ID] > 0 {
				t.Errorf("round %d: %v was accepted, and would be sent again", round, it.ID)
			}
		}
		for _, it := range list(t, s.Dead()) {
			if there[it.ID] {
				t.Errorf("round %d: %v is there twice", round, it.ID)
			}
			there[it.ID] = true
			if !strings.HasPrefix(it.LastErr, unknown) {
				t.Errorf("round %d: %v is dead because of %q", round, it.ID, it.LastErr)
			}
			if it.LastErr == unknown {
				byCrash++
				settleDead(t, s, it)
				delete(all, it.ID)
			}
		}
		for id, n := range accepted {
			if n > 1 {
				t.Errorf("round %d: %v was accepted %d times", round, id, n)
			}
		}
		for id := range all {
			if !there[id] && accepted[id] == 0 {
				t.Errorf("round %d: %v is gone, and was not accepted", round, id)
			}
		}
		checkedClose(t, s)
		if t.Failed() {
			return
		}
	}
	t.Logf("%d rounds, %d accepted, %d left unknown by a kill", rounds, len(accepted), byCrash)
	if len(accepted) == 0 || byCrash == 0 {
		t.Error("no kill hit a request")
	}
}

// settleDead is what a person does who has found out: the item is given up.
func settleDead(t *testing.T, s *Store, it sender.Item) {
	t.Helper()
	if _, err := s.Drop(t.Context(), it); err != nil {
		t.Fatal(err)
	}
}
