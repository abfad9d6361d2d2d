package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/head"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/internal/bounded"
	"github.com/skive-ml/skive/train"
)

// trainingFlags are alike for train and distill.
type trainingFlags struct {
	train.Options
	schedule string
}

func (t *trainingFlags) register(f *pflag.FlagSet) {
	o := train.Defaults()
	f.IntVar(&t.Epochs, "epochs", o.Epochs, "passes over the training set")
	f.IntVar(&t.Steps, "steps", 0, "optimizer steps (default from --epochs)")
	f.IntVar(&t.BatchSize, "batch-size", 0, fmt.Sprintf("examples in a batch (default %d)", train.DefaultBatchSize))
	f.IntVar(&t.BatchTokens, "batch-tokens", 0, "tokens in a batch, instead of --batch-size")
	f.IntVar(&t.Accumulate, "accumulate", 1, "batches whose gradients make up one step")
	f.Float64Var(&t.LearningRate, "lr", o.LearningRate, "peak learning rate")
	f.BoolVar(&t.Recompute, "recompute", false, "compute activations again in the backward pass: less memory, the same results")
	f.StringVar(&t.schedule, "schedule", string(o.Schedule), "linear, cosine or constant")
	f.Float64Var(&t.LayerDecay, "layer-decay", 1, "factor of the learning rate from each layer to the one below")
	f.Float64Var(&t.Warmup, "warmup", o.Warmup, "share of the steps over which the rate rises")
	f.Float64Var(&t.WeightDecay, "weight-decay", o.WeightDecay, "decoupled weight decay")
	f.Float64Var(&t.MaxGradNorm, "max-grad-norm", o.MaxGradNorm, "clip the global gradient norm; 0 does not")
	f.Float64Var(&t.Dropout, "dropout", o.Dropout, "dropout probability (default the model's)")
	f.Lookup("dropout").DefValue = "0" // what the help does not print
	f.StringVar(&t.QuantizeAware, "quantize-aware", "", "train the model that int8 serves, with the int8 engine's arithmetic: dynamic, or static with learned scales")
	f.BoolVar(&t.QuantizeEmbeddings, "quantize-embeddings", false, "with --quantize-aware: word and position embeddings in int8, too, as skive quantize --embeddings makes them")
	f.StringVar(&t.Precision, "precision", infer.F32, "f32, or bf16 for the encoder's products; weights and sums stay f32")
	f.BoolVar(&t.NoShuffle, "no-shuffle", false, "consecutive examples in file order")
	f.IntVar(&t.SaveEvery, "save-every", 0, "steps between saved states (default each epoch)")
	f.IntVar(&t.EvalEvery, "eval-every", 0, "steps between evaluations (default each epoch)")
	f.IntVar(&t.Patience, "patience", 0, "stop after so many evaluations without a better model (default never)")
	f.BoolVar(&t.KeepLast, "keep-last", false, "save the last model too, in last/ of the output directory")
	f.Uint64Var(&t.Seed, "seed", o.Seed, "seed of the order of examples, fresh weights and dropout")
	f.StringVar(&t.Log, "log", "", "write one JSON line a step to `FILE`; a resumed run continues it")
	f.StringVar(&t.TensorBoard, "tensorboard", "", "write an event file for TensorBoard to `DIR`")
	f.BoolVar(&t.Resume, "resume", false, "go on with the run in the output directory; without one there, begin it")
	overwriteFlag(f, &t.Overwrite)
	f.Lookup("overwrite").Usage = "begin anew where there is another run, or a model, already"
	f.StringVarP(&t.Output, "output", "o", "", "`DIR` for the best model and the training state")
}

