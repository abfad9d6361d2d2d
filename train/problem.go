package train

import (
	"github.com/skive-ml/skive/autograd"
	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
)

// Objective is what a run minimizes: a function of trainable tensors that
// computes its losses and their gradients for a batch. Compile makes one of a graph.
//
// The run writes to Parameter.Weights, and evaluates and saves Setup.Model: the two must be
// the same memory. A graph copies the weights that it is built from; layers.Store, which
// Compile calls, makes the model's tensors those of the graph.
type Objective interface {
	// Parameters lists the trainable tensors in a fixed order. Those of the
	// model are views of its tensors (see above), under their names; others (projections
	// of distillation, say) are saved in the training state but not in the
	// model.
	Parameters() []Parameter
	// Step computes the losses of a batch and fills the gradients of all
	// parameters. number, from 1, keys the dropout masks, so that a step can be
	// repeated exactly. The loss is the weighted sum that is minimized; parts
	// are its terms by name, before weighting.
	Step(number int, b *data.Batch) (loss float64, parts map[string]float64, err error)
	// Weights returns what each of the batches that are accumulated into one
	// step counts for: what the mean in its loss divides by, its sequences,
	// labels or tokens, which makes them equal to one large batch. It is called
	// before the batches' own steps, of which number is the first.
	Weights(number int, batches []data.Batch) []float64
	// Close releases what the objective holds.
	Close() error
}

// Parameter is a trainable tensor. Weights and Gradient have equal lengths and
// stay at the same place for the whole run. Weights and biases are told apart
// by name, see Options.WeightDecay.
type Parameter struct {
	Name              string
	Weights, Gradient []float32
}

// Setup is what an objective is built from.
type Setup struct {
	// Model is the model under training: f32 weights, which the run changes in
	// place. Dropout probabilities are those of the run.
	Model *checkpoints.Model
	// Train is the training set in tokens, cut to the run's maximum length.
	Train *data.Encoded
	// Workers do the work of the run's threads.
	Workers *autograd.Workers
	// Options of the run, and the number of its steps.
	Options Options
	Steps   int
}

// StepOf returns the optimizer step, from 1, to which Step of an objective
// belongs by its number: batches that are accumulated have numbers of their own.
func (s Setup) StepOf(number int) int { return (number-1)/max(1, s.Options.Accumulate) + 1 }

// Problem describes a run to Fit.
type Problem struct {
	// Build makes the objective.
	Build func(Setup) (Objective, error)
	// Settings are further settings that decide the result: they are written
	// to the provenance, and resuming under other ones is an error.
	Settings map[string]string
	// Unlabeled says that the objective does not read labels, so that training
	// examples may lack them.
	Unlabeled bool
	// Headless trains the encoder alone: the model is not given a classifier.
	Headless bool
	// Weighted says that the objective honours Options.ClassWeights and
	// Options.LabelSmoothing. Without it, setting them is an error.
	Weighted bool
	// Rescaled says that the scale of the losses changes from step to step, so that
	// the last ones are not to be compared with the first, see Result.Diverged.
	Rescaled bool

	supervised bool // the objective is Run's
}

// Evaluation is a measurement on the development set.
type Evaluation struct {
	// Step is the number of optimizer steps done, Epoch the passes over the
	// training set.
	Step  int     `json:"step" msgpack:"step"`
	Epoch float64 `json:"epoch" msgpack:"epoch"`
	// Metrics holds the task's metrics and "loss", as Evaluate gives them.
	Metrics map[string]float64 `json:"metrics" msgpack:"metrics"`
}

// Result tells how a run went.
type Result struct {
	// Metric is the name of the task's main metric, by which Best is chosen.
	Metric string
	// Assumed is what evaluate.Assumed says of the model and the training set.
	Assumed string
	// Best is the evaluation of the returned model. It has no metrics where
	// there is no development set.
	Best Evaluation
	// Evaluations and History are all evaluations and steps, those before a
	// resumption included.
	Evaluations []Evaluation
	History     []Record
	// Steps is the number of steps of the whole run, Resumed how many of them
	// were done by earlier processes, Tokens how many tokens were trained on.
	Steps, Resumed int
	Tokens         int64
	// Early says that the run ended for want of improvement, see
	// Options.Patience.
	Early bool
	// Diverged says that the losses, though finite, ended far above what they began
	// with, and in Run also above those of a model that guesses: the learning rate
	// was too high. Best is then what came before, or nothing good.
	Diverged bool
	// Seconds is the time spent, earlier processes included.
	Seconds float64
}
