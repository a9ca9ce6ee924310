package customerio

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"slices"
	"strconv"
	"strings"
)

// A CSVOption changes what [WriteImportCSV] writes.
type CSVOption int

// NoFormulas puts an apostrophe before each text that a spreadsheet would run as a formula: one
// that begins with =, +, -, @, a tab or CR, and is no number
// (https://owasp.org/www-community/attacks/CSV_Injection). The apostrophe is then part of the
// value. So it is for files that people open, not for files that the service imports. Off by
// default.
const NoFormulas CSVOption = 1

// WriteImportCSV writes people as CSV, for an import in the service's dashboard or
// [Client.ImportJob]. The columns are id, email and the given attributes; any other attribute of a
// row is an error. ID and Email are trimmed and checked as in an import.
//
// Texts are written as they are: strings, types made from strings, and what MarshalText and
// MarshalJSON make. Pointers are followed; nil is an empty cell. A time.Time is written as Unix
// seconds. All else is written as JSON. Text that is not UTF-8 is ErrInvalid.
func WriteImportCSV(w io.Writer, attributes []string, rows iter.Seq2[Row, error], options ...CSVOption) error {
	defuse := func([]string) {}
	if slices.Contains(options, NoFormulas) {
		defuse = noFormulas
	}
	out := csv.NewWriter(w)
	header := append([]string{"id", "email"}, attributes...)
	for i, name := range header {
		if name != column(name) || name == "" || strings.IndexFunc(name, hidden) >= 0 || slices.Contains(header[:i], name) {
			return fmt.Errorf("customerio: write CSV: %w", invalid(fmt.Sprintf("column %d", i+1), "has a name of %d bytes that is blank, has what cannot be seen, or comes twice", len(name)))
		}
	}
	defuse(header)
	if err := out.Write(header); err != nil {
		return fmt.Errorf("customerio: write CSV: %w", err)
	}
	n := 0
	for row, err := range rows {
		if err != nil {
			return fmt.Errorf("customerio: write CSV: %w", err)
		}
		n++
		cells, err := row.cells(attributes)
		if err != nil {
			return fmt.Errorf("customerio: write CSV: row %d: %w", n, err)
		}
		defuse(cells)
		if err := out.Write(cells); err != nil {
			return fmt.Errorf("customerio: write CSV: %w", err)
		}
	}
	out.Flush()
	if err := out.Error(); err != nil {
		return fmt.Errorf("customerio: write CSV: %w", err)
	}
	return nil
}

func (r *Row) cells(attributes []string) ([]string, error) {
	id, email, err := r.names()
	if err != nil {
		return nil, err
	}
	cells, known := []string{id, email}, 0
	for _, name := range attributes {
		value, ok := r.Attributes[name]
		if ok {
			known++
		}
		text, err := cell(name, value)
		if err != nil {
			return nil, err
		}
		cells = append(cells, text)
	}
	if known < len(r.Attributes) {
		return nil, invalid("the row", "has %d attributes, %d of them are columns", len(r.Attributes), known)
	}
	return cells, nil
}

// cell is the text of a value: the content of a JSON string, nothing for null, otherwise the JSON.
func cell(name string, value any) (string, error) {
	field := "attributes." + name
	raw, err := encodeAttribute(field, name, value)
	if err != nil {
		return "", err
	}
	var text *string
	if err := json.Unmarshal(raw, &text); err != nil {
		return string(raw), nil
	}
	if text == nil {
		return "", nil
	}
	return *text, nil
}

func noFormulas(cells []string) {
	for i, text := range cells {
		if text == "" || !strings.Contains("=+-@\t\r", text[:1]) {
			continue
		}
		if _, err := strconv.ParseFloat(text, 64); err != nil {
			cells[i] = "'" + text
		}
	}
}
