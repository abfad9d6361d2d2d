package train

import (
	"fmt"
	"math"
	"strings"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/internal/exact"
)

const (
	// fittingShown is how many examples a model of BERT-base's width is shown in all; a
	// narrower one is shown more. Small sets are repeated for that, up to maxFitted
	// times: many epochs are what makes fine-tuning on few examples stable (Mosbach et
	// al., arXiv 2006.04884; Zhang et al., arXiv 2006.05987).
	fittingShown = 20_000
	maxFitted    = 20
	// fittingWidth is BERT-base's, and fittingRate its learning rate.
	fittingWidth = 768
	fittingRate  = 5e-5
	// longText is the mean length in tokens from which batches are halved.
	longText = 256
	// Evaluations take some fifth of a run, but there are fewestEvaluations of many
	// epochs.
	fewestEvaluations = 10
)

// Fitted returns the options with values in the place of zeros that follow from the
// configuration of the model, the training set and the development set, nil for none:
// Epochs where there are no Steps, with them Patience, BatchSize where there are no
// BatchTokens, and LearningRate. What is not zero stays. The line says what was chosen and
// why, and is "" where nothing was. longer is how many times as long as a fine-tuning
// the run is, 1 for one.
//
// Few examples are gone through up to 20 times longer, in batches of 8 or 16, and the
// run ends early; some ten thousand are gone through once. Many classes want more
// epochs, narrow models more epochs and a higher rate, long texts smaller batches. Where
// the development set is large beside the training set, it is evaluated less often than
// each epoch (EvalEvery).
func (o Options) Fitted(c checkpoints.Config, set, dev *data.Encoded, longer float64) (Options, string) {
	rows, width := max(1, set.Len()), min(max(c.HiddenSize, fittingWidth/4), 2*fittingWidth)
	classes := 2
	if set.Task.Kind.Named() {
		classes = max(2, len(set.Task.Labels))
	}
	narrow := fittingWidth / float64(width)
	given := o.Epochs != 0 || o.Steps > 0
	var chosen []string
	note := func(format string, value any) { chosen = append(chosen, fmt.Sprintf(format, value)) }
	if !given {
		shown := fittingShown * narrow * longer * (1 + exact.Log2(float64(classes)/2)/2.5)
		o.Epochs = int(min(max(1, math.Round(shown/float64(rows))), maxFitted*longer))
		note("%d epochs", o.Epochs)
	}
	if o.BatchSize == 0 && o.BatchTokens == 0 {
		o.BatchSize = DefaultBatchSize
		for _, most := range []int{4000, 400} {
			if rows < most {
				o.BatchSize /= 2
			}
		}
		if set.MeanLength() >= longText {
			o.BatchSize = max(8, o.BatchSize/2)
		}
		note("batches of %d", o.BatchSize)
	}
	if o.LearningRate == 0 {
		o.LearningRate = fittingRate * narrow
		note("rate %.2g", o.LearningRate)
	}
	evaluations := o.Epochs
	if dev != nil && !given && o.EvalEvery == 0 && o.BatchSize > 0 {
		// A step goes three times through what an evaluation goes through once.
		most := max(fewestEvaluations, int(0.25*3*float64(o.Epochs)*float64(set.Tokens())/float64(max(1, dev.Tokens()))))
		if most < evaluations {
			evaluations = most
			total := o.Epochs * steps((rows+o.BatchSize-1)/o.BatchSize, o.Accumulate)
			o.EvalEvery = (total + most - 1) / most
			note("an evaluation each %d steps", o.EvalEvery)
		}
	}
	if o.Patience == 0 && !given && evaluations >= 6 {
		o.Patience = max(3, evaluations/3)
		note("patience %d", o.Patience)
	}
	if len(chosen) == 0 {
		return o, ""
	}
	why := fmt.Sprintf("%d examples of %d tokens on the mean", rows, set.MeanLength())
	if set.Task.Kind.Named() {
		why += fmt.Sprintf(", %d labels", classes)
	}
	return o, fmt.Sprintf("%s: %s, for %s, width %d", o.stage(), strings.Join(chosen, ", "), why, c.HiddenSize)
}
