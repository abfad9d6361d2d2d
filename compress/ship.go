package compress

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/data/reviews"
	"github.com/skive-ml/skive/head"
	"github.com/skive-ml/skive/internal/shell"
)

// Recommended returns the number of the row whose model is the one to use. It is the last one if
// the recipe has a bound or a target, and otherwise the fastest one that loses at most one point
// on the development set. A smaller model that is nearly as fast comes before it, because such a
// difference is chance.
func (r *Report) Recommended() int {
	if r.Dropped != nil && r.Dropped.None {
		return 0
	}
	if r.Recipe.MaxDrop > 0 || r.Target != nil {
		return len(r.Rows) - 1
	}
	good := func(row Row) bool { return row.Metric >= r.Rows[0].Metric-defaultDrop/100.0 }
	best := 0
	for i, row := range r.Rows {
		if good(row) && row.ExamplesPerSecond > r.Rows[best].ExamplesPerSecond {
			best = i
		}
	}
	fastest := r.Rows[best].ExamplesPerSecond
	for i, row := range r.Rows {
		if good(row) && row.ExamplesPerSecond >= asFast*fastest && row.Bytes < r.Rows[best].Bytes {
			best = i
		}
	}
	return best
}

// asFast is the share of another model's speed from which a model counts as equally fast.
const asFast = 0.98

// advice says which file to ship, what it reaches, and what that is compared with.
func (r *Report) advice() string {
	row := r.Rows[r.Recommended()]
	why := "the fastest model within a point of the teacher"
	switch {
	case r.Dropped != nil && r.Dropped.None:
		why = "the teacher, because no compressed model loses as little as max_drop allows"
	case r.Target != nil:
		why = "the model that was cut to the target"
	case r.Recipe.MaxDrop > 0:
		why = fmt.Sprintf("the smallest model within %g points of the teacher", r.Recipe.MaxDrop)
	}
	text := fmt.Sprintf("Ship %s (%s): %s. It reaches %.1f %% where the teacher has %.1f %%, answers %s examples/s, and takes %s bytes instead of %s",
		r.path(row), row.Name, why, 100*row.Metric, 100*r.Rows[0].Metric, significant(row.ExamplesPerSecond), thousands(row.Bytes), thousands(r.Rows[0].Bytes))
	if row.AgainstUnpadded > 0 {
		text += fmt.Sprintf("; that is %.2f times the unpadded teacher's speed, and %.2f times the padded one's", row.AgainstUnpadded, row.Cumulative)
	}
	if r.Examples < fewMeasured {
		text += fmt.Sprintf(". This is based on only %d examples, so the figures are mostly chance: use more rows", r.Examples)
	}
	return text + "."
}

// fewMeasured is the number of examples from which a metric is worth a decision.
const fewMeasured = 30

// path returns the path of a row's model from the directory where the run was started.
func (r *Report) path(row Row) string { return filepath.Join(r.Output, row.Model) }

// Commands returns shell commands that try, measure, serve and export the recommended model, for
// the directory where the run was started.
func (r *Report) Commands() []string {
	model := r.path(r.Rows[r.Recommended()])
	line := func(args ...string) string { return shell.Line("skive", args) }
	lines := []string{"echo " + r.sampleInput() + " | " + line("predict", "--model", model)}
	eval := []string{"eval", "--model", model, "--task", r.Task}
	for _, column := range []struct{ flag, name string }{
		{"--text-column", r.Recipe.TextColumn}, {"--pair-column", r.Recipe.PairColumn}, {"--label-column", r.Recipe.LabelColumn},
	} {
		if column.name != "" {
			eval = append(eval, column.flag, column.name)
		}
	}
	if r.Recipe.MaxLength > 0 {
		eval = append(eval, "--max-length", fmt.Sprint(r.Recipe.MaxLength))
	}
	switch file := cmp.Or(r.Recipe.Test, r.Recipe.Dev); {
	case file != "":
		lines = append(lines, line(append(eval, "--data", file)...))
	case r.Task == reviews.Name:
		lines = append(lines,
			line("data", "generate", "-o", "reviews"),
			line(append(eval, "--data", "reviews/dev.jsonl")...))
	}
	return append(lines,
		line("serve", model),
		line("export", "--model", model, "--format", "onnx", "-o", strings.TrimSuffix(model, checkpoints.Extension)+"-onnx"))
}

// sampleInput returns an input for the task's kind, quoted for a shell.
func (r *Report) sampleInput() string {
	task, err := data.TaskByName(r.Task)
	switch {
	case err == nil && task.Kind.Subject() == head.Choices:
		return `'{"text": "a question", "choices": ["one answer", "another"]}'`
	case err == nil && task.Pair || r.Recipe.PairColumn != "":
		return `'{"text": "a text", "text_pair": "another text"}'`
	case r.Task == reviews.Name:
		return "'the staff was never rude'"
	}
	return "'a text'"
}

// Go returns code that uses the recommended model in a program.
func (r *Report) Go() string {
	return fmt.Sprintf(`engine, err := infer.Open(%q, infer.Options{Threads: 1})
if err != nil {
	return err
}
defer engine.Close()
predictions, err := engine.Predict(ctx, []infer.Input{{Text: "a text"}})`, filepath.ToSlash(r.path(r.Rows[r.Recommended()])))
}

// scatter is the value of Row.Scatter from which a note mentions it.
const scatter = 0.25

// warnings returns what makes the measurements doubtful.
func (r *Report) warnings() (warnings []string) {
	var names []string
	worst := 0.0
	for _, row := range r.Rows {
		if row.Scatter > scatter {
			names = append(names, row.Name)
		}
		worst = max(worst, row.Scatter)
	}
	if len(names) > 0 {
		warnings = append(warnings, fmt.Sprintf("Warning: the times vary. The fastest and the slowest pass differ by up to %.0f %% of the median (%s): "+
			"the machine was busy with something else. Measure again on a quiet one before you rely on the ratios.", 100*worst, strings.Join(names, "; ")))
	}
	for _, f := range r.Floors {
		if !f.beaten() {
			warnings = append(warnings, fmt.Sprintf("Warning: on these examples the teacher is no better than %s, which reaches %.1f %%. "+
				"The task may not need a Transformer, or the examples may be too few or too easy to tell.", f.Name, 100*f.Metric))
			break
		}
	}
	return warnings
}

// rank computes the ratios of the throughputs: to the row before, to the first one, and to the
// teacher without padding.
func (r *Report) rank() {
	unpadded := slices.IndexFunc(r.Rows, func(row Row) bool { return row.Model == r.Rows[0].Model && row.Name != r.Rows[0].Name })
	for i := range r.Rows {
		row := &r.Rows[i]
		row.Speedup, row.Cumulative = 1, row.ExamplesPerSecond/r.Rows[0].ExamplesPerSecond
		if i > 0 {
			row.Speedup = row.ExamplesPerSecond / r.Rows[i-1].ExamplesPerSecond
		}
		if unpadded >= 0 {
			row.AgainstUnpadded = row.ExamplesPerSecond / r.Rows[unpadded].ExamplesPerSecond
		}
		row.CostPerMillion = r.Recipe.PriceHour / 3600 / row.ExamplesPerSecond * 1e6
	}
}
