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
	// MaxLength truncates inputs to this number of tokens; 0 is the model's
	// maximum.
	MaxLength int
	// Threads is the number of worker threads; 0 is one for each CPU. The result
	// does not depend on it.
	Threads int
	// Progress hears how long work comes along; nil does not.
	Progress progress.Reporter
}

const (
	// tuneTokens is the token budget of Tune's batches.
	tuneTokens = 4096
	// damping holds the factors near 1: it is added to the diagonal of the normal
	// equations, as a share of its mean.
	damping = 1e-2
	// maxFactor is the largest factor that is believed: beyond it the equations
	// are ill-posed, and a block is left as it is.
	maxFactor = 10
)

// Tune makes up for a part of what Rewire took from model, without training: it
// finds a factor for each head and unit of pruned by which the output of its
// attention or feed-forward block, residual included, comes nearest to that of
// the model's in least squares over the texts of ds, and folds the factors into
// the block's output weight (mask tuning: Kwon et al., arXiv 2204.09656, section
// 4.3). Blocks are tuned from the first to the last, each on what the tuned ones
// before it give. The weights of the result are f32; labels are not used.
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

// tuner carries the hidden states of the model and of the pruned model from
// layer to layer.
type tuner struct {
	ctx           context.Context
	o             TuneOptions
	model, pruned *checkpoints.Model
	batches       []*data.Batch
	// want and have are the states of each batch before the present layer
	// [tokens, hidden].
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

// layer tunes layer l's two blocks and carries the states through it.
func (t *tuner) layer(l int) error {
	want, err := t.run(t.model, l, t.want, nil)
	if err != nil {
		return err
	}
	for _, b := range []struct {
		of    func(r *result) *block
		role  checkpoints.Role
		width int // columns of a head or unit
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

// block is what a block of a layer computed: sum is its output product and the
// residual [rows, hidden], inner what the product multiplies [rows, inner].
type block struct{ sum, inner []float32 }

type result struct {
	attention, ffn block
	hidden         []float32 // nil in the last layer
}

// run computes layer l of m from the states x of each batch. visit sees what is
// overwritten by the next batch; without it the results are kept, without the
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

// equations are the normal equations of a block: with A the contributions of
// each head or unit to the block's output, [rows·hidden × groups], AᵀA and Aᵀd,
// where d is what the output lacks.
type equations struct {
	weight       []float32 // [hidden, inner]
	inner, width int
	squares      []float64 // [inner × inner] of the inner values
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

// add adds a batch: column i of A is inner value i times column i of the weight,
// so that AᵀA is the product, element by element, of the inner values' squares
// and the weight's, and Aᵀd the inner values times d·W.
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
