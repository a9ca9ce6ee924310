package powercut

import "fmt"

// A trial is an operation and what fails in it, the n-th of its kind for n = 1, 2, 3, … until the
// operation gets by with fewer.
type trial struct {
	op    string
	fault Fault
}

var trials = func() (all []trial) {
	for _, op := range []string{"create", "open", "append", "group", "settle", "compact", "close"} {
		for kind := Write; kind < kinds; kind++ {
			all = append(all, trial{op, Fault{Kind: kind, Times: 1}}, trial{op, Fault{Kind: kind, Times: Forever}})
		}
		all = append(all, trial{op, Fault{Kind: Write, Times: 1, Short: true}})
	}
	return all
}()

// failing makes one trial. The process is to go on by itself; one time in two it is cut or killed, while
// all still fails or soon after.
func failing(l *life) error {
	t := trials[l.seed%uint64(len(trials))]
	for n := 1; ; n++ {
		t.fault.At = n
		reached, err := l.try(t)
		if err != nil {
			return fmt.Errorf("%s, fault %+v: %w", t.op, t.fault, err)
		}
		if !reached {
			return nil
		} else if n == 200 {
			return fmt.Errorf("%s: there is no end to what %v it takes", t.op, t.fault.Kind)
		}
		l.rounds++
	}
}

func (l *life) try(t trial) (reached bool, err error) {
	if t.op == "create" {
		if err := l.renew(); err != nil {
			return false, err
		}
	}
	end, after := l.rng.IntN(4), l.rng.IntN(30) // end: 0 stops it before the fault is lifted, 1 after
	err = l.script("failing "+t.op, Plan{}, 0, func(word string, arm func(Plan)) string {
		switch word {
		case "arm":
			arm(Plan{Fault: t.fault})
			return t.fault.Kind.String()
		case "fault":
			if reached = l.disk.Failed() > 0; !reached {
				arm(Plan{})
				return "none"
			} else if t.fault.Times == Forever {
				return "sticky"
			}
			return "once"
		}
		l.disk.Lift()
		switch end {
		case 0:
			return stop
		case 1:
			arm(Plan{Stop: 1 + after})
		}
		return "lifted"
	})
	if l.rng.IntN(2) == 0 {
		l.cut()
	} else {
		l.kill()
	}
	return reached, err
}

// renew looks at the store a last time and gives the life a new one.
func (l *life) renew() error {
	if len(l.disk.Names()) == 0 {
		return nil
	}
	if err := l.run(Plan{}, 0); err != nil {
		return err
	}
	l.disk.Wipe()
	l.forget()
	return nil
}
