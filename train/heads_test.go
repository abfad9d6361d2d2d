package train

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/skive-ml/skive/autograd"
	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/evaluate"
	"github.com/skive-ml/skive/head"
	"github.com/skive-ml/skive/internal/golden"
)

// Loss and norm of the gradient of every head are PyTorch's, by the loss function
// that transformers uses (infer/testdata/goldens.py).
func TestHeadLossesArePyTorchs(t *testing.T) {
	t.Parallel()
	for name, kind := range map[string]head.Kind{
		"multi_label": head.MultiLabel, "regression": head.Regression, "multiple_choice": head.MultipleChoice,
		"token": head.TokenClassification, "masked_lm": head.MaskedLM,
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join("..", "infer", "testdata", "heads", name)
			var gold struct {
				Cases []struct {
					IDs, Types []int32
					Label      json.RawMessage
				}
				Loss float64
				Norm float64 `json:"grad_norm"`
			}
			golden.JSON(t, filepath.Join(dir, "golden.json"), &gold)
			m, err := checkpoints.Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			m = m.Clone()
			m.Config.HiddenDropout, m.Config.AttentionDropout, m.Config.ClassifierDropout = 0, 0, 0
			words := []string{"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}
			for i := len(words); i < 60; i++ {
				words = append(words, fmt.Sprint("w", i))
			}
			m.Tokenizer = map[string][]byte{"vocab.txt": []byte(strings.Join(words, "\n"))}

			b := data.Batch{Offsets: []int32{0}}
			var tokens []int32
			parse := func(raw json.RawMessage, v any) {
				if err := json.Unmarshal(raw, v); err != nil {
					t.Fatal(err)
				}
			}
			for i, c := range gold.Cases {
				b.IDs, b.TypeIDs = append(b.IDs, c.IDs...), append(b.TypeIDs, c.Types...)
				for p := range c.IDs {
					b.Positions = append(b.Positions, int32(p))
				}
				b.Offsets, b.Index = append(b.Offsets, int32(len(b.IDs))), append(b.Index, int32(i))
				switch kind {
				case head.Regression:
					var v float32
					parse(c.Label, &v)
					b.Targets = append(b.Targets, v)
				case head.MultiLabel:
					var v []float32
					parse(c.Label, &v)
					b.Targets = append(b.Targets, v...)
				case head.MultipleChoice:
					var v bool
					parse(c.Label, &v)
					label := int32(0)
					if v {
						label = 1
					}
					b.Labels = append(b.Labels, label)
					b.Index[i] = int32(i / 2)
				default:
					var v []int32
					parse(c.Label, &v)
					tokens = append(tokens, v...)
				}
			}
			b.TokenLabels = tokens
			workers := autograd.NewWorkers(2)
			defer workers.Close()
			o, err := supervised(Setup{Model: m, Train: &data.Encoded{Task: data.Task{Kind: kind}}, Workers: workers})
			if err != nil {
				t.Fatal(err)
			}
			defer o.Close()
			parameters, step := o.Parameters(), o.Step
			if masked, ok := o.(*maskedObjective); ok {
				masked.masker.IDs = b.IDs
				for i, label := range tokens {
					if label >= 0 {
						masked.masker.Rows, masked.masker.Labels = append(masked.masker.Rows, int32(i)), append(masked.masker.Labels, label)
					}
				}
				step = masked.graphObjective.Step
			}
			loss, _, err := step(1, &b)
			if err != nil {
				t.Fatal(err)
			}
			sum := 0.0
			for _, p := range parameters {
				for _, g := range p.Gradient {
					sum += float64(g) * float64(g)
				}
			}
			if norm := math.Sqrt(sum); math.Abs(loss-gold.Loss) > 1e-5 || math.Abs(norm-gold.Norm) > 1e-4*gold.Norm {
				t.Errorf("loss %.7f and norm %.6f, want %.7f and %.6f", loss, norm, gold.Loss, gold.Norm)
			}
		})
	}
}

// tinyEncoder is the golden model without its classifier.
func tinyEncoder(t *testing.T) *checkpoints.Model {
	m := golden.Model(t).Clone()
	delete(m.Tensors, "classifier.weight")
	delete(m.Tensors, "classifier.bias")
	m.Config.Labels = nil
	return m
}

