package train

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/quantize"
	"github.com/skive-ml/skive/settings"
)

// MaxBatchSize is the largest number of examples in a batch. The memory of a batch is allocated
// at once.
const MaxBatchSize = 1 << 16

const (
	maxBatchTokens = 1 << 22
	maxAccumulate  = 1 << 16
	maxEpochs      = 100_000
	maxSeeds       = 1000
)

// Validate reports the first setting that is out of range, as a *settings.Error.
func (o *Options) Validate() error { return o.Settings().Check() }

// Settings returns the fields as a table of settings. Those that affect the result go to the
// model's provenance, and a state can only be resumed with the same values.
func (o *Options) Settings() settings.Table {
	return slices.Concat(o.lengths(), o.rates(), o.measuring(), o.weighing(), o.arithmetic(), o.files())
}

// lengths returns the settings that say how much to train on.
func (o *Options) lengths() settings.Table {
	return settings.Table{
		{Name: "epochs", Field: "Epochs", Value: &o.Epochs, NotZero: true, Decides: o.Steps <= 0,
			Doc: "passes over the training set",
			Want: cmp.Or(
				settings.Unless(o.Epochs >= 0 && o.Epochs <= maxEpochs, "a positive number, %d at most", maxEpochs),
				settings.Unless(o.Epochs > 0 || o.Steps != 0, "a positive number of epochs or of steps"))},
		{Name: "steps", Field: "Steps", Value: &o.Steps, NotZero: true, Decides: o.Steps > 0,
			Doc:  "optimizer steps (default from {epochs})",
			Want: settings.Unless(o.Steps >= 0, "a positive number, or 0 to train for whole epochs")},
		{Name: "batch-size", Field: "BatchSize", Value: &o.BatchSize, NotZero: true, Decides: o.BatchTokens <= 0,
			Doc:  fmt.Sprintf("examples in a batch (default %d)", DefaultBatchSize),
			Want: settings.Unless(o.BatchSize >= 0 && o.BatchSize <= MaxBatchSize, "a positive number of examples, %d at most", MaxBatchSize)},
		{Name: "batch-tokens", Field: "BatchTokens", Value: &o.BatchTokens, NotZero: true, Decides: o.BatchTokens > 0,
			Doc: "tokens in a batch, instead of {batch-size}",
			Want: cmp.Or(
				settings.Unless(o.BatchTokens >= 0 && o.BatchTokens <= maxBatchTokens, "a positive number of tokens, %d at most", maxBatchTokens),
				settings.Unless(o.BatchTokens == 0 || o.BatchSize == 0, "none beside a batch size, which is %d", o.BatchSize))},
	}
}

// modelDropout holds the words for the model's own dropout. Recipes of version 0.1 say -1.
var modelDropout = []string{"model", "-1"}

