package customerio_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox/customerio"
	"github.com/seed8107221f/outbox/customerio/customeriotest"
)

// pendingIDs are the IDs of what a lane holds, in order.
func pendingIDs(t *testing.T, c *customerio.Client, name customerio.Lane) (ids []uuid.UUID) {
	t.Helper()
	for it, err := range c.Lane(name).Pending() {
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, it.ID)
	}
	return ids
}

// Whatever is put can have an ID, a time and a note, which are in the file when the call returns.
func TestWith(t *testing.T) {
	at := time.Date(1999, 12, 31, 23, 0, 0, 0, time.UTC)
	who := customerio.ID("17")
	bubble(t, nil, func(t *testing.T, w *world) {
		w.SetFaults(always(customeriotest.Fault{Status: 401}))
		c := w.open(func(o *customerio.Options) { o.BatchItems = 1 })
		ctx := t.Context()
		ids := map[string]uuid.UUID{}
		for name, verb := range map[string]func(*customerio.Client) (uuid.UUID, error){
			"track":    func(c *customerio.Client) (uuid.UUID, error) { return c.Track(ctx, who, "track", nil) },
			"identify": func(c *customerio.Client) (uuid.UUID, error) { return c.Identify(ctx, who, nil) },
			"suppress": func(c *customerio.Client) (uuid.UUID, error) { return c.Suppress(ctx, who) },
			"email":    func(c *customerio.Client) (uuid.UUID, error) { return c.SendEmail(ctx, email("a@example.org")) },
			"broadcast": func(c *customerio.Client) (uuid.UUID, error) {
				return c.TriggerBroadcast(ctx, 1, customerio.Broadcast{})
			},
		} {
			ids[name] = uuid.New()
			id, err := verb(c.With(customerio.Meta{ID: ids[name], Time: at, NoteKey: "put/" + name, Note: []byte(name)}))
			if err != nil || id != ids[name] {
				t.Errorf("%s: %s, %v; want %s", name, id, err, ids[name])
			}
		}
		stored := map[uuid.UUID]bool{}
		for _, lane := range customerio.Lanes() {
			for _, id := range pendingIDs(t, c, lane) {
				stored[id] = true
			}
		}
		for name, id := range ids {
			if note, err := c.Note("put/" + name); string(note) != name || err != nil || !stored[id] {
				t.Errorf("%s: the note is %q, %v; stored: %v", name, note, err, stored[id])
			}
		}
		w.SetFaults(customeriotest.Faults{})
		w.flush(c)
		seen := 0
		for _, got := range w.Record() {
			switch got.Action {
			case "event":
				seen++
				if got.EventID != customerio.ULID(ids["track"]) || got.Timestamp != at.Unix() {
					t.Errorf("the event arrived with id %s and time %d", got.EventID, got.Timestamp)
				}
			case "identify":
				seen++
				if got.Timestamp != at.Unix() {
					t.Errorf("the identify arrived with time %d", got.Timestamp)
				}
			case "suppress":
				seen++
				if strings.Contains(string(got.Body), "timestamp") {
					t.Errorf("a time where the service has none: %s", got.Body)
				}
			}
		}
		if seen != 3 {
			t.Errorf("%d operations arrived, want 3", seen)
		}
		// The client of Open is as before.
		if id, err := c.Track(ctx, who, "track", nil); err != nil || id == ids["track"] {
			t.Errorf("%s, %v", id, err)
		}
	})
}

// An ID, a time or a note that does not fit is refused, and nothing is stored.
func TestWithRefuses(t *testing.T) {
	own := customerio.Operation{Type: "person", Action: "event", Identifiers: customerio.ID("1"), Name: "n", ID: customerio.ULID(uuid.New())}
	bubble(t, nil, func(t *testing.T, w *world) {
		c := w.open(nil)
		for want, put := range map[string]func() error{
			"Meta.ID names one operation, there are 2": func() error {
				_, err := c.With(customerio.Meta{ID: uuid.New()}).Put(t.Context(), identifies(0, 2)...)
				return err
			},
			"Meta.ID is not the ID of the operation": func() error {
				_, err := c.With(customerio.Meta{ID: uuid.New()}).Put(t.Context(), own)
				return err
			},
			"Meta.NoteKey is missing, and there is a Note of 1 bytes": func() error {
				_, err := c.With(customerio.Meta{Note: []byte("v")}).SendEmail(t.Context(), email("a@example.org"))
				return err
			},
			"Meta.NoteKey begins with customerio/": func() error {
				_, err := c.With(customerio.Meta{NoteKey: "customerio/job"}).Put(t.Context(), identifies(0, 1)...)
				return err
			},
			"timestamp must be Unix seconds above 0": func() error {
				_, err := c.With(customerio.Meta{Time: time.Unix(0, 0)}).Put(t.Context(), identifies(0, 1)...)
				return err
			},
			"Meta.ID names one call": func() error {
				return c.With(customerio.Meta{ID: uuid.New()}).Together(t.Context(), func(*customerio.Client) error { return nil })
			},
		} {
			if err := put(); !errors.Is(err, customerio.ErrInvalid) || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want %q", err, want)
			}
		}
		for name, s := range c.Stats() {
			if s.Put != 0 {
				t.Errorf("%s: %d put", name, s.Put)
			}
		}
	})
}

