package limiter

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// Waiting callers are served in order of arrival, whichever of bucket and log makes them wait.
func TestOrderOfArrival(t *testing.T) {
	const waiters = 30
	logAlone := Within(10, time.Second)
	logAlone.PerSecond = 0
	for name, l := range map[string]*Limiter{
		"a bucket":             {PerSecond: 10},
		"a bucket and a log":   Within(10, time.Second),
		"a log alone":          Within(9, time.Second),
		"a log without a rate": logAlone,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				served := make(chan int, waiters)
				for i := range waiters {
					go func() {
						if err := l.Wait(t.Context()); err != nil {
							t.Error(err)
						}
						served <- i
					}()
					synctest.Wait() // it has arrived before the next one does
				}
				var order []int
				for range waiters {
					order = append(order, <-served)
				}
				if !slices.IsSorted(order) {
					t.Errorf("served were %v", order)
				}
			})
		})
	}
}
