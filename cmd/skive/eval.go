package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

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
			m, err := openCheckpoint(model)
			if err != nil {
				return err
			}
			defer m.Close()
			set, err := task.read(file, m)
			if err != nil {
				return err
			}
			start := time.Now()
			outcome, err := train.Outcome(c.Context(), m, set, train.EvaluateOptions{Threads: common.threads, MaxLength: task.maxLength, DType: dtype})
			if err != nil {
				return err
			}
			seconds := time.Since(start).Seconds()
			metrics, intervals := map[string]float64{"loss": outcome.Loss}, map[string][2]float64{}
			for _, name := range set.Task.Metrics() {
				if metrics[name], err = outcome.Metric(name); err != nil {
					return err
				}
				if intervals[name], err = outcome.Interval(name); err != nil {
					return err
				}
			}
			if common.json {
				return printJSON(struct {
					Task      string                `json:"task"`
					Examples  int                   `json:"examples"`
					Metrics   map[string]float64    `json:"metrics"`
					Intervals map[string][2]float64 `json:"intervals"`
					Seconds   float64               `json:"seconds"`
				}{task.task, len(set.Examples), metrics, intervals, seconds})
			}
			fmt.Printf("%s, %d examples:", task.task, len(set.Examples))
			for _, name := range set.Task.Metrics() {
				fmt.Printf("  %s %.4f (%.4f to %.4f)", name, metrics[name], intervals[name][0], intervals[name][1])
			}
			_, err = fmt.Printf("  loss %.4f  (%.1f s)\n", outcome.Loss, seconds)
			return err
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
