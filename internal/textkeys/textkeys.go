// Package textkeys knows the names for the parts of an input, in requests and in data, and which
// other names are probably misspelt ones.
package textkeys

import (
	"slices"
	"strings"
)

// All holds the keys of an input.
var All = []string{"text", "text_pair", "choices"}

// Meant returns the key of an input for which another key is probably meant, or "". The other key
// may differ in letter case or in how its words are joined, have one mistake in a long word, or
// be another common name of a second text.
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

// Header tells whether a line looks like the first line of a table: column names, with at least
// one common one.
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

// oneSlip tells whether two words differ by one letter that is missing, added or wrong, or by two
// letters that are exchanged.
func oneSlip(a, b string) bool {
	for len(a) > 0 && len(b) > 0 && a[0] == b[0] {
		a, b = a[1:], b[1:]
	}
	for len(a) > 0 && len(b) > 0 && a[len(a)-1] == b[len(b)-1] {
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	return len(a) <= 1 && len(b) <= 1 || len(a) == 2 && len(b) == 2 && a[0] == b[1] && a[1] == b[0]
}
