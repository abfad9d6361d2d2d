package train

import (
	"context"
	"fmt"
	"math"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/settings"
)

// SeedsResult tells how runs with several seeds went.
type SeedsResult struct {
	// Metric is the name of the task's main metric.
	Metric string
	// Seeds and Results hold the seed and the result of each run.
	Seeds   []uint64
	Results []*Result
	// Mean and Spread are over the best models, for each metric. Spread is the sample standard
	// deviation.
	Mean, Spread map[string]float64
}

// RunSeeds calls Run with so many seeds: Options.Seed, Options.Seed+1, and so on. Each run has its
// own directories seed-1, seed-2, ... in Output and
// TensorBoard, and likewise its own log. A development set is required. With Options.Resume,
// finished runs are not repeated.
func RunSeeds(ctx context.Context, model *checkpoints.Model, trainSet, devSet *data.Dataset, o Options, seeds int) (*SeedsResult, error) {
	if seeds < 1 || seeds > maxSeeds {
		return nil, fmt.Errorf("%s: %w", o.stage(), settings.Wrong("seeds", seeds, "a positive number of runs, %d at most", maxSeeds))
	}
	if devSet == nil {
		return nil, fmt.Errorf("%s: %w", o.stage(), settings.Wrong("seeds", seeds, "a development set to compare by"))
	}
	ctx, release, err := o.Claim(ctx)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.stage(), err)
	}
	defer release()
	parts := make([]Options, seeds)
	for i := range parts {
		seed := o.Seed + uint64(i)
		parts[i] = o.Part(seedDir(seed))
		parts[i].Seed = seed
		if err := parts[i].CheckOutputs(); err != nil {
			return nil, fmt.Errorf("%s: %w", o.stage(), err)
		}
	}
	r := &SeedsResult{Mean: map[string]float64{}, Spread: map[string]float64{}}
	for _, one := range parts {
		name := seedDir(one.Seed)
		best, result, err := Run(ctx, model, trainSet, devSet, one)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if err := best.Close(); err != nil {
			return nil, err
		}
		r.Metric = result.Metric
		r.Seeds, r.Results = append(r.Seeds, one.Seed), append(r.Results, result)
		for name, v := range result.Best.Metrics {
			r.Mean[name] += v / float64(seeds)
		}
	}
	for name, mean := range r.Mean {
		var squares float64
		for _, result := range r.Results {
			d := result.Best.Metrics[name] - mean
			squares += float64(d * d)
		}
		r.Spread[name] = math.Sqrt(squares / float64(max(1, seeds-1)))
	}
	return r, nil
}

// seedDir returns the name of the directory of the run with a seed.
func seedDir(seed uint64) string { return fmt.Sprintf("%s%d", seedPrefix, seed) }

const seedPrefix = "seed-"
