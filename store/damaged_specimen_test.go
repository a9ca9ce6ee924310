package store

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"
	"unsafe"

	"github.com/google/uuid"
	bolt "go.etcd.io/bbolt"

	"github.com/seed8107221f/outbox/sender"

	"github.com/seed8107221f/outbox/store/internal/format"
)

// after is when all that was put into a specimen is due.
func after() time.Time { return born.Add(48 * time.Hour) }

// A specimen is a sound file and what lies in it.
type specimen struct {
	Path   string
	Clean  bool
	Sealed bool
	Pages  int // in use
	Items  map[uuid.UUID]kept
}

// kept is an item of a specimen.
type kept struct {
	Lane    string
	Payload []byte
	Gone    bool  // delivered; its record may still be on some page
	Pages   []int // that its record depends on
}

// options are those of the lanes of a specimen.
func (sp *specimen) options() *Options {
	o := prompt
	if sp.Sealed {
		o.Sealer, _ = AESGCM("key", map[string][]byte{"key": make([]byte, 32)})
	}
	return &o
}

// makeSpecimen makes a file in which every kind of thing lies, and which has been used for a while. The
// same seed puts the same into it, at the same times.
func makeSpecimen(t *testing.T, path string, seed uint64, clean, sealed bool) specimen {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 7))
	sp := specimen{Path: path, Clean: clean, Sealed: sealed, Items: make(map[uuid.UUID]kept)}
	db, err := bolt.Open(path, 0o600, &bolt.Options{NoFreelistSync: true, FreelistType: bolt.FreelistArrayType})
	if err != nil {
		t.Fatal(err)
	}
	lanes := make([]*Store, 2)
	for i, name := range []string{format.DefaultLane, "eu"} {
		if lanes[i], err = In(db, name, sp.options()); err != nil {
			t.Fatal(err)
		}
		*lanes[i].clock = clock{now: func() time.Time { return born }, epoch: born}
	}
	db.NoSync = true // what is damaged is what was written
	for round := range 6 {
		for _, lane := range lanes {
			sp.use(t, rng, lane, round)
		}
	}
	for _, lane := range lanes {
		for _, list := range []func(func(sender.Item, error) bool){lane.Pending(), lane.Dead()} {
			for it, err := range list {
				if err != nil {
					t.Fatal(err)
				}
				sp.Items[it.ID] = kept{Lane: lane.name, Payload: it.Payload}
			}
		}
		if err := lane.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if db.NoFreelistSync = !clean; clean {
		if err := db.Update(func(*bolt.Tx) error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	sp.findPages(t)
	return sp
}

// use puts some items into a lane, and settles some.
func (sp *specimen) use(t *testing.T, rng *rand.Rand, lane *Store, round int) {
	t.Helper()
	items := make([]sender.Item, 15+rng.IntN(40))
	for i := range items {
		it := &items[i]
		*it = sender.Item{Kind: fmt.Sprint(round, i), Created: born, Key: []string{"", "", "a", "b", fmt.Sprint(rng.IntN(1000))}[rng.IntN(5)]}
		randomize(rng, it.ID[:])
		size := rng.IntN(700)
		if rng.IntN(25) == 0 {
			size = rng.IntN(20000)
		}
		it.Payload = make([]byte, size)
		randomize(rng, it.Payload)
		if rng.IntN(8) == 0 {
			it.Due = born.Add(time.Duration(1+rng.IntN(60)) * time.Minute)
		}
		sp.Items[it.ID] = kept{Payload: it.Payload, Gone: true}
	}
	if err := lane.AppendNoted(t.Context(), fmt.Sprint("note", round), []byte("so far"), items...); err != nil {
		t.Fatal(err)
	}
	claimed, _, err := lane.Claim(t.Context(), born, 20, 0)
	if err != nil {
		t.Fatal(err)
	}
	var outcomes []sender.Outcome
	for _, it := range claimed {
		o := sender.Outcome{Item: it, Verdict: sender.Delivered}
		if o.Verdict = []sender.Verdict{sender.Retry, sender.Dead, sender.Delivered, sender.Delivered}[rng.IntN(4)]; o.Verdict != sender.Delivered {
			o.Item.Attempts, o.Item.Failures, o.Item.FailedAt, o.Item.LastErr = it.Attempts+1, it.Failures+1, born, "refused"
		}
		if o.Verdict == sender.Retry {
			o.Due = born.Add(time.Hour)
		}
		outcomes = append(outcomes, o)
	}
	if err := lane.Settle(context.Background(), outcomes...); err != nil {
		t.Fatal(err)
	}
}

func randomize(rng *rand.Rand, b []byte) {
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
}

// findPages has bbolt tell on which pages the records lie.
func (sp *specimen) findPages(t *testing.T) {
	t.Helper()
	db, err := bolt.Open(sp.Path, 0, &bolt.Options{ReadOnly: true, PreLoadFreelist: true, Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	info := db.Info()
	if err := db.View(func(tx *bolt.Tx) error {
		head := make(map[int]int)
		for id := 0; ; {
			p, err := tx.Page(id)
			if err != nil {
				return err
			}
			if p == nil {
				sp.Pages = id
				break
			}
			n := 1
			if p.Type != "free" {
				n += p.OverflowCount
			}
			for i := range n {
				head[id+i] = id
			}
			id += n
		}
		return tx.ForEach(func(_ []byte, lane *bolt.Bucket) error {
			for _, name := range [...][]byte{format.BucketReady, format.BucketTimed, format.BucketLater, format.BucketDead} {
				if err := lane.Bucket(name).ForEach(func(k, v []byte) error {
					from := int(uintptr(unsafe.Pointer(&k[0]))-info.Data) / info.PageSize
					to := int(uintptr(unsafe.Pointer(&v[len(v)-1]))-info.Data) / info.PageSize
					it := sp.Items[format.Record(v).ID()]
					for id := from; id <= to; id++ {
						it.Pages = append(it.Pages, id)
					}
					if h, ok := head[from]; ok {
						it.Pages = append(it.Pages, h)
					}
					sp.Items[format.Record(v).ID()] = it
					return nil
				}); err != nil {
					return err
				}
			}
			return nil
		})
	}); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(sp.Path, int64(sp.Pages*info.PageSize)); err != nil {
		t.Fatal(err)
	}
}
