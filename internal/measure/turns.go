package measure

import (
	"context"
	"time"
)

// Turns says how to measure loads alternately. They take turns, so a machine whose speed changes
// favours none.
type Turns struct {
	// Pass is the turn of a load. The first round does not count, because arenas grow and caches
	// fill in it. After that, each load has at least Rounds turns.
	Pass   Pass
	Rounds int
	// A load's time is this Quantile of the times of its calls. It counts as known if its
	// Uncertainty is at most Precision.
	Quantile, Precision float64
	// Least and Most limit the duration of a measurement. Least keeps a machine that is slow for
	// a moment from being taken for a slow one. Most applies if not all times become known.
	Least, Most time.Duration
	// Seen, if not nil, is called from time to time with the elapsed time and the number of times
	// that are known.
	Seen func(elapsed time.Duration, known int)
}

// Run measures the loads until all times are known or the time is up. It returns their quantiles
// in milliseconds.
func (t *Turns) Run(ctx context.Context, loads []*Load) ([]float64, error) {
	samples := make([]*Samples, len(loads))
	for i, l := range loads {
		if _, err := l.Run(ctx, t.Pass); err != nil {
			return nil, err
		}
		samples[i] = &Samples{Clock: l.Clock}
	}
	start := time.Now()
	check := t.Rounds // rounds until the samples are examined again
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
