package format

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/seed8107221f/outbox/sender"
)

// Limits of an operator's pause.
const (
	MaxOperator = 64  // bytes of its By
	MaxCause    = 200 // bytes of its Reason
)

// CheckPause returns an error for a pause that a lane cannot keep, or that would be over at now.
func CheckPause(p sender.Pause, now time.Time) error {
	switch {
	case len(p.By) > MaxOperator:
		return fmt.Errorf("the By of a pause has %d bytes, at most %d: %w", len(p.By), MaxOperator, sender.ErrTooLarge)
	case len(p.Reason) > MaxCause:
		return fmt.Errorf("the Reason of a pause has %d bytes, at most %d: %w", len(p.Reason), MaxCause, sender.ErrTooLarge)
	case !p.Until.IsZero() && Nanos(p.Until) <= Nanos(now):
		return fmt.Errorf("the pause would end at %s, and it is %s", p.Until.UTC().Format(time.RFC3339Nano), now.UTC().Format(time.RFC3339Nano))
	}
	return nil
}

// EncodePause returns a pause as bucket meta keeps it: until 8, 0 meaning that it has no end;
// since 8, 0 meaning that there is no pause; the lengths of by and reason, 1 each; by; reason; CRC.
// Both times are nanoseconds by the wall clock. The pause must have passed [CheckPause].
func EncodePause(p sender.Pause) []byte {
	b := make([]byte, 18, 18+len(p.By)+len(p.Reason)+CrcLen)
	if !p.Until.IsZero() {
		binary.BigEndian.PutUint64(b, uint64(Nanos(p.Until)))
	}
	if !p.Since.IsZero() {
		binary.BigEndian.PutUint64(b[8:], uint64(Nanos(p.Since)))
	}
	b[16], b[17] = byte(len(p.By)), byte(len(p.Reason))
	return WithSum(append(append(b, p.By...), p.Reason...))
}

// DecodePause is the inverse of [EncodePause]. A zero Since: there is no pause.
func DecodePause(b []byte) (p sender.Pause, err error) {
	v := CutSum(b)
	if v == nil {
		return p, errors.New("its checksum is wrong")
	}
	if len(v) < 18 || len(v) != 18+int(v[16])+int(v[17]) {
		return p, fmt.Errorf("it has %d bytes, and its parts do not add up to that", len(v))
	}
	if ns := binary.BigEndian.Uint64(v); ns != 0 {
		p.Until = time.Unix(0, int64(ns))
	}
	if ns := binary.BigEndian.Uint64(v[8:]); ns != 0 {
		p.Since = time.Unix(0, int64(ns))
	}
	p.By, p.Reason = string(v[18:18+int(v[16])]), string(v[18+int(v[16]):])
	return p, nil
}

// Operator returns the latest pause of the operator; a zero Since: there is none. [ErrCorrupt]: it
// is damaged. The lane must then send nothing, because its operator may have ordered that.
func (l *Lane) Operator() (sender.Pause, error) {
	b := l.Meta.Get(MetaOperator)
	if b == nil {
		return sender.Pause{}, nil
	}
	p, err := DecodePause(b)
	if err != nil {
		err = fmt.Errorf("%w: the pause of the operator: %w", ErrCorrupt, err)
	}
	return p, err
}

// SetOperator keeps a pause of the operator. One with a zero Since ends the pause; it is stored
// too, so that package salvage does not take an older one for the latest.
func (l *Lane) SetOperator(p sender.Pause) error { return l.Meta.Put(MetaOperator, EncodePause(p)) }
