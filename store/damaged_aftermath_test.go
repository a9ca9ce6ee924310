package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/store/salvage"
)

// aftermath is what became of a damaged specimen.
type aftermath struct {
	sp          *specimen
	hurt        map[int]bool
	told        bool // the damage was reported
	partial     bool // the file is one that inspect does not read whole
	delivered   map[uuid.UUID]bool
	dead        map[uuid.UUID]bool
	quarantined int
	check       error
	*findings
}

// tell takes an error for a report of the damage, or returns it.
func (a *aftermath) tell(err error) error {
	if !errors.Is(err, errWrong) && !errors.Is(err, errMute) && (errors.Is(err, ErrCorrupt) || errors.Is(err, ErrFormat)) {
		a.told = true
		return nil
	}
	return err
}

// use does with the file what a sender does.
func (a *aftermath) use(path string) error {
	s, err := open(path, a.sp.options(), after)
	if err != nil {
		return a.tell(fmt.Errorf("open: %w", err))
	}
	defer s.Close()
	eu, err := s.Lane("eu", a.sp.options())
	if err != nil {
		if err := a.tell(fmt.Errorf("lane: %w", err)); err != nil {
			return err
		}
	}
	clear(a.dead)
	a.quarantined = 0
	for _, lane := range []*Store{s, eu} {
		if lane == nil {
			continue
		}
		if err := a.drain(lane); err != nil {
			if err = a.tell(err); err != nil {
				return err
			}
			continue
		}
		if err := lane.Append(context.Background(), event("new", ""), event("new", "a")); err != nil {
			if err = a.tell(fmt.Errorf("append: %w", err)); err != nil {
				return err
			}
			continue
		}
		if err := a.drain(lane); err != nil {
			if err = a.tell(err); err != nil {
				return err
			}
		}
		if err := lane.Check(context.Background()); err != nil {
			a.check = err
		}
		for it, err := range lane.Dead() {
			if err != nil {
				if err = a.tell(err); err != nil {
					return err
				}
			} else if strings.Contains(it.LastErr, "damaged") {
				a.quarantined++
			} else if it.LastErr == "" {
				return fmt.Errorf("%v is dead without a reason", it.ID)
			}
			a.dead[it.ID] = true
		}
	}
	return nil
}

// drain delivers what a lane hands out, after a look at it.
func (a *aftermath) drain(s *Store) error {
	for range 10000 {
		items, next, err := s.Claim(context.Background(), after(), 200, 0)
		if errors.Is(err, ErrCorrupt) && s.Counts().Err == nil {
			return fmt.Errorf("%w: %w", errMute, err)
		}
		if err != nil {
			return err
		}
		for _, it := range items {
			if k, ok := a.sp.Items[it.ID]; ok && string(k.Payload) != string(it.Payload) {
				return fmt.Errorf("%w: %v is handed out with another payload", errWrong, it.ID)
			} else if !ok && it.Kind != "new" {
				return fmt.Errorf("%w: %v is handed out and was never put", errWrong, it.ID)
			}
		}
		if err := s.Settle(context.Background(), delivered(items...)...); err != nil {
			return err
		}
		for _, it := range items {
			a.delivered[it.ID] = true
		}
		if len(items) == 0 && (next.IsZero() || next.After(after())) {
			return nil
		}
	}
	return errors.New("draining does not end")
}

func (a *aftermath) checkLedger(where ...map[uuid.UUID]bool) (n int) {
	for id, it := range a.sp.Items {
		there := it.Gone
		for _, w := range where {
			there = there || w[id]
		}
		if !there {
			n++
		}
	}
	return n
}

// salvage salvages the file and looks at what came out. delivered are those that need not be there;
// nil: all are to be.
func (a *aftermath) salvage(path string, delivered map[uuid.UUID]bool) error {
	unhurt := 0
	for _, it := range a.sp.Items {
		if !it.Gone && !a.touched(it) {
			unhurt++
		}
	}
	res, err := salvage.File(path, "")
	if err != nil {
		if unhurt == 0 {
			return nil
		}
		return err
	}
	a.Salvaged += res.Saved
	a.Lost += res.Lost
	if _, err := os.Stat(res.Original); err != nil {
		return err
	}
	s, err := open(path, a.sp.options(), after)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	defer s.Close()
	eu, err := s.Lane("eu", a.sp.options())
	if err != nil {
		return fmt.Errorf("lane: %w", err)
	}
	quarantined, displaced, there := 0, 0, make(map[uuid.UUID]bool)
	for _, lane := range []*Store{s, eu} {
		if err := lane.Check(context.Background()); err != nil && !a.displaced(err) {
			return err
		}
		for i, list := range []func(func(sender.Item, error) bool){lane.Pending(), lane.Dead()} {
			pending := i == 0
			for it, err := range list {
				if err != nil && !a.displaced(err) {
					return err
				}
				if err != nil {
					displaced++
				}
				if strings.Contains(it.LastErr, "damaged") {
					quarantined++
				}
				if k, ok := a.sp.Items[it.ID]; ok && err == nil && !strings.Contains(it.LastErr, "damaged") && string(k.Payload) != string(it.Payload) {
					return fmt.Errorf("%w: %v has another payload", errWrong, it.ID)
				}
				if k, ok := a.sp.Items[it.ID]; ok && pending && !k.Gone && k.Lane != lane.name {
					return fmt.Errorf("%w: %v is pending in lane %s, it was put into %s", errWrong, it.ID, lane.name, k.Lane)
				}
				there[it.ID] = true
			}
		}
	}
	missing, excused, which := 0, 0, ""
	for id, it := range a.sp.Items {
		if there[id] || delivered[id] || it.Gone {
			continue
		}
		if a.touched(it) {
			excused++
		} else {
			missing++
			which = fmt.Sprint(id, it.Pages, len(it.Payload), it.Lane)
		}
	}
	if missing > displaced && !((a.partial || len(a.hurt) > 1) && missing <= res.Lost+quarantined) {
		return fmt.Errorf("%d items on sound pages are missing, such as %s, and %d others; %+v", missing, which, excused, res)
	}
	if excused > res.Lost+quarantined && len(res.Problems) == 0 {
		return fmt.Errorf("%d items are missing, %d are reported: %+v", excused, res.Lost, res)
	}
	return nil
}

// displaced reports whether err tells of nothing but records that were sealed for another lane than the
// one they were salvaged into, since nothing told of their own, or of a lane whose secret was lost, so that
// its keys have other hashes.
func (a *aftermath) displaced(err error) bool {
	for i, line := range strings.Split(err.Error(), "\n") {
		if i > 0 && !strings.Contains(line, "authentication failed") && !strings.Contains(line, "under another key") {
			return false
		}
	}
	return a.sp.Sealed
}

func (a *aftermath) touched(it kept) bool {
	for _, id := range it.Pages {
		if a.hurt[id] {
			return true
		}
	}
	return false
}
