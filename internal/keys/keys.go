// Package keys reads and writes settings as documents of YAML and JSON. Each setting has a key,
// in the section that its name says. Errors name the line and the key.
package keys

import (
	"cmp"
	"encoding"
	"errors"
	"fmt"
	"iter"
	"math"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"github.com/skive-ml/skive/settings"
)

// An Error tells that a document, or a setting in it, cannot be used.
type Error struct {
	// Path is the document's file. Line is the place in it, or 0 if the error is not at a place.
	Path string
	Line int
	// Key is the setting's name in the document, or "" if the error is not about a setting.
	Key string
	// Err says what is wrong.
	Err error

	cause error // the whole error of which Err is a part
}

func (e *Error) Error() string {
	text := e.Path
	if e.Line > 0 {
		text += fmt.Sprintf(":%d", e.Line)
	}
	if e.Key != "" {
		text += ": " + e.Key
	}
	return fmt.Sprintf("%s: %v", text, e.Err)
}

func (e *Error) Unwrap() error { return cmp.Or(e.cause, e.Err) }

// A Document is a parsed document of settings.
type Document struct {
	path    string
	root    ast.Node // nil if the document is empty
	anchors map[string]ast.Node
	keys    map[string]string // by field
	lines   map[string]int    // by field, for those that are given
}

// Parse reads a document. Errors name it by its path.
func Parse(path string, text []byte) (*Document, error) {
	d := &Document{path: path, anchors: map[string]ast.Node{}, keys: map[string]string{}, lines: map[string]int{}}
	file, err := parser.ParseBytes(text, 0)
	if err != nil {
		return nil, d.fail(nil, "", fmt.Errorf("not YAML: %w", plain(err)))
	}
	for _, doc := range file.Docs {
		if doc.Body == nil || doc.Body.Type() == ast.CommentType {
			continue
		}
		if d.root != nil {
			return nil, d.fail(doc.Body, "", errors.New("a second document, expected one"))
		}
		d.root = doc.Body
	}
	if d.root != nil {
		ast.Walk(d, d.root)
	}
	return d, nil
}

// Visit records the anchors of a document, for ast.Walk.
func (d *Document) Visit(n ast.Node) ast.Visitor {
	if a, ok := n.(*ast.AnchorNode); ok {
		d.anchors[a.Name.GetToken().Value] = a.Value
	}
	return d
}

// position matches the place of an error in the YAML package, which also appends an excerpt of
// the document.
var position = regexp.MustCompile(`^\[(\d+):\d+\] `)

// plain returns the first line of an error of the YAML package, without the position.
func plain(err error) error {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return errors.New(position.ReplaceAllString(line, ""))
}

func (d *Document) fail(at ast.Node, key string, err error) error {
	e := &Error{Path: d.path, Key: key, Err: err}
	if at != nil && at.GetToken() != nil {
		e.Line = at.GetToken().Position.Line
	}
	return e
}

// resolve returns the node for which an alias or anchor stands.
func (d *Document) resolve(n ast.Node) ast.Node {
	for range maxDepth {
		switch x := n.(type) {
		case *ast.AnchorNode:
			n = x.Value
		case *ast.TagNode:
			n = x.Value
		case *ast.AliasNode:
			n = d.anchors[x.Value.GetToken().Value]
		default:
			return n
		}
	}
	return nil
}

// maxDepth is the deepest nesting of sections. Aliases could make it endless.
const maxDepth = 16

// key returns the name of a setting in a document.
func key(name string) string { return strings.ReplaceAll(name, "-", "_") }

