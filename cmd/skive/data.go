package main

import (
	"errors"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/data/reviews"
	"github.com/skive-ml/skive/internal/flags"
)

func (app *skive) newData() *cobra.Command {
	c := &cobra.Command{
		Use:   "data",
		Short: "Make, show and convert data sets",
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },

		SuggestFor: []string{"show", "convert", "generate"},
	}
	c.AddCommand(newDataGenerate(), app.newDataShow(), app.newDataConvert())
	return c
}

func newDataGenerate() *cobra.Command {
	o := reviews.Defaults()
	var output string
	var overwrite bool
	c := &cobra.Command{
		Use:   "generate",
		Short: "Write the built-in task, reviews, as train.jsonl and dev.jsonl",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := o.Settings().Check(); err != nil {
				return err
			}
			files := []string{filepath.Join(output, "train.jsonl"), filepath.Join(output, "dev.jsonl")}
			release, err := claimOutput(c, output, checkpoints.TryDirectory, unless(overwrite, func(string) error {
				return errors.Join(checkpoints.CheckFree(files[0]), checkpoints.CheckFree(files[1]))
			}))
			if err != nil {
				return err
			}
			defer release()
			train, dev := reviews.Generate(o)
			for i, set := range []*data.Dataset{train, dev} {
				if err := checkpoints.WriteFile(files[i], set.WriteJSONL); err != nil {
					return err
				}
			}
			return nil
		},
	}
	f := c.Flags()
	flags.Add(f, o.Settings())
	f.StringVarP(&output, "output", "o", "", "`DIR` to write to")
	overwriteFlag(f, &overwrite)
	return c
}

func (app *skive) newDataShow() *cobra.Command {
	task := app.newTask()
	var limit int
	c := &cobra.Command{
		Use:   "show FILE",
		Short: "Show how many examples a file has of each label, and the first ones",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if limit < 0 {
				return flags.Usagef("--limit: %d, expected a number of examples", limit)
			}
			set, err := readUnlabeled(c, &task, args[0])
			if err != nil {
				return err
			}
			summary := set.Summary(limit)
			return app.show(summary, summary.WriteText)
		},
	}
	task.register(c.Flags(), false)
	c.Flags().IntVar(&limit, "limit", 5, "examples to show")
	return c
}

func (app *skive) newDataConvert() *cobra.Command {
	task := app.newTask()
	var output string
	var overwrite bool
	c := &cobra.Command{
		Use:   "convert FILE",
		Short: "Write a task's file as JSONL for the general task of its kind",
		Long: `Convert writes text, text_pair and label, as the task text reads them. For other kinds of tasks it writes what
multilabel, regression, choice, tokens and mlm read.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			release, err := claimOutput(c, output, checkpoints.TryFile, unless(overwrite, checkpoints.CheckFree))
			if err != nil {
				return err
			}
			defer release()
			set, err := readUnlabeled(c, &task, args[0])
			if err != nil {
				return err
			}
			return checkpoints.WriteFile(output, set.WriteJSONL)
		},
	}
	task.register(c.Flags(), false)
	c.Flags().StringVarP(&output, "output", "o", "", "`FILE` to write")
	overwriteFlag(c.Flags(), &overwrite)
	return c
}

// readUnlabeled reads a file whose examples may lack labels.
func readUnlabeled(c *cobra.Command, task *taskFlags, path string) (*data.Dataset, error) {
	task.RequireLabels = false
	return task.read("", path, checkpoints.Config{})
}
