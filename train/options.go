package train

import (
	"fmt"
	"io"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/layers"
	"github.com/skive-ml/skive/quantize"
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

// ModelDropout as Options.Dropout keeps the probabilities of the model's
// configuration.
const ModelDropout = -1

// Options are the settings of a training run. Start from Defaults: the zero
// value of a field means zero (no decay, no warm-up, no dropout), not "the
// default".
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
	// Dropout replaces every dropout probability of the configuration for this
	// run; ModelDropout keeps them.
	Dropout float64
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
	// Progress receives a progress bar (a terminal) or sparse lines (anything
	// else); nil is quiet.
	Progress io.Writer
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
		LearningRate: DefaultLearningRate,
		Schedule:     Linear,
		Warmup:       DefaultWarmup,
		WeightDecay:  DefaultWeightDecay,
		Beta1:        0.9,
		Beta2:        0.999,
		Epsilon:      1e-8,
		MaxGradNorm:  DefaultMaxGradNorm,
		Dropout:      ModelDropout,
		Seed:         1,
	}
}

// An OptionError tells that a setting of a run is not usable.
type OptionError struct {
	// Option is the setting by the name of its command-line flag, without the
	// dashes.
	Option string
	// Value is what was given.
	Value any
	// Want says what is expected.
	Want string
}

func (e *OptionError) Error() string {
	return fmt.Sprintf("%s %v: want %s", e.Option, e.Value, e.Want)
}

// MaxBatchSize is the largest number of examples of a batch. What a batch needs
// is allocated at once.
const MaxBatchSize = 1 << 16

const (
	maxBatchTokens = 1 << 22
	maxAccumulate  = 1 << 16
	maxEpochs      = 100_000
	maxSeeds       = 1000
)

