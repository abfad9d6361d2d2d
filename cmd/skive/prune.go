package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/compress"
	"github.com/skive-ml/skive/distill"
	"github.com/skive-ml/skive/internal/flags"
	"github.com/skive-ml/skive/pruning"
	"github.com/skive-ml/skive/train"
)

// pruneFlags are the flags of skive prune.
type pruneFlags struct {
	app      *skive
	task     taskFlags
	recovery train.Options
	model    string

	importance, importanceOut string
	on                        string
	predictions               bool
	examples                  int

	layers, heads, ffn int
	global, normalize  bool
	rounds             int
	vocabulary         bool
	targetMS           float64
	targetSpeedup      float64
	targetFLOPs        float64
	family             string
	dtype, costs       string
	seq                int

	rearrange, tune, recover bool
	activation               string
}

func (app *skive) newPrune() *cobra.Command {
	p := pruneFlags{app: app, task: taskFlags{app: app}, recovery: train.Defaults()}
	c := &cobra.Command{
		Use:   "prune",
		Short: "Remove the least important heads, feed-forward units, layers and sub-words",
		Long: `Prune measures how much each attention head and each feed-forward unit of a model matters to a task, keeps the most
important ones, and rewires what is left into a smaller model. How many are kept is given
  by --heads and --ffn, for each layer or, with --global, on average;
  or by a cost: --target-ms, --target-speedup and --family (several sizes from one run, in DIR/2x, ...) measure once what
  heads and units cost on this machine's engine (--dtype, --threads, --seq), --target-flops counts operations. What comes
  out is measured beside the whole model and within 5 % of the target, or faster where no cut comes nearer; a model that meets it as
  it is stays whole, and a target that is not reachable is said so, with exit 1.
--layers drops whole layers, --prune-vocab the sub-words that the texts of --train and --dev do not have.
--rearrange and --tune, on for the costs, make up for a part of the loss without training; --recover distills the
whole model into what is left, after each of --rounds, with skive distill's training flags.

What was stopped goes on with --resume: importance, cuts, recoveries and members of a family that are done are not done
again. Where a model or a run is there already, prune ends at once unless --resume or --overwrite is given.`,
		Args: cobra.NoArgs,
		RunE: p.run,
	}
	f := c.Flags()
	f.StringVar(&p.model, "model", "", "`MODEL` to prune")
	f.IntVar(&p.heads, "heads", 0, "attention heads kept in each layer (default all)")
	f.IntVar(&p.ffn, "ffn", 0, "feed-forward units kept in each layer (default all)")
	f.BoolVar(&p.global, "global", false, "rank all layers together: --heads and --ffn are means; each layer keeps a head and 16 units in any case")
	f.BoolVar(&p.normalize, "normalize", false, "with --global, divide the scores of a layer by their norm")
	f.IntVar(&p.layers, "layers", 0, "whole layers kept")
	f.BoolVar(&p.vocabulary, "prune-vocab", false, "keep the sub-words of the task's texts, and the characters")
	f.Float64Var(&p.targetMS, "target-ms", 0, "prune to this latency, in milliseconds")
	f.Float64Var(&p.targetSpeedup, "target-speedup", 0, "prune to this many times the model's speed")
	f.Float64Var(&p.targetFLOPs, "target-flops", 0, "prune to this share of the operations of the model's layers")
	f.StringVar(&p.family, "family", "", "several --target-speedup, as 2,4,8")
	f.StringVar(&p.dtype, "dtype", "f32", "number format of the engine that is measured: f32, fp16, bf16 or int8")
	f.IntVar(&p.seq, "seq", 0, "tokens of the sequence that is measured (default the mean of the importance data)")
	f.StringVar(&p.costs, "costs", "", "`DIR` of the tables of measured costs (default in the user's cache)")
	f.StringVar(&p.importance, "importance", "", "exact, fastformers, fisher or magnitude (default exact; fisher for a cost)")
	f.StringVar(&p.importanceOut, "importance-out", "", "write the scores to `FILE` as JSON")
	f.StringVar(&p.on, "importance-data", "train", "train or dev: the file that importance is measured on")
	f.IntVar(&p.examples, "importance-examples", 0, "examples that importance is measured on (default all; 2048 for a cost or --tune)")
	f.BoolVar(&p.predictions, "predictions", false, "take the model's predictions for labels")
	f.BoolVar(&p.rearrange, "rearrange", false, "weigh heads and units by their joint effect: exchange them within each layer, and under a cost choose how many")
	f.BoolVar(&p.tune, "tune", false, "rescale what is left by least squares")
	f.StringVar(&p.activation, "activation", "", "switch the feed-forward activation: relu")
	f.BoolVar(&p.recover, "recover", false, "distill the whole model into the pruned one")
	f.IntVar(&p.rounds, "rounds", 1, "cuts, each followed by --recover")
	p.task.register(f, true)
	addTraining(f, &p.recovery, ofLabels...)
	f.Lookup("output").Usage = "`DIR` for the pruned model"
	f.Lookup("overwrite").Usage = "replace a model that is there already"
	f.Lookup("resume").Usage = "go on with what was stopped in the output directory; without that, begin it"
	flags.Sets(f, "importance", "Method")
	flags.Sets(f, "layers", "keep")
	flags.Sets(f, "seq", "Tokens")
	flags.RefuseZero(f, "heads", "ffn", "layers", "rounds", "seq", "importance-examples", "target-ms", "target-speedup", "target-flops")
	return c
}

