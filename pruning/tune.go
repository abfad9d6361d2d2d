package pruning

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"gonum.org/v1/gonum/mat"

	"github.com/skive-ml/skive/autograd"
	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/evaluate"
	"github.com/skive-ml/skive/layers"
	"github.com/skive-ml/skive/progress"
)

// TuneOptions are the settings of Tune.
type TuneOptions struct {
	// MaxLength is the number of tokens to which inputs are truncated; 0 means the model's
	// maximum.
	MaxLength int
	// Threads is the number of worker threads; 0 means one for each CPU. The result does not
	// depend on it.
	Threads int
	// Progress, if not nil, is told how the work comes along.
	Progress progress.Reporter
}

const (
	// tuneTokens is the largest number of tokens in Tune's batches.
	tuneTokens = 4096
	// damping keeps the factors near 1. It is added to the diagonal of the normal equations, as a
	// share of the diagonal's mean.
	damping = 1e-2
	// maxFactor is the largest plausible factor. A larger one means that the equations are
	// ill-posed, and the block is left unchanged.
	maxFactor = 10
)

// Tune recovers a part of what Rewire took from model, without training (mask tuning: Kwon et
// al., arXiv 2204.09656, section 4.3). It finds a factor for each head and unit of pruned. With
// these factors the output of an attention or feed-forward block, residual included, comes
// nearest to the model's in least squares over the texts of ds. Tune multiplies them into the
// block's output weight. It tunes the blocks from the first to the last, each on the output of
// the tuned ones before it. The weights of the result are f32. Labels are not used.
func Tune(ctx context.Context, model, pruned *checkpoints.Model, ds *data.Dataset, o TuneOptions) (*checkpoints.Model, error) {
	out, err := tune(ctx, model, pruned, ds, o)
	if err != nil {
		return nil, fmt.Errorf("mask tuning: %w", err)
	}
	return out, nil
}

func tune(ctx context.Context, model, pruned *checkpoints.Model, ds *data.Dataset, o TuneOptions) (*checkpoints.Model, error) {
	if ds == nil || len(ds.Examples) == 0 {
		return nil, data.ErrEmpty
	}
	if a, b := model.Config, pruned.Config; len(a.Layers) != len(b.Layers) || a.HiddenSize != b.HiddenSize {
		return nil, fmt.Errorf("the pruned model has %d layers of width %d, the model %d of %d", len(b.Layers), b.HiddenSize, len(a.Layers), a.HiddenSize)
	}
	f32, err := pruned.Convert(checkpoints.F32)
	if err != nil {
		return nil, err
	}
	t := &tuner{ctx: ctx, o: o, model: model, pruned: f32.Clone()}
	enc, err := evaluate.Encode(model, ds, o.MaxLength)
	if err != nil {
		return nil, err
	}
	for _, examples := range data.Batches(enc, data.BatchOptions{Tokens: tuneTokens}, 0) {
		b := &data.Batch{}
		enc.Fill(b, examples)
		t.batches = append(t.batches, b)
	}
	if err := t.embed(); err != nil {
		return nil, err
	}
	bar := progress.Begin(o.Progress, "mask tuning", 0, len(model.Config.Layers))
	defer bar.Finish("")
	for l := range model.Config.Layers {
		if err := t.layer(l); err != nil {
			return nil, err
		}
		bar.Set(l+1, "")
	}
	t.pruned.Provenance = append(t.pruned.Provenance, checkpoints.Stage{
		Name: "tune", Version: checkpoints.Version, Time: time.Now().UTC(),
		Settings: map[string]string{"examples": strconv.Itoa(len(ds.Examples))},
	})
	return t.pruned, nil
}

// tuner carries the hidden states of the whole and the pruned model from layer to layer.
type tuner struct {
	ctx           context.Context
	o             TuneOptions
	model, pruned *checkpoints.Model
	batches       []*data.Batch
	// want and have are the states of each batch before the current layer [tokens, hidden], of
	// the whole and of the pruned model.
	want, have [][]float32
}

// embed computes the embeddings, which both models share.
func (t *tuner) embed() error {
	g := autograd.New(autograd.Options{Threads: t.o.Threads})
	defer g.Close()
	in := layers.NewInputs(g)
	e, err := layers.NewEncoder(g, in, t.model, layers.Options{Frozen: true, Depth: 1})
	if err != nil {
		return err
	}
	s, err := autograd.NewSession(g, nil)
	if err != nil {
		return err
	}
	for _, b := range t.batches {
		if err := t.ctx.Err(); err != nil {
			return err
		}
		if err := in.Set(b.IDs, b.TypeIDs, b.Positions, b.Offsets); err != nil {
			return err
		}
		if err := s.Run(); err != nil {
			return err
		}
		t.want = append(t.want, slices.Clone(s.Value(e.Embeddings)))
	}
	t.have = slices.Clone(t.want)
	return nil
}

// layer tunes the two blocks of layer l and carries the states through it.
func (t *tuner) layer(l int) error {
	want, err := t.run(t.model, l, t.want, nil)
	if err != nil {
		return err
	}
	for _, b := range []struct {
		of    func(r *result) *block
		role  checkpoints.Role
		width int // columns of one head or unit
	}{
		{func(r *result) *block { return &r.attention }, checkpoints.AttentionOutput, t.model.Config.HeadDim},
		{func(r *result) *block { return &r.ffn }, checkpoints.Down, 1},
	} {
		name := b.role.In(l).Weight()
		w := t.pruned.Tensors[name].Float32s()
		n := t.pruned.Tensors[name].Shape[1]
		e := newEquations(w, n, b.width)
		_, err := t.run(t.pruned, l, t.have, func(i int, r *result) {
			e.add(b.of(r), b.of(&want[i]))
		})
		if err != nil {
			return err
		}
		for i, f := range e.factors() {
			for row := range len(w) / n {
				for at := row*n + i*b.width; at < row*n+(i+1)*b.width; at++ {
					w[at] *= float32(f)
				}
			}
		}
	}
	if l == len(t.model.Config.Layers)-1 {
		return nil
	}
	for i := range want {
		t.want[i] = want[i].hidden
	}
	have, err := t.run(t.pruned, l, t.have, nil)
	for i := range have {
		t.have[i] = have[i].hidden
	}
	return err
}

