package customerio

import (
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

	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/store"
)

// A Region is where the account lives. "" means US.
type Region string

// The regions.
const (
	US Region = "us"
	EU Region = "eu"
)

// A Secret is a key. It prints and logs as three stars, and never reaches the file.
type Secret string

// Format writes three stars, whatever the verb.
func (Secret) Format(f fmt.State, _ rune) { io.WriteString(f, "***") }

// LogValue returns three stars.
func (Secret) LogValue() slog.Value { return slog.StringValue("***") }

// MarshalText returns three stars.
func (Secret) MarshalText() ([]byte, error) { return []byte("***"), nil }

// Options are the settings of a [Client]. Credentials for one of the two APIs are needed, no more.
type Options struct {
	// SiteID and TrackKey are the credentials of the Track API. Without them its verbs return
	// ErrCredentials.
	SiteID   string
	TrackKey Secret
	// AppKey is that of the App API. Without it sends, broadcasts, Do and ImportJob return ErrCredentials.
	AppKey Secret
	// Region is where the account lives; "" means US.
	Region Region
	// TrackURL and AppURL replace the region's hosts, for proxies and tests: scheme and host, and a
	// path if there is one. "": the region's.
	TrackURL, AppURL string

	// TrackLimit is how many requests the Track API takes in any rolling second. 0 means 100, of which
	// 80 a second are used, in bursts of 10; today's documentation says 1000.
	TrackLimit int
	// TransactionalLimit is the same for messages. 0 means 100.
	TransactionalLimit int
	// QueryLimit is the same for [Client.Do]. 0 means 10.
	QueryLimit int
	// ImportRate is how many requests a second the import lane sends at most; they count against
	// TrackLimit as well. 0 means 50.
	ImportRate float64
	// Share is this process's part of every limit, where several use the same credentials: above 0 up
	// to 1. 0 means 1. Broadcasts, one in ten seconds, then come every 10 s divided by Share, but at
	// least one a minute.
	Share float64

	// BatchItems is how many operations share a request at most. 0 means 500; 1: each has its own. The
	// file hands out some 500 at a time, so that more is seldom of use.
	BatchItems int
	// BatchBytes is how large such a request may be. 0 means 500,000.
	BatchBytes int
	// OperationBytes is how large one operation may be, as JSON. 0 means 32,000.
	OperationBytes int

	// AtLeastOnce has messages and broadcasts delivered at least once: after a crash or a lost answer
	// the recipient may get a second one. false: at most once; one whose fate is unknown lies among
	// the dead.
	AtLeastOnce bool
	// HealthEvery is how often each lane that has something pending writes a line to Logger. 0 means
	// 10s; negative: never.
	HealthEvery time.Duration
	// Logger hears of what stops a lane, of its recovery, and of the health of the lanes; nil: nobody
	// does. It is never given a payload, an identifier or a key.
	Logger *slog.Logger
	// Client makes the requests; nil: one as of httpsend.NewClient. Redirects are never followed.
	Client *http.Client
	// Store is for the file and each of its lanes.
	Store store.Options
	// Sender is for each lane; of its fields Logger is replaced by the one above, unless that is nil.
	Sender sender.Options
}

// ErrCredentials: there are none for this API. Nothing was stored.
var ErrCredentials = errors.New("customerio: no credentials")

// FromEnv reads CUSTOMERIO_SITE_ID, CUSTOMERIO_TRACK_API_KEY, CUSTOMERIO_APP_API_KEY, CUSTOMERIO_REGION,
// CUSTOMERIO_TRACK_URL and CUSTOMERIO_APP_URL. What is not set stays zero. Its error is that of [Open].
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

// withDefaults returns the options with every zero replaced, or what is wrong with them.
func (o *Options) withDefaults() (Options, error) {
	var d Options
	if o != nil {
		d = *o
	}
	if err := errors.Join(d.checkCredentials(), d.checkRegion(), d.checkNumbers()); err != nil {
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
	}
	switch {
	case (o.SiteID == "") != (o.TrackKey == ""):
		return errors.New("customerio: of SiteID and TrackKey one is empty: the Track API needs both")
	case strings.Contains(o.SiteID, ":"):
		return errors.New("customerio: SiteID has a colon, which cannot be sent")
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
	if !(o.Share >= 0 && o.Share <= 1) {
		return fmt.Errorf("customerio: Share is %v, from 0 (meaning 1) to 1 expected", o.Share)
	}
	if !(o.ImportRate >= 0) || math.IsInf(o.ImportRate, 0) { // the first is true of NaN too
		return fmt.Errorf("customerio: ImportRate is %v, a finite number from 0 (meaning 50) up expected", o.ImportRate)
	}
	return nil
}
