package train

import (
	"context"
	"errors"
	"fmt"

	"github.com/skive-ml/skive/autograd"
	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/head"
	"github.com/skive-ml/skive/layers"
)

// Run trains a copy of model on trainSet and returns the model that was best on devSet, or the
// last one if devSet is nil. The kind of the task decides the loss. It is cross-entropy with the
// class, the right choice, the class of each word, or the word behind a mask. For several labels
// it is binary cross-entropy with each of them, and for numbers the squared difference. A model
// without a head gets a new one.
//
// With Options.Output, that directory receives the best model so far as a Hugging Face directory,
// the training state in StateDir, and the curves in CurvesFile. Every file is complete at any
// time. The returned model is then the one in the directory and must be closed.
//
// Errors that a caller may want to tell apart: *settings.Error, *DivergedError, *SettingsError,
// *evaluate.LabelError, data.ErrEmpty, and those of the context, see Fit.
func Run(ctx context.Context, model *checkpoints.Model, trainSet, devSet *data.Dataset, o Options) (*checkpoints.Model, *Result, error) {
	p := Problem{Build: supervised, supervised: true}
	if trainSet != nil {
		p.Weighted = trainSet.Task.Kind.Outputs() == head.Classes
	}
	return Fit(ctx, model, trainSet, devSet, o, p)
}

// supervised returns the objective of plain fine-tuning: the loss of the task's kind.
func supervised(s Setup) (Objective, error) {
	if build := losses[s.Train.Task.Kind].objective; build != nil {
		return build(s)
	}
	g := autograd.New(autograd.Options{Workers: s.Workers, Seed: s.Options.Seed})
	in := layers.NewInputs(g)
	c, err := layers.NewClassifier(g, in, s.Model, s.Options.Layers())
	if err != nil {
		g.Close()
		return nil, err
	}
	t, err := NewTarget(g, c.Logits, s.Train.Task.Kind, &s.Options)
	if err != nil {
		g.Close()
		return nil, err
	}
	o, err := compile(g, s.Model, []Term{{Name: t.Name, Weight: 1, Loss: t.Loss}}, func(b *data.Batch) error {
		if err := in.Set(b.IDs, b.TypeIDs, b.Positions, b.Offsets); err != nil {
			return err
		}
		return t.Set(b)
	})
	if err != nil {
		return nil, err
	}
	o.count = t.Count
	return o, nil
}

// Target is the loss of a kind of task in a graph.
type Target struct {
	// Name is the loss's name. Loss is a mean.
	Name string
	Loss *autograd.Node
	// Set sets the inputs of the loss to the truth of a batch.
	Set func(*data.Batch) error
	// Count returns what the mean divides by: the number of sequences or the sum of their labels'
	// weights, the number of questions of multiple choices, or the number of labelled words.
	Count func(*data.Batch) float64
}

// NewTarget adds the loss of a kind of task to the graph of the logits. It reads ClassWeights and
// LabelSmoothing of o. It refuses masked language models, whose loss needs more than logits.
func NewTarget(g *autograd.Graph, logits *autograd.Node, kind head.Kind, o *Options) (Target, error) {
	loss := losses[kind].target
	if loss == nil {
		return Target{}, fmt.Errorf("the loss of %s on logits alone: %w", kind, checkpoints.ErrUnsupported)
	}
	t := Target{Name: "cross_entropy", Count: func(b *data.Batch) float64 { return float64(b.Sequences()) }}
	loss(&t, g, logits, o)
	return t, nil
}

// loss says how models with a kind of head are trained.
type loss struct {
	// target completes the target of the logits.
	target func(t *Target, g *autograd.Graph, logits *autograd.Node, o *Options)
	// objective, if not nil, makes the whole objective, because the loss needs more than the
	// logits of a batch.
	objective func(Setup) (Objective, error)
	// guess returns the loss of a model that guesses, see fit.diverged.
	guess func(set *data.Dataset, c checkpoints.Config) float64
}

var losses = map[head.Kind]loss{
	head.SingleLabel: {guess: guessClass, target: func(t *Target, g *autograd.Graph, logits *autograd.Node, o *Options) {
		t.classes(g, logits, autograd.Sequences, o, func(b *data.Batch) []int32 { return b.Labels })
	}},
	head.MultiLabel: {guess: guessYesOrNo, target: func(t *Target, g *autograd.Graph, logits *autograd.Node, _ *Options) {
		targets := g.Input("targets", autograd.Sequences, logits.Shape()[1])
		t.Name, t.Loss = "binary_cross_entropy", g.BinaryCrossEntropy(logits, targets)
		t.Set = func(b *data.Batch) error { return g.Set(targets, b.Targets) }
	}},
	head.Regression: {guess: guessMean, target: func(t *Target, g *autograd.Graph, logits *autograd.Node, _ *Options) {
		values := g.Input("values", autograd.Sequences, 1)
		t.Name, t.Loss = "mse", g.MSE(logits, values)
		t.Set = func(b *data.Batch) error { return g.Set(values, b.Targets) }
	}},
	head.MultipleChoice: {guess: guessChoice, target: func(t *Target, g *autograd.Graph, logits *autograd.Node, _ *Options) {
		right, example := g.Ints("labels", autograd.Sequences), g.Ints("examples", autograd.Sequences)
		t.Loss = g.ChoiceCrossEntropy(logits, example, right)
		t.Set = func(b *data.Batch) error {
			return errors.Join(g.SetInts(right, b.Labels), g.SetInts(example, b.Index))
		}
		t.Count = func(b *data.Batch) float64 { // the number of questions whose right choice is known
			n := 0.0
			for _, label := range b.Labels {
				if label == 1 {
					n++
				}
			}
			return n
		}
	}},
	head.TokenClassification: {guess: guessClass, target: func(t *Target, g *autograd.Graph, logits *autograd.Node, o *Options) {
		t.classes(g, logits, autograd.Tokens, o, func(b *data.Batch) []int32 { return b.TokenLabels })
	}},
	head.MaskedLM: {guess: guessToken, objective: maskedLM},
}

// classes makes the loss of rows with one class each.
func (t *Target) classes(g *autograd.Graph, logits *autograd.Node, rows autograd.Extent, o *Options, labels func(*data.Batch) []int32) {
	classes := g.Ints("labels", rows)
	ce := autograd.CrossEntropyOptions{Weights: o.ClassWeights, Smoothing: o.LabelSmoothing}
	t.Loss = g.WeightedCrossEntropy(logits, classes, ce, autograd.Mean)
	t.Set = func(b *data.Batch) error { return g.SetInts(classes, labels(b)) }
	t.Count = func(b *data.Batch) float64 { return o.sum(labels(b)) }
}

// sum adds up the weights of labels.
func (o *Options) sum(labels []int32) (sum float64) {
	for _, label := range labels {
		switch {
		case label < 0:
		case len(o.ClassWeights) > 0:
			sum += o.ClassWeights[label]
		default:
			sum++
		}
	}
	return sum
}
