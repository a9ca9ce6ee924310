package format

import (
	"slices"
	"time"

	"github.com/seed8107221f/outbox/sender"
)

// An item that must not be sent twice lies in dead while its request is under way. Its record then
// has FlagSending and one more log entry than usual: when the request began, and the reason of its
// death. After a crash the item is still there, as dead. UnmarkSending restores the record from
// before.

// IsSending reports whether v is the record of an item whose at-most-once request has begun.
func (v Record) IsSending() bool { return len(v) >= OffBody && v[1]&FlagSending != 0 }

// MarkSending returns a copy of the record as it lies in dead while its request is under way. The
// copy has no checksum: call [Record.SetSum].
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

// UnmarkSending returns a copy of the record as it was before [Record.MarkSending]. The copy has no
// checksum: call [Record.SetSum].
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
