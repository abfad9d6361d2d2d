package data

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"regexp"
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
			return line, err
		}
	}
	return line, nil
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

// maxClasses bounds the labels that are taken from the data.
const maxClasses = 1 << 16

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

// value returns the number that a cell holds, and 0, or -1 for none.
func (p *parser) value(c cell, column string) (known int, v float32, err error) {
	if c.kind == missing || c.kind == plain && c.text == "" {
		if p.o.RequireLabels {
			return -1, 0, noLabel(column)
		}
		return -1, 0, nil
	}
	x, err := strconv.ParseFloat(c.text, 32)
	if err == nil && x == -1 && len(p.def.layouts) > 0 { // of a benchmark's test file
		if p.o.RequireLabels {
			return -1, 0, fmt.Errorf("%q: the label is missing, which %s stands for", column, c.text)
		}
		return -1, 0, nil
	}
	if c.kind == quotedText || err != nil || math.IsNaN(x) || math.IsInf(x, 0) {
		return -1, 0, fmt.Errorf("%q: expected a number, found %s", column, c.describe())
	}
	return 0, float32(x), nil
}

// labelSeparator stands between the labels of a field of a CSV or TSV.
const labelSeparator = "|"

// several returns the classes of a cell that holds any number of them, and 0,
// or -1 for a cell that is not there.
func (p *parser) several(c cell, column string, line int) (known int, labels []int32, err error) {
	if c.kind == missing {
		if p.o.RequireLabels {
			return -1, nil, noLabel(column)
		}
		return -1, nil, nil
	}
	raw, ok := labelList(c)
	if !ok {
		want := "a list of labels"
		if c.kind == plain {
			want = `labels with | between them, or a list such as ["a", "b"]`
		}
		return -1, nil, fmt.Errorf("%q: expected %s, found %s", column, want, c.describe())
	}
	for i, r := range raw {
		if p.hot > 0 {
			p.numbered = true
			if holds, _ := bit(r); holds {
				labels = append(labels, int32(i))
			}
			continue
		}
		one := object{"": r}.cell("")
		if one.kind == boolean { // of a list that has one for each label, other than the file's first
			return -1, nil, fmt.Errorf("%q: expected an integer or a string, found %s", column, one.text)
		}
		i, err := p.label(one, column, line)
		if err != nil {
			return -1, nil, err
		}
		if i < 0 || slices.Contains(labels, int32(i)) {
			return -1, nil, fmt.Errorf("%q: expected each label once, or in all lists of the file 0 or 1 for each label, found %s", column, c.describe())
		}
		labels = append(labels, int32(i))
	}
	return 0, labels, nil
}

// labelList returns the labels of a cell: of a JSON list, also in a field of a
// CSV or TSV, or there of a list as Python prints it, or of a field in which they are
// divided.
func labelList(c cell) (list []json.RawMessage, ok bool) {
	bracketed := strings.HasPrefix(c.text, "[") && strings.HasSuffix(c.text, "]")
	if c.kind != plain || bracketed {
		if c.kind != quotedText && json.Unmarshal([]byte(c.text), &list) == nil {
			return list, true
		}
		if c.kind != plain {
			return nil, false
		}
		return printedList(c.text[1 : len(c.text)-1])
	}
	if c.text == "" {
		return nil, true
	}
	for name := range strings.SplitSeq(c.text, labelSeparator) {
		name = strings.TrimSpace(name)
		quoted, err := json.Marshal(name)
		if err != nil {
			return nil, false
		}
		if isInteger(name) {
			quoted = []byte(name)
		}
		list = append(list, quoted)
	}
	return list, true
}

// printedItem is a number, a truth value or a string as Python prints it.
var printedItem = regexp.MustCompile(`^(?:-?[0-9]+\.?[0-9]*|True|False|'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")`)

