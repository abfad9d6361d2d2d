// Command train fine-tunes a Hugging Face checkpoint on a CSV file with the
// columns text and label, keeping every tenth example for evaluation. Started
// again, it goes on where it was stopped.
//
//	go run ./examples/train MODEL EXAMPLES.csv OUTPUT
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/signal"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/progress/terminal"
	"github.com/skive-ml/skive/train"
)

func main() {
	if len(os.Args) != 4 {
		log.Fatal("usage: train MODEL EXAMPLES.csv OUTPUT")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	o := train.Defaults()
	o.Output, o.Resume, o.Progress = os.Args[3], true, terminal.New(os.Stderr)
	result, err := fineTune(ctx, os.Args[1], os.Args[2], o)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("accuracy %.4f after %d steps\n", result.Best.Metrics["accuracy"], result.Best.Step)
}

func fineTune(ctx context.Context, path, examples string, o train.Options) (*train.Result, error) {
	model, err := checkpoints.Open(path)
	if err != nil {
		return nil, err
	}
	defer model.Close()
	as := data.ReadOptions{ModelLabels: model.Config.Labels, RequireLabels: true}
	all, err := data.Read(examples, data.Task{Name: "text", Metric: "accuracy"}, as)
	if err != nil {
		return nil, err
	}
	trainSet, devSet := &data.Dataset{Task: all.Task}, &data.Dataset{Task: all.Task}
	for i, example := range all.Examples {
		if i%10 == 0 {
			devSet.Examples = append(devSet.Examples, example)
		} else {
			trainSet.Examples = append(trainSet.Examples, example)
		}
	}
	best, result, err := train.Run(ctx, model, trainSet, devSet, o)
	if err != nil {
		return nil, err
	}
	return result, best.Close()
}
