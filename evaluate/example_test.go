package evaluate_test

import (
	"context"
	"fmt"
	"log"
	"slices"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/evaluate"
)

// A service may check its model before it serves it.
func ExampleModel() {
	model, err := checkpoints.Open("../train/testdata/tiny")
	if err != nil {
		log.Fatal(err)
	}
	defer model.Close()
	set := &data.Dataset{Task: data.Task{Name: "text", Labels: slices.Clone(model.Config.Labels), Metric: "accuracy"}}
	for i := range 6 {
		set.Examples = append(set.Examples, data.Example{Text: fmt.Sprintf("w%d w%d", i+5, i+20), Label: i % 3})
	}
	metrics, err := evaluate.Model(context.Background(), model, set, evaluate.Options{Threads: 1})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("accuracy %.2f, loss %.2f\n", metrics["accuracy"], metrics["loss"])
	// Output: accuracy 0.33, loss 1.11
}
