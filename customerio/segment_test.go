package customerio_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox/customerio"
	"github.com/seed8107221f/outbox/customerio/customeriotest"
)

// wire keeps the requests of the clients opened from now on, as "POST /path?query body".
func (w *world) wire() (requests func() []string) {
	var mu sync.Mutex
	var all []string
	w.watch(func(req *http.Request) {
		body := []byte(nil)
		if req.GetBody != nil {
			r, err := req.GetBody()
			if err == nil {
				body, err = io.ReadAll(r)
			}
			if err != nil {
				panic(err)
			}
		}
		mu.Lock()
		defer mu.Unlock()
		all = append(all, strings.TrimSpace(fmt.Sprintf("%s %s %s", req.Method, req.URL.RequestURI(), body)))
	})
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		return all
	}
}

// Segments go by version 1 of the API, each call in a request of its own.
func TestSegments(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		requests := w.wire()
		c := w.open(nil)
		ctx := t.Context()
		for _, put := range []func() (uuid.UUID, error){
			func() (uuid.UUID, error) {
				return c.AddPeopleToSegment(ctx, 7, customerio.ID("1"), customerio.ID("b/2"))
			},
			func() (uuid.UUID, error) { return c.RemovePeopleFromSegment(ctx, 7, customerio.Email("a@example.org")) },
			func() (uuid.UUID, error) { return c.AddPeopleToSegment(ctx, 7, customerio.CioID("0001")) },
		} {
			if id, err := put(); err != nil || id == uuid.Nil {
				t.Errorf("%s, %v", id, err)
			}
		}
		w.flush(c)
		want := []string{
			`POST /api/v1/segments/7/add_customers?id_type=id {"ids":["1","b/2"]}`,
			`POST /api/v1/segments/7/remove_customers?id_type=email {"ids":["a@example.org"]}`,
			`POST /api/v1/segments/7/add_customers?id_type=cio_id {"ids":["0001"]}`,
		}
		if got := requests(); strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		if n := w.Verdict().Operations; n != 3 {
			t.Errorf("%d arrived, want 3", n)
		}
		w.check(c)
	})
}

// Among operations that go in batches a call of version 1 goes alone, and everything arrives.
func TestSegmentAmongOperations(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		w.SetFaults(always(customeriotest.Fault{Status: 503}))
		c := w.open(nil)
		put(t, c, identifies(0, 150)...)
		for n := range 3 {
			if _, err := c.AddPeopleToSegment(t.Context(), n+1, customerio.ID("1")); err != nil {
				t.Fatal(err)
			}
		}
		put(t, c, identifies(150, 150)...)
		w.SetFaults(customeriotest.Faults{})
		time.Sleep(time.Minute)
		w.flush(c)
		requests := map[int]bool{}
		for _, a := range w.Record() {
			requests[a.Request] = true
		}
		if v := w.Verdict(); v.Unique != 303 || v.RefusedForRate != 0 || len(requests) > 60 {
			t.Errorf("in %d requests: %v", len(requests), v)
		}
		if reasons := dead(t, c, customerio.LaneTrack); len(reasons) != 0 {
			t.Errorf("dead: %q", reasons)
		}
		w.check(c)
	})
}

// What the service would refuse, or pass over, is refused before it is stored.
func TestSegmentRefuses(t *testing.T) {
	long := make([]customerio.Identifiers, 1001)
	for i := range long {
		long[i] = customerio.ID(fmt.Sprint(i))
	}
	bubble(t, nil, func(t *testing.T, w *world) {
		c := w.open(nil)
		for want, row := range map[string]struct {
			segment int
			people  []customerio.Identifiers
		}{
			"segment is 0":                              {0, long[:1]},
			"people are 0, from 1 to 1000":              {1, nil},
			"people are 1001, from 1 to 1000":           {1, long},
			"people[1] is named by email, and the":      {1, []customerio.Identifiers{customerio.ID("1"), customerio.Email("a@example.org")}},
			"people[0].phone does not belong here":      {1, []customerio.Identifiers{customerio.Phone("1")}},
			"people[1].id has 151 bytes, at most 150":   {1, []customerio.Identifiers{customerio.ID("1"), customerio.ID(strings.Repeat("x", 151))}},
			"people[0].anonymous_id does not belong he": {1, []customerio.Identifiers{{AnonymousID: "1"}}},
		} {
			_, err := c.AddPeopleToSegment(t.Context(), row.segment, row.people...)
			_, err2 := c.RemovePeopleFromSegment(t.Context(), row.segment, row.people...)
			for _, err := range []error{err, err2} {
				if !errors.Is(err, customerio.ErrInvalid) || !strings.Contains(err.Error(), want) {
					t.Errorf("%v, want %q", err, want)
				}
			}
		}
		if n := c.Stats()[customerio.LaneTrack].Put; n != 0 {
			t.Errorf("%d were put", n)
		}
		// A segment that is not there is the fault of the call, not of the credentials or the address.
		w.Script(customeriotest.Fault{Status: 404})
		if _, err := c.AddPeopleToSegment(t.Context(), 9, long[0]); err != nil {
			t.Fatal(err)
		}
		w.flush(c)
		if reasons := dead(t, c, customerio.LaneTrack); len(reasons) != 1 || !strings.Contains(reasons[0], "404") {
			t.Errorf("dead: %q", reasons)
		}
	})
	bubble(t, nil, func(t *testing.T, w *world) {
		c := w.open(func(o *customerio.Options) { o.SiteID, o.TrackKey = "", "" })
		if _, err := c.AddPeopleToSegment(t.Context(), 1, customerio.ID("1")); !errors.Is(err, customerio.ErrCredentials) {
			t.Errorf("without credentials: %v", err)
		}
	})
}

// An invitation has no person: it goes by version 1, with an id and a time, the same at every attempt.
func TestInvite(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		requests := w.wire()
		w.Script(customeriotest.Fault{Status: 502, Accept: true})
		c := w.open(nil)
		data := map[string]any{"recipient": "a@example.org", "n": 1}
		id, err := c.TrackAnonymous(t.Context(), "", " invited ", data)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		want := fmt.Sprintf(`POST /api/v1/events {"data":{"n":1,"recipient":"a@example.org"},"id":"%s","name":" invited ","timestamp":946684800}`, customerio.ULID(id))
		if got := requests(); len(got) != 2 || got[0] != want || got[1] != want {
			t.Errorf("got  %q\nwant %q twice", got, want)
		}
		if v := w.Verdict(); v.Unique != 1 || v.Operations != 2 {
			t.Error(v)
		}
		own := customerio.Meta{ID: uuid.New(), Time: time.Unix(900_000_000, 0)}
		if id, err := c.With(own).TrackAnonymous(t.Context(), "", "invited", data); err != nil || id != own.ID {
			t.Errorf("%s, %v, want %s", id, err, own.ID)
		}
		w.flush(c)
		all := w.Record()
		if last := all[len(all)-1]; last.EventID != customerio.ULID(own.ID) || last.Timestamp != 900_000_000 {
			t.Errorf("%+v", last)
		}
		for want, row := range map[string]struct {
			name string
			data map[string]any
		}{
			"attributes.recipient is missing": {"n", nil},
			"name is missing":                 {" ", data},
		} {
			if _, err := c.TrackAnonymous(t.Context(), "", row.name, row.data); !errors.Is(err, customerio.ErrInvalid) || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want %q", err, want)
			}
		}
	})
}
