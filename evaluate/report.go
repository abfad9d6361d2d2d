package evaluate

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
)

// Report holds a model's scores on a data set. Intervals are 95 % confidence intervals.
type Report struct {
	Task     string `json:"task"`
	Examples int    `json:"examples"`
	// Assumed is the result of the function Assumed for the model and the data.
	Assumed string `json:"assumed,omitempty"`
	// Scheme is the scheme in which labels of words mark entities, "" if they do not.
	Scheme    string                `json:"scheme,omitempty"`
	Metrics   map[string]float64    `json:"metrics"`
	Intervals map[string][2]float64 `json:"intervals"`
	Seconds   float64               `json:"seconds"`
	Against   *Comparison           `json:"against,omitempty"`

	// Outcome is what the metrics were computed from.
	Outcome *data.Outcome `json:"-"`
}

// Comparison is a second model on the same data, with the differences: the first model's metrics
// minus the second's.
type Comparison struct {
	Model       string                `json:"model"`
	Metrics     map[string]float64    `json:"metrics"`
	Differences map[string]float64    `json:"differences"`
	Intervals   map[string][2]float64 `json:"intervals"`
}

// Measure is Model with the intervals of the metrics.
func Measure(ctx context.Context, model *checkpoints.Model, ds *data.Dataset, o Options) (*Report, error) {
	start := time.Now()
	outcome, err := Outcome(ctx, model, ds, o)
	if err != nil {
		return nil, err
	}
	r := &Report{
		Task: ds.Task.Name, Examples: len(ds.Examples), Assumed: Assumed(model.Config, ds), Seconds: time.Since(start).Seconds(),
		Scheme: outcome.Scheme(), Intervals: map[string][2]float64{}, Outcome: outcome,
	}
	if r.Metrics, err = Metrics(outcome); err != nil {
		return nil, err
	}
	for _, name := range outcome.Task.Metrics() {
		if r.Intervals[name], err = outcome.Interval(name); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// Compare sets Against to the report of another model, with the differences of the metrics and
// their intervals by the paired bootstrap. If an interval excludes 0, one of the models is
// better.
func (r *Report) Compare(model string, other *Report) error {
	c := &Comparison{Model: model, Metrics: other.Metrics, Differences: map[string]float64{}, Intervals: map[string][2]float64{}}
	for _, name := range r.Outcome.Task.Metrics() {
		var err error
		if c.Differences[name], c.Intervals[name], err = r.Outcome.Difference(other.Outcome, name); err != nil {
			return err
		}
	}
	r.Against = c
	return nil
}

// WriteText writes the report for people, in one line, and a second one for a comparison.
func (r *Report) WriteText(w io.Writer) error {
	names := r.Outcome.Task.Metrics()
	line := fmt.Sprintf("%s, %d examples", r.Task, r.Examples)
	if r.Scheme != "" {
		line += ", scheme " + r.Scheme
	}
	line += ":"
	for _, name := range names {
		line += fmt.Sprintf("  %s %.4f (%.4f to %.4f)", name, r.Metrics[name], r.Intervals[name][0], r.Intervals[name][1])
	}
	line += fmt.Sprintf("  loss %.4f  (%.1f s)\n", r.Metrics["loss"], r.Seconds)
	if c := r.Against; c != nil {
		line += "minus " + c.Model + ":"
		for _, name := range names {
			line += fmt.Sprintf("  %s %+.4f (%+.4f to %+.4f)", name, c.Differences[name], c.Intervals[name][0], c.Intervals[name][1])
		}
		line += "\n"
	}
	_, err := io.WriteString(w, line)
	return err
}
