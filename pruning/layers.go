package pruning

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/evaluate"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/progress"
	"github.com/skive-ml/skive/settings"
)

// DropLayers removes whole layers until keep are left. In each step it removes the layer without
// which the loss on ds is lowest. It returns the smaller model and the numbers of the layers that
// stayed. It ignores those options that are about gradients.
func DropLayers(ctx context.Context, model *checkpoints.Model, ds *data.Dataset, keep int, o ImportanceOptions) (*checkpoints.Model, []int, error) {
	m, left, err := dropLayers(ctx, model, ds, keep, o)
	if err != nil {
		return nil, nil, fmt.Errorf("dropping layers: %w", err)
	}
	return m, left, nil
}

func dropLayers(ctx context.Context, model *checkpoints.Model, ds *data.Dataset, keep int, o ImportanceOptions) (*checkpoints.Model, []int, error) {
	total := len(model.Config.Layers)
	if keep < 1 || keep > total {
		return nil, nil, settings.Wrong("keep", keep, "1 to the model's %d", total)
	}
	if err := o.validate(); err != nil {
		return nil, nil, err
	}
	enc, err := labelled(ctx, model, ds, o)
	if err != nil {
		return nil, nil, err
	}
	left := firsts(total)
	trials := 0
	for n := total; n > keep; n-- {
		trials += n
	}
	bar := progress.Begin(o.Progress, "dropping layers", 0, trials)
	defer bar.Finish("")
	done := 0
	for len(left) > keep {
		best, at := math.Inf(1), 0
		for i := range left {
			without, err := KeepLayers(model, slices.Delete(slices.Clone(left), i, i+1))
			if err != nil {
				return nil, nil, err
			}
			logits, err := evaluate.Logits(ctx, without, enc, infer.Options{Threads: o.Threads, DType: infer.F32})
			if err != nil {
				return nil, nil, err
			}
			if loss := enc.Outcome(logits, model.Config.NumLabels()).Loss; loss < best {
				best, at = loss, i
			}
			done++
			bar.Set(done, "")
		}
		left = slices.Delete(left, at, at+1)
	}
	m, err := KeepLayers(model, left)
	if err != nil {
		return nil, nil, err
	}
	numbers := make([]string, len(left))
	for i, l := range left {
		numbers[i] = strconv.Itoa(l)
	}
	m.Provenance = append(m.Provenance, checkpoints.Stage{
		Name: "drop layers", Version: checkpoints.Version, Time: time.Now().UTC(),
		Settings: map[string]string{"layers": strings.Join(numbers, ",")},
	})
	return m, left, nil
}

// KeepLayers returns the model with only the given layers, in ascending order.
func KeepLayers(model *checkpoints.Model, kept []int) (*checkpoints.Model, error) {
	if err := checkKept(kept, len(model.Config.Layers)); err != nil {
		return nil, fmt.Errorf("layers: %w", err)
	}
	shared, err := model.KeepLayers(kept)
	if err != nil {
		return nil, err
	}
	m := shared.Clone()
	return m, m.Validate()
}

// SetActivation returns the model with another feed-forward activation. "relu" instead of "gelu"
// is cheaper but changes the outputs, so the model has to be trained afterwards (as FastFormers
// does).
func SetActivation(model *checkpoints.Model, name string) (*checkpoints.Model, error) {
	m := model.Clone()
	m.DeleteInputScales()
	before := m.Config.Activation
	m.Config.Activation = name
	if err := m.Validate(); err != nil {
		return nil, fmt.Errorf("activation: %w", err)
	}
	m.Provenance = append(m.Provenance, checkpoints.Stage{
		Name: "activation", Version: checkpoints.Version, Time: time.Now().UTC(),
		Settings: map[string]string{"activation": name, "before": before},
	})
	return m, nil
}
