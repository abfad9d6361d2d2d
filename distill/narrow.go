package distill

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/skive-ml/skive/autograd"
	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/evaluate"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/layers"
	"github.com/skive-ml/skive/pruning"
	"github.com/skive-ml/skive/train"
)

// Narrow makes a student from some layers of the teacher, with the teacher's weights, and makes
// it as narrow as size says. In each layer it keeps the most important heads and feed-forward
// units, and in the whole model the most important dimensions of the hidden states. The number of
// layers is that of the argument layers, not size.Layers.
//
// Importance is the effect on the loss over ds, with the options o: pruning.Importance computes
// it for heads and units, HiddenImportance for dimensions. Without a data set (nil), or with
// o.Method pruning.Magnitude, importance is computed from the weights.
func Narrow(ctx context.Context, teacher *checkpoints.Model, layers []int, size Size, ds *data.Dataset, o pruning.ImportanceOptions) (*checkpoints.Model, error) {
	student, err := StudentFromLayers(teacher, layers)
	if err != nil {
		return nil, err
	}
	if err := size.Check(teacher.Config, layers); err != nil {
		return nil, fmt.Errorf("student: %w", err)
	}
	if ds == nil {
		o.Method = pruning.Magnitude
	}
	if ds != nil && o.Predictions {
		if ds, err = evaluate.Answered(ctx, teacher, ds, evaluate.Options{MaxLength: o.MaxLength, Threads: o.Threads, DType: infer.F32}); err != nil {
			return nil, fmt.Errorf("student: %w", err)
		}
		o.Predictions = false
	}
	// The layers are measured in the whole teacher.
	scores, err := pruning.Importance(ctx, teacher, ds, o)
	if err != nil {
		return nil, fmt.Errorf("student: %w", err)
	}
	masks := pruning.Masks{}
	for _, l := range layers {
		masks.Heads = append(masks.Heads, most(scores.Heads[l], size.Heads))
		masks.FFN = append(masks.FFN, most(scores.FFN[l], size.Intermediate))
	}
	if student, err = pruning.Rewire(student, masks); err != nil {
		return nil, fmt.Errorf("student: %w", err)
	}
	hidden := student.Config.HiddenSize
	if size.Hidden > 0 && size.Hidden < hidden {
		dimensions := magnitudes(teacher)
		if o.Method != pruning.Magnitude {
			if dimensions, err = HiddenImportance(ctx, teacher, ds, o); err != nil {
				return nil, fmt.Errorf("student: %w", err)
			}
		}
		if student, err = student.Take(checkpoints.Cut{Axis: checkpoints.Hidden, Keep: most(dimensions, size.Hidden)}); err != nil {
			return nil, fmt.Errorf("student: %w", err)
		}
	}
	student.Provenance = slices.Clone(teacher.Provenance)
	if err := student.Validate(); err != nil {
		return nil, fmt.Errorf("student: %w", err)
	}
	return student.Clone(), nil
}

// most returns the indices of the n highest scores in ascending order, or all if n is 0. Of equal
// scores the lower index is kept.
func most(scores []float64, n int) []int {
	order := make([]int, len(scores))
	for i := range order {
		order[i] = i
	}
	if n > 0 && n < len(order) {
		slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(scores[b], scores[a]) })
		order = order[:n]
		slices.Sort(order)
	}
	return order
}

// HiddenImportance scores each dimension of the hidden states. Imagine a mask of ones that
// multiplies this dimension in the output of every LayerNorm. The score is the sum of |d loss / d
// mask| over the batches and LayerNorms. With the weight γ and bias β of a LayerNorm the
// derivative is γ·∂γ + β·∂β, so the gradients of a training step are all that is needed.
func HiddenImportance(ctx context.Context, model *checkpoints.Model, ds *data.Dataset, o pruning.ImportanceOptions) ([]float64, error) {
	if o.Limit > 0 {
		ds = ds.First(o.Limit)
	}
	ds, err := evaluate.Relabel("training", ds, model.Config, true)
	if err != nil {
		return nil, err
	}
	set, err := evaluate.Encode(model, ds, o.MaxLength)
	if err != nil {
		return nil, err
	}
	g := autograd.New(autograd.Options{Threads: o.Threads})
	defer g.Close()
	in := layers.NewInputs(g)
	c, err := layers.NewClassifier(g, in, model, layers.Options{})
	if err != nil {
		return nil, err
	}
	target, err := train.NewTarget(g, c.Logits, set.Task.Kind, &train.Options{})
	if err != nil {
		return nil, err
	}
	session, err := autograd.NewSession(g, target.Loss)
	if err != nil {
		return nil, err
	}
	var norms [][2]*autograd.Parameter
	weights := map[string]*autograd.Parameter{}
	for _, p := range g.Parameters() {
		weights[p.Name] = p
	}
	for s := range model.Config.Tensors() {
		if s.Kind == checkpoints.NormScale && weights[s.Name] != nil {
			norms = append(norms, [2]*autograd.Parameter{weights[s.Name], weights[s.Bias()]})
		}
	}
	scores := make([]float64, model.Config.HiddenSize)
	var batch data.Batch
	for _, examples := range data.Batches(set, data.BatchOptions{Examples: o.BatchSize}, 0) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		set.Fill(&batch, examples)
		if err := in.Set(batch.IDs, batch.TypeIDs, batch.Positions, batch.Offsets); err != nil {
			return nil, err
		}
		if err := target.Set(&batch); err != nil {
			return nil, err
		}
		if err := session.Run(); err != nil {
			return nil, err
		}
		for _, norm := range norms {
			for j := range scores {
				effect := 0.0
				for _, p := range norm {
					if p == nil {
						continue // a LayerNorm without β
					}
					effect += float64(float64(p.Value[j]) * float64(p.Gradient[j]))
				}
				scores[j] += math.Abs(effect)
			}
		}
	}
	return scores, nil
}

// magnitudes returns, for each dimension of the hidden states, the L2 norm of all weights that
// read or write it. A matrix between hidden states counts only as one that reads them.
func magnitudes(m *checkpoints.Model) []float64 {
	squares := make([]float64, m.Config.HiddenSize)
	for s := range m.Config.Tensors() {
		axis := len(s.Axes) - 1
		if s.Axes[axis] != checkpoints.Hidden {
			axis = 0
		}
		t, ok := m.Tensors[s.Name]
		if !ok || s.Axes[axis] != checkpoints.Hidden {
			continue
		}
		width := t.Shape[len(t.Shape)-1]
		for i, v := range t.Float32s() {
			at := i % width
			if axis < len(s.Axes)-1 {
				at = i / width
			}
			squares[at] += float64(float64(v) * float64(v))
		}
	}
	for i, v := range squares {
		squares[i] = math.Sqrt(v)
	}
	return squares
}
