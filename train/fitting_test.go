package train

import (
	"fmt"
	"strings"
	"testing"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/tokenize"
)

// What fits a set follows from its rows, labels, lengths and the model; what is given
// stays.
func TestFitted(t *testing.T) {
	t.Parallel()
	tok, err := tokenize.NewWordPiece([]string{"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "w"}, true)
	if err != nil {
		t.Fatal(err)
	}
	set := func(rows, labels, words int) *data.Encoded {
		ds := &data.Dataset{}
		for i := range labels {
			ds.Task.Labels = append(ds.Task.Labels, fmt.Sprint("label ", i))
		}
		text := strings.Repeat("w ", words)
		for range rows {
			ds.Examples = append(ds.Examples, data.Example{Text: text})
		}
		enc, err := data.Encode(ds, tok, 0)
		if err != nil {
			t.Fatal(err)
		}
		return enc
	}
	fitting := Defaults()
	fitting.Epochs, fitting.LearningRate = 0, 0
	with := func(change func(*Options)) Options {
		o := fitting
		change(&o)
		return o
	}
	for _, c := range []struct {
		name                        string
		o                           Options
		width, rows, labels, words  int
		dev                         int // rows
		longer                      float64
		epochs, steps, batch, every int
		rate                        float64
		patience                    int
	}{
		{"a large set", fitting, 384, 60000, 2, 1, 800, 1, 1, 0, 32, 0, 1e-4, 0},
		{"a middle one", fitting, 768, 3000, 2, 1, 400, 1, 7, 0, 16, 0, 5e-5, 3},
		{"a small one", fitting, 384, 1000, 2, 1, 250, 1, 20, 0, 16, 0, 1e-4, 6},
		{"a very small one beside a large development set", fitting, 384, 100, 2, 1, 800, 1, 20, 0, 8, 26, 1e-4, 3},
		{"many labels", fitting, 384, 10000, 77, 1, 3000, 1, 12, 0, 32, 0, 1e-4, 4},
		{"long texts", fitting, 768, 3000, 2, 300, 30, 1, 7, 0, 8, 0, 5e-5, 3},
		{"a distillation", fitting, 384, 1000, 2, 1, 250, 2, 40, 0, 16, 0, 1e-4, 13},
		{"a given number of epochs", with(func(o *Options) { o.Epochs = 9 }), 384, 1000, 2, 1, 250, 1, 9, 0, 16, 0, 1e-4, 0},
		{"a given number of steps", with(func(o *Options) { o.Steps = 50 }), 384, 1000, 2, 1, 250, 1, 0, 50, 16, 0, 1e-4, 0},
		{"a given rate", with(func(o *Options) { o.LearningRate = 3e-5 }), 384, 1000, 2, 1, 250, 1, 20, 0, 16, 0, 3e-5, 6},
		{"a given patience and size", with(func(o *Options) { o.Patience, o.BatchSize = 2, 4 }), 384, 1000, 2, 1, 250, 1, 20, 0, 4, 0, 1e-4, 2},
		{"batches of tokens", with(func(o *Options) { o.BatchTokens = 512 }), 384, 1000, 2, 1, 250, 1, 20, 0, 0, 0, 1e-4, 6},
	} {
		o, why := c.o.Fitted(checkpoints.Config{HiddenSize: c.width}, set(c.rows, c.labels, c.words), set(c.dev, c.labels, c.words), c.longer)
		got := fmt.Sprint(o.Epochs, o.Steps, o.BatchSize, o.EvalEvery, o.LearningRate, o.Patience)
		if want := fmt.Sprint(c.epochs, c.steps, c.batch, c.every, c.rate, c.patience); got != want {
			t.Errorf("%s: epochs, steps, batch, every, rate, patience %s, want %s", c.name, got, want)
		}
		if err := o.Validate(); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if !strings.Contains(why, fmt.Sprintf("for %d examples with %d tokens on average, %d labels, width %d", c.rows, c.words+2, c.labels, c.width)) {
			t.Errorf("%s: said %q", c.name, why)
		}
	}
	given := Defaults()
	given.BatchSize = 32
	if o, why := given.Fitted(checkpoints.Config{HiddenSize: 384}, set(10, 2, 1), nil, 1); why != "" || fmt.Sprint(o) != fmt.Sprint(given) {
		t.Errorf("all is given: said %q", why)
	}
}
