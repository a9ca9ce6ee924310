package customerio_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed8107221f/outbox/customerio"
)

// No secret is found in the file, a log or an error, not even when the destination echoes it.
func TestSecrets(t *testing.T) {
	t.Parallel()
	const trackKey, appKey, signature = "hush-track", "hush-app", "hush-signature"
	for _, status := range []int{200, 207, 301, 400, 401, 404, 413, 429, 500} {
		bubble(t, nil, func(t *testing.T, w *world) {
			var sent atomic.Int64
			w.http.Transport = roundTrip(func(req *http.Request) (*http.Response, error) {
				sent.Add(1)
				auth := req.Header.Get("Authorization")
				body := fmt.Sprintf(`{"errors":[{"batch_index":0,"reason":%q,"field":%q,"message":"%s %s %s"}],"meta":{"error":%q}}`,
					auth, auth, auth, trackKey, appKey, auth)
				if sent.Load()%2 == 0 { // in other forms
					body = fmt.Sprintf(`{"errors":[{"batch_index":0,"reason":"%s","field":"%s","message":"%s"}]}`,
						strings.TrimRight(auth, "="), url.QueryEscape(auth), base64.RawURLEncoding.EncodeToString([]byte(trackKey+" "+appKey)))
				}
				h := http.Header{"Location": {"https://" + trackKey + ".example.org/?" + auth}, "X-Echo": {auth}, "Retry-After": {auth}}
				return &http.Response{StatusCode: status, Status: fmt.Sprint(status, " ", auth), Header: h, Body: io.NopCloser(strings.NewReader(body)), Request: req}, nil
			})
			o := w.options()
			o.TrackKey, o.AppKey = trackKey, appKey
			c, err := customerio.Open(w.path, &o)
			if err != nil {
				t.Fatal(err)
			}
			var told strings.Builder
			tell := func(v ...any) { fmt.Fprintln(&told, v...) }
			put(t, c, identifies(0, 5)...)
			if _, err := c.SendEmail(t.Context(), email("a@example.org")); err != nil {
				t.Fatal(err)
			}
			time.Sleep(5 * time.Minute)
			tell(c.CheckCredentials(t.Context()))
			_, err = c.ImportJob(deadline(t, time.Minute), customerio.Job{Name: "n", URL: "https://example.org/?" + signature})
			tell(err)
			for _, name := range customerio.Lanes() {
				tell(dead(t, c, name), c.Lane(name).Stats())
			}
			tell(c.Flush(deadline(t, time.Minute)), c.Close())
			text, err := json.Marshal(struct{ A, B customerio.Secret }{o.TrackKey, o.AppKey})
			tell(string(text), err, o.TrackKey, fmt.Sprintf("%+v %#v %q %x", o, o, o.AppKey, o.AppKey))
			file, err := os.ReadFile(w.path)
			if err != nil || sent.Load() == 0 {
				t.Fatalf("%d requests, %v", sent.Load(), err)
			}
			basic := base64.StdEncoding.EncodeToString([]byte("site:" + trackKey))
			for where, text := range map[string]string{"an error": told.String(), "the file": string(file), "the log": w.log.String()} {
				for _, secret := range []string{trackKey, appKey, signature, basic, strings.TrimRight(basic, "="), url.QueryEscape(basic),
					base64.RawURLEncoding.EncodeToString([]byte(trackKey))[:13]} {
					if at := strings.Index(text, secret); at >= 0 {
						t.Errorf("status %d: %s has %q: %q", status, where, secret, text[max(0, at-300):at+40])
					}
				}
			}
		})
	}
}