// printedList reads what stands between the brackets of a list that Python or NumPy
// has printed, which is what a program that writes a CSV makes of one:
// 'a', 'b' or 'a' 'b', 0, 1 or 0. 1.
func printedList(text string) (list []json.RawMessage, ok bool) {
	const space = " \t\r\n"
	commas := false
	for text = strings.Trim(text, space); text != ""; {
		item := printedItem.FindString(text)
		if item == "" {
			return nil, false
		}
		rest := strings.TrimLeft(text[len(item):], space)
		after, comma := strings.CutPrefix(rest, ",")
		if after = strings.TrimLeft(after, space); comma && after == "" || rest != "" && !comma && len(rest) == len(text)-len(item) {
			return nil, false
		}
		if len(list) == 0 {
			commas = comma
		} else if rest != "" && comma != commas {
			return nil, false
		}
		value, ok := printedValue(item)
		if !ok {
			return nil, false
		}
		list, text = append(list, value), after
	}
	return list, true
}

// printedValue returns an item of a printed list as JSON.
func printedValue(item string) (json.RawMessage, bool) {
	quote := item[0]
	if quote != '\'' && quote != '"' {
		return json.RawMessage(strings.ToLower(strings.TrimSuffix(item, "."))), true
	}
	var text []rune
	for rest := item[1 : len(item)-1]; rest != ""; {
		r, _, tail, err := strconv.UnquoteChar(rest, quote)
		if err != nil {
			return nil, false
		}
		text, rest = append(text, r), tail
	}
	value, err := json.Marshal(string(text))
	return value, err == nil
}

// bit reads a number or a truth value that says whether a label holds.
func bit(raw json.RawMessage) (holds, ok bool) {
	switch string(raw) {
	case "1", "1.0", "true":
		return true, true
	case "0", "0.0", "false":
		return false, true
	}
	return false, false
}

// multiHot finds out whether the lists of labels of a file have 0 or 1 for each
// label: all do, and are as long as there are labels, or one as another and
// longer than one. Lists of class indices that are all so would say the same of
// every example.
func (p *parser) multiHot(rows rows) {
	column, length := p.layouts[len(p.layouts)-1].label, len(p.labels)
	for {
		r, _, err := rows.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return // which the reading of the examples comes upon
		}
		c := r.cell(column)
		if c.kind == missing {
			continue
		}
		list, ok := labelList(c)
		if length == 0 {
			length = max(2, len(list))
		}
		if !ok || len(list) != length {
			return
		}
		for _, raw := range list {
			if _, ok := bit(raw); !ok {
				return
			}
		}
	}
	p.hot = length
}

func text(r row, column string) (string, error) {
	c := r.cell(column)
	if c.kind != plain && c.kind != quotedText {
		return "", fmt.Errorf("%q: expected a string, found %s", column, c.describe())
	}
	return c.text, nil
}

