package compress

import (
	"context"
	"fmt"
	"time"

	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/internal/measure"
	"github.com/skive-ml/skive/internal/progress"
	"github.com/skive-ml/skive/tokenize"
)

// step is a row to be measured: a saved model and how it is run.
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
	logits  []float32 // [examples × labels]
}

// passes is how often each step runs over the development set. The steps take
// turns, so that a machine whose speed drifts does not favour one of them.
const passes = 3

// passBudget ends the passes of a slow step early.
const passBudget = 45 * time.Second

// clock is what the times of a report are of.
const clock = measure.Wall

// measureSteps runs every step over the whole development set, one example at a
// time.
func measureSteps(ctx context.Context, steps []step, dev *data.Encoded, labels int, bar *progress.Bar) ([]*measurement, error) {
	all := make([]*measurement, len(steps))
	defer func() {
		for _, m := range all {
			if m != nil {
				m.close()
			}
		}
	}()
	for i, s := range steps {
		m := &measurement{step: s, samples: measure.Samples{Clock: clock}, logits: make([]float32, dev.Len()*labels)}
		all[i] = m
		for range s.instances {
			e, err := infer.Open(s.path, s.engine)
			if err != nil {
				return nil, err
			}
			m.engines = append(m.engines, e)
		}
		m.load = m.classifying(dev, labels)
		// Arenas grow and caches fill before the clock runs.
		if _, err := m.load.Run(ctx, measure.Pass{Calls: min(dev.Len(), 50)}); err != nil {
			return nil, err
		}
	}
	done := 0
	for pass := range passes {
		for _, m := range all {
			if pass == 0 || m.samples.Passes[0]*time.Duration(pass+1) < passBudget {
				if err := m.samples.Add(ctx, &m.load, measure.Pass{Calls: dev.Len(), Meter: true}); err != nil {
					return nil, err
				}
			}
			done++
			bar.Set(done, m.name)
		}
	}
	return all, nil
}

func (m *measurement) close() {
	for _, e := range m.engines {
		e.Close()
	}
	m.engines = nil
}

// classifying is the load of classifying the examples; each instance takes the next
// one that is left.
func (m *measurement) classifying(dev *data.Encoded, labels int) measure.Load {
	batches, logits := make([]data.Batch, len(m.engines)), make([][]float32, len(m.engines))
	return measure.Load{
		Clock: clock, Workers: len(m.engines),
		Prepare: func(worker, i int) { dev.Fill(&batches[worker], []int32{int32(i)}) },
		Call: func(worker, i int) (err error) {
			b := &batches[worker]
			logits[worker], err = m.engines[worker].PredictTokens(logits[worker], b.IDs, b.TypeIDs, b.Offsets)
			if err != nil {
				return fmt.Errorf("%s: example %d: %w", m.path, i+1, err)
			}
			copy(m.logits[i*labels:(i+1)*labels], logits[worker])
			return nil
		},
	}
}

// tokenizeSeconds is the mean time that one thread takes to encode an example.
func tokenizeSeconds(tokenizer *tokenize.Tokenizer, ds *data.Dataset, maxLength int) (float64, error) {
	var e tokenize.Encoding
	o := tokenize.Options{MaxLength: maxLength}
	start := time.Now()
	for i := range ds.Examples {
		var err error
		if x := &ds.Examples[i]; x.HasPair {
			err = tokenizer.EncodePair(&e, x.Text, x.Pair, o)
		} else {
			err = tokenizer.Encode(&e, x.Text, o)
		}
		if err != nil {
			return 0, fmt.Errorf("example %d: %w", i+1, err)
		}
	}
	return time.Since(start).Seconds() / float64(len(ds.Examples)), nil
}

// row summarizes the passes.
func (m *measurement) row(dev *data.Encoded, metric string, labels int) (Row, error) {
	outcome := dev.Outcome(m.logits, labels)
	value, err := outcome.Metric(metric)
	if err != nil {
		return Row{}, err
	}
	interval, err := outcome.Interval(metric)
	if err != nil {
		return Row{}, err
	}
	row := Row{
		Name:              m.name,
		Metric:            value,
		Interval:          interval,
		ExamplesPerSecond: float64(dev.Len()) / m.samples.Pass(),
		LatencyMS:         m.samples.Quantile(0.5),
		CPUSecondsPer1000: m.samples.CPU / float64(m.samples.Calls()) * 1000,
	}
	if m.samples.Metered > 0 {
		joules := m.samples.Joules / float64(dev.Len()*m.samples.Metered) * 1000
		row.JoulesPer1000 = &joules
	}
	return row, nil
}
