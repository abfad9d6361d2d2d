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
	// Rounds is the number of cuts; 0 is one.
	Rounds int
	// Heads and FFN are what each layer keeps after the last round, on average
	// with Global; 0 is all. Normalize goes with Global, see SelectGlobal.
	Heads, FFN        int
	Global, Normalize bool
	// Keep, when set, is asked for the model of each round's cut, which the function
	// makes: it may remember what an earlier call made.
	Keep func(round int, cut func() (*checkpoints.Model, error)) (*checkpoints.Model, error)
	// Recover, when set, trains what a round has left and returns the model for
	// the next round. Rounds count from 1.
	Recover func(ctx context.Context, m *checkpoints.Model, round int) (*checkpoints.Model, error)
}

// Iterate prunes in rounds: each measures the importance anew, removes an equal
// part of what is to go, and recovers. What recovered once loses less by the next
// cut.
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

// cut makes the cut of a round.
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

// startSize is the size from which the rounds come down: that of the widest
// layer, or the mean, rounded up.
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

// between is what a round keeps on the way from the start to the end, in whole
// blocks before the last round; 0, all, for an end of 0.
func between(start, end, round, rounds, block int) int {
	if end == 0 || round == rounds || end >= start {
		return end
	}
	n := start - (start-end)*round/rounds
	return min(start, (n+block-1)/block*block)
}
