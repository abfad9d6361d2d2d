package compress

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"time"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/evaluate"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/internal/measure"
	"github.com/skive-ml/skive/progress"
	"github.com/skive-ml/skive/tokenize"
	"github.com/skive-ml/skive/train"
)

// step is a row to measure: a saved model and how to run it.
type step struct {
	name      string
	path      string // of the saved model
	instances int    // engines that run at the same time
	engine    infer.Options
}

// measurement collects the passes of one step.
type measurement struct {
	step
	engines []*infer.Engine
	load    measure.Load
	samples measure.Samples
	rates   []float64 // examples a second, of each pass
	outputs [][]float32
}

// passes is how often each step is timed. The steps take turns, so a machine whose speed changes
// favours none of them.
const passes = 3

// Measuring takes at most measuringShare of a run, but is always allowed leastMeasuring. Of this
// time, timingShare is for timing, and the rest for metrics.
const (
	measuringShare = 0.2
	leastMeasuring = 3 * time.Second
	timingShare    = 0.6
)

// leastSample is the smallest number of examples on which a metric is measured, if there are as
// many.
const leastSample = 200

// clock is the clock of a report's times.
const clock = measure.Wall

// budget returns the time that is left for measuring.
func (c *run) budget() time.Duration {
	others := max(time.Since(c.started)-c.measured, time.Duration(c.trained*float64(time.Second)))
	share := time.Duration(float64(others) * measuringShare / (1 - measuringShare))
	return max(share-c.measured, leastMeasuring)
}

// report measures every step.
func (c *run) report(ctx context.Context) (*Report, error) {
	began, budget := time.Now(), c.budget()
	tokenizer, err := tokenize.Load(c.teacher.Tokenizer)
	if err != nil {
		return nil, err
	}
	dev, err := evaluate.Encode(c.teacher, c.dev, c.longest())
	if err != nil {
		return nil, err
	}
	tokenizing, err := tokenizeSeconds(tokenizer, c.dev, c.longest())
	if err != nil {
		return nil, err
	}
	models := distinct(c.steps)
	bar := progress.Begin(c.Progress, "measuring", 0, passes*len(c.steps)+len(models))
	timed, err := measureSteps(ctx, c.steps, dev, time.Duration(timingShare*float64(budget)), bar)
	if err != nil {
		return nil, err
	}
	report := &Report{
		Floors: c.floors, Clock: string(clock), Task: c.Task, Metric: evaluate.MainMetric(c.dev.Task), Of: dev.Len(),
		Search: c.trials, Chosen: c.notes, HeldOut: c.heldOut,
		Output: c.Output, PaddedTo: c.longest(), TokenizeMS: tokenizing * 1e3, Machine: ThisMachine(), Recipe: c.Recipe, Dropped: c.dropped, Target: c.target, Inputs: c.inputs, Continued: c.continued,
	}
	scores, err := c.score(ctx, report, timed, budget-time.Since(began), bar)
	if err != nil {
		return nil, err
	}
	bar.Finish("")
	for i, m := range timed {
		row := m.row()
		scores[i].fill(&row)
		if err := describe(&row, m.path, c.Output); err != nil {
			return nil, err
		}
		report.Rows = append(report.Rows, row)
	}
	report.rank()
	if err := c.measureTarget(ctx); err != nil {
		return nil, err
	}
	c.spent(began)
	report.MeasuringSeconds = c.measured.Seconds()
	return report, nil
}

// A variant is a saved model in a number format. Its answers depend on nothing else.
type variant struct{ path, dtype string }

func (s step) variant() variant { return variant{s.path, s.engine.DType} }

// distinct returns the variants of the steps, each once.
func distinct(steps []step) []variant {
	var all []variant
	for _, s := range steps {
		if !slices.Contains(all, s.variant()) {
			all = append(all, s.variant())
		}
	}
	return all
}

// score is what a model reaches on the development set and on the test set.
type score struct {
	value    float64
	interval [2]float64
	test     *float64
	testIn   *[2]float64
}

func (s score) fill(row *Row) {
	row.Metric, row.Interval, row.Test, row.TestInterval = s.value, s.interval, s.test, s.testIn
}

