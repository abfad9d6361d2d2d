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

// LabelIndex returns the index of a class name, or -1.
func (t Task) LabelIndex(name string) int { return slices.Index(t.Labels, name) }

// tasks are the tasks that a classification head can do, in the order in which
// they are listed to the user. The labels of a task stand in the order that
// Hugging Face's data sets give them.
var tasks = []Task{
	{Name: "sst2", Labels: []string{"negative", "positive"}, Metric: "accuracy"},
	{Name: "cola", Labels: []string{"unacceptable", "acceptable"}, Metric: "matthews"},
	{Name: "mrpc", Labels: []string{"not_equivalent", "equivalent"}, Pair: true, Metric: "f1"},
	{Name: "qqp", Labels: []string{"not_duplicate", "duplicate"}, Pair: true, Metric: "f1"},
	{Name: "mnli", Labels: []string{"entailment", "neutral", "contradiction"}, Pair: true, Metric: "accuracy"},
	{Name: "qnli", Labels: []string{"entailment", "not_entailment"}, Pair: true, Metric: "accuracy"},
	{Name: "rte", Labels: []string{"entailment", "not_entailment"}, Pair: true, Metric: "accuracy"},
	{Name: "wnli", Labels: []string{"not_entailment", "entailment"}, Pair: true, Metric: "accuracy"},
	{Name: "boolq", Labels: []string{"False", "True"}, Pair: true, Metric: "accuracy"},
	{Name: "cb", Labels: []string{"entailment", "contradiction", "neutral"}, Pair: true, Metric: "accuracy"},
	{Name: "text", Metric: "accuracy"},
}

// unsupported are tasks of GLUE and SuperGLUE with the head that they need.
var unsupported = map[string]string{
	"stsb":    "a regression head",
	"copa":    "a multiple-choice head",
	"wic":     "a head over the spans of two words",
	"wsc":     "a head over two spans",
	"multirc": "scoring of several answers to one question",
	"record":  "scoring of the entities of a passage",
}

// TaskByName returns a task of GLUE or SuperGLUE, or the task "text", whose
// labels come from the model or from the data.
func TaskByName(name string) (Task, error) {
	key := strings.NewReplacer("-", "", "_", "").Replace(strings.ToLower(name))
	for _, t := range tasks {
		if t.Name == key {
			t.Labels = slices.Clone(t.Labels)
			return t, nil
		}
	}
	if head, ok := unsupported[key]; ok {
		return Task{}, fmt.Errorf("task %q needs %s, which is not supported", name, head)
	}
	return Task{}, fmt.Errorf("unknown task %q (one of %s)", name, strings.Join(TaskNames(), ", "))
}

// TaskNames returns the names that TaskByName knows.
func TaskNames() []string {
	names := make([]string, len(tasks))
	for i, t := range tasks {
		names[i] = t.Name
	}
	return names
}
