package main

import (
	"github.com/spf13/cobra"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/compress"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/internal/flags"
)

// quantizeFlags are the flags of skive quantize.
type quantizeFlags struct {
	app *skive
	compress.QuantizeOptions
	task                           taskFlags
	model, data, calibrate, output string
	overwrite                      bool
}

func (app *skive) newQuantize() *cobra.Command {
	q := &quantizeFlags{app: app, QuantizeOptions: compress.QuantizeDefaults()}
	q.task = app.newTask()
	c := &cobra.Command{
		Use:   "quantize",
		Short: "Store a model's weights in fewer bits, as one .skive file",
		Long: `Store a model's weights in fewer bits, as one .skive file.

--max-drop measures on a labelled data set how sensitive each layer is to int8. The most sensitive layers keep their
format: as many as needed so that the metric stays within this many points of the float model's.

--calibrate computes the scales of activations in advance, from their distribution on that file. Otherwise each token
gets its scales at run time.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return q.run(c) },
	}
	f := c.Flags()
	f.StringVar(&q.model, "model", "", "`MODEL` to quantize")
	f.StringVar(&q.calibrate, "calibrate", "", "`FILE` with one input per line, as for predict: compute static scales of activations")
	f.StringVar(&q.data, "data", "", "labelled `FILE` for --max-drop, may be .gz")
	f.StringVarP(&q.output, "output", "o", "", "`FILE.skive` to write")
	flags.Add(f, q.Settings())
	overwriteFlag(f, &q.overwrite)
	q.task.register(f, false)
	flags.Sets(f, "calibrate", "Inputs")
	flags.Sets(f, "data", "Examples")
	flags.Sets(f, "task", "Examples.Task")

	flags.ZeroCounts(f, "max-drop")
	flags.GoesWith(f, []string{"max-drop"}, "data", "task", "text-column", "pair-column", "label-column")
	flags.GoesWith(f, []string{"calibrate"}, "calibrate-method")
	flags.GoesWith(f, []string{"max-drop", "calibrate"}, "max-length")
	return c
}

// check reports combinations of flags that are not allowed.
func (q *quantizeFlags) check(c *cobra.Command) error {
	mixed := c.Flags().Changed("max-drop")
	if q.DType != infer.Int8 && (mixed || q.calibrate != "") {
		return flags.Usagef("--max-drop and --calibrate go with --dtype int8, not %q", q.DType)
	}
	if err := q.Validate(); err != nil || !mixed {
		return err
	}
	return flags.Require(c, "task", "data")
}

func (q *quantizeFlags) run(c *cobra.Command) error {
	if err := q.check(c); err != nil {
		return err
	}
	release, err := claimOutput(c, q.output, checkpoints.TryFile, unless(q.overwrite, checkpoints.CheckFree))
	if err != nil {
		return err
	}
	defer release()
	m, err := q.app.openCheckpoint("model", q.model)
	if err != nil {
		return err
	}
	q.MaxLength, q.Threads, q.Progress = q.task.maxLength, q.app.common.threads, q.app.progress()
	if q.calibrate != "" {
		if q.Inputs, err = q.app.readInputs("calibrate", m, q.calibrate, 16, q.MaxLength); err != nil {
			return err
		}
	}
	if q.data != "" {
		if q.Examples, err = q.task.read("data", q.data, m.Config); err != nil {
			return err
		}
	}
	made, err := compress.Quantize(c.Context(), m, q.QuantizeOptions)
	if err != nil {
		return err
	}
	saved, err := made.Save(q.output)
	if err != nil {
		return err
	}
	return q.app.show(saved, saved.WriteText)
}