// options completes the settings.
func (t *trainingFlags) options(maxLength int) (train.Options, error) {
	o := t.Options
	d := train.Defaults()
	o.Beta1, o.Beta2, o.Epsilon = d.Beta1, d.Beta2, d.Epsilon
	o.MaxLength, o.Threads, o.Progress = maxLength, common.threads, common.progress()
	var err error
	if o.Schedule, err = train.ParseSchedule(t.schedule); err != nil {
		return o, usagef("--%w", err)
	}
	if err := o.Validate(); err != nil {
		return o, usagef("--%w", err)
	}
	return o, nil
}

// claimOutputs reserves what a run writes, tries to write there, and checks what
// is there: its output directory, with free, --log and --tensorboard.
func (t *trainingFlags) claimOutputs(c *cobra.Command, free func(dir string) error) (release func(), err error) {
	release, err = claimOutput(c, t.Output, checkOutput, unless(t.Resume || t.Overwrite, free))
	if err != nil {
		return nil, err
	}
	beside := t.Options
	beside.Output = ""
	if err = t.tryBeside(); err == nil {
		if err = beside.CheckOutputs(); err != nil {
			err = fmt.Errorf("--%w", err)
		}
	}
	if err != nil {
		release()
		return nil, err
	}
	return release, nil
}

// tryBeside tries to write to --log and --tensorboard.
func (t *trainingFlags) tryBeside() error {
	if t.Log != "" {
		switch info, err := os.Stat(t.Log); {
		case err != nil:
			if err := checkOutput("log", filepath.Dir(t.Log)); err != nil {
				return err
			}
		case info.IsDir():
			return fmt.Errorf("--log: %s is a directory, expected the name of a file", t.Log)
		}
	}
	if t.TensorBoard != "" {
		return checkOutput("tensorboard", t.TensorBoard)
	}
	return nil
}

