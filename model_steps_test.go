package outbox_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/store"
)

// step does one thing at random.
func (m *model) step() {
	switch p := m.rng.IntN(1000); {
	case p < 330:
		m.put(m.event(m.anyKey()))
	case p < 370:
		es := make([]outbox.Event, m.rng.IntN(6))
		for i := range es {
			es[i] = m.event(m.anyKey())
		}
		m.put(es...)
	case p < 390:
		m.putAtOnce()
	case p < 750:
		m.wait()
	case p < 870:
		m.dest.mu.Lock()
		m.dest.mood = moods[m.rng.IntN(len(moods))]
		m.dest.mu.Unlock()
	case p < 880:
		m.crash()
	case p < 887:
		m.close(func() error { return m.b.Close() }, 6*time.Second)
		m.open(m.path)
	case p < 894:
		d := m.short()
		m.close(func() error {
			ctx, cancel := context.WithTimeout(m.t.Context(), d)
			defer cancel()
			return m.b.Shutdown(ctx)
		}, d+time.Second)
		m.open(m.path)
	case p < 930:
		m.flush()
	case p < 960:
		m.revive()
	default:
		m.drop()
	}
}

func (m *model) short() time.Duration { return time.Duration(m.rng.IntN(3000)) * time.Millisecond }

func (m *model) wait() {
	d := m.short() / 10
	switch m.rng.IntN(20) {
	case 0:
		d *= 1000
	case 1, 2, 3:
		d *= 20
	}
	time.Sleep(d)
	synctest.Wait()
}

func (m *model) anyKey() string { return []string{"", "a", "b", "c"}[m.rng.IntN(4)] }

// event makes an event with the next number.
func (m *model) event(key string) outbox.Event {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.n++
	e := outbox.Event{Key: key, Kind: "track", Payload: fmt.Append(nil, m.n)}
	me := &modelEvent{key: key, n: m.n, fate: pending}
	if m.rng.IntN(10) == 0 {
		e.NotBefore = time.Now().Add(time.Duration(m.rng.IntN(120)-20) * time.Second)
		me.free = e.NotBefore.After(time.Now())
	}
	if m.rng.IntN(10) == 0 {
		e.Expires = time.Now().Add(time.Duration(1+m.rng.IntN(120)) * time.Second)
		if !e.Expires.After(e.NotBefore) {
			e.Expires = e.NotBefore.Add(time.Second)
		}
		me.expires = e.Expires
	}
	if m.rng.IntN(4) == 0 {
		e.ID = uuid.New()
		me.id = e.ID
	}
	switch m.rng.IntN(30) {
	case 0:
		e.Kind = "poison 500"
	case 1:
		e.Kind = "poison 403"
	}
	m.events[string(e.Payload)] = me
	return e
}

// put stores events and checks what comes back. All is known at once: in a bubble time stands still
// while a commit runs, so that ctx ends before or after it.
func (m *model) put(es ...outbox.Event) {
	ctx, cancel := context.WithTimeout(m.t.Context(), 2*time.Second)
	defer cancel()
	var ids []uuid.UUID
	var err error
	if len(es) == 1 {
		var id uuid.UUID
		id, err = m.b.Put(ctx, es[0])
		ids = []uuid.UUID{id}
	} else {
		ids, err = m.b.PutAll(ctx, es...)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case err != nil && !m.full(err):
		m.t.Errorf("put of %d events: %v", len(es), err)
	case len(ids) != len(es):
		m.t.Errorf("%d IDs for %d events", len(ids), len(es))
	}
	for i, e := range es {
		if err != nil {
			delete(m.events, string(e.Payload))
			continue
		}
		me := m.events[string(e.Payload)]
		if me.id != uuid.Nil && me.id != ids[i] {
			m.t.Errorf("event %s was given ID %v, got %v", e.Payload, me.id, ids[i])
		}
		me.id = ids[i]
	}
}

