package compress

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/infer"
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
	first   time.Duration   // of the first pass
	seconds []float64       // of each pass
	latency []time.Duration // of each example of all passes
	cpu     float64         // seconds, over all passes
	joules  float64
	metered int       // passes whose joules are known
	logits  []float32 // [examples × labels]
}

// passes is how often each step runs over the development set. The steps take
// turns, so that a machine whose speed drifts does not favour one of them.
const passes = 3

// passBudget ends the passes of a slow step early.
const passBudget = 45 * time.Second

// measure runs every step over the whole development set, one example at a
// time, and returns its rows without ratios.
func measure(ctx context.Context, steps []step, dev *data.Encoded, labels int, bar *progress.Bar) ([]*measurement, error) {
	all := make([]*measurement, len(steps))
	defer func() {
		for _, m := range all {
			if m != nil {
				m.close()
			}
		}
	}()
	for i, s := range steps {
		m := &measurement{step: s, logits: make([]float32, dev.Len()*labels)}
		all[i] = m
		for range s.instances {
			e, err := infer.Open(s.path, s.engine)
			if err != nil {
				return nil, err
			}
			m.engines = append(m.engines, e)
		}
		// Arenas grow and caches fill before the clock runs.
		if err := m.run(ctx, dev, min(dev.Len(), 50), labels, nil); err != nil {
			return nil, err
		}
	}
	done := 0
	for pass := range passes {
		for _, m := range all {
			if pass == 0 || m.first*time.Duration(pass+1) < passBudget {
				if err := m.pass(ctx, dev, labels); err != nil {
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

// pass runs the step over the whole set once.
func (m *measurement) pass(ctx context.Context, dev *data.Encoded, labels int) error {
	latency := make([]time.Duration, dev.Len())
	joules, readable := energy()
	cpu, start := cpuSeconds(), time.Now()
	if err := m.run(ctx, dev, dev.Len(), labels, latency); err != nil {
		return err
	}
	elapsed := time.Since(start)
	m.cpu += cpuSeconds() - cpu
	if after, ok := energy(); ok && readable && after >= joules {
		m.joules += after - joules
		m.metered++
	}
	if len(m.seconds) == 0 {
		m.first = elapsed
	}
	m.seconds = append(m.seconds, elapsed.Seconds())
	m.latency = append(m.latency, latency...)
	return nil
}

// run classifies the first n examples; each instance takes the next one that is
// left.
func (m *measurement) run(ctx context.Context, dev *data.Encoded, n, labels int, latency []time.Duration) error {
	var next atomic.Int64
	var wg sync.WaitGroup
	errs := make([]error, len(m.engines))
	for worker, engine := range m.engines {
		wg.Go(func() {
			var batch data.Batch
			var logits []float32
			example := make([]int32, 1)
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if errs[worker] = ctx.Err(); errs[worker] != nil {
					return
				}
				example[0] = int32(i)
				dev.Fill(&batch, example)
				start := time.Now()
				logits, errs[worker] = engine.PredictTokens(logits, batch.IDs, batch.TypeIDs, batch.Offsets)
				if errs[worker] != nil {
					errs[worker] = fmt.Errorf("%s: example %d: %w", m.path, i+1, errs[worker])
					return
				}
				if latency != nil {
					latency[i] = time.Since(start)
				}
				copy(m.logits[i*labels:(i+1)*labels], logits)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
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
	slices.Sort(m.seconds)
	slices.Sort(m.latency)
	examples := float64(dev.Len() * len(m.seconds))
	row := Row{
		Name:              m.name,
		Metric:            value,
		Interval:          interval,
		ExamplesPerSecond: float64(dev.Len()) / m.seconds[len(m.seconds)/2],
		LatencyMS:         m.latency[len(m.latency)/2].Seconds() * 1e3,
		CPUSecondsPer1000: m.cpu / examples * 1000,
	}
	if m.metered > 0 {
		joules := m.joules / float64(dev.Len()*m.metered) * 1000
		row.JoulesPer1000 = &joules
	}
	return row, nil
}
