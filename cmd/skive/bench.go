package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/distill"
	"github.com/skive-ml/skive/evaluate"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/internal/bench"
	"github.com/skive-ml/skive/internal/flags"
	"github.com/skive-ml/skive/train"
)

// Bounds of what is made up to be measured: tokens of a batch, and of all training
// steps; training steps.
const (
	maxBenchTokens = 1 << 22
	maxBenchSteps  = 100_000
)

// benchFlags are the flags of skive bench.
type benchFlags struct {
	app *skive

	model, config, dtype, attentionDType, file string
	batch, seq, instances                      int
	profile                                    bool
	duration                                   time.Duration

	train                       bool
	steps                       int
	teacher, teacherConfig      string
	precision, teacherPrecision string
	attention                   bool
}

func (app *skive) newBench() *cobra.Command {
	b := &benchFlags{app: app}
	c := &cobra.Command{
		Use:   "bench",
		Short: "Measure latency and throughput",
		Args:  cobra.NoArgs,
		RunE:  b.run,
	}
	f := c.Flags()
	f.StringVar(&b.model, "model", "", "`MODEL` to measure")
	f.StringVar(&b.config, "config", "", "config.json `FILE`: measure random weights of this shape")
	f.StringVar(&b.dtype, "dtype", "", "f32, fp16, bf16 or int8 (default as stored)")
	attentionFlag(f, &b.attentionDType)
	f.StringVar(&b.file, "data", "", "`FILE` of inputs, one a line as predict takes them (default random tokens)")
	f.IntVar(&b.batch, "batch", 1, "examples in a call")
	f.IntVar(&b.seq, "seq", 128, "tokens of each example, at most the model's positions")
	f.IntVar(&b.instances, "instances", 1, "engines that run at the same time, each with --threads threads")
	f.BoolVar(&b.train, "train", false, "measure training steps instead")
	f.IntVar(&b.steps, "steps", 10, "training steps to measure")
	flags.RefuseZero(f, "batch", "seq", "instances", "steps")
	f.StringVar(&b.teacher, "teacher", "", "`MODEL` to distill from in the training steps: hidden states and soft labels")
	f.StringVar(&b.teacherConfig, "teacher-config", "", "config.json `FILE`: a teacher of this shape with random weights")
	f.BoolVar(&b.attention, "attention", false, "attention scores, too, are distilled from the teacher (TinyBERT)")
	f.StringVar(&b.precision, "precision", infer.F32, "f32 or bf16 products of the training steps, as skive train has it")
	f.StringVar(&b.teacherPrecision, "teacher-precision", "", "f32 or bf16, for the teacher alone (default that of --precision)")
	f.BoolVar(&b.profile, "profile", false, "time of each stage")
	f.DurationVar(&b.duration, "duration", 3*time.Second, "how long to measure")
	return c
}

// check reports flags that do not go together.
func (b *benchFlags) check(c *cobra.Command) error {
	given := c.Flags().Changed
	taught := b.teacher != "" || b.teacherConfig != ""
	switch {
	case b.batch < 1 || b.batch > train.MaxBatchSize:
		return flags.Usagef("--batch: %d, expected 1 to %d", b.batch, train.MaxBatchSize)
	case b.seq < 1 || b.file == "" && b.seq > maxBenchTokens/b.batch:
		return flags.Usagef("--seq: %d, expected 1 to %d with --batch %d", b.seq, maxBenchTokens/b.batch, b.batch)
	case b.instances < 1 || b.instances > infer.MaxInstances:
		return flags.Usagef("--instances: %d, expected 1 to %d", b.instances, infer.MaxInstances)
	case b.duration <= 0:
		return flags.Usagef("--duration: %s, expected a positive time", b.duration)
	case b.file != "" && b.config != "":
		return flags.Usagef("--data goes with --model: the weights of --config have no tokenizer")
	case b.attention && !taught:
		return flags.Usagef("--attention goes with --teacher or --teacher-config")
	case b.teacherPrecision != "" && !taught:
		return flags.Usagef("--teacher-precision goes with --teacher or --teacher-config")
	case !b.train && given("steps"):
		return flags.Usagef("--steps goes with --train")
	case !b.train && taught:
		return flags.Usagef("--teacher and --teacher-config go with --train")
	case !b.train && given("precision"):
		return flags.Usagef("--precision and --teacher-precision go with --train; --dtype is that of inference")
	case !b.train:
	case b.steps < 1 || b.steps > maxBenchSteps:
		return flags.Usagef("--steps: %d, expected 1 to %d", b.steps, maxBenchSteps)
	case b.file == "" && b.steps+bench.WarmSteps > maxBenchTokens/b.batch/b.seq:
		return flags.Usagef("--steps: %d, expected %d at most with --batch %d and --seq %d", b.steps, maxBenchTokens/b.batch/b.seq-bench.WarmSteps, b.batch, b.seq)
	case b.dtype != "" && b.dtype != infer.F32:
		return flags.Usagef("--dtype: %s, expected f32 with --train", b.dtype)
	case b.attentionDType != "":
		return flags.Usagef("--attention-dtype does not go with --train, whose attention has the --precision")
	case b.instances != 1 || given("duration"):
		return flags.Usagef("--instances and --duration do not go with --train, which does --steps on --threads")
	}
	if err := checkDType(b.dtype); err != nil {
		return err
	}
	return checkAttentionDType(b.attentionDType)
}

