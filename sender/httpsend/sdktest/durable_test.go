package sdktest

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	customerio "github.com/customerio/go-customerio/v3"
	"github.com/google/uuid"

	"github.com/seed8107221f/outbox/sender/httpsend"
)

// Recognisable credentials, whose base64 has '-' and '_' in the alphabet for URLs.
const (
	site   = "site~~~???hush"
	key    = "key~~~???>>>hush"
	appKey = "app-key-~~~???hush"
)

var (
	basic  = "Basic " + base64.URLEncoding.EncodeToString([]byte(site+":"+key)) // as the SDK does
	bearer = "Bearer " + appKey
)

// authorize puts back what each of the two APIs wants.
func authorize(req *http.Request) error {
	if strings.HasPrefix(req.URL.Path, "/api/v1/") {
		req.Header.Set("Authorization", basic)
	} else {
		req.Header.Set("Authorization", bearer)
	}
	return nil
}

// use makes one call of each kind, and returns the first error.
func use(ctx context.Context, track *customerio.CustomerIO, app *customerio.APIClient) error {
	_, sendErr := app.SendEmail(ctx, &customerio.SendEmailRequest{
		To: "a@example.org", TransactionalMessageID: "welcome", Identifiers: map[string]string{"id": "7"},
	})
	_, triggerErr := app.TriggerBroadcast(ctx, 12, map[string]any{"headline": "x"}, customerio.BroadcastRecipients{Ids: []string{"7"}}, customerio.BroadcastOptions{})
	return errors.Join(
		track.IdentifyCtx(ctx, "7/a b@example.org", map[string]any{"plan": "basic", "name": "Zoë"}),
		track.TrackCtx(ctx, "7", "bought", map[string]any{"price": 12}, customerio.WithEventID("01J00000000000000000000000"), customerio.WithEventTimestamp(time.Unix(1900000000, 0))),
		track.TrackAnonymousCtx(ctx, "visitor", "seen", nil),
		track.AddDeviceCtx(ctx, "7", "token", "ios", nil),
		track.DeleteDeviceCtx(ctx, "7", "token"),
		track.AddPeopleToSegment(ctx, 3, []string{"7", "8"}, customerio.WithSegmentIDType(customerio.IdentifierTypeEmail)),
		track.DeleteCtx(ctx, "7"),
		sendErr, triggerErr,
	)
}

