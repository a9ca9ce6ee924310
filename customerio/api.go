package customerio

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"unicode"

	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/sender/httpsend"
)

// An api is one of the two APIs of the service: its address and our credentials. It never changes.
type api struct {
	client *http.Client
	base   string // URL without a slash at the end
	header string // Authorization
	agent  string // User-Agent
	hush   *redactor
	check  string // what to check when the credentials are refused
	urls   string // the setting that holds base
	probe  string // path of a question that changes nothing
}

// Questions that the service documents, and that change nothing: the region of the account, and
// which addresses the service sends from.
const (
	regionPath    = "/api/v1/accounts/region"
	addressesPath = "/v1/info/ip_addresses"
)

func trackAPI(o *Options, c *http.Client) *api {
	return &api{
		client: c, base: o.TrackURL, agent: o.UserAgent, header: "Basic " + base64.StdEncoding.EncodeToString(o.pair()),
		hush: hush(o), urls: "TrackURL", probe: regionPath,
		check: fmt.Sprintf("check SiteID and TrackKey, and that the account is in region %s", o.Region),
	}
}

func appAPI(o *Options, c *http.Client) *api {
	return &api{
		client: c, base: o.AppURL, agent: o.UserAgent, header: "Bearer " + string(o.AppKey),
		hush: hush(o), urls: "AppURL", probe: addressesPath,
		check: fmt.Sprintf("check AppKey (that of the App API, not of the Track API), that it may do this, and that the account is in region %s", o.Region),
	}
}

// pair is the text that basic authentication encodes.
func (o *Options) pair() []byte { return []byte(o.SiteID + ":" + string(o.TrackKey)) }

// hush returns what removes the secrets from text of the destination: the keys, and what basic
// authentication sends. The SiteID is half of that; a short one would strike out ordinary words.
func hush(o *Options) *redactor {
	secrets := []string{string(o.TrackKey), string(o.AppKey)}
	if o.TrackKey != "" {
		secrets = append(secrets, string(o.pair()))
		if len(o.SiteID) >= leastForm {
			secrets = append(secrets, o.SiteID)
		}
	}
	return newRedactor(secrets...)
}

// post sends JSON once. Its error is the error of httpsend.Do, with the probable cause. A success
// that did not come from the service is an error too.
func (a *api) post(ctx context.Context, path string, body []byte) (*httpsend.Answer, error) {
	return a.do(ctx, http.MethodPost, path, body)
}

