package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/distill"
	"github.com/skive-ml/skive/evaluate"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/pruning"
	"github.com/skive-ml/skive/train"
)

// pruneFlags are the flags of skive prune.
type pruneFlags struct {
	task     taskFlags
	recovery trainingFlags
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

func newPrune() *cobra.Command {
	var p pruneFlags
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
whole model into what is left, after each of --rounds, with skive distill's training flags.`,
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
	p.recovery.register(f)
	f.Lookup("output").Usage = "`DIR` for the pruned model"
	f.Lookup("overwrite").Usage = "replace a model that is there already"
	for _, name := range inMemory {
		f.Lookup(name).Hidden = true
	}
	return c
}

// inMemory are training flags that speak of files; the recovery has none.
var inMemory = []string{"resume", "save-every", "keep-last"}

// targets are the costs to prune to, nil for given sizes.
func (p *pruneFlags) targets() ([]pruning.Target, error) {
	var all []pruning.Target
	switch {
	case p.family != "":
		for _, text := range strings.Split(p.family, ",") {
			factor, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
			if err != nil || !(factor > 1) {
				return nil, usagef("--family: %q, expected speed-ups above 1 like 2,4,8", text)
			}
			if slices.Contains(all, pruning.Target{Speedup: factor}) {
				return nil, usagef("--family: %q twice, expected speed-ups that differ", text)
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

// check completes the flags and reports those that do not go together.
func (p *pruneFlags) check(c *cobra.Command) error {
	if err := require(c, "model", "output"); err != nil {
		return err
	}
	given := c.Flags().Changed
	costs := 0
	for _, name := range []string{"target-ms", "target-speedup", "target-flops", "family"} {
		if given(name) {
			costs++
		}
	}
	for _, name := range inMemory {
		if given(name) {
			return usagef("--%s: the recovery of skive prune saves nothing on its way", name)
		}
	}
	if !p.recover {
		var t trainingFlags
		training := pflag.NewFlagSet("", pflag.ContinueOnError)
		t.register(training)
		var idle string
		training.VisitAll(func(f *pflag.Flag) {
			// Importance has batches, too.
			if given(f.Name) && f.Name != "output" && f.Name != "overwrite" && f.Name != "batch-size" {
				idle = f.Name
			}
		})
		if idle != "" {
			return usagef("--%s goes with --recover", idle)
		}
	}
	sizes := given("heads") || given("ffn")
	for name, kept := range map[string]int{"heads": p.heads, "ffn": p.ffn, "layers": p.layers} {
		if given(name) && kept < 1 {
			return usagef("--%s: %d, expected the number that is kept, 1 or more", name, kept)
		}
	}
	switch {
	case costs > 1:
		return usagef("--target-ms, --target-speedup, --target-flops and --family exclude one another")
	case costs == 1 && sizes:
		return usagef("--heads and --ffn exclude a target, which chooses them")
	case costs == 0 && !sizes && !given("layers") && !p.vocabulary && p.activation == "":
		return usagef("--heads and --ffn, a target, --layers, --prune-vocab or --activation is required; skive prune --help lists the flags")
	case given("target-ms") && !(p.targetMS > 0):
		return usagef("--target-ms: %g, expected a time above 0", p.targetMS)
	case given("target-speedup") && !(p.targetSpeedup > 1):
		return usagef("--target-speedup: %g, expected a factor above 1", p.targetSpeedup)
	case given("target-flops") && !(p.targetFLOPs > 0 && p.targetFLOPs < 1):
		return usagef("--target-flops: %g, expected a share between 0 and 1", p.targetFLOPs)
	case costs == 0 && !sizes && (given("tune") || given("rearrange")):
		return usagef("--tune and --rearrange go with --heads, --ffn or a target")
	case p.global && !sizes:
		return usagef("--global goes with --heads and --ffn")
	case costs == 0 && !sizes && p.importanceOut == "" && given("importance"):
		return usagef("--importance goes with --heads, --ffn, a target or --importance-out")
	case costs == 0 && (given("dtype") || given("seq") || given("costs")):
		return usagef("--dtype, --seq and --costs go with a target")
	case p.normalize && !p.global:
		return usagef("--normalize goes with --global")
	case p.rounds < 1 || p.rounds > 1 && (!p.recover || !sizes):
		return usagef("--rounds: %d, expected 1, or more with --recover and sizes", p.rounds)
	case p.rounds > 1 && (p.tune || p.rearrange):
		return usagef("--rounds: %d, expected 1 with --tune and --rearrange", p.rounds)
	case p.on != "train" && p.on != "dev":
		return usagef("--importance-data: %q, expected train or dev", p.on)
	case p.activation != "" && p.activation != "relu":
		return usagef("--activation: %q, expected relu", p.activation)
	case p.examples < 0:
		return usagef("--importance-examples: %d, expected a number of examples or 0", p.examples)
	}
	if err := checkDType(p.dtype); err != nil {
		return err
	}
	if p.importance == "" {
		p.importance = string(pruning.Exact)
		if costs == 1 {
			p.importance = string(pruning.Fisher)
		}
	}
	method, err := pruning.ParseMethod(p.importance)
	if err != nil {
		return usagef("--importance: %w", err)
	}
	if costs == 1 {
		if method != pruning.Fisher {
			return usagef("--importance: %s, expected fisher for a cost, which weighs heads against units", method)
		}
		if !given("tune") {
			p.tune = true
		}
		if !given("rearrange") {
			p.rearrange = true
		}
	}
	if costs == 0 && !sizes && !given("layers") && p.importanceOut == "" {
		for _, name := range []string{"importance-data", "importance-examples", "predictions"} {
			if given(name) {
				return usagef("--%s: nothing is ranked by its importance here", name)
			}
		}
	}
	if p.examples == 0 && (p.rearrange || p.tune) {
		p.examples = pruning.CostExamples
	}
	if costs == 1 || sizes && (method != pruning.Magnitude || p.tune || p.rearrange) || given("layers") || p.importanceOut != "" && method != pruning.Magnitude {
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
		if err := require(c, "task", "train"); err != nil {
			return err
		}
	}
	return nil
}

// pruneJob is a run of skive prune.
type pruneJob struct {
	*pruneFlags
	whole  *checkpoints.Model // what --tune and --recover compare with
	before int64              // parameters of the model as it came
	output string
	// train and dev are nil where they are not needed; set is the one of the two
	// that importance is measured on.
	train, dev, set *data.Dataset
	options         pruning.ImportanceOptions
	recovering      distill.Options
}

func (p *pruneFlags) run(c *cobra.Command, _ []string) error {
	if err := p.check(c); err != nil {
		return err
	}
	targets, err := p.targets()
	if err != nil {
		return err
	}
	j := &pruneJob{pruneFlags: p, recovering: distill.Defaults()}
	stage := j.recovering.Stage
	if j.recovering.Options, err = p.recovery.options(p.task.maxLength); err != nil {
		return err
	}
	j.output, j.recovering.Output, j.recovering.Stage = j.recovering.Output, "", stage
	j.options = pruning.ImportanceOptions{
		Method: pruning.Method(p.importance), Limit: p.examples, Predictions: p.predictions,
		BatchSize: p.recovery.BatchSize, MaxLength: p.task.maxLength, Threads: common.threads, Progress: common.progress(),
	}
	release, err := p.recovery.claimOutputs(c, func(dir string) error {
		if p.family == "" {
			return train.CheckOutput(dir)
		}
		for _, t := range targets {
			if err := checkpoints.CheckFree(filepath.Join(dir, memberName(t))); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	defer release()
	if p.importanceOut != "" {
		if err := checkOutputFile("importance-out", p.importanceOut); err != nil {
			return err
		}
		if !p.recovery.Overwrite {
			if err := checkpoints.CheckFree(p.importanceOut); err != nil {
				return ofFlag("importance-out", err)
			}
		}
	}
	m, err := openCheckpoint("model", p.model)
	if err != nil {
		return err
	}
	defer m.Close()
	if m.Quantized() {
		return fmt.Errorf("--model: %s is int8, expected the f32, f16 or bf16 model that it was quantized from", p.model)
	}
	if err := j.read(m); err != nil {
		return err
	}
	if err := pruning.CheckSizes(m.Config, p.heads, p.ffn); err != nil {
		return err
	}
	j.whole, j.before = m, m.Parameters()
	if p.vocabulary {
		if j.whole, err = pruning.Vocabulary(m, j.texts); err != nil {
			return err
		}
	}
	results, err := j.prune(c.Context(), targets)
	if err != nil {
		return err
	}
	return printPruned(os.Stdout, results, p.family != "")
}

// read reads the data sets that are given.
func (j *pruneJob) read(m *checkpoints.Model) (err error) {
	j.task.optional = j.predictions
	if j.task.train != "" {
		if j.train, err = j.task.read("train", j.task.train, m); err != nil {
			return err
		}
		j.set = j.train
	}
	if j.task.dev != "" {
		if j.dev, err = j.task.read("dev", j.task.dev, m); err != nil {
			return err
		}
	}
	if j.on == "dev" {
		j.set = j.dev
	}
	return nil
}

// texts are those of the task's files.
func (j *pruneJob) texts(yield func(string) bool) {
	for _, set := range []*data.Dataset{j.train, j.dev} {
		if set == nil {
			continue
		}
		for i := range set.Examples {
			e := &set.Examples[i]
			if !yield(e.Text) || e.HasPair && !yield(e.Pair) {
				return
			}
			for _, choice := range e.Choices {
				if !yield(choice) {
					return
				}
			}
		}
	}
}

// pruned is the document that skive prune --json prints.
type pruned struct {
	Output     string  `json:"output"`
	Parameters int64   `json:"parameters"`
	Bytes      int64   `json:"bytes"`
	Before     int64   `json:"parameters_before"`
	MS         float64 `json:"latency_ms,omitempty"`
	MSBefore   float64 `json:"latency_ms_before,omitempty"`
	// What was asked for, of which one is not 0 where the latency is measured.
	TargetMS      float64 `json:"target_ms,omitempty"`
	TargetSpeedup float64 `json:"target_speedup,omitempty"`

	target pruning.Target
}

// save writes a pruned model, in a directory of its name below the output if it has
// one: a member of a family as soon as it is done, since the next may take hours.
func (j *pruneJob) save(m *checkpoints.Model, r pruned, name string) ([]pruned, error) {
	r.Output, r.Before, r.Parameters, r.Bytes = j.output, j.before, m.Parameters(), m.Bytes()
	if name != "" {
		r.Output = filepath.Join(j.output, name)
	}
	return []pruned{r}, m.SaveHF(r.Output)
}

// prune makes and saves the pruned models: one for each target, or one.
func (j *pruneJob) prune(ctx context.Context, targets []pruning.Target) ([]pruned, error) {
	start := j.whole
	var err error
	if j.layers > 0 {
		if start, _, err = pruning.DropLayers(ctx, start, j.set, j.layers, j.options); err != nil {
			return nil, err
		}
		// How many times as fast is asked of the model as it came.
		reference := j.whole
		if reference.DType() != checkpoints.F32 || j.dtype != infer.F32 {
			if reference, err = withDType(reference, j.dtype); err != nil {
				return nil, err
			}
		}
		for i := range targets {
			targets[i].Reference = reference
		}
	}
	if j.rounds > 1 {
		return j.iterate(ctx, start)
	}
	// What cannot be reached is to be known before the importance is measured.
	var costs *pruning.Costs
	var measuring pruning.MeasureOptions
	if len(targets) > 0 || j.targetFLOPs > 0 {
		if costs, measuring, err = j.price(ctx, start, targets); err != nil {
			return nil, err
		}
	}
	var gradients *pruning.Gradients
	var scores *pruning.Scores
	if j.rearrange {
		if gradients, err = pruning.MaskGradients(ctx, start, j.set, j.options); err != nil {
			return nil, err
		}
	}
	method := j.options.Method
	cut := len(targets) > 0 || j.targetFLOPs > 0 || j.heads > 0 || j.ffn > 0
	switch {
	case gradients != nil && costs != nil:
		scores = gradients.Joint()
	case gradients != nil && (method == pruning.Exact || method == pruning.Fisher):
		scores = gradients.Scores(method)
	case cut || j.importanceOut != "":
		if scores, err = pruning.Importance(ctx, start, j.set, j.options); err != nil {
			return nil, err
		}
	}
	if j.importanceOut != "" {
		if err := checkpoints.WriteFile(j.importanceOut, scores.WriteJSON); err != nil {
			return nil, err
		}
	}
	if !cut {
		m, err := j.finish(ctx, start, start, "")
		if err != nil {
			return nil, err
		}
		return j.save(m, pruned{}, "")
	}
	fits, err := j.search(ctx, start, scores, costs, targets, measuring)
	if err != nil {
		return nil, err
	}
	var results []pruned
	for i, fit := range fits {
		if gradients != nil {
			if fit.Masks, err = pruning.Rearrange(fit.Masks, gradients); err != nil {
				return nil, err
			}
		}
		r := pruned{MS: fit.After, MSBefore: fit.Before}
		if len(targets) > 0 {
			r.target = targets[i]
			r.TargetMS, r.TargetSpeedup = r.target.Milliseconds, r.target.Speedup
		}
		m, err := pruning.Rewire(start, fit.Masks)
		if err != nil {
			return nil, err
		}
		name := ""
		if j.family != "" {
			name = memberName(targets[i])
		}
		if m, err = j.finish(ctx, start, m, name); err != nil {
			return nil, err
		}
		saved, err := j.save(m, r, name)
		if err != nil {
			return nil, err
		}
		results = append(results, saved...)
	}
	return results, nil
}

// price returns what heads and units cost, in operations or in milliseconds of
// this machine, and under which circumstances that is measured.
func (j *pruneJob) price(ctx context.Context, m *checkpoints.Model, targets []pruning.Target) (*pruning.Costs, pruning.MeasureOptions, error) {
	o := pruning.MeasureOptions{
		DType: j.dtype, Threads: common.threads, Tokens: j.seq, Activation: j.activation, Progress: common.progress(),
	}
	if o.Tokens == 0 {
		enc, err := evaluate.Encode(m, &data.Dataset{Task: j.set.Task, Examples: j.set.Examples[:min(pruning.CostExamples, len(j.set.Examples))]}, j.task.maxLength)
		if err != nil {
			return nil, o, err
		}
		o.Tokens = enc.MeanLength()
	}
	if j.targetFLOPs > 0 {
		return pruning.FLOPs(m.Config, o.Tokens), o, nil
	}
	if err := pruning.Reachable(ctx, m, o, targets...); err != nil {
		return nil, o, err
	}
	dir := j.costs
	if dir == "" {
		dir = cacheDir("the measured costs", "costs")
	}
	cfg := m.Config.Clone()
	if j.activation != "" {
		cfg.Activation = j.activation
	}
	costs, err := pruning.CachedCosts(ctx, cfg, o, dir)
	return costs, o, err
}

// search chooses the masks, with the times that were measured.
func (j *pruneJob) search(ctx context.Context, m *checkpoints.Model, scores *pruning.Scores, costs *pruning.Costs, targets []pruning.Target, o pruning.MeasureOptions) ([]pruning.Fit, error) {
	var fits []pruning.Fit
	for _, t := range targets {
		fit, err := pruning.SearchLatency(ctx, m, scores, costs, t, o)
		if err != nil {
			return nil, err
		}
		fits = append(fits, *fit)
	}
	if fits != nil {
		return fits, nil
	}
	var masks pruning.Masks
	var err error
	switch {
	case costs != nil:
		whole := j.whole.Config
		masks, err = pruning.Search(scores, m.Config, costs, j.targetFLOPs*pruning.FLOPs(whole, o.Tokens).Of(whole.Layers))
		if err != nil {
			return nil, fmt.Errorf("--target-flops: %w", err)
		}
	case j.global:
		masks, err = pruning.SelectGlobal(scores, m.Config, j.heads, j.ffn, j.normalize)
	default:
		masks, err = pruning.Select(scores, m.Config, j.heads, j.ffn)
	}
	if err != nil {
		return nil, usageError{err}
	}
	return []pruning.Fit{{Masks: masks}}, nil
}

// memberName is what a member of a family is called in the file system.
func memberName(t pruning.Target) string { return fmt.Sprintf("%gx", t.Speedup) }

// finish does what follows a cut of from: tuning, the activation, recovery.
func (j *pruneJob) finish(ctx context.Context, from, m *checkpoints.Model, name string) (*checkpoints.Model, error) {
	if j.tune && m != from {
		some := &data.Dataset{Task: j.set.Task, Examples: j.set.Examples[:min(pruning.TuneExamples, len(j.set.Examples))]}
		o := pruning.TuneOptions{MaxLength: j.task.maxLength, Threads: common.threads, Progress: common.progress()}
		var err error
		if m, err = pruning.Tune(ctx, from, m, some, o); err != nil {
			return nil, err
		}
	}
	return j.recovered(ctx, m, name)
}

// recovered switches the activation, if that is asked for, and distills. The log
// and the events of one of several recoveries have its name.
func (j *pruneJob) recovered(ctx context.Context, m *checkpoints.Model, name string) (*checkpoints.Model, error) {
	var err error
	if j.activation != "" && m.Config.Activation != j.activation {
		if m, err = pruning.SetActivation(m, j.activation); err != nil {
			return nil, err
		}
	}
	if j.recover {
		o := j.recovering
		if name != "" {
			o.Options = o.Part(name)
		}
		m, _, err = distill.Run(ctx, j.whole, m, j.train, j.dev, o)
	}
	return m, err
}

// iterate prunes in rounds.
func (j *pruneJob) iterate(ctx context.Context, m *checkpoints.Model) ([]pruned, error) {
	if j.importanceOut != "" {
		scores, err := pruning.Importance(ctx, m, j.set, j.options)
		if err != nil {
			return nil, err
		}
		if err := checkpoints.WriteFile(j.importanceOut, scores.WriteJSON); err != nil {
			return nil, err
		}
	}
	m, err := pruning.Iterate(ctx, m, j.set, pruning.IterateOptions{
		ImportanceOptions: j.options, Rounds: j.rounds,
		Heads: j.heads, FFN: j.ffn, Global: j.global, Normalize: j.normalize,
		Recover: func(ctx context.Context, m *checkpoints.Model, round int) (*checkpoints.Model, error) {
			return j.recovered(ctx, m, fmt.Sprintf("round-%d", round))
		},
	})
	if err != nil {
		return nil, err
	}
	return j.save(m, pruned{}, "")
}

// printPruned says how large the saved models are: one document, a list for a
// family.
func printPruned(w io.Writer, results []pruned, family bool) error {
	if common.json {
		if family {
			return printJSON(results)
		}
		return printJSON(results[0])
	}
	for _, r := range results {
		latency := ""
		if r.MS > 0 {
			latency = fmt.Sprintf("; target %s, measured %.3g ms, %.2f times as fast", r.target, r.MS, r.MSBefore/r.MS)
		}
		if _, err := fmt.Fprintf(w, "%d parameters of %d, %d bytes%s; written: %s\n", r.Parameters, r.Before, r.Bytes, latency, r.Output); err != nil {
			return err
		}
	}
	return nil
}

// printSize says how large a saved model is.
func printSize(w io.Writer, m *checkpoints.Model, path string, before int64) error {
	return printPruned(w, []pruned{{Output: path, Parameters: m.Parameters(), Bytes: m.Bytes(), Before: before}}, false)
}
