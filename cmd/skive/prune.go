package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/compress"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/distill"
	"github.com/skive-ml/skive/internal/flags"
	"github.com/skive-ml/skive/pruning"
	"github.com/skive-ml/skive/settings"
	"github.com/skive-ml/skive/train"
)

// pruneFlags are the flags of skive prune.
type pruneFlags struct {
	app *skive
	compress.Plan
	task      taskFlags
	recovery  train.Options
	model, on string
	costs     string
	recover   bool
}

func (app *skive) newPrune() *cobra.Command {
	p := &pruneFlags{app: app, Plan: compress.PlanDefaults(), task: app.newTask(), recovery: train.Defaults()}
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
	flags.Add(f, p.Settings())
	flags.Sets(f, "layers", "Layers", "keep")
	f.StringVar(&p.costs, "costs", "", "`DIR` of the tables of measured costs (default in the user's cache)")
	f.StringVar(&p.on, "importance-data", "train", "train or dev: the file that importance is measured on")
	f.BoolVar(&p.recover, "recover", false, "distill the whole model into the pruned one")
	p.task.register(f, true)
	addTraining(f, &p.recovery, ofLabels...)
	f.Lookup("output").Usage = "`DIR` for the pruned model"
	f.Lookup("overwrite").Usage = "replace a model that is there already"
	f.Lookup("resume").Usage = "go on with what was stopped in the output directory; without that, begin it"
	return c
}

// check completes the plan and reports flags that do not go together, and files that are
// missing.
func (p *pruneFlags) check(c *cobra.Command) error {
	if err := flags.Require(c, "model", "output"); err != nil {
		return err
	}
	given := c.Flags().Changed
	// Importance has batches, too, and texts have a limit.
	for _, s := range p.recovery.Settings().Without("output", "overwrite", "resume", "batch-size", "max-length", "threads") {
		if !p.recover && given(flags.Name(s)) {
			return flags.Usagef("--%s goes with --recover", flags.Name(s))
		}
	}
	if p.on != "train" && p.on != "dev" {
		return flags.Usagef("--importance-data: %q, expected train or dev", p.on)
	}
	p.complete(given)
	if err := p.Validate(); err != nil {
		return err
	}
	all := p.Settings()
	costs := settings.Setting{Name: "costs", Value: &p.costs, With: all.Only("seq")[0].With}
	on := settings.Setting{Name: "importance-data", Value: &p.on, With: all.Only("predictions")[0].With}
	if err := flags.CheckIdle(c.Flags(), append(all, costs, on)); err != nil {
		return err
	}
	var files []string
	if p.ReadsExamples() {
		files = append(files, "task", p.on)
	}
	if p.Vocabulary || p.recover {
		files = append(files, "task", "train")
	}
	if p.recover {
		files = append(files, "dev")
	}
	return flags.Require(c, files...)
}

// complete adds what other flags say, and what a cost has for defaults.
func (p *pruneFlags) complete(given func(flag string) bool) {
	method := pruning.Exact
	if p.ToCost() {
		method = pruning.Fisher
		p.Tune, p.Rearrange = p.Tune || !given("tune"), p.Rearrange || !given("rearrange")
	}
	o := &p.Importance
	o.Method = cmp.Or(o.Method, method)
	if p.Rearrange || p.Tune {
		o.Limit = cmp.Or(o.Limit, pruning.CostExamples)
	}
	o.BatchSize, o.MaxLength = p.recovery.BatchSize, p.task.maxLength
	p.app.completeTraining(&p.recovery, p.task.maxLength)
	p.Output, p.Resume, p.Overwrite = p.recovery.Output, p.recovery.Resume, p.recovery.Overwrite
	p.Threads, p.Progress, p.Costs = p.recovery.Threads, p.recovery.Progress, p.costsDir
	if p.recover {
		o := distill.Defaults()
		p.recovery.Stage = o.Stage
		o.Options = p.recovery
		p.Recover = &o
	}
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
	if err := p.recovery.Validate(); err != nil {
		return err
	}
	release, err := claimOutputs(c, p.recovery, func(dir string) error { return compress.CheckPruned(dir, p.Members()...) })
	if err != nil {
		return err
	}
	defer release()
	if p.Scores != "" {
		err := checkpoints.TryFile(p.Scores)
		if err == nil && !p.Overwrite && !p.Resume {
			err = checkpoints.CheckFree(p.Scores)
		}
		if err != nil {
			return flags.Named("importance-out", err)
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
	if err := p.read(m); err != nil {
		return err
	}
	results, err := compress.Prune(c.Context(), m, p.Plan)
	if errors.Is(err, pruning.ErrBudget) {
		return flags.Named("target-flops", err)
	}
	if err != nil {
		return err
	}
	var document any = results
	if p.Family == nil {
		document = results[0]
	}
	return p.app.show(document, func(w io.Writer) error { return compress.WritePruned(w, results...) })
}

// read reads the data sets that are given.
func (p *pruneFlags) read(m *checkpoints.Model) (err error) {
	p.task.RequireLabels = !p.Importance.Predictions
	for _, x := range []struct {
		flag, path string
		set        **data.Dataset
	}{{"train", p.task.Train, &p.Train}, {"dev", p.task.Dev, &p.Dev}} {
		if x.path == "" {
			continue
		}
		if *x.set, err = p.task.read(x.flag, x.path, m.Config); err != nil {
			return err
		}
		if p.on == x.flag {
			p.Set = *x.set
		}
	}
	return nil
}

// showSize says how large a saved model is.
func (app *skive) showSize(m *checkpoints.Model, path string, before int64) error {
	size := compress.Pruned{Output: path, Parameters: m.Parameters(), Bytes: m.Bytes(), Before: before}
	return app.show(size, func(w io.Writer) error { return compress.WritePruned(w, size) })
}
