package customerio_test

import (
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox/customerio"
	"github.com/seed8107221f/outbox/customerio/customeriotest"
	"github.com/seed8107221f/outbox/sender"
)

// The application learns what became of each call, in which lane, and what the service answered.
func TestOnOutcome(t *testing.T) {
	for _, again := range []bool{false, true} {
		bubble(t, nil, func(t *testing.T, w *world) {
			var mu sync.Mutex
			got := map[uuid.UUID]customerio.Outcome{}
			c := w.open(func(o *customerio.Options) {
				o.AtLeastOnce = again
				o.OnOutcome = func(out customerio.Outcome) {
					mu.Lock()
					defer mu.Unlock()
					got[out.Item.ID] = out
				}
				o.Sender.OnOutcome = func(sender.Outcome, time.Duration) { t.Error("it is replaced") }
			})
			ctx := t.Context()
			must := func(id uuid.UUID, err error) uuid.UUID {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
				w.flush(c)
				return id
			}
			type want struct {
				lane    customerio.Lane
				verdict sender.Verdict
				receipt customerio.Receipt
			}
			queued := time.Unix(time.Now().Unix(), 0)
			wants := map[uuid.UUID]want{
				must(c.SendEmail(ctx, email("a@example.org"))):                                            {customerio.LaneTransactional, sender.Delivered, customerio.Receipt{DeliveryID: "delivery-1", QueuedAt: queued}},
				must(c.TriggerBroadcast(ctx, 12, customerio.Broadcast{})):                                 {customerio.LaneBroadcast, sender.Delivered, customerio.Receipt{TriggerID: 2}},
				must(c.Identify(ctx, customerio.ID("17"), nil)):                                           {customerio.LaneTrack, sender.Delivered, customerio.Receipt{}},
				must(c.AddPeopleToSegment(ctx, 7, customerio.ID("17"))):                                   {customerio.LaneTrack, sender.Delivered, customerio.Receipt{}},
				must(c.SendSMS(ctx, customerio.Message{Template: "7", Identifiers: customerio.ID("17")})): {customerio.LaneTransactional, sender.Delivered, customerio.Receipt{DeliveryID: "delivery-5", QueuedAt: queued}},
			}
			w.Script(customeriotest.Fault{Status: 200}) // an answer without a body
			wants[must(c.SendEmail(ctx, email("b@example.org")))] = want{customerio.LaneTransactional, sender.Delivered, customerio.Receipt{}}
			w.Script(customeriotest.Fault{Status: 400})
			wants[must(c.SendEmail(ctx, email("c@example.org")))] = want{customerio.LaneTransactional, sender.Dead, customerio.Receipt{}}
			if err := c.Close(); err != nil { // nothing is told afterwards
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			for id, want := range wants {
				out, told := got[id]
				since := out.Receipt.QueuedAt.Sub(want.receipt.QueuedAt)
				if want.receipt.QueuedAt.IsZero() == out.Receipt.QueuedAt.IsZero() && since < time.Minute {
					out.Receipt.QueuedAt = want.receipt.QueuedAt // a bubble's seconds are not of interest
				}
				if !told || out.Lane != want.lane || out.Verdict != want.verdict || out.Receipt != want.receipt {
					t.Errorf("told %v: %s, %v, %+v; want %+v", told, out.Lane, out.Verdict, out.Receipt, want)
				}
			}
			if len(got) != len(wants) {
				t.Errorf("%d were told, want %d", len(got), len(wants))
			}
		})
	}
}