func newTrain() *cobra.Command {
	var (
		task              taskFlags
		flags             trainingFlags
		model, configFile string
		seeds             int
	)
	c := &cobra.Command{
		Use:   "train",
		Short: "Fine-tune a checkpoint on a task",
		Long: `Fine-tune a checkpoint on a task, or train one from scratch (--config).

The output directory has the best model and the state of the run. A run that was stopped goes on with --resume, to the bits
of one that was not. Where a run or a model is there already, train ends at once unless --resume or --overwrite is given.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			masked := task.masked()
			required := []string{"task", "train", "dev", "output"}
			if masked { // any text trains it, and none has to measure it
				required = []string{"task", "train", "output"}
			}
			if err := require(c, required...); err != nil {
				return err
			}
			o, err := flags.options(task.maxLength)
			if err != nil {
				return err
			}
			if seeds < 1 {
				return usagef("--seeds: %d, expected 1 or more", seeds)
			}
			release, err := flags.claimOutputs(c, train.CheckOutput)
			if err != nil {
				return err
			}
			defer release()
			m, err := openModel(c, modelFlags{"model", "config"}, model, configFile, o.Seed, masked)
			if err != nil {
				return err
			}
			defer m.Close()
			trainSet, devSet, err := task.sets(m)
			if err != nil {
				return err
			}
			if seeds != 1 {
				result, err := train.RunSeeds(c.Context(), m, trainSet, devSet, o, seeds)
				if err != nil {
					return err
				}
				return printSeeds(result, o.Output)
			}
			_, result, err := train.Run(c.Context(), m, trainSet, devSet, o)
			if err != nil {
				return err
			}
			return printResult(result, o.Output)
		},
	}
	c.Flags().StringVar(&model, "model", "", "`MODEL` to fine-tune")
	c.Flags().StringVar(&configFile, "config", "", "config.json `FILE` beside a tokenizer: train from scratch")
	task.register(c.Flags(), true)
	flags.register(c.Flags())
	f := c.Flags()
	f.Float64SliceVar(&flags.ClassWeights, "class-weights", nil, "`WEIGHTS` of the labels in the loss, separated by commas (default equal)")
	f.Lookup("class-weights").DefValue = ""
	f.Float64Var(&flags.LabelSmoothing, "label-smoothing", 0, "share of the target that is spread over all labels")
	f.IntVar(&seeds, "seeds", 1, "train under so many seeds from --seed on, in seed-N/ each; mean and spread of the metric")
	return c
}

// modelFlags are the names of the flags that a model comes from, and of the
// configuration of one with fresh weights.
type modelFlags struct{ model, config string }

// openModel opens --model, or makes a model with fresh weights from --config, of
// a masked language model where that is to be trained.
func openModel(c *cobra.Command, flags modelFlags, model, configFile string, seed uint64, masked bool) (*checkpoints.Model, error) {
	switch {
	case (model == "") == (configFile == ""):
		return nil, usagef("either --%s or --%s is required", flags.model, flags.config)
	case model != "":
		return openCheckpoint(flags.model, model)
	}
	text, err := bounded.ReadFile(configFile, bounded.Document)
	if err != nil {
		return nil, ofFlag(flags.config, err)
	}
	cfg, err := checkpoints.ParseConfig(text)
	if err != nil {
		return nil, fmt.Errorf("--%s: %s: %w", flags.config, configFile, err)
	}
	if err := cfg.ValidateFresh(); err != nil {
		return nil, fmt.Errorf("--%s: %s: %w", flags.config, configFile, err)
	}
	switch {
	case masked:
		cfg.Head, cfg.Labels = head.MaskedLM, nil
	case c.Name() != "bench" && cfg.GenericLabels():
		cfg.Labels = nil // the task's or the data's take their place
	}
	m := checkpoints.InitBERT(cfg, seed)
	if c.Name() == "bench" {
		return m, nil // token ids are drawn: no tokenizer is needed
	}
	m.Tokenizer, err = checkpoints.ReadTokenizer(filepath.Dir(configFile))
	return m, ofFlag(flags.config, err)
}

// printResult says how a run went.
func printResult(r *train.Result, output string) error {
	if common.json {
		return printJSON(struct {
			Output  string             `json:"output"`
			Steps   int                `json:"steps"`
			Step    int                `json:"best_step"`
			Metrics map[string]float64 `json:"metrics"`
			Seconds float64            `json:"seconds"`
		}{output, r.Steps, r.Best.Step, r.Best.Metrics, r.Seconds})
	}
	var err error
	if len(r.Best.Metrics) == 0 {
		_, err = fmt.Printf("%d steps; written: %s\n", r.Steps, output)
	} else {
		_, err = fmt.Printf("%s %.4f at step %d of %d; written: %s\n", r.Metric, r.Best.Metrics[r.Metric], r.Best.Step, r.Steps, output)
	}
	return err
}

// printSeeds says how the runs under several seeds went.
func printSeeds(r *train.SeedsResult, output string) error {
	type run struct {
		Seed    uint64             `json:"seed"`
		Output  string             `json:"output"`
		Steps   int                `json:"steps"`
		Step    int                `json:"best_step"`
		Metrics map[string]float64 `json:"metrics"`
	}
	runs := make([]run, len(r.Seeds))
	for i, seed := range r.Seeds {
		result := r.Results[i]
		runs[i] = run{seed, filepath.Join(output, fmt.Sprintf("seed-%d", seed)), result.Steps, result.Best.Step, result.Best.Metrics}
	}
	if common.json {
		return printJSON(struct {
			Seeds  []run              `json:"seeds"`
			Mean   map[string]float64 `json:"mean"`
			Spread map[string]float64 `json:"spread"`
		}{runs, r.Mean, r.Spread})
	}
	var b strings.Builder
	for _, one := range runs {
		fmt.Fprintf(&b, "seed %d: %s %.4f at step %d of %d; written: %s\n", one.Seed, r.Metric, one.Metrics[r.Metric], one.Step, one.Steps, one.Output)
	}
	fmt.Fprintf(&b, "%s %.4f ± %.4f over %d seeds\n", r.Metric, r.Mean[r.Metric], r.Spread[r.Metric], len(runs))
	_, err := fmt.Print(b.String())
	return err
}
