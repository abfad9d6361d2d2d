package data

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/skive-ml/skive/head"
	"github.com/skive-ml/skive/internal/textkeys"
	"github.com/skive-ml/skive/settings"
)

// ErrEmpty says that a file has no examples.
var ErrEmpty = errors.New("no examples")

// ReadOptions says how to read a file.
type ReadOptions struct {
	// TextColumn, PairColumn and LabelColumn name the columns or keys for the task "text". ""
	// means "text", "text_pair" and "label". A second text is read if there is one. A PairColumn
	// other than "text_pair" must exist.
	TextColumn, PairColumn, LabelColumn string
	// Labels are the class names, in the order of the class indices. They replace the task's own
	// labels.
	Labels []string
	// ModelLabels are the labels of the model for which the data is read, in its order. They
	// count if neither the task nor Labels name any. Integers in the data are then numbers of the
	// model's classes, see Dataset.Numbered.
	ModelLabels []string
	// RequireLabels makes an example without a label an error.
	RequireLabels bool
	// NoLabels ignores the labels, so no example has one. It overrides RequireLabels.
	NoLabels bool
	// Limit is the largest number of examples to read; 0 means all.
	Limit int
}

// FileError is an error in a data file.
type FileError struct {
	Path string
	Line int // from 1; 0 if the error is not in a line
	Err  error
}

func (e *FileError) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("%s: %v", e.Path, e.Err)
	}
	return fmt.Sprintf("%s:%d: %v", e.Path, e.Line, e.Err)
}

func (e *FileError) Unwrap() error { return e.Err }

// A ColumnError tells that a record lacks a column whose name ReadOptions can set.
type ColumnError struct {
	// Option is that field of ReadOptions: TextColumn, PairColumn or LabelColumn.
	Option string
	Err    error
}

func (e *ColumnError) Error() string { return e.Err.Error() }
func (e *ColumnError) Unwrap() error { return e.Err }

// Read reads a file of a task. It reads the files of GLUE and SuperGLUE as they are shipped (TSV
// and JSONL; quotes in a TSV are literal), and JSONL, JSON, CSV or TSV with named columns. It
// recognizes gzip by the content.
//
// A label is the name of a class, matched exactly or else regardless of letter case. An integer
// is a class index, unless the names themselves are integers. If neither the task nor the options
// have labels, Read takes those of the data: names in sorted order, integers by value. Tasks of
// GLUE and SuperGLUE also accept files with the columns of the task "text".
//
// Words with labels come from JSON lists, from lines with a word and its label at the end and an
// empty line after each sentence (CoNLL), or from the ten columns of CoNLL-U. The text of a
// masked language model is read line by line, or from the text column. docs/data.md has the
// details.
//
// The path may be that of a pipe. Lines, records and files have a maximum size, see docs/data.md.
//
// Errors are *FileError and name the line. A file without examples is ErrEmpty.
func Read(path string, task Task, o ReadOptions) (*Dataset, error) {
	name, content, err := readDocument(path)
	if err != nil {
		return nil, err
	}
	return parse(path, name, content, task, o)
}

// Parse reads from r what Read would read from a file of that name. The name tells the format and
// appears in errors. The decompressed text may have at most 1 GB.
func Parse(r io.Reader, name string, task Task, o ReadOptions) (*Dataset, error) {
	base, content, err := document(name, r, -1)
	if err != nil {
		return nil, err
	}
	return parse(name, base, content, task, o)
}

