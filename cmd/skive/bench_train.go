package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/distill"
	"github.com/skive-ml/skive/internal/bench"
)

// runTrainBench opens what the flags name and measures it.
func (app *skive) runTrainBench(c *cobra.Command, m *checkpoints.Model, teacher, teacherConfig, file string, o distill.Options, seq, steps int, profile bool) (*bench.TrainResult, error) {
	models := []*checkpoints.Model{m.Clone()}
	var from *checkpoints.Model
	if teacher != "" || teacherConfig != "" {
		opened, err := app.openModel(c, modelFlags{"teacher", "teacher-config"}, teacher, teacherConfig, 2, false)
		if err != nil {
			return nil, err
		}
		defer opened.Close()
		from = opened.Clone()
		if !from.HasHead() {
			if err := from.AddHead(m.Config.Labels, 1); err != nil {
				return nil, err
			}
		}
		models = append(models, from)
	}
	var set *data.Dataset
	if file == "" {
		set = bench.RandomTexts(o.BatchSize*(steps+bench.WarmSteps), seq, models...)
	} else {
		var err error
		if set, err = bench.ReadTexts(file, m); err != nil {
			return nil, ofFlag("data", err)
		}
	}
	r, err := bench.Train(c.Context(), models[0], from, set, o, steps)
	if err == nil && !profile {
		r.Profile = nil
	}
	return r, err
}

// trainBenchOptions are those of the steps that are measured. The precision of
// the teacher is the student's where it is "".
func (app *skive) trainBenchOptions(batch int, precision, teacherPrecision string, attention bool) distill.Options {
	o := distill.Defaults()
	o.Threads, o.BatchSize, o.Hidden = app.common.threads, batch, 1
	o.Precision, o.TeacherPrecision = precision, teacherPrecision
	if attention {
		o.Attention = 1
	}
	return o
}

func (app *skive) printTrainBench(r *bench.TrainResult) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s, batch %d × %.0f tokens, %d threads, %d steps\n", r.Precision, r.ISA, r.Batch, r.Seq, r.Threads, r.Steps)
	fmt.Fprintf(&b, "step ms, %s: median %.1f  min %.1f; %.1f examples/s  %.0f tokens/s\n", r.Clock, r.StepMS, r.MinMS, r.ExamplesPerSecond, r.TokensPerSecond)
	fmt.Fprintf(&b, "%.1f GFLOPS, %.0f %% of the measured peak of %.1f; %.1f %% of the step outside products (packing %.1f %%, AdamW %.1f %%)\n",
		r.GFLOPS, 100*r.PeakShare, r.PeakGFLOPS, 100*r.OutsideProducts, 100*r.Packing, 100*r.Optimizer)
	fmt.Fprintf(&b, "%.0f allocations of %.0f KB a step, garbage collection %.2f %% of it; %.0f MB resident\n", r.Allocations, r.AllocatedBytes/1e3, 100*r.GCShare, r.RSS)
	for _, name := range sortedKeys(r.Profile) {
		fmt.Fprintf(&b, "  %-28s %8.2f ms a step\n", name, r.Profile[name])
	}
	_, err := fmt.Fprint(app.out, b.String())
	return err
}
