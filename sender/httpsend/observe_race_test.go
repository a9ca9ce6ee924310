package httpsend_test

import (
	"errors"
	"net/http"
	"sync"
	"testing"

	"github.com/seed8107221f/outbox/sender/httpsend"
)

// Calls is safe for concurrent use: an SDK may make several requests at once under one Watch, and ask
// meanwhile. Only the race detector can see it if that is not so.
func TestCallsAtOnce(t *testing.T) {
	o := httpsend.Observe(roundTrip(func(req *http.Request) (*http.Response, error) {
		if req.URL.Path == "/lost" {
			return nil, errors.New("the connection was reset")
		}
		return reply(req, 429, "Retry-After: 3600"), nil
	}))
	for range 50 {
		ctx, calls := httpsend.Watch(t.Context())
		var all sync.WaitGroup
		begin := make(chan struct{})
		for _, path := range []string{"/", "/", "/lost", "/lost"} {
			req := request(t, "POST", "https://example.org"+path, "").WithContext(ctx)
			all.Go(func() {
				<-begin
				if resp, err := o.RoundTrip(req); err == nil {
					resp.Body.Close()
				}
			})
		}
		all.Go(func() {
			<-begin
			if code := calls.Status(); code != 0 && code != 429 {
				t.Errorf("the status is %d, want 429 or none", code)
			}
		})
		all.Go(func() {
			<-begin
			if calls.Verdict(errSDK) == nil {
				t.Error("an error of the SDK has no verdict")
			}
		})
		close(begin)
		all.Wait()
		expect(t, calls.Verdict(errSDK), throttled) // by whichever came last: the Retry-After still runs
	}
}
