package monitor

import (
	"bytes"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"runtime/debug"
	"sync"
	"time"
)

// pages are the templates. Nothing from outside is ever marked as safe: html/template escapes all
// of it, in text and in quoted attributes.
var pages = template.Must(template.New("").Funcs(template.FuncMap{
	"icon": func(name string) string { return icons[name] },
	"num":  func(n int) string { return count(n) },
	"see":  visible,
}).ParseFS(files, "assets/*.html"))

// A moment is a time as a page shows it.
type moment struct {
	ISO   string // "": there is no such time
	Clock string
	Ago   string // "6 min 20 s ago", or "in 24 s"
}

func at(t, now time.Time) moment {
	if t.IsZero() {
		return moment{}
	}
	m := moment{ISO: t.UTC().Format(time.RFC3339), Clock: clock(t, now)}
	if d := now.Sub(t); d >= 0 {
		m.Ago = span(d.Truncate(time.Second)) + " ago"
	} else {
		m.Ago = "in " + span((-d).Round(time.Second))
	}
	return m
}

// A frame is what all pages share.
type frame struct {
	Title  string
	Crumbs []crumb
	Now    moment
	You    string // who reads, and what they may do
	Live   string // the address of the stream; "": the page does not renew itself
	Renew  string // the same page, which then renews itself
	Stay   string // the same page, which does not renew itself; "": this one does not
	JSON   string // the same as JSON; "": it has none
	Style  string
	Script string
	File   string // about the file
	Since  moment
	Build  string
}

// A crumb is a part of the place; no Link: it is where one is.
type crumb struct{ Text, Link string }

// frame begins a page about a place.
func (q *request) frame(title string, crumbs ...crumb) frame {
	f := frame{Title: title, Now: at(q.now, q.now), You: q.you(), Style: assets["style.css"].link, Script: assets["script.js"].link,
		Since: at(q.m.since, q.now), Build: build(), Crumbs: append([]crumb{{"outbox", "?"}}, crumbs...)}
	f.Crumbs[len(f.Crumbs)-1].Link = ""
	if q.Method == http.MethodPost {
		return f
	}
	f.JSON = q.again("format", "json")
	if q.query.Get("renew") != "" {
		f.Stay = q.again("renew", "")
	} else {
		f.Renew = q.again("renew", "10")
	}
	return f
}

// again returns a link to this page with one part of the query changed; without what only tells of
// an action.
func (q *request) again(name, value string) string {
	v := url.Values{}
	for _, k := range []string{"lane", "list", "key", "kind", "id", "after", "newest", "limit", "item", "at", "renew", "format"} {
		if s := q.query.Get(k); s != "" && k != name {
			v.Set(k, s)
		}
	}
	if value != "" {
		v.Set(name, value)
	}
	return "?" + v.Encode()
}

// you says who reads, and what they may do.
func (q *request) you() string {
	name := q.may.Name
	switch {
	case !q.may.Read:
		return name
	case q.may.Act && name != "":
		return "acting as " + name
	case q.may.Act:
		return "may act"
	case name != "":
		return "reading as " + name
	}
	return "read only"
}

// writePage writes a page. Nothing is written before all of it is made.
func (q *request) writePage(status int, name string, view any) {
	var b bytes.Buffer
	if err := pages.ExecuteTemplate(&b, name, view); err != nil {
		http.Error(q.w, "monitor: the page cannot be made", http.StatusInternalServerError)
		q.m.options.Logger.Error("monitor: a page cannot be made", "page", name, "err", err)
		return
	}
	q.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	q.w.WriteHeader(status)
	q.w.Write(b.Bytes()) // its error: nobody reads any more
}

// build returns the version of this module in the program; "": it is not known.
var build = sync.OnceValue(func() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, d := range append(info.Deps, &info.Main) {
		if d.Path == "github.com/seed8107221f/outbox" && d.Version != "(devel)" {
			return d.Version
		}
	}
	return ""
})

// fileText says what the lanes are in.
func fileText(f *file, lanes int) string {
	text := ""
	if f != nil && f.Name != "" {
		text = visible(f.Name) + ", "
	}
	if f != nil && f.Bytes > 0 {
		text += size(f.Bytes) + ", "
	}
	if lanes == 1 {
		return text + "1 lane"
	}
	return fmt.Sprintf("%s%d lanes", text, lanes)
}

// A refusalView is the page of a refusal.
type refusalView struct {
	frame
	Status int
	Head   string
	Text   string
	Back   string
	Typed  string // the text of an edit, which was not saved
}

func (q *request) refusalView(r *refusal) refusalView {
	heads := map[string]string{
		"bad_request": "This cannot be understood", "not_allowed": "This is not allowed", "cross_origin": "This came from another site",
		"wrong_host": "This is not the place", "not_found": "There is no such thing", "changed": "It has changed since",
		"too_large": "This is too large", "closed": "The outbox is closed", "busy": "Not now", "full": "There is no room", "storage": "The storage fails",
	}
	v := refusalView{frame: q.frame(heads[r.code], crumb{heads[r.code], ""}), Status: r.status, Head: heads[r.code], Text: visible(r.text), Back: "?"}
	v.JSON, v.Renew, v.Stay = "", "", ""
	if q.lane != nil {
		v.Back = link("lane", q.lane.name)
	}
	return v
}

// editRefused keeps what was typed on the page that says why it was not saved.
func (q *request) editRefused(a *action, r *refusal) refusalView {
	v := q.refusalView(r)
	v.Typed = string(a.Payload)
	v.Back = itemLink(q.lane.name, a.Items[0].ID.String(), a.Items[0].At)
	return v
}
