package pruning

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/settings"
)

// Target is a latency to prune to: either Milliseconds or Speedup.
type Target struct {
	// Milliseconds is the time of a call. Speedup is how many times faster than Reference the
	// model has to be.
	Milliseconds, Speedup float64
	// Reference is measured in the number format in which it is stored. nil means the whole
	// model, measured like the pruned one.
	Reference *checkpoints.Model
}

// String renders the target in one phrase.
func (t Target) String() string {
	if t.Speedup > 0 {
		return fmt.Sprintf("%.4g times the speed", t.Speedup)
	}
	return fmt.Sprintf("%.4g ms", t.Milliseconds)
}

func (t Target) check() error {
	if (t.Milliseconds > 0) == (t.Speedup > 0) {
		return settings.Wrong("target", t, "either milliseconds or a speed-up, above 0")
	}
	return nil
}

// goal returns the time of a call that the target asks for, if a call of the reference takes
// before.
func (t Target) goal(before float64) float64 {
	if t.Speedup > 0 {
		return before / t.Speedup
	}
	return t.Milliseconds
}

// measure measures the reference alternately with the models.
func (t Target) measure(ctx context.Context, whole *checkpoints.Model, o MeasureOptions, models ...*checkpoints.Model) (before float64, times []float64, err error) {
	if t.Reference != nil {
		times, err = latencies(ctx, t.Reference, models, o)
	} else {
		times, err = Latencies(ctx, append([]*checkpoints.Model{whole}, models...), o)
	}
	if err != nil {
		return 0, nil, err
	}
	return times[0], times[1:], nil
}

// Gap returns how many times faster a model has to become to meet the target. It is 1 or less if
// the model is fast enough.
func (t Target) Gap(ctx context.Context, model *checkpoints.Model, o MeasureOptions) (float64, error) {
	if err := t.check(); err != nil {
		return 0, err
	}
	before, times, err := t.measure(ctx, model, o, model)
	if err != nil {
		return 0, err
	}
	gap := times[0] / t.goal(before)
	if gap <= 1+aim {
		gap = min(gap, 1)
	}
	return gap, nil
}

// ErrTarget says that no pruned model meets a target.
var ErrTarget = errors.New("the target is not reachable")

// Reachable checks within seconds whether the smallest model that Search allows meets the
// targets: one head and UnitMultiple units in each layer. It reports the first target that this
// model misses with an ErrTarget.
func Reachable(ctx context.Context, model *checkpoints.Model, o MeasureOptions, targets ...Target) error {
	masks := newMasks(len(model.Config.Layers))
	for l, size := range model.Config.Layers {
		masks.Heads[l], masks.FFN[l] = firsts(1), firsts(min(UnitMultiple, size.Intermediate))
	}
	smallest, err := o.cut(model, masks)
	if err != nil {
		return err
	}
	var before float64
	var times []float64
	for i, t := range targets {
		if err := t.check(); err != nil {
			return err
		}
		if i == 0 || t.Reference != targets[i-1].Reference {
			if before, times, err = t.measure(ctx, model, o, smallest); err != nil {
				return err
			}
		}
		if least := times[0]; least > t.goal(before)*(1+tolerance) {
			return fmt.Errorf("%s: %w: the smallest model, one head and %d units in each layer, takes %.3g ms, %.3g times the speed",
				t, ErrTarget, UnitMultiple, least, before/least)
		}
	}
	return nil
}

// cut rewires a model and sets the options' activation.
func (o *MeasureOptions) cut(model *checkpoints.Model, masks Masks) (*checkpoints.Model, error) {
	m, err := Rewire(model, masks)
	if err == nil && o.Activation != "" && o.Activation != m.Config.Activation {
		m, err = SetActivation(m, o.Activation)
	}
	return m, err
}

// Fit is the result of SearchLatency.
type Fit struct {
	Masks Masks
	// Before and After are the measured milliseconds of a call of the target's reference and of
	// the pruned model.
	Before, After float64
}

