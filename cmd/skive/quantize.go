package main

import (
	"github.com/spf13/cobra"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/compress"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/internal/flags"
	"github.com/skive-ml/skive/quantize"
	"github.com/skive-ml/skive/settings"
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

With --max-drop the sensitivity of each layer to int8 is measured on a labelled data set, and the most sensitive layers
keep their format, as many as the metric needs to stay within so many points of the float model's.

With --calibrate the scales of activations are chosen before, from how they are distributed on that file, in place of one for
each token at run time.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return q.run(c) },
	}
	f := c.Flags()
	f.StringVar(&q.model, "model", "", "`MODEL` to quantize")
	f.StringVar(&q.calibrate, "calibrate", "", "`FILE` of inputs, one a line as predict takes them: static scales of activations")
	f.StringVar(&q.data, "data", "", "labelled `FILE` for --max-drop, may be .gz")
	f.StringVarP(&q.output, "output", "o", "", "`FILE.skive` to write")
	flags.Add(f, q.Settings())
	overwriteFlag(f, &q.overwrite)
	q.task.register(f, false)
	flags.Sets(f, "data", "Examples")
	flags.Sets(f, "task", "Examples.Task")
	return c
}

// check reports flags that do not go together.
func (q *quantizeFlags) check(c *cobra.Command) error {
	if err := flags.Require(c, "model", "output"); err != nil {
		return err
	}
	given := c.Flags().Changed
	mixed := given("max-drop")
	switch {
	case q.DType != infer.Int8 && (mixed || q.Embeddings || q.calibrate != ""):
		return flags.Usagef("--max-drop, --calibrate and --embeddings go with --dtype int8, not %q", q.DType)
	case !mixed && (q.data != "" || q.task.Task != ""):
		return flags.Usagef("--data and --task go with --max-drop")
	case !mixed && q.calibrate == "" && given("max-length"):
		return flags.Usagef("--max-length goes with --max-drop or --calibrate")
	}
	for _, name := range []string{"text-column", "pair-column", "label-column"} {
		if given(name) && !mixed {
			return flags.Usagef("--%s goes with --max-drop", name)
		}
	}
	if err := flags.CheckIdle(c.Flags(), settings.Table{
		{Name: "calibrate", Value: &q.calibrate}, {Name: "calibrate-method", Value: &q.Method, With: []string{"calibrate"}},
	}); err != nil {
		return err
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
	defer m.Close()
	if err := q.read(m); err != nil {
		return err
	}
	q.MaxLength, q.Threads, q.Progress = q.task.maxLength, q.app.common.threads, q.app.progress()
	made, err := compress.Quantize(c.Context(), m, q.QuantizeOptions)
	if err != nil {
		return err
	}
	if err := made.Model.SaveSkive(q.output); err != nil {
		return err
	}
	if made.Report != nil {
		if q.app.common.json {
			return q.app.printJSON(struct {
				Output     string `json:"output"`
				Parameters int64  `json:"parameters"`
				Bytes      int64  `json:"bytes"`
				Metric     string `json:"metric_name"`
				*quantize.MixedReport
			}{q.output, made.Model.Parameters(), made.Model.Bytes(), made.Metric, made.Report})
		}
		if err := made.Report.WriteText(q.app.out, made.Metric); err != nil {
			return err
		}
	}
	return q.app.showSize(made.Model, q.output, m.Parameters())
}

// read reads the inputs of a calibration and the labelled examples.
func (q *quantizeFlags) read(m *checkpoints.Model) (err error) {
	if q.calibrate != "" {
		length := q.task.maxLength
		switch most := m.Config.MaxTokens(); {
		case length == 0:
			length = most
		case length < 0 || length > most:
			return flags.Usagef("--max-length: %d, expected 1 to the model's %d positions", length, most)
		}
		if q.Inputs, err = q.app.readInputs("calibrate", m, q.calibrate, 16, length); err != nil {
			return err
		}
	}
	if q.data != "" {
		q.Examples, err = q.task.read("data", q.data, m.Config)
	}
	return err
}
