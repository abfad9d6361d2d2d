package compress

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"slices"
	"time"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/pruning"
)

// Cut says how the heads and units of a model are ranked, and how a part of what the removed ones
// did is recovered.
type Cut struct {
	// Set is the data on which importance is measured.
	Set        *data.Dataset
	Importance pruning.ImportanceOptions
	// Rearrange exchanges heads and units within each layer by their joint effect, see
	// pruning.Rearrange. Tune rescales what is left by least squares, see pruning.Tune.
	Rearrange, Tune bool
}

// ranking says how much each head and unit of a model matters.
type ranking struct {
	Cut
	model     *checkpoints.Model
	scores    *pruning.Scores
	gradients *pruning.Gradients // nil without Rearrange
}

// rank measures the importance of a model's heads and units. For costs, and if they are
// rearranged, it does so jointly, so that heads can be compared with units.
func (c Cut) rank(ctx context.Context, m *checkpoints.Model, costs bool) (*ranking, error) {
	r := &ranking{Cut: c, model: m}
	var err error
	if c.Rearrange {
		if r.gradients, err = pruning.MaskGradients(ctx, m, c.Set, c.Importance); err != nil {
			return nil, err
		}
	}
	return r, r.score(ctx, costs)
}

// score computes the scores, from the gradients if there are any.
func (r *ranking) score(ctx context.Context, costs bool) (err error) {
	switch method := r.Importance.Method; {
	case r.gradients != nil && costs:
		r.scores = r.gradients.Joint()
	case r.gradients != nil && (method == pruning.Exact || method == pruning.Fisher):
		r.scores = r.gradients.Scores(method)
	default:
		r.scores, err = pruning.Importance(ctx, r.model, r.Set, r.Importance)
	}
	return err
}

// remove returns the model without what the masks leave out.
func (r *ranking) remove(ctx context.Context, masks pruning.Masks) (*checkpoints.Model, error) {
	var err error
	if r.gradients != nil {
		if masks, err = pruning.Rearrange(masks, r.gradients); err != nil {
			return nil, err
		}
	}
	m, err := pruning.Rewire(r.model, masks)
	if err != nil || !r.Tune {
		return m, err
	}
	return pruning.Tune(ctx, r.model, m, r.Set.First(pruning.TuneExamples), pruning.TuneOptions{
		MaxLength: r.Importance.MaxLength, Threads: r.Importance.Threads, Progress: r.Importance.Progress,
	})
}

// cutStage is the name of a cut in the provenance.
const cutStage = "cut"

// noted returns a model with the record of a cut: the settings that affect it, and what was
// measured.
func noted(m *checkpoints.Model, settings map[string]string, measured map[string]float64) *checkpoints.Model {
	out := *m
	out.Provenance = append(slices.Clone(m.Provenance), checkpoints.Stage{
		Name: cutStage, Version: checkpoints.Version, Time: time.Now().UTC(), Settings: settings, Measured: measured,
	})
	return &out
}

// lastCut returns the last cut in a model's provenance, if there is one.
func lastCut(m *checkpoints.Model) (checkpoints.Stage, bool) {
	for _, s := range slices.Backward(m.Provenance) {
		if s.Name == cutStage {
			return s, true
		}
	}
	return checkpoints.Stage{}, false
}

// earlierCut opens the model at path if a cut with these settings made it. Otherwise, or if there
// is none, it returns nil.
func earlierCut(path string, settings map[string]string) (*checkpoints.Model, checkpoints.Stage, error) {
	m, err := checkpoints.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, checkpoints.Stage{}, nil
	}
	if err != nil {
		return nil, checkpoints.Stage{}, err
	}
	made, ok := lastCut(m)
	if !ok || !maps.Equal(made.Settings, settings) {
		m.Close()
		return nil, made, nil
	}
	return m, made, nil
}