// targets are the costs to prune to, nil for given sizes.
func (p *pruneFlags) targets() ([]pruning.Target, error) {
	var all []pruning.Target
	switch {
	case p.family != "":
		for _, text := range strings.Split(p.family, ",") {
			factor, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
			if err != nil || !(factor > 1) {
				return nil, flags.Usagef("--family: %q, expected speed-ups above 1 like 2,4,8", text)
			}
			if slices.Contains(all, pruning.Target{Speedup: factor}) {
				return nil, flags.Usagef("--family: %q twice, expected speed-ups that differ", text)
			}
			all = append(all, pruning.Target{Speedup: factor})
		}
	case p.targetMS != 0:
		all = []pruning.Target{{Milliseconds: p.targetMS}}
	case p.targetSpeedup != 0:
		all = []pruning.Target{{Speedup: p.targetSpeedup}}
	}
	return all, nil
}

// given tells which ways of choosing what is kept the flags name: a cost, sizes.
func (p *pruneFlags) given(f *pflag.FlagSet) (costs int, sizes bool) {
	for _, name := range []string{"target-ms", "target-speedup", "target-flops", "family"} {
		if f.Changed(name) {
			costs++
		}
	}
	return costs, f.Changed("heads") || f.Changed("ffn")
}

// check completes the flags and reports those that do not go together.
func (p *pruneFlags) check(c *cobra.Command) error {
	if err := require(c, "model", "output"); err != nil {
		return err
	}
	for _, check := range []func(*cobra.Command) error{p.checkRecovery, p.checkSizes, p.checkImportance, p.checkData} {
		if err := check(c); err != nil {
			return err
		}
	}
	return nil
}

// checkRecovery reports flags of a training that does not take place.
func (p *pruneFlags) checkRecovery(c *cobra.Command) error {
	if p.recover {
		return nil
	}
	// Importance has batches, too, and texts have a limit.
	for _, s := range p.recovery.Settings().Without("output", "overwrite", "resume", "batch-size", "max-length", "threads") {
		if c.Flags().Changed(s.Name) {
			return flags.Usagef("--%s goes with --recover", s.Name)
		}
	}
	return nil
}

