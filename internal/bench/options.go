package bench

import (
	"slices"
	"time"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/distill"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/settings"
	"github.com/skive-ml/skive/train"
)

// Options say what is measured. Start from Defaults.
type Options struct {
	// Batch is the number of examples in a call or step, Seq the tokens in each. File has one
	// input per line, as predict takes them; "" draws random tokens.
	Batch, Seq int
	File       string
	// Profile also measures the time of each stage.
	Profile bool
	// Threads is the number of threads of each instance.
	Threads int

	// DType and AttentionDType are the engine's number formats, see infer.Options. Instances
	// engines run at the same time for Duration.
	DType, AttentionDType string
	Instances             int
	Duration              time.Duration

	// Train measures Steps training steps instead, in the number formats of train.Options and
	// distill.Options. Attention also distills attention scores.
	Train                       bool
	Steps                       int
	Precision, TeacherPrecision string
	Attention                   bool
}

// Defaults returns the options from which the command line starts.
func Defaults() Options {
	return Options{Batch: 1, Seq: 128, Instances: 1, Duration: 3 * time.Second, Steps: 10, Precision: infer.F32}
}

// Limits of random data: tokens in a batch and in all training steps, and the number of training
// steps.
const (
	maxTokens = 1 << 22
	maxSteps  = 100_000
)

// Settings returns the fields as a table of settings.
func (o *Options) Settings() settings.Table {
	number := func(name, field string, n *int, least, most int, doc string) settings.Setting {
		return settings.Setting{Name: name, Field: field, Value: n, NotZero: true, Doc: doc,
			Want: settings.Unless(*n >= least && *n <= most, "%d to %d", least, most)}
	}
	seq := number("seq", "Seq", &o.Seq, 1, maxTokens, "tokens of each example, at most the model's positions")
	if batch := max(1, o.Batch); o.File == "" {
		seq.Want = settings.Unless(o.Seq >= 1 && o.Seq <= maxTokens/batch, "1 to %d in batches of %d", maxTokens/batch, batch)
	}
	return settings.Table{
		number("batch", "Batch", &o.Batch, 1, train.MaxBatchSize, "examples in a call"),
		seq,
		{Name: "data", Field: "File", Value: &o.File, Doc: "`FILE` with one input per line, as for predict (default random tokens)"},
		{Name: "profile", Field: "Profile", Value: &o.Profile, Doc: "show the time of each stage"},
		{Name: "dtype", Field: "DType", Value: &o.DType, Doc: "f32, fp16, bf16 or int8 (default as stored)", Want: o.wantDType()},
		{Name: "attention-dtype", Field: "AttentionDType", Value: &o.AttentionDType,
			Doc:  "f32 or bf16, for attention's products (default bf16 in layers that compute in bf16)",
			Want: o.wantAttention()},
		number("instances", "Instances", &o.Instances, 1, o.maxInstances(), "engines that run at the same time, each with {threads} threads"),
		{Name: "duration", Field: "Duration", Value: &o.Duration, Doc: "how long to measure", Want: settings.Unless(o.Duration > 0, "a positive time")},
		{Name: "train", Field: "Train", Value: &o.Train, Doc: "measure training steps instead"},
		o.steps(number("steps", "Steps", &o.Steps, 1, maxSteps, "training steps to measure")),
		{Name: "precision", Field: "Precision", Value: &o.Precision, With: []string{"train"},
			Doc: "f32 or bf16 products of the training steps, as for skive train"},
		{Name: "teacher-precision", Field: "TeacherPrecision", Value: &o.TeacherPrecision,
			Doc: "f32 or bf16 for the teacher (default that of {precision})"},
		{Name: "attention", Field: "Attention", Value: &o.Attention,
			Doc: "also distill attention scores from the teacher (TinyBERT)"},
	}
}

func (o *Options) wantDType() string {
	if o.Train {
		return settings.Unless(o.DType == "" || o.DType == infer.F32, "f32 in training steps")
	}
	return settings.Unless(slices.Contains([]string{"", infer.F32, infer.FP16, infer.BF16, infer.Int8}, o.DType), "f32, fp16, bf16 or int8")
}

func (o *Options) wantAttention() string {
	if o.Train {
		return settings.Unless(o.AttentionDType == "", "none in training steps, whose attention has their precision")
	}
	return settings.Unless(slices.Contains([]string{"", infer.F32, infer.BF16}, o.AttentionDType), "f32 or bf16")
}

// maxInstances is 1 for training.
func (o *Options) maxInstances() int {
	if o.Train {
		return 1
	}
	return infer.MaxInstances
}

// steps limits the number of training steps so that all tokens stay within the limit.
func (o *Options) steps(s settings.Setting) settings.Setting {
	s.With = []string{"train"}
	if most := maxTokens/max(1, o.Batch)/max(1, o.Seq) - WarmSteps; s.Want == "" && o.Train && o.File == "" {
		s.Want = settings.Unless(o.Steps <= most, "%d at most in batches of %d with %d tokens each", most, o.Batch, o.Seq)
	}
	return s
}

// Validate reports the first setting that is not usable, as a *settings.Error.
func (o *Options) Validate() error {
	if err := o.Settings().Check(); err != nil {
		return err
	}
	distillation := o.distillation()
	return distillation.Validate()
}

// distillation returns the options for the measured steps. A teacher precision of "" means the
// student's.
func (o *Options) distillation() distill.Options {
	d := distill.Defaults()
	d.Threads, d.BatchSize, d.Hidden = o.Threads, o.Batch, 1
	d.Precision, d.TeacherPrecision = o.Precision, o.TeacherPrecision
	if o.Attention {
		d.Attention = 1
	}
	return d
}

// Fresh returns a function that makes a model with random weights and the sizes of a config.json.
// Tokens are random, so it needs no tokenizer.
func Fresh(seed uint64) func(config string) (*checkpoints.Model, error) {
	return func(config string) (*checkpoints.Model, error) {
		cfg, err := checkpoints.ReadFresh(config)
		if err != nil {
			return nil, err
		}
		return checkpoints.InitBERT(cfg, seed), nil
	}
}
