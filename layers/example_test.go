package layers_test

import (
	"errors"
	"fmt"
	"log"

	"github.com/skive-ml/skive/autograd"
	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/layers"
)

// A model in a graph, with a loss and its gradients.
func ExampleNewClassifier() {
	model, err := checkpoints.Open("../train/testdata/tiny")
	if err != nil {
		log.Fatal(err)
	}
	defer model.Close()
	g := autograd.New(autograd.Options{Threads: 1})
	defer g.Close()
	in := layers.NewInputs(g)
	c, err := layers.NewClassifier(g, in, model, layers.Options{})
	if err != nil {
		log.Fatal(err)
	}
	labels := g.Ints("labels", autograd.Sequences)
	session, err := autograd.NewSession(g, g.CrossEntropy(c.Logits, labels, autograd.Mean))
	if err != nil {
		log.Fatal(err)
	}
	// Two sequences, of three tokens and of four, end to end.
	err = errors.Join(
		in.Set([]int32{2, 7, 3, 2, 8, 9, 3}, make([]int32, 7), []int32{0, 1, 2, 0, 1, 2, 3}, []int32{0, 3, 7}),
		g.SetInts(labels, []int32{0, 2}),
		session.Run())
	if err != nil {
		log.Fatal(err)
	}
	trained := 0
	for _, p := range g.Parameters() {
		if p.Gradient != nil {
			trained++
		}
	}
	fmt.Printf("loss %.2f, %d parameters with gradients\n", session.Loss(), trained)
	// Output: loss 1.05, 41 parameters with gradients
}
