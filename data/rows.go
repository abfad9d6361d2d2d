package data

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/skive-ml/skive/internal/bounded"
)

// row is one record of a file.
type row interface {
	cell(name string) cell
	has(name string) bool
	names() []string
}

// cell is one value of a record.
type cell struct {
	kind cellKind
	text string
}

type cellKind uint8

const (
	missing    cellKind = iota
	plain               // a field of a CSV or TSV
	quotedText          // a JSON string
	integer             // a JSON number without fraction and exponent
	boolean
	other
)

// describe names a value in an error.
func (c cell) describe() string {
	if c.kind == missing {
		return "nothing"
	}
	if len(c.text) > 40 {
		return c.text[:40] + "..."
	}
	return c.text
}

// rows reads records. next returns io.EOF after the last one, and errSkip for one that is left
// out and counted.
type rows interface {
	next() (r row, line int, err error)
}

var errSkip = errors.New("skipped")

// newRows returns the reader for a file, by its name, or by its content if the name does not
// tell.
func newRows(name string, content []byte, def *definition, o ReadOptions) (rows, error) {
	trimmed := bytes.TrimLeft(content, " \t\r\n")
	ext := filepath.Ext(name)
	kind := kinds[def.Kind]
	table := ext == ".csv" || ext == ".tsv" && !kind.tsv
	switch {
	case len(trimmed) == 0:
		return &jsonLines{}, nil
	case ext == ".jsonl", ext == ".json", ext == ".ndjson":
		if trimmed[0] == '[' {
			return newJSONArray(content)
		}
		return &jsonLines{rest: content}, nil
	case kind.lines != nil && !table:
		return kind.lines(content, o)
	case ext == ".csv":
		return newCSV(content)
	case ext == ".tsv", ext == ".txt" && !def.noTable:
		return newTSV(content, def)
	}
	return nil, fmt.Errorf("unknown format: expected a name that ends in .jsonl, .json, .csv or .tsv, with .gz after it if compressed")
}

// fields is a record of a CSV or TSV.
type fields struct {
	columns map[string]int
	values  []string
}

func (f *fields) cell(name string) cell {
	i, ok := f.columns[name]
	if !ok || i >= len(f.values) {
		return cell{}
	}
	return cell{plain, f.values[i]}
}

func (f *fields) has(name string) bool { return f.cell(name).kind != missing }

func (f *fields) names() []string {
	names := make([]string, len(f.columns))
	for n, i := range f.columns {
		names[i] = n
	}
	return names
}

// errHeader says that the first line cannot be column names.
var errHeader = fmt.Errorf("there are more than %d column names, or they are longer than %d bytes", maxColumns, maxHeader)

// header returns the numbers of the columns.
func header(names []string) (map[string]int, error) {
	if len(names) > maxColumns {
		return nil, errHeader
	}
	columns := make(map[string]int, len(names))
	for i, n := range names {
		if _, ok := columns[n]; ok {
			return nil, fmt.Errorf("two columns are named %q", n)
		}
		columns[n] = i
	}
	return columns, nil
}

// tsvRows reads tab-separated lines in which quotes have no meaning.
type tsvRows struct {
	rest   []byte
	line   int
	record fields
	ragged bool
	// tooLong says that the last line exceeded the limit.
	tooLong bool
}

func newTSV(content []byte, def *definition) (rows, error) {
	t := &tsvRows{rest: content, ragged: def.ragged}
	first, _ := t.readLine()
	if len(first) > maxHeader || strings.Count(first, "\t") >= maxColumns {
		return nil, errHeader
	}
	names := strings.Split(first, "\t")
	if p := def.positional; len(p) > 0 && len(names) == len(p) && !slices.Contains(names, def.layouts[0].text) {
		names = p
		t.rest, t.line = content, 0
	}
	var err error
	t.record.columns, err = header(names)
	return t, err
}

// readLine returns the next line without its end. A line that exceeds the limit ends the reading,
// see tooLong.
func (t *tsvRows) readLine() (string, bool) {
	if len(t.rest) == 0 {
		return "", false
	}
	line, rest, _ := bytes.Cut(t.rest, []byte{'\n'})
	t.rest = rest
	t.line++
	if t.tooLong = len(line) > bounded.Line; t.tooLong {
		t.rest = nil
		return "", false
	}
	return string(bytes.TrimSuffix(line, []byte{'\r'})), true
}

// end returns the error after the last row.
func (t *tsvRows) end() error {
	if t.tooLong {
		return &bounded.TooLongError{Limit: bounded.Line}
	}
	return io.EOF
}

func (t *tsvRows) next() (row, int, error) {
	line, ok := t.readLine()
	if !ok {
		return nil, t.line, t.end()
	}
	for line == "" && len(t.record.columns) > 1 {
		if line, ok = t.readLine(); !ok {
			return nil, t.line, t.end()
		}
	}
	t.record.values = strings.Split(line, "\t")
	if n, want := len(t.record.values), len(t.record.columns); n != want {
		if t.ragged && n < want {
			return nil, t.line, errSkip
		}
		return nil, t.line, fmt.Errorf("found %d fields, expected %d", n, want)
	}
	return &t.record, t.line, nil
}

// lines reads plain text, one record per line. It skips lines of white space.
type lines struct{ tsvRows }

func newLines(content []byte) rows {
	return &lines{tsvRows{rest: content, record: fields{columns: map[string]int{"text": 0}}}}
}

