package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/skive-ml/skive/evaluate"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/internal/flags"
)

func (app *skive) newEval() *cobra.Command {
	var (
		task                 taskFlags
		engine               infer.Options
		model, against, file string
	)
	task = app.newTask()
	c := &cobra.Command{
		Use:   "eval",
		Short: "Measure a model on a labelled data set",
		Long: `Measure a model on a labelled data set, with 95 % confidence intervals of its metrics. --against also measures a
second model, and shows the differences (the first's metric minus the second's) with intervals by the paired
bootstrap. If an interval excludes 0, one of the models is better.

Entities in labelled words are measured like seqeval does: entity_f1 by its default rules, which are conlleval's, and
entity_f1_strict by the scheme of the labels, which the output names.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := engine.Settings().Check(); err != nil {
				return err
			}
			measure := func(flag, model string) (*evaluate.Report, error) {
				m, err := app.openCheckpoint(flag, model)
				if err != nil {
					return nil, err
				}
				if err := task.known(c, m.Config); err != nil {
					return nil, err
				}
				set, err := task.read("data", file, m.Config)
				if err != nil {
					return nil, err
				}
				return evaluate.Measure(c.Context(), m, set, evaluate.Options{Threads: app.common.threads, MaxLength: task.maxLength, DType: engine.DType, AttentionDType: engine.AttentionDType})
			}
			e, err := measure("model", model)
			if err != nil {
				return err
			}
			e.Task = task.Task
			if against != "" {
				other, err := measure("against", against)
				if err != nil {
					return err
				}
				if err := e.Compare(against, other); err != nil {
					return fmt.Errorf("%s against %s: %w", model, against, err)
				}
			}
			return app.show(e, e.WriteText)
		},
	}
	f := c.Flags()
	f.StringVar(&model, "model", "", "`MODEL` to measure")
	f.StringVar(&against, "against", "", "`MODEL` to compare it with")
	f.StringVar(&file, "data", "", "labelled `FILE`, may be .gz")
	flags.Add(f, engine.Settings().Only("dtype", "attention-dtype"))
	task.register(f, false)
	return c
}
