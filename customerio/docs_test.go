package customerio_test

import (
	"context"
	"go/ast"
	"go/parser"
	"go/token"
	"iter"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/seed8107221f/outbox/customerio"
)

// A table of docs/customerio.md: the cells of its rows, by the name of the column.
type table []map[string]string

// tables reads the tables of the page about this package. No cell may be empty.
func tables(t *testing.T) (all []table) {
	t.Helper()
	text, err := os.ReadFile("../docs/customerio.md")
	if err != nil {
		t.Fatal(err)
	}
	var head []string
	var now table
	for line := range strings.Lines(string(text) + "\n") {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "|") {
			if len(now) > 0 {
				all = append(all, now)
			}
			head, now = nil, nil
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
			if cells[i] == "" {
				t.Errorf("a cell is empty: %s", line)
			}
		}
		switch {
		case head == nil:
			head = cells
		case strings.HasPrefix(cells[0], "---"):
		case len(cells) != len(head):
			t.Errorf("%d cells, the header has %d: %s", len(cells), len(head), line)
		default:
			row := map[string]string{}
			for i, name := range head {
				row[name] = cells[i]
			}
			now = append(now, row)
		}
	}
	return all
}

// exported returns what the package exports: names, fields as Type.Field, and the methods of Client
// by their names.
func exported(t *testing.T) (names, methods map[string]bool) {
	t.Helper()
	names, methods = map[string]bool{}, map[string]bool{}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Recv == nil {
					names[d.Name.Name] = true
				} else if star, ok := d.Recv.List[0].Type.(*ast.StarExpr); ok && star.X.(*ast.Ident).Name == "Client" && d.Name.IsExported() {
					methods[d.Name.Name] = true
				}
			case *ast.GenDecl:
				for _, s := range d.Specs {
					declare(names, s)
				}
			}
		}
	}
	return names, methods
}

func declare(names map[string]bool, s ast.Spec) {
	switch s := s.(type) {
	case *ast.ValueSpec:
		for _, n := range s.Names {
			names[n.Name] = true
		}
	case *ast.TypeSpec:
		names[s.Name.Name] = true
		if st, ok := s.Type.(*ast.StructType); ok {
			for _, field := range st.Fields.List {
				for _, n := range field.Names {
					names[s.Name.Name+"."+n.Name] = true
				}
			}
		}
	}
}

var quoted = regexp.MustCompile("`([^`]+)`")

// quotes returns the names in a cell.
func quotes(cell string) (names []string) {
	for _, m := range quoted.FindAllStringSubmatch(cell, -1) {
		names = append(names, m[1])
	}
	return names
}

// Every name of the page is one that the package has, and every method of the client is on the page.
func TestDocumentedNames(t *testing.T) {
	names, methods := exported(t)
	if len(methods) < 30 || !names["Options.Region"] {
		t.Fatalf("%d methods were found", len(methods))
	}
	missing := map[string]bool{}
	for m := range methods {
		missing[m] = true
	}
	checked := 0
	for _, table := range tables(t) {
		for _, row := range table {
			for _, name := range quotes(row["Here"]) {
				checked++
				if !names[name] && !methods[name] {
					t.Errorf("the page has %s, the package has not", name)
				}
				delete(missing, name)
			}
			if here, ok := row["Here"]; ok && len(quotes(here)) == 0 {
				t.Errorf("no name in %q", here)
			}
		}
	}
	for m := range missing {
		t.Errorf("Client.%s is not on the page", m)
	}
	if checked < 50 {
		t.Errorf("%d names were checked", checked)
	}
}

