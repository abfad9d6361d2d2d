package data

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/skive-ml/skive/head"
)

// outcomes reads units of answers.
func outcome(task Task, predicted, want [][]int32) *Outcome {
	o := &Outcome{Task: task}
	for u := range want {
		o.Predicted, o.Want = append(o.Predicted, predicted[u]...), append(o.Want, want[u]...)
		for range want[u] {
			o.Unit = append(o.Unit, int32(u))
		}
	}
	return o
}

func units(list []int32, size int) [][]int32 { return slices.Collect(slices.Chunk(list, size)) }

func TestOutcomesAreThoseOfTheOfficialScorers(t *testing.T) {
	t.Parallel()
	var golden struct {
		Correlations []struct {
			X, Y              []float32
			Pearson, Spearman float64
		}
		Several []struct {
			Labels                 int
			Predicted, Want        []int32
			Accuracy, Micro, Macro float64
		}
		Entities []struct {
			Predicted, Want [][]int32
			F1, Accuracy    float64
		}
		Schemes []struct {
			Scheme          string
			Labels          []string
			Predicted, Want [][]int32
			F1              float64
			Strict          *float64
		}
		MultiRC []struct {
			Predicted, Want [][]int32
			F1a, EM         float64
		}
		Record []struct {
			Prediction string
			Answers    []string
			F1         float64
			EM         bool
		}
	}
	b, err := os.ReadFile("testdata/metrics.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &golden); err != nil {
		t.Fatal(err)
	}
	near := func(o *Outcome, name string, want float64) {
		t.Helper()
		got, err := o.Metric(name)
		if err != nil || math.Abs(got-want) > 1e-9 {
			t.Errorf("%s is %v, want %v (%v)", name, got, want, err)
		}
		interval, err := o.Interval(name)
		if err != nil || !(interval[0] <= want+1e-9 && want-1e-9 <= interval[1]) && len(o.Unit) > 2 {
			t.Errorf("%s %v has interval %v (%v)", name, want, interval, err)
		}
		if again, _ := o.Interval(name); again != interval {
			t.Errorf("%s: another interval the second time", name)
		}
	}
	for _, g := range golden.Correlations {
		o := &Outcome{Task: task(t, "stsb"), Scores: g.X, Values: g.Y}
		for i := range g.X {
			o.Unit = append(o.Unit, int32(i))
		}
		near(o, "pearson", g.Pearson)
		near(o, "spearman", g.Spearman)
	}
	for _, g := range golden.Several {
		multi := Task{Kind: head.MultiLabel}
		for l := range g.Labels {
			multi.Labels = append(multi.Labels, fmt.Sprint(l))
		}
		o := outcome(multi, units(g.Predicted, g.Labels), units(g.Want, g.Labels))
		near(o, "accuracy", g.Accuracy)
		near(o, "f1_micro", g.Micro)
		near(o, "f1_macro", g.Macro)
	}
	for _, g := range golden.Entities {
		o := outcome(Task{Kind: head.TokenClassification, Labels: []string{"O", "B-PER", "I-PER", "B-LOC", "I-LOC"}}, g.Predicted, g.Want)
		near(o, "entity_f1", g.F1)
		near(o, "accuracy", g.Accuracy)
	}
	seen := map[string]bool{}
	for _, g := range golden.Schemes {
		o := outcome(Task{Kind: head.TokenClassification, Labels: g.Labels}, g.Predicted, g.Want)
		if seen[g.Scheme] = true; o.Scheme() != g.Scheme {
			t.Errorf("%v: the scheme is %q, want %q", g.Labels, o.Scheme(), g.Scheme)
		}
		near(o, "entity_f1", g.F1)
		if g.Strict != nil {
			near(o, "entity_f1_strict", *g.Strict)
		}
		if has := slices.Contains(o.Task.Metrics(), "entity_f1_strict"); has != (g.Strict != nil) {
			t.Errorf("%v: strict mode %v", g.Labels, has)
		}
	}
	if len(seen) != 13 {
		t.Errorf("schemes %v, want six, each with its marks first and last, and others", seen)
	}
	for _, g := range golden.MultiRC {
		o := outcome(task(t, "multirc"), g.Predicted, g.Want)
		near(o, "f1a", g.F1a)
		near(o, "em", g.EM)
	}
	for _, g := range golden.Record {
		best, exact := float32(0), false
		for _, a := range g.Answers {
			best = max(best, overlap(answerWords(g.Prediction), answerWords(a)))
			exact = exact || slices.Equal(answerWords(g.Prediction), answerWords(a))
		}
		if math.Abs(float64(best)-g.F1) > 1e-6 || exact != g.EM {
			t.Errorf("%q for %q earns %v, %v, want %v, %v", g.Prediction, g.Answers, best, exact, g.F1, g.EM)
		}
	}
	// Two queries: of the first the better entity is chosen, of the second a poor one.
	o := &Outcome{Task: task(t, "record"), Predicted: []int32{0, 1, 1, 0}, Want: []int32{0, 1, 0, 1}, Values: []float32{0.5, 1, 0.5, 1}, Unit: []int32{0, 0, 1, 1}}
	near(o, "f1", 0.75)
	near(o, "em", 0.5)
	// Of the three pairs of AX-g two are answered alike.
	near(outcome(task(t, "axg"), units([]int32{0, 0, 1, 0, 1, 1}, 2), units([]int32{0, 0, 0, 0, 1, 1}, 2)), "parity", 2.0/3)
}

