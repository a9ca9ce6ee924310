package customerio_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/seed8107221f/outbox/customerio"
)

// utf16 is text in that encoding, little or big end first, with or without a mark.
func utf16(text string, big, mark bool) string {
	var b strings.Builder
	if mark {
		text = "\ufeff" + text
	}
	for _, r := range text {
		if big {
			b.WriteByte(byte(r >> 8))
		}
		b.WriteByte(byte(r))
		if !big {
			b.WriteByte(byte(r >> 8))
		}
	}
	return b.String()
}

// A file that is not what ReadCSV reads is an error that names the cause, also where all of it looks
// like a header.
func TestCSVOfAnotherKind(t *testing.T) {
	for _, row := range []struct{ csv, want string }{
		{"id,plan\r1,x\r2,y\r", "end with CR alone"},
		{"email\ra@b.c\rd@e.f", "end with CR alone"},
		{"id\r", ""}, // the end of the line, and of the file
		{utf16("id,plan\n1,x\n", false, true), "UTF-16"},
		{utf16("id,plan\n1,x\n", true, true), "UTF-16"},
		{utf16("id,plan\n1,x\n", false, false), "UTF-16"},
		{utf16("id,plan", true, false), "UTF-16"},
		{"id;plan\n1;x\n", "semicolons"},
		{"\"id\";\"plan\"\n\"1\";\"x\"\n", "semicolons"},
		{"id;plan", "semicolons"},
		{"id\tplan\n1\tx\n", "tabs"},
		{"id\tplan", "tabs"},
		{"sep=,\nid,plan\n1,x\n", "sep= line"},
		{"\ufeffSEP=;\r\nid;plan\r\n1;x\r\n", "sep= line"},
		{"id,pl\u00e4n\xff\n1,x\n", "UTF-8"},
		{"id,\u200bplan\n1,x\n", "column 2 has the character U+200B"},
		{"id,pl\x07an\n1,x\n", "column 2 has the character U+0007"},
		{"\ufeff\ufeffid,plan\n1,x\n", "column 1 has the character U+FEFF"},
		{"id,plan\n1,x\r2,y\r3,z\r", "3 columns, the header has 2|CR"},
		{"id,plan\n1,\"x\ry\"\n", "line 2: column 2 has a CR without LF"},
		{"id,plan\n1,x\x00\n", "line 2: column 2 has the character U+0000"},
		{"id,plan\n1,x\u0085\n", "line 2: column 2 has the character U+0085"},
		{"id,plan\n\x00\x00\x00\x00", "line 2: column 1 has the character U+0000"},
		{"\r", "it is empty"},
		{" \r \r", "it is empty"},
		{",,\n", "it is empty"},
		{"id\n1\r2\r3\n", "line 2: column 1 has a CR without LF"},
	} {
		var err error
		rows := 0
		for _, e := range customerio.ReadCSV(strings.NewReader(row.csv)) {
			if e == nil {
				rows++
			}
			err = errors.Join(err, e)
		}
		if row.want == "" {
			if err != nil {
				t.Errorf("%q: %v", row.csv, err)
			}
			continue
		}
		found := false
		for text := range strings.SplitSeq(row.want, "|") {
			found = found || err != nil && strings.Contains(brief(err), text)
		}
		if rows != 0 || !errors.Is(err, customerio.ErrInvalid) || !found {
			t.Errorf("%q: %d rows, %v, want %q", row.csv, rows, err, row.want)
		}
	}
}

