package customeriotest

import (
	"net/http"
	"net/url"
	"strings"
)

// A route is one call of the service.
type route struct {
	method string
	path   string // a segment "*" stands for any text
	api    API
	shape  shape // of refusals
	open   bool  // the service asks for no credentials
	handle func(*Server, *call) answer

	missing *problem // if handle is nil: there is no such call
}

var routes = []route{
	{method: "PUT", path: "/api/v1/customers/*", api: Track, shape: metaError, handle: track(v1Identify)},
	{method: "DELETE", path: "/api/v1/customers/*", api: Track, shape: metaError, handle: track(v1Bare("delete"))},
	{method: "POST", path: "/api/v1/customers/*/suppress", api: Track, shape: metaError, handle: track(v1Bare("suppress"))},
	{method: "POST", path: "/api/v1/customers/*/unsuppress", api: Track, shape: metaError, handle: track(v1Bare("unsuppress"))},
	{method: "PUT", path: "/api/v1/customers/*/devices", api: Track, shape: metaErrors, handle: track(v1AddDevice)},
	{method: "DELETE", path: "/api/v1/customers/*/devices/*", api: Track, shape: metaErrors, handle: track(v1DeleteDevice)},
	{method: "POST", path: "/api/v1/customers/*/events", api: Track, shape: metaErrors, handle: track(v1Event)},
	{method: "POST", path: "/api/v1/events", api: Track, shape: metaErrors, handle: track(v1AnonymousEvent)},
	{method: "POST", path: "/api/v1/merge_customers", api: Track, shape: metaError, handle: track(v1Merge)},
	{method: "POST", path: "/api/v1/segments/*/add_customers", api: Track, shape: metaErrors, handle: track(v1Segment("add_customers"))},
	{method: "POST", path: "/api/v1/segments/*/remove_customers", api: Track, shape: metaErrors, handle: track(v1Segment("remove_customers"))},
	{method: "POST", path: "/api/v1/forms/*/submit", api: Track, shape: metaError, handle: v1Form},
	{method: "POST", path: "/api/v1/metrics", api: Track, shape: metaError, open: true, handle: track(v1Metric("metric"))},
	{method: "POST", path: "/api/v1/push/events", api: Track, shape: metaError, open: true, handle: track(v1Metric("push"))},
	{method: "POST", path: "/unsubscribe/*", api: Track, shape: metaError, open: true, handle: track(v1Unsubscribe)},
	{method: "GET", path: "/api/v1/accounts/region", api: Track, shape: metaError, handle: region},

	{method: "POST", path: "/api/v2/entity", api: Track, shape: entityErrors, handle: track(v2Entity)},
	{method: "POST", path: "/api/v2/batch", api: Track, shape: entityErrors, handle: v2Batch},

	{method: "POST", path: "/v1/send/email", api: Transactional, shape: metaError, handle: message("email")},
	{method: "POST", path: "/v1/send/push", api: Transactional, shape: metaError, handle: message("push")},
	{method: "POST", path: "/v1/send/sms", api: Transactional, shape: metaError, handle: message("sms")},
	{method: "POST", path: "/v1/send/whatsapp", api: Transactional, shape: metaError, handle: message("whatsapp")},
	{method: "POST", path: "/v1/send/in_app", api: Transactional, shape: metaError, handle: message("in_app")},
	{method: "POST", path: "/v1/send/inbox_message", api: Transactional, shape: metaError, handle: message("inbox_message")},

	{method: "POST", path: "/v1/campaigns/*/triggers", api: Broadcasts, shape: detailErrors, handle: trigger},
	{method: "POST", path: "/v1/imports", api: Imports, shape: detailErrors, handle: startImport},
	{method: "GET", path: "/v1/imports/*", api: Imports, shape: detailErrors, handle: showImport},

	{method: "GET", path: "/v1/campaigns", api: Queries, shape: detailErrors, handle: nothing("campaigns")},
	{method: "GET", path: "/v1/segments", api: Queries, shape: detailErrors, handle: nothing("segments")},
	{method: "GET", path: "/v1/info/ip_addresses", api: Queries, shape: detailErrors, handle: nothing("ip_addresses")},
	{method: "GET", path: "/v1/customers/*/attributes", api: Queries, shape: detailErrors, handle: showAttributes},
}

// find returns the route of a request, and what stands in the path for its wildcards.
func find(method, escapedPath string) (route, []string) {
	no := route{api: Queries, shape: detailErrors, missing: &problem{http.StatusNotFound, Refusal{Reason: "path", Message: "there is no such path"}}}
	switch {
	case strings.HasPrefix(escapedPath, "/api/"):
		no.api, no.shape = Track, metaError
	case strings.HasPrefix(escapedPath, "/v1/send/"):
		no.api, no.shape = Transactional, metaError
		no.missing.status = http.StatusMethodNotAllowed // as documented
	}
	for _, r := range routes {
		args, ok := match(r.path, escapedPath)
		if ok && r.method == method {
			return r, args
		}
		if ok {
			no.api, no.shape = r.api, r.shape
			no.missing = &problem{http.StatusMethodNotAllowed, Refusal{Reason: "method", Message: "is not allowed here: " + method}}
		}
	}
	return no, nil
}

// match compares segment by segment, so that an encoded slash belongs to its segment.
func match(pattern, escapedPath string) (args []string, ok bool) {
	want, have := strings.Split(pattern, "/"), strings.Split(escapedPath, "/")
	if len(want) != len(have) {
		return nil, false
	}
	for i := range want {
		if want[i] != "*" {
			if want[i] != have[i] {
				return nil, false
			}
			continue
		}
		arg, err := url.PathUnescape(have[i])
		if err != nil {
			return nil, false
		}
		args = append(args, arg)
	}
	return args, true
}
