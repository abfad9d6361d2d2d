package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/compress"
	"github.com/skive-ml/skive/distill"
	"github.com/skive-ml/skive/internal/flags"
	"github.com/skive-ml/skive/train"
)

// pruneFlags are the flags of skive prune.
type pruneFlags struct {
	app *skive
	compress.Plan
	task     taskFlags
	recovery distill.Options
	recover  bool
	model    string
	costs    string
}

func (app *skive) newPrune() *cobra.Command {
	p := &pruneFlags{app: app, Plan: compress.PlanDefaults(), task: app.newTask(), recovery: distill.Defaults()}
	c := &cobra.Command{
		Use:   "prune",
		Short: "Remove the least important heads, feed-forward units, layers and sub-words",
		Long: `Prune measures how much each attention head and each feed-forward unit of a model matters to a task. It keeps
the most important ones and writes a smaller model. How many are kept is given
  by --heads and --ffn, for each layer or, with --global, on average;
  or by a cost. --target-ms, --target-speedup and --family (several sizes from one run, in DIR/2x, ...) measure what
  heads and units cost on this machine's engine (--dtype, --threads, --seq); --target-flops counts operations. The
  result is measured beside the whole model. It is within 5 % of the target, or faster if no cut comes closer. A model
  that meets the target already stays whole. A target that cannot be reached is an error (exit 1).
--layers drops whole layers, and --prune-vocab drops the sub-words that do not occur in the texts of --train and --dev.
--rearrange and --tune, on by default for a cost, recover a part of the loss without training. --recover distills the
whole model into what is left, after each of --rounds, with skive distill's training flags.

--resume continues what was stopped, without repeating importance, cuts, recoveries and members of a family that are
done. If there is a model or a run already, prune ends at once unless --resume or --overwrite is given.`,
		Args: cobra.NoArgs,
		RunE: p.run,
	}
	f := c.Flags()
	f.StringVar(&p.model, "model", "", "`MODEL` to prune")
	flags.Add(f, p.Settings())
	flags.Sets(f, "layers", "Layers", "keep")
	f.StringVar(&p.costs, "costs", "", "`DIR` for tables of measured costs (default in the user's cache)")
	f.BoolVar(&p.recover, "recover", false, "distill the whole model into the pruned one")
	p.task.register(f, true)
	training := p.recovery.Options.Settings().Without(train.OfLabels...)
	addTraining(f, training)
	f.Lookup("output").Usage = "`DIR` for the pruned model"
	f.Lookup("overwrite").Usage = "replace an existing model"
	f.Lookup("resume").Usage = "continue what was stopped in the output directory, or start if there is nothing"

	flags.GoesWith(f, []string{"target-ms", "target-speedup", "target-flops", "family"}, "costs")
	// Importance also has batches, and texts a largest length, so these flags are not among them.
	ofRecovery := training.Without("output", "overwrite", "resume", "batch-size", "max-length")
	flags.GoesWith(f, []string{"recover"}, flags.Names(ofRecovery)...)
	return c
}

// check completes the plan, and reports combinations of flags that are not allowed and missing
// files.
func (p *pruneFlags) check(c *cobra.Command) error {
	training := &p.recovery.Options
	p.app.completeTraining(training, p.task.maxLength)
	p.Complete(c.Flags().Changed)
	p.Importance.BatchSize, p.Importance.MaxLength = training.BatchSize, training.MaxLength
	p.Output, p.Resume, p.Overwrite = training.Output, training.Resume, training.Overwrite
	p.Threads, p.Progress, p.Costs = training.Threads, training.Progress, p.costsDir
	if p.recover {
		p.Recover = &p.recovery
	}
	if err := p.Validate(); err != nil {
		return err
	}
	if err := p.recovery.Validate(); err != nil {
		return err
	}
	var files []string
	needsTrain, needsDev := p.Reads()
	if needsTrain {
		files = append(files, "task", "train")
	}
	if needsDev {
		files = append(files, "task", "dev")
	}
	return flags.Require(c, files...)
}

// costsDir returns the directory for tables of measured costs, or "" if nothing can be kept.
func (p *pruneFlags) costsDir() string {
	if p.costs != "" {
		return p.costs
	}
	cache, err := os.UserCacheDir()
	if err == nil {
		cache = filepath.Join(cache, "skive")
		err = checkpoints.TryDirectory(cache)
	}
	if err == nil {
		return cache
	}
	if !p.app.common.quiet {
		fmt.Fprintf(p.app.errs, "skive: the measured costs are not kept: %v; --costs names another directory\n", err)
	}
	return ""
}

func (p *pruneFlags) run(c *cobra.Command, _ []string) error {
	if err := p.check(c); err != nil {
		return err
	}
	release, err := claimOutputs(c, p.recovery.Options, func(dir string) error { return compress.CheckPruned(dir, p.Members()...) })
	if err != nil {
		return err
	}
	defer release()
	m, err := p.app.openCheckpoint("model", p.model)
	if err != nil {
		return err
	}
	p.task.RequireLabels = !p.Importance.Predictions
	if p.Train, p.Dev, err = p.task.sets(m, true); err != nil {
		return err
	}
	results, err := compress.Prune(c.Context(), m, p.Plan)
	if err != nil {
		return err
	}
	var document any = results
	if p.Family == nil {
		document = results[0]
	}
	return p.app.show(document, func(w io.Writer) error { return compress.WritePruned(w, results...) })
}

// showSize says how large a saved model is.
func (app *skive) showSize(m *checkpoints.Model, path string, before int64) error {
	size := compress.Pruned{Output: path, Parameters: m.Parameters(), Bytes: m.Bytes(), Before: before}
	return app.show(size, func(w io.Writer) error { return compress.WritePruned(w, size) })
}