func (l *lines) next() (row, int, error) {
	for {
		line, ok := l.readLine()
		if !ok {
			return nil, l.line, l.end()
		}
		if line = strings.TrimSpace(line); line != "" {
			l.record.values = append(l.record.values[:0], line)
			return &l.record, l.line, nil
		}
	}
}

// recordReader limits how much of a text a record may take. A quote or bracket without an end
// would turn everything that follows into one record.
type recordReader struct {
	r           io.Reader
	left, bound int
}

func (r *recordReader) Read(b []byte) (int, error) {
	if r.left <= 0 {
		return 0, &bounded.TooLongError{Limit: int64(r.bound)}
	}
	n, err := r.r.Read(b[:min(len(b), r.left)])
	r.left -= n
	return n, err
}

// next starts a record of at most so many bytes, including what is read ahead.
func (r *recordReader) next(bound int) { r.left, r.bound = bound, bound }

// csvRows reads comma-separated records, RFC 4180.
type csvRows struct {
	r       *csv.Reader
	content []byte
	from    *recordReader
	record  fields
}

func newCSV(content []byte) (rows, error) {
	from := &recordReader{r: bytes.NewReader(content)}
	c := &csvRows{r: csv.NewReader(from), content: content, from: from}
	c.r.ReuseRecord = true
	from.next(maxHeader)
	names, err := c.r.Read()
	var long *bounded.TooLongError
	if errors.As(err, &long) {
		return nil, errHeader
	}
	if err != nil {
		return nil, csvError(err)
	}
	c.record.columns, err = header(slices.Clone(names))
	return c, err
}

// csvError removes the position from an error, because the caller adds the line.
func csvError(err error) error {
	var p *csv.ParseError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

func (c *csvRows) next() (row, int, error) {
	c.from.next(bounded.Line)
	start := c.r.InputOffset()
	values, err := c.r.Read()
	if err != nil {
		var p *csv.ParseError
		var long *bounded.TooLongError
		line := 0
		switch {
		case errors.As(err, &p):
			line = p.Line
		case errors.As(err, &long):
			line = 1 + bytes.Count(c.content[:start], []byte{'\n'})
		}
		if errors.Is(err, csv.ErrFieldCount) {
			return nil, line, fmt.Errorf("found %d fields, expected %d", len(values), len(c.record.columns))
		}
		return nil, line, csvError(err)
	}
	line, _ := c.r.FieldPos(0)
	c.record.values = values
	return &c.record, line, nil
}

// object is a record of a JSON file.
type object map[string]json.RawMessage

func (o object) names() []string { return slices.Sorted(maps.Keys(o)) }

func (o object) has(name string) bool {
	raw := o[name]
	return len(raw) > 0 && string(raw) != "null"
}

func (o object) cell(name string) cell {
	raw := o[name]
	s := string(raw)
	switch {
	case !o.has(name):
		return cell{}
	case raw[0] == '"':
		var text string
		if json.Unmarshal(raw, &text) != nil {
			return cell{other, s}
		}
		return cell{quotedText, text}
	case s == "true" || s == "false":
		return cell{boolean, s}
	case isInteger(s):
		return cell{integer, s}
	}
	return cell{other, s}
}

// jsonLines reads one JSON object per line.
type jsonLines struct {
	rest []byte
	line int
}

func (j *jsonLines) next() (row, int, error) {
	for len(j.rest) > 0 {
		line, rest, _ := bytes.Cut(j.rest, []byte{'\n'})
		j.rest = rest
		j.line++
		if len(line) > bounded.Line {
			return nil, j.line, &bounded.TooLongError{Limit: bounded.Line}
		}
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		var o object
		if err := json.Unmarshal(line, &o); err != nil || o == nil {
			return nil, j.line, objectError(err)
		}
		return o, j.line, nil
	}
	return nil, j.line, io.EOF
}

func objectError(err error) error {
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return fmt.Errorf("not valid JSON: %w", err)
	}
	return errors.New("expected a JSON object")
}

// jsonArray reads a list of JSON objects.
type jsonArray struct {
	content []byte
	from    *recordReader
	d       *json.Decoder
	line    int
	counted int64 // bytes up to which line is counted
}

func newJSONArray(content []byte) (rows, error) {
	from := &recordReader{r: bytes.NewReader(content)}
	from.next(bounded.Line)
	j := &jsonArray{content: content, from: from, d: json.NewDecoder(from), line: 1}
	_, err := j.d.Token() // the bracket
	return j, err
}

// at sets line to that of the next record.
func (j *jsonArray) at() {
	end := j.d.InputOffset()
	for end < int64(len(j.content)) && strings.IndexByte(" \t\r\n,", j.content[end]) >= 0 {
		end++
	}
	j.line += bytes.Count(j.content[j.counted:end], []byte{'\n'})
	j.counted = end
}

func (j *jsonArray) next() (row, int, error) {
	j.at()
	j.from.next(bounded.Line)
	if !j.d.More() {
		if _, err := j.d.Token(); err != nil {
			return nil, j.line, errors.New("the list does not end")
		}
		if len(bytes.TrimSpace(j.content[j.d.InputOffset():])) > 0 {
			return nil, j.line, errors.New("text follows the list")
		}
		return nil, j.line, io.EOF
	}
	var o object
	j.from.next(bounded.Line)
	if err := j.d.Decode(&o); err != nil || o == nil {
		var long *bounded.TooLongError
		if errors.As(err, &long) {
			return nil, j.line, err
		}
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, j.line, errors.New("the list does not end")
		}
		return nil, j.line, objectError(err)
	}
	return o, j.line, nil
}
