package customerio_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/seed8107221f/outbox/customerio"
)

// cut trims as the documentation of Row says.
func cut(s string) string {
	return strings.TrimFunc(s, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) || unicode.Is(unicode.Cf, r) })
}

// What ReadCSV takes is what is in the file, byte for byte after the documented trimming, and every
// row that is not taken is told, with its line. What is taken, and written again, reads as the same.
func FuzzReadCSV(f *testing.F) {
	for _, s := range []string{
		"id,email,plan\n1,a@b.c,x\n", "\ufeff\"id\",plan\r\n1,\"x, \"\"y\"\"\r\nz\"\r\n2,w\r\n", "id\r1\r2\r", "id;plan\n1;x", "sep=,\nid\n1",
		"id,plan,,\n1,x,,\n,,,\n", "id,,plan\n1,z,x\n", "ID , email\u00a0\n\u200b1\u00a0, a@b.c\n", "id,created_at\n1,1700000000\n2,2016-04-28\n",
		"id,plan\nid,plan\n1,\xff\n2,\"y\"z\n3,\"", "\xff\xfei\x00d\x00", "i\x00d\x00", "id,plan\n1,a\x00\n2,b\rc\n", "email\n\n \na\n", "id,plan\n1\n2,x,\n3,x,y\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		// What another reader finds in the file, by the line where a row begins.
		wanted := map[int][]string{}
		c := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(in, []byte("\ufeff"))))
		c.FieldsPerRecord = -1
		broken := map[int]bool{}
		var header []string
		for {
			cells, err := c.Read()
			var parse *csv.ParseError
			if errors.As(err, &parse) {
				if header == nil {
					break
				}
				broken[parse.StartLine] = true
				continue
			}
			if err == io.EOF {
				break
			}
			if blank := !strings.ContainsFunc(strings.Join(cells, ""), func(r rune) bool { return !unicode.IsSpace(r) && !unicode.Is(unicode.Cf, r) }); header == nil {
				if !blank {
					header = cells
				}
				continue
			}
			line, _ := c.FieldPos(0)
			wanted[line] = cells
		}
		told := 0
		var taken []customerio.Row
		for row, err := range customerio.ReadCSV(bytes.NewReader(in)) {
			var bad *customerio.RowError
			switch {
			case errors.As(err, &bad):
				if _, there := wanted[bad.Line]; !there && !broken[bad.Line] || !errors.Is(err, customerio.ErrInvalid) {
					t.Fatalf("%q: no row begins in line %d: %v", in, bad.Line, err)
				}
				delete(wanted, bad.Line)
				told++
				continue
			case err != nil:
				if len(taken) > 0 || told > 0 || !errors.Is(err, customerio.ErrInvalid) {
					t.Fatalf("%q: %v after %d rows", in, err, len(taken))
				}
				return
			}
			cells, there := wanted[row.Line]
			if !there {
				t.Fatalf("%q: no row begins in line %d", in, row.Line)
			}
			delete(wanted, row.Line)
			taken = append(taken, row)
			attributes := 0
			for i, text := range cells {
				name := ""
				if i < len(header) {
					name = strings.TrimSpace(header[i])
				}
				lower := strings.ToLower(name)
				switch got, has := row.Attributes[name]; {
				case !utf8.ValidString(text):
					t.Fatalf("%q: line %d is taken and is not UTF-8", in, row.Line)
				case lower == "id" && row.ID != cut(text), lower == "email" && row.Email != cut(text):
					t.Fatalf("%q: line %d: %q became %q or %q", in, row.Line, text, row.ID, row.Email)
				case lower == "id", lower == "email", text == "" && !has:
				case name == "created_at" && has && got != any(text):
					n, err := strconv.ParseInt(cut(text), 10, 64)
					if err != nil || got != any(n) {
						t.Fatalf("%q: line %d: created_at %q became %v", in, row.Line, text, got)
					}
					attributes++
				case !has || got != any(text):
					t.Fatalf("%q: line %d: %q became %v", in, row.Line, text, got)
				default:
					attributes++
				}
			}
			if len(row.Attributes) != attributes {
				t.Fatalf("%q: line %d has %d attributes, want %d", in, row.Line, len(row.Attributes), attributes)
			}
		}
		for line, cells := range wanted {
			if strings.ContainsFunc(strings.Join(cells, ""), func(r rune) bool { return !unicode.IsSpace(r) && !unicode.Is(unicode.Cf, r) }) {
				t.Fatalf("%q: nothing is told of line %d", in, line)
			}
		}
		again(t, in, taken)
	})
}

// again writes rows that were read, and reads them.
func again(t *testing.T, in []byte, taken []customerio.Row) {
	names := map[string]bool{}
	for _, row := range taken {
		for name := range row.Attributes {
			names[name] = true
		}
	}
	for _, row := range taken {
		var b bytes.Buffer
		if customerio.WriteImportCSV(&b, slices.Sorted(maps.Keys(names)), each(row)) != nil {
			continue // its id, address or created_at is not acceptable: an import tells that
		}
		n := 0
		for got, err := range customerio.ReadCSV(&b) {
			if n++; err != nil || got.ID != row.ID || got.Email != row.Email || !maps.Equal(got.Attributes, row.Attributes) {
				t.Fatalf("%q: %+q was written, and reads as %+q, %v", in, row, got, err)
			}
		}
		if n != 1 {
			t.Fatalf("%q: %+q was written, and reads as %d rows", in, row, n)
		}
	}
}

// What Check takes encodes as the same text, and no error tells a value.
func FuzzCheck(f *testing.F) {
	f.Add("17", "a@example.org", "+14155552671", "plan", "basic")
	f.Add(" ", "@", "+0", "created_at", "2016-04-28")
	f.Add("a\x00", "a @b", "1", "email", "a@b")
	f.Add("\xff", "a\u200b@b.c", "+1", "\xff", "\xff")
	f.Add("x", "a@b\u00a0", "+1234567890123456", " ", "\ufffd")
	f.Fuzz(func(t *testing.T, id, address, phone, name, value string) {
		const secret = "QXZJ" // in every value, so that it is known where it comes out
		for i, op := range []customerio.Operation{
			{Type: "person", Action: "identify", Identifiers: customerio.ID(id), Attributes: map[string]any{name: value + secret}},
			{Type: "person", Action: "event", Name: "seen", Identifiers: customerio.Email(address + secret), Attributes: map[string]any{name: []any{value + secret}}},
			{Type: "person", Action: "delete", Identifiers: customerio.Identifiers{Phone: phone}},
			{Type: "object", Action: "identify", Identifiers: customerio.Object("1", id+secret), Attributes: map[string]any{name: map[string]string{value: secret}}},
		} {
			err := op.Check()
			if err != nil {
				if !errors.Is(err, customerio.ErrInvalid) || strings.Contains(strings.ReplaceAll(err.Error(), name, ""), secret) {
					t.Errorf("operation %d: %v", i, err)
				}
				continue
			}
			raw, err := json.Marshal(op)
			if err != nil {
				t.Fatalf("operation %d is taken and cannot be written: %v", i, err)
			}
			var got customerio.Operation
			if err := json.Unmarshal(raw, &got); err != nil || got.Identifiers != op.Identifiers {
				t.Errorf("operation %d: %+q arrives as %+q, %v", i, op.Identifiers, got.Identifiers, err)
			}
			if text, ok := op.Attributes[name].(string); ok && got.Attributes[name] != any(text) {
				t.Errorf("operation %d: %q arrives as %q", i, text, got.Attributes[name])
			}
		}
	})
}