func (a *api) do(ctx context.Context, method, path string, body []byte) (*httpsend.Answer, error) {
	req, err := http.NewRequestWithContext(ctx, method, a.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, sender.Unavailable(fmt.Errorf("customerio: %s of %d bytes: not a URL", method, len(a.base)+len(path)))
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("Authorization", a.header)
	req.Header.Set("User-Agent", a.agent)
	answer, err := httpsend.Do(a.client, req)
	if err != nil {
		return answer, a.explain(path, answer, err)
	}
	return answer, foreign(answer)
}

// foreign reports a success that does not come from the service, for example the page of a proxy or
// of a guest network. The service answers with an object of JSON, or with nothing.
func foreign(answer *httpsend.Answer) error {
	body := bytes.TrimLeft(answer.Body, " \t\r\n")
	if len(body) == 0 || body[0] == '{' && (answer.Cut || json.Valid(body)) {
		return nil
	}
	return sender.Unavailable(fmt.Errorf("customerio: status %d with %d bytes that are not JSON of the service: something between us and the service answers", answer.Status, len(answer.Body)))
}

// Probe asks the service a question that changes nothing, with the credentials of the lane. nil:
// the service itself answered. It may refuse to answer this question to a key that may send.
func (a *api) Probe(ctx context.Context) error {
	answer, err := a.do(ctx, http.MethodGet, a.probe, nil)
	if answer == nil {
		return err
	}
	switch answer.Status {
	case http.StatusBadRequest, http.StatusForbidden, http.StatusNotFound, http.StatusUnprocessableEntity:
		if a.probe == addressesPath && len(refusals(answer.Body)) > 0 {
			return nil
		}
	}
	if err == nil && len(answer.Body) == 0 {
		return sender.Unavailable(fmt.Errorf("customerio: status %d without an answer to %s: something between us and the service answers", answer.Status, a.probe))
	}
	return err
}

// CloseIdleConnections lets the next request take a new connection.
func (a *api) CloseIdleConnections() { a.client.CloseIdleConnections() }

// explain adds to an error its probable cause, or what the service answered.
func (a *api) explain(path string, answer *httpsend.Answer, err error) error {
	if answer == nil {
		return err
	}
	switch s := answer.Status; {
	case a.lost(path, answer):
		return sender.Unavailable(fmt.Errorf("customerio: no %s %w: check %s: %w", strings.TrimSuffix(a.urls, "URL"), errAddress, a.urls, err))
	case s == http.StatusUnauthorized || s == http.StatusForbidden:
		return fmt.Errorf("customerio: credentials refused: %s: %w", a.check, err)
	case s >= 300 && s < 400:
		return fmt.Errorf("customerio: redirected%s, probably because the account is in the other region, or for a wrong URL: %w", a.target(answer), err)
	}
	if said := a.said(answer.Body); said != "" && answer.Status < 500 && answer.Status != http.StatusTooManyRequests {
		return fmt.Errorf("customerio: refused: %s: %w", said, err)
	}
	return err
}

// errAddress: the server that answers is not the API.
var errAddress = errors.New("API at this address")

// lost reports whether an answer says that the request has come to a wrong address. The service
// answers 405 to a wrong path. A 404 may be about the item, if the service itself says so. The
// paths of the Track API always exist, except the path of a segment.
func (a *api) lost(path string, answer *httpsend.Answer) bool {
	switch answer.Status {
	case http.StatusMethodNotAllowed:
		return true
	case http.StatusNotFound, http.StatusGone:
		return strings.HasPrefix(path, "/api/") && !strings.HasPrefix(path, segmentPath) || len(refusals(answer.Body)) == 0
	}
	return false
}

// target names the host of a redirect.
func (a *api) target(answer *httpsend.Answer) string {
	u, err := url.Parse(answer.Header.Get("Location"))
	if err != nil || u.Host == "" {
		return ""
	}
	return " to " + a.line(u.Host)
}

// A refusal is the reason why something was not accepted, in any of the forms that the service
// uses.
type refusal struct {
	Index   *int   `json:"batch_index"`
	Reason  string `json:"reason"`
	Field   string `json:"field"`
	Message string `json:"message"`
	Detail  string `json:"detail"`
}

// refusals reads the errors of an answer; nil: there are none.
func refusals(body []byte) []refusal {
	var a struct {
		Errors []refusal `json:"errors"`
		Meta   struct {
			Error  string   `json:"error"`
			Errors []string `json:"errors"`
		} `json:"meta"`
	}
	var other *json.UnmarshalTypeError // a field of another form: the rest is read
	if err := json.Unmarshal(body, &a); err != nil && !errors.As(err, &other) {
		return nil
	}
	for _, message := range append(a.Meta.Errors, a.Meta.Error) {
		if message != "" {
			a.Errors = append(a.Errors, refusal{Message: message})
		}
	}
	return a.Errors
}

// said returns the first refusal of an answer in one line; "": there is none.
func (a *api) said(body []byte) string {
	for _, r := range refusals(body) {
		return a.text(r)
	}
	return ""
}

// text is a refusal in one line.
func (a *api) text(r refusal) string {
	var parts []string
	if r.Reason != "" {
		parts = append(parts, r.Reason)
	}
	if r.Field != "" {
		parts = append(parts, "field "+r.Field)
	}
	for _, s := range []string{r.Message, r.Detail} {
		if s != "" {
			parts = append(parts, s)
		}
	}
	if len(parts) == 0 {
		return "no reason given"
	}
	return a.line(strings.Join(parts, ", "))
}

// line turns text into one printable line of at most 300 bytes, without secrets.
func (a *api) line(s string) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, a.hush.clean(s))
	if len(s) > 300 {
		s = strings.ToValidUTF8(s[:300], "") + "…"
	}
	return s
}

// code returns the status of an error of httpsend; 0 if there was no answer.
func code(err error) int {
	var status *httpsend.StatusError
	if errors.As(err, &status) {
		return status.Code
	}
	return 0
}
