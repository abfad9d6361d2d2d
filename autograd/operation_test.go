package autograd_test

import (
	"errors"
	"math"
	"strings"
	"testing"

	G "gorgonia.org/gorgonia"

	"github.com/skive-ml/skive/autograd"
)

// told is an operation of the functions that a test gives it.
type told struct {
	shape    func(in []autograd.Array) (autograd.Array, error)
	forward  func(in []autograd.Array, out autograd.Array) error
	backward func(in []autograd.Array, out, gradient autograd.Array, gradients []autograd.Array) error
}

func (*told) Name() string { return "Told" }

func (o *told) Shape(in []autograd.Array) (autograd.Array, error) {
	if o.shape == nil {
		return autograd.Scalar(), nil
	}
	return o.shape(in)
}

func (o *told) Forward(in []autograd.Array, out autograd.Array) error {
	if o.forward == nil {
		return nil
	}
	return o.forward(in, out)
}

func (o *told) Backward(in []autograd.Array, out, gradient autograd.Array, gradients []autograd.Array) error {
	return o.backward(in, out, gradient, gradients)
}

// weighted is the sum of the squares of x's rows, each times the number of its label:
// a loss of its own that reads integers.
func weighted(g *autograd.Graph) *told {
	sums := make([]float64, 0)
	return &told{
		shape: func(in []autograd.Array) (autograd.Array, error) {
			if in[0].Dims != 2 || !in[1].Integer || in[1].Rows != in[0].Rows {
				return autograd.Array{}, errors.New("want a matrix and a label for each row")
			}
			return autograd.Scalar(), nil
		},
		forward: func(in []autograd.Array, out autograd.Array) error {
			sums = append(sums[:0], make([]float64, in[0].Rows)...)
			g.Rows(in[0].Rows, func(lo, hi int) {
				for i := lo; i < hi; i++ {
					for _, v := range in[0].Row(i) {
						sums[i] += float64(in[1].Ints[i]) * float64(v) * float64(v)
					}
				}
			})
			total := 0.0
			for _, s := range sums {
				total += s
			}
			out.Values[0] = float32(total)
			return nil
		},
		backward: func(in []autograd.Array, _, gradient autograd.Array, gradients []autograd.Array) error {
			if gradients[1].Values != nil {
				return errors.New("the labels have a gradient")
			}
			for i := range in[0].Rows {
				for c, v := range in[0].Row(i) {
					gradients[0].Row(i)[c] = 2 * float32(in[1].Ints[i]) * v * gradient.Values[0]
				}
			}
			return nil
		},
	}
}

// The gradient of an own loss goes through the operations before it, within and
// without a segment and whatever the threads, and batches of other sizes may follow.
func TestOwnOperation(t *testing.T) {
	t.Parallel()
	var first []float32
	for _, c := range []struct {
		threads int
		segment bool
	}{{1, false}, {3, false}, {1, true}} {
		g := autograd.New(autograd.Options{Threads: c.threads})
		x, labels := g.Input("x", autograd.Tokens, 2), g.Ints("labels", autograd.Tokens)
		weight := g.Parameter("weight", []float32{0.5, -0.25, 1, 2}, 2, 2)
		square := &told{
			shape: func(in []autograd.Array) (autograd.Array, error) {
				if in[0].String() != "[tokens 2]" && in[0].Rows > 100 {
					return autograd.Array{}, errors.New(in[0].String())
				}
				return in[0], nil
			},
			forward: func(in []autograd.Array, out autograd.Array) error {
				for i, v := range in[0].Values {
					out.Values[i] = v * v
				}
				return nil
			},
			backward: func(in []autograd.Array, _, gradient autograd.Array, gradients []autograd.Array) error {
				for i, v := range in[0].Values {
					gradients[0].Values[i] = 2 * v * gradient.Values[i]
				}
				return nil
			},
		}
		body := func() *autograd.Node {
			return g.Apply(square, []bool{true}, g.Linear(x, weight, nil, autograd.Identity))
		}
		var y *autograd.Node
		if c.segment {
			y = g.Segment(body)
		} else {
			y = body()
		}
		s, err := autograd.NewSession(g, g.Apply(weighted(g), []bool{true, false}, y, labels))
		if err != nil {
			t.Fatal(err)
		}
		loss := func(xs []float32, n []int32) float64 {
			if err := errors.Join(g.Set(x, xs), g.SetInts(labels, n), s.Run()); err != nil {
				t.Fatal(err)
			}
			return float64(s.Loss())
		}
		loss(make([]float32, 200), make([]int32, 100))
		xs, n := []float32{1, 2, -1, 0.5, 3, 0.25}, []int32{1, 0, 2}
		loss(xs, n)
		p := g.Parameters()[0]
		got := append([]float32(nil), p.Gradient...)
		for i := range p.Value {
			const h = 1.0 / 64
			before := p.Value[i]
			p.Value[i] = before + h
			up := loss(xs, n)
			p.Value[i] = before - h
			down := loss(xs, n)
			p.Value[i] = before
			if want := (up - down) / (2 * h); math.Abs(want-float64(got[i])) > 0.01*math.Abs(want) {
				t.Errorf("%+v: derivative %d is %g, differences say %g", c, i, got[i], want)
			}
		}
		for i, v := range first {
			if got[i] != v {
				t.Errorf("%+v: derivative %d is %g, not %g", c, i, got[i], v)
			}
		}
		first = got
		g.Close()
	}
}

