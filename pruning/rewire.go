package pruning

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/skive-ml/skive/checkpoints"
)

// Rewire returns the model without the heads and units that the masks leave
// out: rows of the query, key, value and intermediate weights, columns of the
// two output weights. The width of a head stays. The logits equal those of the
// model with the same heads and units multiplied by zero. The weights may be
// f32, f16 or bf16, and layers may come out uneven.
func Rewire(model *checkpoints.Model, masks Masks) (*checkpoints.Model, error) {
	if err := masks.check(model.Config); err != nil {
		return nil, err
	}
	out := model.Clone()
	out.DeleteInputScales()
	for l := range out.Config.Layers {
		heads := spread(masks.Heads[l], out.Config.HeadDim)
		units := masks.FFN[l]
		prefix := fmt.Sprintf("bert.encoder.layer.%d.", l)
		for _, cut := range []struct {
			name string
			rows []int
			cols []int
		}{
			{"attention.self.query.weight", heads, nil},
			{"attention.self.query.bias", heads, nil},
			{"attention.self.key.weight", heads, nil},
			{"attention.self.key.bias", heads, nil},
			{"attention.self.value.weight", heads, nil},
			{"attention.self.value.bias", heads, nil},
			{"attention.output.dense.weight", nil, heads},
			{"intermediate.dense.weight", units, nil},
			{"intermediate.dense.bias", units, nil},
			{"output.dense.weight", nil, units},
		} {
			name := prefix + cut.name
			t, ok := out.Tensors[name]
			if !ok {
				return nil, fmt.Errorf("tensor %s: not in the model", name)
			}
			if t.DType == checkpoints.I8 {
				return nil, fmt.Errorf("tensor %s is int8: prune before quantizing", name)
			}
			out.Tensors[name] = take(t, cut.rows, cut.cols)
		}
		out.Config.Layers[l] = checkpoints.LayerSize{Heads: len(masks.Heads[l]), Intermediate: len(units)}
	}
	if err := out.Validate(); err != nil {
		return nil, fmt.Errorf("pruned model: %w", err)
	}
	out.Provenance = append(out.Provenance, stage(model, out))
	// A clone's tensors are aligned, those cut out here need not be.
	return out.Clone(), nil
}

// stage is the pruning's entry in the provenance.
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

// spread turns head numbers into the numbers of their rows.
func spread(heads []int, width int) []int {
	rows := make([]int, 0, len(heads)*width)
	for _, h := range heads {
		for d := range width {
			rows = append(rows, h*width+d)
		}
	}
	return rows
}

// take returns the given rows and columns of a matrix or of a vector, all for
// nil.
func take(t checkpoints.Tensor, rows, cols []int) checkpoints.Tensor {
	size := t.DType.Size()
	width := 1 // elements of a row
	if len(t.Shape) == 2 {
		width = t.Shape[1]
	}
	shape := append([]int(nil), t.Shape...)
	if rows != nil {
		shape[0] = len(rows)
	}
	if cols != nil {
		shape[1] = len(cols)
	}
	out := make([]byte, 0, len(t.Data))
	for i := range shape[0] {
		at := i
		if rows != nil {
			at = rows[i]
		}
		row := t.Data[at*width*size : (at+1)*width*size]
		if cols == nil {
			out = append(out, row...)
			continue
		}
		for _, c := range cols {
			out = append(out, row[c*size:(c+1)*size]...)
		}
	}
	return checkpoints.Tensor{DType: t.DType, Shape: shape, Data: out}
}
