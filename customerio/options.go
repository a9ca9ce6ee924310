package customerio

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/store"
)

// A Region is where the account is hosted. "" means US.
type Region string

// The regions.
const (
	US Region = "us"
	EU Region = "eu"
)

// A Secret is a key. It prints and logs as three stars, and is never stored.
type Secret string

// Format writes three stars, whatever the verb.
func (Secret) Format(f fmt.State, _ rune) { io.WriteString(f, "***") }

// LogValue returns three stars.
func (Secret) LogValue() slog.Value { return slog.StringValue("***") }

// MarshalText returns three stars.
func (Secret) MarshalText() ([]byte, error) { return []byte("***"), nil }

// Options are the settings of a [Client]. The credentials of one of the two APIs are required;
// everything else has a default.
type Options struct {
	// SiteID and TrackKey are the credentials of the Track API. Without them its methods return
	// ErrCredentials. With spaces or quotes around them, or around AppKey or a URL, Open refuses
	// them.
	SiteID   string
	TrackKey Secret
	// AppKey is the key of the App API. Without it messages, broadcasts, Do and ImportJob return
	// ErrCredentials.
	AppKey Secret
	// Region is where the account is hosted. "" means US.
	Region Region
	// TrackURL and AppURL replace the hosts of the region, for proxies and tests: scheme and host,
	// and a path if there is one. "": the hosts of the region.
	TrackURL, AppURL string

	// TrackLimit is how many requests the Track API accepts in any rolling second. 0 means 100. The
	// client uses four fifths of it, 80 a second, in bursts of 10. The documentation of today says
	// 1000.
	TrackLimit int
	// TransactionalLimit is the same for messages. 0 means 100.
	TransactionalLimit int
	// BroadcastEvery is the least time from one broadcast to the next. 0 means 10s, as the
	// service documents; at most 1m.
	BroadcastEvery time.Duration
	// QueryLimit is the same for [Client.Do] and [Client.ImportJob]. 0 means 10.
	QueryLimit int
	// ImportRate is how many requests a second the import lane sends at most. They also count
	// against TrackLimit, of which the import gets what other requests leave, and at least a
	// sixteenth. 0 means 50.
	ImportRate float64
	// Share is the part of every limit that this process may use when several use the same
	// credentials: above 0, up to 1. 0 means 1. Broadcasts then start every BroadcastEvery divided
	// by Share, and at least once a minute. It does not apply to what is in Limiters.
	Share float64
	// Limiters are limits that are shared with other clients. The zero value: none is.
	Limiters Limiters

	// BatchItems is how many operations share a request at most. 0 means 500; 1: each operation has
	// its own request. The file hands out about 500 at a time, so more is seldom of use.
	BatchItems int
	// BatchBytes is the largest size of such a request in bytes. 0 means 500,000.
	BatchBytes int
	// OperationBytes is the largest size of one operation as JSON, in bytes. 0 means 32,000. An
	// event above it goes alone, by API v1, which takes 100,000 bytes of data, but no phone numbers
	// and no ids that look like an address or a cio_id.
	OperationBytes int

	// AtLeastOnce makes the client deliver messages and broadcasts at least once: after a crash or
	// a lost answer the recipient may get a second one. false: at most once; one whose result is
	// unknown is among the dead.
	AtLeastOnce bool
	// HealthEvery is how often each lane with pending items, or with progress since, logs a line. 0
	// means 10s; negative: never.
	HealthEvery time.Duration
	// Logger gets what stops a lane, when it recovers, and the health lines. No payload, identifier
	// or key is logged. nil: no logs.
	Logger *slog.Logger
	// OnOutcome is called with what became of each operation, message and broadcast, of all lanes,
	// by the rules of sender.Options.OnOutcome, which it replaces unless nil. nil: no calls.
	OnOutcome func(Outcome)
	// OnPut is called for each operation, message and broadcast before it is stored, by the rules
	// of outbox.Options.OnPut; with Together that is when its function has returned. The event is
	// complete by then: only its header should change. nil: no calls.
	OnPut func(ctx context.Context, e *outbox.Event) (done func(id uuid.UUID, err error))
	// Instrument is called for each lane while Open starts it, with its options and its transport,
	// and returns the transport to use: to trace or measure requests, as oteloutbox.Instrument
	// does. It may change o.OnPut, and nothing else of o. t is nil if the credentials of the lane
	// are missing; then the result does not count. nil: no calls.
	Instrument func(name Lane, o *outbox.Options, t sender.Transport) sender.Transport
	// UserAgent names the application to the service, in the header User-Agent of all requests. ""
	// means outbox-customerio.
	UserAgent string
	// Client sends the requests. nil means a client made by httpsend.NewClient. Redirects are never
	// followed.
	Client *http.Client
	// Store holds the options of the file and of each lane.
	Store store.Options
	// Sender holds the options of each lane's sender. Logger above, unless nil, replaces its
	// Logger.
	Sender sender.Options
}

