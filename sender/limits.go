package sender

import (
	"fmt"
	"time"
)

const (
	maxName   = 1 << 10  // bytes of Kind, and of Key
	maxHeader = 64 << 10 // bytes of all names and values
)

// Check returns nil if a new item is within the bounds that hold for every store, else an error
// that names the field, its value and the limit, and wraps ErrTooLarge for a length. Kind and Key
// have at most 1 KiB, Header 64 KiB in all. Created, which is what the clock shows, Due and Expires
// lie between 1970 and 2262, and Expires after Due. How large a payload may be is up to the store.
func (it *Item) Check() error {
	for _, f := range [...]struct {
		name   string
		n, max int
	}{{"Kind", len(it.Kind), maxName}, {"Key", len(it.Key), maxName}, {"Header", it.headerSize(), maxHeader}} {
		if f.n > f.max {
			return fmt.Errorf("%s has %d bytes, at most %d: %w", f.name, f.n, f.max, ErrTooLarge)
		}
	}
	for _, f := range [...]struct {
		name string
		t    time.Time
	}{{"Created (the clock)", it.Created}, {"NotBefore", it.Due}, {"Expires", it.Expires}} {
		if !storable(f.t) {
			return fmt.Errorf("%s is %s, it must be after 1970-01-01 and at most 2262-04-11", f.name, utc(f.t))
		}
	}
	if !it.Expires.IsZero() && !it.Expires.After(it.Due) {
		return fmt.Errorf("the end in Expires, %s, is not after NotBefore, %s", utc(it.Expires), utc(it.Due))
	}
	return nil
}

// utc returns a time as text. It has no reading of the monotonic clock, which means nothing to
// people.
func utc(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// storable reports whether a time is zero or fits into nanoseconds since 1970.
func storable(t time.Time) bool {
	return t.IsZero() || t.Unix() > 0 && time.Unix(0, t.UnixNano()).Equal(t)
}

// Size returns the bytes of Kind, Key, Header and Payload.
func (it *Item) Size() int { return len(it.Kind) + len(it.Key) + it.headerSize() + len(it.Payload) }

func (it *Item) headerSize() (n int) {
	for name, value := range it.Header {
		n += len(name) + len(value)
	}
	return n
}
