package train

import (
	"github.com/skive-ml/skive/autograd"
	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
)

// Objective is what a run minimizes: a function of trainable tensors that computes losses and
// their gradients for a batch. Compile makes one from a graph.
//
// The run writes to Parameter.Weights, but evaluates and saves Setup.Model, so both must use the
// same memory. A graph copies the weights from which it is built; layers.Store, which Compile
// calls, makes the model's tensors those of the graph.
type Objective interface {
	// Parameters lists the trainable tensors in a fixed order. The model's parameters are views
	// of its tensors (see above), under the same names. Others, such as projections in a
	// distillation, are saved in the training state but not in the model.
	Parameters() []Parameter
	// Step computes the losses of a batch and fills the gradients of all parameters. number
	// counts from 1 and determines the dropout masks, so a step can be repeated exactly. loss is
	// the weighted sum to be minimized; parts are its terms by name, before weighting.
	Step(number int, b *data.Batch) (loss float64, parts map[string]float64, err error)
	// Weights returns the weight of each of the batches that are accumulated into one step: the
	// number of sequences, labels or tokens by which the mean in its loss divides. With these
	// weights the batches equal one large batch. Weights is called before the steps of the
	// batches; number is that of the first.
	Weights(number int, batches []data.Batch) []float64
	// Close releases the objective's resources.
	Close() error
}

// Parameter is a trainable tensor. Weights and Gradient have the same length and stay in the same
// place during the whole run. The name tells weights from biases, see Options.WeightDecay.
type Parameter struct {
	Name              string
	Weights, Gradient []float32
}

// Setup is what an objective is built from.
type Setup struct {
	// Model is the model in training. It has f32 weights, which the run changes in place, and the
	// run's dropout probabilities.
	Model *checkpoints.Model
	// Train is the tokenized training set, cut to the run's maximum length.
	Train *data.Encoded
	// Workers are the run's threads.
	Workers *autograd.Workers
	// Options are the run's options, and Steps is the number of its steps.
	Options Options
	Steps   int
}

// StepOf returns the optimizer step, from 1, for the number of an objective's Step. Each of the
// batches that are accumulated into one optimizer step has a number of its own.
func (s Setup) StepOf(number int) int { return (number-1)/max(1, s.Options.Accumulate) + 1 }

// Problem describes a run to Fit.
type Problem struct {
	// Build makes the objective.
	Build func(Setup) (Objective, error)
	// Settings are further settings that affect the result. They go to the provenance, and
	// resuming with other ones is an error.
	Settings map[string]string
	// Unlabeled says that the objective does not read labels, so training examples may have none.
	Unlabeled bool
	// Headless trains the encoder only. The model does not get a classifier.
	Headless bool
	// Weighted says that the objective uses Options.ClassWeights and Options.LabelSmoothing.
	// Otherwise setting them is an error.
	Weighted bool
	// Rescaled says that the scale of the losses changes from step to step, so the last ones
	// cannot be compared with the first ones (see Result.Diverged).
	Rescaled bool

	supervised bool // the objective is Run's
}

// Evaluation is a measurement on the development set.
type Evaluation struct {
	// Step is the number of optimizer steps done, Epoch the number of passes over the training
	// set.
	Step  int     `json:"step" msgpack:"step"`
	Epoch float64 `json:"epoch" msgpack:"epoch"`
	// Metrics holds the task's metrics and "loss", as Evaluate returns them.
	Metrics map[string]float64 `json:"metrics" msgpack:"metrics"`
}

// Result tells how a run went.
type Result struct {
	// Metric is the name of the task's main metric, which decides what Best is.
	Metric string
	// Assumed is the result of evaluate.Assumed for the model and the training set.
	Assumed string
	// Best is the evaluation of the returned model. It has no metrics without a development set.
	Best Evaluation
	// Evaluations and History hold all evaluations and steps, also those of earlier processes.
	Evaluations []Evaluation
	History     []Record
	// Steps is the number of steps of the whole run, and Resumed how many of them earlier
	// processes did. Tokens is the number of tokens trained on.
	Steps, Resumed int
	Tokens         int64
	// Early says that the run ended because the model no longer improved, see Options.Patience.
	Early bool
	// Diverged says that the losses, though finite, ended far above the first ones, and for Run
	// also above those of a model that guesses: the learning rate was too high. Best is then the
	// model from before, or no good model.
	Diverged bool
	// Seconds is the time spent, including that of earlier processes.
	Seconds float64
}