// parse reads the text of a file. The name tells the format.
func parse(path, name string, content []byte, task Task, o ReadOptions) (*Dataset, error) {
	fail := func(line int, format string, args ...any) error {
		return &FileError{path, line, fmt.Errorf(format, args...)}
	}
	o.RequireLabels = o.RequireLabels && !o.NoLabels
	def := task.definition()
	kind, err := task.kindOf()
	if err != nil {
		return nil, fail(0, "%w", err)
	}
	rows, err := newRows(name, content, &def, o)
	if err != nil {
		return nil, fail(1, "%w", err)
	}
	labels := o.Labels
	if len(labels) == 0 {
		labels = task.Labels
	}
	ofModel := len(labels) == 0
	if ofModel {
		labels = o.ModelLabels
	}
	p := parser{def: &def, o: o, labels: labels}
	if task.Kind.Named() {
		p.infer = len(labels) == 0
	} else {
		p.labels = nil
	}
	p.columns()
	if task.Kind.Outputs() == head.Labels && !o.NoLabels {
		again, err := newRows(name, content, &def, o)
		if err != nil {
			return nil, fail(1, "%w", err)
		}
		if p.multiHot(again); p.hot > 0 && p.infer {
			for i := range p.hot {
				p.names = append(p.names, strconv.Itoa(i))
			}
		}
	}
	switch {
	case def.records != nil:
		p.records = def.records
	case kind.records != nil:
		p.records = kind.records
	default:
		p.records = one
	}
	ds := &Dataset{Task: task}
	if line, err := p.read(ds, rows, content); err != nil {
		return nil, &FileError{path, line, err}
	}
	if len(ds.Examples) == 0 {
		err := ErrEmpty
		if ds.Skipped > 0 {
			err = fmt.Errorf("%w: all %d records were skipped", ErrEmpty, ds.Skipped)
		}
		return nil, &FileError{path, 0, err}
	}
	if p.ungrouped && (def.regroup == nil || !def.regroup(ds.Examples)) {
		ds.Task.Further = nil // these are measured over groups
	}
	if o.NoLabels {
		for i := range ds.Examples {
			e := &ds.Examples[i]
			e.Label, e.Labels, e.Value = -1, nil, 0
		}
	} else if p.infer {
		if err := p.inferLabels(ds); err != nil {
			return nil, &FileError{path, 0, err}
		}
	}
	ds.Task.Labels = slices.Clone(p.labels)
	ds.Numbered = ofModel && !p.infer && p.numbered
	if def.free {
		ds.Task.Pair = ds.Examples[0].HasPair
	}
	return ds, nil
}

// read appends the examples of a file's rows. line is the line of the error.
func (p *parser) read(ds *Dataset, rows rows, content []byte) (line int, err error) {
	for p.o.Limit <= 0 || len(ds.Examples) < p.o.Limit {
		var r row
		if r, line, err = rows.next(); err == io.EOF {
			break
		}
		var some []Example
		if err == nil {
			p.made = 0
			some, err = p.records(p, r, line)
		}
		switch err {
		case nil:
			ds.Examples = append(ds.Examples, some...)
			// A file that has begun well has one example per line, unless it labels words.
			// Allocating for all of them at once takes half the memory of growing gradually.
			if len(ds.Examples) == 1<<12 && p.def.Kind.Subject() != head.Words && p.o.Limit == 0 {
				ds.Examples = slices.Grow(ds.Examples, max(0, filledLines(content)-len(ds.Examples)))
			}
		case errSkip:
			ds.Skipped++
		default:
			if ofHeader(r, err) {
				line = 1
			}
			return line, err
		}
	}
	return line, nil
}

// ofHeader tells whether an error is in the line with a table's column names: a column is missing
// or has another name.
func ofHeader(r row, err error) bool {
	var column *ColumnError
	f, table := r.(*fields)
	return table && errors.As(err, &column) && column.Option != "LabelColumn" && len(f.values) == len(f.columns)
}

// parser turns rows into examples.
type parser struct {
	def     *definition
	records func(p *parser, r row, line int) ([]Example, error)
	o       ReadOptions
	layouts []layout
	labels  []string

	// The following fields hold what is known about labels that come from the data.
	infer  bool
	names  []string
	byName map[string]int
	first  int // line of the first label

	// hot is the length of lists of labels that have 0 or 1 for each label.
	hot int
	// numbered says that a label was given by its number, or by its place in such a list.
	numbered bool

	single [1]Example // of the last record, if it makes one example
	made   int        // total size of the examples of the current record

	others map[string]bool // columns that are not misspelt

	groups    int            // questions or queries so far
	byGroup   map[string]int // their numbers by key
	ungrouped bool           // some example does not say to which group it belongs
}

