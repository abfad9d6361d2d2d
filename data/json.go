package data

import (
	"encoding/json"
	"io"
	"strconv"

	"github.com/skive-ml/skive/head"
)

// Truth returns the names of what is true of example i: its class, choice or number, all labels
// that hold, or the labels of its words. It is "" if the example has no label.
func (ds *Dataset) Truth(i int) []string {
	e := ds.Examples[i]
	t, ok := truths[ds.Task.Kind]
	if e.Label < 0 || !ok {
		return []string{""}
	}
	return t.labels(ds, e)
}

// truth says how to show the true answer of an example.
type truth struct {
	labels func(set *Dataset, e Example) []string
	// write adds it to a line of JSONL in the form that the general task of the kind reads.
	write func(line *exampleLine, set *Dataset, e Example)
}

var truths = map[head.Kind]truth{
	head.SingleLabel: {
		func(set *Dataset, e Example) []string { return []string{set.Task.Labels[e.Label]} },
		func(line *exampleLine, set *Dataset, e Example) { line.Label = set.Task.Labels[e.Label] },
	},
	head.MultiLabel: {
		namesOf,
		func(line *exampleLine, set *Dataset, e Example) { line.Label = namesOf(set, e) },
	},
	head.Regression: {
		func(_ *Dataset, e Example) []string {
			return []string{strconv.FormatFloat(float64(e.Value), 'g', -1, 32)}
		},
		func(line *exampleLine, _ *Dataset, e Example) { line.Label = e.Value },
	},
	head.MultipleChoice: {
		func(_ *Dataset, e Example) []string { return []string{strconv.Itoa(e.Label)} },
		func(line *exampleLine, _ *Dataset, e Example) { line.Label = e.Label },
	},
	head.TokenClassification: {
		namesOf,
		func(line *exampleLine, set *Dataset, e Example) { line.Labels = namesOf(set, e) },
	},
	head.MaskedLM: {
		func(*Dataset, Example) []string { return []string{""} },
		func(*exampleLine, *Dataset, Example) {},
	},
}

// namesOf returns the names of the labels of an example or its words, "" for none.
func namesOf(set *Dataset, e Example) []string {
	labels := []string{}
	for _, l := range e.Labels {
		name := ""
		if l >= 0 {
			name = set.Task.Labels[l]
		}
		labels = append(labels, name)
	}
	return labels
}

// WriteJSONL writes the examples, one per line, in the form that the general task of their kind
// reads.
func (ds *Dataset) WriteJSONL(w io.Writer) error {
	encode := json.NewEncoder(w)
	encode.SetEscapeHTML(false)
	for i := range ds.Examples {
		if err := encode.Encode(ds.Document(i)); err != nil {
			return err
		}
	}
	return nil
}

// exampleLine is an example in the form that the general task of its kind reads.
type exampleLine struct {
	Text    string   `json:"text"`
	Pair    *string  `json:"text_pair,omitempty"`
	Choices []string `json:"choices,omitempty"`
	Words   []string `json:"tokens,omitempty"`
	Label   any      `json:"label,omitempty"`
	Labels  []string `json:"labels,omitempty"`
}

// Document returns example i for package json, in the form in which WriteJSONL writes it.
func (ds *Dataset) Document(i int) any {
	e := ds.Examples[i]
	line := exampleLine{Text: e.Text, Choices: e.Choices, Words: e.Words}
	if e.HasPair {
		line.Pair = &e.Pair
	}
	if t, ok := truths[ds.Task.Kind]; ok && e.Label >= 0 {
		t.write(&line, ds, e)
	}
	return line
}
