package autograd_test

import (
	"errors"
	"fmt"
	"math"

	"github.com/skive-ml/skive/autograd"
)

// softplus is log(1+exp(x)) for each element of a matrix.
type softplus struct{}

func (softplus) Name() string { return "Softplus" }

func (softplus) Shape(in []autograd.Array) (autograd.Array, error) {
	if in[0].Dims != 2 || in[0].Integer {
		return autograd.Array{}, errors.New("want a matrix")
	}
	return in[0], nil
}

func (softplus) Forward(in []autograd.Array, out autograd.Array) error {
	for i, x := range in[0].Values {
		out.Values[i] = float32(math.Log1p(math.Exp(float64(x))))
	}
	return nil
}

func (softplus) Backward(in []autograd.Array, out, gradient autograd.Array, gradients []autograd.Array) error {
	for i, x := range in[0].Values {
		gradients[0].Values[i] = gradient.Values[i] / float32(1+math.Exp(-float64(x)))
	}
	return nil
}

// An operation of one's own, between a linear layer and a loss.
func ExampleGraph_Apply() {
	g := autograd.New(autograd.Options{Threads: 1})
	defer g.Close()
	x, want := g.Input("x", autograd.Sequences, 2), g.Input("want", autograd.Sequences, 1)
	weight := g.Parameter("weight", []float32{0.5, -0.25}, 1, 2)
	y := g.Apply(softplus{}, []bool{true}, g.Linear(x, weight, nil, autograd.Identity))
	session, err := autograd.NewSession(g, g.MSE(y, want))
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := errors.Join(g.Set(x, []float32{1, 2, 3, 4}), g.Set(want, []float32{1, 2}), session.Run()); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("loss %.4f, gradient %.4f\n", session.Loss(), g.Parameters()[0].Gradient)
	// Output: loss 0.5733, gradient [-2.0692 -2.8612]
}
