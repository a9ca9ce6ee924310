package sdktest

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	sdk "github.com/customerio/go-customerio/v3"

	"github.com/seed8107221f/outbox/customerio"
	"github.com/seed8107221f/outbox/customerio/customeriotest"
)

// Every method of the SDK is on the page that says what takes its place.
func TestPageHasTheSDK(t *testing.T) {
	page, err := os.ReadFile("../../../docs/customerio.md")
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for _, of := range []reflect.Type{reflect.TypeFor[*sdk.CustomerIO](), reflect.TypeFor[*sdk.APIClient]()} {
		for i := range of.NumMethod() {
			checked++
			name := of.Elem().Name() + "." + strings.TrimSuffix(of.Method(i).Name, "Ctx")
			if !strings.Contains(string(page), "| `"+name+"` |") {
				t.Errorf("%s is not there", name)
			}
		}
	}
	if checked < 20 {
		t.Errorf("%d methods were checked", checked)
	}
}

// With the RoundTripper of the client the SDK is durable: each of its methods returns nil while the
// service is away, and arrives later, in the lane of its API.
func TestRoundTripperOfTheClient(t *testing.T) {
	service := customeriotest.NewServer(&customeriotest.Options{Limits: map[customeriotest.API]customeriotest.Limit{customeriotest.Broadcasts: {Requests: -1}}})
	defer service.Close()
	service.SetFaults(customeriotest.Faults{Spans: []customeriotest.Span{{Fault: customeriotest.Fault{Status: 401}}}})
	c, err := customerio.Open(filepath.Join(t.TempDir(), "sdk.db"), &customerio.Options{
		SiteID: "site", TrackKey: "track-key", AppKey: "app-key", TrackURL: service.URL(), AppURL: service.URL(), HealthEvery: -1, BroadcastEvery: 10 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	h := sdk.WithHTTPClient(&http.Client{Transport: c.RoundTripper()})
	track, app := sdk.NewTrackClient("other", "other", h, sdk.WithRegion(sdk.RegionEU)), sdk.NewAPIClient("other", h)
	who, ctx := map[string]string{"id": "17"}, t.Context()
	letter := &sdk.SendEmailRequest{TransactionalMessageID: "3", Identifiers: who, To: "a@example.org"}
	if err := letter.Attach("a.txt", strings.NewReader("hello")); err != nil {
		t.Fatal(err)
	}
	device, err := sdk.NewDevice("t", "ios", map[string]any{"last_used": 900000000})
	if err != nil {
		t.Fatal(err)
	}
	for name, call := range map[string]func() error{
		"Identify": func() error { return track.IdentifyCtx(ctx, "17", map[string]any{"plan": "basic"}) },
		"Track": func() error {
			return track.TrackCtx(ctx, "17", "bought", nil, sdk.WithEventID("evt_123"), sdk.WithEventTimestamp(time.Unix(1700000000, 0)))
		},
		"Track, a page":  func() error { return track.TrackCtx(ctx, "17", "/prices", nil, sdk.WithEventType(sdk.TrackTypePage)) },
		"TrackAnonymous": func() error { return track.TrackAnonymousCtx(ctx, "a1", "seen", map[string]any{"n": 1}) },
		"an invitation": func() error {
			return track.TrackAnonymousCtx(ctx, "", "invite", map[string]any{"recipient": "a@example.org"})
		},
		"Delete": func() error { return track.DeleteCtx(ctx, "a@example.org") },
		"AddDevice": func() error {
			return track.AddDeviceCtx(ctx, "17", "t/1", "ios", map[string]any{"last_used": 1700000000, "v": 2})
		},
		"DeleteDevice": func() error { return track.DeleteDeviceCtx(ctx, "17", "t/1") },
		"MergeCustomers": func() error {
			return track.MergeCustomersCtx(ctx, sdk.Identifier{Type: sdk.IdentifierTypeID, Value: "17"}, sdk.Identifier{Type: sdk.IdentifierTypeCioID, Value: "03"})
		},
		"AddPeopleToSegment": func() error { return track.AddPeopleToSegment(ctx, 7, []string{"17"}) },
		"RemovePeopleFromSegment": func() error {
			return track.RemovePeopleFromSegment(ctx, 7, []string{"a@example.org"}, sdk.WithSegmentIDType(sdk.IdentifierTypeEmail))
		},
		"SendEmail": func() error { _, err := app.SendEmail(ctx, letter); return err },
		"SendPush": func() error {
			_, err := app.SendPush(ctx, &sdk.SendPushRequest{TransactionalMessageID: "3", Identifiers: who, Device: device})
			return err
		},
		"SendSMS": func() error {
			_, err := app.SendSMS(ctx, &sdk.SendSMSRequest{TransactionalMessageID: "3", Identifiers: who, To: "+15551234567"})
			return err
		},
		"SendWhatsApp": func() error {
			_, err := app.SendWhatsApp(ctx, &sdk.SendWhatsAppRequest{TransactionalMessageID: "3", Identifiers: who, To: "+15551234567"})
			return err
		},
		"SendInApp": func() error {
			_, err := app.SendInApp(ctx, &sdk.SendInAppRequest{TransactionalMessageID: "3", Identifiers: who})
			return err
		},
		"SendInboxMessage": func() error {
			_, err := app.SendInboxMessage(ctx, &sdk.SendInboxMessageRequest{TransactionalMessageID: "3", Identifiers: who})
			return err
		},
		"TriggerBroadcast": func() error {
			_, err := app.TriggerBroadcast(ctx, 12, nil, sdk.BroadcastRecipients{Ids: []string{"17"}}, sdk.BroadcastOptions{})
			return err
		},
	} {
		if err := call(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	service.SetFaults(customeriotest.Faults{})
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := c.Drain(ctx); err != nil {
		t.Error(err)
	}
	got := map[string]int{}
	for _, a := range service.Record() {
		got[fmt.Sprint(a.API, " ", a.Type, " ", a.Action)]++
	}
	want := map[string]int{
		"track person identify": 1, "track person event": 3, "track person page": 1, "track person delete": 1, "track person add_device": 1,
		"track person delete_device": 1, "track person merge": 1, "track segment add_customers": 1, "track segment remove_customers": 1,
		"transactional message email": 1, "transactional message push": 1, "transactional message sms": 1, "transactional message whatsapp": 1,
		"transactional message in_app": 1, "transactional message inbox_message": 1, "broadcasts broadcast trigger": 1,
	}
	if !maps.Equal(got, want) {
		t.Errorf("arrived: %v", slices.Sorted(maps.Keys(got)))
	}
	for name, s := range c.Stats() {
		if s.Dead != 0 {
			t.Errorf("%s: %d are dead", name, s.Dead)
		}
	}
}
