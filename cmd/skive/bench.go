package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/evaluate"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/internal/bench"
	"github.com/skive-ml/skive/train"
)

func (app *skive) printBench(r *bench.Result) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s, batch %d × %.0f tokens, %d threads × %d instances\n", r.DType, r.ISA, r.Batch, r.Seq, r.Threads, r.Instances)
	fmt.Fprintf(&b, "latency ms, %s: mean %.3f  p50 %.3f  p90 %.3f  p99 %.3f\n", r.Clock, r.Latency.Mean, r.Latency.P50, r.Latency.P90, r.Latency.P99)
	fmt.Fprintf(&b, "%.1f examples/s  %.0f tokens/s  %.0f MB resident\n", r.ExamplesPerSecond, r.TokensPerSecond, r.RSS)
	for _, stage := range sortedKeys(r.Profile) {
		fmt.Fprintf(&b, "  %-14s %8.3f ms a call\n", stage, r.Profile[stage])
	}
	_, err := fmt.Fprint(app.out, b.String())
	return err
}

// Bounds of what is made up to be measured: tokens of a batch, and of all training
// steps; training steps.
const (
	maxBenchTokens = 1 << 22
	maxBenchSteps  = 100_000
)

func (app *skive) newBench() *cobra.Command {
	var (
		model, configFile, dtype, file string
		attentionDType                 string
		teacher, teacherConfig         string
		precision, teacherPrecision    string
		batch, seq, instances, steps   int
		profile, training, attention   bool
		duration                       time.Duration
	)
	c := &cobra.Command{
		Use:   "bench",
		Short: "Measure latency and throughput",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			switch {
			case batch < 1 || batch > train.MaxBatchSize:
				return usagef("--batch: %d, expected 1 to %d", batch, train.MaxBatchSize)
			case seq < 1 || file == "" && seq > maxBenchTokens/batch:
				return usagef("--seq: %d, expected 1 to %d with --batch %d", seq, maxBenchTokens/batch, batch)
			case instances < 1 || instances > infer.MaxInstances:
				return usagef("--instances: %d, expected 1 to %d", instances, infer.MaxInstances)
			case duration <= 0:
				return usagef("--duration: %s, expected a positive time", duration)
			case training && (steps < 1 || steps > maxBenchSteps):
				return usagef("--steps: %d, expected 1 to %d", steps, maxBenchSteps)
			case training && file == "" && steps+bench.WarmSteps > maxBenchTokens/batch/seq:
				return usagef("--steps: %d, expected %d at most with --batch %d and --seq %d", steps, maxBenchTokens/batch/seq-bench.WarmSteps, batch, seq)
			case training && dtype != "" && dtype != infer.F32:
				return usagef("--dtype: %s, expected f32 with --train", dtype)
			case training && attentionDType != "":
				return usagef("--attention-dtype does not go with --train, whose attention has the --precision")
			case training && (instances != 1 || c.Flags().Changed("duration")):
				return usagef("--instances and --duration do not go with --train, which does --steps on --threads")
			case !training && c.Flags().Changed("steps"):
				return usagef("--steps goes with --train")
			case file != "" && configFile != "":
				return usagef("--data goes with --model: the weights of --config have no tokenizer")
			case !training && (teacher != "" || teacherConfig != ""):
				return usagef("--teacher and --teacher-config go with --train")
			case attention && teacher == "" && teacherConfig == "":
				return usagef("--attention goes with --teacher or --teacher-config")
			case !training && (c.Flags().Changed("precision") || teacherPrecision != ""):
				return usagef("--precision and --teacher-precision go with --train; --dtype is that of inference")
			case teacherPrecision != "" && teacher == "" && teacherConfig == "":
				return usagef("--teacher-precision goes with --teacher or --teacher-config")
			}
			if err := checkDType(dtype); err != nil {
				return err
			}
			if err := checkAttentionDType(attentionDType); err != nil {
				return err
			}
			trainOptions := app.trainBenchOptions(batch, precision, teacherPrecision, attention)
			if err := trainOptions.Validate(); err != nil {
				return err
			}
			m, err := app.openModel(c, modelFlags{"model", "config"}, model, configFile, 1, false)
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
				seq = min(seq, m.Config.MaxTokens())
			}
			if seq > m.Config.MaxTokens() && file == "" {
				return usagef("--seq: %d is more than the model's %d positions", seq, m.Config.MaxTokens())
			}
			switch {
			case !training:
			case !m.Config.Head.OneClass():
				return fmt.Errorf("--train measures models that choose one class; this one does %s", m.Config.Head)
			case seq < 3 && file == "":
				return usagef("--seq: %d, expected 3 or more with --train: a word between [CLS] and [SEP]", seq)
			}
			if training {
				r, err := app.runTrainBench(c, m, teacher, teacherConfig, file, trainOptions, seq, steps, profile)
				if err != nil {
					return err
				}
				if app.common.json {
					return app.printJSON(r)
				}
				return app.printTrainBench(r)
			}
			var batches []evaluate.Inputs
			if file != "" {
				if batches, err = app.readInputs("data", m, file, batch, m.Config.MaxTokens()); err != nil {
					return err
				}
			} else {
				batches = bench.RandomBatches(m.Config, batch, seq)
			}
			r, err := bench.Infer(c.Context(), m, batches, infer.Options{Threads: app.common.threads, DType: dtype, AttentionDType: attentionDType, Profile: profile}, instances, duration)
			if errors.Is(err, infer.ErrMaskedLM) {
				return usagef("--instances: %d, expected 1 for a masked language model, which a pool does not serve", instances)
			}
			if err != nil {
				return err
			}
			r.Batch = batch
			if app.common.json {
				return app.printJSON(r)
			}
			return app.printBench(r)
		},
	}
	f := c.Flags()
	f.StringVar(&model, "model", "", "`MODEL` to measure")
	f.StringVar(&configFile, "config", "", "config.json `FILE`: measure random weights of this shape")
	f.StringVar(&dtype, "dtype", "", "f32, fp16, bf16 or int8 (default as stored)")
	attentionFlag(f, &attentionDType)
	f.StringVar(&file, "data", "", "`FILE` of inputs, one a line as predict takes them (default random tokens)")
	f.IntVar(&batch, "batch", 1, "examples in a call")
	f.IntVar(&seq, "seq", 128, "tokens of each example, at most the model's positions")
	f.IntVar(&instances, "instances", 1, "engines that run at the same time, each with --threads threads")
	f.BoolVar(&training, "train", false, "measure training steps instead")
	f.IntVar(&steps, "steps", 10, "training steps to measure")
	refuseZero(f, "batch", "seq", "instances", "steps")
	f.StringVar(&teacher, "teacher", "", "`MODEL` to distill from in the training steps: hidden states and soft labels")
	f.StringVar(&teacherConfig, "teacher-config", "", "config.json `FILE`: a teacher of this shape with random weights")
	f.BoolVar(&attention, "attention", false, "attention scores, too, are distilled from the teacher (TinyBERT)")
	f.StringVar(&precision, "precision", infer.F32, "f32 or bf16 products of the training steps, as skive train has it")
	f.StringVar(&teacherPrecision, "teacher-precision", "", "f32 or bf16, for the teacher alone (default that of --precision)")
	f.BoolVar(&profile, "profile", false, "time of each stage")
	f.DurationVar(&duration, "duration", 3*time.Second, "how long to measure")
	return c
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// readInputs reads the file of a flag with inputs as predict takes them.
func (app *skive) readInputs(flag string, m *checkpoints.Model, path string, batch, maxLength int) ([]evaluate.Inputs, error) {
	batches, single, err := evaluate.ReadInputs(m, path, batch, maxLength)
	if err == nil && single && evaluate.MayWantPairs(m.Config) && !app.common.quiet {
		app.noteSingle(path)
	}
	return batches, ofFlag(flag, err)
}
