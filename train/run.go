package train

import (
	"context"

	"github.com/skive-ml/skive/autograd"
	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/layers"
)

// Run fine-tunes a copy of model on trainSet by cross-entropy with the labels
// and returns the model that did best on devSet (the last one where devSet is
// nil). A model without a classifier gets a fresh one.
//
// With Options.Output, that directory receives the best model as a Hugging Face
// directory whenever there is a better one, the training state in StateDir, and
// the curves in CurvesFile; nothing there is ever half written. The returned
// model is then the one of the directory, to be closed.
//
// Errors that a caller may want to tell apart: *OptionError, *LabelError,
// *DivergedError, *SettingsError, ErrEmpty, and those of the context, see Fit.
func Run(ctx context.Context, model *checkpoints.Model, trainSet, devSet *data.Dataset, o Options) (*checkpoints.Model, *Result, error) {
	return Fit(ctx, model, trainSet, devSet, o, Problem{Build: classification})
}

// classification is the objective of plain fine-tuning.
func classification(s Setup) (Objective, error) {
	g := autograd.New(autograd.Options{Team: s.Team, Seed: s.Options.Seed})
	in := layers.NewInputs(g)
	c, err := layers.NewClassifier(g, in, s.Model, layers.Options{Dropout: true})
	if err != nil {
		g.Close()
		return nil, err
	}
	labels := g.Ints("labels", autograd.Sequences)
	loss := Term{Name: "cross_entropy", Weight: 1, Loss: g.CrossEntropy(c.Logits, labels, autograd.Mean)}
	return Compile(g, s.Model, []Term{loss}, func(b *data.Batch) error {
		if err := in.Set(b.IDs, b.TypeIDs, b.Positions, b.Offsets); err != nil {
			return err
		}
		return g.SetInts(labels, b.Labels)
	})
}
