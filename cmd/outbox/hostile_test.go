package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// A monitor that is not ours can say what it likes, and drives no terminal.
func TestHostileMonitor(t *testing.T) {
	const bad = "\x1b]0;x\x07\u009b31m\u202e\u2028\x00\t\n\r\x7f\U000e0001<script>"
	item := map[string]any{
		"v": 1, "id": bad, "at": 1, "state": bad, "kind": bad, "key": bad, "last_error": bad, "headers": []string{bad}, "header": map[string]string{bad: bad},
		"payload": []byte(strings.ReplaceAll(bad, "\n", "")), "history": []any{map[string]any{"reason": bad}}, "reasons": []any{map[string]any{"code": bad, "text": bad, "cause": bad + "!"}}, bad: bad,
	}
	lane := map[string]any{
		"v": 1, "name": bad, "state": bad, "held": map[string]any{"by": bad, "error": bad}, "paused": map[string]any{"by": bad, "reason": bad}, "fallback": bad,
		"errors": []any{map[string]any{"error": bad, "count": 1}},
	}
	refuse := false
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Outbox-Monitor", "1")
		doc := any(map[string]any{"v": 1, "lanes": []any{lane}, "file": map[string]any{"name": bad}})
		q := r.URL.Query()
		switch {
		case refuse:
			w.WriteHeader(http.StatusConflict)
			doc = map[string]any{"v": 1, "error": map[string]string{"code": bad, "message": bad}}
		case q.Get("item") != "" || q.Get("export") != "":
			doc = item
		case q.Get("list") != "":
			more := bad
			if q.Get("after") != "" {
				more = ""
			}
			doc = map[string]any{"v": 1, "of": 3, "looked": 1, "next": more, "items": []any{item}}
		}
		if err := json.NewEncoder(w).Encode(doc); err != nil {
			t.Error(err)
		}
	}))
	defer server.Close()
	const id = "00000001-0000-7000-8000-000000000000"
	for _, args := range [][]string{{"stats", "--max-held", "0s"}, {"list", "--limit", "1"}, {"list"}, {"dead"}, {"show", id}, {"show", id, "--payload"}, {"explain", id}, {"export"}, {"check"}, {"revive", id}, {"list", "--lane", bad}} {
		for _, form := range [][]string{nil, {"--json"}} {
			for _, refuse = range []bool{false, true} {
				line := append(append([]string{args[0], server.URL}, args[1:]...), form...)
				out, errs, _ := call(t, line...)
				if out+errs == "" {
					t.Errorf("%v says nothing", args)
				}
				for _, r := range out + errs {
					if hidden(r) && r != '\n' && r != '\t' {
						t.Errorf("%v %v: the output has %q: %q", args, form, r, out+errs)
						break
					}
				}
				if form == nil || out == "" {
					continue
				}
				for doc := range strings.Lines(out) {
					if !json.Valid([]byte(doc)) {
						t.Errorf("%v: not JSON: %q", args, doc)
					}
				}
			}
		}
	}
}
