package train

import (
	"math"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/internal/exact"
)

// A run whose numbers stay finite has diverged if the mean loss of its last steps is a multiple
// of the loss of its first step, before any update. That loss may be close to 0, so it counts as
// at least the loss of a model that guesses. Objectives other than Run's do not know that loss:
// for them it is 1, with a larger factor.
const (
	divergedFactor      = 3
	divergedFactorOther = 10
	divergedSteps       = 10 // steps in the mean, at most
)

// diverged tells whether the losses ended far above the first ones. It returns both.
func (f *fit) diverged() (first, last float64, yes bool) {
	h := f.result.History
	n := min(divergedSteps, len(h)/2)
	if n == 0 || f.problem.Rescaled {
		return 0, 0, false
	}
	for _, r := range h[len(h)-n:] {
		last += r.Loss / float64(n)
	}
	first = h[0].Loss
	limit := divergedFactorOther * max(first, 1)
	if f.problem.supervised {
		limit = divergedFactor * max(first, f.guess)
	}
	return first, last, last > limit
}

func guessClass(_ *data.Dataset, c checkpoints.Config) float64 {
	return exact.Log(float64(max(2, len(c.Labels))))
}

func guessYesOrNo(*data.Dataset, checkpoints.Config) float64 { return math.Ln2 }

func guessChoice(set *data.Dataset, _ checkpoints.Config) float64 {
	most := 2
	for i := range set.Examples {
		most = max(most, len(set.Examples[i].Choices))
	}
	return exact.Log(float64(most))
}

func guessToken(_ *data.Dataset, c checkpoints.Config) float64 {
	return exact.Log(float64(c.VocabSize))
}

// guessMean returns the loss of a model that guesses the mean: the variance of the numbers.
func guessMean(set *data.Dataset, _ checkpoints.Config) float64 {
	var mean, squares float64
	for i := range set.Examples {
		mean += float64(set.Examples[i].Value) / float64(len(set.Examples))
	}
	for i := range set.Examples {
		d := float64(set.Examples[i].Value) - mean
		squares += float64(d * d)
	}
	return squares / float64(len(set.Examples))
}
