// Package errtext keeps an error from saying a thing twice.
package errtext

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/seed8107221f/outbox/sender"
)

// Wrap gives an error the name of the operation, and the place unless the error names one. A
// store's error keeps its place and its cause, so that operation, place and cause are said once.
// nil stays nil.
func Wrap(op, place string, err error) error {
	if err == nil {
		return nil
	}
	err = Without("sender: ", err)
	if at, ok := err.(*sender.StoreError); ok {
		place, err = cmp.Or(at.Place, place), at.Err
	} else if strings.Contains(err.Error(), place) {
		place = "" // the cause names it
	}
	return &sender.StoreError{Op: op, Place: place, Err: err}
}

// Without removes what another package put in front of the text of an error.
func Without(prefix string, err error) error {
	if inner := errors.Unwrap(err); inner != nil && err.Error() == prefix+inner.Error() {
		return inner
	}
	return err
}

// With calls do with the store if it has the ability A, and else returns an error that says what it
// lacks.
func With[A any](store any, do func(A) error) error {
	if s, ok := store.(A); ok {
		return do(s)
	}
	return fmt.Errorf("%T is no %v: %w", store, reflect.TypeFor[A](), errors.ErrUnsupported)
}
