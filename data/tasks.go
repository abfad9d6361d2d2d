package data

import (
	"fmt"
	"slices"
	"strings"

	"github.com/skive-ml/skive/head"
)

// Task says what a model has to answer about texts.
type Task struct {
	// Name is the task's name on the command line.
	Name string
	// Kind is the kind of answer.
	Kind head.Kind
	// Labels are the class names in the order of the class indices.
	Labels []string
	// Pair says that an example is a pair of texts.
	Pair bool
	// Positive is the label whose F1 the benchmark reports. "" means the second one.
	Positive string
	// Metric is the main metric, which decides which model is best. "" means the kind's own, see
	// Metrics.
	Metric string
	// Further lists the other metrics that the benchmark reports.
	Further []string
}

// Metrics returns the names of the task's metrics, the main one first.
func (t Task) Metrics() []string {
	if t.Metric != "" {
		return append([]string{t.Metric}, t.Further...)
	}
	own := t.Kind.Metrics()
	if t.Kind.Subject() == head.Words {
		if tg := t.tagging(); tg != nil && tg.schemes != nil {
			own = append([]string{"entity_f1", "entity_f1_strict"}, own...)
		} else if tg != nil {
			own = append([]string{"entity_f1"}, own...)
		}
	}
	return append(slices.Clone(own), t.Further...)
}

// layout names the columns of an example in one form of a task's files.
type layout struct{ text, pair, label string }

// definition is a task with the forms in which its files are shipped.
type definition struct {
	Task
	layouts []layout
	// positional names the columns of files without a header line (CoLA).
	positional []string
	// title is a column to put before the pair, if it exists.
	title string
	// ragged says that the benchmark's own file has broken lines, which every reader skips (QQP).
	// noGold says that "-" instead of a label means that the annotators did not agree; every user
	// skips such lines.
	ragged, noGold bool
	// grouped says that the examples of a group are measured together. queries says that the most
	// likely example of a group is the answer (ReCoRD). regroup finds the groups if the examples
	// do not name them.
	grouped, queries bool
	regroup          func(examples []Example) bool
	// free says that examples are single texts or pairs, whatever the file has. noTable says that
	// a .txt file is not read as TSV.
	free, noTable bool
	// records, if set, makes the examples of a record instead of the layouts and the kind.
	records func(p *parser, r row, line int) ([]Example, error)
}

// nliLayouts are the layouts of MNLI and SNLI.
var nliLayouts = []layout{{"sentence1", "sentence2", "gold_label"}, {"premise", "hypothesis", "label"}, {"sentence1", "sentence2", "label"}}

