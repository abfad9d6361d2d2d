package data

import (
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// sentence is a record: words, and a label for each, nil if it has none.
type sentence struct {
	words []string
	tags  []json.RawMessage
}

func (s *sentence) cell(string) cell { return cell{} }
func (s *sentence) has(string) bool  { return false }
func (s *sentence) names() []string  { return nil }

// conll reads sentences: one word per line, and an empty line after each sentence. Columns are
// separated by spaces and tabs, or only by tabs in a file that has tabs. The word is the first
// column and its label the last. A "-DOCSTART-" line counts as empty.
//
// In CoNLL-U, where columns have names, the word is FORM and the label UPOS. Lines of multiword
// tokens (1-2) and of empty nodes (8.1) are skipped.
type conll struct {
	text tsvRows
	tabs bool
	// width is the number of columns of the first word that does not begin with "#".
	width int
	// names are the column names of CoNLL-U, nil for any other file.
	names []string
	// label is the number of the label's column, or -1 for the last column.
	label int
}

// The columns of CoNLL-U, and how its lines begin.
var (
	conlluNames = []string{"ID", "FORM", "LEMMA", "UPOS", "XPOS", "FEATS", "HEAD", "DEPREL", "DEPS", "MISC"}
	// unspecified lists the columns in which "_" means that nothing is known about the word.
	unspecified = []string{"UPOS", "XPOS", "DEPREL"}
	commentForm = regexp.MustCompile(`^(# \S+ =|# newdoc|# newpar|#begin document|#end document)( |$)`)
	wordID      = regexp.MustCompile(`^[0-9]+$`)
	anyID       = regexp.MustCompile(`^[0-9]+([-.][0-9]+)?$`)
)

// globalColumns begins the comment in which CoNLL-U Plus names its columns.
const globalColumns = "# global.columns ="

// newCoNLL finds out from the first lines what the columns are.
func newCoNLL(content []byte, o ReadOptions) (rows, error) {
	c := &conll{text: tsvRows{rest: content}, label: -1}
	ahead := c.text
	var numbers int // words of the first sentence that are numbered in order
	for first := true; ; first = false {
		line, ok := ahead.readLine()
		if !ok {
			break
		}
		if names, ok := strings.CutPrefix(line, globalColumns); ok && first {
			c.names = strings.Fields(names)
		}
		if c.width > 0 && (isBlank(line) || numbers == 0) {
			break
		}
		if isBlank(line) || strings.HasPrefix(line, "#") && c.width == 0 {
			continue
		}
		if c.width == 0 {
			c.tabs = strings.Contains(strings.Trim(line, " \t"), "\t")
			columns := c.columns(line)
			c.width = len(columns)
			if c.names == nil && c.tabs && c.width == len(conlluNames) && anyID.MatchString(columns[0]) {
				c.names = conlluNames
			}
		}
		if c.columns(line)[0] != strconv.Itoa(numbers+1) || c.width < 3 || c.names != nil {
			numbers = 0
			break
		}
		numbers++
	}
	if numbers > 1 {
		return nil, fmt.Errorf("the first column numbers the words, expected the word there, or the ten columns of CoNLL-U with tabs between them")
	}
	label := otherThan(o.LabelColumn, "label")
	if c.names != nil {
		c.tabs, c.width = true, len(c.names)
		if label == "" {
			label = "UPOS"
		}
		if c.label = c.column(label); c.label < 0 || c.column("FORM") < 0 {
			return nil, fmt.Errorf("expected the columns FORM and %q, found %s", label, quoted(c.names))
		}
		return c, nil
	}
	if label != "" {
		n, err := strconv.Atoi(label)
		if err != nil || n < 2 || n > c.width {
			return nil, fmt.Errorf("the column of the label is %q, expected a number from 2 to %d in a file without names of columns", label, c.width)
		}
		c.label = n - 1
	}
	return c, nil
}

// isBlank tells whether a line ends a sentence.
func isBlank(line string) bool {
	line = strings.Trim(line, " \t")
	return line == "" || line == "-DOCSTART-" || strings.HasPrefix(line, "-DOCSTART- ") || strings.HasPrefix(line, "-DOCSTART-\t")
}

// columns splits a line. Only spaces and tabs separate columns; other white space is part of a
// word.
func (c *conll) columns(line string) []string {
	if !c.tabs {
		return strings.FieldsFunc(line, func(r rune) bool { return r == ' ' || r == '\t' })
	}
	columns := strings.Split(strings.Trim(line, " \t"), "\t")
	for i := range columns {
		columns[i] = strings.Trim(columns[i], " ")
	}
	return columns
}

// column returns the number of a CoNLL-U column, or -1 if there is none.
func (c *conll) column(name string) int {
	return slices.IndexFunc(c.names, func(n string) bool { return strings.EqualFold(n, name) })
}

// comment tells whether a line that begins with "#" is a comment. In CoNLL-U it always is. In
// other files a word may begin with "#". Then the line has as many columns as the others and does
// not look like a comment of CoNLL-U or CoNLL-2012.
func (c *conll) comment(line string, columns []string) bool {
	return c.names != nil || len(columns) != c.width || commentForm.MatchString(line)
}

func (c *conll) next() (row, int, error) {
	s := &sentence{}
	first := 0
	var width, filled int // number of columns of the first word
	for {
		line, ok := c.text.readLine()
		if c.text.tooLong {
			return nil, c.text.line, c.text.end()
		}
		if isBlank(line) {
			if len(s.words) > 0 {
				return s, first, nil
			}
			if !ok {
				return nil, c.text.line, io.EOF
			}
			continue
		}
		columns := c.columns(line)
		if strings.HasPrefix(line, "#") && c.comment(line, columns) {
			if c.names == nil && len(s.words) > 0 {
				return nil, c.text.line, fmt.Errorf("a comment inside of a sentence, or a word without %d columns", c.width)
			}
			continue
		}
		word, tag, err := c.word(columns)
		switch {
		case err != nil:
			return nil, c.text.line, err
		case word == "": // a line of CoNLL-U without a word
			continue
		case first == 0:
			first = c.text.line
		}
		if s.words = append(s.words, word); tag == nil {
			if s.tags != nil {
				return nil, c.text.line, fmt.Errorf("the word %q has no label", word)
			}
			continue
		}
		if len(s.tags) != len(s.words)-1 {
			return nil, c.text.line, fmt.Errorf("the word before %q has no label", word)
		}
		s.tags = append(s.tags, tag)
		// The last column is the label if all words have it. Where columns are separated by
		// several tabs, only the columns with content count.
		if c.names != nil || c.label >= 0 {
			continue
		}
		hold := len(slices.DeleteFunc(slices.Clone(columns), func(s string) bool { return s == "" }))
		if len(s.tags) == 1 {
			width, filled = len(columns), hold
		} else if len(columns) != width && hold != filled {
			return nil, c.text.line, fmt.Errorf("found %d columns, the sentence's first word has %d: expected the label in the last one", len(columns), width)
		}
	}
}

// word returns the word of a line and its label, nil if it has none. A line of CoNLL-U without a
// word gives "".
func (c *conll) word(columns []string) (word string, tag json.RawMessage, err error) {
	at, label := 0, c.label
	switch {
	case c.names != nil:
		if len(columns) != len(c.names) {
			return "", nil, fmt.Errorf("found %d columns, expected %d with tabs between them", len(columns), len(c.names))
		}
		if id := c.column("ID"); id >= 0 && !wordID.MatchString(columns[id]) {
			if !anyID.MatchString(columns[id]) {
				return "", nil, fmt.Errorf("the ID is %q, expected a number, a range such as 1-2, or a number with a dot such as 8.1", columns[id])
			}
			return "", nil, nil
		}
		at = c.column("FORM")
		if columns[at] == "" {
			return "", nil, fmt.Errorf("the FORM is empty")
		}
	case len(columns) == 1:
		return columns[0], nil, nil
	case label < 0:
		label = len(columns) - 1
	case label >= len(columns):
		return "", nil, fmt.Errorf("found %d columns, expected the label in column %d", len(columns), label+1)
	}
	if c.names != nil && columns[label] == "_" && slices.Contains(unspecified, c.names[label]) {
		return columns[at], nil, nil
	}
	for _, i := range []int{at, label} {
		if c.names == nil && strings.Contains(columns[i], " ") {
			return "", nil, fmt.Errorf("%q has a space: columns are divided by tabs, or by spaces, but not by both", columns[i])
		}
	}
	if isInteger(columns[label]) { // as JSON has it
		return columns[at], json.RawMessage(columns[label]), nil
	}
	tag, err = json.Marshal(columns[label])
	return columns[at], tag, err
}
