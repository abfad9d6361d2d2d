package data

import (
	"fmt"
	"slices"
	"strings"
)

// Task is a classification task.
type Task struct {
	// Name is the task's name on the command line.
	Name string
	// Labels are the class names in the order of the class indices.
	Labels []string
	// Pair says that an example is a pair of texts.
	Pair bool
	// Metric is the benchmark's main metric: "accuracy", "f1" or "matthews".
	Metric string
}

// layout names the columns that hold an example in one form of a task's files.
type layout struct{ text, pair, label string }

// definition is a task with the forms in which its files are shipped.
type definition struct {
	Task
	layouts []layout
	// positional are the columns of files without a header line (CoLA).
	positional []string
	// title is a column to set before the pair, and lead one to set before the
	// text, where they are there.
	title, lead string
	// ragged says that the benchmark's own file has broken lines, which every
	// reader of it skips (QQP).
	ragged bool
}

// definitions are the tasks that a classification head can do, in the order in
// which they are listed to the user. The labels of a task stand in the order
// that Hugging Face's data sets give them, and the texts of a pair in the order
// of its examples run_glue and run_superglue: BoolQ's question comes first.
var definitions = []definition{
	{Task: Task{Name: "sst2", Labels: []string{"negative", "positive"}, Metric: "accuracy"},
		layouts: []layout{{"sentence", "", "label"}}},
	{Task: Task{Name: "cola", Labels: []string{"unacceptable", "acceptable"}, Metric: "matthews"},
		layouts: []layout{{"sentence", "", "label"}}, positional: []string{"source", "label", "note", "sentence"}},
	{Task: Task{Name: "mrpc", Labels: []string{"not_equivalent", "equivalent"}, Pair: true, Metric: "f1"},
		layouts: []layout{{"#1 String", "#2 String", "Quality"}, {"sentence1", "sentence2", "label"}}},
	{Task: Task{Name: "qqp", Labels: []string{"not_duplicate", "duplicate"}, Pair: true, Metric: "f1"},
		layouts: []layout{{"question1", "question2", "is_duplicate"}, {"question1", "question2", "label"}}, ragged: true},
	{Task: Task{Name: "mnli", Labels: []string{"entailment", "neutral", "contradiction"}, Pair: true, Metric: "accuracy"},
		layouts: []layout{{"sentence1", "sentence2", "gold_label"}, {"premise", "hypothesis", "label"}}},
	{Task: Task{Name: "qnli", Labels: []string{"entailment", "not_entailment"}, Pair: true, Metric: "accuracy"},
		layouts: []layout{{"question", "sentence", "label"}}},
	{Task: Task{Name: "rte", Labels: []string{"entailment", "not_entailment"}, Pair: true, Metric: "accuracy"},
		layouts: []layout{{"sentence1", "sentence2", "label"}, {"premise", "hypothesis", "label"}}},
	{Task: Task{Name: "wnli", Labels: []string{"not_entailment", "entailment"}, Pair: true, Metric: "accuracy"},
		layouts: []layout{{"sentence1", "sentence2", "label"}}},
	{Task: Task{Name: "boolq", Labels: []string{"False", "True"}, Pair: true, Metric: "accuracy"},
		// The data set's own files have the title apart and the label as "answer".
		layouts: []layout{{"question", "passage", "label"}, {"question", "passage", "answer"}}, title: "title"},
	{Task: Task{Name: "cb", Labels: []string{"entailment", "contradiction", "neutral"}, Pair: true, Metric: "accuracy"},
		layouts: []layout{{"premise", "hypothesis", "label"}}},
	// Read as a pair led by the word in question; SuperGLUE's baseline adds the
	// vectors of the word, which a head on [CLS] cannot.
	{Task: Task{Name: "wic", Labels: []string{"False", "True"}, Pair: true, Metric: "accuracy"},
		layouts: []layout{{"sentence1", "sentence2", "label"}}, lead: "word"},
	{Task: Task{Name: "text", Metric: "accuracy"}},
}

// unsupported are tasks of GLUE and SuperGLUE with the head that they need.
var unsupported = map[string]string{
	"stsb":    "a regression head",
	"copa":    "a multiple-choice head",
	"wsc":     "a head over two spans",
	"multirc": "scoring of several answers to one question",
	"record":  "scoring of the entities of a passage",
}

// TaskByName returns a task of GLUE or SuperGLUE, or the task "text", whose
// labels come from the model or from the data.
func TaskByName(name string) (Task, error) {
	key := strings.NewReplacer("-", "", "_", "").Replace(strings.ToLower(name))
	for _, d := range definitions {
		if d.Name == key {
			d.Labels = slices.Clone(d.Labels)
			return d.Task, nil
		}
	}
	if head, ok := unsupported[key]; ok {
		return Task{}, fmt.Errorf("task %q needs %s, which is not supported", name, head)
	}
	return Task{}, fmt.Errorf("unknown task %q (one of %s)", name, strings.Join(TaskNames(), ", "))
}

// TaskNames returns the names that TaskByName knows.
func TaskNames() []string {
	names := make([]string, len(definitions))
	for i, d := range definitions {
		names[i] = d.Name
	}
	return names
}
