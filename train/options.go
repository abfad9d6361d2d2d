package train

import (
	"path/filepath"
	"strings"

	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/layers"
	"github.com/skive-ml/skive/progress"
)

// Defaults of a run, under which BERT-size encoders are commonly fine-tuned.
const (
	DefaultEpochs       = 3
	DefaultBatchSize    = 32
	DefaultLearningRate = 5e-5
	DefaultWarmup       = 0.06
	DefaultWeightDecay  = 0.01
	DefaultMaxGradNorm  = 1.0
)

// Options are the settings of a training run. Start from Defaults. A zero that has a meaning of
// its own (no decay, no warm-up, no clipping) is not replaced by a default.
type Options struct {
	// Epochs is the number of passes over the training set. It is ignored when
	// Steps is set.
	Epochs int
	// Steps is the number of optimizer steps. 0 means that Epochs decides.
	Steps int
	// BatchSize is the number of examples in a batch, BatchTokens the largest number of tokens.
	// Only one of them may be set. Without either, a batch has DefaultBatchSize examples.
	BatchSize, BatchTokens int
	// Accumulate is the number of batches that make up one step. Their gradients add up to that
	// of one large batch. 0 means 1. The last step of an epoch takes the batches that are left.
	Accumulate int
	// LearningRate is the highest rate of the schedule.
	LearningRate float64
	// LayerDecay multiplies the learning rate once for each layer between a weight and the head
	// (Clark et al., arXiv 2003.10555). With n layers, the rate of the last layer is
	// LearningRate*LayerDecay and that of the embeddings is LearningRate*LayerDecay^(n+1). 0 and
	// 1 give all weights the same rate.
	LayerDecay float64
	// Schedule is the shape of the learning rate after the warm-up.
	Schedule Schedule
	// Warmup is the share of all steps, from 0 to 1, in which the rate rises linearly from zero.
	Warmup float64
	// WeightDecay is AdamW's decoupled decay. It never applies to biases and LayerNorm weights.
	WeightDecay float64
	// Beta1, Beta2 and Epsilon are AdamW's constants.
	Beta1, Beta2, Epsilon float64
	// MaxGradNorm is the largest global L2 norm of the gradients; larger ones are scaled down. 0
	// means no limit.
	MaxGradNorm float64
	// Dropout, if not nil, replaces every dropout probability of the model's configuration in
	// this run.
	Dropout *float64
	// ClassWeights holds a weight for each of the model's labels, which multiplies the loss of
	// examples with that label. The mean divides by the sum of these weights. Without any, all
	// examples count the same. LabelSmoothing is the share of the target, from 0 to 1, that is
	// spread evenly over the labels (Szegedy et al., arXiv 1512.00567). Both work as in PyTorch's
	// CrossEntropyLoss.
	ClassWeights   []float64
	LabelSmoothing float64
	// NoShuffle takes consecutive examples in the order of the file, without grouping them by
	// length.
	NoShuffle bool
	// MaxLength is the number of tokens to which inputs are truncated; 0 means the model's
	// maximum.
	MaxLength int
	// Seed determines the order of examples and the dropout masks.
	Seed uint64
	// Threads is the number of worker threads; 0 means one for each CPU. Results do not depend on
	// it.
	Threads int

	// Precision is the number format of the factors in matrix products, forward and backward, in
	// the encoder's linear layers and attention. It is infer.F32 (also if "") or infer.BF16.
	// Processors with AVX512_BF16 multiply BF16 at up to twice the speed, those with AMX at many
	// times the speed. The trained weights, sums and everything else, evaluations included, are
	// F32 in both.
	Precision string

	// Recompute computes the values of each layer again in the backward pass instead of keeping
	// them. It needs about a third more time, gives the same results, and keeps the activations
	// of two layers instead of all. A distillation also keeps what its losses read: hidden
	// states, queries, keys and values.
	Recompute bool

	// QuantizeAware trains the model that will run in int8. The linear layers of the encoder
	// compute the bits of the int8 engine, gradients pass through the rounding
	// (autograd.QuantizedLinear), and evaluations use the int8 model. The result has float
	// weights, from which quantize.Int8 makes exactly the model that was measured. With
	// quantize.Dynamic, each token gets its scale at run time. With quantize.Static, the scales
	// of the layers' inputs are learned (LSQ) and become part of the model. They start from the
	// model's scales, or from a calibration on training examples. "" trains in float.
	QuantizeAware string
	// QuantizeEmbeddings does the same for word and position embeddings. The result is the model
	// of quantize.Int8Weights with quantize.Embeddings.
	QuantizeEmbeddings bool

	// Output is the directory for the model that is best on the development set, the curves, and
	// the training state (in state/). With "", the run is in memory only and cannot be resumed.
	Output string
	// SaveEvery is the number of steps between two saved training states; 0 saves at the end of
	// each epoch.
	SaveEvery int
	// EvalEvery is the number of steps between two evaluations on the development set; 0
	// evaluates at the end of each epoch.
	EvalEvery int
	// Patience ends the run after so many evaluations without a better model, or at once when
	// none can be better; 0 never does.
	Patience int
	// KeepLast also saves the last model, in LastDir of Output.
	KeepLast bool
	// Resume continues from the state in Output. If there is no state, the run starts from the
	// beginning; if the run is finished, it returns at once. A state with other settings is an
	// error, and so is a model without a state or with that of another run.
	Resume bool
	// Overwrite starts from the beginning even if Output, Log or TensorBoard hold those of
	// another run. The old model stays until there is a new one. Without Resume and Overwrite,
	// files that would be replaced are a *checkpoints.ExistsError.
	Overwrite bool
	// Log is the path of a file that gets one JSON Record per step; "" writes none.
	Log string
	// TensorBoard is a directory for an event file with the numbers of the log and of the
	// evaluations; "" writes none. Each run needs a directory of its own.
	TensorBoard string

	// Stage is the name of this run in the model's provenance, its progress and its messages. ""
	// means "train".
	Stage string
	// Progress, if not nil, is told how the run comes along, and about evaluations.
	Progress progress.Reporter
	// OnStep, if not nil, is called after each step with its record.
	OnStep func(Record)
	// OnProfile, if not nil, is called after each step with the times of its parts.
	OnProfile func(Profile)
	// OnEvaluation, if not nil, is called after each evaluation.
	OnEvaluation func(Evaluation)
}

