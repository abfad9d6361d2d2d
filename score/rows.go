package score

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/internal/textkeys"
)

// errBlank says that a line is no row.
var errBlank = errors.New("blank")

// A clash is a column that is there already, under the name of one that is added.
type clash struct{ name string }

func (c clash) Error() string {
	return fmt.Sprintf("a column %q is there already, which an answer would have: expected another name for it", c.name)
}

// parser makes inputs of rows.
type parser struct {
	in *input
	// text, pair and choices are the names of the columns, and fixed says of each whether
	// it has to be there.
	text, pair, choices string
	pairs, chooses      bool
	// added are the names of the columns that are added.
	added map[string]bool
}

func newParser(in *input, o *Options, columns []column) *parser {
	p := &parser{in: in, text: "text", pair: "text_pair", choices: "choices", added: map[string]bool{}}
	if o.TextColumn != "" {
		p.text = o.TextColumn
	}
	if p.pairs = o.PairColumn != ""; p.pairs {
		p.pair = o.PairColumn
	}
	if p.chooses = o.ChoicesColumn != ""; p.chooses {
		p.choices = o.ChoicesColumn
	}
	for _, c := range columns {
		p.added[c.name] = true
	}
	return p
}

// header reports a clash of names in a table, which need not be looked for in its rows.
func (p *parser) header() error {
	names := []string{"text"}
	switch p.in.format {
	case jsonl:
		return nil
	case parquet:
		names = p.in.table.names
	case comma, tab:
		names = nil
		for name := range p.in.names {
			names = append(names, name)
		}
	}
	for _, name := range names {
		if p.added[name] {
			return p.in.errorf("%w", clash{name})
		}
	}
	return nil
}

// parse makes the input of a row. The error is errBlank, or says why the row is bad, or is a
// clash, which ends the run.
func (p *parser) parse(r *row) (infer.Input, error) {
	if p.in.format == parquet {
		return p.in.table.parse(r.values)
	}
	if !utf8.Valid(r.line) {
		return infer.Input{}, errors.New("is not valid UTF-8")
	}
	switch p.in.format {
	case jsonl:
		return p.object(r.line)
	case plain:
		return infer.Input{Text: string(r.line)}, nil
	}
	return p.record(r.line)
}

func (p *parser) record(line []byte) (input infer.Input, err error) {
	fields, err := p.in.fields(line)
	if err != nil {
		return input, err
	}
	if len(fields) != len(p.in.names) {
		return input, fmt.Errorf("found %d fields, expected %d", len(fields), len(p.in.names))
	}
	input.Text = fields[p.in.names[p.text]]
	if i, ok := p.in.names[p.pair]; ok {
		input.Pair, input.HasPair = fields[i], true
	}
	if i, ok := p.in.names[p.choices]; ok {
		if err := noNull(p.choices, []byte(fields[i])); err != nil {
			return input, err
		}
		if json.Unmarshal([]byte(fields[i]), &input.Choices) != nil {
			return input, fmt.Errorf("%q: expected a JSON list of strings, found %.40s", p.choices, fields[i])
		}
	}
	return input, nil
}

// noNull reports a null in a list of choices, which would be read as an empty text.
func noNull(key string, value []byte) error {
	if !bytes.Contains(value, []byte("null")) {
		return nil
	}
	var list []*string
	if json.Unmarshal(value, &list) != nil {
		return nil // which says itself what is wrong
	}
	for i, s := range list {
		if s == nil {
			return fmt.Errorf("%q: expected a list of strings, number %d is null", key, i+1)
		}
	}
	return nil
}

// object reads a line of JSON. Its other keys stay as they are.
func (p *parser) object(line []byte) (input infer.Input, err error) {
	line = bytes.TrimSpace(line)
	if len(line) == 0 {
		return input, errBlank
	}
	if line[0] != '{' || !json.Valid(line) {
		var object map[string]json.RawMessage
		err := json.Unmarshal(line, &object)
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			return input, fmt.Errorf("not valid JSON: %w", err)
		}
		return input, errors.New("expected a JSON object")
	}
	var text, pair, choices, found bool
	var slips map[string]string // by what they may be meant for
	err = members(line, func(key string, value []byte) error {
		found = true
		var there *bool
		var to any
		want := "a string"
		if p.added[key] {
			return clash{key}
		}
		switch {
		case key == p.text:
			there, to = &text, &input.Text
		case key == p.pair:
			there, to = &pair, &input.Pair
		case key == p.choices:
			there, to, want = &choices, &input.Choices, "a list of strings"
		default:
			if of := textkeys.Meant(key); of != "" {
				if slips == nil {
					slips = map[string]string{}
				}
				slips[of] = key
			}
			return nil
		}
		if *there {
			return fmt.Errorf("the key %q is there twice", key)
		}
		if string(value) == "null" {
			return nil // as good as absent
		}
		*there = true
		if key == p.choices {
			if err := noNull(key, value); err != nil {
				return err
			}
		}
		if json.Unmarshal(value, to) != nil {
			return fmt.Errorf("%q: expected %s, found %.40s", key, want, value)
		}
		return nil
	})
	if err != nil {
		return input, err
	}
	input.HasPair = pair
	for i, missing := range [...]bool{!text && p.text == "text", !pair && !p.pairs, !choices && !p.chooses} {
		if slip, ok := slips[textkeys.All[i]]; ok && missing {
			return input, fmt.Errorf("unknown key %q, expected %q", slip, textkeys.All[i])
		}
	}
	switch {
	case !text && !found:
		return input, p.absent("TextColumn", p.text, nil)
	case !text:
		return input, p.absent("TextColumn", p.text, line)
	case p.pairs && !pair:
		return input, p.absent("PairColumn", p.pair, line)
	case p.chooses && !choices:
		return input, p.absent("ChoicesColumn", p.choices, line)
	}
	return input, nil
}

// absent says which keys an object has in the place of one.
func (p *parser) absent(option, key string, line []byte) error {
	var names []string
	if line != nil {
		members(line, func(key string, _ []byte) error {
			names = append(names, key)
			return nil
		})
	}
	return &data.ColumnError{Option: option, Err: fmt.Errorf("the JSON object has no %q, found %s", key, quoted(names))}
}

// members calls each with the keys and values of a valid JSON object, in their order.
func members(object []byte, each func(key string, value []byte) error) error {
	blank := func(i int) int {
		for strings.IndexByte(" \t\r\n,:", object[i]) >= 0 {
			i++
		}
		return i
	}
	for i := blank(1); object[i] != '}'; i = blank(i) {
		end := skip(object, i)
		key := string(object[i+1 : end-1])
		if strings.IndexByte(key, '\\') >= 0 {
			json.Unmarshal(object[i:end], &key) // it is valid
		}
		i = blank(end)
		end = skip(object, i)
		if err := each(key, object[i:end]); err != nil {
			return err
		}
		i = end
	}
	return nil
}

// skip returns where the value that begins at i of valid JSON ends.
func skip(text []byte, i int) int {
	depth := 0
	for ; ; i++ {
		switch text[i] {
		case '"':
			for i++; text[i] != '"'; i++ {
				if text[i] == '\\' {
					i++
				}
			}
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return i // behind a number or a word
			}
			depth--
		default:
			if depth == 0 && strings.IndexByte(" \t\r\n,", text[i]) >= 0 {
				return i
			}
			continue
		}
		if depth == 0 {
			return i + 1
		}
	}
}
