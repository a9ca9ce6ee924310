package store

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox/internal/campaign"
	"github.com/seed8107221f/outbox/store/internal/pages"
)

var (
	damageCount = flag.Int("damages", 0, "damaged files that TestDamaged goes through; 0: 30, none with -short, 10 with -race, 1000 with OUTBOX_LONG=1")
	damageSeed  = flag.Uint64("damageseed", 1, "the first of their seeds")
	damageDir   = flag.String("damagedir", "", "where the specimens of a run that failed were kept, to be used again")
)

func init() { children["damage"] = damageChild }

// damage does to a file what a failing disk does, and returns the pages that suffered.
func damage(rng *rand.Rand, raw []byte) (_ []byte, hurt map[int]bool, what string) {
	const pageSize = 4096
	hurt = make(map[int]bool)
	var say []string
	n := 1
	if rng.IntN(5) == 0 {
		n = 2 + rng.IntN(3)
	}
	for range n {
		pages := len(raw) / pageSize
		if pages < 3 {
			break
		}
		id := rng.IntN(pages)
		page := raw[id*pageSize : (id+1)*pageSize]
		switch rng.IntN(6) {
		case 0, 1:
			for range 1 + rng.IntN(3) {
				at := rng.IntN(pageSize)
				if rng.IntN(2) == 0 {
					at = rng.IntN(64)
				}
				bit := rng.IntN(8)
				page[at] ^= 1 << bit
				say = append(say, fmt.Sprintf("bit %d of byte %d of page %d", bit, at, id))
			}
			hurt[id] = true
		case 2:
			clear(page)
			hurt[id] = true
			say = append(say, fmt.Sprint("zero page ", id))
		case 3:
			for i := range page {
				page[i] = byte(rng.Uint32())
			}
			hurt[id] = true
			say = append(say, fmt.Sprint("random page ", id))
		case 4:
			other := rng.IntN(pages)
			tmp := append([]byte{}, page...)
			copy(page, raw[other*pageSize:(other+1)*pageSize])
			copy(raw[other*pageSize:], tmp)
			hurt[id], hurt[other] = true, true
			say = append(say, fmt.Sprint("swapped pages ", id, " and ", other))
		case 5:
			size := rng.IntN(len(raw))
			for i := size / pageSize; i < pages; i++ {
				hurt[i] = true
			}
			raw = raw[:size]
			say = append(say, fmt.Sprint("cut at byte ", size, " in page ", size/pageSize))
		}
	}
	return raw, hurt, strings.Join(say, ", ")
}

// damageChild goes through the damages of which it reads the seeds.
func damageChild(dir string) error {
	raw, err := os.ReadFile(filepath.Join(dir, "specimens"))
	if err != nil {
		return err
	}
	var specimens []specimen
	if err := json.Unmarshal(raw, &specimens); err != nil {
		return err
	}
	in, out := bufio.NewScanner(os.Stdin), json.NewEncoder(os.Stdout)
	for in.Scan() {
		var seed uint64
		if _, err := fmt.Sscan(in.Text(), &seed); err != nil {
			return err
		}
		var found findings
		if err := found.damage(specimens, seed); err != nil {
			found.Err, found.Wrong = err.Error(), errors.Is(err, errWrong)
		}
		if err := out.Encode(found); err != nil {
			return err
		}
	}
	return nil
}

// findings are what became of a damaged specimen.
type findings struct {
	Verdict        string
	Fallback       bool // the file was opened as of the last commit but one
	Salvaged, Lost int
	Err            string // something disappeared unreported, or worse; "": all is well
	Wrong          bool   // it is that something came out that was never put in
}

// errMute: Counts do not tell what Claim did.
var errMute = errors.New("Counts say that all is well")

// errWrong: what came out is not what was put in.
var errWrong = errors.New("another item than was put")