// Limiters takes the place of the limits of this client, API by API. Clients with the same limiter
// keep to one limit together: within a process by limiter.Within, across processes by
// limiter/redislimiter. nil: the client keeps to the limit of Options alone. With a limiter the
// limit of Options must be 0.
//
// The caller owns the limiters, and closes them after the client if they have to be closed. Open
// returns the error of a method Check() error, if a limiter has one.
type Limiters struct {
	// Track is in place of TrackLimit. Live operations and imports both ask it. An import gives way
	// to live operations if Track has the method WaitLast(context.Context) error of
	// limiter.Limiter. Without it an import takes turns with them, at ImportRate at most.
	Track sender.Limiter
	// Transactional is in place of TransactionalLimit.
	Transactional sender.Limiter
	// Broadcast is in place of BroadcastEvery.
	Broadcast sender.Limiter
	// Query is in place of QueryLimit.
	Query sender.Limiter
}

// ErrCredentials: the options have no credentials for this API. Nothing was stored.
var ErrCredentials = errors.New("customerio: no credentials")

var (
	errNoTrack = fmt.Errorf("%w: the Track API needs SiteID and TrackKey", ErrCredentials)
	errNoApp   = fmt.Errorf("%w: the App API needs AppKey", ErrCredentials)
)

// FromEnv reads CUSTOMERIO_SITE_ID, CUSTOMERIO_TRACK_API_KEY, CUSTOMERIO_APP_API_KEY,
// CUSTOMERIO_REGION, CUSTOMERIO_TRACK_URL and CUSTOMERIO_APP_URL. A variable that is not set leaves
// its field zero. It returns the errors of [Open] for invalid values.
func FromEnv() (Options, error) {
	o := Options{
		SiteID:   os.Getenv("CUSTOMERIO_SITE_ID"),
		TrackKey: Secret(os.Getenv("CUSTOMERIO_TRACK_API_KEY")),
		AppKey:   Secret(os.Getenv("CUSTOMERIO_APP_API_KEY")),
		Region:   Region(os.Getenv("CUSTOMERIO_REGION")),
		TrackURL: os.Getenv("CUSTOMERIO_TRACK_URL"),
		AppURL:   os.Getenv("CUSTOMERIO_APP_URL"),
	}
	_, err := o.withDefaults()
	return o, err
}

// withDefaults returns the options with defaults, or what is wrong with them.
func (o *Options) withDefaults() (Options, error) {
	var d Options
	if o != nil {
		d = *o
	}
	if err := errors.Join(d.checkCredentials(), d.checkRegion(), d.checkNumbers(), d.checkLimiters()); err != nil {
		return d, err
	}
	for _, n := range [...]struct {
		field   *int
		without int
	}{{&d.TrackLimit, 100}, {&d.TransactionalLimit, 100}, {&d.QueryLimit, 10}, {&d.BatchItems, 500}, {&d.BatchBytes, 500_000}, {&d.OperationBytes, 32_000}} {
		if *n.field == 0 {
			*n.field = n.without
		}
	}
	if d.BatchBytes < d.OperationBytes+len(batchOpen)+len(batchClose) {
		return d, fmt.Errorf("customerio: BatchBytes is %d, at least OperationBytes, %d, and %d more", d.BatchBytes, d.OperationBytes, len(batchOpen)+len(batchClose))
	}
	if d.ImportRate == 0 {
		d.ImportRate = 50
	}
	if d.Share == 0 {
		d.Share = 1
	}
	if d.UserAgent == "" {
		d.UserAgent = "outbox-customerio"
	}
	if d.BroadcastEvery == 0 {
		d.BroadcastEvery = 10 * time.Second
	}
	if d.HealthEvery == 0 {
		d.HealthEvery = 10 * time.Second
	}
	if d.Logger == nil {
		d.Logger = slog.New(slog.DiscardHandler)
	} else {
		d.Sender.Logger = d.Logger
	}
	return d, nil
}

