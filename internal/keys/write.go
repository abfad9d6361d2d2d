package keys

import (
	"bytes"
	"encoding/json"
	"strings"

	"github.com/goccy/go-yaml"

	"github.com/skive-ml/skive/settings"
)

// Marshal writes settings as YAML, in their order. It leaves out those that are zero unless they
// are Shown.
func Marshal(table settings.Table) ([]byte, error) {
	return yaml.Marshal(yaml.MapSlice(tree(table, "")))
}

// MarshalJSON writes the same settings as JSON.
func MarshalJSON(table settings.Table) ([]byte, error) { return json.Marshal(tree(table, "")) }

// object is a section: its keys in order, with their values.
type object yaml.MapSlice

// tree returns the section called prefix. The settings of a section must be adjacent.
func tree(table settings.Table, prefix string) object {
	var o object
	for len(table) > 0 {
		s := table[0]
		k := strings.TrimPrefix(key(s.Name), prefix)
		if section, _, ok := strings.Cut(k, "."); ok {
			full, n := prefix+section+".", 0
			for n < len(table) && strings.HasPrefix(key(table[n].Name), full) {
				n++
			}
			if below := tree(table[:n], full); len(below) > 0 {
				o = append(o, yaml.MapItem{Key: section, Value: below})
			}
			table = table[n:]
			continue
		}
		if s.Doc != "" && (s.Shown || !s.IsZero()) {
			o = append(o, yaml.MapItem{Key: k, Value: value(s)})
		}
		table = table[1:]
	}
	return o
}

func value(s settings.Setting) any {
	list, ok := s.Value.(settings.List)
	if !ok {
		return s.Get()
	}
	all := make([]object, list.Len())
	for i := range all {
		all[i] = tree(list.At(i), "")
	}
	return all
}

// MarshalYAML and MarshalJSON keep the order of the keys.
func (o object) MarshalYAML() (any, error) { return yaml.MapSlice(o), nil }

func (o object) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, item := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		k, err := json.Marshal(item.Key)
		if err != nil {
			return nil, err
		}
		v, err := json.Marshal(item.Value)
		if err != nil {
			return nil, err
		}
		b.Write(k)
		b.WriteByte(':')
		b.Write(v)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}