// What marks entities and what does not.
func TestScheme(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		labels string
		want   [][]int32
		scheme string
	}{
		{"O B-PER I-PER", [][]int32{{1, 2, 0}}, "IOB2"},
		{"O B-PER I-PER", [][]int32{{2, 2, 1, 2}}, "IOB1"},
		{"O B-PER I-PER", [][]int32{{2, 2, 0, 1, 2}}, "IOB2"}, // a mistake of IOB2
		{"O B-PER I-PER", nil, "IOB2"},
		{"O I-PER", [][]int32{{1, 1, 0}}, "IOB1"},
		{"O B-PER", [][]int32{{1, 1, 0}}, "IOB2"},
		{"O E-PER I-PER", [][]int32{{2, 2, 0}}, "IOE1"},
		{"O E-PER I-PER", [][]int32{{2, 1, 0}}, "IOE2"},
		{"B-PER I-PER E-PER S-PER", [][]int32{{0}}, "IOBES"},
		{"O S-PER", [][]int32{{0}}, "IOBES"},
		{"O U-PER L-PER B-PER", [][]int32{{0}}, "BILOU"},
		{"O B I", [][]int32{{1, 2, 0}}, "IOB2"},
		{"O PER-B PER-I", [][]int32{{1, 2, 0}}, "IOB2, marks last"},
		{"B M E S", [][]int32{{0}}, "other"},
		{"O B-PER I-PER [PAD]", [][]int32{{0}}, "other"},
		{"NOUN VERB O", [][]int32{{0}}, ""},
		{"S M L", [][]int32{{0}}, ""}, // sizes
		{"N E S W", [][]int32{{0}}, ""},
		{"LABEL_0 LABEL_1", [][]int32{{0}}, ""},
		{"B-cell T-cell NK-cell", [][]int32{{0}}, "other"},
	} {
		o := outcome(Task{Kind: head.TokenClassification, Labels: strings.Fields(c.labels)}, c.want, c.want)
		if got := o.Scheme(); got != c.scheme {
			t.Errorf("%s, %v: %q, want %q", c.labels, c.want, got, c.scheme)
		}
		if entities := o.Task.Metrics()[0] == "entity_f1"; entities != (c.scheme != "") {
			t.Errorf("%s: metrics %v", c.labels, o.Task.Metrics())
		}
	}
	if s := (&Outcome{Task: task(t, "sst2")}).Scheme(); s != "" {
		t.Errorf("a task of one class has scheme %q", s)
	}
}

