package train

import (
	"fmt"
	"io"
	"path/filepath"
)

// Summary describes a finished run. It is written as JSON.
type Summary struct {
	// Seed is the seed of one of several runs, nil for a single run.
	Seed *uint64 `json:"seed,omitempty"`
	// Output is the directory with the model. The model is from step Step and reached Metrics.
	Output  string             `json:"output"`
	Steps   int                `json:"steps"`
	Step    int                `json:"best_step"`
	Metrics map[string]float64 `json:"metrics"`
	Seconds float64            `json:"seconds,omitempty"` // only for a single run
	// Diverged is true if the losses rose too far, see Result.
	Diverged bool `json:"diverged,omitempty"`

	metric string
}

// Summary returns the summary of a run with the given output directory.
func (r *Result) Summary(output string) Summary {
	return Summary{
		Output: output, Steps: r.Steps, Step: r.Best.Step, Metrics: r.Best.Metrics, Seconds: r.Seconds, Diverged: r.Diverged,
		metric: r.Metric,
	}
}

// String tells how good the model is and how long the run was.
func (s Summary) String() string {
	if len(s.Metrics) == 0 {
		return fmt.Sprintf("%d steps", s.Steps)
	}
	return fmt.Sprintf("%s %.4f at step %d of %d", s.metric, s.Metrics[s.metric], s.Step, s.Steps)
}

// WriteText writes the summary for people, in one line.
func (s Summary) WriteText(w io.Writer) error {
	name, diverged := "", ""
	if s.Seed != nil {
		name = fmt.Sprintf("seed %d: ", *s.Seed)
	}
	if s.Diverged {
		diverged = "; the run has diverged: lower the learning rate (lr)"
	}
	_, err := fmt.Fprintf(w, "%s%v; written: %s%s\n", name, s, s.Output, diverged)
	return err
}

// SeedsSummary describes finished runs with several seeds. It is written as JSON.
type SeedsSummary struct {
	Seeds  []Summary          `json:"seeds"`
	Mean   map[string]float64 `json:"mean"`
	Spread map[string]float64 `json:"spread"`

	metric string
}

// Summary returns the summary of the runs, whose directories are in output.
func (r *SeedsResult) Summary(output string) SeedsSummary {
	all := SeedsSummary{Mean: r.Mean, Spread: r.Spread, metric: r.Metric}
	for i, seed := range r.Seeds {
		s := r.Results[i].Summary(filepath.Join(output, seedDir(seed)))
		s.Seed, s.Seconds = &seed, 0
		all.Seeds = append(all.Seeds, s)
	}
	return all
}

// String tells how good the models are on average.
func (s SeedsSummary) String() string {
	return fmt.Sprintf("%s %.4f ± %.4f over %d seeds", s.metric, s.Mean[s.metric], s.Spread[s.metric], len(s.Seeds))
}

// WriteText writes the summary for people: a line for each run, and one for all.
func (s SeedsSummary) WriteText(w io.Writer) error {
	for _, one := range s.Seeds {
		if err := one.WriteText(w); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintln(w, s)
	return err
}
