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
)

// ErrEmpty says that a file holds no examples.
var ErrEmpty = errors.New("no examples")

// ReadOptions says how to read a file.
type ReadOptions struct {
	// TextColumn, PairColumn and LabelColumn name the columns or keys of the
	// task "text". Empty stands for "text", "text_pair" and "label". A second
	// text is read where there is one; a PairColumn other than "text_pair"
	// must be there.
	TextColumn, PairColumn, LabelColumn string
	// Labels are the class names, in the order of the class indices, for a
	// task without labels of its own or in place of those.
	Labels []string
	// ModelLabels are those of the model that the data is for, in its order. They
	// are the labels where neither the task nor Labels name any; integers of the
	// data are then numbers of the model's classes, see Dataset.Numbered.
	ModelLabels []string
	// RequireLabels makes an example without a label an error.
	RequireLabels bool
	// NoLabels passes over the labels, whatever they are: no example has one. It
	// goes before RequireLabels.
	NoLabels bool
	// Limit is the largest number of examples to read; 0 means all.
	Limit int
}

// FileError is an error in a data file.
type FileError struct {
	Path string
	Line int // from 1; 0 where the error is in no line
	Err  error
}

func (e *FileError) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("%s: %v", e.Path, e.Err)
	}
	return fmt.Sprintf("%s:%d: %v", e.Path, e.Line, e.Err)
}

func (e *FileError) Unwrap() error { return e.Err }

// A ColumnError tells that a record lacks a column that ReadOptions can name.
type ColumnError struct {
	// Option is the field of ReadOptions: TextColumn, PairColumn or LabelColumn.
	Option string
	Err    error
}

func (e *ColumnError) Error() string { return e.Err.Error() }
func (e *ColumnError) Unwrap() error { return e.Err }

// Read reads a file of a task: the files of GLUE and SuperGLUE as those ship
// them (TSV and JSONL; quotes in a TSV are literal), or JSONL, JSON, CSV or TSV
// with columns by name. What is compressed by gzip is told by its content.
//
// A label is a name of a class: as it is spelled, else letter case apart. An
// integer is a class index, unless the names are integers themselves. Where neither
// the task nor the options have labels, those of the data are it: names in sorted
// order, integers by their value. A task of GLUE or SuperGLUE also takes files with
// the columns of the task "text".
//
// Words with labels are read from JSON lists, or from lines of a word and, last
// on the line, its label, with an empty line after each sentence (CoNLL), or from
// the ten columns of CoNLL-U. The
// text of a masked language model is read line by line, or from the column of
// the text. docs/data.md has all of it.
//
// The path is that of a file or a pipe. Lines, records and files are bounded, see
// docs/data.md.
//
// Errors are *FileError and name the line. A file without examples is ErrEmpty.
func Read(path string, task Task, o ReadOptions) (*Dataset, error) {
	name, content, err := readDocument(path)
	if err != nil {
		return nil, err
	}
	return parse(path, name, content, task, o)
}

// Parse reads what Read would read of a file of that name, which tells the format and
// stands in errors. The text, decompressed where it is, has 1 GB at most.
func Parse(r io.Reader, name string, task Task, o ReadOptions) (*Dataset, error) {
	base, content, err := document(name, r, -1)
	if err != nil {
		return nil, err
	}
	return parse(name, base, content, task, o)
}

// parse reads the text of a file. The name tells its format.
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
		ds.Task.Further = nil // they are measured by groups
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

// read appends the examples of the rows of a file of that content. Line is that of
// the error.
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
			// A file that has begun well has an example a line, if it is not one of
			// words. Room for all at once takes half the memory of growing by and by.
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

// ofHeader tells whether an error is in the line that names the columns of a table: a row
// has all of them, and one is missing or has another name.
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

	// What is known of labels that come from the data.
	infer  bool
	names  []string
	byName map[string]int
	first  int // line of the first label

	// hot is the length of the lists of labels that have 0 or 1 for each label.
	hot int
	// numbered says that a label was given by its number, or by its place in such a
	// list.
	numbered bool

	single [1]Example // the last record's, where it makes one
	made   int        // bytes of the texts of the present record's examples

	others map[string]bool // columns that are no slips

	groups    int            // questions or queries so far
	byGroup   map[string]int // their numbers by what tells them apart
	ungrouped bool           // an example does not say to which it belongs
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

// layout returns the form that a row has.
func (p *parser) layout(r row) (layout, error) {
	best, found := layout{}, false
	for _, l := range p.layouts {
		if !r.has(l.text) {
			continue
		}
		if p.def.Pair && !r.has(l.pair) {
			continue
		}
		// Of two forms with the same texts the one whose label is there counts.
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
	err := fmt.Errorf("expected the columns %s, found %s", strings.Join(want, " or "), quoted(r.names()))
	if _, table := r.(*fields); table {
		err = fmt.Errorf("%w in the first line, which names the columns", err)
	}
	return best, &ColumnError{"TextColumn", err}
}

// checkNames reports a column that may be meant for the second text, which a row has
// not.
func (p *parser) checkNames(r row) error {
	for _, name := range r.names() {
		if p.others[name] {
			continue
		}
		if p.others == nil {
			p.others = map[string]bool{}
		}
		if textkeys.Meant(name) == "text_pair" && name != p.o.TextColumn && name != p.o.LabelColumn {
			return &ColumnError{"PairColumn", fmt.Errorf("the column %q may be meant for %q: expected that name for a second text, or another one for what is none", name, "text_pair")}
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