// score measures the metrics of the steps on the sets, or on samples of them if the budget does
// not allow more.
func (c *run) score(ctx context.Context, report *Report, timed []*measurement, budget time.Duration, bar progress.Task) ([]score, error) {
	models := distinct(c.steps)
	sets := []*data.Dataset{c.dev}
	if c.test != nil {
		sets = append(sets, c.test)
	}
	// whole is the time in seconds to measure everything, left the part of it that is not
	// measured yet.
	whole, left := 0.0, 0.0
	for _, v := range models {
		i := slices.IndexFunc(timed, func(m *measurement) bool { return m.variant() == v && m.engine.PadTo == 0 })
		for _, set := range sets {
			seconds := float64(len(set.Examples)) / timed[i].rate()
			if whole += seconds; set != c.dev || c.outcomes[v] == nil {
				left += seconds
			}
		}
	}
	share := 1.0
	if left > budget.Seconds() {
		share = max(0, budget.Seconds()/whole)
	}
	for i, set := range sets {
		if n := max(leastSample, int(share*float64(len(set.Examples)))); n < len(set.Examples) {
			_, sets[i] = set.HoldOut(n, c.Seed)
			sets[i].Remember() // the encoding is shared by all models
		}
	}
	report.Examples = len(sets[0].Examples)
	if c.test != nil {
		report.TestExamples, report.TestOf = len(sets[1].Examples), len(c.test.Examples)
	}
	scores := map[variant]score{}
	for i, v := range models {
		s, err := c.scoreOf(ctx, v, sets, report.Metric)
		if err != nil {
			return nil, err
		}
		scores[v] = s
		bar.Set(passes*len(c.steps)+i+1, filepath.Base(v.path))
	}
	of := make([]score, len(timed))
	for i, m := range timed {
		of[i] = scores[m.variant()]
	}
	return of, nil
}

func (c *run) scoreOf(ctx context.Context, v variant, sets []*data.Dataset, metric string) (s score, err error) {
	m, err := checkpoints.Open(v.path)
	if err != nil {
		return s, err
	}
	defer m.Close()
	for i, set := range sets {
		var outcome *data.Outcome
		if set == c.dev {
			outcome, err = c.outcomeOf(ctx, m, v)
		} else {
			outcome, err = evaluate.Outcome(ctx, m, set, c.evaluation(v.dtype))
		}
		if err != nil {
			return s, err
		}
		value, err := outcome.Metric(metric)
		if err != nil {
			return s, err
		}
		interval, err := outcome.Interval(metric)
		if err != nil {
			return s, err
		}
		if i == 0 {
			s.value, s.interval = value, interval
		} else {
			s.test, s.testIn = &value, &interval
		}
	}
	return s, nil
}

// outcomeOf compares a variant's answers with the development set. It does so once for each
// variant.
func (c *run) outcomeOf(ctx context.Context, m *checkpoints.Model, v variant) (*data.Outcome, error) {
	if o := c.outcomes[v]; o != nil {
		return o, nil
	}
	o, err := evaluate.Outcome(ctx, m, c.dev, c.evaluation(v.dtype))
	if err != nil {
		return nil, err
	}
	if c.outcomes == nil {
		c.outcomes = map[variant]*data.Outcome{}
	}
	c.outcomes[v] = o
	return o, nil
}

func (c *run) evaluation(dtype string) evaluate.Options {
	return evaluate.Options{Threads: c.Threads, MaxLength: c.MaxLength, DType: dtype}
}

// describe fills in a row's facts about its saved model.
func describe(row *Row, path, output string) error {
	m, err := checkpoints.Open(path)
	if err != nil {
		return err
	}
	defer m.Close()
	row.Parameters, row.Bytes, row.Checksum = m.Parameters(), m.Bytes(), train.Checksum(m)
	row.Model, err = filepath.Rel(output, path)
	return err
}

// measureSteps times every step on the development set, one example at a time, or on as many
// examples as the budget allows.
func measureSteps(ctx context.Context, steps []step, dev *data.Encoded, budget time.Duration, bar progress.Task) ([]*measurement, error) {
	all := make([]*measurement, len(steps))
	defer func() {
		for _, m := range all {
			if m != nil {
				m.close()
			}
		}
	}()
	began := time.Now()
	order := spread(dev)
	turns := passes*len(steps) + len(steps) // plus one pass for warming up
	turn := func() time.Duration {
		left := max(0, budget-time.Since(began)) / time.Duration(max(1, turns))
		turns--
		return max(left, time.Millisecond)
	}
	// Fast steps come first, so that the time that they do not need goes to the slow ones.
	for i, s := range slices.Backward(steps) {
		m := &measurement{step: s, samples: measure.Samples{Clock: clock}}
		all[i] = m
		for range s.instances {
			e, err := infer.Open(s.path, s.engine)
			if err != nil {
				return nil, err
			}
			m.engines = append(m.engines, e)
		}
		m.load = m.answering(dev, order)
		// Before the clock runs, arenas grow and caches fill.
		if _, err := m.load.Run(ctx, measure.Pass{Calls: min(dev.Len(), 50), Time: turn()}); err != nil {
			return nil, err
		}
	}
	done := 0
	for range passes {
		for _, m := range slices.Backward(all) {
			before := m.samples.Calls()
			if err := m.samples.Add(ctx, &m.load, measure.Pass{Calls: dev.Len(), Time: turn(), Meter: true}); err != nil {
				return nil, err
			}
			took := m.samples.Passes[len(m.samples.Passes)-1].Seconds()
			m.rates = append(m.rates, float64(m.samples.Calls()-before)/took)
			done++
			bar.Set(done, m.name)
		}
	}
	return all, nil
}