// checkSizes reports what cannot be kept.
func (p *pruneFlags) checkSizes(c *cobra.Command) error {
	given := c.Flags().Changed
	costs, sizes := p.given(c.Flags())
	for name, kept := range map[string]int{"heads": p.heads, "ffn": p.ffn, "layers": p.layers} {
		if given(name) && kept < 1 {
			return flags.Usagef("--%s: %d, expected the number that is kept, 1 or more", name, kept)
		}
	}
	switch {
	case costs > 1:
		return flags.Usagef("--target-ms, --target-speedup, --target-flops and --family exclude one another")
	case costs == 1 && sizes:
		return flags.Usagef("--heads and --ffn exclude a target, which chooses them")
	case costs == 0 && !sizes && !given("layers") && !p.vocabulary && p.activation == "":
		return flags.Usagef("--heads and --ffn, a target, --layers, --prune-vocab or --activation is required; skive prune --help lists the flags")
	case given("target-ms") && !(p.targetMS > 0):
		return flags.Usagef("--target-ms: %g, expected a time above 0", p.targetMS)
	case given("target-speedup") && !(p.targetSpeedup > 1):
		return flags.Usagef("--target-speedup: %g, expected a factor above 1", p.targetSpeedup)
	case given("target-flops") && !(p.targetFLOPs > 0 && p.targetFLOPs < 1):
		return flags.Usagef("--target-flops: %g, expected a share between 0 and 1", p.targetFLOPs)
	case costs == 0 && !sizes && (given("tune") || given("rearrange")):
		return flags.Usagef("--tune and --rearrange go with --heads, --ffn or a target")
	case p.global && !sizes:
		return flags.Usagef("--global goes with --heads and --ffn")
	case costs == 0 && (given("dtype") || given("seq") || given("costs")):
		return flags.Usagef("--dtype, --seq and --costs go with a target")
	case p.normalize && !p.global:
		return flags.Usagef("--normalize goes with --global")
	case p.rounds < 1 || p.rounds > 1 && (!p.recover || !sizes):
		return flags.Usagef("--rounds: %d, expected 1, or more with --recover and sizes", p.rounds)
	case p.rounds > 1 && (p.tune || p.rearrange):
		return flags.Usagef("--rounds: %d, expected 1 with --tune and --rearrange", p.rounds)
	case p.activation != "" && p.activation != "relu":
		return flags.Usagef("--activation: %q, expected relu", p.activation)
	}
	return checkDType(p.dtype)
}

// checkImportance completes how heads and units are ranked.
func (p *pruneFlags) checkImportance(c *cobra.Command) error {
	given := c.Flags().Changed
	costs, sizes := p.given(c.Flags())
	ranked := costs > 0 || sizes || p.importanceOut != ""
	switch {
	case !ranked && given("importance"):
		return flags.Usagef("--importance goes with --heads, --ffn, a target or --importance-out")
	case p.on != "train" && p.on != "dev":
		return flags.Usagef("--importance-data: %q, expected train or dev", p.on)
	case p.examples < 0:
		return flags.Usagef("--importance-examples: %d, expected a number of examples or 0", p.examples)
	}
	if !ranked && !given("layers") {
		for _, name := range []string{"importance-data", "importance-examples", "predictions"} {
			if given(name) {
				return flags.Usagef("--%s: nothing is ranked by its importance here", name)
			}
		}
	}
	if p.importance == "" {
		p.importance = string(pruning.Exact)
		if costs == 1 {
			p.importance = string(pruning.Fisher)
		}
	}
	method, err := pruning.ParseMethod(p.importance)
	switch {
	case err != nil:
		return err
	case costs == 1 && method != pruning.Fisher:
		return flags.Usagef("--importance: %s, expected fisher for a cost, which weighs heads against units", method)
	}
	p.tune = p.tune || costs == 1 && !given("tune")
	p.rearrange = p.rearrange || costs == 1 && !given("rearrange")
	if p.examples == 0 && (p.rearrange || p.tune) {
		p.examples = pruning.CostExamples
	}
	return nil
}

// checkData reports files that are missing.
func (p *pruneFlags) checkData(c *cobra.Command) error {
	costs, sizes := p.given(c.Flags())
	measured := p.importance != string(pruning.Magnitude)
	if costs == 1 || sizes && (measured || p.tune || p.rearrange) || c.Flags().Changed("layers") || p.importanceOut != "" && measured {
		if err := require(c, "task", p.on); err != nil {
			return err
		}
	}
	if p.recover {
		if err := require(c, "task", "train", "dev"); err != nil {
			return err
		}
	}
	if p.vocabulary {
		return require(c, "task", "train")
	}
	return nil
}

