package data

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A LabelsError tells that classes of a task are not classes of the model.
type LabelsError struct {
	// Model and Task are the class names of both, in order. TaskName is the name of the task.
	Model, Task []string
	TaskName    string
	// Reason says what does not match.
	Reason string
	// Numbered says that the labels of the data are numbers of the classes in Task
	// (Dataset.Numbered), and that the model has another order.
	Numbered bool
}

func (e *LabelsError) Error() string {
	if e.Numbered {
		return fmt.Sprintf("the model's labels are %s, and the data's are numbers in the order %s: %s", ListLabels(e.Model), ListLabels(e.Task), e.Reason)
	}
	return fmt.Sprintf("the model's labels are %s, those of the task %q are %s: %s", ListLabels(e.Model), e.TaskName, ListLabels(e.Task), e.Reason)
}

// ListLabels returns labels for people, at most the first dozen.
func ListLabels(labels []string) string {
	const most = 12
	switch {
	case len(labels) == 0:
		return "none"
	case len(labels) > most:
		return fmt.Sprintf("%s and %d more", strings.Join(labels[:most], ", "), len(labels)-most)
	}
	return strings.Join(labels, ", ")
}

// Relabel returns the data set with the labels of a model, in the model's order. The model may
// have more labels than the task. If classes do not match, the error is a *LabelsError.
//
// Labels are matched by their exact name, or else regardless of letter case and surrounding white
// space. Some names are just numbers. LABEL_0, LABEL_1, ... or 0, 1, ... of a model stand for the
// task's labels in their order. Integers of a data set are numbers of the model's classes, unless
// one of the model's names is an integer. Labels that are numbers of another model's classes
// (Dataset.Numbered) match if both models have the same order.
//
// The data set is returned unchanged if its task has no named labels. If the order is the same,
// the result shares its examples.
func (ds *Dataset) Relabel(labels []string) (*Dataset, error) {
	if !ds.Task.Kind.Named() || len(ds.Task.Labels) == 0 || len(labels) == 0 || slices.Equal(ds.Task.Labels, labels) {
		return ds, nil
	}
	order, names, err := matchLabels(ds.Task.Labels, labels)
	if err != nil {
		return nil, &LabelsError{Model: labels, Task: ds.Task.Labels, TaskName: ds.Task.Name, Reason: err.Error()}
	}
	same := true
	for i, to := range order {
		same = same && i == to
	}
	if ds.Numbered && !same {
		return nil, &LabelsError{Model: labels, Task: ds.Task.Labels, TaskName: ds.Task.Name, Reason: OneOrder, Numbered: true}
	}
	out := *ds
	out.encoded = nil // other labels
	out.Task.Labels, out.Numbered = slices.Clone(names), ds.Numbers(labels)
	if same {
		return &out, nil
	}
	to := func(label int) int {
		if label < 0 || label >= len(order) {
			return label // of a data set made by hand; checks report it
		}
		return order[label]
	}
	out.Examples = slices.Clone(ds.Examples)
	for i := range out.Examples {
		e := &out.Examples[i]
		if ds.Task.Kind.OneClass() {
			e.Label = to(e.Label)
		}
		e.Labels = slices.Clone(e.Labels)
		for j, l := range e.Labels {
			e.Labels[j] = int32(to(int(l)))
		}
	}
	return &out, nil
}

// OneOrder says what is expected if the labels of data are numbers.
const OneOrder = "expected the same order, or names in the data"

// Numbers tells whether labels of the data set, for a model with these labels, are class numbers
// and not names.
func (ds *Dataset) Numbers(model []string) bool {
	own := ds.Task.Labels
	return ds.Numbered || ds.Task.Kind.Named() && len(own) > 0 && integers(own) && noIntegers(model)
}

// matchLabels returns, for each of a task's labels, its number in a model, and the resulting
// class names.
func matchLabels(task, model []string) (order []int, names []string, err error) {
	order = make([]int, len(task))
	switch {
	case integers(task) && noIntegers(model):
		for i, name := range task {
			n, err := strconv.Atoi(wholeNumber(name))
			if err != nil || n < 0 || n >= len(model) {
				return nil, nil, fmt.Errorf("%s is not the number of a class from 0 to %d", name, len(model)-1)
			}
			order[i] = n
		}
		return order, model, nil
	case StandFor(model, task):
		for i := range order {
			order[i] = i
		}
		return order, task, nil
	}
	taken := make(map[int]string, len(task))
	for i, name := range task {
		n, err := findLabel(model, name)
		switch {
		case err != nil:
			return nil, nil, err
		case n < 0:
			return nil, nil, fmt.Errorf("%q is not among the model's", name)
		}
		if other, twice := taken[n]; twice {
			return nil, nil, fmt.Errorf("%q and %q are both the model's %q", other, name, model[n])
		}
		taken[n], order[i] = name, n
	}
	return order, model, nil
}

// MatchLabels returns, for each of a task's labels, its number in a model, by the rules of
// Dataset.Relabel.
func MatchLabels(task, model []string) ([]int, error) {
	order, _, err := matchLabels(task, model)
	return order, err
}

// StandFor tells whether a model's labels are just numbers and as many as the task's, so that
// they stand for the task's labels in this order.
func StandFor(model, task []string) bool {
	return Unnamed(model) && len(task) == len(model) && !(integers(model) && integers(task))
}

// Unnamed tells whether labels are just numbers of the classes: LABEL_0, LABEL_1, ..., which
// transformers invents, or 0, 1, ...
func Unnamed(labels []string) bool {
	is := func(prefix string) bool {
		for i, l := range labels {
			if l != prefix+strconv.Itoa(i) {
				return false
			}
		}
		return true
	}
	return is("LABEL_") || is("")
}

// integers tells whether all labels are integers, including forms like 1.0.
func integers(labels []string) bool {
	return !slices.ContainsFunc(labels, func(l string) bool { return !isInteger(wholeNumber(l)) })
}

// noIntegers tells whether none of a model's class names is an integer. Then integers can only be
// numbers of its classes.
func noIntegers(model []string) bool {
	return !slices.ContainsFunc(model, func(l string) bool { return isInteger(wholeNumber(l)) })
}

// fraction matches a number with a decimal point.
var fraction = regexp.MustCompile(`^\s*[-+]?[0-9]*\.[0-9]+\s*$`)

// wholeNumber returns a label without surrounding white space, and 1 for 1.0. Programs write
// integers with a point in columns where values are missing.
func wholeNumber(s string) string {
	s = strings.TrimSpace(s)
	if digits, zeros, ok := strings.Cut(s, "."); ok && isInteger(digits) && zeros != "" && strings.Trim(zeros, "0") == "" {
		return digits
	}
	return s
}

func isInteger(s string) bool {
	digits := strings.TrimPrefix(s, "-")
	for _, c := range digits {
		if c < '0' || c > '9' {
			return false
		}
	}
	return digits != ""
}

// findLabel returns the number of the label with this name, or -1. An exact match comes first.
// Otherwise it is the only label that is equal regardless of letter case and surrounding white
// space, or the same integer.
func findLabel(labels []string, name string) (int, error) {
	if i := slices.Index(labels, name); i >= 0 {
		return i, nil
	}
	found := -1
	plain := wholeNumber(name)
	for i, l := range labels {
		if !strings.EqualFold(wholeNumber(l), plain) {
			continue
		}
		if found >= 0 {
			return -1, fmt.Errorf("%q may be %q or %q", name, labels[found], l)
		}
		found = i
	}
	return found, nil
}
