package customerio

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A Row is one person of an import. ID names the person, or Email if ID is "".
//
// White space and invisible characters around ID and Email are cut off, as Unicode defines them:
// files and spreadsheets carry no-break spaces, zero-width spaces and byte order marks, and the
// vendor documents no trimming, so each spelling would be a person of its own. Invisible characters
// inside them make the row invalid. Attributes arrive as they are.
type Row struct {
	// Line is the line of the input where the row begins, counted from 1. 0: Import counts the
	// rows.
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

// Error says which row it is, and what is wrong with it.
func (e *RowError) Error() string { return fmt.Sprintf("line %d: %v", e.Line, e.Err) }

// Unwrap returns Err.
func (e *RowError) Unwrap() error { return e.Err }

// maxRow is the longest row of a CSV in bytes. It ends a row whose quote is never closed.
const maxRow = 1 << 20

const byteOrderMark = "\ufeff"

// ReadCSV reads people from CSV (RFC 4180) in UTF-8, row by row, in input of any size. The first
// line names the columns: id, email, or both, in any case; all others are attributes. A byte order
// mark is skipped. Lines end with LF or CRLF; a CRLF inside quotes becomes LF.
//
// A header with control or invisible characters, or without id and email, is ErrInvalid, and the
// error names the cause: another encoding, another separator, the "sep=" line of a spreadsheet, or
// lines that end with CR alone. Rows and columns without a name that are empty throughout, which
// spreadsheets leave behind, are none. A row that repeats the header is invalid, and so is one with
// control characters other than tab and line feed.
//
// Values are strings, except created_at, which must be a whole number: Unix seconds. ID and Email
// are trimmed as [Row] says, and so are names of columns and created_at; other cells are not. Empty
// cells are left out. To convert values, range over ReadCSV and yield changed rows. A malformed row
// yields a [RowError]. Any other error is the last value.
func ReadCSV(r io.Reader) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		in := &capped{r: r, left: maxRow}
		text := bufio.NewReader(in)
		if mark, _ := text.Peek(len(byteOrderMark)); string(mark) == byteOrderMark {
			text.Discard(len(byteOrderMark))
		}
		c := csv.NewReader(text)
		c.FieldsPerRecord, c.ReuseRecord = -1, true
		columns, err := readHeader(c, in)
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
			case blank(cells):
				continue
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
	head []byte // the first bytes, to tell what is wrong with a header
}

const maxHead = 1024

func (c *capped) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, fmt.Errorf("%w: a row of more than %d bytes: is a quote not closed?", ErrInvalid, maxRow)
	}
	n, err := c.r.Read(p)
	c.left -= n
	c.head = append(c.head, p[:min(n, maxHead-len(c.head))]...)
	return n, err
}

// readHeader returns the names of the columns, with id and email in lower case. A column without a
// name is "". There are none at the end.
func readHeader(c *csv.Reader, in *capped) ([]string, error) {
	cells, err := c.Read()
	for err == nil && blank(cells) {
		in.left = maxRow
		cells, err = c.Read()
	}
	var parse *csv.ParseError
	switch {
	case err == io.EOF:
		return nil, fmt.Errorf("%w: the header of the CSV: it is empty%s", ErrInvalid, in.suspect())
	case errors.As(err, &parse):
		return nil, fmt.Errorf("%w: the header of the CSV: line %d: %w%s", ErrInvalid, parse.Line, parse.Err, in.suspect())
	case err != nil:
		return nil, fmt.Errorf("customerio: import: read the header of the CSV: %w", err)
	}
	columns := make([]string, len(cells))
	for i, name := range cells {
		columns[i] = column(name)
	}
	columns = withoutBlanks(columns)
	seen := map[string]bool{}
	for i, name := range columns {
		at := strings.IndexFunc(name, hidden)
		switch {
		case !utf8.ValidString(name):
			return nil, fmt.Errorf("%w: the header of the CSV: column %d is not UTF-8%s", ErrInvalid, i+1, in.suspect())
		case at >= 0:
			return nil, fmt.Errorf("%w: the header of the CSV: column %d has %s%s", ErrInvalid, i+1, character(name[at:]), in.suspect())
		case name != "" && seen[name]:
			return nil, fmt.Errorf("%w: the header of the CSV: column %d has the name of an earlier one", ErrInvalid, i+1)
		}
		seen[name] = true
	}
	if !seen["id"] && !seen["email"] {
		return nil, fmt.Errorf("%w: the header of the CSV: among its %d columns is neither id nor email%s", ErrInvalid, len(columns), in.suspect())
	}
	return columns, nil
}

