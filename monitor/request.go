package monitor

import (
	"bytes"
	"encoding/json"
	"mime"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// maxBody is the largest body of a request, in bytes.
const maxBody = 8 << 20

const contentPolicy = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; " +
	"form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

// A request is one request and its answer. Its goroutine owns it.
type request struct {
	*http.Request
	m     *Monitor
	w     http.ResponseWriter
	query url.Values
	now   time.Time
	kind  string // of the body
	json  bool   // the answer is JSON
	lane  *watched
	may   Access
}

// ServeHTTP answers one request. See the package comment.
func (m *Monitor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Outbox-Monitor", "1")
	h.Set("Content-Security-Policy", contentPolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	q := &request{Request: r, m: m, w: w, query: r.URL.Query(), now: time.Now()}
	accept := r.Header.Get("Accept")
	q.kind, _, _ = mime.ParseMediaType(r.Header.Get("Content-Type"))
	q.json = q.kind == "application/json" || q.query.Get("format") == "json" || strings.Contains(accept, "application/json") && !strings.Contains(accept, "text/html")
	if err := q.serve(); err != nil {
		q.refuse(refusalOf(err))
	}
}

func (q *request) serve() error {
	if err := q.fromHost(); err != nil {
		return err
	}
	switch q.Method {
	case http.MethodGet, http.MethodHead:
		if name := q.query.Get("asset"); name != "" {
			return q.asset(name)
		}
		if err := q.allow(); err != nil {
			return err
		}
		return q.read()
	case http.MethodPost:
		return q.post()
	}
	q.w.Header().Set("Allow", "GET, HEAD, POST")
	return refuse(http.StatusMethodNotAllowed, "bad_request", "the method is %q, GET, HEAD or POST expected", visible(cut(q.Method, 40)))
}

// fromHost refuses a request to a host that the options do not name.
func (q *request) fromHost() error {
	if len(q.m.options.Hosts) == 0 {
		return nil
	}
	host, _, err := net.SplitHostPort(q.Host)
	if err != nil {
		host = strings.Trim(q.Host, "[]")
	}
	if !slices.ContainsFunc(q.m.options.Hosts, func(h string) bool { return strings.EqualFold(strings.Trim(h, "[]"), host) }) {
		return refuse(http.StatusForbidden, "wrong_host", "no answers under the host name %q", visible(cut(host, 256)))
	}
	return nil
}

// lanesText names the lanes that may be read, as many as fit; "" if there are none.
func (q *request) lanesText() string {
	text, before := "", "; those that you may read: "
	for _, w := range q.m.lanes {
		if !q.access(w.name).Read {
			continue
		}
		if len(text) > 400 {
			return text + ", …"
		}
		text, before = text+before+visible(w.name), ", "
	}
	return text
}

// allow finds out what the sender may do with the lane, and finds the lane.
func (q *request) allow() error {
	name := q.query.Get("lane")
	if q.may = q.access(name); !q.may.Read {
		return q.notAllowed("read")
	}
	if name == "" {
		return nil
	}
	if q.lane = q.m.find(name); q.lane == nil {
		return refuse(http.StatusNotFound, "not_found", "there is no lane %q%s", visible(cut(name, 200)), q.lanesText())
	}
	return nil
}

// access asks what the sender may do. Who may not read may do nothing.
func (q *request) access(lane string) Access {
	a := q.m.options.Allow(q.Request, lane)
	if !a.Read {
		a = Access{Name: a.Name}
	}
	a.Name = visible(a.Name)
	return a
}

func (q *request) notAllowed(do string) error {
	who := q.may.Name
	if who == "" {
		who = "you"
	}
	where := "the overview"
	if name := q.query.Get("lane"); name != "" {
		where = "lane " + visible(cut(name, 200))
	}
	return refuse(http.StatusForbidden, "not_allowed", "%s may not %s %s", who, do, where)
}

// read answers a GET.
func (q *request) read() error {
	switch {
	case q.query.Get("live") != "" && q.Method == http.MethodGet:
		return q.live()
	case q.lane == nil:
		for _, name := range []string{"list", "item", "export"} {
			if q.query.Get(name) != "" {
				return badRequest("%s needs a lane", name)
			}
		}
		return q.readOverview()
	case q.query.Get("export") != "":
		return q.export()
	case q.query.Get("item") != "":
		return q.readItem()
	}
	return q.readLane()
}

// post checks that an action comes from our own pages or from a program, and does it.
func (q *request) post() error {
	if err := q.m.origins.Check(q.Request); err != nil {
		return refuse(http.StatusForbidden, "cross_origin", "the request comes from a page of another site")
	}
	if err := q.allow(); err != nil {
		return err
	}
	q.Body = http.MaxBytesReader(q.w, q.Body, maxBody)
	var a action
	var err error
	switch q.kind {
	case "application/json":
		err = a.fromJSON(q)
	case "application/x-www-form-urlencoded":
		err = a.fromForm(q)
	default:
		return refuse(http.StatusUnsupportedMediaType, "bad_request", "the body is %q, application/json or application/x-www-form-urlencoded expected", visible(cut(q.kind, 100)))
	}
	if err != nil {
		return err
	}
	if q.lane == nil {
		return badRequest("an action needs a lane")
	}
	return q.act(&a)
}

// refuse answers with a refusal, and logs it.
func (q *request) refuse(r *refusal) {
	if r.status == http.StatusForbidden && q.m.refused.now() {
		q.m.options.Logger.Warn("monitor: refused", "who", q.may.Name, "code", r.code, "method", q.Method, "lane", visible(cut(q.query.Get("lane"), 200)))
	}
	if q.json {
		type body struct {
			Code    string `json:"code"`
			Message string `json:"message"`
		}
		q.writeJSON(r.status, struct {
			V     int  `json:"v"`
			Error body `json:"error"`
		}{version, body{r.code, r.text}})
		return
	}
	q.writePage(r.status, "refusal", q.refusalView(r))
}

// writeJSON writes a document.
func (q *request) writeJSON(status int, doc any) {
	var b bytes.Buffer
	if err := newEncoder(&b).Encode(doc); err != nil {
		status = http.StatusInternalServerError
		b.Reset()
		b.WriteString(`{"v":1,"error":{"code":"storage","message":"the answer is no JSON"}}` + "\n")
	}
	q.w.Header().Set("Content-Type", "application/json")
	q.w.WriteHeader(status)
	q.w.Write(b.Bytes()) // its error: nobody reads any more
}

// newEncoder returns an encoder that leaves <, > and & as they are: no page contains its output.
func newEncoder(b *bytes.Buffer) *json.Encoder {
	e := json.NewEncoder(b)
	e.SetEscapeHTML(false)
	return e
}

// link returns the query of a page of this handler.
func link(pairs ...string) string {
	v := make([]string, 0, len(pairs)/2)
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			v = append(v, pairs[i]+"="+url.QueryEscape(pairs[i+1]))
		}
	}
	return "?" + strings.Join(v, "&")
}
