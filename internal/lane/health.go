package lane

import (
	"errors"

	"github.com/seed8107221f/outbox/sender"
)

// Health returns why the lane cannot store or record; nil: it can, or a new process could not either.
func (l *Lane) Health() error {
	if l.Life.Ending() {
		return sender.ErrClosed
	}
	if err := l.Store.Counts().Err; err != nil && !errors.Is(err, sender.ErrFull) {
		return err
	}
	return nil
}
