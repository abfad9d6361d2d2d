package linear

import (
	"testing"

	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/data/reviews"
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
