package store

import (
	"errors"

	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/store/internal/boltfile"
	"github.com/seed8107221f/outbox/store/internal/format"
)

// Errors that only a lane in a file returns. Errors of any store are in package sender: ErrFull,
// ErrTooLarge, ErrStorage, ErrClosed, ErrNotFound. All of them are wrapped in a
// [sender.StoreError], which names operation, lane and path. Use errors.Is.
var (
	// ErrLocked: the file or the lane is in use, by another process or by another Store of this
	// process.
	ErrLocked = boltfile.ErrLocked
	// ErrFormat: the file is not an outbox, or a newer version wrote it.
	ErrFormat = format.ErrFormat
	// ErrCorrupt: the file is an outbox and is damaged. Package salvage copies what can be read.
	ErrCorrupt = format.ErrCorrupt
	// ErrSealed: a lane or a record is sealed, and the given Sealer cannot open it now. The error
	// names the key id. Nothing was changed; with the right key the lane or record can be read
	// again.
	ErrSealed = errors.New("sealed")
)

// refused is the error of a write that has changed nothing. The other writes of its commit go on.
type refused struct{ error }

func (r refused) Unwrap() error { return r.error }

// contractError is an error of boltfile that also is one of the errors of package sender. Its text
// is the text of err.
type contractError struct{ name, err error }

func (n contractError) Error() string   { return n.err.Error() }
func (n contractError) Unwrap() []error { return []error{n.name, n.err} }

// naming makes an error of boltfile match the error of package sender that means the same.
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

// wrap adds the operation and the place to an error. Exported methods call it once. nil stays nil.
func (s *Store) wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	return &sender.StoreError{Op: "store: " + op, Place: s.Place(), Err: err}
}