// What is put together is stored in one commit, in order, all or none.
func TestTogether(t *testing.T) {
	who := customerio.ID("17")
	bubble(t, nil, func(t *testing.T, w *world) {
		w.SetFaults(always(customeriotest.Fault{Status: 401}))
		c := w.open(nil)
		ctx := t.Context()
		at := time.Unix(900_000_000, 0)
		var want []uuid.UUID
		err := c.With(customerio.Meta{Time: at}).Together(ctx, func(tx *customerio.Client) error {
			a, err1 := tx.Identify(ctx, who, nil)
			b, err2 := tx.With(customerio.Meta{NoteKey: "k", Note: []byte("v")}).Track(ctx, who, "signed up", nil)
			err3 := tx.Together(ctx, func(tx *customerio.Client) error {
				_, err := tx.Suppress(ctx, customerio.ID("18"))
				return err
			})
			want = append(want, a, b)
			if n := c.Stats()[customerio.LaneTrack].Put; n != 0 {
				t.Errorf("%d were put before the end", n)
			}
			return errors.Join(err1, err2, err3)
		})
		got := pendingIDs(t, c, customerio.LaneTrack)
		if err != nil || len(got) != 3 || got[0] != want[0] || got[1] != want[1] {
			t.Errorf("%v, %v; want %v and one more", got, err, want)
		}
		if note, err := c.Note("k"); string(note) != "v" || err != nil {
			t.Errorf("the note is %q, %v", note, err)
		}
		err = c.Together(ctx, func(tx *customerio.Client) error {
			_, err1 := tx.SendEmail(ctx, email("a@example.org"))
			_, err2 := tx.SendSMS(ctx, email("+15551234567"))
			return errors.Join(err1, err2)
		})
		if n := c.Stats()[customerio.LaneTransactional].Put; n != 2 || err != nil {
			t.Errorf("%d messages were put, %v", n, err)
		}
		// Of what follows nothing is stored.
		hush := errors.New("no")
		var late *customerio.Client
		if err := c.Together(ctx, func(tx *customerio.Client) error {
			late = tx
			_, err := tx.Track(ctx, who, "n", nil)
			return errors.Join(err, hush)
		}); !errors.Is(err, hush) {
			t.Errorf("an error of the function: %v", err)
		}
		if _, err := late.Track(ctx, who, "n", nil); !errors.Is(err, customerio.ErrInvalid) {
			t.Errorf("after the end: %v", err)
		}
		for want, fn := range map[string]func(tx *customerio.Client) error{
			"is for lane transactional, and 1 calls before it in Together are for track": func(tx *customerio.Client) error {
				_, err1 := tx.Track(ctx, who, "n", nil)
				_, err2 := tx.SendEmail(ctx, email("a@example.org"))
				return errors.Join(err1, err2)
			},
			"Meta.NoteKey is the second one": func(tx *customerio.Client) error {
				_, err1 := tx.With(customerio.Meta{NoteKey: "a"}).Track(ctx, who, "n", nil)
				_, err2 := tx.With(customerio.Meta{NoteKey: "b"}).Track(ctx, who, "n", nil)
				return errors.Join(err1, err2)
			},
		} {
			if err := c.Together(ctx, fn); !errors.Is(err, customerio.ErrInvalid) || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want %q", err, want)
			}
		}
		if err := c.Together(ctx, func(*customerio.Client) error { return nil }); err != nil {
			t.Errorf("nothing: %v", err)
		}
		if s := c.Stats(); s[customerio.LaneTrack].Put != 3 || s[customerio.LaneTransactional].Put != 2 {
			t.Errorf("%+v", s)
		}
		w.SetFaults(customeriotest.Faults{})
		w.flush(c)
		for _, a := range w.Record() {
			if a.Action == "event" && a.Timestamp != at.Unix() {
				t.Errorf("time %d", a.Timestamp)
			}
		}
	})
}

// Several goroutines may put together.
func TestTogetherAtOnce(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		c := w.open(nil)
		err := c.Together(context.Background(), func(tx *customerio.Client) error {
			var all sync.WaitGroup
			for range 20 {
				all.Go(func() { tx.Track(context.Background(), customerio.ID("17"), "n", nil) })
			}
			all.Wait()
			return nil
		})
		w.flush(c)
		if v := w.Verdict(); err != nil || v.Unique != 20 {
			t.Errorf("%v, %v", v, err)
		}
	})
}
