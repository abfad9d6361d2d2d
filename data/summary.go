package data

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/skive-ml/skive/head"
)

// Summary shows at a glance what a data set holds. It is written as JSON.
type Summary struct {
	Task     string `json:"task"`
	Examples int    `json:"examples"`
	// Labels counts the examples of each label. "" counts those without one.
	Labels map[string]int `json:"labels"`
	// First holds the first examples in the form in which WriteJSONL writes them.
	First []any `json:"first"`

	set *Dataset
}

// Summary counts the labels and shows the first examples.
func (ds *Dataset) Summary(first int) *Summary {
	s := &Summary{Task: ds.Task.Name, Examples: len(ds.Examples), Labels: map[string]int{}, First: make([]any, min(first, len(ds.Examples))), set: ds}
	for i := range ds.Examples {
		for _, label := range ds.Truth(i) {
			s.Labels[label]++
		}
	}
	for i := range s.First {
		s.First[i] = ds.Document(i)
	}
	return s
}

// WriteText writes the summary for people.
func (s *Summary) WriteText(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %d examples\n", s.Task, s.Examples)
	labels := append(slices.Clone(s.set.Task.Labels), "")
	if s.set.Task.Kind.Subject() == head.Choices {
		labels = slices.Sorted(maps.Keys(s.Labels))
	}
	for _, label := range labels {
		if s.Labels[label] > 0 {
			fmt.Fprintf(&b, "  %-16q %d\n", label, s.Labels[label])
		}
	}
	for i, e := range s.set.Examples[:len(s.First)] {
		fmt.Fprintf(&b, "%s\t%s", strings.Join(s.set.Truth(i), "|"), e.Text)
		if e.HasPair {
			fmt.Fprintf(&b, "\t%s", e.Pair)
		}
		for _, choice := range e.Choices {
			fmt.Fprintf(&b, "\t%s", choice)
		}
		b.WriteByte('\n')
	}
	_, err := io.WriteString(w, b.String())
	return err
}
