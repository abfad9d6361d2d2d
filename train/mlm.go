package train

import (
	"github.com/skive-ml/skive/autograd"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/evaluate"
	"github.com/skive-ml/skive/layers"
)

// maskedObjective draws new masks for each batch. Batches that are accumulated into one step are
// masked like one large batch.
type maskedObjective struct {
	*graphObjective
	masker *evaluate.Masker
	setup  Setup
}

func (o *maskedObjective) Step(number int, b *data.Batch) (float64, map[string]float64, error) {
	if err := o.masker.Mask(b, o.setup.Options.Seed, uint64(o.setup.StepOf(number))); err != nil {
		return 0, nil, err
	}
	return o.graphObjective.Step(number, b)
}

// Weights returns the number of masked tokens of each batch.
func (o *maskedObjective) Weights(number int, batches []data.Batch) []float64 {
	weights := make([]float64, len(batches))
	for i := range batches {
		// A batch without text has no masked tokens. Its step reports that.
		if o.masker.Mask(&batches[i], o.setup.Options.Seed, uint64(o.setup.StepOf(number+i))) == nil {
			weights[i] = float64(len(o.masker.Rows))
		}
	}
	return weights
}

// maskedLM is the objective of masked-language-model training.
func maskedLM(s Setup) (Objective, error) {
	m, err := evaluate.NewMasker(s.Model)
	if err != nil {
		return nil, err
	}
	g := autograd.New(autograd.Options{Workers: s.Workers, Seed: s.Options.Seed})
	in := layers.NewInputs(g)
	rows, labels := g.Ints("masked tokens", autograd.Selected), g.Ints("labels", autograd.Selected)
	lm, err := layers.NewMaskedLM(g, in, s.Model, rows, s.Options.Layers())
	if err != nil {
		g.Close()
		return nil, err
	}
	loss := Term{Name: "cross_entropy", Weight: 1, Loss: g.CrossEntropy(lm.Logits, labels, autograd.Mean)}
	o, err := compile(g, s.Model, []Term{loss}, func(b *data.Batch) error {
		if err := in.Set(m.IDs, b.TypeIDs, b.Positions, b.Offsets); err != nil {
			return err
		}
		if err := g.SetInts(rows, m.Rows); err != nil {
			return err
		}
		return g.SetInts(labels, m.Labels)
	})
	if err != nil {
		return nil, err
	}
	return &maskedObjective{o, m, s}, nil
}
