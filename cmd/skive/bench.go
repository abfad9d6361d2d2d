package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/evaluate"
	"github.com/skive-ml/skive/internal/bench"
	"github.com/skive-ml/skive/internal/flags"
	"github.com/skive-ml/skive/settings"
)

// benchFlags are the flags of skive bench.
type benchFlags struct {
	app *skive
	bench.Options
	model, config, teacher, teacherConfig string
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
	f.StringVar(&b.model, "model", "", "`MODEL` to measure")
	f.StringVar(&b.config, "config", "", "config.json `FILE`: measure random weights of this shape")
	f.StringVar(&b.teacher, "teacher", "", "`MODEL` to distill from in the training steps: hidden states and soft labels")
	f.StringVar(&b.teacherConfig, "teacher-config", "", "config.json `FILE`: a teacher of this shape with random weights")
	flags.Add(f, b.Settings())
	return c
}

// check reports flags that do not go together.
func (b *benchFlags) check(c *cobra.Command) error {
	b.Threads = b.app.common.threads
	if b.File != "" && b.config != "" {
		return flags.Usagef("--data goes with --model: the weights of --config have no tokenizer")
	}
	if b.Train && c.Flags().Changed("duration") {
		return flags.Usagef("--duration does not go with --train, which does --steps")
	}
	training, taught := []string{"train"}, []string{"teacher", "teacher-config"}
	all := append(b.Settings(),
		settings.Setting{Name: taught[0], Value: &b.teacher, With: training},
		settings.Setting{Name: taught[1], Value: &b.teacherConfig, With: training})
	for i := range all {
		if name := all[i].Name; name == "attention" || name == "teacher-precision" {
			all[i].With = taught
		}
	}
	if err := flags.CheckIdle(c.Flags(), all); err != nil {
		return err
	}
	return b.Validate()
}

func (b *benchFlags) run(c *cobra.Command, _ []string) error {
	if err := b.check(c); err != nil {
		return err
	}
	m, err := b.app.openModel(c, modelFlags{"model", "config"}, b.model, b.config, 1, false)
	if err != nil {
		return err
	}
	defer m.Close()
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
		batches, err = b.app.readInputs("data", m, b.File, b.Batch, m.Config.MaxTokens())
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
		return fmt.Errorf("--train measures models that choose one class; this one does %s", m.Config.Head)
	}
	var teacher *checkpoints.Model
	if b.teacher != "" || b.teacherConfig != "" {
		if teacher, err = b.app.openModel(c, modelFlags{"teacher", "teacher-config"}, b.teacher, b.teacherConfig, 2, false); err != nil {
			return err
		}
		defer teacher.Close()
	}
	r, err := bench.Train(c.Context(), m, teacher, b.Options)
	if err != nil {
		return err
	}
	return b.app.show(r, r.WriteText)
}

// readInputs reads the file of a flag with inputs as predict takes them.
func (app *skive) readInputs(flag string, m *checkpoints.Model, path string, batch, maxLength int) ([]evaluate.Inputs, error) {
	batches, single, err := evaluate.ReadInputs(m, path, batch, maxLength)
	if err == nil && single && evaluate.MayWantPairs(m.Config) && !app.common.quiet {
		app.noteSingle(path)
	}
	return batches, flags.Named(flag, err)
}
