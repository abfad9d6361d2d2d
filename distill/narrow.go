package distill

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/skive-ml/skive/autograd"
	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
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
		if ds, err = train.Answered(ctx, teacher, ds, train.EvaluateOptions{MaxLength: o.MaxLength, Threads: o.Threads, DType: infer.F32}); err != nil {
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
		keepDimensions(student, most(dimensions, size.Hidden))
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
	if o.Limit > 0 && o.Limit < len(ds.Examples) {
		ds = &data.Dataset{Task: ds.Task, Examples: ds.Examples[:o.Limit]}
	}
	set, err := train.Encode(model, ds, o.MaxLength)
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
	target := train.NewTarget(g, c.Logits, set.Task.Kind, &train.Options{})
	session, err := autograd.NewSession(g, target.Loss)
	if err != nil {
		return nil, err
	}
	var norms [][2]*autograd.Parameter
	weights := map[string]*autograd.Parameter{}
	for _, p := range g.Parameters() {
		weights[p.Name] = p
	}
	for _, name := range model.Names() {
		if base, ok := strings.CutSuffix(name, "LayerNorm.weight"); ok && weights[name] != nil {
			norms = append(norms, [2]*autograd.Parameter{weights[name], weights[base+"LayerNorm.bias"]})
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
					effect += float64(p.Value[j]) * float64(p.Gradient[j])
				}
				scores[j] += math.Abs(effect)
			}
		}
	}
	return scores, nil
}

// magnitudes are the L2 norms of all weights that read or write a dimension of
// the hidden states.
func magnitudes(m *checkpoints.Model) []float64 {
	squares := make([]float64, m.Config.HiddenSize)
	for _, name := range m.Names() {
		rows, columns := dimensionsOf(name, m.Config)
		t := m.Tensors[name]
		width := t.Shape[len(t.Shape)-1]
		for i, v := range t.Float32s() {
			switch {
			case columns:
				squares[i%width] += float64(v) * float64(v)
			case rows && len(t.Shape) == 1:
				squares[i] += float64(v) * float64(v)
			case rows:
				squares[i/width] += float64(v) * float64(v)
			}
		}
	}
	for i, v := range squares {
		squares[i] = math.Sqrt(v)
	}
	return squares
}

// dimensionsOf tells whether the rows and the columns of a tensor are the
// dimensions of the hidden states. The pooler's and the heads' input are.
func dimensionsOf(name string, cfg checkpoints.Config) (rows, columns bool) {
	has := func(parts ...string) bool {
		return slices.ContainsFunc(parts, func(p string) bool { return strings.Contains(name, p) })
	}
	matrix := strings.HasSuffix(name, "weight") && !has("LayerNorm")
	columns = matrix && has("embeddings.", "self.", "intermediate.", "pooler.", "classifier.", "transform.", "sentence.dense.0.")
	rows = has("LayerNorm", "pooler.") || !has("self.", "intermediate.", "classifier.", "embeddings.", "sentence.", "predictions.bias", "input_scale")
	return rows, columns
}

// keepDimensions cuts the hidden states down to the given dimensions.
func keepDimensions(m *checkpoints.Model, keep []int) {
	for _, name := range m.Names() {
		rows, columns := dimensionsOf(name, m.Config)
		t := m.Tensors[name]
		shape, values := slices.Clone(t.Shape), t.Float32s()
		width := 1
		if len(shape) == 2 {
			width = shape[1]
		}
		var out []float32
		take := func(i int) {
			row := values[i*width:][:width]
			if !columns {
				out = append(out, row...)
				return
			}
			for _, j := range keep {
				out = append(out, row[j])
			}
		}
		if rows {
			for _, i := range keep {
				take(i)
			}
			shape[0] = len(keep)
		} else {
			for i := range shape[0] {
				take(i)
			}
		}
		if columns {
			shape[1] = len(keep)
		}
		m.Tensors[name] = checkpoints.NewTensor(shape, out)
	}
	m.Config.HiddenSize = len(keep)
}
