package sender

import (
	"context"
	"iter"
	"log/slog"
	"time"

	"github.com/google/uuid"
)

// A Prober is a [Transport] that can ask whether the destination works without sending an item. The
// sender finds it by type assertion, and uses it for a lane that must not send twice
// ([Options].AtMostOnce). While such a lane is held, Probe goes out in place of an item, at the
// times of the lane's backoff and only while something is due. One answer that leaves it unknown
// what was accepted is enough to hold the lane. So an outage costs the items that were in flight
// when it began, and no more. Without a Prober each probe of the lane is an item, and is dead if
// its answer is unknown.
//
// After a Probe that returned nil one item goes next, alone: its success opens the lane. If it
// fails, the hold goes on. So a Prober that is content while items fail costs one item for each
// probe.
type Prober interface {
	// Probe makes one harmless request, best to the same host with the same credentials. nil means
	// that the destination answers; any error keeps the hold, and its text becomes the reason in
	// Status. [Throttled] is obeyed. Probe takes a token of the limiter, has Options.Timeout, and
	// must return soon after ctx has ended. A panic is recovered and counts as an error. The sender
	// calls Probe from one goroutine at a time, except while an earlier call ignores its context.
	Probe(ctx context.Context) error
}

// An IdleCloser is a [Transport] that can close its idle connections, as an http.Client can. The
// sender finds it by type assertion, and calls it before the first request that probes a held lane,
// each time. So the probe takes a new connection: an old one may be what does not work. Connections
// in use stay open.
type IdleCloser interface {
	// CloseIdleConnections does not wait for the network, and is safe for concurrent use.
	CloseIdleConnections()
}

// A Flusher is a store that can tell old items from new ones. Without it Outbox.Flush waits until
// nothing at all is due or in flight, and counts everything that is pending.
type Flusher interface {
	Marker
	// Remains reports whether an item up to mark is pending, whatever it waits for.
	Remains(mark uint64) (bool, error)
}

// A Refuser is a store that can be closed for new items, and opened again. Without it the outbox
// itself refuses new events, but Outbox.Shutdown waits for calls of Append that wait for room.
type Refuser interface {
	// Refuse makes Append, waiting calls included, return err and store nothing. nil takes that
	// back.
	Refuse(err error)
}

// A Lister is a store that lists its items. Without it Outbox.Pending, Dead and Find are not
// supported.
type Lister interface {
	// Pending lists the items that are not delivered, dead, expired or dropped. No lock is held and
	// no transaction is open while the loop body runs.
	Pending() iter.Seq2[Item, error]
	// Dead lists the dead items in the same way.
	Dead() iter.Seq2[Item, error]
	// Find returns the first item with that ID, pending or dead, or ErrNotFound.
	Find(ctx context.Context, id uuid.UUID) (Item, error)
}

// A Browser is a store that lists its items page by page. Without it Outbox.List is not supported.
type Browser interface {
	// List returns one page of the items in a state. It holds nothing when it returns. A Query that
	// is out of bounds, or a Cursor that is not of this listing, is an error.
	List(ctx context.Context, q Query) (Page, error)
}

// A Reviver is a store whose items can be revived and dropped. Without it Outbox.Revive and Drop
// are not supported.
type Reviver interface {
	// Revive gives dead items a new place at the end, in the order of Seq, with the same ID and no
	// attempts. It returns how many: it skips items that are no longer dead.
	//
	// ID and Seq together name an item; a Seq that another item has is passed over. With Seq 0 the
	// ID alone names the first item that has it. This is so for Drop too. Neither keeps the slice.
	Revive(ctx context.Context, items ...Item) (n int, err error)
	// Drop removes items, pending or dead, counts them as dropped and returns how many. It skips
	// items that are gone.
	Drop(ctx context.Context, items ...Item) (n int, err error)
}

// An Editor is a store whose items can be changed where they are. Without it Outbox.RunNow and Edit
// are not supported.
type Editor interface {
	// RunNow makes items that are scheduled, or wait for a retry, due now, and returns how many. It
	// charges nothing and keeps the order of each key. It skips items that are anything else.
	RunNow(ctx context.Context, items ...Item) (n int, err error)
	// Edit replaces payload and header of a dead item that Seq and ID name; a nil header keeps the
	// old one. What was there is gone. If it.Payload is not nil, the item must still have the payload
	// and the header of it, or have the new ones already, so that nobody overwrites the edit of
	// another. [ErrChanged]: it has others, is no longer dead, or cannot be read, and nothing
	// changed. Errors of Append apply to the new contents.
	Edit(ctx context.Context, it Item, payload []byte, header map[string]string) error
}

// A Pauser is a [Limiter] that tells its pause. Without it a lane does not show a pause that
// another lane with the same limiter was told.
type Pauser interface {
	// Paused returns when the pause ends; zero or past: there is none. It does not wait.
	Paused() time.Time
}

// An Eraser is a store that can delete everything it holds, and held, of a key. Without it
// Outbox.Erase is not supported.
type Eraser interface {
	Erase(ctx context.Context, key string) (n int, err error)
}

// A Compacter is a store that can give free space back. Without it Outbox.Compact is not supported.
type Compacter interface {
	Compact(ctx context.Context) error
}

// A Checker is a store that can verify that it accounts for every item. Without it Outbox.Check is
// not supported.
type Checker interface {
	Check(ctx context.Context) error
}

// A Fallbacker is a store that may have been opened without its newest commit. Without it
// Stats.Fallback of the outbox is empty.
type Fallbacker interface {
	// Fallback says why the newest commit is missing; nil: it is not.
	Fallback() error
}

// An Announcer is a store that says what was found when it was opened. Without it an outbox that
// begins logs nothing.
type Announcer interface {
	// Announce writes one line to the log: where the store is, whether it was just made, and what
	// is in it. If the newest commit is missing it warns of that, too.
	Announce(log *slog.Logger)
}

// A Sizer is a store that knows its size on disk. Without it Stats.FileBytes is 0.
type Sizer interface {
	// FileBytes returns the size of the file, with all its lanes, as of the last read or commit. It
	// never waits.
	FileBytes() int64
}

// A Pather is a store in a file. Without it Outbox.Path is "".
type Pather interface {
	// Path returns the path of the file.
	Path() string
}

// A LaneLister is a store with several lanes. Without it Outbox.Lanes is not supported.
type LaneLister interface {
	// Lanes returns the names of all lanes, open or not, in the order of their bytes.
	Lanes() ([]string, error)
}

// A Placer is a store that says where it is. Without it the errors of the outbox itself name no
// place.
type Placer interface {
	// Place returns what errors say: `lane "mail" of /var/lib/app/events.db`.
	Place() string
}
