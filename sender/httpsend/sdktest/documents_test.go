package sdktest

import (
	"net/http"

	sdk "github.com/customerio/go-customerio/v3"

	"github.com/seed8107221f/outbox/customerio"
)

// durableSDK holds the Go block of docs/customerio.md that needs the SDK.
func durableSDK(c *customerio.Client, site, key string) (*sdk.CustomerIO, *sdk.APIClient) {
	h := &http.Client{Transport: c.RoundTripper()}
	track := sdk.NewTrackClient(site, key, sdk.WithHTTPClient(h))
	app := sdk.NewAPIClient(key, sdk.WithHTTPClient(h))
	return track, app
}

var _ = durableSDK
