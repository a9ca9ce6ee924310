package store

import (
	"errors"

	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/store/internal/boltfile"
	"github.com/seed8107221f/outbox/store/internal/format"
)

// Errors of a lane in a file that callers branch on. Those of any store are in package sender: ErrFull,
// ErrTooLarge, ErrStorage, ErrClosed, ErrNotFound. All arrive wrapped, with the place and the numbers; see
// [sender.StoreError].
var (
	// ErrLocked: another process, or another Store of this one, has the file or the lane.
	ErrLocked = boltfile.ErrLocked
	// ErrFormat: the file is not an outbox, or a newer version wrote it.
	ErrFormat = format.ErrFormat
	// ErrCorrupt: the file is an outbox, and it is damaged.
	ErrCorrupt = format.ErrCorrupt
	// ErrSealed: a lane, or a record, is sealed, and the Sealer that was given cannot open it. The error
	// names the key. Nothing was changed, and with the key it is as it was.
	ErrSealed = errors.New("sealed")
)

// refused is an error of a write that has changed nothing: the others of its commit go on without it.
type refused struct{ error }

func (r refused) Unwrap() error { return r.error }

// contractError is an error of the file under the name that callers of any store know. The text is that of the
// error.
type contractError struct{ name, err error }

func (n contractError) Error() string   { return n.err.Error() }
func (n contractError) Unwrap() []error { return []error{n.name, n.err} }

// naming gives an error of the file its name in the contract of package sender.
func naming(err error) error {
	switch {
	case errors.Is(err, boltfile.ErrNoSpace):
		return contractError{sender.ErrFull, err}
	case errors.Is(err, boltfile.ErrDisk):
		return contractError{sender.ErrStorage, err}
	case errors.Is(err, boltfile.ErrClosed):
		return contractError{sender.ErrClosed, err}
	}
	return err
}

// wrap says once which operation failed, and where.
func (s *Store) wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	return &sender.StoreError{Op: "store: " + op, Place: s.Place(), Err: err}
}