// What is around an id or an address, and cannot be seen, does not make another person; what is
// inside makes the row invalid. It is the same for rows that do not come from CSV.
func TestImportTrims(t *testing.T) {
	around := []string{" ", "\u00a0", "\t", "\u2003", "\u3000", "\u200b", "\ufeff", "\u2060", "\u200e", "\u00ad", " \u200b\u00a0"}
	bubble(t, nil, func(t *testing.T, w *world) {
		c := w.open(nil)
		var csv strings.Builder
		csv.WriteString("id,email,note\n")
		var list []customerio.Row
		for i, s := range around {
			fmt.Fprintf(&csv, "%si%d%s,%sa%d@b.c%s,%sn%s\n", s, i, s, s, i, s, s, s)
			list = append(list, customerio.Row{ID: fmt.Sprintf("%sr%d%s", s, i, s), Email: s + "r@b.c" + s, Attributes: map[string]any{"note": s}})
		}
		if p, err := c.Import(t.Context(), customerio.ReadCSV(strings.NewReader(csv.String())), nil); err != nil || p.Put != len(around) {
			t.Fatalf("%+v, %v", p, err)
		}
		if p, err := c.Import(t.Context(), each(list...), nil); err != nil || p.Put != len(around) {
			t.Fatalf("%+v, %v", p, err)
		}
		for i, s := range around {
			if a := w.Attributes(fmt.Sprint("i", i)); a["email"] != fmt.Sprintf("a%d@b.c", i) || a["note"] != s+"n"+s {
				t.Errorf("%+q: %+q", s, a)
			}
			if a := w.Attributes(fmt.Sprint("r", i)); a["email"] != "r@b.c" || a["note"] != s {
				t.Errorf("%+q: %+q", s, a)
			}
		}
		for _, r := range []customerio.Row{{ID: "1\u200b7"}, {ID: "1\x007"}, {ID: "\u200b"}, {Email: "a\u00ad@b.c"}, {Email: "a@b\u00a0.c"}, {ID: "1", Email: "a"}} {
			if p, err := c.Import(t.Context(), each(r), nil); !errors.Is(err, customerio.ErrInvalid) || p.Put != 0 {
				t.Errorf("%+q: %+v, %v", r, p, err)
			}
		}
		// The same person twice, once with spaces.
		p, err := c.Import(t.Context(), customerio.ReadCSV(strings.NewReader("id\nx\nx\u00a0\n")), nil)
		if p.Put != 1 || err == nil || !strings.Contains(err.Error(), "line 3: the row has the id or email of line 2") {
			t.Errorf("%+v, %v", p, err)
		}
	})
}

// Columns and rows that a spreadsheet left empty are none. A value without a column is told.
func TestCSVOfASpreadsheet(t *testing.T) {
	for _, row := range []struct{ csv, rows, want string }{
		{"id,plan,,\n1,x,,\n2,y,,\n,,,\n,,,\n", "1x 2y", ""},
		{"id,,plan\n1,,x\n", "1x", ""},
		{"id,plan\n1,x,,\n2,y\n", "1x 2y", ""},
		{"id,plan,,\n1,x\n", "1x", ""},
		{",,\n\u00a0,,\nid,plan,\n1,x\n", "1x", ""},
		{"id,plan\n \u00a0,\u200b\n1,x\n", "1x", ""},
		{"id,plan,,\n1,x,,z\n2,y\n", "2y", "line 2: 4 columns, the header has 2"},
		{"id,,plan\n1,z,x\n2,,y\n", "2y", "line 2: column 2 has no name in the header, and a value of 1 bytes"},
		{"id,plan\n1,x\nid,plan\n2,y\n", "1x 2y", "line 3: the row repeats the header"},
		{"id,plan\n1,x\n\ufeffID, plan \n2,y\n", "1x 2y", "line 3: the row repeats the header"},
		{"id\n1\nid\n", "1", "line 3: the row repeats the header"},
		{"id,plan\nid,x\n", "idx", ""},
	} {
		var rows, errs []string
		for r, err := range customerio.ReadCSV(strings.NewReader(row.csv)) {
			if err != nil {
				errs = append(errs, brief(err))
				continue
			}
			plan, _ := r.Attributes["plan"].(string)
			rows = append(rows, r.ID+plan)
		}
		if got := strings.Join(rows, " "); got != row.rows || (len(errs) > 0) != (row.want != "") || row.want != "" && !strings.Contains(errs[0], row.want) {
			t.Errorf("%q: rows %q, want %q; errors %q, want %q", row.csv, got, row.rows, errs, row.want)
		}
	}
}

type color struct{ r, g, b int }

func (c color) MarshalText() ([]byte, error) {
	return fmt.Appendf(nil, "#%02x%02x%02x", c.r, c.g, c.b), nil
}

