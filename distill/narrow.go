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

// Narrow makes a student of the given layers of the teacher and no larger than
// size, whose weights are the teacher's: of each layer the most important heads
// and feed-forward units stay, of the whole model the most important dimensions
// of the hidden states. The layers say how many there are, not size.Layers.
//
// Importance is the effect on the loss on ds: of heads and units by
// pruning.Importance, of dimensions by HiddenImportance, with the options o.
// Without a data set (nil), or with o.Method pruning.Magnitude, it is read off
// the weights.
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
	// The layers are measured where they stand, in the teacher.
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

// most returns the indices of the n highest scores, ascending; all for n = 0. Of
// equals the lower index stays.
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

// HiddenImportance scores the dimensions of the hidden states: the sum over the
// batches and over all LayerNorms of |d loss / d mask|, for a mask of ones that
// multiplies the dimension of the LayerNorm's output. With γ and β its weight
// and bias that is γ·∂γ + β·∂β, so that the gradients of a training step give it.
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
						continue // no β
					}
					effect += float64(float64(p.Value[j]) * float64(p.Gradient[j]))
				}
				scores[j] += math.Abs(effect)
			}
		}
	}
	return scores, nil
}

// magnitudes are the L2 norms of all weights that read or write a dimension of
// the hidden states. A matrix between hidden states counts as one that reads them.
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
