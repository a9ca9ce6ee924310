package monitor

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/sender"
)

// A refusal is an answer that is not what was asked for. Code is for programs.
type refusal struct {
	status int
	code   string
	text   string
}

func (r *refusal) Error() string { return r.text }

func refuse(status int, code, format string, args ...any) *refusal {
	return &refusal{status, code, fmt.Sprintf(format, args...)}
}

func badRequest(format string, args ...any) *refusal {
	return refuse(http.StatusBadRequest, "bad_request", format, args...)
}

// refusalOf returns what an error means to the client. It does not say where the file is.
func refusalOf(err error) *refusal {
	var r *refusal
	var tooLong *http.MaxBytesError
	code := func(status int, code string) *refusal { return &refusal{status, code, textOf(err)} }
	switch {
	case errors.As(err, &r):
		return r
	case errors.As(err, &tooLong):
		return refuse(http.StatusRequestEntityTooLarge, "too_large", "the request has more than %d bytes", tooLong.Limit)
	case errors.Is(err, outbox.ErrNotFound):
		return code(http.StatusNotFound, "not_found")
	case errors.Is(err, sender.ErrChanged):
		return code(http.StatusConflict, "changed")
	case errors.Is(err, outbox.ErrTooLarge):
		return code(http.StatusRequestEntityTooLarge, "too_large")
	case errors.Is(err, outbox.ErrClosed):
		return code(http.StatusServiceUnavailable, "closed")
	case errors.Is(err, outbox.ErrFull):
		return code(http.StatusInsufficientStorage, "full")
	case errors.Is(err, errors.ErrUnsupported):
		return code(http.StatusBadRequest, "bad_request")
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return code(http.StatusServiceUnavailable, "busy")
	}
	return code(http.StatusInternalServerError, "storage")
}

// textOf returns the text of an error without the operation and the file, which the client knows or
// need not know.
func textOf(err error) string {
	var s *sender.StoreError
	if errors.As(err, &s) {
		return s.Err.Error()
	}
	return err.Error()
}