// What go-customerio sends by way of an outbox is, byte for byte, what it sends by itself: the vendor
// cannot tell. Nothing is sent before, and nothing is lost when the process ends in between.
func TestDurableSDK(t *testing.T) {
	direct := newVendor(t, nil)
	if err := use(t.Context(),
		customerio.NewTrackClient(site, key, customerio.WithURL(direct.URL)),
		customerio.NewAPIClient(appKey, customerio.WithURL(direct.URL))); err != nil {
		t.Fatal(err)
	}

	v, path := newVendor(t, nil), file(t)
	b := open(t, path, nil)
	client := durable(b)
	if err := use(t.Context(),
		customerio.NewTrackClient(site, key, customerio.WithURL(v.URL), customerio.WithHTTPClient(client)),
		customerio.NewAPIClient(appKey, customerio.WithURL(v.URL), customerio.WithHTTPClient(client))); err != nil {
		t.Fatalf("the SDK is not content with being stored: %v", err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if n := len(v.got()); n != 0 {
		t.Fatalf("%d requests were sent, none should be", n)
	}

	shutdown(t, open(t, path, &httpsend.Transport{Authorize: authorize, IDHeader: "Idempotency-Key"}))
	want, got := direct.got(), v.got()
	if len(got) != len(want) || len(got) == 0 {
		t.Fatalf("%d requests arrived, want %d", len(got), len(want))
	}
	ids := map[string]bool{}
	for i := range want {
		ids[got[i].key] = true
		if _, err := uuid.Parse(got[i].key); err != nil {
			t.Errorf("the ID is %q", got[i].key)
		}
		got[i].key = ""
		if got[i] != want[i] {
			t.Errorf("arrived %+v\n   want %+v", got[i], want[i])
		}
	}
	if len(ids) != len(want) {
		t.Errorf("%d different IDs for %d requests", len(ids), len(want))
	}
}

// No credential is found in the file, in no encoding: while items are pending, and among the dead
// with their reasons.
func TestNoCredentialsInTheFile(t *testing.T) {
	v, path := newVendor(t, func(n int, w http.ResponseWriter) {
		// Many that are refused alike would hold the lane.
		w.WriteHeader([]int{http.StatusBadRequest, http.StatusUnprocessableEntity}[n%2])
		json.NewEncoder(w).Encode(map[string]string{"error": "bad key " + key + " " + basic + " " + bearer}) // an answer that echoes
	}), file(t)
	b := open(t, path, nil)
	client := durable(b)
	at := strings.Replace(v.URL, "http://", "http://"+url.QueryEscape(site)+":"+url.QueryEscape(key)+"@", 1)
	if err := use(t.Context(),
		customerio.NewTrackClient(site, key, customerio.WithURL(at), customerio.WithHTTPClient(client)),
		customerio.NewAPIClient(appKey, customerio.WithURL(v.URL), customerio.WithHTTPClient(client))); err != nil {
		t.Fatal(err)
	}
	stored := b.Stats().Pending
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	noneIn(t, path)

	b = open(t, path, &httpsend.Transport{Authorize: authorize})
	shutdown(t, b)
	b = open(t, path, nil)
	dead := 0
	for it, err := range b.Dead() {
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(it.LastErr, "400 Bad Request") && !strings.Contains(it.LastErr, "422 Unprocessable Entity") {
			t.Errorf("the reason is %s", it.LastErr)
		}
		dead++
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if dead != stored || dead == 0 {
		t.Errorf("%d are dead, %d were stored", dead, stored)
	}
	noneIn(t, path)
}

// noneIn fails if a file holds a credential.
func noneIn(t *testing.T, path string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(data, []byte("bought")) {
		t.Fatal("the file does not even hold an event's name: the search proves nothing")
	}
	data = bytes.ToLower(data)
	for _, secret := range []string{site, key, appKey, site + ":" + key} {
		raw := []byte(secret)
		for _, form := range []string{
			secret, url.QueryEscape(secret), url.PathEscape(secret), hex.EncodeToString(raw),
			base64.StdEncoding.EncodeToString(raw), base64.URLEncoding.EncodeToString(raw),
			base64.RawStdEncoding.EncodeToString(raw), base64.RawURLEncoding.EncodeToString(raw),
		} {
			if bytes.Contains(data, []byte(strings.ToLower(form))) {
				t.Errorf("the file holds %s", form)
			}
		}
	}
	for _, word := range []string{"authorization", "basic ", "bearer ", "hush"} {
		if bytes.Contains(data, []byte(word)) {
			t.Errorf("the file holds the word %q", word)
		}
	}
}

// The SDK is told when nothing was stored, and why.
func TestSDKLearnsOfErrors(t *testing.T) {
	b := open(t, file(t), nil)
	track := customerio.NewTrackClient(site, key, customerio.WithHTTPClient(&http.Client{Transport: &httpsend.Durable{
		MaxBody: 100, Status: http.StatusOK,
		Put: func(*http.Request, map[string]string, []byte) (uuid.UUID, error) {
			t.Error("it was stored")
			return uuid.New(), nil
		},
	}}))
	if err := track.Identify("7", map[string]any{"text": strings.Repeat("x", 100)}); !errors.Is(err, httpsend.ErrTooLarge) {
		t.Errorf("a large body: %v", err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	track = customerio.NewTrackClient(site, key, customerio.WithHTTPClient(durable(b)))
	if err := track.Identify("7", nil); err == nil || strings.Contains(err.Error(), "hush") {
		t.Errorf("a closed outbox: %v", err)
	}
}
