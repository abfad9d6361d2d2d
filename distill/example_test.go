package distill_test

import (
	"context"
	"fmt"
	"log"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/distill"
)

// A student of one of the teacher's layers learns from its answers and hidden states.
// Losses of a program's own stand in Options.Own: see examples/custom.
func ExampleRun() {
	teacher, err := checkpoints.Open("../train/testdata/tiny")
	if err != nil {
		log.Fatal(err)
	}
	defer teacher.Close()
	set := &data.Dataset{Task: data.Task{Name: "text", Labels: teacher.Config.Labels, Metric: "accuracy"}}
	for i := range 32 {
		set.Examples = append(set.Examples, data.Example{Text: fmt.Sprintf("w%d w%d", 5+i%9, 20+i%7), Label: -1})
	}
	student, err := distill.StudentFromLayers(teacher, []int{len(teacher.Config.Layers) - 1})
	if err != nil {
		log.Fatal(err)
	}
	o := distill.Defaults()
	o.Soft, o.Temperature, o.Hidden, o.Steps, o.LearningRate = 1, 2, 0.5, 20, 1e-3
	student, result, err := distill.Run(context.Background(), teacher, student, set, nil, o)
	if err != nil {
		log.Fatal(err)
	}
	first, last := result.History[0], result.History[19]
	fmt.Println(len(student.Config.Layers), last.Losses["soft"] < first.Losses["soft"], last.Losses["hidden"] < first.Losses["hidden"])
	// Output: 1 true true
}
