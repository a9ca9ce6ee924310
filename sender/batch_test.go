package sender_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/seed8107221f/outbox/sender"
)

// Batches fill while tokens are scarce, to their limits of items and bytes.
func TestBatchesFill(t *testing.T) {
	in(t, func(l *lane) {
		l.batch, l.bytes = 10, 7
		m := &metered{interval: time.Second}
		l.limiter = m
		l.run()
		for i := range 30 {
			l.put(string(rune('a' + i)))
			l.wait(100 * time.Millisecond)
		}
		l.wait(time.Minute)
		l.ends("delivered 30")
		if n := len(l.requests()); n > 6 {
			l.Fatalf("30 items took %d requests at one a second", n)
		}
		for _, line := range l.requests() {
			if n := strings.Count(line, "+") + 1; n > 7 {
				l.Fatalf("%d bytes in a request of at most 7: %s", n, line)
			}
		}
		if granted, _, _ := m.count(); granted != len(l.requests()) {
			l.Fatalf("%d tokens for %d requests", granted, len(l.requests()))
		}
	})
}

// Each part of a batch that was split takes a token of its own, and goes before anything new.
func TestPiecesTakeTokens(t *testing.T) {
	in(t, func(l *lane) {
		l.batch = 4
		m := &metered{interval: time.Second}
		l.limiter = m
		l.answer("a", "500ms+split ok") // while another worker waits for a token
		l.put("a b c d e")
		l.run()
		l.wait(time.Minute)
		l.wants(`0s a+b+c+d 500ms+split+ok
			1s a+b ok
			2s c+d ok
			3s e ok`)
		if granted, _, _ := m.count(); granted != 4 {
			l.Fatalf("%d tokens for 4 requests", granted)
		}
	})
}

// A batch in which something was delivered is no sign that the destination fails; one in which
// nothing was counts once, however many items it had.
func TestManyFailuresBesideASuccess(t *testing.T) {
	in(t, func(l *lane) {
		l.options.Backoff = steady(time.Hour)
		l.options.Concurrency = 1
		l.batch = 7
		l.answer("*", "500")
		l.answer("good", "ok")
		for first := range strings.FieldsSeq("A B C D good E F G H I J") {
			l.put("a b c d e f " + first) // the rest of a batch fails whatever the first does
		}
		l.run()
		l.wait(time.Millisecond)
		if n := l.logged("held"); n != 1 {
			l.Fatalf("the lane is held %d times, want 1", n)
		}
		if got := len(l.requests()); got != 10 || l.Counts().Delivered != 1 { // four and the success, then five
			l.Fatalf("%d requests before the lane was held, want 10; %d delivered", got, l.Counts().Delivered)
		}
	})
}

// A batch that is told to split and to wait does both, in the other order.
func TestThrottledAndSplit(t *testing.T) {
	in(t, func(l *lane) {
		l.options.Concurrency = 1
		l.batch = 2
		l.answer("a", "split split ok")
		l.answer("b", "429:5s ok")
		l.put("a b")
		l.run()
		l.wait(time.Minute)
		l.wants(`0s a+b split+429:5s
			5s a+b split+ok
			5s a ok
			5s b ok`)
		l.ends("delivered 2")
	})
}

// A part that waits for its token when the lane falls silent goes back to the queue.
func TestPieceWaitsInSilence(t *testing.T) {
	in(t, func(l *lane) {
		l.batch = 4
		l.limiter = &metered{interval: time.Second}
		l.answer("a", "split 500ms+429:5s ok")
		l.put("a b c d e f")
		l.run()
		l.wait(time.Minute)
		l.wants(`0s a+b+c+d split+ok
			1s a+b 500ms+429:5s+ok
			6.5s a+e+c+f ok
			7.5s d ok`)
		l.ends("delivered 6")
	})
}

// A token that was not used is good for a moment only.
func TestTokenGrowsOld(t *testing.T) {
	in(t, func(l *lane) {
		m := &metered{}
		l.limiter = m
		l.append(sender.Item{ID: uuid.New(), Payload: []byte("x"), Expires: time.Now().Add(-time.Second)})
		l.run()
		l.wait(5 * time.Millisecond)
		l.put("a")
		l.wait(time.Second)
		if granted, _, _ := m.count(); granted != 1 {
			l.Fatalf("%d tokens: one was left over, and not used at once", granted)
		}
		l.append(sender.Item{ID: uuid.New(), Payload: []byte("x"), Expires: time.Now()})
		l.wait(50 * time.Millisecond)
		l.put("b")
		l.wait(time.Second)
		if granted, _, _ := m.count(); granted != 3 {
			l.Fatalf("%d tokens, want 3: one of them has grown old", granted)
		}
		l.ends("delivered 2, expired 2")
	})
}

func TestExpired(t *testing.T) {
	in(t, func(l *lane) {
		l.options.Concurrency = 1
		l.options.OnOutcome = l.hear
		m := &metered{interval: time.Second}
		l.limiter = m
		expiring := func(name string, d time.Duration) {
			it := sender.Item{ID: uuid.New(), Payload: []byte(name), Expires: time.Now().Add(d)}
			l.append(it)
		}
		l.answer("a", "1s+ok")
		l.put("a")
		for range 5 {
			expiring("x", time.Second)
		}
		expiring("good", 2*time.Second)
		l.run()
		l.wait(time.Minute)
		l.wants("0s a 1s+ok\n1s good ok")
		l.ends("delivered 2, expired 5")
		want := append([]string{"a delivered 1s"}, slices.Repeat([]string{"x expired 0s"}, 5)...)
		want = append(want, "good delivered 0s")
		slices.Sort(want)
		got := l.told()
		slices.Sort(got)
		if !slices.Equal(got, want) {
			l.Fatalf("OnOutcome heard %q, want %q", got, want)
		}
		if granted, _, _ := m.count(); granted != 2 {
			l.Fatalf("%d tokens for 2 requests", granted)
		}
	})
}

// A part of a batch expires while it waits for its token.
func TestPieceExpires(t *testing.T) {
	in(t, func(l *lane) {
		l.batch = 2
		l.limiter = &metered{interval: time.Second}
		l.answer("a", "split ok")
		l.put("a")
		l.append(sender.Item{ID: uuid.New(), Payload: []byte("b"), Expires: time.Now().Add(2 * time.Second)})
		l.run()
		l.wait(time.Minute)
		l.wants("0s a+b split+ok\n1s a ok")
		l.ends("delivered 1, expired 1")
	})
}

// What its owner drops while the lane is silent is not sent afterwards, also if it was part of a
// batch that was split.
func TestDroppedPartIsNotSent(t *testing.T) {
	in(t, func(l *lane) {
		l.options.Concurrency = 1
		l.batch = 4
		l.answer("a", "split 429:24h ok")
		l.put("a b c d")
		l.run()
		l.wait(time.Minute)
		l.Drop(l.item("d").Seq)
		l.wait(24 * time.Hour)
		l.wants(`0s a+b+c+d split+ok
			0s a+b 429:24h+ok
			24h0m0s a+c ok`)
		l.ends("delivered 3")
	})
}
