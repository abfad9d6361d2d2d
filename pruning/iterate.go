package pruning

import (
	"context"
	"fmt"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/settings"
)

// IterateOptions are the settings of Iterate.
type IterateOptions struct {
	ImportanceOptions
	// Rounds is the number of cuts; 0 means one.
	Rounds int
	// Heads and FFN are what each layer keeps after the last round, or with Global the mean over
	// the layers; 0 means all. Normalize belongs to Global, see SelectGlobal.
	Heads, FFN        int
	Global, Normalize bool
	// Keep, if not nil, returns the model after a round's cut. cut makes that model; Keep may
	// instead return what an earlier call made.
	Keep func(round int, cut func() (*checkpoints.Model, error)) (*checkpoints.Model, error)
	// Recover, if not nil, trains the model that a round has left and returns the model for the
	// next round. Rounds count from 1.
	Recover func(ctx context.Context, m *checkpoints.Model, round int) (*checkpoints.Model, error)
}

// Iterate prunes in rounds. Each round measures the importance anew, removes an equal part of
// what has to go, and recovers. A model that has recovered loses less in the next cut.
func Iterate(ctx context.Context, model *checkpoints.Model, ds *data.Dataset, o IterateOptions) (*checkpoints.Model, error) {
	rounds := max(1, o.Rounds)
	if o.Rounds < 0 {
		return nil, settings.Wrong("Rounds", o.Rounds, "a positive number")
	}
	if err := CheckSizes(model.Config, o.Heads, o.FFN); err != nil {
		return nil, err
	}
	start := startSize(model.Config, o.Global)
	for round := 1; round <= rounds; round++ {
		cut := func() (*checkpoints.Model, error) { return o.cut(ctx, model, ds, start, round, rounds) }
		var err error
		if o.Keep != nil {
			model, err = o.Keep(round, cut)
		} else {
			model, err = cut()
		}
		if err != nil {
			return nil, err
		}
		if o.Recover == nil {
			continue
		}
		if model, err = o.Recover(ctx, model, round); err != nil {
			return nil, fmt.Errorf("round %d: %w", round, err)
		}
	}
	return model, nil
}

// cut returns the model after a round's cut.
func (o *IterateOptions) cut(ctx context.Context, model *checkpoints.Model, ds *data.Dataset, start checkpoints.LayerSize, round, rounds int) (*checkpoints.Model, error) {
	scores, err := Importance(ctx, model, ds, o.ImportanceOptions)
	if err != nil {
		return nil, err
	}
	heads, ffn := between(start.Heads, o.Heads, round, rounds, 1), between(start.Intermediate, o.FFN, round, rounds, UnitMultiple)
	var masks Masks
	if o.Global {
		masks, err = SelectGlobal(scores, model.Config, heads, ffn, o.Normalize)
	} else {
		widest := startSize(model.Config, false)
		masks, err = Select(scores, model.Config, min(heads, widest.Heads), min(ffn, widest.Intermediate))
	}
	if err != nil {
		return nil, err
	}
	return Rewire(model, masks)
}

// startSize returns the size from which the rounds start: that of the widest layer, or the mean,
// rounded up.
func startSize(cfg checkpoints.Config, mean bool) checkpoints.LayerSize {
	most, sum := checkpoints.LayerSize{}, checkpoints.LayerSize{}
	for _, l := range cfg.Layers {
		most.Heads, most.Intermediate = max(most.Heads, l.Heads), max(most.Intermediate, l.Intermediate)
		sum.Heads, sum.Intermediate = sum.Heads+l.Heads, sum.Intermediate+l.Intermediate
	}
	if !mean {
		return most
	}
	n := len(cfg.Layers)
	return checkpoints.LayerSize{Heads: (sum.Heads + n - 1) / n, Intermediate: (sum.Intermediate + n - 1) / n}
}

// between returns what a round keeps on the way from start to end. Before the last round it is
// whole blocks. An end of 0 means all, and so does the result 0.
func between(start, end, round, rounds, block int) int {
	if end == 0 || round == rounds || end >= start {
		return end
	}
	n := start - (start-end)*round/rounds
	return min(start, (n+block-1)/block*block)
}
