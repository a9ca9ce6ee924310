package outbox_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"go.etcd.io/bbolt"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/limiter"
	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/store"
)

// printing stands for a vendor: it accepts everything and prints it.
var printing = sender.TransportFunc(func(_ context.Context, it sender.Item) error {
	fmt.Printf("%s %s %s\n", it.Kind, it.Key, it.Payload)
	return nil
})

func tempFile() (path string, remove func()) {
	dir, err := os.MkdirTemp("", "outbox")
	if err != nil {
		log.Fatal(err)
	}
	return filepath.Join(dir, "events.db"), func() { os.RemoveAll(dir) }
}

func Example() {
	path, remove := tempFile()
	defer remove()

	b, err := outbox.Open(path, printing, &outbox.Options{
		Limiter: limiter.Within(100, time.Second),
	})
	if err != nil {
		log.Fatal(err)
	}
	defer b.Close()

	ctx := context.Background()
	for _, kind := range []string{"identify", "track"} {
		if _, err := b.Put(ctx, outbox.Event{Kind: kind, Key: "customer-1", Payload: []byte(`{}`)}); err != nil {
			log.Fatal(err) // not stored, or not known to be: see the error
		}
	}
	if err := b.Flush(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println("pending:", b.Stats().Pending)
	// Output:
	// identify customer-1 {}
	// track customer-1 {}
	// pending: 0
}

// An event can be put in the very transaction that writes the application's own data: both happen,
// or neither does.
func ExampleOutbox_PutTx() {
	path, remove := tempFile()
	defer remove()

	ctx := context.Background()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second})
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	lane, err := store.In(db, "outbox", nil)
	if err != nil {
		log.Fatal(err)
	}
	defer lane.Close()
	b, err := outbox.New(lane, printing, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer b.Close()

	err = db.Update(func(tx *bbolt.Tx) error {
		orders, err := tx.CreateBucketIfNotExists([]byte("orders"))
		if err != nil {
			return err
		}
		if err := orders.Put([]byte("17"), []byte(`{"total":12}`)); err != nil {
			return err
		}
		_, err = b.PutTx(ctx, tx, outbox.Event{Kind: "track", Key: "customer-1", Payload: []byte(`{"order":17}`)})
		return err
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := b.Flush(ctx); err != nil {
		log.Fatal(err)
	}
	// Output:
	// track customer-1 {"order":17}
}

// On SIGTERM a service refuses new events, delivers for eight of the ten seconds that it has before
// SIGKILL, and leaves the rest on disk for its next start.
func ExampleOutbox_Shutdown() {
	path, remove := tempFile()
	defer remove()
	b, err := outbox.Open(path, printing, nil)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := b.Put(context.Background(), outbox.Event{Kind: "track", Payload: []byte(`{}`)}); err != nil {
		log.Fatal(err)
	}

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if self, err := os.FindProcess(os.Getpid()); err != nil || self.Signal(syscall.SIGTERM) != nil { // somebody deploys
		log.Fatal("cannot signal: ", err)
	}
	<-ctx.Done()

	grace, cancel := context.WithTimeout(context.Background(), 8*time.Second)
	defer cancel()
	if err := b.Shutdown(grace); errors.Is(err, outbox.ErrPending) {
		log.Print(err) // how many remain, and why
	} else if err != nil {
		log.Fatal(err)
	}
	// Output:
	// track  {}
}

// What the destination refused for good is found among the dead, and can be sent again once the
// cause is fixed.
func ExampleOutbox_Revive() {
	path, remove := tempFile()
	defer remove()
	fixed := false
	b, err := outbox.Open(path, sender.TransportFunc(func(_ context.Context, it sender.Item) error {
		if !fixed {
			return sender.Permanent(errors.New("400: unknown attribute"))
		}
		fmt.Println("delivered", string(it.Payload))
		return nil
	}), nil)
	if err != nil {
		log.Fatal(err)
	}
	defer b.Close()
	ctx := context.Background()
	if _, err := b.Put(ctx, outbox.Event{Kind: "track", Payload: []byte(`{"n":1}`)}); err != nil {
		log.Fatal(err)
	}
	if err := b.Flush(ctx); err != nil {
		log.Fatal(err)
	}

	fixed = true
	for it, err := range b.Dead() {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("dead:", it.LastErr)
		if _, err := b.Revive(ctx, it); err != nil {
			log.Fatal(err)
		}
	}
	if err := b.Flush(ctx); err != nil {
		log.Fatal(err)
	}
	// Output:
	// dead: 400: unknown attribute
	// delivered {"n":1}
}

// giveWay lets an import start only when no live event waits for its turn.
type giveWay struct{ *limiter.Limiter }

func (g giveWay) Wait(ctx context.Context) error { return g.WaitLast(ctx) }

// Two lanes of one file send to the same account, so they share its limit: a pause or a slower rate
// that one of them is told holds for both. The import gives way.
func ExampleOutbox_Lane() {
	path, remove := tempFile()
	defer remove()
	account := limiter.Within(100, time.Second)
	live, err := outbox.Open(path, printing, &outbox.Options{Limiter: account})
	if err != nil {
		log.Fatal(err)
	}
	defer live.Close() // closes the other lanes, and the file
	imports, err := live.Lane("imports", printing, &outbox.Options{Limiter: giveWay{account}})
	if err != nil {
		log.Fatal(err)
	}

	ctx := context.Background()
	for _, b := range []*outbox.Outbox{imports, live} {
		if _, err := b.Put(ctx, outbox.Event{Kind: "identify", Payload: []byte(`{}`)}); err != nil {
			log.Fatal(err)
		}
		if err := b.Flush(ctx); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println("at most", imports.Stats().Rate, "a second, in all")
	// Output:
	// identify  {}
	// identify  {}
	// at most 90 a second, in all
}

// Explain says why an event is still there, in the order in which the reasons give way.
func ExampleOutbox_Explain() {
	path, remove := tempFile()
	defer remove()
	b, err := outbox.Open(path, printing, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer b.Close()
	ctx := context.Background()
	if err := b.Pause(ctx, sender.Pause{By: "ann", Reason: "the vendor moves"}); err != nil {
		log.Fatal(err)
	}
	id, err := b.Put(ctx, outbox.Event{Kind: "track", NotBefore: time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)})
	if err != nil {
		log.Fatal(err)
	}
	why, err := b.Explain(ctx, id, 0)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(why.Item.State, "while the lane is", b.Stats().State)
	for _, r := range why.Reasons {
		fmt.Println(r.Text)
	}
	// Output:
	// scheduled while the lane is paused
	// It is scheduled for 2100-01-01T00:00:00Z.
	// The lane was paused by ann.
}
