package store

import (
	"encoding/json"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"
)

// hangs is how long a damage of some 100 ms may take before it counts as one that never ends: a machine
// may have much else to do.
const hangs = 3 * time.Minute

// damageTally adds up what became of many specimens.
type damageTally struct {
	t   *testing.T
	dir string

	mu                                                     sync.Mutex // guards what follows
	verdicts                                               map[string]int
	fallbacks, salvaged, lost, died, hung, wrong, failures int
}

// work has a process of its own go through seeds, and another when it dies.
func (c *damageTally) work(seeds <-chan uint64) {
	var p *child
	for seed := range seeds {
		if p == nil {
			p = startChild(c.t, "damage", c.dir)
		}
		fmt.Fprintln(p.in, seed)
		watch := time.AfterFunc(hangs, func() {
			if p.cmd.Process.Signal(syscall.SIGQUIT) != nil { // it says where it is
				_ = p.cmd.Process.Kill()
			}
		})
		said := p.out.Scan()
		c.count(seed, p, said, !watch.Stop())
		if !said {
			p = nil
		}
	}
}

func (c *damageTally) count(seed uint64, p *child, said, late bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var found findings
	switch {
	case !said && late:
		found.Err = "it hangs"
		c.hung++
	case !said:
		found.Err = "the process died"
		c.died++
	default:
		if err := json.Unmarshal(p.out.Bytes(), &found); err != nil {
			found.Err = err.Error()
		}
		c.verdicts[found.Verdict]++
	}
	if found.Err != "" {
		c.failures++
		c.t.Errorf("-damageseed %d -damages 1: %s", seed, found.Err)
	}
	if found.Wrong {
		c.wrong++
	}
	if found.Fallback {
		c.fallbacks++
	}
	c.salvaged += found.Salvaged
	c.lost += found.Lost
}