// Validate reports the first setting that is out of its range, as an
// *OptionError.
func (o *Options) Validate() error {
	finite := func(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }
	switch {
	case o.BatchSize < 0 || o.BatchSize > MaxBatchSize:
		return &OptionError{"batch-size", o.BatchSize, fmt.Sprintf("a positive number of examples, %d at most", MaxBatchSize)}
	case o.BatchTokens < 0 || o.BatchTokens > maxBatchTokens:
		return &OptionError{"batch-tokens", o.BatchTokens, fmt.Sprintf("a positive number of tokens, %d at most", maxBatchTokens)}
	case o.BatchSize > 0 && o.BatchTokens > 0:
		return &OptionError{"batch-tokens", o.BatchTokens, fmt.Sprintf("either batch-size (%d) or batch-tokens, not both", o.BatchSize)}
	case o.Steps < 0:
		return &OptionError{"steps", o.Steps, "a positive number, or 0 to train for whole epochs"}
	case o.Epochs < 0 || o.Epochs > maxEpochs:
		return &OptionError{"epochs", o.Epochs, fmt.Sprintf("a positive number, %d at most", maxEpochs)}
	case o.Epochs == 0 && o.Steps == 0:
		return &OptionError{"epochs", o.Epochs, "a positive number of epochs or of steps"}
	case o.Accumulate < 0 || o.Accumulate > maxAccumulate:
		return &OptionError{"accumulate", o.Accumulate, fmt.Sprintf("a positive number of batches, %d at most", maxAccumulate)}
	case !finite(o.LearningRate) || o.LearningRate < 0:
		return &OptionError{"lr", o.LearningRate, "a finite rate that is not negative"}
	case !(o.LayerDecay >= 0 && o.LayerDecay <= 1):
		return &OptionError{"layer-decay", o.LayerDecay, "a factor in (0, 1], or 0 for none"}
	case !(o.LabelSmoothing >= 0 && o.LabelSmoothing < 1):
		return &OptionError{"label-smoothing", o.LabelSmoothing, "a share in [0, 1)"}
	case slices.ContainsFunc(o.ClassWeights, func(w float64) bool { return !finite(w) || w < 0 }):
		return &OptionError{"class-weights", o.ClassWeights, "finite numbers that are not negative"}
	case len(o.ClassWeights) > 0 && slices.Max(o.ClassWeights) == 0:
		return &OptionError{"class-weights", o.ClassWeights, "a positive weight of at least one label"}
	case !(o.Warmup >= 0 && o.Warmup <= 1):
		return &OptionError{"warmup", o.Warmup, "a share of the steps, 0 to 1"}
	case !finite(o.WeightDecay) || o.WeightDecay < 0:
		return &OptionError{"weight-decay", o.WeightDecay, "a finite number that is not negative"}
	case !finite(o.MaxGradNorm) || o.MaxGradNorm < 0:
		return &OptionError{"max-grad-norm", o.MaxGradNorm, "a finite number that is not negative; 0 does not clip"}
	case !(o.Beta1 >= 0 && o.Beta1 < 1):
		return &OptionError{"beta1", o.Beta1, "a number in [0, 1)"}
	case !(o.Beta2 >= 0 && o.Beta2 < 1):
		return &OptionError{"beta2", o.Beta2, "a number in [0, 1)"}
	case !finite(o.Epsilon) || o.Epsilon <= 0:
		return &OptionError{"epsilon", o.Epsilon, "a small positive number"}
	case o.Dropout != ModelDropout && !(o.Dropout >= 0 && o.Dropout < 1):
		return &OptionError{"dropout", o.Dropout, "a probability in [0, 1)"}
	case o.Precision != "" && o.Precision != infer.F32 && o.Precision != infer.BF16:
		return &OptionError{"precision", fmt.Sprintf("%q", o.Precision), "f32 or bf16"}
	case o.MaxLength < 0:
		return &OptionError{"max-length", o.MaxLength, "a positive number of tokens, or 0 for the model's maximum"}
	case o.Threads < 0:
		return &OptionError{"threads", o.Threads, "a positive number, or 0 for one for each CPU"}
	case o.SaveEvery < 0:
		return &OptionError{"save-every", o.SaveEvery, "a positive number of steps, or 0 for each epoch"}
	case o.EvalEvery < 0:
		return &OptionError{"eval-every", o.EvalEvery, "a positive number of steps, or 0 for each epoch"}
	case o.Patience < 0:
		return &OptionError{"patience", o.Patience, "a positive number of evaluations, or 0 not to stop early"}
	case o.KeepLast && o.Output == "":
		return &OptionError{"keep-last", o.KeepLast, "an output directory to keep it in"}
	case o.Resume && o.Output == "":
		return &OptionError{"resume", o.Resume, "an output directory to resume from"}
	case o.Resume && o.Overwrite:
		return &OptionError{"overwrite", o.Overwrite, "either resume or overwrite, not both"}
	}
	switch o.QuantizeAware {
	case "", quantize.Dynamic, quantize.Static:
	default:
		return &OptionError{"quantize-aware", fmt.Sprintf("%q", o.QuantizeAware), quantize.Dynamic + " or " + quantize.Static}
	}
	if o.QuantizeAware != "" && o.Precision == infer.BF16 {
		return &OptionError{"precision", `"bf16"`, "f32 beside quantize-aware, whose products are int8"}
	}
	if o.QuantizeEmbeddings && o.QuantizeAware == "" {
		return &OptionError{"quantize-embeddings", true, "quantize-aware beside it"}
	}
	if _, err := ParseSchedule(string(o.Schedule)); err != nil {
		return err
	}
	return nil
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

// settings are the options that decide the result, by flag name: they go to
// the model's provenance, and a state can only be resumed under the same ones.
func (o *Options) settings() map[string]string {
	s := map[string]string{
		"lr":            fmt.Sprint(o.LearningRate),
		"schedule":      string(o.Schedule),
		"warmup":        fmt.Sprint(o.Warmup),
		"weight-decay":  fmt.Sprint(o.WeightDecay),
		"beta1":         fmt.Sprint(o.Beta1),
		"beta2":         fmt.Sprint(o.Beta2),
		"epsilon":       fmt.Sprint(o.Epsilon),
		"max-grad-norm": fmt.Sprint(o.MaxGradNorm),
		"seed":          fmt.Sprint(o.Seed),
		"no-shuffle":    fmt.Sprint(o.NoShuffle),
		"eval-every":    fmt.Sprint(o.EvalEvery),
	}
	if o.Steps > 0 {
		s["steps"] = fmt.Sprint(o.Steps)
	} else {
		s["epochs"] = fmt.Sprint(o.Epochs)
	}
	if o.BatchTokens > 0 {
		s["batch-tokens"] = fmt.Sprint(o.BatchTokens)
	} else {
		s["batch-size"] = fmt.Sprint(o.BatchSize)
	}
	if o.Dropout != ModelDropout {
		s["dropout"] = fmt.Sprint(o.Dropout)
	}
	if o.Accumulate > 1 {
		s["accumulate"] = fmt.Sprint(o.Accumulate)
	}
	if o.LayerDecay > 0 && o.LayerDecay < 1 {
		s["layer-decay"] = fmt.Sprint(o.LayerDecay)
	}
	if len(o.ClassWeights) > 0 {
		s["class-weights"] = fmt.Sprint(o.ClassWeights)
	}
	if o.LabelSmoothing > 0 {
		s["label-smoothing"] = fmt.Sprint(o.LabelSmoothing)
	}
	if o.Patience > 0 {
		s["patience"] = fmt.Sprint(o.Patience)
	}
	if o.Precision == infer.BF16 {
		s["precision"] = o.Precision
	}
	if o.MaxLength > 0 {
		s["max-length"] = fmt.Sprint(o.MaxLength)
	}
	if o.QuantizeAware != "" {
		s["quantize-aware"], s["quantize-embeddings"] = o.QuantizeAware, fmt.Sprint(o.QuantizeEmbeddings)
	}
	return s
}

// ParseSchedule reads the name of a schedule.
func ParseSchedule(name string) (Schedule, error) {
	for _, s := range schedules {
		if string(s) == name {
			return s, nil
		}
	}
	names := make([]string, len(schedules))
	for i, s := range schedules {
		names[i] = string(s)
	}
	return "", &OptionError{"schedule", fmt.Sprintf("%q", name), strings.Join(names, ", ")}
}
