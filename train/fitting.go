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
	// fittingShown is how many examples in total a model of BERT-base's width sees. A narrower
	// model sees more. Small sets are repeated to reach this number, up to maxFitted times: many
	// epochs make fine-tuning on few examples stable (Mosbach et al., arXiv 2006.04884; Zhang et
	// al., arXiv 2006.05987).
	fittingShown = 20_000
	maxFitted    = 20
	// fittingWidth is the width of BERT-base, and fittingRate its learning rate.
	fittingWidth = 768
	fittingRate  = 5e-5
	// longText is the mean length in tokens from which batches are halved.
	longText = 256
	// Evaluations may take about a fifth of a run, but a run of many epochs has at least
	// fewestEvaluations.
	fewestEvaluations = 10
)

// Fitted fills in options that are zero, with values that follow from the model's configuration,
// the training set and the development set (nil without one). It sets Epochs and Patience where
// Steps is zero, BatchSize where BatchTokens is zero, and LearningRate. Other values stay. The
// returned line says what was chosen and why; it is "" if nothing was. longer says how many times
// as long as a fine-tuning the run is to be, 1 for the same length.
//
// Few examples are repeated up to 20 times, in batches of 8 or 16, and the run may end early. A
// set of some ten thousand examples is passed once. Many classes need more epochs, narrow models
// need more epochs and a higher rate, and long texts need smaller batches. If the development set
// is large compared with the training set, it is evaluated less often than once an epoch
// (EvalEvery).
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
		// A step costs about three times as much per token as an evaluation.
		most := max(fewestEvaluations, int(0.25*3*float64(o.Epochs)*float64(set.Tokens())/float64(max(1, dev.Tokens()))))
		if most < evaluations {
			evaluations = most
			total := o.Epochs * steps((rows+o.BatchSize-1)/o.BatchSize, o.Accumulate)
			o.EvalEvery = (total + most - 1) / most
			note("an evaluation every %d steps", o.EvalEvery)
		}
	}
	if o.Patience == 0 && !given && evaluations >= 6 {
		o.Patience = max(3, evaluations/3)
		note("patience %d", o.Patience)
	}
	if len(chosen) == 0 {
		return o, ""
	}
	why := fmt.Sprintf("%d examples with %d tokens on average", rows, set.MeanLength())
	if set.Task.Kind.Named() {
		why += fmt.Sprintf(", %d labels", classes)
	}
	return o, fmt.Sprintf("%s: %s, for %s, width %d", o.stage(), strings.Join(chosen, ", "), why, c.HiddenSize)
}
