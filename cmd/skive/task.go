package main

import (
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/evaluate"
	"github.com/skive-ml/skive/internal/flags"
)

// taskFlags name a task and its files.
type taskFlags struct {
	evaluate.Source
	app       *skive
	maxLength int
}

func (app *skive) newTask() taskFlags { return taskFlags{app: app, Source: evaluate.SourceDefaults()} }

func (t *taskFlags) register(f *pflag.FlagSet, training bool) {
	table := t.Settings()
	if !training {
		table = table.Without("train", "dev")
	}
	flags.Add(f, table)
	f.IntVar(&t.maxLength, "max-length", 0, "truncate inputs to this number of tokens (default the model's maximum)")
	flags.RefuseZero(f, "max-length")
}

// known takes the task from a model that knows it, if --task is not given.
func (t *taskFlags) known(c *cobra.Command, model checkpoints.Config) error {
	if t.Task == "" {
		t.Task = model.Task
	}
	if t.Task == "" {
		return flags.Require(c, "task")
	}
	return nil
}

// read reads one of the task's files with the labels of a model, see evaluate.Read. A flag names
// the file; if that is "", it is an argument.
func (t *taskFlags) read(flag, path string, model checkpoints.Config) (*data.Dataset, error) {
	t.Progress = t.app.progress()
	set, err := t.Read(path, model)
	return set, flags.Named(flag, err)
}

// sets reads --train and --dev, see evaluate.Source.ReadSets.
func (t *taskFlags) sets(model *checkpoints.Model, teacher bool) (train, dev *data.Dataset, err error) {
	t.Progress = t.app.progress()
	return t.ReadSets(model.Config, teacher)
}
