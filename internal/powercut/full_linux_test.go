package powercut

import "strconv"

// fullDisk lets a process fill the disk and work on it; two times in three it is killed or the power goes
// meanwhile, and the next one must do on the full disk. Then there is room again.
func fullDisk(l *life) error { return l.fillDisk(l.rng.IntN(4) == 0) }

// fullThick is fullDisk with a disk that says at writes that it has no room.
func fullThick(l *life) error { return l.fillDisk(false) }

func (l *life) fillDisk(thin bool) error {
	room := 768<<10 + l.rng.Int64N(2<<20)
	interruptions, after := l.rng.IntN(3), 1+l.rng.IntN(200)
	kind, limited := "thick", false
	if thin {
		kind = "thin"
	}
	if l.rng.IntN(3) == 0 {
		kind += ", big"
	}
	answer := func(word string, arm func(Plan)) string {
		switch word {
		case "room":
			if !limited {
				return "plenty"
			}
			return kind
		case "limit":
			limited = true
			l.disk.Limit(l.disk.Used()+room, thin)
			return kind
		case "syncs":
			return strconv.Itoa(l.disk.Done(Sync))
		case "work":
			if interruptions > 0 {
				interruptions--
				arm(Plan{Stop: after})
			}
		case "lift":
			limited = false
			l.disk.Lift()
		}
		return "go on"
	}
	err := l.script("full", Plan{}, 0, answer)
	for err == nil && l.stopped {
		if l.rng.IntN(2) == 0 {
			l.cut()
		} else {
			l.kill()
		}
		after = 1 + l.rng.IntN(200)
		err = l.script("full", Plan{}, 0, answer)
	}
	return err
}
