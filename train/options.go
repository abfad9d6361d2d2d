package train

import (
	"path/filepath"
	"strings"

	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/layers"
	"github.com/skive-ml/skive/progress"
)

// Defaults of a run. They are the settings under which BERT-size encoders are
// commonly fine-tuned.
const (
	DefaultEpochs       = 3
	DefaultBatchSize    = 32
	DefaultLearningRate = 5e-5
	DefaultWarmup       = 0.06
	DefaultWeightDecay  = 0.01
	DefaultMaxGradNorm  = 1.0
)

// Options are the settings of a training run. Start from Defaults: where zero can be
// meant (no decay, no warm-up, no clipping), the zero value of a field means it.
type Options struct {
	// Epochs is the number of passes over the training set. It is ignored when
	// Steps is set.
	Epochs int
	// Steps is the number of optimizer steps; 0 derives it from Epochs.
	Steps int
	// BatchSize is the number of examples in a batch, BatchTokens the number of
	// tokens that a batch may hold. One excludes the other; with neither, a
	// batch has DefaultBatchSize examples.
	BatchSize, BatchTokens int
	// Accumulate is the number of batches whose gradients make up one step, as
	// if they were one batch; 0 and 1 are one. The last step of an epoch takes
	// what is left.
	Accumulate int
	// LearningRate is the peak of the schedule.
	LearningRate float64
	// LayerDecay multiplies the learning rate once for each layer between a
	// weight and the head (Clark et al., arXiv 2003.10555): of n layers, the
	// last trains at LearningRate*LayerDecay and the embeddings at
	// LearningRate*LayerDecay^(n+1). 0 and 1 train all alike.
	LayerDecay float64
	// Schedule is the shape of the learning rate after the warm-up.
	Schedule Schedule
	// Warmup is the share of all steps, 0 to 1, over which the rate rises
	// linearly from zero.
	Warmup float64
	// WeightDecay is AdamW's decoupled decay. Biases and LayerNorm weights are
	// never decayed.
	WeightDecay float64
	// Beta1, Beta2 and Epsilon are AdamW's constants.
	Beta1, Beta2, Epsilon float64
	// MaxGradNorm scales the gradients down to this global L2 norm; 0 does not.
	MaxGradNorm float64
	// Dropout, when not nil, replaces every dropout probability of the model's
	// configuration for this run.
	Dropout *float64
	// ClassWeights multiplies the loss of each example by the weight of its
	// label, one for each of the model's labels; the mean divides by the
	// weights' sum. None weighs all alike. LabelSmoothing is the share, 0 to 1,
	// of the target that is spread evenly over the labels (Szegedy et al., arXiv
	// 1512.00567). Both are those of PyTorch's CrossEntropyLoss.
	ClassWeights   []float64
	LabelSmoothing float64
	// NoShuffle takes consecutive examples in file order, without bucketing by
	// length.
	NoShuffle bool
	// MaxLength truncates inputs to this number of tokens; 0 is the model's
	// maximum.
	MaxLength int
	// Seed decides the order of examples and the dropout masks.
	Seed uint64
	// Threads is the number of worker threads; 0 is one for each CPU. Results
	// do not depend on it.
	Threads int

	// Precision is the number format of the factors in the products of the
	// encoder's linear layers and of its attention, forward and backward:
	// infer.F32, also where it is "", or infer.BF16, which processors with
	// AVX512_BF16 multiply at up to twice the speed, and those with AMX at many
	// times. The weights that are trained, sums and everything else are F32 in both,
	// evaluations included.
	Precision string

	// Recompute computes the values of each layer again in the backward pass
	// instead of keeping them: some third more work, the same results, and the
	// activations of two layers instead of all. A distillation keeps what its
	// losses read: hidden states, and queries, keys and values.
	Recompute bool

	// QuantizeAware trains the model that int8 serves: the linear layers of the
	// encoder compute with the bits of the int8 engine, gradients pass through the
	// rounding (autograd.QuantizedLinear), and evaluations are of the int8 model.
	// The result has float weights, which quantize.Int8 turns into the very model
	// that was measured. With quantize.Dynamic each token has a scale at run time;
	// with quantize.Static the scales of the layers' inputs are learned (LSQ),
	// from those that the model holds or else from a calibration on training
	// examples, and go with the model. "" trains in float.
	QuantizeAware string
	// QuantizeEmbeddings does so with word and position embeddings too; the model
	// is then that of quantize.Int8Weights with quantize.Embeddings.
	QuantizeEmbeddings bool

	// Output is the directory that receives the best model on the development
	// set, the curves and the training state (in state/). With "", the run
	// lives in memory alone and cannot be resumed.
	Output string
	// SaveEvery is the number of steps between two saved training states; 0
	// saves at the end of each epoch.
	SaveEvery int
	// EvalEvery is the number of steps between two evaluations on the
	// development set; 0 evaluates at the end of each epoch.
	EvalEvery int
	// Patience ends the run after so many evaluations without a better model; 0
	// does not.
	Patience int
	// KeepLast saves the last model too, in LastDir of Output.
	KeepLast bool
	// Resume continues from the state in Output. Without a state there the run
	// starts fresh; a finished one returns at once. A state of other settings, and a
	// model without a state or of another run, are errors.
	Resume bool
	// Overwrite begins anew where Output, Log or TensorBoard hold those of another
	// run, whose model stays until there is a new one. With neither Resume nor
	// Overwrite, what would be replaced is a *checkpoints.ExistsError.
	Overwrite bool
	// Log is the path of a file that receives one JSON Record a step; "" writes
	// none.
	Log string
	// TensorBoard is a directory that receives an event file with the numbers of
	// the log and of the evaluations; "" writes none. Each run wants a directory
	// of its own.
	TensorBoard string

	// Stage is the name of this run in the model's provenance, its progress and
	// its messages; "" is "train".
	Stage string
	// Progress hears how the run comes along, and of evaluations; nil does not.
	Progress progress.Reporter
	// OnStep, when set, is called after each step with its record.
	OnStep func(Record)
	// OnProfile, when set, is called after each step with where its time went.
	OnProfile func(Profile)
	// OnEvaluation, when set, is called after each evaluation.
	OnEvaluation func(Evaluation)
}

// Defaults returns the options that the command line starts from.
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

// Part returns the options of one of several runs under one set of options. Its
// Output and TensorBoard are the directory name in theirs, and its Log has the
// name before the extension.
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

// Layers returns the settings with which an objective builds the model into its
// graph.
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
