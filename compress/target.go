package compress

import (
	"context"
	"fmt"
	"math"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/evaluate"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/internal/exact"
	"github.com/skive-ml/skive/pruning"
	"github.com/skive-ml/skive/train"
)

// cutFactor is how many times faster one cut makes a student at most. A model that has recovered
// loses less in the next cut.
const cutFactor = 1.6

// Target is the recipe's target and what the final model reached. Both are measured alternately
// on one thread.
type Target struct {
	// Milliseconds or Speedup is what the recipe asks for.
	Milliseconds float64 `json:"ms,omitempty"`
	Speedup      float64 `json:"speedup,omitempty"`
	// MeasuredMS is the time of a call of the final model in int8, TeacherMS that of the teacher
	// in f32, each with Tokens tokens.
	MeasuredMS float64 `json:"measured_ms"`
	TeacherMS  float64 `json:"teacher_ms"`
	Tokens     int     `json:"tokens"`
	// Clock is the clock of these times.
	Clock string `json:"clock"`
	// Uncut says that the student meets the target without a cut.
	Uncut bool `json:"uncut,omitempty"`
}

func (t *Target) String() string {
	if t.Speedup > 0 {
		return fmt.Sprintf("%.4g times the teacher's speed", t.Speedup)
	}
	return fmt.Sprintf("%.4g ms", t.Milliseconds)
}

// note returns the target's line below the report's table.
func (t *Target) note() string {
	of := ""
	if t.Clock != "" { // missing in reports of earlier versions
		of = ", by " + t.Clock
	}
	note := fmt.Sprintf("Target: %s. Measured side by side, on one thread with %d tokens%s: the last row's model %s ms, the teacher in f32 %s ms, %.2f times.",
		t, t.Tokens, of, significant(t.MeasuredMS), significant(t.TeacherMS), t.TeacherMS/t.MeasuredMS)
	if t.Uncut {
		note += " The student is within the target as it is; a larger one (student.layers) may lose less."
	}
	return note
}

// targeted tells whether the recipe prunes to a target.
func (c *run) targeted() bool { return c.TargetMS > 0 || c.TargetSpeedup > 0 }

// goal returns the recipe's target with the teacher as its reference.
func (c *run) goal(teacher *checkpoints.Model) pruning.Target {
	return pruning.Target{Milliseconds: c.TargetMS, Speedup: c.TargetSpeedup, Reference: teacher}
}

// measuring returns how students are measured: in the way they are served.
func (c *run) measuring() (pruning.MeasureOptions, error) {
	dev, err := evaluate.Encode(c.teacher, c.dev, c.MaxLength)
	if err != nil {
		return pruning.MeasureOptions{}, err
	}
	return pruning.MeasureOptions{
		DType: infer.Int8, Threads: 1, Tokens: dev.MeanLength(), Progress: c.Progress,
	}, nil
}

// reachable reports a target that no student can meet, before anything is trained. What a model
// costs depends only on its sizes.
func (c *run) reachable(ctx context.Context) error {
	if !c.targeted() {
		return nil
	}
	o, err := c.measuring()
	if err != nil {
		return err
	}
	size, layers, err := c.Student.Resolve(c.teacher.Config)
	if err != nil {
		return err
	}
	teacher, err := c.random(c.teacher.Config.Clone())
	if err != nil {
		return err
	}
	student, err := c.random(size.Config(c.teacher.Config, layers))
	if err != nil {
		return err
	}
	return pruning.Reachable(ctx, student, o, c.goal(teacher))
}

// cutToTarget cuts the student until it meets the recipe's target or loses more than its max_drop
// allows.
func (c *run) cutToTarget(ctx context.Context, student *checkpoints.Model, limit float64) error {
	o, err := c.measuring()
	if err != nil {
		return err
	}
	// This table is valid for everything that is cut from the student.
	costs, err := pruning.CachedCosts(ctx, student.Config, o, c.path("costs"))
	if err != nil {
		return err
	}
	c.target = &Target{Milliseconds: c.TargetMS, Speedup: c.TargetSpeedup, Tokens: o.Tokens, Clock: o.Clock()}
	variant := student
	for i := 1; ; i++ {
		name := fmt.Sprintf("cut-%d", i)
		settings := map[string]string{"target": c.target.String(), "tokens": fmt.Sprint(o.Tokens), "teacher-checksum": train.Checksum(c.teacher)}
		cut, err := c.cut(name, variant, settings, func() (*checkpoints.Model, map[string]float64, error) {
			return c.cutOnce(ctx, variant, costs, o)
		})
		if err != nil {
			return err
		}
		made, _ := lastCut(cut)
		measured := made.Measured
		if measured[cutsLeft] < 0 {
			c.target.Uncut = i == 1
			return nil
		}
		label := fmt.Sprintf("pruned to %.3g ms", measured["latency_ms"])
		if variant, err = c.recover(ctx, cut, name, label, limit); err != nil || variant == nil || measured[cutsLeft] == 0 {
			return err
		}
	}
}

// cutsLeft is the number of cuts that follow a cut, noted with it. It is -1 if nothing had to be
// cut.
const cutsLeft = "cuts_left"

// cutOnce makes the next cut on the way to the target. The remaining factor is divided evenly
// among the cuts that it takes.
func (c *run) cutOnce(ctx context.Context, m *checkpoints.Model, costs *pruning.Costs, o pruning.MeasureOptions) (*checkpoints.Model, map[string]float64, error) {
	target := c.goal(c.teacher)
	gap, err := target.Gap(ctx, m, o)
	if err != nil {
		return nil, nil, err
	}
	if gap <= 1 {
		return m, map[string]float64{cutsLeft: -1}, nil
	}
	cuts := math.Ceil(exact.Log(gap) / exact.Log(cutFactor))
	further := exact.Pow(gap, 1-1/cuts) // the factor for the cuts after this one
	target.Milliseconds *= further
	target.Speedup /= further
	cut := Cut{Set: c.importanceSet(), Importance: c.importanceOptions(), Rearrange: true, Tune: true}
	cut.Importance.Limit = pruning.CostExamples
	ranked, err := cut.rank(ctx, m, true)
	if err != nil {
		return nil, nil, err
	}
	fit, err := pruning.SearchLatency(ctx, m, ranked.scores, costs, target, o)
	if err != nil {
		return nil, nil, err
	}
	pruned, err := ranked.remove(ctx, fit.Masks)
	return pruned, map[string]float64{"latency_ms": fit.After, "teacher_ms": fit.Before, cutsLeft: cuts - 1}, err
}

// measureTarget measures the final model for the report.
func (c *run) measureTarget(ctx context.Context) error {
	if c.target == nil {
		return nil
	}
	o, err := c.measuring()
	if err != nil {
		return err
	}
	final, err := checkpoints.Open(c.steps[len(c.steps)-1].path)
	if err != nil {
		return err
	}
	defer final.Close()
	o.DType = "" // in the format in which each is stored
	times, err := pruning.Latencies(ctx, []*checkpoints.Model{c.teacher, final}, o)
	if err != nil {
		return err
	}
	c.target.TeacherMS, c.target.MeasuredMS = times[0], times[1]
	return nil
}
