package promoutbox_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed8107221f/outbox/promoutbox"
)

// A dashboard is what the tests read of dashboard.json.
type dashboard struct {
	Inputs     any `json:"__inputs"`
	Templating struct {
		List []struct {
			Name, Type string
			Query      any
			Definition string
		}
	}
	Panels []struct {
		Title, Description string
		Targets            []struct{ Expr string }
	}
}

func readDashboard(t *testing.T) (d dashboard) {
	t.Helper()
	if err := json.Unmarshal(read(t, "dashboard.json"), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// expressions returns the expressions of the dashboard, with values in place of its variables.
func expressions(d dashboard) (all []string) {
	values := strings.NewReplacer("$job", ".*", "$instance", ".*", "$lane", ".*", "$__rate_interval", "5m")
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			all = append(all, values.Replace(target.Expr))
		}
	}
	return all
}

func TestDashboard(t *testing.T) {
	d := readDashboard(t)
	if d.Inputs != nil {
		t.Error("with __inputs it cannot be provisioned")
	}
	var variables []string
	for _, v := range d.Templating.List {
		variables = append(variables, v.Name)
	}
	if got, want := strings.Join(variables, " "), "datasource job instance lane"; got != want {
		t.Errorf("the variables are %s, want %s", got, want)
	}
	if len(d.Panels) != 12 {
		t.Errorf("%d panels, want 12", len(d.Panels))
	}
	for _, p := range d.Panels {
		if p.Title == "" || p.Description == "" || len(p.Targets) == 0 {
			t.Errorf("panel %q has no title, description or target", p.Title)
		}
	}
	all := expressions(d)
	for _, expr := range all {
		if strings.Contains(expr, "$") {
			t.Errorf("%s has a variable that is not declared", expr)
		}
	}
	parse(t, all)
}

// The expressions that docs/observe.md gives can be parsed.
func TestDocumentedExpressions(t *testing.T) {
	var all []string
	for _, m := range regexp.MustCompile("(?m)^\\| [^|]*\\? \\| `([^`]+)` \\|$").FindAllStringSubmatch(string(read(t, "../docs/observe.md")), -1) {
		all = append(all, m[1])
	}
	if len(all) < 7 {
		t.Errorf("it has the expressions %q", all)
	}
	parse(t, all)
}

// parse has promtool check expressions, as recording rules.
func parse(t *testing.T, all []string) {
	t.Helper()
	type object = map[string]any
	var rules []any
	for i, expr := range all {
		rules = append(rules, object{"record": fmt.Sprintf("expression:%d", i), "expr": expr})
	}
	text, err := json.Marshal(object{"groups": []any{object{"name": "expressions", "rules": rules}}}) // which is YAML too
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "expressions.yml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, "check", "rules", file)
}

// described returns the names of all metrics, by the descriptors, and of their series.
func described(t *testing.T) (metrics []string, series map[string]bool) {
	t.Helper()
	c := promoutbox.NewCollector(nil, nil)
	defer c.Close()
	ch := make(chan *prometheus.Desc)
	go func() { c.Describe(ch); close(ch) }()
	series = make(map[string]bool)
	name := regexp.MustCompile(`fqName: "([^"]+)"`)
	for d := range ch {
		n := name.FindStringSubmatch(d.String())[1]
		metrics = append(metrics, n)
		series[n] = true
		if n == "outbox_request_duration_seconds" || n == "outbox_delivery_delay_seconds" {
			series[n+"_bucket"], series[n+"_sum"], series[n+"_count"] = true, true, true
		}
	}
	return metrics, series
}

// Each metric that the dashboard, the rules and the documents name is one of the collector's, and
// the README of this package names all of these.
func TestNames(t *testing.T) {
	metrics, series := described(t)
	if len(metrics) < 20 {
		t.Fatalf("%d metrics", len(metrics))
	}
	named := regexp.MustCompile(`\boutbox_[a-z_]+\b`)
	for _, file := range []string{"dashboard.json", "alerts.yml", "alerts_test.yml", "README.md", "doc.go", "../docs/operations.md", "../docs/observe.md"} {
		names := named.FindAllString(string(read(t, file)), -1)
		for _, n := range names {
			if !series[n] {
				t.Errorf("%s names %s, which does not exist", file, n)
			}
		}
		if len(names) == 0 && file != "../docs/operations.md" {
			t.Errorf("%s names no metric", file)
		}
	}
	for _, n := range metrics {
		if !bytes.Contains(read(t, "README.md"), []byte("`"+n+"`")) {
			t.Errorf("README.md does not name %s", n)
		}
	}
}

// Each alert leads to a heading of docs/operations.md with its name.
func TestRunbooks(t *testing.T) {
	alerts := regexp.MustCompile(`(?m)^      - alert: (\w+)$`).FindAllStringSubmatch(string(read(t, "alerts.yml")), -1)
	urls := regexp.MustCompile(`(?m)^          runbook_url: (\S+)$`).FindAllStringSubmatch(string(read(t, "alerts.yml")), -1)
	if len(alerts) != 10 || len(urls) != len(alerts) {
		t.Fatalf("%d alerts with %d runbooks, want 10", len(alerts), len(urls))
	}
	anchors := make(map[string]bool)
	for _, h := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(string(read(t, "../docs/operations.md")), -1) {
		anchors[strings.ReplaceAll(strings.ToLower(h[1]), " ", "-")] = true
	}
	for i, alert := range alerts {
		anchor := strings.ToLower(alert[1])
		if want := "https://github.com/seed8107221f/outbox/blob/main/docs/operations.md#" + anchor; urls[i][1] != want {
			t.Errorf("%s leads to %s, want %s", alert[1], urls[i][1], want)
		}
		if !anchors[anchor] {
			t.Errorf("docs/operations.md has no heading %s", alert[1])
		}
	}
}
