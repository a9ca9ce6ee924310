package sender_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox/sender"
)

// statusError is an error with a status.
type statusError int

func (e statusError) Error() string { return fmt.Sprintf("answer %d", int(e)) }
func (e statusError) Status() int   { return int(e) }

// putAtOnce is put in one call: else the first item may be alone for a moment.
func (l *lane) putAtOnce(names string) {
	l.Helper()
	var items []sender.Item
	for name := range strings.FieldsSeq(names) {
		items = append(items, sender.Item{ID: uuid.New(), Created: time.Now(), Payload: []byte(name)})
	}
	l.append(items...)
}

// A gateway that loses its routes refuses everything for a while: nothing dies of it, whether the
// items go one by one or in batches, may be sent twice or not, and whatever had failed before.
func TestEverythingRefused(t *testing.T) {
	for _, batch := range []int{0, 100} {
		for _, once := range []bool{false, true} {
			for _, before := range []string{"", "500 ", "403 "} {
				for _, word := range []string{"404", "400", "100ms+404"} { // with a status, and without
					if batch > 0 && word == "100ms+404" {
						continue // the items of a batch would take their time one after the other
					}
					if testing.Short() && (before == "403 " || word == "400") {
						continue
					}
					t.Run(fmt.Sprint(batch, once, before, word), func(t *testing.T) {
						in(t, func(l *lane) {
							l.options.AtMostOnce = once
							l.batch = batch
							l.put("first")
							l.run()
							l.wait(time.Minute)
							l.answer("*", word)
							if before != "" {
								l.answer("a", before+word)
							}
							l.putAtOnce("a " + strings.Repeat("x ", 299))
							l.wait(5 * time.Second)
							if st := l.s.Status(); !strings.Contains(st.Held, "refused alike: answer") {
								l.Errorf("Status is %+v, want the reason", st)
							}
							l.wait(time.Hour)
							if n := l.Counts().Delivered; n != 1 {
								l.Fatalf("%d delivered", n)
							}
							l.answer("a", "ok")
							l.answer("*", "ok")
							l.wait(5 * time.Minute)
							want := "delivered 301"
							if once && before == "500 " {
								want = "delivered 300, dead a" // its answer is unknown
							}
							l.ends(want)
							if n := len(l.requests()); n > 3600/5*2+700 {
								l.Errorf("%d requests in an hour of outage", n)
							}
						})
					})
				}
			}
		}
	}
}

// A poisoned item dies at once: alone, with a few others, or among good ones.
func TestPoisonDies(t *testing.T) {
	for names, want := range map[string]string{
		"a":                       "delivered 0, dead a",
		"a b c d":                 "delivered 0, dead a b c d",
		"key/1 key/2 a":           "delivered 0, dead key/1 key/2 a",
		"good a good b good":      "delivered 3, dead a b",
		"a b c d good e f g h i":  "delivered 1, dead a b c d, pending e f g h i",
		"a b c k405 d e f g k405": "delivered 0, dead a b c k405 d e f g k405",
	} {
		in(t, func(l *lane) {
			l.options.Concurrency = 1
			l.answer("*", "404")
			l.answer("k405", "405")
			l.answer("good", "ok")
			l.put(names)
			l.run()
			l.wait(0)
			if got := l.ending(); got != want {
				l.Errorf("%s: %s, want %s", names, got, want)
			}
		})
	}
}

// Answers to requests from before the destination broke, or worked again, decide about no item.
func TestLateAnswersKillNothing(t *testing.T) {
	in(t, func(l *lane) {
		l.options.Concurrency = 6
		l.answer("slow1", "2s+ok")
		l.answer("slow2", "2500ms+ok")
		l.answer("*", "1s+404") // four at 1s, three more at 2s and after
		l.answer("h", "25s+404 ok")
		l.putAtOnce("slow1 slow2 a b c d e f g h i j")
		l.run()
		l.wait(19 * time.Second)
		if c := l.Counts(); c.Dead != 0 || c.Delivered != 2 {
			l.Fatalf("in the end: %s", l.ending())
		}
		l.answer("*", "ok")
		l.wait(6 * time.Second)
		if now, _ := l.inFlight(); now != 1 || l.s.Status().Held != "" {
			l.Fatalf("%d in flight, want h from before the mending; Status is %+v", now, l.s.Status())
		}
		l.wait(5 * time.Minute)
		l.ends("delivered 12")
	})
}

// The same if the hold ends with a pause.
func TestLateAnswerAfterHoldAndPause(t *testing.T) {
	in(t, func(l *lane) {
		l.options.Concurrency = 6
		l.answer("*", "1s+404")
		l.answer("h", "25s+404 ok")
		l.putAtOnce("h a b c d e f g")
		l.run()
		l.wait(10 * time.Second)
		if st := l.s.Status(); !strings.Contains(st.Held, "refused alike") {
			l.Fatalf("Status is %+v", st)
		}
		l.answer("*", "429:3s ok")
		l.wait(14 * time.Second)
		if now, _ := l.inFlight(); now != 1 || l.s.Status().Held != "" {
			l.Fatalf("%d in flight, want h from before the mending; Status is %+v", now, l.s.Status())
		}
		l.wait(5 * time.Minute)
		l.ends("delivered 8")
	})
}

