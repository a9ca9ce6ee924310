package customerio

import (
	"encoding/json"
	"sync"
	"time"

	"github.com/seed8107221f/outbox/sender"
)

// An Outcome is what became of one operation, message or broadcast; see Options.OnOutcome.
type Outcome struct {
	sender.Outcome               // Item.ID is the ID that the call returned
	Lane           Lane          // where it was
	Took           time.Duration // of its request; 0: it was not sent
	Receipt        Receipt       // zero unless it was delivered and the service gave one
}

// A Receipt is what the service answers to a message or a broadcast. It is not stored: OnOutcome
// tells it once, and a crash before that loses it, though not the message.
type Receipt struct {
	DeliveryID string    // of a message
	QueuedAt   time.Time // of a message, in whole seconds; zero: not told
	TriggerID  int64     // of a broadcast
}

// receipts holds those that OnOutcome is still to tell, of one lane.
type receipts struct {
	mu  sync.Mutex
	all map[uint64]Receipt // by Seq
}

// keep reads the receipt in an answer. One that is not readable is none: the status has said that
// the message is accepted.
func (r *receipts) keep(seq uint64, body []byte) {
	var a struct {
		DeliveryID string `json:"delivery_id"`
		QueuedAt   int64  `json:"queued_at"`
		ID         int64  `json:"id"`
	}
	if json.Unmarshal(body, &a) != nil {
		return
	}
	got := Receipt{DeliveryID: a.DeliveryID, TriggerID: a.ID}
	if a.QueuedAt > 0 {
		got.QueuedAt = time.Unix(a.QueuedAt, 0)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all[seq] = got
}

// take returns a receipt and forgets it.
func (r *receipts) take(seq uint64) Receipt {
	r.mu.Lock()
	defer r.mu.Unlock()
	got := r.all[seq]
	delete(r.all, seq)
	return got
}

// tell returns the function for the sender of a lane, whose receipts may be nil.
func tell(name Lane, r *receipts, to func(Outcome)) func(sender.Outcome, time.Duration) {
	return func(o sender.Outcome, took time.Duration) {
		out := Outcome{Outcome: o, Lane: name, Took: took}
		if r != nil {
			out.Receipt = r.take(o.Item.Seq)
		}
		to(out)
	}
}