// In a file, created_at is a whole number or nothing.
func TestCSVCreatedAt(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		c := w.open(nil)
		p, err := c.Import(t.Context(), customerio.ReadCSV(strings.NewReader("id,created_at\n1,2016-04-28\n2, 1461866400 \n3,1461866400000\n4,\n5,1461866400\n")), nil)
		if p.Put != 3 || err == nil || !strings.Contains(err.Error(), "line 2: attributes.created_at must be Unix seconds") || !strings.Contains(err.Error(), "line 4: ") {
			t.Errorf("%+v, %v", p, err)
		}
		if a, b := w.Attributes("2")["created_at"], w.Attributes("5")["created_at"]; a != 1461866400.0 || b != a {
			t.Errorf("%v, %v", a, b)
		}
	})
}

// A cell is text, not its JSON: whatever type it has, and behind a pointer. Nothing is an empty cell.
func TestCSVCells(t *testing.T) {
	pro, n := plan("pro"), 7
	at := time.Unix(1461866400, 0)
	var none *plan
	for _, row := range []struct {
		value any
		want  string
	}{
		{"pro", "pro"}, {plan("pro"), "pro"}, {&pro, "pro"}, {none, ""}, {nil, ""}, {(*int)(nil), ""}, {&n, "7"},
		{color{1, 2, 255}, "#0102ff"}, {&color{}, "#000000"}, {at, "1461866400"}, {&at, "1461866400"}, {(*time.Time)(nil), ""},
		{json.RawMessage(`"pro"`), "pro"}, {json.RawMessage(`null`), ""}, {json.RawMessage(`{"a":1}`), `"{""a"":1}"`},
		{json.Number("1.50"), "1.50"}, {big.NewInt(12), "12"}, {true, "true"}, {`"quoted"`, `"""quoted"""`}, {"null", "null"},
		{[]string{"a"}, `"[""a""]"`}, {"<&>\ufffd", "<&>\ufffd"}, {"=1+1", "=1+1"},
	} {
		var b strings.Builder
		err := customerio.WriteImportCSV(&b, []string{"v"}, each(customerio.Row{ID: "1", Attributes: map[string]any{"v": row.value}}))
		if want := "id,email,v\n1,," + row.want + "\n"; err != nil || b.String() != want {
			t.Errorf("%#v: got %q, want %q, %v", row.value, b.String(), want, err)
		}
	}
	for want, r := range map[string]customerio.Row{
		"attributes.v holds text that is not UTF-8": {ID: "1", Attributes: map[string]any{"v": "hush\xff"}},
		"attributes.v is the zero time":             {ID: "1", Attributes: map[string]any{"v": time.Time{}}},
		"id has the character U+200B":               {ID: "hu\u200bsh"},
		"email has 4 bytes and is no email":         {Email: "hush"},
	} {
		err := customerio.WriteImportCSV(io.Discard, []string{"v"}, each(r))
		if !errors.Is(err, customerio.ErrInvalid) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hush") {
			t.Errorf("%v, want %q", err, want)
		}
	}
	for _, columns := range [][]string{{"id"}, {"Email"}, {"v", "v"}, {""}, {"v\r"}, {" v"}} {
		if err := customerio.WriteImportCSV(io.Discard, columns, each()); !errors.Is(err, customerio.ErrInvalid) {
			t.Errorf("columns %q: %v", columns, err)
		}
	}
}

// On demand, what a spreadsheet would run is text. Numbers stay numbers.
func TestNoFormulas(t *testing.T) {
	cells := map[string]any{"a": "=1+1", "b": "@x", "c": "-cmd", "d": "+14155552671", "e": -5, "f": "a=1", "g": "\t=1"}
	var b strings.Builder
	names := []string{"a", "b", "c", "d", "e", "f", "g"}
	err := customerio.WriteImportCSV(&b, names, each(customerio.Row{ID: "=1", Attributes: cells}), customerio.NoFormulas)
	if want := "id,email,a,b,c,d,e,f,g\n'=1,,'=1+1,'@x,'-cmd,+14155552671,-5,a=1,'\t=1\n"; err != nil || b.String() != want {
		t.Errorf("got %q, want %q, %v", b.String(), want, err)
	}
}
