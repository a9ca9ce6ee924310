package main

import (
	"errors"
	"fmt"
)

// The exit codes.
const (
	exitDone       = 0
	exitFailed     = 1
	exitUsage      = 2
	exitNotFound   = 3
	exitInUse      = 4 // in use, or not reachable
	exitNotAllowed = 5
	exitUnhealthy  = 6 // check, the limits of stats, or something died in send
	exitUnfinished = 7 // interrupted, or events remain
)

// An exitError is an error with its exit code. An empty text is not printed: all was said.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }

func (e *exitError) Unwrap() error { return e.err }

func fail(code int, format string, args ...any) error {
	return &exitError{code, fmt.Errorf(format, args...)}
}

// errSaid ends a verb whose output says already what is wrong.
var errSaid = errors.New("")

// codeOf returns the exit code of an error.
func codeOf(err error) int {
	var e *exitError
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &e):
		return e.code
	}
	return exitFailed
}
