package customerio

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/seed8107221f/outbox/limiter"
)

// The limiter of the import lane is in order if both of its parts are: sender.New asks it.
func TestBothAreChecked(t *testing.T) {
	api := limiter.Within(100, time.Second)
	check := func(perSecond float64, api *limiter.Limiter) error {
		return behind(api, perSecond).(both).Check()
	}
	if err := check(50, api); err != nil {
		t.Error(err)
	}
	if err := check(math.Inf(1), api); err == nil || !strings.Contains(err.Error(), "+Inf") {
		t.Errorf("a lane without end: %v", err)
	}
	if err := check(50, limiter.Within(0, time.Second)); err == nil || !strings.Contains(err.Error(), "limit is 0") {
		t.Errorf("an API that allows nothing: %v", err)
	}
}

// What operators ask of a limiter reaches both.
func TestBothForOperators(t *testing.T) {
	api := paced(100, 1)
	b := behind(api, 5).(both)
	until := time.Now().Add(time.Hour)
	b.Pause(until)
	if got := b.Limit(); got != 5 {
		t.Errorf("the limit is %v, want 5", got)
	}
	if b.lane.Paused().IsZero() || api.Paused().IsZero() {
		t.Fatal("Pause did not reach both")
	}
	b.Resume()
	if lane, api := b.lane.Paused(), api.Paused(); !lane.IsZero() || !api.IsZero() {
		t.Errorf("after Resume the lane is paused until %v, the API until %v", lane, api)
	}
}
