package store

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	bolt "go.etcd.io/bbolt"

	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/store/internal/format"
)

var _ sender.Browser = (*Store)(nil)

var states = []sender.State{sender.StateReady, sender.StateInLine, sender.StateInFlight, sender.StateRetrying, sender.StateScheduled, sender.StateDead}

// listAll lists page after page to the end.
func listAll(t testing.TB, s *Store, q sender.Query) (all []sender.Listed) {
	t.Helper()
	for range 100_000 {
		p, err := s.List(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		if limit := max(q.Limit, 1); q.Limit > 0 && len(p.Items) > limit || q.Scan > 0 && p.Looked > q.Scan || p.Next != "" && p.Looked == 0 {
			t.Fatalf("%+v: %d items, looked at %d, next %q", q, len(p.Items), p.Looked, p.Next)
		}
		all = append(all, p.Items...)
		if q.After = p.Next; p.Next == "" {
			return all
		}
	}
	t.Fatalf("%+v: the listing has no end", q)
	return nil
}

// labels are the names of what was listed, with their states.
func labels(all []sender.Listed) (names []string) {
	for _, l := range all {
		names = append(names, l.Kind+" "+string(l.State))
	}
	return names
}

// furnished is a lane with items in every state: some of them recorded as Sending.
func furnished(t *testing.T) *Store {
	t.Helper()
	s := newStore(t, nil)
	put(t, s, event("a1", "a"), event("a2", "a"), event("b1", "b"), event("c1", "c"), event("d1", "d"), event("e1", "e"))
	items := claims(t, s, 5)
	wantNames(t, "claimed", kinds(items), "a1", "b1", "c1", "d1", "e1")
	settle(t, s, failed(items[1], sender.Retry, time.Now().Add(-time.Minute)), failed(items[2], sender.Dead, time.Time{}),
		failed(items[3], sender.Retry, time.Now().Add(time.Hour)))
	sent := items[4]
	sent.LastErr, sent.FailedAt = "its answer is unknown", time.Now()
	settle(t, s, sender.Outcome{Item: sent, Verdict: sender.Sending})
	wantNames(t, "claimed", kinds(claims(t, s, 5)), "b1")
	timed := event("t1", "")
	timed.Due = time.Now().Add(time.Hour)
	put(t, s, timed, event("z1", ""), event("b2", "b"))
	if _, _, err := s.Claim(t.Context(), time.Now(), 0, 0); err != nil { // meets what is new
		t.Fatal(err)
	}
	return s
}

func TestList(t *testing.T) {
	t.Parallel()
	s := furnished(t)
	want := map[sender.State][]string{
		sender.StateReady:     {"a1 in-flight", "a2 in-line", "z1 ready", "b2 ready"},
		sender.StateInLine:    {"a2 in-line"},
		sender.StateInFlight:  {"a1 in-flight", "b1 in-flight", "e1 in-flight"},
		sender.StateRetrying:  {"d1 retrying"},
		sender.StateScheduled: {"t1 scheduled"},
		sender.StateDead:      {"c1 dead"},
	}
	for _, state := range states {
		for _, limit := range []int{0, 1, 2} {
			for _, scan := range []int{0, 1} {
				q := sender.Query{State: state, Limit: limit, Scan: scan}
				wantNames(t, string(state), labels(listAll(t, s, q)), want[state]...)
				q.Newest = true
				newest := slices.Clone(want[state])
				slices.Reverse(newest)
				wantNames(t, string(state)+", newest first", labels(listAll(t, s, q)), newest...)
			}
		}
	}
	put(t, s, event("last", "")) // b2 was met meanwhile or not: it is now
	claims(t, s, 2)
	wantNames(t, "in line", labels(listAll(t, s, sender.Query{State: sender.StateInLine})), "a2 in-line", "b2 in-line")
	match := sender.Query{State: sender.StateReady, Match: func(it *sender.Item) bool {
		if _, err := s.Lanes(); err != nil { // no lock is held
			t.Error(err)
		}
		return it.Key == "b"
	}}
	wantNames(t, "matching", labels(listAll(t, s, match)), "b2 in-line")
}

func TestListRefuses(t *testing.T) {
	t.Parallel()
	s := furnished(t)
	p, err := s.List(t.Context(), sender.Query{State: sender.StateReady, Limit: 1})
	if err != nil || p.Next == "" {
		t.Fatalf("%+v, %v", p, err)
	}
	for _, q := range []sender.Query{
		{}, {State: "lost"}, {State: sender.StateReady, Limit: -1}, {State: sender.StateReady, Limit: 1001}, {State: sender.StateReady, Scan: -1},
		{State: sender.StateReady, After: "x"}, {State: sender.StateReady, After: "ro"}, {State: sender.StateReady, After: p.Next + "0"},
		{State: sender.StateReady, After: p.Next, Newest: true}, {State: sender.StateInLine, After: p.Next}, {State: sender.StateInFlight, After: "fo00"},
	} {
		if p, err := s.List(t.Context(), q); err == nil {
			t.Errorf("%+v: %+v", q, p)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = s.List(ctx, sender.Query{State: sender.StateDead})
	wantError(t, err, context.Canceled)
}

// What stays where it is, is listed once, whatever moves meanwhile; nothing is listed twice under the
// same Seq.
func TestListWhileItemsMove(t *testing.T) {
	t.Parallel()
	for _, newest := range []bool{false, true} {
		for _, state := range states {
			s := newStore(t, nil)
			r := rand.New(rand.NewPCG(1, 2))
			items := make([]sender.Item, 600)
			for i := range items {
				items[i] = event(fmt.Sprint(i), []string{"", "k", "l"}[i%3])
				if i%4 == 0 {
					items[i].Due = time.Now().Add(time.Hour + time.Duration(r.IntN(1e9)))
				}
			}
			put(t, s, items...)
			stir := func() { // moves about one item in ten
				held := claims(t, s, 8)
				put(t, s, event("new", "n"))
				for i, it := range held {
					switch v := []sender.Verdict{sender.Delivered, sender.Retry, sender.Dead, sender.Released}[r.IntN(4)]; {
					case i > 4: // stays in flight
					case v == sender.Retry:
						settle(t, s, failed(it, v, time.Now().Add(time.Hour+time.Duration(r.IntN(1e9)))))
					default:
						settle(t, s, sender.Outcome{Item: it, Verdict: v})
					}
				}
			}
			for range 20 {
				stir()
			}
			q := sender.Query{State: state, Newest: newest, Limit: 7, Scan: 13}
			before, listed := listAll(t, s, q), []sender.Listed(nil)
			for more := true; more; more = q.After != "" {
				p, err := s.List(t.Context(), q)
				if err != nil {
					t.Fatal(err)
				}
				listed, q.After = append(listed, p.Items...), p.Next
				stir()
			}
			q.After = ""
			stayed := make(map[uint64]int)
			for _, l := range listAll(t, s, q) {
				stayed[l.Seq]++
			}
			for _, l := range before {
				if stayed[l.Seq] > 0 {
					stayed[l.Seq]++
				}
			}
			times := make(map[uint64]int)
			for _, l := range listed {
				if times[l.Seq]++; times[l.Seq] > 1 && state != sender.StateRetrying {
					t.Errorf("%s, newest %t: %d was listed twice", state, newest, l.Seq)
				}
			}
			n := 0
			for seq, in := range stayed {
				if in == 2 {
					n++
					if times[seq] != 1 {
						t.Errorf("%s, newest %t: %d stayed, and was listed %d times", state, newest, seq, times[seq])
					}
				}
			}
			if n == 0 && state != sender.StateInFlight {
				t.Errorf("%s: nothing stayed", state)
			}
		}
	}
}

// A page is one look, from either end, however long the lane is.
func TestListLooksAtNoMoreThanItMust(t *testing.T) {
	t.Parallel()
	s := newStore(t, nil)
	put(t, s, event("a1", "a"), event("a2", "a"))
	putAll(t, s, events(20_000))
	claims(t, s, 3)
	for _, newest := range []bool{false, true} {
		for _, state := range states {
			p, err := s.List(t.Context(), sender.Query{State: state, Newest: newest, Limit: 10})
			if err != nil {
				t.Fatal(err)
			}
			if p.Looked > 128+10 {
				t.Errorf("%s, newest %t: looked at %d records for %d items", state, newest, p.Looked, len(p.Items))
			}
		}
	}
	p, err := s.List(t.Context(), sender.Query{State: sender.StateReady, Match: func(*sender.Item) bool { return false }})
	if err != nil || p.Looked != 10_000 || p.Next == "" {
		t.Errorf("looked at %d, next %q, %v; want 10000 by default", p.Looked, p.Next, err)
	}
}

// A record that cannot be read is listed, whatever Match says, and can be dropped.
func TestListDamaged(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "outbox")
	s, err := Open(path, &prompt)
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, events(3)...)
	checkedClose(t, s)
	db := openDB(t, path)
	var id uuid.UUID
	if err := db.Update(func(tx *bolt.Tx) error {
		b := tx.Bucket([]byte("outbox")).Bucket(format.BucketReady)
		v := slices.Clone(b.Get(format.ReadyKey(2)))
		id = format.Record(v).ID()
		v[60] ^= 1
		return b.Put(format.ReadyKey(2), v)
	}); err != nil {
		t.Fatal(err)
	}
	db.Close()
	s = openStore(t, path, nil)
	all := listAll(t, s, sender.Query{State: sender.StateReady, Match: func(*sender.Item) bool { return false }})
	if len(all) != 1 || all[0].Err == nil || all[0].Seq != 2 || all[0].ID != id || all[0].Payload != nil {
		t.Fatalf("%+v", all)
	}
	if n, err := s.Drop(t.Context(), all[0].Item); n != 1 || err != nil {
		t.Errorf("dropped %d, %v", n, err)
	}
}

func TestLaneNames(t *testing.T) {
	t.Parallel()
	s := newStore(t, nil)
	l, err := s.Lane("mail", &prompt)
	if err != nil {
		t.Fatal(err)
	}
	checkedClose(t, l)
	names, err := s.Lanes()
	if err != nil {
		t.Fatal(err)
	}
	wantNames(t, "lanes", names, "mail", "outbox")
	if n := s.FileBytes(); n < 4096 {
		t.Errorf("the file has %d bytes", n)
	}

	db := openDB(t, filepath.Join(t.TempDir(), "app.db"))
	if err := db.Update(func(tx *bolt.Tx) error { return second(tx.CreateBucket([]byte("theirs"))) }); err != nil {
		t.Fatal(err)
	}
	in, err := In(db, "ours", &prompt)
	if err != nil {
		t.Fatal(err)
	}
	checkAtEnd(t, in)
	if names, err = in.Lanes(); err != nil {
		t.Fatal(err)
	}
	wantNames(t, "lanes", names, "ours")
}
