package data

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/skive-ml/skive/head"
)

func TestRelabel(t *testing.T) {
	t.Parallel()
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
		{"bare numbers beside integers in another order", "2 1 0", "0 1 2", "2 1 0"},
		{"numbers as names that say nothing", "False True", "0 1", "0 1"},
		{"numbers of classes", "0 1", "negative positive", "0 1"},
		{"some numbers of classes", "0 2", "negative neutral positive", "0 2"},
		{"numbers of classes that say nothing", "0 1", "LABEL_0 LABEL_1 LABEL_2", "0 1"},
		{"a number beyond the classes", "1 2", "negative positive", "2 is not the number of a class from 0 to 1"},
		{"a number below the classes", "-1 1", "negative positive", "-1 is not the number"},
		{"numbers beside numbers that say nothing", "1 2 3", "0 1 2", `"3" is not among`},
		{"integers as names", "1 3 5", "1 2 3 4 5", "0 2 4"},
		{"integers as names, in another order", "-1 0 1", "1 0 -1", "2 1 0"},
		{"integers as names, with points", "1 3 5", "1.0 2.0 3.0 4.0 5.0", "0 2 4"},
		{"integers with points as names", "1.0 3.0", "1 2 3", "0 2"},
		{"numbers of classes with points", "0.0 2.0", "negative neutral positive", "0 2"},
		{"an integer that is no name", "0 1", "1 2 3", `"0" is not among`},
		{"two of one name", "yes Yes", "YES no", `"yes" and "Yes" are both the model's "YES"`},
		{"one of two names", "YES no", "yes Yes no", `"YES" may be "yes" or "Yes"`},
		{"the spelling goes first", "Yes no", "yes Yes no", "1 2"},
		{"another script", "ΝΑΙ όχι", "όχι ναι", "1 0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			task, model := strings.Split(c.task, " "), strings.Split(c.model, " ")
			for _, kind := range []head.Kind{head.SingleLabel, head.MultiLabel, head.TokenClassification} {
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
				if s := strings.Join(single, " "); kind == head.SingleLabel && s != c.want {
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

// Numbers in the place of names are those of one model's classes: they hold for a model
// that counts alike, and for no other.
func TestNumbersOfClasses(t *testing.T) {
	t.Parallel()
	colours := []string{"red", "green", "blue"}
	for _, c := range []struct {
		name, task, content string
		o                   ReadOptions
		numbered            bool
	}{
		{"integers", "text", `{"text": "a", "label": 1}`, ReadOptions{ModelLabels: colours}, true},
		{"integers as strings of JSON", "text", `{"text": "a", "label": 1.0}`, ReadOptions{ModelLabels: colours}, true},
		{"an integer among names", "text", `{"text": "a", "label": "red"}` + "\n" + `{"text": "a", "label": 1}`, ReadOptions{ModelLabels: colours}, true},
		{"names", "text", `{"text": "a", "label": "Red"}`, ReadOptions{ModelLabels: colours}, false},
		{"names that are integers", "text", `{"text": "a", "label": 2}`, ReadOptions{ModelLabels: []string{"1", "2"}}, false},
		{"numbers that count themselves", "text", `{"text": "a", "label": 1}`, ReadOptions{ModelLabels: []string{"0", "1"}}, false},
		{"the caller's own order", "text", `{"text": "a", "label": 1}`, ReadOptions{Labels: colours, ModelLabels: []string{"a", "b"}}, false},
		{"the task's order", "sst2", `{"sentence": "a", "label": 1}`, ReadOptions{ModelLabels: []string{"POSITIVE", "NEGATIVE"}}, false},
		{"classes of words", "tokens", `{"tokens": ["a"], "ner_tags": [2]}`, ReadOptions{ModelLabels: colours}, true},
		{"several labels", "multilabel", `{"text": "a", "label": [0, 2]}`, ReadOptions{ModelLabels: colours}, true},
		{"0 or 1 for each label", "multilabel", `{"text": "a", "label": [0, 1, 1]}`, ReadOptions{ModelLabels: colours}, true},
		{"several names", "multilabel", `{"text": "a", "label": ["red"]}`, ReadOptions{ModelLabels: colours}, false},
		{"labels that are not read", "text", `{"text": "a", "label": 1}`, ReadOptions{ModelLabels: colours, NoLabels: true}, false},
		{"a model without names", "text", `{"text": "a", "label": 1}` + "\n" + `{"text": "a", "label": 0}`, ReadOptions{}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			ds, err := readContent(t, "x.jsonl", c.task, c.content, c.o)
			if err != nil || ds.Numbered != c.numbered {
				t.Fatalf("numbered %v, %v, want %v", ds.Numbered, err, c.numbered)
			}
			for model, fits := range map[string]bool{"RED green blue": true, "red green blue violet": true, "blue red green": !c.numbered} {
				if c.task == "sst2" || len(ds.Task.Labels) != 3 {
					continue
				}
				got, err := ds.Relabel(strings.Fields(model))
				var e *LabelsError
				switch {
				case !fits && (!errors.As(err, &e) || !strings.Contains(err.Error(), "red, green, blue") || !strings.Contains(err.Error(), "blue, red, green") || !strings.Contains(err.Error(), OneOrder)):
					t.Errorf("%s: %v, want both lists", model, err)
				case fits && (err != nil || got.Numbered != c.numbered):
					t.Errorf("%s: %v", model, err)
				}
			}
		})
	}
	// Read without a model, they are numbers of the first that they are for.
	ds, err := readContent(t, "x.jsonl", "text", `{"text": "a", "label": 1}`+"\n"+`{"text": "a", "label": 2}`, ReadOptions{RequireLabels: true})
	if err == nil {
		ds, err = ds.Relabel(colours)
	}
	if err != nil || !ds.Numbered || ds.Examples[0].Label != 1 {
		t.Fatalf("%+v, %v", ds, err)
	}
	if _, err := ds.Relabel([]string{"blue", "red", "green"}); err == nil || !strings.Contains(err.Error(), OneOrder) {
		t.Errorf("a second model: %v", err)
	}
}

// F1 is that of the label that the benchmark names, whatever its number.
func TestPositiveLabel(t *testing.T) {
	t.Parallel()
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

// A label is what it says, in whatever way a program writes it.
func TestLabelsAsProgramsWriteThem(t *testing.T) {
	t.Parallel()
	stars := ReadOptions{RequireLabels: true, Labels: []string{"1", "2", "3"}}
	floats := ReadOptions{RequireLabels: true, Labels: []string{"1.0", "2.0", "3.0"}}
	names := ReadOptions{RequireLabels: true, Labels: []string{"neg", "pos"}}
	need := ReadOptions{RequireLabels: true}
	for _, c := range []struct {
		name, file, task, content string
		o                         ReadOptions
		want                      string
	}{
		{"integers of a column with missing values", "x.csv", "text", "text,label\na,1.0\nb,2.0\nc,10.0\n", need, "[1 2 10] 0[] 1[] 2[]"},
		{"class numbers with points", "x.csv", "text", "text,label\na,1.0\nb,0.0\n", names, "[neg pos] 1[] 0[]"},
		{"class numbers with points in JSON", "x.jsonl", "text", `{"text": "a", "label": 1.0}` + "\n" + `{"text": "a", "label": 0}`, names, "[neg pos] 1[] 0[]"},
		{"names with points", "x.csv", "text", "text,label\na,1.0\nb,3.0\n", stars, "[1 2 3] 0[] 2[]"},
		{"integers for names with points", "x.csv", "text", "text,label\na,1\nb,2\n", floats, "[1.0 2.0 3.0] 0[] 1[]"},
		{"the spelling goes first", "x.csv", "text", "text,label\na,1.0\nb,1\n", ReadOptions{Labels: []string{"1", "1.0"}}, "[1 1.0] 1[] 0[]"},
		{"strings of JSON keep their points", "x.jsonl", "text", `{"text": "a", "label": "1.0"}` + "\n" + `{"text": "a", "label": "1.5"}`, need, "[1.0 1.5] 0[] 1[]"},
		{"test labels with points", "x.csv", "sst2", "sentence,label\na,-1.0\n", ReadOptions{}, "[negative positive] -1[]"},
		{"skipped labels with points", "x.csv", "snli", "premise,hypothesis,label\na,b,-1.0\na,b,2.0\n", need, "[entailment neutral contradiction] 2[]"},
		{"the number of a choice", "x.jsonl", "choice", `{"text": "a", "choices": ["b", "c"], "label": 1.0}`, need, "[] 1[]"},
		{"white space around names", "x.csv", "text", "text,label\na,pos \nb,pos\nc, neg\n", need, "[neg pos] 1[] 1[] 0[]"},
		{"white space around several names", "x.csv", "multilabel", "text,label\na,x | y\nb,y\n", need, "[x y] 0[0 1] 0[1]"},
		{"Windows' line ends and a byte-order mark", "x.csv", "text", "\ufefftext,label\r\na,pos\r\nb,neg\r\n", need, "[neg pos] 1[] 0[]"},
		{"words without a label, as transformers numbers it", "x.jsonl", "tokens", `{"tokens": ["a", "b", "c"], "ner_tags": [-100, 1, 0]}`, need, "[0 1] 0[-1 1 0]"},
		{"as data sets of the hub number it", "x.jsonl", "tokens", `{"tokens": ["a", "b", "c"], "ner_tags": [-1, 1, 0]}`, need, "[0 1] 0[-1 1 0]"},
		{"such words in columns", "x.conll", "tokens", "a\t-100\nb\t1\nc\t-1\nd\t0\n", need, "[0 1] 0[-1 1 -1 0]"},
		{"-1 beside names", "x.jsonl", "tokens", `{"tokens": ["a", "b"], "labels": ["O", -1]}`, need, "[O] 0[0 -1]"},
		{"-1 of a model's words", "x.jsonl", "tokens", `{"tokens": ["a", "b"], "ner_tags": [1, -1]}`, names, "[neg pos] 0[1 -1]"},
		{"-1 as a class of words", "x.jsonl", "tokens", `{"tokens": ["a", "b"], "ner_tags": [1, -1]}`, ReadOptions{Labels: []string{"-1", "1"}}, "[-1 1] 0[1 0]"},
		{"-1 as a name of JSON", "x.jsonl", "tokens", `{"tokens": ["a", "b"], "labels": ["1", "-1"]}`, need, "[-1 1] 0[1 0]"},
		{"-1 as a class of texts", "x.csv", "text", "text,label\na,-1\nb,1\nc,0\n", need, "[-1 0 1] 0[] 2[] 1[]"},
		{"class numbers in columns", "x.conll", "tokens", "a 1\nb 0\n", names, "[neg pos] 0[1 0]"},
		{"such words of a model", "x.jsonl", "tokens", `{"tokens": ["a", "b"], "ner_tags": [1, -100]}`, names, "[neg pos] 0[1 -1]"},
		{"a class of that name", "x.jsonl", "tokens", `{"tokens": ["a", "b"], "ner_tags": [1, -100]}`, ReadOptions{Labels: []string{"-100", "1"}}, "[-100 1] 0[1 0]"},
		{"labels that are passed over", "x.jsonl", "text", `{"text": "a", "label": 3.5}` + "\n" + `{"text": "a", "label": ["?"]}`, ReadOptions{NoLabels: true, RequireLabels: true}, "[] -1[] -1[]"},
		{"several labels that are passed over", "x.jsonl", "multilabel", `{"text": "a", "label": "?"}`, ReadOptions{NoLabels: true}, "[] -1[]"},
		{"labels of words that are passed over", "x.jsonl", "tokens", `{"tokens": ["a"], "labels": ["?", "?"]}`, ReadOptions{NoLabels: true, Labels: []string{"O"}}, "[O] -1[]"},
		{"numbers that are passed over", "x.jsonl", "regression", `{"text": "a", "label": "?"}`, ReadOptions{NoLabels: true}, "[] -1[]"},
		{"choices that are passed over", "x.jsonl", "choice", `{"text": "a", "choices": ["b", "c"], "label": 7}`, ReadOptions{NoLabels: true}, "[] -1[]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ds, err := readContent(t, c.file, c.task, c.content, c.o)
			if err != nil {
				t.Fatal(err)
			}
			got := fmt.Sprint(ds.Task.Labels)
			for _, e := range ds.Examples {
				got += fmt.Sprintf(" %d%v", e.Label, e.Labels)
			}
			if got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}

// Two models are compared by what their labels mean.
func TestDifferenceBetweenLabelOrders(t *testing.T) {
	t.Parallel()
	words := func(s string) []string { return strings.Fields(s) }
	for _, c := range []struct {
		name                string
		kind                head.Kind
		labels, otherLabels string
		want, otherWant     []int32
		fits                bool
	}{
		{"one class", head.SingleLabel, "a b c", "c a b", []int32{0, 1, 2}, []int32{1, 2, 0}, true},
		{"one class, other truth", head.SingleLabel, "a b c", "c a b", []int32{0, 1, 2}, []int32{0, 1, 2}, false},
		{"names that say nothing", head.SingleLabel, "a b c", "LABEL_0 LABEL_1 LABEL_2", []int32{0, 1, 2}, []int32{0, 1, 2}, true},
		{"more labels", head.SingleLabel, "a b", "x B A", []int32{0, 1, 1}, []int32{2, 1, 1}, true},
		{"words", head.TokenClassification, "O B-X", "B-X O", []int32{0, 1, 1}, []int32{1, 0, 0}, true},
		{"several labels", head.MultiLabel, "a b c", "c a b", []int32{1, 1, 0}, []int32{0, 1, 1}, true},
		{"several labels, other truth", head.MultiLabel, "a b c", "c a b", []int32{1, 1, 0}, []int32{1, 1, 0}, false},
		{"several labels of other names", head.MultiLabel, "a b c", "c a d", []int32{1, 1, 0}, []int32{0, 1, 1}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			unit := []int32{0, 1, 2}
			if c.kind == head.MultiLabel {
				unit = []int32{0, 0, 0}
			}
			a := &Outcome{Task: Task{Name: "text", Kind: c.kind, Labels: words(c.labels)}, Predicted: c.want, Want: c.want, Unit: unit}
			b := &Outcome{Task: Task{Name: "text", Kind: c.kind, Labels: words(c.otherLabels)}, Predicted: c.otherWant, Want: c.otherWant, Unit: unit}
			if d, _, err := a.Difference(b, "accuracy"); d != 0 || (err == nil) != c.fits {
				t.Errorf("difference %v, %v", d, err)
			}
		})
	}
}
