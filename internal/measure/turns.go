package measure

import (
	"context"
	"time"
)

// Turns says how loads are measured side by side: in turns, so that a machine whose
// speed drifts favours none.
type Turns struct {
	// Pass is the turn of a load. The first round is not counted: arenas grow and
	// caches fill in it. Of those that follow, each load has Rounds at least.
	Pass   Pass
	Rounds int
	// Quantile of the times of a load's calls stands for them. It counts as known
	// where its Uncertainty is Precision or less.
	Quantile, Precision float64
	// Least and Most are how long a measurement goes on: at least, so that a machine
	// that is slowed for a moment is not taken for a slow one, and at most where
	// not all times are known.
	Least, Most time.Duration
	// Seen, if not nil, is told now and then how many of the times are known, after
	// what time.
	Seen func(elapsed time.Duration, known int)
}

// Run measures the loads until all times are known or the time is over, and returns
// their quantiles in milliseconds.
func (t *Turns) Run(ctx context.Context, loads []*Load) ([]float64, error) {
	samples := make([]*Samples, len(loads))
	for i, l := range loads {
		if _, err := l.Run(ctx, t.Pass); err != nil {
			return nil, err
		}
		samples[i] = &Samples{Clock: l.Clock}
	}
	start := time.Now()
	check := t.Rounds // rounds after which the samples are looked at again
	for round := 1; ; round++ {
		for i, l := range loads {
			if err := samples[i].Add(ctx, l, t.Pass); err != nil {
				return nil, err
			}
		}
		elapsed := time.Since(start)
		over := elapsed >= t.Most
		if round < t.Rounds || round < check && !over {
			continue
		}
		check = round + round/4 + 1
		known := 0
		times := make([]float64, len(loads))
		for i, s := range samples {
			times[i] = s.Quantile(t.Quantile)
			if s.Uncertainty(t.Quantile) <= t.Precision {
				known++
			}
		}
		if t.Seen != nil {
			t.Seen(elapsed, known)
		}
		if over || known == len(loads) && elapsed >= min(t.Least, t.Most) {
			return times, nil
		}
	}
}