// spread returns an order of the examples in which every first part has the same mixture of
// lengths as the whole: sorted by length, and then in the order of van der Corput's sequence.
func spread(dev *data.Encoded) []int32 {
	byLength := make([]int32, dev.Len())
	for i := range byLength {
		byLength[i] = int32(i)
	}
	slices.SortStableFunc(byLength, func(a, b int32) int { return cmp.Compare(dev.Length(int(a)), dev.Length(int(b))) })
	places := make([]float64, len(byLength))
	order := make([]int32, len(byLength))
	for i := range order {
		order[i] = int32(i)
		for n, half := i, 0.5; n > 0; n, half = n/2, half/2 {
			places[i] += float64(half * float64(n%2))
		}
	}
	// Example i is the one at places[i]. The ranks of the places are a permutation.
	ranks := slices.Clone(order)
	slices.SortFunc(ranks, func(a, b int32) int { return cmp.Compare(places[a], places[b]) })
	for rank, i := range ranks {
		order[i] = byLength[rank]
	}
	return order
}

func (m *measurement) close() {
	for _, e := range m.engines {
		e.Close()
	}
	m.engines = nil
}

// answering returns the load of answering the examples in an order. Each instance takes the next
// example that is left.
func (m *measurement) answering(dev *data.Encoded, order []int32) measure.Load {
	batches := make([]data.Batch, len(m.engines))
	m.outputs = make([][]float32, len(m.engines))
	return measure.Load{
		Clock: clock, Workers: len(m.engines),
		Prepare: func(worker, i int) { dev.Fill(&batches[worker], order[i:i+1]) },
		Call: func(worker, i int) (err error) {
			b := &batches[worker]
			m.outputs[worker], err = m.engines[worker].PredictTokens(m.outputs[worker], b.IDs, b.TypeIDs, b.Offsets)
			if err != nil {
				return fmt.Errorf("%s: example %d: %w", m.path, order[i]+1, err)
			}
			return nil
		},
	}
}

// tokenizeSeconds returns the mean time of one thread to encode an example, measured on a
// thousand of them.
func tokenizeSeconds(tokenizer *tokenize.Tokenizer, ds *data.Dataset, maxLength int) (float64, error) {
	var e tokenize.Encoding
	o := tokenize.Options{MaxLength: maxLength}
	examples := ds.First(1000).Examples
	start := time.Now()
	for i := range examples {
		x := &examples[i]
		pairs := x.Choices
		if x.HasPair {
			pairs = []string{x.Pair}
		}
		for _, pair := range pairs {
			if err := tokenizer.EncodePair(&e, x.Text, pair, o); err != nil {
				return 0, fmt.Errorf("example %d: %w", i+1, err)
			}
		}
		if len(pairs) == 0 {
			if err := tokenizer.Encode(&e, x.Text, o); err != nil {
				return 0, fmt.Errorf("example %d: %w", i+1, err)
			}
		}
	}
	return time.Since(start).Seconds() / float64(len(examples)), nil
}

// rate returns the median of the rates of the passes, in examples per second.
func (m *measurement) rate() float64 {
	rates := slices.Sorted(slices.Values(m.rates))
	if len(rates) == 0 {
		return math.Inf(1)
	}
	return measure.Quantile(rates, 0.5)
}

// row summarizes the passes.
func (m *measurement) row() Row {
	row := Row{
		Name:              m.name,
		ExamplesPerSecond: m.rate(),
		LatencyMS:         m.samples.Quantile(0.5),
		CPUSecondsPer1000: m.samples.CPU / float64(m.samples.Calls()) * 1000,
		Calls:             m.samples.Calls(),
	}
	if n := len(m.rates); n > 1 {
		row.Scatter = (slices.Max(m.rates) - slices.Min(m.rates)) / row.ExamplesPerSecond
	}
	if m.samples.Metered > 0 {
		joules := m.samples.Joules / float64(m.samples.Metered) * 1000
		row.JoulesPer1000 = &joules
	}
	return row
}
