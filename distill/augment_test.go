package distill

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/head"
	"github.com/skive-ml/skive/tokenize"
)

// colours is a model whose embeddings lie on a circle, so that it is plain which
// words are near.
func colours(t *testing.T) *checkpoints.Model {
	t.Helper()
	vocab := []string{"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "orange", "yellow", "cold", "cool", "##er", ",", "12"}
	tok, err := tokenize.NewWordPiece(vocab, true)
	if err != nil {
		t.Fatal(err)
	}
	m := checkpoints.InitBERT(checkpoints.Config{
		ModelType: "bert", VocabSize: len(vocab), MaxPositions: 16, TypeVocabSize: 2, HiddenSize: 2, HeadDim: 2,
		Layers: []checkpoints.LayerSize{{Heads: 1, Intermediate: 4}}, Activation: "gelu", LayerNormEps: 1e-12, Labels: []string{"no", "yes"},
	}, 1)
	m.Tokenizer = tok.Files()
	rows := m.Tensors["bert.embeddings.word_embeddings.weight"].Float32s()
	copy(rows[2*5:], []float32{1, 0, 3, 0.3, 1, 0.3 /* cold */, -1, 0.1, -2, 0})
	return m
}

func TestAugmentReplacesWholeWordsByNearOnes(t *testing.T) {
	t.Parallel()
	m := colours(t)
	ds := &data.Dataset{Task: data.Task{Name: "text"}, Examples: []data.Example{
		{Text: "Red,  12 cooler ünder", Pair: "cold", HasPair: true, Label: 1}, {Text: "12 cooler", Label: 0},
	}}
	out, err := Augment(context.Background(), ds, m, AugmentOptions{Copies: 40, Probability: 0.5, Candidates: 1, Seed: 3})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for _, e := range out.Examples {
		seen[e.Text+"|"+e.Pair]++
		if e.Label != -1 || !e.HasPair {
			t.Fatalf("%+v", e)
		}
	}
	// "red" is nearest to "orange", "cold" to "cool"; a number, a word of two
	// pieces and an unknown one stay, and so does all that is between.
	for _, want := range []string{"orange,  12 cooler ünder|cold", "Red,  12 cooler ünder|cool", "orange,  12 cooler ünder|cool"} {
		if seen[want] == 0 {
			t.Errorf("no example %q in %v", want, seen)
		}
		delete(seen, want)
	}
	if len(seen) > 0 {
		t.Errorf("unexpected: %v", seen)
	}
	again, err := Augment(context.Background(), ds, m, AugmentOptions{Copies: 40, Probability: 0.5, Candidates: 1, Seed: 3})
	if err != nil || len(again.Examples) != len(out.Examples) || again.Examples[7].Text != out.Examples[7].Text {
		t.Errorf("the same seed gives other examples (%v)", err)
	}
}

func TestAugmentRefuses(t *testing.T) {
	t.Parallel()
	m := colours(t)
	ds := &data.Dataset{Examples: []data.Example{{Text: "red"}}}
	for _, c := range []struct {
		o    AugmentOptions
		want string
	}{
		{AugmentOptions{Copies: 0, Probability: 0.4, Candidates: 3}, "Copies: 0, expected"},
		{AugmentOptions{Copies: 1, Probability: 1.4, Candidates: 3}, "Probability: 1.4, expected"},
		{AugmentOptions{Copies: 1, Probability: 0.4}, "Candidates: 0, expected"},
	} {
		if _, err := Augment(context.Background(), ds, m, c.o); err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%+v: error %v, want %q", c.o, err, c.want)
		}
	}
}

// speaker is the model of colours as a masked language model that knows by heart
// what follows a word: its hidden states say nothing, its bias all.
func speaker(t *testing.T) *checkpoints.Model {
	t.Helper()
	m := colours(t)
	if err := m.SetHead(head.MaskedLM, nil, 1); err != nil {
		t.Fatal(err)
	}
	clear(m.Tensors["cls.predictions.transform.LayerNorm.weight"].Float32s())
	bias := m.Tensors["cls.predictions.bias"].Float32s()
	copy(bias[5:], []float32{1, 5, 2, 4, 3, 9 /* ##er */, 9, 9})
	return m
}

