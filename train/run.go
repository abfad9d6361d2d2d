package train

import (
	"context"
	"slices"

	"github.com/skive-ml/skive/autograd"
	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/layers"
)

// Run trains a copy of model on trainSet by the loss of its task's kind and
// returns the model that did best on devSet (the last one where devSet is nil):
// cross-entropy with the class, with the right choice, with the class of each
// word or with the word behind a mask; binary cross-entropy with each of several
// labels; the squared distance from a number. A model without a head gets a
// fresh one.
//
// With Options.Output, that directory receives the best model as a Hugging Face
// directory whenever there is a better one, the training state in StateDir, and
// the curves in CurvesFile; nothing there is ever half written. The returned
// model is then the one of the directory, to be closed.
//
// Errors that a caller may want to tell apart: *OptionError, *LabelError,
// *DivergedError, *SettingsError, ErrEmpty, and those of the context, see Fit.
func Run(ctx context.Context, model *checkpoints.Model, trainSet, devSet *data.Dataset, o Options) (*checkpoints.Model, *Result, error) {
	p := Problem{Build: supervised}
	if trainSet != nil {
		kind := trainSet.Task.Kind
		p.Weighted = kind == data.SingleLabel || kind == data.TokenClassification
		p.Weight = o.weight(kind)
	}
	return Fit(ctx, model, trainSet, devSet, o, p)
}

// weight returns what the loss of a kind of task divides by, nil for the number
// of sequences.
func (o *Options) weight(kind data.Kind) func(*data.Batch) float64 {
	sum := func(labels []int32) (sum float64) {
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
	switch kind {
	case data.SingleLabel:
		return func(b *data.Batch) float64 { return sum(b.Labels) }
	case data.TokenClassification:
		return func(b *data.Batch) float64 { return sum(b.TokenLabels) }
	case data.MultipleChoice:
		// The choices of an example follow one another.
		return func(b *data.Batch) float64 { return float64(len(slices.Compact(slices.Clone(b.Index)))) }
	case data.MaskedLM:
		return func(b *data.Batch) float64 { return float64(b.Tokens()) }
	}
	return nil
}

// supervised is the objective of plain fine-tuning: the loss of the task's kind.
func supervised(s Setup) (Objective, error) {
	if s.Train.Task.Kind == data.MaskedLM {
		return maskedLM(s)
	}
	g := autograd.New(autograd.Options{Team: s.Team, Seed: s.Options.Seed})
	in := layers.NewInputs(g)
	c, err := layers.NewClassifier(g, in, s.Model, layers.Options{Dropout: true, Recompute: s.Options.Recompute})
	if err != nil {
		g.Close()
		return nil, err
	}
	loss, truth := target(g, c.Logits, s.Train.Task.Kind, s.Model.Config.NumLabels(), &s.Options)
	return Compile(g, s.Model, []Term{loss}, func(b *data.Batch) error {
		if err := in.Set(b.IDs, b.TypeIDs, b.Positions, b.Offsets); err != nil {
			return err
		}
		return truth(b)
	})
}

// target adds the loss of a kind of task to a graph, and returns with it what
// sets its inputs to the truth of a batch.
func target(g *autograd.Graph, logits *autograd.Node, kind data.Kind, labels int, o *Options) (Term, func(*data.Batch) error) {
	ce := autograd.CrossEntropyOptions{Weights: o.ClassWeights, Smoothing: o.LabelSmoothing}
	switch kind {
	case data.Regression:
		values := g.Input("values", autograd.Sequences, 1)
		return Term{Name: "mse", Weight: 1, Loss: g.MSE(logits, values)},
			func(b *data.Batch) error { return g.Set(values, b.Targets) }
	case data.MultiLabel:
		targets := g.Input("targets", autograd.Sequences, labels)
		return Term{Name: "binary_cross_entropy", Weight: 1, Loss: g.BinaryCrossEntropy(logits, targets)},
			func(b *data.Batch) error { return g.Set(targets, b.Targets) }
	case data.MultipleChoice:
		right, example := g.Ints("labels", autograd.Sequences), g.Ints("examples", autograd.Sequences)
		return Term{Name: "cross_entropy", Weight: 1, Loss: g.ChoiceCrossEntropy(logits, example, right)},
			func(b *data.Batch) error {
				if err := g.SetInts(right, b.Labels); err != nil {
					return err
				}
				return g.SetInts(example, b.Index)
			}
	case data.TokenClassification:
		classes := g.Ints("labels", autograd.Tokens)
		return Term{Name: "cross_entropy", Weight: 1, Loss: g.WeightedCrossEntropy(logits, classes, ce, autograd.Mean)},
			func(b *data.Batch) error { return g.SetInts(classes, b.TokenLabels) }
	}
	classes := g.Ints("labels", autograd.Sequences)
	return Term{Name: "cross_entropy", Weight: 1, Loss: g.WeightedCrossEntropy(logits, classes, ce, autograd.Mean)},
		func(b *data.Batch) error { return g.SetInts(classes, b.Labels) }
}
