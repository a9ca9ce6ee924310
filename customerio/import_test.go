package customerio_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/seed8107221f/outbox/customerio"
	"github.com/seed8107221f/outbox/customerio/customeriotest"
	"github.com/seed8107221f/outbox/internal/campaign"
)

// people is a CSV of n rows.
func people(n int) string {
	var b strings.Builder
	b.WriteString("id,email,plan\n")
	for i := range n {
		fmt.Fprintf(&b, "i%d,i%d@example.org,basic\n", i, i)
	}
	return b.String()
}

// Thousands of people arrive, each once, in batches of 500, which take less than a second of sending at 50
// requests a second. Progress is told, and ends complete.
func TestImport(t *testing.T) {
	t.Parallel()
	n := campaign.Pick(10_000, 5_000, 2_000)
	bubble(t, nil, func(t *testing.T, w *world) {
		c := w.open(nil)
		var told []customerio.Progress
		began := time.Now()
		p, err := c.Import(t.Context(), customerio.ReadCSV(strings.NewReader(people(n))), &customerio.ImportOptions{
			OnProgress: func(p customerio.Progress) { told = append(told, p) },
		})
		took := time.Since(began)
		if err != nil || p.Rows != n || p.Put != n || p.Delivered != n || p.Refused != 0 || !p.Complete || p.Left != 0 {
			t.Errorf("%+v, %v", p, err)
		}
		if took > 4*time.Second || p.Rate < 2500 {
			t.Errorf("it took %v, at %v a second", took, p.Rate)
		}
		if len(told) == 0 || told[len(told)-1] != p {
			t.Errorf("told were %+v, the end is %+v", told, p)
		}
		v := w.Verdict()
		if v.Unique != n || v.Duplicates != 0 || v.Requests > n/100 {
			t.Errorf("%d requests: %v", v.Requests, v)
		}
		got := w.Attributes("i77")
		if len(got) != 2 || got["email"] != "i77@example.org" || got["plan"] != "basic" {
			t.Errorf("attributes: %v", got)
		}
		// A second call puts nothing; rows that were added at the end are put.
		p, err = c.Import(t.Context(), customerio.ReadCSV(strings.NewReader(people(n))), nil)
		if err != nil || p.Put != n || p.Delivered != n {
			t.Errorf("%+v, %v", p, err)
		}
		p, err = c.Import(t.Context(), customerio.ReadCSV(strings.NewReader(people(n+5))), nil)
		if s := c.Stats()[customerio.LaneImport]; err != nil || p.Put != n+5 || int(s.Put) != n+5 {
			t.Errorf("%+v, %v, %d in the lane", p, err, s.Put)
		}
		w.check(c)
	})
}

