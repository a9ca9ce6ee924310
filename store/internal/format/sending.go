package format

import (
	"slices"
	"time"

	"github.com/seed8107221f/outbox/sender"
)

// An item that must not be sent twice lies in dead while its request is under way, with flagSending and
// one more entry in its log than any other: when the request began, and why it would be dead. So a crash
// leaves it there, and whoever takes it back finds what was there before.

// isSending reports whether v is the record of such an item.
func (v Record) IsSending() bool { return len(v) >= OffBody && v[1]&FlagSending != 0 }

// markSending returns a copy of record v as it lies in dead while its request is under way. Call SetSum
// before use.
func (v Record) MarkSending(at time.Time, reason string) (Record, error) {
	p, err := v.Split()
	if err != nil {
		return nil, err
	}
	entry := WriteLog([]sender.Failure{{At: at, Reason: reason}})
	n := v.withLog(p, slices.Concat(p.log, entry))
	n[1] |= FlagSending
	return n, nil
}

// unmarkSending returns a copy of record v as it was before markSending. Call SetSum before use.
func (v Record) UnmarkSending() (Record, error) {
	p, err := v.Split()
	if err != nil {
		return nil, err
	}
	entries, err := readLog(p.log)
	if err != nil {
		return nil, err
	}
	n := v.withLog(p, WriteLog(entries[:max(0, len(entries)-1)]))
	n[1] &^= FlagSending
	return n, nil
}