// rates returns the settings of the optimizer.
func (o *Options) rates() settings.Table {
	return settings.Table{
		{Name: "lr", Field: "LearningRate", Value: &o.LearningRate, Shown: true, Decides: true,
			Doc: "peak learning rate", Want: settings.Unless(settings.NotNegative(o.LearningRate), "a finite rate that is not negative")},
		{Name: "warmup", Field: "Warmup", Value: &o.Warmup, Shown: true, Decides: true,
			Doc: "share of the steps in which the rate rises", Want: settings.Unless(o.Warmup >= 0 && o.Warmup <= 1, "a share of the steps, 0 to 1")},
		{Name: "schedule", Field: "Schedule", Value: (*string)(&o.Schedule), Shown: true, Decides: true,
			Doc: "linear, cosine or constant", Want: settings.Unless(slices.Contains(schedules, o.Schedule), "linear, cosine or constant")},
		{Name: "weight-decay", Field: "WeightDecay", Value: &o.WeightDecay, Shown: true, Decides: true,
			Doc: "decoupled weight decay", Want: settings.Unless(settings.NotNegative(o.WeightDecay), "a finite number that is not negative")},
		{Name: "max-grad-norm", Field: "MaxGradNorm", Value: &o.MaxGradNorm, Shown: true, Decides: true,
			Doc:  "largest global gradient norm; 0 for no limit",
			Want: settings.Unless(settings.NotNegative(o.MaxGradNorm), "a finite number that is not negative; 0 does not clip")},
		{Name: "dropout", Field: "Dropout", Value: settings.Optional{To: &o.Dropout, Absent: modelDropout}, Shown: true, Decides: o.Dropout != nil,
			Doc:  "dropout `PROBABILITY`, or model for the model's own",
			Want: settings.Unless(o.Dropout == nil || *o.Dropout >= 0 && *o.Dropout < 1, "a probability in [0, 1), or model")},
		{Name: "beta1", Field: "Beta1", Value: &o.Beta1, Decides: true,
			Want: settings.Unless(o.Beta1 >= 0 && o.Beta1 < 1, "a number in [0, 1)")},
		{Name: "beta2", Field: "Beta2", Value: &o.Beta2, Decides: true,
			Want: settings.Unless(o.Beta2 >= 0 && o.Beta2 < 1, "a number in [0, 1)")},
		{Name: "epsilon", Field: "Epsilon", Value: &o.Epsilon, Decides: true,
			Want: settings.Unless(settings.NotNegative(o.Epsilon) && o.Epsilon > 0, "a small positive number")},
	}
}

// measuring returns the settings that say when a run is evaluated and when it ends.
func (o *Options) measuring() settings.Table {
	return settings.Table{
		{Name: "eval-every", Field: "EvalEvery", Value: &o.EvalEvery, NotZero: true, Decides: true,
			Doc:  "steps between evaluations (default one epoch)",
			Want: settings.Unless(o.EvalEvery >= 0, "a positive number of steps, or 0 for each epoch")},
		{Name: "accumulate", Field: "Accumulate", Value: &o.Accumulate, NotZero: true, Decides: o.Accumulate > 1,
			Doc:  "batches whose gradients make up one step",
			Want: settings.Unless(o.Accumulate >= 0 && o.Accumulate <= maxAccumulate, "a positive number of batches, %d at most", maxAccumulate)},
		{Name: "layer-decay", Field: "LayerDecay", Value: &o.LayerDecay, NotZero: true, Decides: o.LayerDecay > 0 && o.LayerDecay < 1,
			Doc:  "factor of the learning rate from each layer to the one below",
			Want: settings.Unless(o.LayerDecay >= 0 && o.LayerDecay <= 1, "a factor in (0, 1], or 0 for none")},
		{Name: "patience", Field: "Patience", Value: &o.Patience, NotZero: true, Decides: o.Patience > 0,
			Doc:  "stop after so many evaluations without a better model (default never)",
			Want: settings.Unless(o.Patience >= 0, "a positive number of evaluations, or 0 not to stop early")},
		{Name: "save-every", Field: "SaveEvery", Value: &o.SaveEvery, NotZero: true,
			Doc:  "steps between saved states (default one epoch)",
			Want: settings.Unless(o.SaveEvery >= 0, "a positive number of steps, or 0 for each epoch")},
	}
}

// OfLabels holds the names of the settings that apply only to learning from labels.
var OfLabels = []string{"class-weights", "label-smoothing"}

