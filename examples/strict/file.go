package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/store"
)

// lockTimeout is how long to wait for another process to let go of the file.
const lockTimeout = 5 * time.Second

// grace is how long closing may go on sending what can be sent. Only tests change it.
var grace = 5 * time.Second

// A file is the application's own database with an outbox in it, so that one transaction can hold
// events and what the application knows about them: here, the position in the input.
type file struct {
	path   string
	db     *bbolt.DB
	store  *store.Store
	outbox *outbox.Outbox
}

// openFile opens the file at path, or makes it. t and o are those of the outbox.
func openFile(path string, t *transport, o *outbox.Options) (*file, error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: lockTimeout})
	if errors.Is(err, berrors.ErrTimeout) {
		err = fmt.Errorf("another process had it for %v: %w", lockTimeout, err)
	}
	if err != nil {
		return nil, fmt.Errorf("strict: open %s: %w", path, err)
	}
	st, err := store.In(db, "outbox", nil)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("strict: open %s: %w", path, err), db.Close())
	}
	b, err := outbox.New(st, t, o)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("strict: open %s: %w", path, err), st.Close(), db.Close())
	}
	return &file{path: path, db: db, store: st, outbox: b}, nil
}

// close sends what can be sent in the time of grace and closes, in the reverse order of opening.
// Events that remain are no error.
func (f *file) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	err := f.outbox.Shutdown(ctx)
	if errors.Is(err, outbox.ErrPending) {
		err = nil
	}
	if err = errors.Join(err, f.store.Close(), f.db.Close()); err != nil {
		return fmt.Errorf("strict: close %s: %w", f.path, err)
	}
	return nil
}

// feed puts what is new in r, chunk by chunk, until r or ctx ends. report gets each line that is
// passed over.
func (f *file) feed(ctx context.Context, r io.Reader, report func(malformed)) error {
	known, err := loadPositions(f.db)
	if err != nil {
		return err
	}
	type result struct {
		chunk chunk
		err   error
	}
	results := make(chan result)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { // not waited for: a read of standard input cannot be interrupted, and holds nothing else
		in := newInput(r, known)
		for {
			c, err := in.next()
			select {
			case results <- result{c, err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	for {
		select {
		case next := <-results:
			if next.err == io.EOF {
				return nil
			}
			if next.err != nil {
				return next.err
			}
			if err := next.chunk.put(ctx, f.db, f.outbox, report); err != nil {
				return err
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// drain waits until nothing is pending, however long the destination or a not_before makes it wait,
// or until ctx ends.
func (f *file) drain(ctx context.Context) error {
	for {
		err := f.outbox.Flush(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if !errors.Is(err, outbox.ErrPending) || errors.Is(err, sender.ErrStorage) {
			return err // nil: nothing remains
		}
		select { // what remains waits for its time
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return nil
		}
	}
}
