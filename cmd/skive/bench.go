package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/evaluate"
	"github.com/skive-ml/skive/internal/bench"
	"github.com/skive-ml/skive/internal/flags"
)

// benchFlags are the flags of skive bench.
type benchFlags struct {
	app *skive
	bench.Options
}

func (app *skive) newBench() *cobra.Command {
	b := &benchFlags{app: app, Options: bench.Defaults()}
	c := &cobra.Command{
		Use:   "bench",
		Short: "Measure latency and throughput",
		Args:  cobra.NoArgs,
		RunE:  b.run,
	}
	f := c.Flags()
	f.String("model", "", "`MODEL` to measure")
	f.String("config", "", "config.json `FILE`: measure random weights of this shape")
	f.String("teacher", "", "`MODEL` to distill from in the training steps: hidden states and soft labels")
	f.String("teacher-config", "", "config.json `FILE`: a teacher of this shape with random weights")
	flags.Add(f, b.Settings())

	flags.GoesWith(f, []string{"train"}, "teacher", "teacher-config")
	flags.GoesWith(f, []string{"teacher", "teacher-config"}, "attention", "teacher-precision")
	flags.Excludes(f, []string{"train"}, "duration")       // training counts steps
	flags.Excludes(f, []string{"config"}, "model", "data") // there is no tokenizer
	flags.Excludes(f, []string{"teacher-config"}, "teacher")
	return c
}

func (b *benchFlags) run(c *cobra.Command, _ []string) error {
	b.Threads = b.app.common.threads
	if err := b.Validate(); err != nil {
		return err
	}
	m, err := b.app.openModel(c, "model", "config", bench.Fresh(1))
	if err != nil {
		return err
	}
	if !c.Flags().Changed("seq") {
		b.Seq = min(b.Seq, m.Config.MaxTokens())
	}
	if b.Train {
		return b.runTrain(c, m)
	}
	var batches []evaluate.Inputs
	if b.File == "" {
		batches, err = b.RandomBatches(m.Config)
	} else {
		batches, err = b.app.readInputs("data", m, b.File, b.Batch, 0)
	}
	if err != nil {
		return err
	}
	r, err := bench.Infer(c.Context(), m, batches, b.Options)
	if err != nil {
		return err
	}
	return b.app.show(r, r.WriteText)
}

// runTrain opens the teacher, if there is one, and measures training steps.
func (b *benchFlags) runTrain(c *cobra.Command, m *checkpoints.Model) (err error) {
	if m.HasHead() && !m.Config.Head.OneClass() {
		return fmt.Errorf("--train measures models that choose one class; this one is for %s", m.Config.Head)
	}
	var teacher *checkpoints.Model
	if given := c.Flags().Changed; given("teacher") || given("teacher-config") {
		if teacher, err = b.app.openModel(c, "teacher", "teacher-config", bench.Fresh(2)); err != nil {
			return err
		}
	}
	r, err := bench.Train(c.Context(), m, teacher, b.Options)
	if err != nil {
		return err
	}
	return b.app.show(r, r.WriteText)
}

// readInputs reads the file of a flag, with inputs in the form for predict, see
// evaluate.ReadInputs.
func (app *skive) readInputs(flag string, m *checkpoints.Model, path string, batch, maxLength int) ([]evaluate.Inputs, error) {
	batches, single, err := evaluate.ReadInputs(m, path, batch, maxLength)
	if err == nil && single && evaluate.MayWantPairs(m.Config) && !app.common.quiet {
		app.noteSingle(path)
	}
	return batches, flags.Named(flag, err)
}