// full reports whether err says that there was no room, and that nothing was stored.
func (m *model) full(err error) bool {
	waited := m.o.Store.Block && errors.Is(err, context.DeadlineExceeded)
	return m.o.Store.MaxPending > 0 && (waited || errors.Is(err, store.ErrFull)) && strings.Contains(err.Error(), "nothing was stored")
}

// putAtOnce puts from several goroutines, each with a key of its own.
func (m *model) putAtOnce() {
	var wg sync.WaitGroup
	for _, key := range [...]string{"a", "b", "c"} {
		es := []outbox.Event{m.event(key), m.event(key), m.event(key)}
		wg.Go(func() {
			for _, e := range es {
				m.put(e)
			}
		})
	}
	wg.Wait()
}

// close ends the process in an orderly way.
func (m *model) close(how func() error, within time.Duration) {
	began := time.Now()
	if err := how(); err != nil && !errors.Is(err, outbox.ErrPending) {
		m.t.Errorf("closing: %v", err)
	}
	if took := time.Since(began); took > within {
		m.t.Errorf("closing took %v, %v promised", took, within)
	}
	if _, err := m.b.Put(m.t.Context(), outbox.Event{}); !errors.Is(err, outbox.ErrClosed) {
		m.t.Errorf("put after closing: %v", err)
	}
	m.p.stop(m.rng)
}

// crash goes on with what a killed process would have left: the file as it is now.
func (m *model) crash() {
	synctest.Wait()
	data, err := os.ReadFile(m.path)
	if err != nil {
		m.t.Fatal(err)
	}
	m.p.stop(m.rng)
	m.b.Close()
	os.Remove(m.path)
	path := m.newPath()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		m.t.Fatal(err)
	}
	m.open(path)
}

func (m *model) flush() {
	ctx, cancel := context.WithTimeout(m.t.Context(), m.short())
	defer cancel()
	err := m.b.Flush(ctx)
	synctest.Wait()
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, e := range m.events {
		if err == nil && e.fate == pending {
			m.t.Errorf("after Flush event %s is still pending", name)
		}
	}
	if err != nil && !errors.Is(err, outbox.ErrPending) {
		m.t.Errorf("flush: %v", err)
	}
}

// choose returns one of those listed, or false.
func (m *model) choose(seq func(func(sender.Item, error) bool)) (sender.Item, bool) {
	synctest.Wait()
	var items []sender.Item
	for it, err := range seq {
		if err != nil {
			m.t.Errorf("listing: %v", err)
		}
		items = append(items, it)
	}
	if len(items) == 0 {
		return sender.Item{}, false
	}
	return items[m.rng.IntN(len(items))], true
}

func (m *model) revive() {
	it, ok := m.choose(m.b.Dead())
	if !ok {
		return
	}
	m.mu.Lock()
	e := m.events[string(it.Payload)]
	if e.fate != dead || it.LastErr == "" {
		m.t.Errorf("event %s is %s, and listed among the dead for %q", it.Payload, e.fate, it.LastErr)
	}
	e.fate, e.free = pending, true // before it can be sent
	m.mu.Unlock()
	err := m.b.Revive(m.t.Context(), it)
	if err == nil {
		return
	}
	if !errors.Is(err, store.ErrFull) {
		m.t.Errorf("revive: %v", err)
	}
	m.mu.Lock()
	e.fate = dead
	m.mu.Unlock()
}

func (m *model) drop() {
	list := m.b.Pending()
	if m.rng.IntN(4) == 0 {
		list = m.b.Dead()
	}
	it, ok := m.choose(list)
	if !ok {
		return
	}
	m.mu.Lock()
	if e := m.events[string(it.Payload)]; e.fate != pending && e.fate != dead {
		m.t.Errorf("event %s is %s, and listed", it.Payload, e.fate)
	}
	m.events[string(it.Payload)].fate = dropped
	m.mu.Unlock()
	if err := m.b.Drop(m.t.Context(), it); err != nil {
		m.t.Errorf("drop: %v", err)
	}
}