// toy makes a data set of a kind that a tiny model can learn.
func toy(kind head.Kind, n int, seed uint64) *data.Dataset {
	r := rand.New(rand.NewPCG(seed, 1))
	words := func(k int) []string {
		w := make([]string, k)
		for i := range w {
			w[i] = fmt.Sprint("w", 5+r.IntN(20))
		}
		return w
	}
	number := func(w string) (n int) { fmt.Sscanf(w, "w%d", &n); return n }
	ds := &data.Dataset{Task: data.Task{Name: "toy", Kind: kind}}
	switch kind {
	case head.MultiLabel:
		ds.Task.Labels = []string{"even", "small", "any"}
	case head.TokenClassification:
		ds.Task.Labels = []string{"B-EVEN", "I-EVEN", "O"}
	}
	for range n {
		w := words(1 + r.IntN(5))
		e := data.Example{Text: strings.Join(w, " ")}
		first := number(w[0])
		switch kind {
		case head.Regression:
			e.Value = float32(first) / 10
		case head.MultiLabel:
			if first%2 == 0 {
				e.Labels = append(e.Labels, 0)
			}
			if first < 12 {
				e.Labels = append(e.Labels, 1)
			}
		case head.MultipleChoice:
			e.Choices = []string{"w50", "w60", "w70"}
			e.Label = r.IntN(3)
			e.Choices[e.Label] = "w80"
		case head.TokenClassification:
			e.Words = w
			for i, word := range w {
				label := int32(2)
				if number(word)%2 == 0 {
					label = 0
					if i > 0 && e.Labels[i-1] != 2 {
						label = 1
					}
				}
				e.Labels = append(e.Labels, label)
			}
		case head.MaskedLM: // three words of the hundred
			for i := range w {
				w[i] = fmt.Sprint("w", 5+r.IntN(3))
			}
			e.Text = strings.Join(w, " ")
		}
		ds.Examples = append(ds.Examples, e)
	}
	return ds
}

var toyKinds = []head.Kind{head.MultiLabel, head.Regression, head.MultipleChoice, head.TokenClassification, head.MaskedLM}

// Every kind of task is learned, measured by its metrics, saved, opened and
// measured again; and a run that was stopped ends with the bits of one that was
// not.
func TestEveryHeadLearnsAndResumes(t *testing.T) {
	t.Parallel()
	for _, kind := range toyKinds {
		t.Run(string(kind), func(t *testing.T) {
			train, dev := toy(kind, 240, 1), toy(kind, 80, 2)
			o := Defaults()
			o.Epochs, o.BatchSize, o.LearningRate, o.Dropout, o.MaxLength = 5, 16, 4e-3, new(0.05), 32
			switch kind {
			case head.MaskedLM:
				o.Epochs, o.BatchSize = 8, 4
			case head.MultiLabel:
				o.Epochs = 10
			}
			o.SaveEvery = 7
			want, result, err := Run(context.Background(), tinyEncoder(t), train, dev, o)
			if err != nil {
				t.Fatal(err)
			}
			start := result.Evaluations[0].Metrics["loss"]
			if end := result.Best.Metrics["loss"]; !(end <= start) {
				t.Errorf("loss %.3f after the first epoch, %.3f at the best", start, end)
			}
			switch v := result.Best.Metrics[result.Metric]; {
			case kind == head.MaskedLM && !(v < 5): // of 3 words
				t.Errorf("perplexity %.2f", v)
			case kind != head.MaskedLM && !(v > 0.8):
				t.Errorf("%s %.3f", result.Metric, v)
			}
			if want.Config.Head != kind {
				t.Errorf("head %q", want.Config.Head)
			}

			// The same run, stopped in the midst and resumed.
			o.Output = filepath.Join(t.TempDir(), "out")
			ctx, stop := context.WithCancel(context.Background())
			o.OnStep = func(r Record) {
				if r.Step == 20 {
					stop()
				}
			}
			if _, _, err := Run(ctx, tinyEncoder(t), train, dev, o); !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
			o.Resume, o.OnStep, o.Threads = true, nil, 1
			got, _, err := Run(context.Background(), tinyEncoder(t), train, dev, o)
			if err != nil {
				t.Fatal(err)
			}
			defer got.Close()
			if !sameWeights(got, want) {
				t.Error("the resumed run ends with other weights")
			}
			metrics, err := evaluate.Model(context.Background(), got, dev, evaluate.Options{MaxLength: o.MaxLength})
			if err != nil || math.Abs(metrics[result.Metric]-result.Best.Metrics[result.Metric]) > 1e-9 {
				t.Errorf("the saved model measures %v, want %v (%v)", metrics, result.Best.Metrics, err)
			}
		})
	}
}