// Defaults returns the options from which the command line starts.
func Defaults() Options {
	return Options{
		Epochs:       DefaultEpochs,
		Accumulate:   1,
		LearningRate: DefaultLearningRate,
		LayerDecay:   1,
		Schedule:     Linear,
		Warmup:       DefaultWarmup,
		WeightDecay:  DefaultWeightDecay,
		Beta1:        0.9,
		Beta2:        0.999,
		Epsilon:      1e-8,
		MaxGradNorm:  DefaultMaxGradNorm,
		Seed:         1,
		Precision:    infer.F32,
	}
}

// Part returns the options for one of several runs that share o. Its Output and TensorBoard are
// subdirectories called name, and its Log has name before the extension.
func (o Options) Part(name string) Options {
	if o.Output != "" {
		o.Output = filepath.Join(o.Output, name)
	}
	if o.TensorBoard != "" {
		o.TensorBoard = filepath.Join(o.TensorBoard, name)
	}
	if o.Log != "" {
		extension := filepath.Ext(o.Log)
		o.Log = strings.TrimSuffix(o.Log, extension) + "." + name + extension
	}
	return o
}

// Layers returns the settings with which an objective builds the model into its graph.
func (o *Options) Layers() layers.Options {
	return layers.Options{
		Dropout: true, Recompute: o.Recompute, BF16: o.Precision == infer.BF16,
		QuantizeAware: o.QuantizeAware, QuantizeEmbeddings: o.QuantizeEmbeddings,
	}
}

func (o *Options) stage() string {
	if o.Stage == "" {
		return "train"
	}
	return o.Stage
}