func (b *benchFlags) run(c *cobra.Command, _ []string) error {
	if err := b.check(c); err != nil {
		return err
	}
	training := b.trainOptions()
	if err := training.Validate(); err != nil {
		return err
	}
	m, err := b.app.openModel(c, modelFlags{"model", "config"}, b.model, b.config, 1, false)
	if err != nil {
		return err
	}
	defer m.Close()
	if !m.HasHead() {
		// The head costs next to nothing; a model without one is as fast.
		if m = m.Clone(); m.AddHead([]string{"0", "1"}, 1) != nil {
			return infer.ErrNoHead
		}
	}
	if !c.Flags().Changed("seq") {
		b.seq = min(b.seq, m.Config.MaxTokens())
	}
	switch {
	case b.file == "" && b.seq > m.Config.MaxTokens():
		return flags.Usagef("--seq: %d is more than the model's %d positions", b.seq, m.Config.MaxTokens())
	case !b.train:
		return b.runInfer(c, m)
	case !m.Config.Head.OneClass():
		return fmt.Errorf("--train measures models that choose one class; this one does %s", m.Config.Head)
	case b.file == "" && b.seq < 3:
		return flags.Usagef("--seq: %d, expected 3 or more with --train: a word between [CLS] and [SEP]", b.seq)
	}
	return b.runTrain(c, m, training)
}

func (b *benchFlags) runInfer(c *cobra.Command, m *checkpoints.Model) error {
	batches := bench.RandomBatches(m.Config, b.batch, b.seq)
	if b.file != "" {
		var err error
		if batches, err = b.app.readInputs("data", m, b.file, b.batch, m.Config.MaxTokens()); err != nil {
			return err
		}
	}
	o := infer.Options{Threads: b.app.common.threads, DType: b.dtype, AttentionDType: b.attentionDType, Profile: b.profile}
	r, err := bench.Infer(c.Context(), m, batches, o, b.instances, b.duration)
	if errors.Is(err, infer.ErrMaskedLM) {
		return flags.Usagef("--instances: %d, expected 1 for a masked language model, which a pool does not serve", b.instances)
	}
	if err != nil {
		return err
	}
	r.Batch = b.batch
	return b.app.show(r, r.WriteText)
}

// runTrain opens the teacher, if there is one, and measures training steps.
func (b *benchFlags) runTrain(c *cobra.Command, m *checkpoints.Model, o distill.Options) error {
	models := []*checkpoints.Model{m.Clone()}
	var from *checkpoints.Model
	if b.teacher != "" || b.teacherConfig != "" {
		opened, err := b.app.openModel(c, modelFlags{"teacher", "teacher-config"}, b.teacher, b.teacherConfig, 2, false)
		if err != nil {
			return err
		}
		defer opened.Close()
		from = opened.Clone()
		if !from.HasHead() {
			if err := from.AddHead(m.Config.Labels, 1); err != nil {
				return err
			}
		}
		models = append(models, from)
	}
	var set *data.Dataset
	if b.file == "" {
		set = bench.RandomTexts(o.BatchSize*(b.steps+bench.WarmSteps), b.seq, models...)
	} else {
		var err error
		if set, err = bench.ReadTexts(b.file, m); err != nil {
			return ofFlag("data", err)
		}
	}
	r, err := bench.Train(c.Context(), models[0], from, set, o, b.steps)
	if err != nil {
		return err
	}
	if !b.profile {
		r.Profile = nil
	}
	return b.app.show(r, r.WriteText)
}

// trainOptions are those of the steps that are measured. The precision of the teacher
// is the student's where it is "".
func (b *benchFlags) trainOptions() distill.Options {
	o := distill.Defaults()
	o.Threads, o.BatchSize, o.Hidden = b.app.common.threads, b.batch, 1
	o.Precision, o.TeacherPrecision = b.precision, b.teacherPrecision
	if b.attention {
		o.Attention = 1
	}
	return o
}

// readInputs reads the file of a flag with inputs as predict takes them.
func (app *skive) readInputs(flag string, m *checkpoints.Model, path string, batch, maxLength int) ([]evaluate.Inputs, error) {
	batches, single, err := evaluate.ReadInputs(m, path, batch, maxLength)
	if err == nil && single && evaluate.MayWantPairs(m.Config) && !app.common.quiet {
		app.noteSingle(path)
	}
	return batches, ofFlag(flag, err)
}