// each calls do for the keys and values of a mapping. Merged ones come first.
func (d *Document) each(n ast.Node, depth int, do func(k string, at, value ast.Node) error) error {
	m, ok := d.resolve(n).(ast.MapNode)
	if !ok || depth > maxDepth {
		return d.fail(n, "", errors.New("expected keys with values"))
	}
	for _, merged := range []bool{true, false} {
		for i := m.MapRange(); i.Next(); {
			k, value := i.Key(), i.Value()
			if k.IsMergeKey() != merged {
				continue
			}
			var err error
			if merged {
				err = d.each(value, depth+1, do)
			} else {
				err = do(name(k), k, value)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// name is the text of a key.
func name(k ast.Node) string {
	if s, ok := k.(ast.ScalarNode); ok {
		return fmt.Sprint(s.GetValue())
	}
	return k.String()
}

// Has tells whether the document gives a value for a key, such as "teacher.epochs".
func (d *Document) Has(path string) bool {
	n := d.root
	for _, part := range strings.Split(path, ".") {
		var found ast.Node
		if n == nil || d.each(n, 0, func(k string, _, value ast.Node) error {
			if k == part {
				found = value
			}
			return nil
		}) != nil {
			return false
		}
		n = found
	}
	n = d.resolve(n)
	return n != nil && n.Type() != ast.NullType
}

// Set sets settings to the values in the document; others stay unchanged. Errors say what is
// wrong in the document.
func (d *Document) Set(table settings.Table) error {
	known := d.note(table, "")
	if d.root == nil {
		return nil
	}
	return d.section(d.root, known, "", "", 0)
}

// known holds settings and the fields of sections, by key.
type known struct {
	settings map[string]settings.Setting
	sections map[string]string
}

// note records how the fields of a table are called. element is the name of the list's element to
// which they belong.
func (d *Document) note(table settings.Table, element string) known {
	all := known{map[string]settings.Setting{}, map[string]string{}}
	for _, s := range table {
		field, name := s.Field, key(s.Name)
		d.keys[field] = element + name
		if s.Doc != "" {
			all.settings[name] = s
		}
		if i := strings.LastIndexByte(name, '.'); i >= 0 {
			field = field[:strings.LastIndexByte(field, '.')]
			d.keys[field], all.sections[name[:i]] = element+name[:i], field
		}
	}
	return all
}

// names yields the names of all settings and sections.
func (k known) names() iter.Seq[string] {
	return func(yield func(string) bool) {
		for name := range k.settings {
			if !yield(name) {
				return
			}
		}
		for name := range k.sections {
			if !yield(name) {
				return
			}
		}
	}
}

// section sets the settings of one section, whose name is prefix.
func (d *Document) section(n ast.Node, all known, element, prefix string, depth int) error {
	return d.each(n, depth, func(k string, at, value ast.Node) error {
		full := prefix + k
		if s, ok := all.settings[full]; ok {
			return d.set(s, at, value, element+full, depth)
		}
		field, ok := all.sections[full]
		if !ok {
			near := settings.Nearest(full, slices.Sorted(all.names()))
			if near == "" {
				return d.fail(at, element+full, errors.New("no such setting"))
			}
			return d.fail(at, element+full, fmt.Errorf("no such setting, did you mean %s", element+near))
		}
		d.lines[field] = at.GetToken().Position.Line
		if d.resolve(value) == nil || d.resolve(value).Type() == ast.NullType {
			return nil
		}
		return d.section(value, all, element, full+".", depth+1)
	})
}

// set sets one setting, whose name in the document is called.
func (d *Document) set(s settings.Setting, at, value ast.Node, called string, depth int) error {
	d.lines[s.Field] = at.GetToken().Position.Line
	value = d.resolve(value)
	list, isList := s.Value.(settings.List)
	var err error
	switch {
	case value == nil:
		return d.fail(at, called, errors.New("an alias of nothing"))
	case value.Type() == ast.NullType:
		if isList {
			list.Clear()
		}
		return nil
	case isList:
		return d.list(list, s.Field, called, value, depth+1)
	default:
		err = d.decode(value, s.Value)
	}
	if err != nil {
		return d.fail(at, called, err)
	}
	if s.NotZero && !s.Shown && s.IsZero() {
		return d.fail(at, called, errors.New("0, expected more; without the setting it is the default"))
	}
	return nil
}

// SetList sets a list that is the whole document. In errors that name a field, its elements are
// field[0], field[1], ...
func (d *Document) SetList(list settings.List, field string) error {
	if d.root == nil {
		return nil
	}
	return d.list(list, field, "", d.resolve(d.root), 0)
}

func (d *Document) list(list settings.List, field, called string, value ast.Node, depth int) error {
	seq, ok := value.(*ast.SequenceNode)
	if !ok {
		return d.fail(value, called, errors.New("expected a list"))
	}
	list.Clear()
	for i, v := range seq.Values {
		element := fmt.Sprintf("%s[%d]", called, i)
		of := fmt.Sprintf("%s[%d]", field, i)
		d.keys[of] = element
		if v.GetToken() != nil {
			d.lines[of] = v.GetToken().Position.Line
		}
		all := d.note(list.Add().In("", of), element+".")
		if err := d.section(v, all, element+".", "", depth+1); err != nil {
			return err
		}
	}
	return nil
}

// decode decodes the value of a node into to.
func (d *Document) decode(n ast.Node, to any) error {
	switch to := to.(type) {
	case *[]int:
		return decodeSlice(d, n, to)
	case *[]float64:
		return decodeSlice(d, n, to)
	}
	s, ok := n.(ast.ScalarNode)
	if !ok {
		return errors.New("a list or a section, expected one value")
	}
	if to, ok := to.(encoding.TextUnmarshaler); ok {
		return to.UnmarshalText([]byte(fmt.Sprint(s.GetValue())))
	}
	cut := false // the decoder would turn any number into a whole one
	switch to.(type) {
	case *int, *uint64:
		f, ok := n.(*ast.FloatNode)
		cut = ok && f.Value != math.Trunc(f.Value)
	}
	if err := yaml.NodeToValue(n, to); err != nil || cut {
		return fmt.Errorf("%q, expected %s", fmt.Sprint(s.GetValue()), kind(to))
	}
	return nil
}

// kind says what a value must be.
func kind(to any) string {
	switch to.(type) {
	case *int:
		return "a whole number"
	case *uint64:
		return "a whole number that is not negative"
	case *float64:
		return "a number"
	case *bool:
		return "true or false"
	}
	return "a text"
}

func decodeSlice[T any](d *Document, n ast.Node, to *[]T) error {
	seq, ok := n.(*ast.SequenceNode)
	if !ok {
		return errors.New("expected a list")
	}
	*to = make([]T, len(seq.Values))
	for i, v := range seq.Values {
		if v = d.resolve(v); v == nil {
			return errors.New("an alias of nothing")
		}
		if err := d.decode(v, &(*to)[i]); err != nil {
			return err
		}
	}
	return nil
}

// Locate changes an error that is a *settings.Error so that it names the key, and the line in
// which the document gives it.
func (d *Document) Locate(err error) error {
	var wrong *settings.Error
	if !errors.As(err, &wrong) {
		return err
	}
	called, line := cmp.Or(d.keys[wrong.Field], wrong.Field), d.lines[wrong.Field]
	for of := wrong.Field; line == 0 && of != ""; of = of[:max(0, strings.LastIndexByte(of, '.'))] {
		line = d.lines[of] // line of the element that lacks it
	}
	return &Error{d.path, line, called, wrong.Err, err}
}