// definitions lists the tasks in the order in which users see them. Labels are in the order of
// Hugging Face's data sets. The texts of a pair are in the order of Hugging Face's examples
// run_glue and run_superglue: BoolQ's question comes first.
var definitions = []definition{
	{Task: Task{Name: "sst2", Labels: []string{"negative", "positive"}, Metric: "accuracy"},
		layouts: []layout{{"sentence", "", "label"}}},
	{Task: Task{Name: "cola", Labels: []string{"unacceptable", "acceptable"}, Metric: "matthews", Further: []string{"accuracy"}},
		layouts: []layout{{"sentence", "", "label"}}, positional: []string{"source", "label", "note", "sentence"}},
	{Task: Task{Name: "mrpc", Labels: []string{"not_equivalent", "equivalent"}, Positive: "equivalent", Pair: true, Metric: "f1", Further: []string{"accuracy"}},
		layouts: []layout{{"#1 String", "#2 String", "Quality"}, {"sentence1", "sentence2", "label"}}},
	{Task: Task{Name: "qqp", Labels: []string{"not_duplicate", "duplicate"}, Positive: "duplicate", Pair: true, Metric: "f1", Further: []string{"accuracy"}},
		layouts: []layout{{"question1", "question2", "is_duplicate"}, {"question1", "question2", "label"}}, ragged: true},
	{Task: Task{Name: "stsb", Kind: head.Regression, Pair: true, Metric: "pearson", Further: []string{"spearman"}},
		layouts: []layout{{"sentence1", "sentence2", "score"}, {"sentence1", "sentence2", "label"}}},
	{Task: Task{Name: "mnli", Labels: []string{"entailment", "neutral", "contradiction"}, Pair: true, Metric: "accuracy"},
		layouts: nliLayouts, noGold: true},
	{Task: Task{Name: "snli", Labels: []string{"entailment", "neutral", "contradiction"}, Pair: true, Metric: "accuracy"},
		layouts: nliLayouts, noGold: true},
	{Task: Task{Name: "qnli", Labels: []string{"entailment", "not_entailment"}, Pair: true, Metric: "accuracy"},
		layouts: []layout{{"question", "sentence", "label"}}},
	{Task: Task{Name: "rte", Labels: []string{"entailment", "not_entailment"}, Pair: true, Metric: "accuracy"},
		layouts: []layout{{"sentence1", "sentence2", "label"}, {"premise", "hypothesis", "label"}}},
	{Task: Task{Name: "wnli", Labels: []string{"not_entailment", "entailment"}, Pair: true, Metric: "accuracy"},
		layouts: []layout{{"sentence1", "sentence2", "label"}}},
	{Task: Task{Name: "boolq", Labels: []string{"False", "True"}, Pair: true, Metric: "accuracy"},
		// The data set's own files have a separate title and call the label "answer".
		layouts: []layout{{"question", "passage", "label"}, {"question", "passage", "answer"}}, title: "title"},
	{Task: Task{Name: "cb", Labels: []string{"entailment", "contradiction", "neutral"}, Pair: true, Metric: "f1_macro", Further: []string{"accuracy"}},
		layouts: []layout{{"premise", "hypothesis", "label"}}},
	{Task: Task{Name: "copa", Kind: head.MultipleChoice, Metric: "accuracy"}, records: copa},
	{Task: Task{Name: "multirc", Labels: []string{"0", "1"}, Positive: "1", Pair: true, Metric: "f1a", Further: []string{"em"}}, records: multirc, grouped: true},
	{Task: Task{Name: "record", Labels: []string{"0", "1"}, Positive: "1", Pair: true, Metric: "f1", Further: []string{"em"}}, records: record, grouped: true, queries: true},
	{Task: Task{Name: "wic", Labels: []string{"False", "True"}, Pair: true, Metric: "accuracy"},
		layouts: []layout{{"sentence1", "sentence2", "label"}}, records: wic},
	{Task: Task{Name: "wsc", Labels: []string{"False", "True"}, Metric: "accuracy"},
		layouts: []layout{{"text", "", "label"}}, records: wsc},
	{Task: Task{Name: "axb", Labels: []string{"entailment", "not_entailment"}, Pair: true, Metric: "matthews", Further: []string{"accuracy"}},
		layouts: []layout{{"sentence1", "sentence2", "label"}}},
	{Task: Task{Name: "axg", Labels: []string{"entailment", "not_entailment"}, Pair: true, Metric: "accuracy", Further: []string{"parity"}},
		layouts: []layout{{"premise", "hypothesis", "label"}}, records: axg, grouped: true, regroup: pairs},
	{Task: Task{Name: "text", Metric: "accuracy"}, free: true, noTable: true},
	{Task: Task{Name: "multilabel", Kind: head.MultiLabel}, free: true},
	{Task: Task{Name: "regression", Kind: head.Regression}, free: true},
	{Task: Task{Name: "choice", Kind: head.MultipleChoice, Metric: "accuracy"}},
	{Task: Task{Name: "tokens", Kind: head.TokenClassification}},
	{Task: Task{Name: "mlm", Kind: head.MaskedLM}},
}

// positive returns the number of the label whose F1 is reported.
func (t Task) positive() int32 {
	if i, err := findLabel(t.Labels, t.Positive); err == nil && i >= 0 {
		return int32(i)
	}
	return 1
}

// definition returns the definition of the task by its name.
func (t Task) definition() definition {
	for _, d := range definitions {
		if d.Name == t.Name {
			d.Task = t
			return d
		}
	}
	return definition{Task: t}
}

// TaskByName returns a task of GLUE or SuperGLUE, or one of the tasks for any data: "text",
// "multilabel", "regression", "choice", "tokens" and "mlm". The labels of the latter come from
// the model or the data.
func TaskByName(name string) (Task, error) {
	key := strings.NewReplacer("-", "", "_", "").Replace(strings.ToLower(name))
	for _, d := range definitions {
		if d.Name == key {
			d.Labels = slices.Clone(d.Labels)
			return d.Task, nil
		}
	}
	return Task{}, fmt.Errorf("unknown task %q (one of %s)", name, strings.Join(TaskNames(), ", "))
}

// TaskNames returns the names that TaskByName accepts.
func TaskNames() []string {
	names := make([]string, len(definitions))
	for i, d := range definitions {
		names[i] = d.Name
	}
	return names
}
