package customerio

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A Row is one person of an import. ID names the person, or Email if ID is "".
type Row struct {
	// Line is the line of the input where the row begins, counted from 1. 0: Import counts the rows.
	Line int
	ID   string
	// Email becomes an attribute if there is an ID.
	Email string
	// Attributes are the other attributes of the person.
	Attributes map[string]any
}

// A RowError is why a row is not put. The import goes on with the next row.
type RowError struct {
	Line int
	Err  error
}

func (e *RowError) Error() string { return fmt.Sprintf("line %d: %v", e.Line, e.Err) }

// Unwrap returns Err.
func (e *RowError) Unwrap() error { return e.Err }

// maxRow is the longest row of a CSV in bytes. It ends a row whose quote is never closed.
const maxRow = 1 << 20

const byteOrderMark = "\ufeff"

// ReadCSV reads people from CSV (RFC 4180), row by row, in input of any size. The first line names
// the columns: id, email, or both, in any case; all others are attributes. A byte order mark is
// skipped. Lines end with LF or CRLF.
//
// Values are strings, except a whole number in created_at. Empty cells are left out. To convert
// other values, range over ReadCSV and yield changed rows. A malformed row yields a [RowError]. Any
// other error is the last value.
func ReadCSV(r io.Reader) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		in := &capped{r: r, left: maxRow}
		text := bufio.NewReader(in)
		if mark, _ := text.Peek(len(byteOrderMark)); string(mark) == byteOrderMark {
			text.Discard(len(byteOrderMark))
		}
		c := csv.NewReader(text)
		c.FieldsPerRecord, c.ReuseRecord = -1, true
		columns, err := readHeader(c)
		if err != nil {
			yield(Row{}, err)
			return
		}
		for {
			in.left = maxRow
			cells, err := c.Read()
			var parse *csv.ParseError
			switch {
			case err == io.EOF:
				return
			case errors.As(err, &parse):
				err = &RowError{parse.StartLine, fmt.Errorf("%w: line %d: %w", ErrInvalid, parse.Line, parse.Err)}
			case err != nil:
				yield(Row{}, fmt.Errorf("customerio: import: read CSV: %w", err))
				return
			}
			var row Row
			if err == nil {
				line, _ := c.FieldPos(0)
				row, err = makeRow(line, columns, cells)
			}
			if !yield(row, err) {
				return
			}
		}
	}
}

// capped is a reader that fails when one row is longer than maxRow.
type capped struct {
	r    io.Reader
	left int
}

func (c *capped) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, fmt.Errorf("%w: a row of more than %d bytes: is a quote not closed?", ErrInvalid, maxRow)
	}
	n, err := c.r.Read(p)
	c.left -= n
	return n, err
}

// readHeader returns the names of the columns, with id and email in lower case.
func readHeader(c *csv.Reader) ([]string, error) {
	cells, err := c.Read()
	if err == io.EOF {
		err = errors.New("it is empty")
	}
	if err != nil {
		return nil, fmt.Errorf("customerio: import: read the header of the CSV: %w", err)
	}
	columns := slices.Clone(cells)
	seen := map[string]bool{}
	for i, name := range columns {
		name = strings.TrimSpace(name)
		if lower := strings.ToLower(name); lower == "id" || lower == "email" {
			name = lower
		}
		switch {
		case name == "":
			return nil, fmt.Errorf("%w: the header of the CSV: column %d has no name", ErrInvalid, i+1)
		case seen[name]:
			return nil, fmt.Errorf("%w: the header of the CSV: column %d has the name of an earlier one", ErrInvalid, i+1)
		}
		columns[i], seen[name] = name, true
	}
	if !seen["id"] && !seen["email"] {
		return nil, fmt.Errorf("%w: the header of the CSV: among its %d columns is neither id nor email", ErrInvalid, len(columns))
	}
	return columns, nil
}

func makeRow(line int, columns, cells []string) (Row, error) {
	row := Row{Line: line, Attributes: make(map[string]any, len(cells))}
	if len(cells) != len(columns) {
		return row, &RowError{line, fmt.Errorf("%w: %d columns, the header has %d", ErrInvalid, len(cells), len(columns))}
	}
	for i, text := range cells {
		text = strings.Clone(text) // the cells share the memory of their row
		if !utf8.ValidString(text) {
			return row, &RowError{line, invalid(fmt.Sprintf("column %d", i+1), "has %d bytes that are not UTF-8", len(text))}
		}
		switch name := columns[i]; {
		case text == "":
		case name == "id":
			row.ID = text
		case name == "email":
			row.Email = text
		default:
			row.Attributes[name] = text
			if n, err := strconv.ParseInt(text, 10, 64); name == "created_at" && err == nil {
				row.Attributes[name] = n
			}
		}
	}
	return row, nil
}

// operation makes an identify from a row.
func (r *Row) operation() (Operation, error) {
	op := person(ActionIdentify, ID(r.ID))
	op.Attributes = r.Attributes
	switch {
	case r.ID == "" && r.Email == "":
		return op, invalid("the row", "has neither id nor email")
	case r.ID == "":
		op.Identifiers = Email(r.Email)
	case r.Email != "":
		op.Attributes = maps.Clone(r.Attributes)
		if op.Attributes == nil {
			op.Attributes = map[string]any{}
		}
		op.Attributes["email"] = r.Email
	}
	return op, nil
}

// WriteImportCSV writes people as CSV, for an import in the service's dashboard or
// [Client.ImportJob]. The columns are id, email and the given attributes; any other attribute of a
// row is an error. Strings are written as they are, other values as JSON.
func WriteImportCSV(w io.Writer, attributes []string, rows iter.Seq2[Row, error]) error {
	out := csv.NewWriter(w)
	if err := out.Write(append([]string{"id", "email"}, attributes...)); err != nil {
		return fmt.Errorf("customerio: write CSV: %w", err)
	}
	n := 0
	for row, err := range rows {
		if err != nil {
			return fmt.Errorf("customerio: write CSV: %w", err)
		}
		n++
		cells := []string{row.ID, row.Email}
		if row.ID == "" && row.Email == "" {
			return fmt.Errorf("customerio: write CSV: row %d: %w", n, invalid("the row", "has neither id nor email"))
		}
		known := 0
		for _, name := range attributes {
			value, ok := row.Attributes[name]
			if ok {
				known++
			}
			text, err := cell(name, value)
			if err != nil {
				return fmt.Errorf("customerio: write CSV: row %d: %w", n, err)
			}
			cells = append(cells, text)
		}
		if known < len(row.Attributes) {
			return fmt.Errorf("customerio: write CSV: row %d: %w", n, invalid("the row", "has %d attributes, %d of them are columns", len(row.Attributes), known))
		}
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

func cell(name string, value any) (string, error) {
	switch v := value.(type) {
	case nil:
		return "", nil
	case string:
		return v, nil
	case json.RawMessage:
		return string(v), nil
	}
	raw, err := encode("attributes."+name, value)
	return string(raw), err
}