// The page has every method of the SDK once.
func TestDocumentedSDK(t *testing.T) {
	want := []string{"CustomerIO.Identify", "CustomerIO.Track", "CustomerIO.TrackAnonymous", "CustomerIO.Delete", "CustomerIO.AddDevice",
		"CustomerIO.DeleteDevice", "CustomerIO.MergeCustomers", "CustomerIO.AddPeopleToSegment", "CustomerIO.RemovePeopleFromSegment",
		"APIClient.SendEmail", "APIClient.SendPush", "APIClient.SendSMS", "APIClient.SendWhatsApp", "APIClient.SendInApp",
		"APIClient.SendInboxMessage", "APIClient.TriggerBroadcast"}
	times := map[string]int{}
	for _, table := range tables(t) {
		for _, row := range table {
			if !strings.Contains(row["SDK"], " without an id") {
				for _, name := range quotes(row["SDK"]) {
					times[name]++
				}
			}
		}
	}
	for _, name := range want {
		if times[name] != 1 {
			t.Errorf("%s is there %d times", name, times[name])
		}
	}
}

// Each row of the page that names a request is true: its method sends that request, with the body
// that the API documents.
func TestDocumentedRequests(t *testing.T) {
	who, object := customerio.ID("17"), customerio.Object("1", "acme")
	rel := customerio.Relationship{Identifiers: object}
	msg := func(to string) customerio.Message {
		return customerio.Message{Template: "7", Identifiers: who, To: to, Data: map[string]any{"n": 1}}
	}
	const about = `"identifiers":{"id":"17"}`
	person := func(action, rest string) string {
		return `{"type":"person","action":"` + action + `",` + about + rest + `}`
	}
	message := func(to string) string {
		return `{` + about + `,"message_data":{"n":1}` + to + `,"transactional_message_id":7}`
	}
	const known = `,"id":"ULID","timestamp":NOW`
	calls := map[string]struct {
		call func(context.Context, *customerio.Client) error
		path string // "": the path of the page, with nothing to fill in
		body string
	}{
		"Identify": {func(ctx context.Context, c *customerio.Client) error {
			_, err := c.Identify(ctx, who, map[string]any{"plan": "basic"})
			return err
		},
			"", person("identify", `,"timestamp":NOW,"attributes":{"plan":"basic"}`)},
		"Track": {func(ctx context.Context, c *customerio.Client) error {
			_, err := c.Track(ctx, who, "bought", nil)
			return err
		},
			"", person("event", `,"name":"bought"`+known)},
		"Page": {func(ctx context.Context, c *customerio.Client) error {
			_, err := c.Page(ctx, who, "/prices", nil)
			return err
		},
			"", person("page", `,"name":"/prices"`+known)},
		"Screen": {func(ctx context.Context, c *customerio.Client) error {
			_, err := c.Screen(ctx, who, "home", nil)
			return err
		},
			"", person("screen", `,"name":"home"`+known)},
		"TrackAnonymous": {func(ctx context.Context, c *customerio.Client) error {
			_, err := c.TrackAnonymous(ctx, "a1", "seen", nil)
			return err
		},
			"", `{"type":"person","action":"event","identifiers":{"anonymous_id":"a1"},"name":"seen"` + known + `}`},
		"TrackAnonymous without an id": {func(ctx context.Context, c *customerio.Client) error {
			_, err := c.TrackAnonymous(ctx, "", "invite", map[string]any{"recipient": "a@example.org"})
			return err
		}, "", `{"data":{"recipient":"a@example.org"},"id":"ULID","name":"invite","timestamp":NOW}`},
		"Delete":     {func(ctx context.Context, c *customerio.Client) error { _, err := c.Delete(ctx, who); return err }, "", person("delete", "")},
		"Suppress":   {func(ctx context.Context, c *customerio.Client) error { _, err := c.Suppress(ctx, who); return err }, "", person("suppress", "")},
		"Unsuppress": {func(ctx context.Context, c *customerio.Client) error { _, err := c.Unsuppress(ctx, who); return err }, "", person("unsuppress", "")},
		"AddDevice": {func(ctx context.Context, c *customerio.Client) error {
			_, err := c.AddDevice(ctx, who, customerio.Device{Token: "t", Platform: "ios"})
			return err
		}, "", person("add_device", `,"device":{"token":"t","platform":"ios"}`)},
		"DeleteDevice": {func(ctx context.Context, c *customerio.Client) error {
			_, err := c.DeleteDevice(ctx, who, "t")
			return err
		},
			"", person("delete_device", `,"device":{"token":"t"}`)},
		"Merge": {func(ctx context.Context, c *customerio.Client) error {
			_, err := c.Merge(ctx, who, customerio.CioID("03"))
			return err
		},
			"", `{"type":"person","action":"merge","primary":{"id":"17"},"secondary":{"cio_id":"03"}}`},
		"AddRelationships": {func(ctx context.Context, c *customerio.Client) error {
			_, err := c.AddRelationships(ctx, who, rel)
			return err
		},
			"", person("add_relationships", `,"cio_relationships":[{"identifiers":{"object_type_id":"1","object_id":"acme"}}]`)},
		"DeleteRelationships": {func(ctx context.Context, c *customerio.Client) error {
			_, err := c.DeleteRelationships(ctx, who, rel)
			return err
		},
			"", person("delete_relationships", `,"cio_relationships":[{"identifiers":{"object_type_id":"1","object_id":"acme"}}]`)},
		"IdentifyObject": {func(ctx context.Context, c *customerio.Client) error {
			_, err := c.IdentifyObject(ctx, object, map[string]any{"name": "Acme"})
			return err
		}, "", `{"type":"object","action":"identify","identifiers":{"object_type_id":"1","object_id":"acme"},"attributes":{"name":"Acme"}}`},
		"DeleteObject": {func(ctx context.Context, c *customerio.Client) error {
			_, err := c.DeleteObject(ctx, object)
			return err
		},
			"", `{"type":"object","action":"delete","identifiers":{"object_type_id":"1","object_id":"acme"}}`},
		"Put": {func(ctx context.Context, c *customerio.Client) error {
			_, err := c.Put(ctx, customerio.Operation{Type: customerio.TypePerson, Action: customerio.ActionSuppress, Identifiers: customerio.Phone("+1555")})
			return err
		}, "", `{"type":"person","action":"suppress","identifiers":{"phone":"+1555"}}`},
		"Import": {func(ctx context.Context, c *customerio.Client) error {
			var rows iter.Seq2[customerio.Row, error] = func(yield func(customerio.Row, error) bool) { yield(customerio.Row{ID: "17"}, nil) }
			_, err := c.Import(ctx, rows, nil)
			return err
		}, "", person("identify", `,"timestamp":NOW`)},
		"AddPeopleToSegment": {func(ctx context.Context, c *customerio.Client) error {
			_, err := c.AddPeopleToSegment(ctx, 7, who)
			return err
		},
			"/api/v1/segments/7/add_customers?id_type=id", `{"ids":["17"]}`},
		"RemovePeopleFromSegment": {func(ctx context.Context, c *customerio.Client) error {
			_, err := c.RemovePeopleFromSegment(ctx, 7, who)
			return err
		},
			"/api/v1/segments/7/remove_customers?id_type=id", `{"ids":["17"]}`},
		"SendEmail": {func(ctx context.Context, c *customerio.Client) error {
			_, err := c.SendEmail(ctx, msg("a@example.org"))
			return err
		}, "", message(`,"to":"a@example.org"`)},
		"SendPush": {func(ctx context.Context, c *customerio.Client) error { _, err := c.SendPush(ctx, msg("t")); return err }, "", message(`,"to":"t"`)},
		"SendSMS": {func(ctx context.Context, c *customerio.Client) error {
			_, err := c.SendSMS(ctx, msg("+1555"))
			return err
		}, "", message(`,"to":"+1555"`)},
		"SendWhatsApp": {func(ctx context.Context, c *customerio.Client) error {
			_, err := c.SendWhatsApp(ctx, msg("+1555"))
			return err
		}, "", message(`,"to":"+1555"`)},
		"SendInApp": {func(ctx context.Context, c *customerio.Client) error { _, err := c.SendInApp(ctx, msg("")); return err }, "", message("")},
		"SendInboxMessage": {func(ctx context.Context, c *customerio.Client) error {
			_, err := c.SendInboxMessage(ctx, msg(""))
			return err
		}, "", message("")},
		"TriggerBroadcast": {func(ctx context.Context, c *customerio.Client) error {
			_, err := c.TriggerBroadcast(ctx, 12, customerio.Broadcast{IDs: []string{"17"}})
			return err
		}, "/v1/campaigns/12/triggers", `{"ids":["17"]}`},
		"ImportJob": {func(ctx context.Context, c *customerio.Client) error {
			_, err := c.ImportJob(ctx, customerio.Job{Name: "n", URL: "https://example.org/a.csv"})
			return err
		}, "", `{"import":{"data_file_url":"https://example.org/a.csv","identifier":"id","name":"n","type":"people"}}`},
		"CheckCredentials": {func(ctx context.Context, c *customerio.Client) error { return c.CheckCredentials(ctx) }, "", ""},
		"Do": {func(ctx context.Context, c *customerio.Client) error {
			req, err := http.NewRequestWithContext(ctx, "GET", "/v1/segments", nil)
			if err != nil {
				return err
			}
			resp, err := c.Do(req)
			if err != nil {
				return err
			}
			return resp.Body.Close()
		}, "", ""},
	}
	now, event := regexp.MustCompile(`"timestamp":9466848\d\d\b`), regexp.MustCompile(`"id":"[0-9A-Z]{26}"`)
	hosts := map[string]string{"Track v1": "/api/v1/", "Track v2": "/api/v2/", "App": "/v1/"}
	var seen []string
	for _, table := range tables(t) {
		for _, row := range table {
			request, ok := row["Request"]
			if !ok {
				continue
			}
			name := strings.Join(quotes(row["Here"]), " ")
			if strings.HasSuffix(row["SDK"], " without an id") {
				name += " without an id"
			}
			seen = append(seen, name)
			c, ok := calls[name]
			if !ok {
				t.Errorf("no test of %s", name)
				continue
			}
			method, path, _ := strings.Cut(strings.Join(quotes(request), ""), " ")
			if prefix := hosts[row["API"]]; prefix == "" || !strings.HasPrefix(path, prefix) {
				t.Errorf("%s: %s is no path of %s", name, path, row["API"])
			}
			if c.path != "" {
				fill := regexp.MustCompile("^" + regexp.MustCompile(`\\\{[a-z]+\\\}`).ReplaceAllString(regexp.QuoteMeta(path), `\d+`) + `(\?.*)?$`)
				if !fill.MatchString(c.path) {
					t.Errorf("%s: the page has %s, the test %s", name, path, c.path)
				}
				path = c.path
			}
			bubble(t, nil, func(t *testing.T, w *world) {
				requests := w.wire()
				client := w.open(nil)
				if err := c.call(t.Context(), client); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				w.flush(client)
				want := strings.TrimSpace(method + " " + path + " " + c.body)
				got := requests()
				if len(got) == 0 || len(got) > 1 && name != "ImportJob" {
					t.Fatalf("%s sent %q", name, got)
				}
				if first := event.ReplaceAllString(now.ReplaceAllString(got[0], `"timestamp":NOW`), `"id":"ULID"`); first != want {
					t.Errorf("%s:\ngot  %s\nwant %s", name, first, want)
				}
				if len(dead(t, client, customerio.LaneTrack))+len(dead(t, client, customerio.LaneTransactional))+len(dead(t, client, customerio.LaneBroadcast)) > 0 {
					t.Errorf("%s: the service refused it", name)
				}
			})
		}
	}
	for name := range calls {
		if !slices.Contains(seen, name) {
			t.Errorf("%s is not on the page", name)
		}
	}
}
