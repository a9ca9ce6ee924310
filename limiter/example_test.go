package limiter_test

import (
	"context"
	"fmt"
	"time"

	"github.com/seed8107221f/outbox/limiter"
)

// A destination allows 100 requests in any second.
func ExampleWithin() {
	l := limiter.Within(100, time.Second)
	if err := l.Wait(context.Background()); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("the first of %.0f a second may start\n", l.Rate())
	// Output: the first of 90 a second may start
}

func ExampleLimiter_Slow() {
	l := &limiter.Limiter{PerSecond: 80, Burst: 8, Recovery: time.Hour}
	l.Slow()
	fmt.Printf("%.0f a second\n", l.Rate())
	// Output: 40 a second
}

func ExampleLimiter_Check() {
	l := &limiter.Limiter{PerSecond: 10, Floor: 20}
	fmt.Println(l.Check())
	// Output: limiter: Floor is 20, must be from 0 (PerSecond/16) to PerSecond, which is 10
}
