package sender_test

import (
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// After a burst few goroutines are kept. That none are left after Run is what the bubble checks.
func TestGoroutinesAfterABurst(t *testing.T) {
	in(t, func(l *lane) {
		before := runtime.NumGoroutine()
		l.options.Concurrency = 500
		l.answer("*", "1s+ok")
		for range 3 {
			l.put(strings.Repeat("x ", 500))
		}
		l.run()
		synctest.Wait()
		if n := runtime.NumGoroutine() - before; n < 400 { // those of the test run come and go
			l.Fatalf("%d goroutines for 500 requests in flight", n)
		}
		l.wait(time.Minute)
		l.ends("delivered 1500")
		if n := runtime.NumGoroutine() - before; n > 100 {
			l.Fatalf("%d goroutines are kept while nothing is to be sent", n)
		}
	})
}

// A call that returns after Run has ended leaves no goroutine.
func TestGoroutinesOfAbandonedCalls(t *testing.T) {
	in(t, func(l *lane) {
		before := runtime.NumGoroutine()
		l.options.Timeout = time.Second
		l.options.Concurrency = 100
		l.answer("*", "1h+ok")
		l.answer("exits", "1h+exit")
		l.put(strings.Repeat("x exits ", 50))
		l.run()
		l.wait(time.Minute)
		if err := l.stop(); err != nil {
			l.Fatal(err)
		}
		synctest.Wait()
		if n := runtime.NumGoroutine() - before; n < 50 {
			l.Fatalf("%d goroutines while 100 calls hang", n)
		}
		l.wait(time.Hour)
		if n := runtime.NumGoroutine() - before; n > 50 {
			l.Fatalf("%d goroutines are left of 100 calls", n)
		}
	})
}