func (p *parser) columns() {
	or := func(s, def string) string {
		if s == "" {
			return def
		}
		return s
	}
	named := layout{or(p.o.TextColumn, "text"), or(p.o.PairColumn, "text_pair"), or(p.o.LabelColumn, "label")}
	p.layouts = append(slices.Clone(p.def.layouts), named)
	p.byName, p.byGroup = map[string]int{}, map[string]int{}
}

// layout returns the layout of a row.
func (p *parser) layout(r row) (layout, error) {
	best, found := layout{}, false
	for _, l := range p.layouts {
		if !r.has(l.text) {
			continue
		}
		if p.def.Pair && !r.has(l.pair) {
			continue
		}
		// Of two layouts with the same texts, the one whose label exists counts.
		if !found || !r.has(best.label) && r.has(l.label) {
			best, found = l, true
		}
	}
	if found {
		return best, nil
	}
	var want []string
	for _, l := range p.layouts {
		w := strconv.Quote(l.text)
		if p.def.Pair {
			w += " and " + strconv.Quote(l.pair)
		}
		if !slices.Contains(want, w) {
			want = append(want, w)
		}
	}
	columns, meant := "columns", ""
	if len(want) == 1 && !p.def.Pair {
		columns = "column"
		if near := settings.Nearest(p.layouts[0].text, r.names()); near != "" {
			meant = fmt.Sprintf(" (did you mean %q?)", near)
		}
	}
	err := fmt.Errorf("expected the %s %s%s, found %s", columns, strings.Join(want, " or "), meant, quoted(r.names()))
	if _, table := r.(*fields); table {
		err = fmt.Errorf("%w in the first line, which names the columns", err)
	}
	return best, &ColumnError{"TextColumn", err}
}

// checkNames reports a column that may be a misspelt name for the second text, which the row
// lacks.
func (p *parser) checkNames(r row) error {
	for _, name := range r.names() {
		if p.others[name] {
			continue
		}
		if p.others == nil {
			p.others = map[string]bool{}
		}
		if textkeys.Meant(name) == "text_pair" && name != p.o.TextColumn && name != p.o.LabelColumn {
			return &ColumnError{"PairColumn", fmt.Errorf("the column %q may be meant for %q: use that name for a second text, or another name for anything else", name, "text_pair")}
		}
		p.others[name] = true
	}
	return nil
}

func noLabel(column string) error {
	return &ColumnError{"LabelColumn", fmt.Errorf("the label is missing: expected the column %q", column)}
}

func quoted(names []string) string {
	q := make([]string, 0, len(names))
	for _, n := range names {
		if len(n) > 40 {
			n = n[:40] + "..."
		}
		if q = append(q, strconv.Quote(n)); len(q) == 12 {
			q = append(q, "...")
			break
		}
	}
	if len(q) == 0 {
		return "none"
	}
	return strings.Join(q, ", ")
}

func (p *parser) example(r row, line int) (Example, error) {
	e := Example{Label: -1}
	l, err := p.layout(r)
	if err != nil {
		return e, err
	}
	if e.Text, err = text(r, l.text); err != nil {
		return e, err
	}
	switch {
	case l.pair == "":
	case r.has(l.pair):
		if e.Pair, err = text(r, l.pair); err != nil {
			return e, err
		}
		e.HasPair = true
	case l.pair != "text_pair":
		return e, fmt.Errorf("expected the column %q, found %s", l.pair, quoted(r.names()))
	default:
		if err := p.checkNames(r); err != nil {
			return e, err
		}
	}
	if c := p.def.title; c != "" && r.has(c) {
		title, err := text(r, c)
		if err != nil {
			return e, err
		}
		e.Pair = title + " -- " + e.Pair
	}
	c := r.cell(l.label)
	if p.o.NoLabels {
		return e, nil
	}
	return e, kinds[p.def.Kind].label(p, &e, c, l.label, line)
}

func text(r row, column string) (string, error) {
	c := r.cell(column)
	if c.kind != plain && c.kind != quotedText {
		return "", fmt.Errorf("%q: expected a string, found %s", column, c.describe())
	}
	return c.text, nil
}
