package main

import (
	"errors"
	"math"
	"testing"

	"github.com/skive-ml/skive/autograd"
)

func Example() {
	main()
	// Output:
	// hidden: learned true, in the provenance 0.1
	// reverse-kl: learned true, in the provenance 1
	// pooled-cosine: learned true, in the provenance 0.5
}

// The gradient is that of central differences.
func TestReverseKL(t *testing.T) {
	t.Parallel()
	g := autograd.New(autograd.Options{Threads: 2})
	defer g.Close()
	student, teacher := g.InputWithGradient("student", autograd.Sequences, 3), g.Input("teacher", autograd.Sequences, 3)
	session, err := autograd.NewSession(g, g.Apply(&reverseKL{graph: g}, []bool{true, false}, student, teacher))
	if err != nil {
		t.Fatal(err)
	}
	x, p := []float32{1, -2, 0.5, 0.25, 3, -1}, []float32{0, 1, -1, 2, 0.5, 0}
	loss := func() float64 {
		if err := errors.Join(g.Set(student, x), g.Set(teacher, p), session.Run()); err != nil {
			t.Fatal(err)
		}
		return float64(session.Loss())
	}
	loss()
	gradient := append([]float32(nil), session.Gradient(student)...)
	for i := range x {
		const h = 1.0 / 64
		before := x[i]
		x[i] = before + h
		up := loss()
		x[i] = before - h
		down := loss()
		x[i] = before
		if want := (up - down) / (2 * h); math.Abs(want-float64(gradient[i])) > 1e-3 {
			t.Errorf("derivative %d is %g, differences say %g", i, gradient[i], want)
		}
	}
}
