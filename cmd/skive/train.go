package main

import (
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/internal/flags"
	"github.com/skive-ml/skive/settings"
	"github.com/skive-ml/skive/train"
)

// addTraining adds the flags of a training with this table. The limit of length is a flag of the
// task.
func addTraining(f *pflag.FlagSet, table settings.Table) {
	flags.Add(f, table.Without("max-length"))
	flags.Excludes(f, []string{"resume"}, "overwrite")
}

// completeTraining sets what other flags say.
func (app *skive) completeTraining(o *train.Options, maxLength int) {
	o.MaxLength, o.Threads, o.Progress = maxLength, app.common.threads, app.progress()
}

// claimOutputs is claimOutput for a run. It also tries and checks the run's other outputs.
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
		task  taskFlags
		o     = train.Defaults()
		seeds int
	)
	task = app.newTask()
	c := &cobra.Command{
		Use:   "train",
		Short: "Fine-tune a checkpoint on a task",
		Long: `Fine-tune a checkpoint on a task, or train one from scratch (--config).

The output directory gets the model that was best on --dev (of equally good ones the first) and the state of the run.
--resume continues a run that was stopped, with the same bits as if it had not been. If there is a run or a model
already, train ends at once unless --resume or --overwrite is given.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			masked := task.Masked()
			if !masked { // otherwise any text trains the model, and none has to measure it
				if err := flags.Require(c, "dev"); err != nil {
					return err
				}
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
			m, err := app.openModel(c, "model", "config", func(config string) (*checkpoints.Model, error) {
				return train.Fresh(config, o.Seed, masked)
			})
			if err != nil {
				return err
			}
			trainSet, devSet, err := task.sets(m, false)
			if err != nil {
				return err
			}
			if seeds != 1 {
				result, err := train.RunSeeds(c.Context(), m, trainSet, devSet, o, seeds)
				if err != nil {
					return err
				}
				all := result.Summary(o.Output)
				return app.show(all, all.WriteText)
			}
			_, result, err := train.Run(c.Context(), m, trainSet, devSet, o)
			if err != nil {
				return err
			}
			return app.printResult(result, o.Output)
		},
	}
	f := c.Flags()
	f.String("model", "", "`MODEL` to fine-tune")
	f.String("config", "", "config.json `FILE` beside a tokenizer: train from scratch, for the classes in its id2label")
	task.register(f, true)
	addTraining(f, o.Settings())
	f.IntVar(&seeds, "seeds", 1, "train with this many seeds, from --seed on, each in seed-N/; show mean and spread of the metric")
	flags.RefuseZero(f, "seeds")
	flags.Excludes(f, []string{"config"}, "model")
	return c
}

// openModel opens the model of one flag, or makes one with random weights from the config.json of
// another.
func (app *skive) openModel(c *cobra.Command, model, config string, fresh func(config string) (*checkpoints.Model, error)) (*checkpoints.Model, error) {
	if err := flags.RequireOne(c, model, config); err != nil {
		return nil, err
	}
	if path := c.Flag(model).Value.String(); path != "" {
		return app.openCheckpoint(model, path)
	}
	m, err := fresh(c.Flag(config).Value.String())
	return m, flags.Named(config, err)
}

// printResult says how a run went.
func (app *skive) printResult(r *train.Result, output string) error {
	s := r.Summary(output)
	return app.show(s, s.WriteText)
}
