package main

import (
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/head"
	"github.com/skive-ml/skive/internal/flags"
	"github.com/skive-ml/skive/train"
)

// ofLabels are the settings that only learning from labels has.
var ofLabels = []string{"class-weights", "label-smoothing"}

// addTraining makes the flags that train, distill and prune share, but for the named
// ones. The limit of length is a flag of the task.
func addTraining(f *pflag.FlagSet, o *train.Options, without ...string) {
	flags.Add(f, o.Settings().Without(append(without, "max-length")...))
}

// completeTraining adds what other flags say.
func (app *skive) completeTraining(o *train.Options, maxLength int) {
	o.MaxLength, o.Threads, o.Progress = maxLength, app.common.threads, app.progress()
}

// claimOutputs is claimOutput for a run, whose other outputs it tries and checks, too.
func claimOutputs(c *cobra.Command, o train.Options, free func(dir string) error) (release func(), err error) {
	release, err = claimOutput(c, o.Output, checkpoints.TryDirectory, unless(o.Resume || o.Overwrite, free))
	if err != nil {
		return nil, err
	}
	o.Output = ""
	if err = o.TryOutputs(); err == nil {
		err = o.CheckOutputs()
	}
	if err != nil {
		release()
		return nil, err
	}
	return release, nil
}

func (app *skive) newTrain() *cobra.Command {
	var (
		task              taskFlags
		o                 = train.Defaults()
		model, configFile string
		seeds             int
	)
	task = app.newTask()
	c := &cobra.Command{
		Use:   "train",
		Short: "Fine-tune a checkpoint on a task",
		Long: `Fine-tune a checkpoint on a task, or train one from scratch (--config).

The output directory has the model that did best on --dev, of equal ones the first, and the state of the run. A run that
was stopped goes on with --resume, to the bits of one that was not. Where a run or a model is there already, train ends at
once unless --resume or --overwrite is given.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			masked := task.Masked()
			required := []string{"task", "train", "dev", "output"}
			if masked { // any text trains it, and none has to measure it
				required = []string{"task", "train", "output"}
			}
			if err := flags.Require(c, required...); err != nil {
				return err
			}
			app.completeTraining(&o, task.maxLength)
			if err := o.Validate(); err != nil {
				return err
			}
			release, err := claimOutputs(c, o, train.CheckOutput)
			if err != nil {
				return err
			}
			defer release()
			m, err := app.openModel(c, modelFlags{"model", "config"}, model, configFile, o.Seed, masked)
			if err != nil {
				return err
			}
			defer m.Close()
			trainSet, devSet, err := task.sets(m, false)
			if err != nil {
				return err
			}
			if seeds != 1 {
				result, err := train.RunSeeds(c.Context(), m, trainSet, devSet, o, seeds)
				if err != nil {
					return err
				}
				return app.printSeeds(result, o.Output)
			}
			_, result, err := train.Run(c.Context(), m, trainSet, devSet, o)
			if err != nil {
				return err
			}
			return app.printResult(result, o.Output)
		},
	}
	c.Flags().StringVar(&model, "model", "", "`MODEL` to fine-tune")
	c.Flags().StringVar(&configFile, "config", "", "config.json `FILE` beside a tokenizer: train from scratch, for the classes that its id2label names")
	task.register(c.Flags(), true)
	addTraining(c.Flags(), &o)
	f := c.Flags()
	f.IntVar(&seeds, "seeds", 1, "train under so many seeds from --seed on, in seed-N/ each; mean and spread of the metric")
	flags.RefuseZero(f, "seeds")
	return c
}

// modelFlags are the names of the flags that a model comes from, and of the
// configuration of one with fresh weights.
type modelFlags struct{ model, config string }

// openModel opens --model, or makes a model with fresh weights from --config, of
// a masked language model where that is to be trained.
func (app *skive) openModel(c *cobra.Command, from modelFlags, model, configFile string, seed uint64, masked bool) (*checkpoints.Model, error) {
	switch {
	case model != "" && configFile != "":
		return nil, flags.Usagef("--%s and --%s exclude each other", from.model, from.config)
	case model == "" && configFile == "":
		return nil, flags.Usagef("either --%s or --%s is required", from.model, from.config)
	case model != "":
		return app.openCheckpoint(from.model, model)
	}
	cfg, err := checkpoints.ReadFresh(configFile)
	if err != nil {
		return nil, flags.Named(from.config, err)
	}
	switch {
	case masked:
		cfg.Head, cfg.Labels = head.MaskedLM, nil
	case c.Name() != "bench" && data.Unnamed(cfg.Labels):
		cfg.Labels = nil // the task's or the data's take their place
	}
	m := checkpoints.InitBERT(cfg, seed)
	if c.Name() == "bench" {
		return m, nil // token ids are drawn: no tokenizer is needed
	}
	m.Tokenizer, err = checkpoints.ReadTokenizer(filepath.Dir(configFile))
	return m, flags.Named(from.config, err)
}

// printResult says how a run went.
func (app *skive) printResult(r *train.Result, output string) error {
	s := r.Summary(output)
	return app.show(s, func(w io.Writer) error { return printRun(w, "", s) })
}

// printRun says how a run went, which is one of several where it has a name.
func printRun(w io.Writer, name string, s train.Summary) error {
	diverged := ""
	if s.Diverged {
		diverged = "; the run has diverged: lower --lr"
	}
	_, err := fmt.Fprintf(w, "%s%v; written: %s%s\n", name, s, s.Output, diverged)
	return err
}

// printSeeds says how the runs under several seeds went.
func (app *skive) printSeeds(r *train.SeedsResult, output string) error {
	all := r.Summary(output)
	return app.show(all, func(w io.Writer) error {
		for _, s := range all.Seeds {
			if err := printRun(w, fmt.Sprintf("seed %d: ", *s.Seed), s); err != nil {
				return err
			}
		}
		_, err := fmt.Fprintln(w, all)
		return err
	})
}
