package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/train"
)

func newEval() *cobra.Command {
	var (
		task               taskFlags
		model, file, dtype string
	)
	c := &cobra.Command{
		Use:   "eval",
		Short: "Measure a model on a labelled data set",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := require(c, "model", "task", "data"); err != nil {
				return err
			}
			if err := checkDType(dtype); err != nil {
				return err
			}
			m, err := checkpoints.Open(model)
			if err != nil {
				return err
			}
			defer m.Close()
			set, err := task.read(file, m)
			if err != nil {
				return err
			}
			start := time.Now()
			metrics, err := train.Evaluate(c.Context(), m, set, train.EvaluateOptions{Threads: common.threads, MaxLength: task.maxLength, DType: dtype})
			if err != nil {
				return err
			}
			seconds := time.Since(start).Seconds()
			if common.json {
				return printJSON(struct {
					Task     string             `json:"task"`
					Examples int                `json:"examples"`
					Metrics  map[string]float64 `json:"metrics"`
					Seconds  float64            `json:"seconds"`
				}{task.task, len(set.Examples), metrics, seconds})
			}
			fmt.Printf("%s, %d examples:", task.task, len(set.Examples))
			for _, name := range []string{"accuracy", "f1", "matthews", "loss"} {
				if v, ok := metrics[name]; ok {
					fmt.Printf("  %s %.4f", name, v)
				}
			}
			fmt.Printf("  (%.1f s)\n", seconds)
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&model, "model", "", "`MODEL` to measure")
	f.StringVar(&file, "data", "", "labelled `FILE`, may be .gz")
	f.StringVar(&dtype, "dtype", "", "f32, fp16, bf16 or int8 (default as stored)")
	task.register(f, false)
	return c
}

// checkDType refuses number formats that the engine does not compute in.
func checkDType(dtype string) error {
	switch dtype {
	case "", infer.F32, infer.FP16, infer.BF16, infer.Int8:
		return nil
	}
	return usagef("--dtype: the engine does not compute in %q, expected f32, fp16, bf16 or int8", dtype)
}