// Whatever is wrong with a row or with the header is told with its line, and the other rows are put.
func TestReadCSV(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name, csv string
		put       []string // "id/email/plan"
		want      []string // in the error
	}{
		{"plain", "id,email,plan\n1,a@b.c,x\n", []string{"1/a@b.c/x"}, nil},
		{"mark, CRLF, quotes", "\ufeff\"id\",plan\r\n1,\"x, \"\"y\"\"\r\nz\"\r\n2,w\r\n", []string{"1//x, \"y\"\nz", "2//w"}, nil},
		{"no end of line", "email\na@b.c", []string{"/a@b.c/"}, nil},
		{"letters and spaces in the header", " ID ,Email,plan\n1,a@b.c,x\n", []string{"1/a@b.c/x"}, nil},
		{"blank lines", "id\n\n1\n\n2\n", []string{"1//", "2//"}, nil},
		{"neither id nor email", "id,email,plan\n1,,x\n,,x\n,a@b.c,\n", []string{"1//x", "/a@b.c/"}, []string{"line 3: the row has neither id nor email"}},
		{"columns", "id,plan\n1\n2,x,y\n3,x\n", []string{"3//x"}, []string{"line 2: 1 columns, the header has 2", "line 3: 3 columns"}},
		{"quotes", "id,plan\n1,a\"b\n2,x\n3,\"y\"z\n4,w\n", []string{"2//x", "4//w"}, []string{"line 2: line 2: bare", "line 4: line 4: extraneous"}},
		{"an open quote", "id,plan\n1,x\n2,\"y\n3,z\n", []string{"1//x"}, []string{"line 3: "}},
		{"twice", "id\n1\n2\n1\n", []string{"1//", "2//"}, []string{"line 4: the row has the id or email of line 2"}},
		{"twice by address", "email\nA@b.c\na@B.c\n", []string{"/A@b.c/"}, []string{"line 3: the row has the id or email of line 2"}},
		{"ids have a case", "id\nA\na\n", []string{"A//", "a//"}, nil},
		{"not UTF-8", "id,plan\n1,\xe4\n2,x\n", []string{"2//x"}, []string{"line 2: column 2 has 1 bytes that are not UTF-8"}},
		{"too long", "id,plan\n" + strings.Repeat("i", 151) + ",x\n2," + strings.Repeat("x", 1001) + "\n3,x\n", []string{"3//x"},
			[]string{"line 2: identifiers.id has 151 bytes, at most 150", "line 3: attributes.plan has a value of 1001 bytes, at most 1000"}},
		{"no id column", "name,plan\n1,2\n", nil, []string{"among its 2 columns is neither id nor email"}},
		{"columns of one name", "id,plan,plan\n1,2,3\n", nil, []string{"column 3 has the name of an earlier one"}},
		{"a column without a name", "id,,plan\n1,2,3\n", nil, []string{"column 2 has no name"}},
		{"empty", "", nil, []string{"it is empty"}},
		{"header alone", "id\n", nil, nil},
		{"a row without end", "id,plan\n1,\"" + strings.Repeat("x\n", 1<<20), nil, []string{"a row of more than 1048576 bytes"}},
	} {
		bubble(t, nil, func(t *testing.T, w *world) {
			c := w.open(nil)
			var told []string
			p, err := c.Import(t.Context(), customerio.ReadCSV(strings.NewReader(row.csv)), &customerio.ImportOptions{
				OnInvalid: func(err error) { told = append(told, err.Error()) },
			})
			var got []string
			for _, a := range w.Record() {
				text := func(name string) string { s, _ := a.Attributes[name].(string); return s }
				id, email := a.Subject, text("email")
				if strings.Contains(id, "@") {
					id, email = "", id
				}
				got = append(got, id+"/"+email+"/"+text("plan"))
			}
			if strings.Join(got, "|") != strings.Join(row.put, "|") || p.Put != len(row.put) {
				t.Errorf("%s: got %q, want %q, %+v", row.name, got, row.put, p)
			}
			if (err == nil) != (row.want == nil) {
				t.Errorf("%s: %v", row.name, err)
			}
			for _, text := range row.want {
				if err != nil && !strings.Contains(err.Error(), text) {
					t.Errorf("%s: %v, want %q", row.name, err, text)
				}
			}
			if p.Invalid != len(told) {
				t.Errorf("%s: %d invalid, told were %q", row.name, p.Invalid, told)
			}
		})
	}
}

// created_at arrives as a number, other cells as texts.
func TestCSVNumbers(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		if _, err := w.open(nil).Import(t.Context(), customerio.ReadCSV(strings.NewReader("id,created_at,zip\n1,1700000000,01234\n")), nil); err != nil {
			t.Fatal(err)
		}
		if got := w.Attributes("1"); got["created_at"] != 1.7e9 || got["zip"] != "01234" {
			t.Errorf("%v", got)
		}
	})
}

