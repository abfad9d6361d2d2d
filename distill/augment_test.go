package distill

import (
	"strings"
	"testing"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
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
	m := colours(t)
	ds := &data.Dataset{Task: data.Task{Name: "text"}, Examples: []data.Example{
		{Text: "Red,  12 cooler ünder", Pair: "cold", HasPair: true, Label: 1}, {Text: "12 cooler", Label: 0},
	}}
	out, err := Augment(ds, m, AugmentOptions{Copies: 40, Probability: 0.5, Candidates: 1, Seed: 3})
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
	again, err := Augment(ds, m, AugmentOptions{Copies: 40, Probability: 0.5, Candidates: 1, Seed: 3})
	if err != nil || len(again.Examples) != len(out.Examples) || again.Examples[7].Text != out.Examples[7].Text {
		t.Errorf("the same seed gives other examples (%v)", err)
	}
}

func TestAugmentRefuses(t *testing.T) {
	m := colours(t)
	ds := &data.Dataset{Examples: []data.Example{{Text: "red"}}}
	for _, c := range []struct {
		o    AugmentOptions
		want string
	}{
		{AugmentOptions{Copies: 0, Probability: 0.4, Candidates: 3}, "augment 0: want"},
		{AugmentOptions{Copies: 1, Probability: 1.4, Candidates: 3}, "augment-probability 1.4: want"},
		{AugmentOptions{Copies: 1, Probability: 0.4}, "augment-candidates 0: want"},
	} {
		if _, err := Augment(ds, m, c.o); err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%+v: error %v, want %q", c.o, err, c.want)
		}
	}
}