// What an operation does wrong, and what is no operation of the graph, is an error
// that says which it is.
func TestOwnOperationErrors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		want string
		loss func(g *autograd.Graph, x *autograd.Node) *autograd.Node
	}{
		{"Told: want another", func(g *autograd.Graph, x *autograd.Node) *autograd.Node {
			return g.Apply(&told{shape: func([]autograd.Array) (autograd.Array, error) { return autograd.Array{}, errors.New("want another") }}, []bool{true}, x)
		}},
		{"Told: runtime error: index out of range", func(g *autograd.Graph, x *autograd.Node) *autograd.Node {
			return g.Apply(&told{shape: func(in []autograd.Array) (autograd.Array, error) { return in[7], nil }}, []bool{true}, x)
		}},
		{"Told: it gives a shape of 3 dimensions", func(g *autograd.Graph, x *autograd.Node) *autograd.Node {
			return g.Apply(&told{shape: func([]autograd.Array) (autograd.Array, error) {
				return autograd.Array{Dims: 3, Rows: 1, Columns: 1}, nil
			}}, []bool{true}, x)
		}},
		{"Told: runtime error: index out of range", func(g *autograd.Graph, x *autograd.Node) *autograd.Node {
			return g.Apply(&told{forward: func(in []autograd.Array, out autograd.Array) error { out.Values[7] = 0; return nil }}, []bool{true}, x)
		}},
		{"Told: no derivative", func(g *autograd.Graph, x *autograd.Node) *autograd.Node {
			return g.Apply(&told{backward: func([]autograd.Array, autograd.Array, autograd.Array, []autograd.Array) error {
				return errors.New("no derivative")
			}}, []bool{true}, x)
		}},
		{"Told: 1 inputs, and whether it is differentiable of 2", func(g *autograd.Graph, x *autograd.Node) *autograd.Node {
			return g.Apply(&told{}, []bool{true, true}, x)
		}},
		{"Told: input 0 is nil", func(g *autograd.Graph, x *autograd.Node) *autograd.Node {
			return g.Apply(&told{}, []bool{true}, nil)
		}},
		{"Apply: the operation is nil", func(g *autograd.Graph, x *autograd.Node) *autograd.Node {
			return g.Apply(nil, []bool{true}, x)
		}},
		{"the loss is the result of Gorgonia's own operation", func(g *autograd.Graph, x *autograd.Node) *autograd.Node {
			return G.Must(G.Sum(x))
		}},
		{"Told: input 0 is the result of Gorgonia's own operation", func(g *autograd.Graph, x *autograd.Node) *autograd.Node {
			return g.Apply(&told{}, []bool{true}, G.Must(G.Square(x)))
		}},
		{"the loss is a node of another graph", func(g *autograd.Graph, x *autograd.Node) *autograd.Node {
			other := autograd.New(autograd.Options{Threads: 1})
			defer other.Close()
			return other.Input("x", autograd.Tokens, 2)
		}},
		{"the loss, Dropout, has the shape [tokens 2], expected a scalar", func(g *autograd.Graph, x *autograd.Node) *autograd.Node {
			return g.Dropout(x, 0.5)
		}},
	} {
		g := autograd.New(autograd.Options{Threads: 1})
		x := g.InputWithGradient("x", autograd.Tokens, 2)
		s, err := autograd.NewSession(g, c.loss(g, x))
		if err == nil {
			err = errors.Join(g.Set(x, []float32{1, 2}), s.Run())
		}
		if err == nil || !strings.Contains(err.Error(), "autograd: "+c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v, want %s", err, c.want)
		}
		g.Close()
	}
}
