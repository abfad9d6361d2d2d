// Package textkeys knows what the parts of an input are called, in what is asked of a
// model and in data, and which other names are likely to be slips.
package textkeys

import (
	"slices"
	"strings"
)

// All are the keys of an input.
var All = []string{"text", "text_pair", "choices"}

// Meant returns the key of an input that another key may be meant for: it differs
// in letter case or in what joins its words, or by one slip in a long one, or is
// another common name of a second text. It is "" for any other.
func Meant(key string) string {
	if slices.Contains(All, key) || len(key) > 16 {
		return ""
	}
	letters := strings.NewReplacer("_", "", "-", "", " ", "", ".", "").Replace(strings.ToLower(key))
	switch letters {
	case "text":
		return "text"
	case "pair", "text2", "textb":
		return "text_pair"
	}
	for _, known := range All[1:] {
		if oneSlip(letters, strings.ReplaceAll(known, "_", "")) {
			return known
		}
	}
	return ""
}

// columns are common names of columns in tables of examples.
var columns = append([]string{"label", "labels", "sentence", "sentence1", "sentence2", "premise", "hypothesis", "question"}, All...)

// Header tells whether a line looks like the first one of a table: names of columns, with
// a common one among them.
func Header(line string) bool {
	for _, separator := range []string{",", "\t", ";"} {
		names := strings.Split(strings.TrimSpace(line), separator)
		if len(names) > 1 && slices.ContainsFunc(names, func(name string) bool {
			return slices.Contains(columns, strings.ToLower(strings.Trim(name, `" `)))
		}) {
			return true
		}
	}
	return false
}

// oneSlip tells whether two words are equal but for a letter that is missing, added or
// another one, or two that are exchanged.
func oneSlip(a, b string) bool {
	for len(a) > 0 && len(b) > 0 && a[0] == b[0] {
		a, b = a[1:], b[1:]
	}
	for len(a) > 0 && len(b) > 0 && a[len(a)-1] == b[len(b)-1] {
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	return len(a) <= 1 && len(b) <= 1 || len(a) == 2 && len(b) == 2 && a[0] == b[1] && a[1] == b[0]
}
