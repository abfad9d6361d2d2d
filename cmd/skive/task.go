package main

import (
	"slices"

	"github.com/spf13/pflag"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/data/reviews"
)

// taskFlags name a task and its files.
type taskFlags struct {
	task, train, dev  string
	text, pair, label string
	maxLength         int
}

func (t *taskFlags) register(f *pflag.FlagSet, training bool) {
	f.StringVar(&t.task, "task", "", "`TASK`: a GLUE or SuperGLUE name, or text")
	if training {
		f.StringVar(&t.train, "train", "", "training `FILE`, may be .gz")
		f.StringVar(&t.dev, "dev", "", "development `FILE`, may be .gz")
	}
	f.StringVar(&t.text, "text-column", "text", "column of the text, for the task text")
	f.StringVar(&t.pair, "pair-column", "text_pair", "column of the second text, for the task text")
	f.StringVar(&t.label, "label-column", "label", "column of the label, for the task text")
	f.IntVar(&t.maxLength, "max-length", 0, "truncate inputs to this number of tokens (default the model's maximum)")
}

// read reads one of the task's files. The labels are the model's where it has
// any, for the task text.
func (t *taskFlags) read(path string, model *checkpoints.Model) (*data.Dataset, error) {
	if t.task == "reviews" {
		return data.Read(path, data.Task{Name: "text", Labels: reviews.Labels, Metric: "accuracy"}, t.options(reviews.Labels))
	}
	task, err := data.TaskByName(t.task)
	if err != nil {
		return nil, usageError{err}
	}
	var labels []string
	if model != nil && task.Name == "text" {
		labels = model.Config.Labels
	}
	return data.Read(path, task, t.options(labels))
}

func (t *taskFlags) options(labels []string) data.ReadOptions {
	return data.ReadOptions{
		TextColumn: t.text, PairColumn: t.pair, LabelColumn: t.label,
		Labels: slices.Clone(labels), RequireLabels: true,
	}
}

// sets reads the training and the development file. Labels that the training
// file names hold for both.
func (t *taskFlags) sets(model *checkpoints.Model) (train, dev *data.Dataset, err error) {
	if train, err = t.read(t.train, model); err != nil {
		return nil, nil, err
	}
	if model == nil || len(model.Config.Labels) == 0 {
		model = &checkpoints.Model{Config: checkpoints.Config{Labels: train.Task.Labels}}
	}
	if dev, err = t.read(t.dev, model); err != nil {
		return nil, nil, err
	}
	return train, dev, nil
}
