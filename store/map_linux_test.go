package store

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// A process with little address space opens a file, fills, compacts and heals it. The limit is that of a
// process, and so is the test.
func TestLimitOfAddressSpace(t *testing.T) {
	t.Parallel()
	if raceDetector {
		t.Skip("the race detector reserves more")
	}
	const limited = "OUTBOX_TEST_ADDRESS_SPACE"
	if os.Getenv(limited) == "" {
		for _, mib := range []int{1400, 1700, 2048} {
			t.Run(fmt.Sprint(mib, " MiB"), func(t *testing.T) {
				t.Parallel()
				c := exec.Command("sh", "-c", fmt.Sprintf(`ulimit -v %d && exec "$0" "$@"`, mib<<10), os.Args[0], "-test.run=^TestLimitOfAddressSpace$")
				c.Env = append(os.Environ(), limited+"=1", "GOMAXPROCS=1", "MALLOC_ARENA_MAX=1") // its threads need some too
				if out, err := c.CombinedOutput(); err != nil {
					t.Fatalf("%v\n%.2000s", err, out)
				}
			})
		}
		return
	}
	s := newStore(t, nil)
	backlog(t, s, 500)
	makeFaulty(s).armed.Store(1)
	wantError(t, s.Append(t.Context(), event("lost", "")), errTold)
	if err := s.Compact(t.Context()); err != nil {
		t.Error(err)
	}
	if got := len(drain(t, s)); got != 500 {
		t.Errorf("%d were left, 500 expected", got)
	}
	put(t, s, event("a", ""))
	wantNames(t, "left", drain(t, s), "a")
}
