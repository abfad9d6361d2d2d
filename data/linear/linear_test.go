package linear

import (
	"math"
	"testing"

	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/data/reviews"
	"github.com/skive-ml/skive/head"
)

func TestAccuracy(t *testing.T) {
	t.Parallel()
	// The label is told by one word, or by whether two words meet.
	byWord, byPair := &data.Dataset{}, &data.Dataset{}
	for i := range 400 {
		a, b := []string{"red", "blue"}[i%2], []string{"sky", "sea"}[i/2%2]
		byWord.Examples = append(byWord.Examples, data.Example{Text: a + " " + b, Label: i % 2})
		byPair.Examples = append(byPair.Examples, data.Example{Text: a + " " + b, Label: i%2 ^ i/2%2})
	}
	for _, c := range []struct {
		name     string
		set      *data.Dataset
		features Features
		low, top float64
	}{
		{"word, by words", byWord, Words, 1, 1},
		{"pair, by words", byPair, Words, 0, 0.8},
		{"pair, by pairs", byPair, Pairs, 1, 1},
	} {
		got, err := Accuracy(c.set, c.set, c.features)
		if err != nil || got < c.low || got > c.top {
			t.Errorf("%s: accuracy %.3f (%v), want %.2f to %.2f", c.name, got, err, c.low, c.top)
		}
	}
	// Classes by the thousand cost no more memory.
	many := &data.Dataset{}
	for i := range 200 {
		many.Examples = append(many.Examples, data.Example{Text: "red", Label: i * 300})
	}
	if got, err := Accuracy(many, many, Words); err != nil || got > 0.1 {
		t.Errorf("many classes: accuracy %.3f (%v)", got, err)
	}
	if _, err := Accuracy(byWord, &data.Dataset{Examples: []data.Example{{Label: -1}}}, Words); err == nil {
		t.Error("an example without label: no error")
	}
}

// The embedded task is worth something only while words and pairs of words do
// not decide it.
func TestReviewsHaveALowFloor(t *testing.T) {
	t.Parallel()
	train, dev := reviews.Generate(reviews.Options{Train: 60000, Dev: 3000, Seed: 1})
	for _, f := range []Features{Words, Pairs} {
		got, err := Accuracy(train, dev, f)
		if err != nil || got >= 0.7 {
			t.Errorf("%s: accuracy %.3f (%v), want less than 0.7", f, got, err)
		}
		t.Logf("%s: %.3f", f, got)
	}
}

// Each kind of task has a floor: words that tell the truth are learned, and one answer
// to everything is what it is.
func TestOutcomeOfEveryKind(t *testing.T) {
	t.Parallel()
	add := func(ds *data.Dataset, n int, example func(i int) data.Example) *data.Dataset {
		for i := range n {
			ds.Examples = append(ds.Examples, example(i))
		}
		return ds
	}
	colours := []string{"red", "green", "blue"}
	for _, c := range []struct {
		metric       string
		set          *data.Dataset
		learned, one float64 // what words reach at least, and one answer exactly
	}{
		{"f1", add(&data.Dataset{Task: data.Task{Name: "mrpc", Labels: []string{"no", "yes"}, Positive: "yes"}}, 90, func(i int) data.Example {
			return data.Example{Text: "sky", Pair: colours[i%3], HasPair: true, Label: min(i%3, 1)}
		}), 1, 0.8},
		{"f1_micro", add(&data.Dataset{Task: data.Task{Kind: head.MultiLabel, Labels: colours}}, 90, func(i int) data.Example {
			return data.Example{Text: colours[i%3] + " " + colours[(i+1)%3], Labels: []int32{int32(i % 3), int32((i + 1) % 3)}}
		}), 1, 0.8},
		{"pearson", add(&data.Dataset{Task: data.Task{Kind: head.Regression}}, 90, func(i int) data.Example {
			return data.Example{Text: colours[i%3], Value: float32(i % 3)}
		}), 0.99, 0},
		{"accuracy", add(&data.Dataset{Task: data.Task{Kind: head.MultipleChoice}}, 90, func(i int) data.Example {
			return data.Example{Text: "sky", Choices: []string{colours[i%3], colours[(i+1)%3]}, Label: []int{1, 1, 0}[i%3]}
		}), 1, 2.0 / 3},
		{"accuracy", add(&data.Dataset{Task: data.Task{Kind: head.TokenClassification, Labels: []string{"O", "X"}}}, 90, func(i int) data.Example {
			return data.Example{Text: "a red b", Words: []string{"a", colours[i%3], "b"}, Labels: []int32{0, int32(i % 3 % 2), 0}}
		}), 1, 8.0 / 9},
	} {
		learned, err := Outcome(c.set, c.set, Words)
		if err != nil {
			t.Fatal(err)
		}
		one, err := MostFrequent(c.set, c.set)
		if err != nil {
			t.Fatal(err)
		}
		got, _ := learned.Metric(c.metric)
		still, err := one.Metric(c.metric)
		if err != nil || got < c.learned || math.Abs(still-c.one) > 1e-6 {
			t.Errorf("%s %s: %g by words, want %g at least; %g by one answer, want %g (%v)", c.set.Task.Kind, c.metric, got, c.learned, still, c.one, err)
		}
	}
	if _, err := Outcome(&data.Dataset{Task: data.Task{Kind: head.MaskedLM}}, &data.Dataset{}, Words); err == nil {
		t.Error("a masked language model's task: no error")
	}
}
