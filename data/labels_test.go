package data

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestRelabel(t *testing.T) {
	for _, c := range []struct {
		name        string
		task, model string // labels
		want        string // the model's class of each of the task's, or an error
	}{
		{"the same", "a b", "a b", "0 1"},
		{"another order", "entailment neutral contradiction", "contradiction entailment neutral", "1 2 0"},
		{"another case", "negative positive", "NEGATIVE POSITIVE", "0 1"},
		{"another case and order", "negative positive", "Positive Negative", "1 0"},
		{"white space", "negative positive", "negative\u00a0 \u00a0positive", "0 1"},
		{"more than the task has", "negative positive", "negative neutral positive", "0 2"},
		{"fewer than the task has", "entailment neutral contradiction", "entailment not_entailment", `"neutral" is not among`},
		{"as many of other names", "a b", "c d", `"a" is not among`},
		{"names that say nothing", "negative positive", "LABEL_0 LABEL_1", "0 1"},
		{"too many names that say nothing", "negative positive", "LABEL_0 LABEL_1 LABEL_2", `"negative" is not among`},
		{"numbers as names that say nothing", "False True", "0 1", "0 1"},
		{"numbers of classes", "0 1", "negative positive", "0 1"},
		{"some numbers of classes", "0 2", "negative neutral positive", "0 2"},
		{"numbers of classes that say nothing", "0 1", "LABEL_0 LABEL_1 LABEL_2", "0 1"},
		{"a number beyond the classes", "1 2", "negative positive", "2 is not the number of a class from 0 to 1"},
		{"a number below the classes", "-1 1", "negative positive", "-1 is not the number"},
		{"integers as names", "1 3 5", "1 2 3 4 5", "0 2 4"},
		{"integers as names, in another order", "-1 0 1", "1 0 -1", "2 1 0"},
		{"an integer that is no name", "0 1", "1 2 3", `"0" is not among`},
		{"two of one name", "yes Yes", "YES no", `"yes" and "Yes" are both the model's "YES"`},
		{"one of two names", "YES no", "yes Yes no", `"YES" may be "yes" or "Yes"`},
		{"the spelling goes first", "Yes no", "yes Yes no", "1 2"},
		{"another script", "ΝΑΙ όχι", "όχι ναι", "1 0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			task, model := strings.Split(c.task, " "), strings.Split(c.model, " ")
			for _, kind := range []Kind{SingleLabel, MultiLabel, TokenClassification} {
				ds := &Dataset{Task: Task{Name: "text", Kind: kind, Labels: task}}
				for i := range task {
					ds.Examples = append(ds.Examples, Example{Label: i}, Example{Labels: []int32{int32(i), -1}})
				}
				ds.Examples = append(ds.Examples, Example{Label: -1})
				got, err := ds.Relabel(model)
				if strings.Trim(c.want, "0123456789 ") != "" {
					var e *LabelsError
					if !errors.As(err, &e) || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), strings.Join(model, ", ")) || !strings.Contains(err.Error(), strings.Join(task, ", ")) {
						t.Fatalf("error %v, want both lists and %q", err, c.want)
					}
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				var single, several []string
				for i := range task {
					single = append(single, fmt.Sprint(got.Examples[2*i].Label))
					several = append(several, fmt.Sprint(got.Examples[2*i+1].Labels[0]))
				}
				if s := strings.Join(several, " "); s != c.want {
					t.Errorf("%q: classes %s, want %s", kind, s, c.want)
				}
				if s := strings.Join(single, " "); kind == SingleLabel && s != c.want {
					t.Errorf("classes %s, want %s", s, c.want)
				}
				if last := got.Examples[len(got.Examples)-1].Label; last != -1 || got.Examples[1].Labels[1] != -1 {
					t.Errorf("%q: an example without a label got one", kind)
				}
				if len(got.Task.Labels) != len(model) {
					t.Errorf("%q: %d labels, the model has %d", kind, len(got.Task.Labels), len(model))
				}
				if ds.Examples[0].Label != 0 || ds.Examples[1].Labels[0] != 0 {
					t.Errorf("%q: the data set itself was changed", kind)
				}
			}
		})
	}
}

// F1 is that of the label that the benchmark names, whatever its number.
func TestPositiveLabel(t *testing.T) {
	mrpc, err := TaskByName("mrpc")
	if err != nil {
		t.Fatal(err)
	}
	o := &Outcome{Task: mrpc, Predicted: []int32{1, 1, 0, 1}, Want: []int32{1, 0, 0, 1}, Unit: []int32{0, 1, 2, 3}}
	want, err := o.Metric("f1")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		labels []string
		order  []int32 // of not_equivalent and equivalent
	}{
		{[]string{"EQUIVALENT", "NOT_EQUIVALENT"}, []int32{1, 0}},
		{[]string{"unknown", "Not_Equivalent", "Equivalent"}, []int32{1, 2}},
	} {
		other := &Outcome{Task: mrpc, Unit: o.Unit}
		other.Task.Labels = c.labels
		for i := range o.Want {
			other.Predicted, other.Want = append(other.Predicted, c.order[o.Predicted[i]]), append(other.Want, c.order[o.Want[i]])
		}
		if got, err := other.Metric("f1"); err != nil || got != want {
			t.Errorf("%v: F1 %v, %v, want %v", c.labels, got, err, want)
		}
		if d, _, err := o.Difference(other, "f1"); err != nil || d != 0 {
			t.Errorf("%v: a difference of %v, %v between equal answers", c.labels, d, err)
		}
	}
}
