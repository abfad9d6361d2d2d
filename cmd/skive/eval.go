package main

import (
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/skive-ml/skive/evaluate"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/internal/flags"
)

func (app *skive) newEval() *cobra.Command {
	var (
		task                        taskFlags
		model, against, file, dtype string
		attentionDType              string
	)
	task.app = app
	c := &cobra.Command{
		Use:   "eval",
		Short: "Measure a model on a labelled data set",
		Long: `Measure a model on a labelled data set, with 95 % confidence intervals of its metrics. With --against the same
is done for a second model, and the differences (the first's minus the second's) have intervals of their own,
by the paired bootstrap: where one leaves out 0, one of the two models is better.

Entities of labelled words are measured as seqeval does: entity_f1 by its default rules, which are conlleval's, and
entity_f1_strict by the scheme of the labels, which the output names.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := require(c, "model", "task", "data"); err != nil {
				return err
			}
			if err := checkDType(dtype); err != nil {
				return err
			}
			if err := checkAttentionDType(attentionDType); err != nil {
				return err
			}
			measure := func(flag, model string) (*evaluate.Report, error) {
				m, err := app.openCheckpoint(flag, model)
				if err != nil {
					return nil, err
				}
				defer m.Close()
				set, err := task.read("data", file, m)
				if err != nil {
					return nil, err
				}
				return evaluate.Measure(c.Context(), m, set, evaluate.Options{Threads: app.common.threads, MaxLength: task.maxLength, DType: dtype, AttentionDType: attentionDType})
			}
			e, err := measure("model", model)
			if err != nil {
				return err
			}
			e.Task = task.task
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
	f.StringVar(&dtype, "dtype", "", "f32, fp16, bf16 or int8 (default as stored)")
	attentionFlag(f, &attentionDType)
	task.register(f, false)
	return c
}

// checkDType refuses number formats that the engine does not compute in.
func checkDType(dtype string) error {
	switch dtype {
	case "", infer.F32, infer.FP16, infer.BF16, infer.Int8:
		return nil
	}
	return flags.Usagef("--dtype: the engine does not compute in %q, expected f32, fp16, bf16 or int8", dtype)
}

// attentionFlag adds --attention-dtype, which checkAttentionDType checks.
func attentionFlag(f *pflag.FlagSet, dtype *string) {
	f.StringVar(dtype, "attention-dtype", "", "f32 or bf16, for attention's products (default bf16 in layers that compute in bf16)")
}

func checkAttentionDType(dtype string) error {
	switch dtype {
	case "", infer.F32, infer.BF16:
		return nil
	}
	return flags.Usagef("--attention-dtype: %q, expected f32 or bf16", dtype)
}