func (o *Options) checkCredentials() error {
	for _, f := range [...]struct{ name, value string }{{"SiteID", o.SiteID}, {"TrackKey", string(o.TrackKey)}, {"AppKey", string(o.AppKey)}} {
		if i := strings.IndexFunc(f.value, func(r rune) bool { return r <= ' ' || r > '~' }); i >= 0 {
			return fmt.Errorf("customerio: %s, of %d bytes, has a space, a line break or worse at byte %d", f.name, len(f.value), i)
		}
		if err := checkQuotes(f.name, f.value); err != nil {
			return err
		}
	}
	if i := strings.IndexFunc(o.UserAgent, func(r rune) bool { return r < ' ' || r > '~' }); i >= 0 {
		return fmt.Errorf("customerio: UserAgent, of %d bytes, has a line break or what is not ASCII at byte %d", len(o.UserAgent), i)
	}
	switch {
	case (o.SiteID == "") != (o.TrackKey == ""):
		return errors.New("customerio: of SiteID and TrackKey one is empty: the Track API needs both")
	case strings.Contains(o.SiteID, ":"):
		return errors.New("customerio: SiteID has a colon, which cannot be sent")
	}
	return nil
}

// checkQuotes refuses quotes around a value: docker --env-file and the like leave them there, and
// the service would answer 401.
func checkQuotes(name, value string) error {
	const quotes = "\"'`"
	if value != "" && (strings.Contains(quotes, value[:1]) || strings.Contains(quotes, value[len(value)-1:])) {
		return fmt.Errorf("customerio: %s, of %d bytes, is in quotes: remove them, also from a file of docker --env-file", name, len(value))
	}
	return nil
}

func (o *Options) checkRegion() error {
	o.Region = Region(strings.ToLower(string(o.Region)))
	track, app := "https://track.customer.io", "https://api.customer.io"
	switch o.Region {
	case "":
		o.Region = US
	case US:
	case EU:
		track, app = "https://track-eu.customer.io", "https://api-eu.customer.io"
	default:
		return fmt.Errorf("customerio: Region has %d bytes and is neither us nor eu", len(o.Region))
	}
	if o.TrackURL == "" {
		o.TrackURL = track
	}
	if o.AppURL == "" {
		o.AppURL = app
	}
	for name, field := range map[string]*string{"TrackURL": &o.TrackURL, "AppURL": &o.AppURL} {
		if i := strings.IndexFunc(*field, func(r rune) bool { return r <= ' ' || r > '~' }); i >= 0 {
			return fmt.Errorf("customerio: %s, of %d bytes, has a space, a line break or worse at byte %d", name, len(*field), i)
		}
		if err := checkQuotes(name, *field); err != nil {
			return err
		}
		u, err := url.Parse(*field)
		if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			return fmt.Errorf("customerio: %s, of %d bytes, is not an http or https URL of a host, without user, query and fragment", name, len(*field))
		}
		*field = strings.TrimRight(*field, "/")
	}
	return nil
}

func (o *Options) checkNumbers() error {
	for _, f := range [...]struct {
		name string
		n    int
	}{{"TrackLimit", o.TrackLimit}, {"TransactionalLimit", o.TransactionalLimit}, {"QueryLimit", o.QueryLimit},
		{"BatchItems", o.BatchItems}, {"BatchBytes", o.BatchBytes}, {"OperationBytes", o.OperationBytes}} {
		if f.n < 0 {
			return fmt.Errorf("customerio: %s is %d, at least 0 expected", f.name, f.n)
		}
	}
	if o.BroadcastEvery < 0 || o.BroadcastEvery > time.Minute {
		return fmt.Errorf("customerio: BroadcastEvery is %v, from 0 (meaning 10s) to 1m expected", o.BroadcastEvery)
	}
	if !(o.Share >= 0 && o.Share <= 1) {
		return fmt.Errorf("customerio: Share is %v, from 0 (meaning 1) to 1 expected", o.Share)
	}
	if !(o.ImportRate >= 0) || math.IsInf(o.ImportRate, 0) { // the first is true of NaN too
		return fmt.Errorf("customerio: ImportRate is %v, a finite number from 0 (meaning 50) up expected", o.ImportRate)
	}
	return nil
}

func (o *Options) checkLimiters() error {
	for _, f := range [...]struct {
		limiter sender.Limiter
		name    string
		limit   any
		set     bool
		setting string
	}{
		{o.Limiters.Track, "Track", o.TrackLimit, o.TrackLimit != 0, "TrackLimit"},
		{o.Limiters.Transactional, "Transactional", o.TransactionalLimit, o.TransactionalLimit != 0, "TransactionalLimit"},
		{o.Limiters.Broadcast, "Broadcast", o.BroadcastEvery, o.BroadcastEvery != 0, "BroadcastEvery"},
		{o.Limiters.Query, "Query", o.QueryLimit, o.QueryLimit != 0, "QueryLimit"},
	} {
		if f.limiter == nil {
			continue
		}
		if f.set {
			return fmt.Errorf("customerio: %s is %v, and Limiters.%s is set: only one of them can count", f.setting, f.limit, f.name)
		}
		if err := check(f.limiter); err != nil {
			return fmt.Errorf("customerio: Limiters.%s: %w", f.name, err)
		}
	}
	return nil
}
