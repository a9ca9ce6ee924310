package outboxtest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/seed8107221f/outbox/sender"
)

// An Answer is what a request to a [Transport] meets. The zero Answer is Accept.
type Answer struct {
	// give answers items; one result for each. nil: all are accepted.
	give  func(ctx context.Context, items []sender.Item) []error
	times int // how many requests it answers; 0 means 1
	none  bool
}

// all answers every item with the same error.
func all(err error) Answer {
	return Answer{give: func(_ context.Context, items []sender.Item) []error { return each(items, err) }}
}

func each(items []sender.Item, err error) []error {
	errs := make([]error, len(items))
	for i := range errs {
		errs[i] = err
	}
	return errs
}

func (a Answer) answer(ctx context.Context, items []sender.Item) []error {
	if a.give == nil {
		return make([]error, len(items))
	}
	return a.give(ctx, items)
}

// Accept accepts the request.
func Accept() Answer { return Answer{} }

// Refuse refuses the item for good, as HTTP 400 does: it is dead. See sender.Permanent.
func Refuse(reason string) Answer { return all(sender.Permanent(errors.New(reason))) }

// Fail is a failure that is tried again, as HTTP 500 is. Whether the item was accepted is unknown.
func Fail(reason string) Answer { return all(errors.New(reason)) }

// Later asks for the item alone to be sent again no sooner than d from now. See sender.Later.
func Later(d time.Duration) Answer {
	return all(sender.Later(fmt.Errorf("later, in %v", d), d))
}

// Throttle asks for no request before d has passed, as HTTP 429 does. 0: it gives no time. See
// sender.Throttled.
func Throttle(d time.Duration) Answer {
	return all(sender.Throttled(fmt.Errorf("429: retry after %v", d), d))
}

// Unavailable says that the destination is at fault, as a refused connection does. See
// sender.Unavailable.
func Unavailable() Answer { return all(sender.Unavailable(errUnavailable)) }

var errUnavailable = errors.New("connection refused")

// Hang gives no answer until the sender gives up.
func Hang() Answer {
	return Answer{give: func(ctx context.Context, items []sender.Item) []error {
		<-ctx.Done()
		return each(items, ctx.Err())
	}}
}

// Panic panics, as a transport with a fault does.
func Panic() Answer {
	return Answer{give: func(context.Context, []sender.Item) []error { panic("outboxtest: scripted") }}
}

// Slow gives the answer then after d, or the error of the context if that ends before.
func Slow(d time.Duration, then Answer) Answer {
	return Answer{give: func(ctx context.Context, items []sender.Item) []error {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
			return then.answer(ctx, items)
		case <-ctx.Done():
			return each(items, ctx.Err())
		}
	}}
}

// Lose does what then says, and the answer is lost on its way: the sender is told of a failure that
// says nothing about the outcome.
func Lose(then Answer) Answer {
	return Answer{give: func(ctx context.Context, items []sender.Item) []error {
		errs := then.answer(ctx, items)
		for i, err := range errs {
			said := "accepted"
			if err != nil {
				said = err.Error() // its text, not its marks
			}
			errs[i] = fmt.Errorf("the answer was lost: %s", said)
		}
		return errs
	}}
}

// Always answers all requests with a, so that nothing behind it in a script is reached. Inside
// another answer it counts once.
func Always(a Answer) Answer { return Times(math.MaxInt, a) }

// Times answers n requests with a. Below 1 it is no answer at all. Inside another answer it counts
// once.
func Times(n int, a Answer) Answer {
	a.times, a.none = n, n < 1
	return a
}

// Each answers each item of a batch by its place in the request, among those that have no answer of
// their own (Transport.For). Items beyond are accepted.
func Each(byIndex ...Answer) Answer {
	return Answer{give: func(ctx context.Context, items []sender.Item) []error {
		errs := make([]error, len(items))
		for i := range min(len(items), len(byIndex)) {
			errs[i] = byIndex[i].answer(ctx, items[i:i+1])[0]
		}
		return errs
	}}
}

// A script is a row of answers, each for one request.
type script []Answer

func (s *script) add(more []Answer) {
	for _, a := range more {
		if !a.none {
			*s = append(*s, a)
		}
	}
}

// next takes the next answer; Accept when none is left.
func (s *script) next() Answer {
	if len(*s) == 0 {
		return Accept()
	}
	a := (*s)[0]
	if a.times > 1 {
		(*s)[0].times--
	} else {
		*s = (*s)[1:]
	}
	return a
}