// The verdict on the first refused items waits for the next answer, and Flush for the verdict.
func TestRefusedWaitForTheNextAnswer(t *testing.T) {
	in(t, func(l *lane) {
		l.options.OnOutcome = l.hear
		l.answer("bad", "404")
		l.answer("good", "10s+ok")
		l.put("bad good")
		l.run()
		l.wait(9 * time.Second)
		l.ends("delivered 0, pending bad good")
		if c := l.Counts(); c.InFlight != 2 {
			l.Errorf("the counts are %+v, want two in flight", c)
		}
		if err := l.s.Flush(l.Context()); err != nil {
			l.Fatal(err)
		}
		l.ends("delivered 1, dead bad")
		if it := l.item("bad"); it.Attempts != 1 || !it.FailedAt.Equal(l.start) || it.LastErr != "answer 404" {
			l.Errorf("it died as %+v", it)
		}
	})
}

// Good items behind many bad ones are reached, and then the bad ones die.
func TestGoodBehindManyRefused(t *testing.T) {
	in(t, func(l *lane) {
		l.answer("bad", "404")
		l.put(strings.Repeat("bad ", 100) + "good")
		l.run()
		l.wait(20 * time.Minute)
		if n := l.Counts().Delivered; n != 1 {
			l.Fatalf("the good one behind 100 bad ones is not delivered:\n%s", l.logs.String())
		}
		for range 60 { // while good ones come
			l.put("good")
			l.wait(time.Minute)
		}
		l.ends("delivered 61, dead" + strings.Repeat(" bad", 100))
	})
}

// A lane whose items are all refused says so, and keeps those that came when that was known. The
// next success decides.
func TestOnlyRefused(t *testing.T) {
	in(t, func(l *lane) {
		l.answer("*", "404")
		for name := range strings.FieldsSeq("a b c d e f") {
			l.put(name)
			if name == "a" {
				l.run()
			}
			l.wait(time.Minute)
		}
		l.ends("delivered 0, dead a b c d, pending e f")
		l.wait(48 * time.Hour)
		l.ends("delivered 0, dead a b c d, pending e f")
		if it := l.item("e"); it.Attempts != 0 || it.Failures < 100 || !strings.HasPrefix(it.LastErr, "refused like others: answer 404") {
			l.Errorf("e is %+v", it)
		}
		if st := l.s.Status(); !strings.Contains(st.Held, "refused alike") {
			l.Errorf("Status is %+v", st)
		}
		l.answer("good", "ok")
		l.put("good")
		l.wait(5 * time.Minute)
		l.ends("delivered 1, dead a b c d e f")
	})
}

// An item that was kept may be refused once more by a request that a success overtook. That proves
// nothing, and the next refusal decides: one bad item does not hold the lane again.
func TestKeptAndOvertaken(t *testing.T) {
	in(t, func(l *lane) {
		l.answer("*", "404")
		l.putAtOnce("bad b c d e f g")
		l.run()
		l.wait(time.Minute)
		l.ends("delivered 0, pending bad b c d e f g")
		l.answer("bad", "20s+404 404")
		l.answer("*", "ok")
		before, _ := l.sent("bad")
		for now := before; now == before; now, _ = l.sent("bad") {
			l.wait(5 * time.Second)
		}
		l.put("good") // overtakes the refusal
		l.wait(5 * time.Minute)
		l.ends("delivered 7, dead bad")
		if n := l.logged("the lane is held"); n != 1 {
			l.Errorf("the lane was held %d times:\n%s", n, l.logs.String())
		}
	})
}

// Nothing dies of a restart amid the refusals, nor does the end of Run while a verdict is open.
func TestRestartWhileRefused(t *testing.T) {
	for _, once := range []bool{false, true} {
		in(t, func(l *lane) {
			l.options.AtMostOnce = once
			l.answer("*", "400ms+404") // within the time that the end of Run waits
			l.putAtOnce(strings.Repeat("x ", 40))
			l.run()
			for i := range 50 {
				l.wait(time.Duration(i) * 300 * time.Millisecond)
				l.crash()
			}
			l.wait(time.Millisecond) // so that those in flight began before the first success
			l.ends("delivered 0, pending" + strings.Repeat(" x", 40))
			l.answer("*", "ok")
			l.wait(5 * time.Minute)
			l.ends("delivered 40")
		})
	}
}

// The end of Run gives back what waits for its verdict.
func TestEndWhileRefusedWait(t *testing.T) {
	in(t, func(l *lane) {
		l.answer("bad", "404")
		l.answer("slow", "timeout")
		l.put("bad slow")
		l.run()
		synctest.Wait()
		if err := l.stop(); err != nil {
			l.Fatal(err)
		}
		l.ends("delivered 0, pending bad slow")
		if c := l.Counts(); c.InFlight != 0 {
			l.Errorf("the counts are %+v", c)
		}
	})
}

// brokenStatus has a Status that panics.
type brokenStatus struct{ error }

func (brokenStatus) Status() int { panic("secret") }

func TestBrokenStatus(t *testing.T) {
	in(t, func(l *lane) {
		l.askOver(sender.TransportFunc(func(ctx context.Context, it sender.Item) error {
			return sender.Permanent(brokenStatus{statusError(400)})
		}))
		l.put("a")
		l.wait(time.Minute)
		l.ends("delivered 0, dead a")
	})
}
