package sender_test

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// All items of a request are recorded in one call, and each has its own answer.
func TestAtMostOnceBatch(t *testing.T) {
	in(t, func(l *lane) {
		q := &slowRecord{Memory: &l.Memory}
		l.queue = q
		l.options.AtMostOnce = true
		l.options.Concurrency = 1
		l.batch = 8
		l.answer("b", "500")
		l.answer("c", "400")
		l.answer("d", "later:1m ok")
		l.put("a b c d")
		l.run()
		l.wait(time.Second)
		l.ends("delivered 1, dead b c, pending d")
		l.wait(time.Hour)
		l.ends("delivered 2, dead b c")
		if got := q.calls(); len(got) != 2 || !slices.Equal(got[0], []string{"a", "b", "c", "d"}) || !slices.Equal(got[1], []string{"d"}) {
			l.Errorf("recorded %q, want a b c d together, and then d", got)
		}
		if reason := l.item("b").LastErr; reason != unknown+": answer 500" {
			l.Errorf("b is dead because of %q", reason)
		}
		l.answer("i", "short")
		l.put("i")
		l.wait(time.Hour)
		l.ends("delivered 2, dead b c i")
		if reason := l.item("i").LastErr; !strings.HasPrefix(reason, unknown) {
			l.Errorf("i is dead because of %q", reason)
		}
	})
}

// The parts of a batch that was refused as a whole are sent, and none of them twice.
func TestAtMostOnceSplit(t *testing.T) {
	in(t, func(l *lane) {
		q := &slowRecord{Memory: &l.Memory}
		l.queue = q
		l.options.AtMostOnce = true
		l.options.Concurrency = 1
		l.batch = 4
		l.answer("a", "split ok")
		l.answer("c", "ok 500")
		l.put("a b c d")
		l.run()
		l.wait(time.Minute)
		l.wants("0s a+b+c+d split+ok\n0s a+b ok\n0s c+d 500+ok")
		l.ends("delivered 3, dead c")
		if got := q.calls(); len(got) != 3 || !slices.Equal(got[1], []string{"a", "b"}) || !slices.Equal(got[2], []string{"c", "d"}) {
			l.Errorf("recorded %q, want each part before it is sent", got)
		}
	})
}

// Five unknown answers in a row hold the lane, so that an outage does not make every item dead.
func TestAtMostOnceHolds(t *testing.T) {
	in(t, func(l *lane) {
		l.options.AtMostOnce = true
		l.options.Concurrency = 1
		l.answer("*", "500")
		l.put("a b c d e f g h")
		l.run()
		l.wait(time.Millisecond)
		l.ends("delivered 0, dead a b c d e, pending f g h")
		if l.s.Status().Held == "" {
			l.Fatal("the lane is not held")
		}
	})
}