// suspect names what is probably wrong with an input whose header is not acceptable.
func (c *capped) suspect() string {
	head := strings.TrimPrefix(string(c.head), byteOrderMark)
	line, _, _ := strings.Cut(head, "\n")
	switch {
	case strings.HasPrefix(head, "\xff\xfe"), strings.HasPrefix(head, "\xfe\xff"), strings.Contains(head, "\x00"):
		return ": is it UTF-16? Save it as UTF-8"
	case !utf8.ValidString(line):
		return ": save it as UTF-8"
	case len(line) >= len("sep=") && strings.EqualFold(line[:len("sep=")], "sep="):
		return ": its first line is a sep= line, which only spreadsheets read: remove it"
	case strings.Contains(strings.TrimSuffix(line, "\r"), "\r"):
		return ": its lines end with CR alone: save it with LF or CRLF"
	case strings.Contains(line, "\t"):
		return ": are its columns separated by tabs? They must be by commas"
	case strings.Contains(line, ";"):
		return ": are its columns separated by semicolons? They must be by commas"
	}
	return ""
}

// column returns the name of a column as it is written in a header.
func column(name string) string {
	name = strings.TrimSpace(name)
	if lower := strings.ToLower(name); lower == "id" || lower == "email" {
		return lower
	}
	return strings.Clone(name) // the cells share the memory of their row
}

func withoutBlanks(columns []string) []string {
	for len(columns) > 0 && columns[len(columns)-1] == "" {
		columns = columns[:len(columns)-1]
	}
	return columns
}

// blank reports whether no cell has more than white space and format characters. Other control
// characters are a sign of damage.
func blank(cells []string) bool {
	for _, text := range cells {
		if strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsSpace(r) && !unicode.Is(unicode.Cf, r) }) {
			return false
		}
	}
	return true
}

func makeRow(line int, columns, cells []string) (Row, error) {
	row := Row{Line: line, Attributes: make(map[string]any, len(cells))}
	wrong := func(i int, format string, args ...any) (Row, error) {
		return row, &RowError{line, invalid(fmt.Sprintf("column %d", i+1), format, args...)}
	}
	repeats := true
	for i, text := range cells {
		at := strings.IndexFunc(text, func(r rune) bool { return unicode.IsControl(r) && r != '\t' && r != '\n' })
		switch {
		case !utf8.ValidString(text):
			return wrong(i, "has %d bytes that are not UTF-8", len(text))
		case at >= 0 && text[at] == '\r':
			return wrong(i, "has a CR without LF at byte %d: do lines end with CR alone?", at+1)
		case at >= 0:
			return wrong(i, "has %s, at byte %d", character(text[at:]), at+1)
		case i >= len(columns) && text == "":
		case i >= len(columns):
			return row, &RowError{line, fmt.Errorf("%w: %d columns, the header has %d", ErrInvalid, len(cells), len(columns))}
		case columns[i] == "" && text != "":
			return wrong(i, "has no name in the header, and a value of %d bytes", len(text))
		}
		repeats = repeats && (i >= len(columns) || strings.EqualFold(trim(text), columns[i]))
	}
	switch {
	case len(cells) < len(columns):
		return row, &RowError{line, fmt.Errorf("%w: %d columns, the header has %d", ErrInvalid, len(cells), len(columns))}
	case repeats:
		return row, &RowError{line, invalid("the row", "repeats the header: is the input made of several files?")}
	}
	for i, name := range columns {
		text := strings.Clone(cells[i]) // the cells share the memory of their row
		switch {
		case text == "":
		case name == "id":
			row.ID = trim(text)
		case name == "email":
			row.Email = trim(text)
		default:
			row.Attributes[name] = text
			if n, err := strconv.ParseInt(trim(text), 10, 64); name == createdAt && err == nil {
				row.Attributes[name] = n
			}
		}
	}
	return row, nil
}

// names returns the trimmed ID and Email of a row, at least one of them.
func (r *Row) names() (id, email string, err error) {
	id, email = trim(r.ID), trim(r.Email)
	if at := strings.IndexFunc(id, hidden); at >= 0 {
		return "", "", invalid("id", "has %s, at byte %d of its %d", character(id[at:]), at+1, len(id))
	}
	switch {
	case id == "" && email == "":
		return "", "", invalid("the row", "has neither id nor email")
	case email != "":
		err = checkEmail("email", email)
	}
	return id, email, err
}

// operation makes an identify from a row.
func (r *Row) operation() (Operation, error) {
	id, email, err := r.names()
	op := person(ActionIdentify, ID(id))
	op.Attributes = r.Attributes
	switch {
	case err != nil:
		return op, err
	case id == "":
		op.Identifiers = Email(email)
	case email != "":
		op.Attributes = maps.Clone(r.Attributes)
		if op.Attributes == nil {
			op.Attributes = map[string]any{}
		}
		op.Attributes["email"] = email
	}
	return op, nil
}
