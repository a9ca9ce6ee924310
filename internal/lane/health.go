package lane

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/seed8107221f/outbox/sender"
)

// Health returns why the lane cannot store or record; nil: it can, or a new process could not
// either.
func (l *Lane) Health() error {
	if l.Life.Ending() {
		return sender.ErrClosed
	}
	if err := l.Store.Counts().Err; err != nil && !errors.Is(err, sender.ErrFull) {
		return err
	}
	if p, ok := l.Store.(sender.Pather); ok && p.Path() != "" { // no commit may have met it yet
		if _, err := os.Stat(p.Path()); errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%w: the file is gone while it is in use", sender.ErrStorage)
		}
	}
	return nil
}