// block is what a block of a layer computed. sum is the output product plus the residual [rows,
// hidden]; inner is the input of that product [rows, inner].
type block struct{ sum, inner []float32 }

type result struct {
	attention, ffn block
	hidden         []float32 // nil in the last layer
}

// run computes layer l of m from the states x of each batch. visit is called with each batch's
// result, which the next batch overwrites. Without visit, run keeps the results, but not the
// inner values.
func (t *tuner) run(m *checkpoints.Model, l int, x [][]float32, visit func(i int, r *result)) ([]result, error) {
	g := autograd.New(autograd.Options{Threads: t.o.Threads})
	defer g.Close()
	in := layers.NewInputs(g)
	states := g.Input("hidden states", autograd.Tokens, m.Config.HiddenSize)
	// Heads other than a classifier may read every token of the last layer.
	every := !m.Config.Head.OneClass() || m.Config.ClassifierPooling == checkpoints.MeanPooling
	layer, err := layers.NewLayer(g, in, m, l, states, layers.Options{Frozen: true, AllTokens: every})
	if err != nil {
		return nil, err
	}
	s, err := autograd.NewSession(g, nil)
	if err != nil {
		return nil, err
	}
	var all []result
	for i, b := range t.batches {
		if err := t.ctx.Err(); err != nil {
			return nil, err
		}
		if err := g.Set(states, x[i]); err != nil {
			return nil, err
		}
		if err := in.Set(b.IDs, b.TypeIDs, b.Positions, b.Offsets); err != nil {
			return nil, err
		}
		if err := s.Run(); err != nil {
			return nil, err
		}
		values := func(b layers.Block) block {
			sum := slices.Clone(s.Value(b.Output))
			for i, v := range s.Value(b.Residual) {
				sum[i] += v
			}
			return block{sum, s.Value(b.Inner)}
		}
		r := result{attention: values(layer.Attention), ffn: values(layer.FeedForward)}
		if visit != nil {
			visit(i, &r)
			continue
		}
		r.attention.inner, r.ffn.inner = nil, nil
		if layer.Hidden != nil {
			r.hidden = slices.Clone(s.Value(layer.Hidden))
		}
		all = append(all, r)
	}
	return all, nil
}

// equations are the normal equations of a block: AᵀA and Aᵀd. A holds the contributions of each
// head or unit to the block's output [rows·hidden × groups]; d is what the output lacks.
type equations struct {
	weight       []float32 // [hidden, inner]
	inner, width int
	squares      []float64 // sums of products of inner values [inner × inner]
	right        []float64 // [inner]
	lacking      []float32
	projected    []float32
}

func newEquations(weight []float32, inner, width int) *equations {
	return &equations{
		weight: weight, inner: inner, width: width,
		squares: make([]float64, inner*inner), right: make([]float64, inner),
	}
}

// add adds a batch. Column i of A is inner value i times column i of the weight. So AᵀA is the
// element-wise product of two Gram matrices, that of the inner values and that of the weight, and
// Aᵀd is the inner values times d·W.
func (e *equations) add(have, want *block) {
	rows := len(have.inner) / e.inner
	gram(e.squares, have.inner, rows, e.inner)
	e.lacking = append(e.lacking[:0], want.sum...)
	for i, v := range have.sum {
		e.lacking[i] -= v
	}
	e.projected = multiply(e.projected, e.lacking, e.weight, rows, e.inner)
	for i, v := range e.projected {
		e.right[i%e.inner] += float64(float64(v) * float64(have.inner[i]))
	}
}

// factors solves the equations for the factors of the heads or units.
func (e *equations) factors() []float64 {
	weights := make([]float64, len(e.squares))
	gram(weights, e.weight, len(e.weight)/e.inner, e.inner)
	n := e.inner / e.width
	left, right := mat.NewSymDense(n, nil), mat.NewVecDense(n, nil)
	for i := range e.inner {
		row := i / e.width
		right.SetVec(row, right.AtVec(row)+e.right[i])
		for j := range e.inner {
			if column := j / e.width; column >= row {
				left.SetSym(row, column, left.At(row, column)+float64(e.squares[i*e.inner+j]*weights[i*e.inner+j]))
			}
		}
	}
	ridge := damping * mat.Trace(left) / float64(n)
	for i := range n {
		left.SetSym(i, i, left.At(i, i)+ridge)
	}
	factors := make([]float64, n)
	for i := range factors {
		factors[i] = 1
	}
	var cholesky mat.Cholesky
	change := mat.NewVecDense(n, nil)
	if !cholesky.Factorize(left) {
		return factors
	}
	var condition mat.Condition
	if err := cholesky.SolveVecTo(change, right); err != nil && !errors.As(err, &condition) {
		return factors
	}
	for i := range n {
		if f := 1 + change.AtVec(i); !(math.Abs(f) <= maxFactor) {
			return factors
		}
	}
	for i := range factors {
		factors[i] += change.AtVec(i)
	}
	return factors
}