// A masked language model is where a fine-tuning starts from: its head goes, its
// encoder stays.
func TestFineTuningStartsFromAMaskedLM(t *testing.T) {
	t.Parallel()
	lm := tinyEncoder(t)
	if err := lm.SetHead(head.MaskedLM, nil, 1); err != nil {
		t.Fatal(err)
	}
	ds := golden.Data(t)
	o := quick()
	o.Steps, o.LearningRate = 1, 0
	m, _, err := Run(context.Background(), lm, subset(ds, 0, 16), nil, o)
	if err != nil {
		t.Fatal(err)
	}
	if m.Config.Head != head.SingleLabel || !slices.Equal(m.Config.Labels, ds.Task.Labels) || m.Validate() != nil {
		t.Errorf("%+v", m.Config)
	}
	const name = "bert.encoder.layer.1.output.dense.weight"
	if !slices.Equal(m.Tensors[name].Float32s(), lm.Tensors[name].Float32s()) {
		t.Error("the encoder is another one")
	}
	o.Steps, o.LearningRate = 3, 1e-3 // and more text
	if m, _, err = Run(context.Background(), lm, toy(head.MaskedLM, 40, 1), nil, o); err != nil || m.Config.Head != head.MaskedLM {
		t.Error(err)
	}
}

func TestHeadsThatDoNotFit(t *testing.T) {
	t.Parallel()
	ctx, classifier := context.Background(), golden.Model(t)
	regression := tinyEncoder(t)
	if err := regression.SetHead(head.Regression, nil, 1); err != nil {
		t.Fatal(err)
	}
	o := quick()
	unlabeled := toy(head.Regression, 4, 1)
	unlabeled.Examples[2].Label = -1
	outside := toy(head.MultiLabel, 4, 1)
	outside.Examples[1].Labels = []int32{3}
	for _, c := range []struct {
		model *checkpoints.Model
		set   *data.Dataset
		want  string
	}{
		{classifier, toy(head.Regression, 4, 1), `the model's head is for single_label_classification, but the task "toy" is regression`},
		{classifier, toy(head.MaskedLM, 4, 1), `the task "toy" is masked_lm`},
		{regression, golden.Data(t), `the model's head is for regression`},
		{regression, unlabeled, "training set: example 3 has no label"},
		{tinyEncoder(t), outside, "training set: example 2 has label 3, the model's 3 labels (even, small, any) are 0 to 2"},
	} {
		out := filepath.Join(t.TempDir(), "out")
		o.Output = out
		if _, _, err := Run(ctx, c.model, c.set, nil, o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %q", err, c.want)
		}
		if _, err := os.Stat(out); err == nil {
			t.Errorf("%s: something was written", c.want)
		}
	}
	if _, err := evaluate.Model(ctx, classifier, toy(head.Regression, 4, 1), evaluate.Options{}); err == nil || !strings.Contains(err.Error(), "head") {
		t.Error(err)
	}
}

// A data set that was read without the model's labels has an order of its own: it
// is measured by the names, alone and as a run's development set.
func TestLabelsOfAnotherOrder(t *testing.T) {
	t.Parallel()
	ds := golden.Data(t)
	sorted := []string{"BLUE", "green", "red"} // of red, green, blue
	other := &data.Dataset{Task: ds.Task, Examples: slices.Clone(ds.Examples)}
	other.Task.Labels = sorted
	for i := range other.Examples {
		other.Examples[i].Label = 2 - other.Examples[i].Label
	}
	o := quick()
	o.Epochs, o.Steps = 0, 20
	for _, sets := range [][2]*data.Dataset{{ds, ds}, {ds, other}, {other, ds}} {
		m, r, err := Run(context.Background(), golden.Model(t), subset(sets[0], 0, 100), subset(sets[1], 100, 160), o)
		if err != nil {
			t.Fatal(err)
		}
		for _, set := range []*data.Dataset{ds, other} {
			got, err := evaluate.Model(context.Background(), m, subset(set, 100, 160), evaluate.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if got["accuracy"] != r.Best.Metrics["accuracy"] || got["accuracy"] == 0 {
				t.Errorf("accuracy %v, the run had %v", got["accuracy"], r.Best.Metrics["accuracy"])
			}
		}
	}
	other.Task.Labels = []string{"cyan", "green", "red"}
	var e *data.LabelsError
	if _, err := evaluate.Model(context.Background(), golden.Model(t), other, evaluate.Options{}); !errors.As(err, &e) {
		t.Errorf("error %v, want a LabelsError", err)
	}
}