// weighing returns the settings that say which examples a step has, and how much each counts.
func (o *Options) weighing() settings.Table {
	weights := o.ClassWeights
	return settings.Table{
		{Name: "class-weights", Field: "ClassWeights", Value: &o.ClassWeights, Decides: len(weights) > 0,
			Doc: "`WEIGHTS` of the labels in the loss, separated by commas (default equal)",
			Want: cmp.Or(
				settings.Unless(!slices.ContainsFunc(weights, func(w float64) bool { return !settings.NotNegative(w) }), "finite numbers that are not negative"),
				settings.Unless(len(weights) == 0 || slices.Max(weights) > 0, "a positive weight of at least one label"))},
		{Name: "label-smoothing", Field: "LabelSmoothing", Value: &o.LabelSmoothing, Decides: o.LabelSmoothing > 0,
			Doc:  "share of the target that is spread evenly over all labels",
			Want: settings.Unless(o.LabelSmoothing >= 0 && o.LabelSmoothing < 1, "a share in [0, 1)")},
		{Name: "no-shuffle", Field: "NoShuffle", Value: &o.NoShuffle, Decides: true,
			Doc: "take consecutive examples in the order of the file"},
		{Name: "max-length", Field: "MaxLength", Value: &o.MaxLength, NotZero: true, Decides: o.MaxLength > 0,
			Doc:  "truncate inputs to this number of tokens (default the model's maximum)",
			Want: settings.Unless(o.MaxLength >= 0, "a positive number of tokens, or 0 for the model's maximum")},
		{Name: "seed", Field: "Seed", Value: &o.Seed, Decides: true,
			Doc: "seed of the order of examples, new weights and dropout"},
	}
}

// arithmetic returns the settings that say how a step is computed.
func (o *Options) arithmetic() settings.Table {
	aware := o.QuantizeAware
	return settings.Table{
		{Name: "precision", Field: "Precision", Value: &o.Precision, Decides: o.Precision == infer.BF16,
			Doc: "f32, or bf16 for the encoder's products; weights and sums stay f32",
			Want: cmp.Or(
				settings.Unless(slices.Contains([]string{"", infer.F32, infer.BF16}, o.Precision), "f32 or bf16"),
				settings.Unless(aware == "" || o.Precision != infer.BF16, "f32 in quantization-aware training, whose products are int8"))},
		{Name: "recompute", Field: "Recompute", Value: &o.Recompute,
			Doc: "compute activations again in the backward pass: less memory, the same results"},
		{Name: "quantize-aware", Field: "QuantizeAware", Value: &o.QuantizeAware, Decides: aware != "",
			Doc:  "train for int8 with the int8 engine's arithmetic: dynamic, or static with learned scales",
			Want: settings.Unless(slices.Contains([]string{"", quantize.Dynamic, quantize.Static}, aware), "dynamic or static")},
		{Name: "quantize-embeddings", Field: "QuantizeEmbeddings", Value: &o.QuantizeEmbeddings, Decides: aware != "",
			Doc:  "with {quantize-aware}: also word and position embeddings in int8, like quantization with {embeddings}",
			Want: settings.Unless(!o.QuantizeEmbeddings || aware != "", "false without quantization-aware training")},
		{Name: "threads", Field: "Threads", Value: &o.Threads,
			Want: settings.Unless(o.Threads >= 0, "a positive number, or 0 for one for each CPU")},
	}
}

// files returns the settings of what a run writes and reads.
func (o *Options) files() settings.Table {
	return settings.Table{
		{Name: "keep-last", Field: "KeepLast", Value: &o.KeepLast,
			Doc:  "also save the last model, in last/ of the output directory",
			Want: settings.Unless(!o.KeepLast || o.Output != "", "an output directory to keep it in")},
		{Name: "log", Field: "Log", Value: &o.Log,
			Doc: "write one JSON line per step to `FILE`; a resumed run continues it"},
		{Name: "tensorboard", Field: "TensorBoard", Value: &o.TensorBoard,
			Doc: "write an event file for TensorBoard to `DIR`"},
		{Name: "resume", Field: "Resume", Value: &o.Resume,
			Doc:  "continue the run in the output directory, or start one if there is none",
			Want: settings.Unless(!o.Resume || o.Output != "", "an output directory to resume from")},
		{Name: "overwrite", Field: "Overwrite", Value: &o.Overwrite,
			Doc:  "start again even if there is a run or a model already",
			Want: settings.Unless(!o.Resume || !o.Overwrite, "false where Resume is true")},
		{Name: "output", Field: "Output", Value: &o.Output,
			Doc: "`DIR` for the best model and the training state"},
	}
}
