package main

import (
	"errors"
	"fmt"
	"io"
	"math"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/compress"
	"github.com/skive-ml/skive/infer"
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
	q.task.app = app
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
	addSettings(f, q.Settings())
	overwriteFlag(f, &q.overwrite)
	q.task.register(f, false)
	ofFields(f, "data", "Examples")
	ofFields(f, "task", "Examples.Task")
	return c
}

// check reports flags that do not go together.
func (q *quantizeFlags) check(c *cobra.Command) error {
	if err := require(c, "model", "output"); err != nil {
		return err
	}
	given := c.Flags().Changed
	mixed := given("max-drop")
	switch {
	case q.DType != infer.Int8 && (mixed || q.Embeddings || q.calibrate != ""):
		return usagef("--max-drop, --calibrate and --embeddings go with --dtype int8, not %q", q.DType)
	case !mixed && (q.data != "" || q.task.task != ""):
		return usagef("--data and --task go with --max-drop")
	case !mixed && q.calibrate == "" && given("max-length"):
		return usagef("--max-length goes with --max-drop or --calibrate")
	}
	for _, name := range []string{"text-column", "pair-column", "label-column"} {
		if given(name) && !mixed {
			return usagef("--%s goes with --max-drop", name)
		}
	}
	if err := checkIdle(c, settings.Table{
		{Name: "calibrate", Value: &q.calibrate}, {Name: "calibrate-method", Value: &q.Method, With: []string{"calibrate"}},
	}); err != nil {
		return err
	}
	if err := q.Validate(); err != nil || !mixed {
		return err
	}
	return require(c, "task", "data")
}

func (q *quantizeFlags) run(c *cobra.Command) error {
	if err := q.check(c); err != nil {
		return err
	}
	release, err := claimOutput(c, q.output, checkOutputFile, unless(q.overwrite, checkpoints.CheckFree))
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
	q.MaxLength, q.Threads, q.Progress = q.task.maxLength, q.app.common.threads, q.app.progressTo()
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
		if err := printSensitivity(q.app.out, made.Metric, made.Report); err != nil {
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
			return usagef("--max-length: %d, expected 1 to the model's %d positions", length, most)
		}
		if q.Inputs, err = q.app.readInputs("calibrate", m, q.calibrate, 16, length); err != nil {
			return err
		}
	}
	if q.data != "" {
		q.Examples, err = q.task.read("data", q.data, m)
	}
	return err
}

// printSensitivity prints the parts, the most sensitive first, and the metrics.
func printSensitivity(to io.Writer, metric string, r *quantize.MixedReport) error {
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "int8 alone in\tdivergence\t%s\tformat\n", metric)
	kept := 0
	for _, p := range r.Parts {
		format := "int8"
		if p.Kept {
			format = "kept"
			kept++
		}
		fmt.Fprintf(w, "%s\t%.2e\t%+.2f\t%s\n", p.Part, math.Max(p.Divergence, 0), 100*(p.Metric-r.Float), format)
	}
	fmt.Fprintf(w, "%s: float %.2f, all in int8 %.2f, with %d of %d parts kept %.2f\n", metric, 100*r.Float, 100*r.Int8, kept, len(r.Parts), 100*r.Mixed)
	return w.Flush()
}

// withDType stores a model's weights in the number format of a --dtype flag.
func withDType(m *checkpoints.Model, dtype string) (*checkpoints.Model, error) {
	out, err := quantize.Format(m, dtype)
	if errors.Is(err, quantize.ErrFormat) {
		return nil, usagef("--dtype: %q is not a number format of this command, expected f32, fp16, bf16 or int8", dtype)
	}
	return out, err
}