// label returns the class index of a cell, -1 for none.
func (p *parser) label(c cell, column string, line int) (int, error) {
	if p.o.NoLabels {
		return -1, nil
	}
	name, number := c.text, false
	if (c.kind == plain || c.kind == quotedText) && strings.TrimSpace(name) == "" && !slices.Contains(p.labels, name) {
		if p.o.RequireLabels {
			return -1, fmt.Errorf("%q: the label is empty", column)
		}
		return -1, nil
	}
	if whole := wholeNumber(name); (c.kind == plain || c.kind == other) && isInteger(whole) && !slices.Contains(p.labels, name) {
		c.kind, name = integer, whole
	}
	switch c.kind {
	case missing:
		if p.o.RequireLabels {
			return -1, noLabel(column)
		}
		return -1, nil
	case integer:
		number = true
	case plain:
		if p.infer && fraction.MatchString(name) {
			return -1, fmt.Errorf("%q: label %s is a number with a fraction, expected an integer or a name (the task of such numbers is regression)", column, c.describe())
		}
		number = isInteger(name)
	case boolean:
		name = "False"
		if c.text == "true" {
			name = "True"
		}
	case quotedText:
	default:
		return -1, fmt.Errorf("%q: expected an integer or a string, found %s", column, c.describe())
	}
	if number && p.unlabeled(name) && !slices.Contains(p.labels, name) {
		return -1, nil
	}
	if p.infer {
		if number && name[0] == '-' && (p.def.Kind.Subject() == head.Words || p.def.Kind.Outputs() == head.Labels) {
			return -1, fmt.Errorf("%q: label %s is below 0, expected the number of a class or a name", column, name)
		}
		return p.newLabel(name, column, line)
	}
	if number && (noIntegers(p.labels) || Unnamed(p.labels)) {
		i, err := strconv.Atoi(name)
		if err != nil || i < 0 || i >= len(p.labels) {
			return -1, fmt.Errorf("%q: label %s is not a class index from 0 to %d (%s)", column, name, len(p.labels)-1, quoted(p.labels))
		}
		p.numbered = p.numbered || !integers(p.labels)
		return i, nil
	}
	i, err := findLabel(p.labels, name)
	if err != nil {
		return -1, fmt.Errorf("%q: label %w", column, err)
	}
	if i < 0 {
		return -1, fmt.Errorf("%q: unknown label %q (one of %s)", column, name, quoted(p.labels))
	}
	return i, nil
}

// unlabeled tells whether an integer stands in the place of a label: -1 as in data
// sets of the hub, where a label is not required; and for a word, which may always
// lack one, also -100 as in transformers.
func (p *parser) unlabeled(name string) bool {
	kind := p.def.Kind
	if kind.Subject() == head.Words {
		return name == "-1" || name == "-100"
	}
	return name == "-1" && !p.o.RequireLabels && kind.Outputs() != head.Labels
}

// newLabel returns the number of a label that comes from the data, without the
// white space around it. Labels are either all integers or all names.
func (p *parser) newLabel(name, column string, line int) (int, error) {
	name = strings.TrimSpace(name)
	if i, ok := p.byName[name]; ok {
		return i, nil
	}
	i := len(p.names)
	switch {
	case i == maxClasses:
		return -1, fmt.Errorf("%q: more than %d different labels", column, maxClasses)
	case i == 0:
		p.first = line
	case isInteger(name) && !isInteger(p.names[0]):
		return -1, fmt.Errorf("%q: label %s is an integer, in line %d it is a name", column, name, p.first)
	case !isInteger(name) && isInteger(p.names[0]):
		return -1, fmt.Errorf("%q: label %q is a name, in line %d it is an integer", column, name, p.first)
	}
	p.names = append(p.names, name)
	p.byName[name] = i
	return i, nil
}

// inferLabels sets the labels that were found in the data: integers in the order
// of their values, names as they sort.
func (p *parser) inferLabels(ds *Dataset) error {
	p.labels = slices.Clone(p.names)
	if integers(p.labels) {
		slices.SortFunc(p.labels, compareIntegers)
	} else {
		slices.Sort(p.labels)
	}
	number := make(map[string]int, len(p.labels))
	for i, name := range p.labels {
		number[name] = i
	}
	for i := range ds.Examples {
		e := &ds.Examples[i]
		if ds.Task.Kind.OneClass() && e.Label >= 0 {
			e.Label = number[p.names[e.Label]]
		}
		for j, l := range e.Labels {
			if l >= 0 {
				e.Labels[j] = int32(number[p.names[l]])
			}
		}
	}
	if len(p.labels) == 1 && p.o.RequireLabels && ds.Task.Kind.OneClass() {
		return fmt.Errorf("all labels are %q, expected two classes at least", p.labels[0])
	}
	return nil
}

// compareIntegers compares integers of any length by their value, and equal ones
// by how they are written.
func compareIntegers(a, b string) int {
	x, _ := new(big.Int).SetString(a, 10)
	y, _ := new(big.Int).SetString(b, 10)
	return cmp.Or(x.Cmp(y), strings.Compare(a, b))
}
