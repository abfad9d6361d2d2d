package pruning

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/skive-ml/skive/checkpoints"
)

// Rewire returns the model without the heads and units that the masks leave out. It removes rows
// of the query, key, value and intermediate weights, and columns of the two output weights. The
// width of a head stays. The logits equal those of the model with the same heads and units
// multiplied by zero. Weights may be f32, f16 or bf16. Layers may end up with different sizes.
func Rewire(model *checkpoints.Model, masks Masks) (*checkpoints.Model, error) {
	if err := masks.check(model.Config); err != nil {
		return nil, err
	}
	var cuts []checkpoints.Cut
	for l := range model.Config.Layers {
		cuts = append(cuts,
			checkpoints.Cut{Axis: checkpoints.Heads, Layer: l, Keep: masks.Heads[l]},
			checkpoints.Cut{Axis: checkpoints.Units, Layer: l, Keep: masks.FFN[l]})
	}
	out, err := model.Take(cuts...)
	if err != nil {
		return nil, err
	}
	if err := out.Validate(); err != nil {
		return nil, fmt.Errorf("pruned model: %w", err)
	}
	out.Provenance = append(out.Provenance, stage(model, out))
	return out.Clone(), nil
}

// stage returns the entry of the pruning in the provenance.
func stage(before, after *checkpoints.Model) checkpoints.Stage {
	var heads, units []string
	for _, l := range after.Config.Layers {
		heads = append(heads, strconv.Itoa(l.Heads))
		units = append(units, strconv.Itoa(l.Intermediate))
	}
	return checkpoints.Stage{
		Name: "prune", Version: checkpoints.Version, Time: time.Now().UTC(),
		Settings: map[string]string{"heads": strings.Join(heads, ","), "ffn": strings.Join(units, ",")},
		Measured: map[string]float64{"parameters": float64(after.Parameters()), "parameters_before": float64(before.Parameters())},
	}
}