// With a masked language model, words of one token give way to what it finds
// likeliest in their place, longer ones to the nearest of the mean of their tokens.
func TestAugmentAsksAMaskedLanguageModel(t *testing.T) {
	t.Parallel()
	m := speaker(t)
	ds := &data.Dataset{Task: data.Task{Name: "copa", Kind: head.MultipleChoice}, Examples: []data.Example{
		{Text: "Red, 12 cooler", Choices: []string{"orange", "12"}, Label: 1},
	}}
	o := AugmentOptions{Copies: 60, Probability: 0.5, Candidates: 1, Seed: 3, Threads: 1}
	out, err := Augment(context.Background(), ds, m, o)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, e := range out.Examples {
		seen[e.Text+"|"+strings.Join(e.Choices, "|")] = true
		if e.Label != -1 {
			t.Fatalf("%+v", e)
		}
	}
	// Likeliest is "orange", and "cold" where that stood; the mean of "cool" and
	// "##er" is nearest to "cool".
	want := map[string]bool{}
	for _, first := range []string{"Red", "orange"} {
		for _, last := range []string{"cooler", "cool"} {
			for _, choice := range []string{"orange", "cold"} {
				want[first+", 12 "+last+"|"+choice+"|12"] = true
			}
		}
	}
	delete(want, "Red, 12 cooler|orange|12")
	if !maps.Equal(seen, want) {
		t.Errorf("%v, want %v", slices.Sorted(maps.Keys(seen)), slices.Sorted(maps.Keys(want)))
	}
	o.Threads = 2
	again, err := Augment(context.Background(), ds, m, o)
	if err != nil || !slices.EqualFunc(again.Examples, out.Examples, func(a, b data.Example) bool { return a.Text == b.Text && slices.Equal(a.Choices, b.Choices) }) {
		t.Errorf("the same seed gives other examples (%v)", err)
	}
	if ds.Examples[0].Choices[0] != "orange" {
		t.Error("the example itself is changed")
	}
	// A text longer than the model: what it cannot see has nearest words.
	long := &data.Dataset{Examples: []data.Example{{Text: strings.Repeat("12 ", 20) + "red"}}}
	o.Candidates, o.Probability = 3, 1
	if out, err = Augment(context.Background(), long, m, o); err != nil || len(out.Examples) != o.Copies {
		t.Errorf("%d examples (%v)", len(out.Examples), err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Augment(ctx, ds, m, o); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// What the model says depends on the words round the mask, not on the others of
// the batch: each candidate is that of its own text.
func TestAugmentReadsTheContext(t *testing.T) {
	t.Parallel()
	m := colours(t)
	if err := m.SetHead(head.MaskedLM, nil, 7); err != nil {
		t.Fatal(err)
	}
	for _, name := range m.Names() { // far from the beginning, so that contexts differ
		for i := range m.Tensors[name].Float32s() {
			m.Tensors[name].Float32s()[i] *= 8
		}
	}
	texts := []string{"red cold", "cold red", "yellow yellow red", "red 12 , 12"}
	ds := &data.Dataset{}
	for _, text := range texts {
		ds.Examples = append(ds.Examples, data.Example{Text: text})
	}
	o := AugmentOptions{Copies: 1, Probability: 1, Candidates: 1, Seed: 1}
	together, err := Augment(context.Background(), ds, m, o)
	if err != nil {
		t.Fatal(err)
	}
	for i := range texts {
		alone, err := Augment(context.Background(), &data.Dataset{Examples: ds.Examples[i : i+1]}, m, o)
		if err != nil || alone.Examples[0].Text != together.Examples[i].Text {
			t.Errorf("%q: %v, with others %q (%v)", texts[i], alone, together.Examples[i].Text, err)
		}
	}
}