const (
	// tolerance is how far a measured latency may be from the target, as a share. The search aims
	// closer, at aim, so that a second measurement is within the tolerance, too.
	tolerance, aim = 0.05, 0.02
	// trials is how many models the search measures, guesses how many budgets it tries. Several
	// budgets may lead to the same model.
	trials, guesses = 6, 24
)

// SearchLatency is Search for a latency. It searches under the costs that MeasureCosts measured,
// and measures the resulting model alternately with the target's reference. If the time is off,
// it corrects the budget and searches again.
//
// The time of the result is within 5 % of the target, or less if no closer model was found:
// models differ in steps of a head and UnitMultiple units. A model that meets the target already
// is returned whole. A target that no model meets is an ErrTarget.
func SearchLatency(ctx context.Context, model *checkpoints.Model, s *Scores, c *Costs, target Target, o MeasureOptions) (*Fit, error) {
	if err := target.check(); err != nil {
		return nil, err
	}
	if err := errors.Join(s.check(model.Config), c.check(model.Config)); err != nil {
		return nil, err
	}
	uncut, err := o.cut(model, whole(model.Config))
	if err != nil {
		return nil, err
	}
	return approach(s, model.Config, c, target, func(masks Masks) (*Fit, error) {
		m := uncut
		if !slices.Equal(masks.sizes(), model.Config.Layers) {
			if m, err = o.cut(model, masks); err != nil {
				return nil, err
			}
		}
		before, times, err := target.measure(ctx, model, o, m)
		if err != nil {
			return nil, err
		}
		return &Fit{Masks: masks, Before: before, After: times[0]}, nil
	})
}

// approach searches under varying budgets until the measured time meets the target.
func approach(s *Scores, cfg checkpoints.Config, c *Costs, target Target, measure func(Masks) (*Fit, error)) (*Fit, error) {
	var tried []*Fit
	try := func(masks Masks) (*Fit, error) {
		for _, f := range tried {
			if slices.Equal(f.Masks.sizes(), masks.sizes()) {
				return f, nil
			}
		}
		f, err := measure(masks)
		tried = append(tried, f)
		return f, err
	}
	// off is the measured time divided by the requested one.
	off := func(f *Fit) float64 { return f.After / target.goal(f.Before) }
	f, err := try(whole(cfg))
	if err != nil || off(f) <= 1+aim {
		return f, err
	}
	_, least := c.parts(s)
	most := c.Of(cfg.Layers)
	low, high := math.Inf(-1), most // budgets that are too small and too large
	// The machine may be slower now than when the costs were measured.
	last, lastOff, budget := most, off(f), most/off(f)
	for range guesses {
		budget = min(max(budget, least), most)
		masks, err := Search(s, cfg, c, budget)
		if err != nil {
			return nil, err
		}
		if f, err = try(masks); err != nil {
			return nil, err
		}
		if math.Abs(off(f)-1) <= aim || len(tried) > trials {
			break
		}
		now := off(f)
		if now > 1 {
			high = budget
		} else {
			low = budget
		}
		// The next budget is on the line through the last two measurements. If noise or a step
		// leads out of the bracket, it is inside the bracket.
		next := budget + (1-now)*(last-budget)/(lastOff-now)
		last, lastOff = budget, now
		if budget = next; !(low < budget && budget < high) {
			budget = (max(low, least) + high) / 2
		}
	}
	// The best model is the one nearest to the target if that is within the tolerance, and
	// otherwise the slowest one that is faster than the target.
	best := slices.MinFunc(tried, func(a, b *Fit) int {
		rank := func(f *Fit) float64 {
			if x := off(f); x <= 1+tolerance {
				return math.Abs(x - 1)
			}
			return math.Inf(1)
		}
		return cmp.Compare(rank(a), rank(b))
	})
	if off(best) > 1+tolerance {
		best = slices.MinFunc(tried, func(a, b *Fit) int { return cmp.Compare(off(a), off(b)) })
		return nil, fmt.Errorf("%s: %w: the nearest model found takes %.3g ms, %.3g times the speed", target, ErrTarget, best.After, best.Before/best.After)
	}
	return best, nil
}
