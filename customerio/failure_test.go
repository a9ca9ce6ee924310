package customerio_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/customerio"
	"github.com/seed8107221f/outbox/customerio/customeriotest"
	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/sender/httpsend"
)

// An error says what failed, where and why, each once, and keeps what it wraps.
func TestErrorsSayThingsOnce(t *testing.T) {
	job := customerio.Job{Name: "n", URL: "https://example.org/a.csv"}
	for _, row := range []struct {
		name string
		fail func(t *testing.T, w *world, c *customerio.Client) error
		want string // the beginning; FILE stands for the path
		is   error
	}{
		{"put", func(t *testing.T, w *world, c *customerio.Client) error {
			_, err := c.Put(ended(t), identifies(0, 1)...)
			return err
		}, "customerio: put: lane track of FILE: ", context.Canceled},
		{"put with a note", func(t *testing.T, w *world, c *customerio.Client) error {
			_, err := c.With(customerio.Meta{NoteKey: "k"}).SendEmail(ended(t), email("a@example.org"))
			return err
		}, "customerio: put: lane transactional of FILE: ", context.Canceled},
		{"a note too long", func(t *testing.T, w *world, c *customerio.Client) error {
			_, err := c.With(customerio.Meta{NoteKey: strings.Repeat("k", 300)}).Put(t.Context(), identifies(0, 1)...)
			return err
		}, "customerio: put: lane track of FILE: too large: ", sender.ErrTooLarge},
		{"flush", func(t *testing.T, w *world, c *customerio.Client) error { return c.Flush(deadline(t, 5*time.Second)) },
			"customerio: flush: lane track of FILE: events remain: 3 pending (", outbox.ErrPending},
		{"drain", func(t *testing.T, w *world, c *customerio.Client) error { return c.Drain(deadline(t, 5*time.Second)) },
			"customerio: drain: lane track of FILE: events remain: 3 pending (", outbox.ErrPending},
		{"shutdown", func(t *testing.T, w *world, c *customerio.Client) error {
			return c.Shutdown(deadline(t, 5*time.Second))
		},
			"customerio: shutdown: lane track of FILE: events remain: 3 pending (", outbox.ErrPending},
		{"check", func(t *testing.T, w *world, c *customerio.Client) error { return c.CheckCredentials(t.Context()) },
			"customerio: check credentials: credentials refused: ", nil},
		{"job", func(t *testing.T, w *world, c *customerio.Client) error {
			_, err := c.ImportJob(t.Context(), job)
			return err
		}, "customerio: start of the import job: credentials refused: ", nil},
		{"note", func(t *testing.T, w *world, c *customerio.Client) error {
			c.Close()
			_, err := c.Note("k")
			return err
		}, "customerio: note: lane track of FILE: closed", outbox.ErrClosed},
		{"import", func(t *testing.T, w *world, c *customerio.Client) error {
			c.Close()
			_, err := c.Import(t.Context(), func(yield func(customerio.Row, error) bool) { yield(customerio.Row{ID: "1"}, nil) }, &customerio.ImportOptions{NoWait: true})
			return err
		}, "customerio: import: ", outbox.ErrClosed},
	} {
		t.Run(row.name, func(t *testing.T) {
			bubble(t, nil, func(t *testing.T, w *world) {
				w.SetFaults(always(customeriotest.Fault{Status: http.StatusUnauthorized}))
				c := w.open(nil)
				put(t, c, identifies(0, 3)...)
				err := row.fail(t, w, c)
				if err == nil {
					t.Fatal("no error")
				}
				text := strings.ReplaceAll(err.Error(), w.path, "FILE")
				if !strings.HasPrefix(text, row.want) || strings.Count(text, "customerio: ") != 1 || strings.Contains(text, "outbox: ") || strings.Count(text, "FILE") > 1 {
					t.Errorf("%s", text)
				}
				var status *httpsend.StatusError
				if row.is != nil && !errors.Is(err, row.is) || row.is == nil && (!errors.As(err, &status) || status.Code != http.StatusUnauthorized) {
					t.Errorf("%v does not wrap what caused it", err)
				}
			})
		})
	}
}

func ended(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

// The reason of a dead or a waiting operation says things once too.
func TestReasonsSayThingsOnce(t *testing.T) {
	for status, want := range map[int]string{
		http.StatusNotFound:     "no Track API at this address: check TrackURL",
		http.StatusUnauthorized: "credentials refused",
		http.StatusBadRequest:   "refused: ",
	} {
		bubble(t, nil, func(t *testing.T, w *world) {
			w.SetFaults(always(customeriotest.Fault{Status: status}))
			c := w.open(nil)
			put(t, c, identifies(0, 1)...)
			time.Sleep(time.Minute)
			lane := c.Lane(customerio.LaneTrack)
			found := 0
			for _, items := range []func(func(sender.Item, error) bool){lane.Pending(), lane.Dead()} {
				for it, err := range items {
					if err != nil {
						t.Fatal(err)
					}
					found++
					if !strings.Contains(it.LastErr, want) || strings.Count(it.LastErr, "customerio: ") != 1 {
						t.Errorf("%d: %s", status, it.LastErr)
					}
				}
			}
			if found != 1 {
				t.Errorf("%d: %d were found", status, found)
			}
		})
	}
}