// plan is what the flags say, but for the data.
func (p *pruneFlags) plan() (compress.Plan, error) {
	plan := compress.Plan{
		Vocabulary: p.vocabulary, Layers: p.layers,
		Heads: p.heads, FFN: p.ffn, Global: p.global, Normalize: p.normalize, Rounds: p.rounds,
		FLOPs: p.targetFLOPs, Family: p.family != "",
		DType: p.dtype, Tokens: p.seq, Costs: p.costsDir, Activation: p.activation, Scores: p.importanceOut,
		Cut: compress.Cut{
			Importance: pruning.ImportanceOptions{
				Method: pruning.Method(p.importance), Limit: p.examples, Predictions: p.predictions,
				BatchSize: p.recovery.BatchSize, MaxLength: p.task.maxLength,
			},
			Rearrange: p.rearrange, Tune: p.tune,
		},
		Output: p.recovery.Output, Resume: p.recovery.Resume, Overwrite: p.recovery.Overwrite,
		Threads: p.app.common.threads, Progress: p.app.progressTo(),
	}
	var err error
	if plan.Targets, err = p.targets(); err != nil {
		return plan, err
	}
	recovering := distill.Defaults()
	p.app.completeTraining(&p.recovery, p.task.maxLength)
	if err := p.recovery.Validate(); err != nil {
		return plan, err
	}
	stage := recovering.Stage
	recovering.Options = p.recovery
	if recovering.Stage = stage; p.recover {
		plan.Recover = &recovering
	}
	return plan, nil
}

// costsDir is the directory of the tables of measured costs.
func (p *pruneFlags) costsDir() string {
	if p.costs != "" {
		return p.costs
	}
	return p.app.cacheDir("the measured costs", "costs")
}

func (p *pruneFlags) run(c *cobra.Command, _ []string) error {
	if err := p.check(c); err != nil {
		return err
	}
	plan, err := p.plan()
	if err != nil {
		return err
	}
	release, err := claimOutputs(c, p.recovery, func(dir string) error {
		return compress.CheckPruned(dir, plan.Members()...)
	})
	if err != nil {
		return err
	}
	defer release()
	if p.importanceOut != "" {
		if err := checkpoints.TryFile(p.importanceOut); err != nil {
			return ofFlag("importance-out", err)
		}
		if !plan.Overwrite && !plan.Resume {
			if err := checkpoints.CheckFree(p.importanceOut); err != nil {
				return ofFlag("importance-out", err)
			}
		}
	}
	m, err := p.app.openCheckpoint("model", p.model)
	if err != nil {
		return err
	}
	defer m.Close()
	if m.Quantized() {
		return fmt.Errorf("--model: %s is int8, expected the f32, f16 or bf16 model that it was quantized from", p.model)
	}
	if err := p.read(m, &plan); err != nil {
		return err
	}
	results, err := compress.Prune(c.Context(), m, plan)
	if errors.Is(err, pruning.ErrBudget) {
		return ofFlag("target-flops", err)
	}
	if err != nil {
		return err
	}
	return p.app.showPruned(results, plan.Family)
}

// read reads the data sets that are given.
func (p *pruneFlags) read(m *checkpoints.Model, plan *compress.Plan) (err error) {
	p.task.optional = p.predictions
	if p.task.train != "" {
		if plan.Train, err = p.task.read("train", p.task.train, m); err != nil {
			return err
		}
	}
	if p.task.dev != "" {
		if plan.Dev, err = p.task.read("dev", p.task.dev, m); err != nil {
			return err
		}
	}
	if plan.Set = plan.Train; p.on == "dev" {
		plan.Set = plan.Dev
	}
	return nil
}

// showPruned says how large the saved models are: one document, a list for a
// family.
func (app *skive) showPruned(results []compress.Pruned, family bool) error {
	var document any = results
	if !family {
		document = results[0]
	}
	return app.show(document, func(w io.Writer) error {
		for _, r := range results {
			latency := ""
			if r.MS > 0 {
				latency = fmt.Sprintf("; target %s, measured %.3g ms of the %s, %.2f times as fast", r.Target(), r.MS, r.Clock, r.MSBefore/r.MS)
			}
			if _, err := fmt.Fprintf(w, "%d parameters of %d, %d bytes%s; written: %s\n", r.Parameters, r.Before, r.Bytes, latency, r.Output); err != nil {
				return err
			}
		}
		return nil
	})
}

// showSize says how large a saved model is.
func (app *skive) showSize(m *checkpoints.Model, path string, before int64) error {
	return app.showPruned([]compress.Pruned{{Output: path, Parameters: m.Parameters(), Bytes: m.Bytes(), Before: before}}, false)
}
