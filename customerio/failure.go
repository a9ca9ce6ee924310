package customerio

import (
	"errors"
	"strings"

	"github.com/seed8107221f/outbox/sender"
)

// A failure says what was done, where, and why it failed. Each is said once: the names, operations
// and places that the packages below put in front are left out of the text, not of the chain.
type failure struct {
	op    string // "put"
	place string // "lane track of /var/lib/app/customerio.db"; "": no place
	err   error
}

func (f *failure) Error() string {
	err := f.err
	if at, ok := err.(*sender.StoreError); ok {
		err = at.Err
	}
	text := strings.TrimPrefix(err.Error(), "customerio: ")
	text = strings.ReplaceAll(text, ": customerio: ", ": ")
	if f.place != "" {
		text = f.place + ": " + text
	}
	return "customerio: " + f.op + ": " + text
}

// Unwrap returns the whole error.
func (f *failure) Unwrap() error { return f.err }

// fail returns a failure; nil stays nil.
func fail(op string, err error) error {
	if err == nil {
		return nil
	}
	return &failure{op: op, err: err}
}

// fail returns a failure of the lane; nil stays nil.
func (l *lane) fail(op string, err error) error {
	if err == nil {
		return nil
	}
	parts := []error{err}
	if several, ok := err.(interface{ Unwrap() []error }); ok && areOf[*sender.StoreError](several.Unwrap()) {
		parts = several.Unwrap() // joined by Shutdown: what remains, and why the file did not close
	}
	all := make([]error, len(parts))
	for i, err := range parts {
		all[i] = &failure{op, l.place, err}
	}
	return errors.Join(all...)
}

// areOf reports whether all errors have type E.
func areOf[E error](errs []error) bool {
	for _, err := range errs {
		if _, ok := err.(E); !ok {
			return false
		}
	}
	return true
}
