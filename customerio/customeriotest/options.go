package customeriotest

import (
	"time"
)

// An API is a part of the service with a rate limit of its own.
type API string

// The APIs. Limits in parentheses are the defaults.
const (
	// Track is the Track API, v1 and v2 together (100 requests a second).
	Track API = "track"
	// Transactional is the messages of the App API (100 a second).
	Transactional API = "transactional"
	// Broadcasts is the triggering of broadcasts (1 in 10 seconds).
	Broadcasts API = "broadcasts"
	// Imports is the starting of imports, and looking after them (10 a second).
	Imports API = "imports"
	// Queries is everything else (10 a second).
	Queries API = "queries"
)

// A Limit is how many requests may arrive in any rolling window. Every request counts, whatever
// becomes of it: a client that goes on after a refusal stays refused.
type Limit struct {
	Requests int           // 0 means the default of the API; negative: no limit
	Window   time.Duration // 0 means the default of the API
}

// Sizes are the limits of what requests carry, in bytes unless another unit is named. 0 means what
// the service documents.
type Sizes struct {
	Batch          int // of a v2 batch; 0 means 500,000
	Entity         int // of a v2 operation, also within a batch; 0 means 32,000
	Message        int // of a request for a transactional message; 0 means 2,048,000
	EventData      int // of the data of a v1 event; 0 means 100,000
	EventName      int // without the spaces around it; 0 means 100
	Identifier     int // of a person or an object; 0 means 150
	AttributeName  int // 0 means 150
	AttributeValue int // of the text, or of the JSON of anything else; 0 means 1000
	Attributes     int // attributes in a call; 0 means 300
}

// Open are the points that the documentation of the service leaves open.
type Open struct {
	ThrottleStatus int  // answered above the rate; 0 means 429
	OversizeStatus int  // answered to a v2 request that is too large; 0 means 413
	BatchItems     int  // operations in a batch; 0: no limit
	AnyEventID     bool // take an event id that is no ULID, without removing duplicates by it; false: 400
	AnyTimestamp   bool // take any whole number; false: 400 outside 10^8 to 10^11 (1973 to 5138), so for milliseconds
	Gzip           bool // take bodies compressed by gzip; false: 415
}

// Options are the settings of a [Server]. The zero value is fine.
type Options struct {
	SiteID   string // user name for the Track API; "" means "site"
	TrackKey string // password for the Track API; "" means "track-key"
	AppKey   string // bearer token for the App API; "" means "app-key"
	Region   string // what the region call answers; "" means "us"

	Limits     map[API]Limit // an API that is not named has its default
	RetryAfter RetryAfter    // told to requests above the rate; zero: no header. Delay 0 means until the window has room
	Sizes      Sizes
	Open       Open
	ImportEnd  string // the last state of imports; "" means "imported"

	// Marker names what an operation stands for, so that a repetition is known. It is asked where
	// there is no event id. "", and a nil Marker: operations with the same body are the same.
	Marker func(Operation) string
	// Sequence returns the place of an operation among those of its subject, and whether it has
	// one. nil: order is not judged. Marker and Sequence are called by many goroutines at once, and
	// must not modify the operation.
	Sequence func(Operation) (n int64, ok bool)
	// Grace is how long after a Retry-After was told requests may still arrive that were on their
	// way: they are not held against the client. 0 means 50ms; negative: no grace.
	Grace time.Duration
	// CountOnly keeps no list of operations, for long runs: Record is empty, the verdict is whole.
	// A distinct operation then takes some 40 bytes of memory instead of its body and 700 more.
	CountOnly bool
	// Seed makes Faults.Chances fall as they did in the last run, as far as requests arrive in the
	// same order.
	Seed uint64
}

// withDefaults returns a copy in which no zero needs an explanation.
func (o Options) withDefaults() Options {
	def(&o.SiteID, "site")
	def(&o.TrackKey, "track-key")
	def(&o.AppKey, "app-key")
	def(&o.Region, "us")
	def(&o.ImportEnd, "imported")
	def(&o.Grace, 50*time.Millisecond)
	o.Grace = max(o.Grace, 0)

	z := &o.Sizes
	def(&z.Batch, 500_000)
	def(&z.Entity, 32_000)
	def(&z.Message, 2_048_000)
	def(&z.EventData, 100_000)
	def(&z.EventName, 100)
	def(&z.Identifier, 150)
	def(&z.AttributeName, 150)
	def(&z.AttributeValue, 1000)
	def(&z.Attributes, 300)

	def(&o.Open.ThrottleStatus, 429)
	def(&o.Open.OversizeStatus, 413)

	limits := map[API]Limit{
		Track:         {100, time.Second},
		Transactional: {100, time.Second},
		Broadcasts:    {1, 10 * time.Second},
		Imports:       {10, time.Second},
		Queries:       {10, time.Second},
	}
	for api, l := range limits {
		set := o.Limits[api]
		def(&set.Requests, l.Requests)
		def(&set.Window, l.Window)
		limits[api] = set
	}
	o.Limits = limits
	return o
}

func def[T comparable](v *T, otherwise T) {
	var zero T
	if *v == zero {
		*v = otherwise
	}
}