// damage damages a specimen as seed says, and lives with it.
func (f *findings) damage(specimens []specimen, seed uint64) (err error) {
	rng := rand.New(rand.NewPCG(seed, 3))
	sp := &specimens[rng.IntN(len(specimens))]
	raw, err := os.ReadFile(sp.Path)
	if err != nil {
		return err
	}
	pages.AlwaysWhole = int64(rng.IntN(2)) << 30 // what is left out of large files is to be met in these, too
	raw, hurt, what := damage(rng, raw)
	dir, err := os.MkdirTemp(filepath.Dir(sp.Path), "damaged")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	defer func() {
		if err != nil {
			kept := filepath.Join(os.TempDir(), fmt.Sprint("outbox-damaged-", seed))
			_ = os.WriteFile(kept, raw, 0o600)
			err = fmt.Errorf("%s: %s (%s, clean %t, sealed %t, %d items): %w", kept, what, filepath.Base(sp.Path), sp.Clean, sp.Sealed, len(sp.Items), err)
		}
	}()
	path := filepath.Join(dir, "outbox")
	if err := errors.Join(os.WriteFile(path, raw, 0o600), os.WriteFile(path+"2", raw, 0o600)); err != nil {
		return err
	}
	a := aftermath{sp: sp, hurt: hurt, partial: sp.Clean && pages.AlwaysWhole == 0, delivered: make(map[uuid.UUID]bool), dead: make(map[uuid.UUID]bool), findings: f}
	found, err := pages.Inspect(bytes.NewReader(raw), int64(len(raw)))
	f.Fallback = err == nil && found.Fallback != nil
	a.told = err != nil || f.Fallback
	if err := a.use(path); err != nil {
		return err
	}
	if err := a.use(path); err != nil && (!a.told || errors.Is(err, errWrong)) {
		return fmt.Errorf("again: %w", err)
	}
	f.Verdict = "told"
	if !a.told {
		f.Verdict = "harmless"
		if missing := a.checkLedger(a.dead, a.delivered); missing > a.quarantined && !(a.partial && a.check != nil) {
			return fmt.Errorf("%d items are gone in silence, %d are dead; Check: %v", missing, a.quarantined, a.check)
		}
		if a.quarantined > 0 {
			f.Verdict = "quarantined"
		}
		if a.check != nil {
			f.Verdict = "told by Check"
		}
	}
	if err := a.salvage(path, a.delivered); err != nil {
		return fmt.Errorf("used, then salvaged: %w", err)
	}
	if err := a.salvage(path+"2", nil); err != nil {
		return fmt.Errorf("salvaged: %w", err)
	}
	return nil
}

// Whatever page is damaged, and however: no process dies of it, nothing wrong is handed out, and
// nothing is gone that is not reported. For more: go test -run TestDamaged -damages 5000 ./store
func TestDamaged(t *testing.T) {
	if testing.Short() && *damageCount == 0 {
		t.Skip("a campaign: not with -short")
	}
	t.Parallel()
	dir := *damageDir
	if dir == "" {
		dir = makeSpecimens(t)
	}
	n := campaign.Pick(1000, 30, 30)
	if raceDetector && !campaign.Long() {
		n = min(n, 10)
	}
	if *damageCount > 0 {
		n = *damageCount
	}
	c := damageTally{t: t, dir: dir, verdicts: make(map[string]int)}
	seeds := make(chan uint64)
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() { c.work(seeds) })
	}
	for i := range n {
		seeds <- *damageSeed + uint64(i)
	}
	close(seeds)
	wg.Wait()
	t.Logf("%d damages from seed %d on: %v, %d fallbacks, %d records salvaged, %d reported as lost, %d processes died, %d hung, %d wrong payloads, %d failures",
		n, *damageSeed, c.verdicts, c.fallbacks, c.salvaged, c.lost, c.died, c.hung, c.wrong, c.failures)
}

// makeSpecimens makes the specimens in a directory of memory, where there is such a thing. It is kept when
// the test fails: bbolt gives out pages in the order of a map, so that the same seed makes files that
// differ in where things lie.
func makeSpecimens(t *testing.T) (dir string) {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "outbox")
	if err != nil {
		dir, err = os.MkdirTemp("", "outbox")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("-damagedir %s has the specimens", dir)
		} else {
			os.RemoveAll(dir)
		}
	})
	var specimens []specimen
	for i := range 6 {
		specimens = append(specimens, makeSpecimen(t, filepath.Join(dir, fmt.Sprint("specimen", i)), uint64(i), i%2 == 0, i == 5))
	}
	raw, err := json.Marshal(specimens)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "specimens"), raw, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}
