package data

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"math/big"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/skive-ml/skive/head"
)

// value returns the number in a cell and 0, or -1 if there is none.
func (p *parser) value(c cell, column string) (known int, v float32, err error) {
	if c.kind == missing || c.kind == plain && c.text == "" {
		if p.o.RequireLabels {
			return -1, 0, noLabel(column)
		}
		return -1, 0, nil
	}
	x, err := strconv.ParseFloat(c.text, 32)
	if err == nil && x == -1 && len(p.def.layouts) > 0 { // in a benchmark's test file
		if p.o.RequireLabels {
			return -1, 0, fmt.Errorf("%q: the label is missing (%s means that)", column, c.text)
		}
		return -1, 0, nil
	}
	if c.kind == quotedText || err != nil || math.IsNaN(x) || math.IsInf(x, 0) {
		return -1, 0, fmt.Errorf("%q: expected a number, found %s", column, c.describe())
	}
	return 0, float32(x), nil
}

// labelSeparator separates the labels in a field of a CSV or TSV.
const labelSeparator = "|"

// several returns the classes in a cell that may hold any number of them, and 0, or -1 if there
// is no cell.
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
		if one.kind == boolean { // in a list with one entry per label, unlike the file's first
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

// labelList returns the labels in a cell. They are a JSON list, also in a field of a CSV or TSV.
// Such a field may also hold a list as Python prints it, or labels with a separator.
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

// printedItem matches a number, a truth value or a string as Python prints it.
var printedItem = regexp.MustCompile(`^(?:-?[0-9]+\.?[0-9]*|True|False|'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")`)

// printedList reads what is between the brackets of a list that Python or NumPy has printed: 'a',
// 'b' or 'a' 'b', 0, 1 or 0. 1. Programs that write lists into a CSV produce this.
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

// multiHot finds out whether the lists of labels in a file have 0 or 1 for each label. They do if
// all entries are 0 or 1 and each list is as long as there are labels, or, if that is unknown,
// all are equally long and longer than one. As lists of class indices they would all say the
// same.
func (p *parser) multiHot(rows rows) {
	column, length := p.layouts[len(p.layouts)-1].label, len(p.labels)
	for {
		r, _, err := rows.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return // reading the examples reports this
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

// label returns the class index in a cell, or -1 if there is none.
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

// unlabeled tells whether an integer means that there is no label: -1 as in data sets of the hub,
// if labels are not required, and for a word, which may always lack one, also -100 as in
// transformers.
func (p *parser) unlabeled(name string) bool {
	kind := p.def.Kind
	if kind.Subject() == head.Words {
		return name == "-1" || name == "-100"
	}
	return name == "-1" && !p.o.RequireLabels && kind.Outputs() != head.Labels
}

// maxClasses is the largest number of labels that may come from the data.
const maxClasses = 1 << 16

// newLabel returns the number of a label that comes from the data, without surrounding white
// space. Labels are either all integers or all names.
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
		return -1, fmt.Errorf("%q: label %s is an integer, but in line %d the label is a name", column, name, p.first)
	case !isInteger(name) && isInteger(p.names[0]):
		return -1, fmt.Errorf("%q: label %q is a name, but in line %d the label is an integer", column, name, p.first)
	}
	p.names = append(p.names, name)
	p.byName[name] = i
	return i, nil
}

// inferLabels sets the labels found in the data: integers by value, names in sorted order.
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
		return fmt.Errorf("all labels are %q, expected at least two classes", p.labels[0])
	}
	return nil
}

// compareIntegers compares integers of any length by value, and equal ones by how they are
// written.
func compareIntegers(a, b string) int {
	x, _ := new(big.Int).SetString(a, 10)
	y, _ := new(big.Int).SetString(b, 10)
	return cmp.Or(x.Cmp(y), strings.Compare(a, b))
}