// An import that is interrupted anywhere, by a crash or by its context, goes on behind the last row
// that was put, and puts none twice.
func TestImportResumes(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, w *world) {
		w.SetFaults(always(customeriotest.Fault{Status: 503})) // so that what is put is still there to be counted
		// Rows that a run puts before it is interrupted, in whole commits.
		each := 1_000 * campaign.Pick(2, 1, 1)
		last := campaign.Pick(4, 4, 2) // run
		all := last*each + 1_000 + 100*last
		csv := people(all) + "\n,,x\n" + "i3,again@example.org,x\n"
		for run := range last + 1 {
			c := w.open(nil)
			ctx, cancel := context.WithCancel(t.Context())
			n := 0
			rows := func(yield func(customerio.Row, error) bool) {
				for row, err := range customerio.ReadCSV(strings.NewReader(csv)) {
					if n++; n == (each+100)*(run+1) {
						cancel()
					}
					if !yield(row, err) {
						return
					}
				}
			}
			p, err := c.Import(ctx, rows, &customerio.ImportOptions{NoWait: true})
			cancel()
			s := c.Stats()[customerio.LaneImport]
			if run < last && (!errors.Is(err, context.Canceled) || p.Put%1000 != 0 || p.Put < each*(run+1)) {
				t.Errorf("run %d: %+v, %v", run, p, err)
			}
			if run == last && (p.Put != all || p.Invalid != 2 || err == nil || !strings.Contains(err.Error(), fmt.Sprint("line ", all+4))) {
				t.Errorf("run %d: %+v, %v", run, p, err)
			}
			if int(s.Put) != p.Put {
				t.Errorf("run %d: %d in the lane, %d told", run, s.Put, p.Put)
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
		w.SetFaults(customeriotest.Faults{})
		c := w.open(nil)
		p, err := c.Import(t.Context(), customerio.ReadCSV(strings.NewReader(csv)), nil)
		if !errors.Is(err, customerio.ErrInvalid) || p.Put != all || p.Delivered != all || p.Invalid != 2 {
			t.Errorf("%+v, %v", p, err)
		}
		if v := w.Verdict(); v.Unique != all {
			t.Error(v)
		}
		w.check(c)
	})
}

// An input that is not what was put before is refused, unless it has a name of its own.
func TestImportOfAnotherInput(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		c := w.open(nil)
		run := func(csv, name string) (customerio.Progress, error) {
			return c.Import(t.Context(), customerio.ReadCSV(strings.NewReader(csv)), &customerio.ImportOptions{Name: name})
		}
		if _, err := run("id\n1\n2\n3\n", ""); err != nil {
			t.Fatal(err)
		}
		for _, csv := range []string{"id\n1\n2\n", "id\n1\n7\n3\n4\n"} {
			if p, err := run(csv, ""); !errors.Is(err, customerio.ErrInputChanged) {
				t.Errorf("%+v, %v", p, err)
			}
		}
		if p, err := run("id\n1\n7\n3\n4\n", "of today"); err != nil || p.Put != 4 || p.Delivered != 4 {
			t.Errorf("%+v, %v", p, err)
		}
		if _, err := run("id\n1\n", strings.Repeat("n", 201)); !errors.Is(err, customerio.ErrInvalid) {
			t.Errorf("a name of 201 bytes: %v", err)
		}
		if s := c.Stats()[customerio.LaneImport]; s.Put != 7 {
			t.Errorf("%d put, want 3 and 4", s.Put)
		}
	})
}

// An error of the input ends the import; what was put before is delivered.
func TestImportOfABrokenInput(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		c := w.open(nil)
		broken := errors.New("broken")
		in := io.MultiReader(strings.NewReader(people(1500)), errReader{broken})
		if p, err := c.Import(t.Context(), customerio.ReadCSV(in), nil); !errors.Is(err, broken) || p.Put != 1000 || p.Complete {
			t.Errorf("%+v, %v", p, err)
		}
		w.flush(c)
		if v := w.Verdict(); v.Unique != 1000 {
			t.Error(v)
		}
	})
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