func TestMetricsOfEveryTask(t *testing.T) {
	t.Parallel()
	for _, name := range TaskNames() {
		o := &Outcome{Task: task(t, name), Predicted: []int32{1, 0}, Want: []int32{1, 1}, Unit: []int32{0, 1}}
		if o.Task.Kind == head.Regression || o.Task.Kind == head.MaskedLM || name == "record" {
			o.Scores, o.Values = []float32{1, 2}, []float32{1, 3}
		}
		if o.Task.Kind.Named() && len(o.Task.Labels) == 0 {
			o.Task.Labels = []string{"O", "B-X"}
		}
		for _, metric := range o.Task.Metrics() {
			if v, err := o.Metric(metric); err != nil || math.IsNaN(v) {
				t.Errorf("%s: %s is %v (%v)", name, metric, v, err)
			}
		}
		if _, err := o.Metric("bleu"); err == nil {
			t.Errorf("%s has a metric bleu", name)
		}
		if _, err := (&Outcome{Task: o.Task}).Metric(o.Task.Metrics()[0]); !errors.Is(err, ErrEmpty) {
			t.Errorf("%s: metric of nothing: %v", name, err)
		}
	}
}

// The numbers of examples of the benchmarks' files, of questions, and of the
// answers that are right.
func TestReadHarderBenchmarkFiles(t *testing.T) {
	t.Parallel()
	dir := filepath.Join("..", "..", "shared", "data")
	if _, err := os.Stat(dir); err != nil {
		t.Skip(err)
	}
	for _, c := range []struct {
		file, task             string
		examples, units, right int
	}{
		{"superglue/COPA/train.jsonl", "copa", 400, 1, 205},
		{"superglue/COPA/val.jsonl", "copa", 100, 1, 45},
		{"superglue/COPA/test.jsonl", "copa", 500, 1, -1},
		{"superglue/MultiRC/val.jsonl", "multirc", 4848, 953, 2075},
		{"superglue/MultiRC/test.jsonl", "multirc", 9693, 1820, -1},
		{"superglue/ReCoRD/train.part-fewglue-32.jsonl", "record", 397, 32, 44},
		{"glue/STS-B/train.tsv", "stsb", 5749, 1, 0},
		{"glue/STS-B/dev.tsv", "stsb", 1500, 1, 0},
		{"glue/STS-B/test.tsv", "stsb", 1379, 1, -1},
	} {
		ds, err := Read(filepath.Join(dir, c.file), task(t, c.task), ReadOptions{RequireLabels: c.right >= 0})
		if err != nil {
			t.Error(err)
			continue
		}
		right, groups := 0, 0
		for _, e := range ds.Examples {
			if e.Label < 0 != (c.right < 0) {
				t.Fatalf("%s: %+v", c.file, e)
			}
			right, groups = right+max(e.Label, 0), max(groups, e.Group+1)
		}
		if len(ds.Examples) != c.examples || groups != c.units || right != max(c.right, 0) {
			t.Errorf("%s: %d examples, %d units, %d right, want %+v", c.file, len(ds.Examples), groups, right, c)
		}
	}
}

// TestDifferenceIsPaired compares two classifiers of 1,000 examples, of which
// one is right on 60 that the other is wrong on, and wrong on 20.
func TestDifferenceIsPaired(t *testing.T) {
	t.Parallel()
	a, b := &Outcome{Task: task(t, "sst2")}, &Outcome{Task: task(t, "sst2")}
	for i := range int32(1000) {
		for o, right := range map[*Outcome]bool{a: i < 820 || i >= 980, b: i < 760 || i >= 960} {
			o.Unit, o.Want = append(o.Unit, i), append(o.Want, 1)
			if right {
				o.Predicted = append(o.Predicted, 1)
			} else {
				o.Predicted = append(o.Predicted, 0)
			}
		}
	}
	got, interval, err := a.Difference(b, "accuracy")
	if err != nil || math.Abs(got-0.04) > 1e-12 {
		t.Fatalf("difference %v, want 0.04 (%v)", got, err)
	}
	// The variance of the difference of paired proportions.
	width := 1.96 * math.Sqrt((0.06+0.02-0.04*0.04)/1000)
	for side, want := range []float64{got - width, got + width} {
		if math.Abs(interval[side]-want) > 0.003 {
			t.Errorf("interval %v, want about %v to %v", interval, got-width, got+width)
		}
	}
	if back, other, _ := b.Difference(a, "accuracy"); back != -got || other != [2]float64{-interval[1], -interval[0]} {
		t.Errorf("the other way round %v %v, want %v %v turned", back, other, got, interval)
	}
	b.Want = slices.Clone(b.Want)
	b.Want[7] = 0
	if _, _, err := a.Difference(b, "accuracy"); err == nil {
		t.Error("outcomes of other data are compared")
	}
}