// An import costs no memory for its rows.
func TestImportMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("fills the window of ids: not with -short")
	}
	const full = 105_000 // rows after which the window of ids is full; without OUTBOX_LONG=1 they are not put
	whole := full + campaign.Pick(145_000, 20_000, 0)
	c, err := customerio.Open(t.TempDir()+"/import.db", &customerio.Options{SiteID: "site", TrackKey: "track-key", TrackURL: "http://127.0.0.1:1"}) // where nobody answers
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	var early, late uint64
	n := 0
	rows := iter.Seq2[customerio.Row, error](func(yield func(customerio.Row, error) bool) {
		for n = range whole {
			switch n {
			case full:
				early = heap()
			case whole - 1:
				late = heap()
			}
			plan := "plan"
			if n < full && !campaign.Long() {
				plan = " " // is refused, after the window has been asked
			}
			if !yield(customerio.Row{ID: fmt.Sprint("i", n), Attributes: map[string]any{plan: "basic"}}, nil) {
				return
			}
		}
	})
	put := whole
	if !campaign.Long() {
		put -= full
	}
	if p, err := c.Import(t.Context(), rows, &customerio.ImportOptions{NoWait: true}); (err == nil) != campaign.Long() || p.Put != put || p.Rows != whole {
		t.Fatalf("%+v, %v", p, err)
	}
	// A row that is kept takes some 350 bytes. The rest of the heap moves by up to two megabytes.
	more := int64(whole - full)
	if grown := int64(late) - int64(early); grown > 3<<20+35*more {
		t.Errorf("%d rows more take %d bytes", more, grown)
	}
}

// What is written for the dashboard reads as what it was.
func TestWriteImportCSV(t *testing.T) {
	rows := func(list ...customerio.Row) iter.Seq2[customerio.Row, error] {
		return func(yield func(customerio.Row, error) bool) {
			for _, r := range list {
				if !yield(r, nil) {
					return
				}
			}
		}
	}
	var b strings.Builder
	err := customerio.WriteImportCSV(&b, []string{"plan", "n"}, rows(
		customerio.Row{ID: "1", Email: "a@b.c", Attributes: map[string]any{"plan": "x, \"y\"\nz", "n": 7}},
		customerio.Row{Email: "d@e.f", Attributes: map[string]any{"n": []int{1, 2}}},
		customerio.Row{ID: "3"}))
	want := "id,email,plan,n\n1,a@b.c,\"x, \"\"y\"\"\nz\",7\n,d@e.f,,\"[1,2]\"\n3,,,\n"
	if err != nil || b.String() != want {
		t.Errorf("got %q, want %q, %v", b.String(), want, err)
	}
	for text, r := range map[string]customerio.Row{
		"neither id nor email":           {},
		"1 attributes, 0 of them are":    {ID: "1", Attributes: map[string]any{"other": 1}},
		"attributes.n cannot be written": {ID: "1", Attributes: map[string]any{"n": func() {}}},
	} {
		if err := customerio.WriteImportCSV(io.Discard, []string{"n"}, rows(r)); !errors.Is(err, customerio.ErrInvalid) || !strings.Contains(err.Error(), text) {
			t.Errorf("%q: %v", text, err)
		}
	}
	broken := errors.New("broken")
	fails := func(yield func(customerio.Row, error) bool) { yield(customerio.Row{}, broken) }
	if err := customerio.WriteImportCSV(io.Discard, nil, fails); !errors.Is(err, broken) {
		t.Error(err)
	}
	if f, err := os.Open(os.DevNull); err == nil {
		defer f.Close()
		if err := customerio.WriteImportCSV(f, nil, rows(customerio.Row{ID: "1"})); err == nil {
			t.Error("a file open for reading alone was written")
		}
	}
}

// An import that was complete before another one swallows nothing: its rows are put again.
func TestImportOfAnEarlierInput(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		c := w.open(nil)
		a, b := "id,plan\n1,basic\n2,basic\n", "id,plan\n2,pro\n1,pro\n"
		for run, csv := range []string{a, b, a, b, b + "3,pro\n"} {
			p, err := c.Import(t.Context(), customerio.ReadCSV(strings.NewReader(csv)), nil)
			if want := 2 + run/4; err != nil || p.Put != want || p.Delivered != want || !p.Complete {
				t.Errorf("run %d: %+v, %v", run, p, err)
			}
			if plan := w.Attributes("1")["plan"]; fmt.Sprint(plan) != []string{"basic", "pro"}[min(run, 3)%2] {
				t.Errorf("run %d: the plan is %v", run, plan)
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
			c = w.open(nil)
		}
		if s := c.Stats()[customerio.LaneImport]; s.Put != 9 {
			t.Errorf("%d put, want four times two, and the row that was added", s.Put)
		}
	})
}
