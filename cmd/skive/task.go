package main

import (
	"fmt"
	"os"
	"slices"
	"strings"

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
	optional          bool // labels may be missing
	passOver          bool // labels are not read
}

func (t *taskFlags) register(f *pflag.FlagSet, training bool) {
	f.StringVar(&t.task, "task", "", "`TASK`: a GLUE or SuperGLUE name, or text, multilabel, regression, choice, tokens, mlm")
	if training {
		f.StringVar(&t.train, "train", "", "training `FILE`, may be .gz")
		f.StringVar(&t.dev, "dev", "", "development `FILE`, may be .gz")
	}
	f.StringVar(&t.text, "text-column", "text", "column of the text, for the task text")
	f.StringVar(&t.pair, "pair-column", "text_pair", "column of the second text, for the task text")
	f.StringVar(&t.label, "label-column", "label", "column of the label, for the task text")
	f.IntVar(&t.maxLength, "max-length", 0, "truncate inputs to this number of tokens (default the model's maximum)")
}

// read reads one of the task's files, which a flag names or, if that is "", an
// argument. The labels are the model's where it has
// any, for the tasks that name none.
func (t *taskFlags) read(flag, path string, model *checkpoints.Model) (*data.Dataset, error) {
	if t.task == "reviews" {
		set, err := data.Read(path, data.Task{Name: "text", Labels: reviews.Labels, Metric: "accuracy"}, t.options(reviews.Labels))
		return set, ofFlag(flag, err)
	}
	task, err := data.TaskByName(t.task)
	if err != nil {
		return nil, usageError{ofFlag("task", err)}
	}
	var labels []string
	if model != nil && len(task.Labels) == 0 {
		labels = model.Config.Labels
	}
	set, err := data.Read(path, task, t.options(labels))
	if err == nil && set.Skipped > 0 && !common.quiet {
		fmt.Fprintf(os.Stderr, "%s: skipped %d records without a label of the benchmark\n", path, set.Skipped)
	}
	return set, ofFlag(flag, err)
}

// unlabeled reads the file of --unlabeled, of the task or of plain text, without
// its labels.
func (t *taskFlags) unlabeled(path string, labels []string) (*data.Dataset, error) {
	if strings.HasSuffix(strings.TrimSuffix(path, ".gz"), ".txt") {
		ds, err := data.ReadText(path)
		return ds, ofFlag("unlabeled", err)
	}
	o := *t
	o.passOver = true
	return o.read("unlabeled", path, &checkpoints.Model{Config: checkpoints.Config{Labels: labels}})
}

func (t *taskFlags) options(labels []string) data.ReadOptions {
	return data.ReadOptions{
		TextColumn: t.text, PairColumn: t.pair, LabelColumn: t.label,
		Labels: slices.Clone(labels), RequireLabels: !t.optional, NoLabels: t.passOver,
	}
}

// sets reads the training and the development file, which is nil where the
// flag is not given. Labels that the training file names hold for both, also in
// the place of LABEL_0, LABEL_1, ..., which name nothing.
func (t *taskFlags) sets(model *checkpoints.Model) (train, dev *data.Dataset, err error) {
	known := model
	if model.Config.GenericLabels() {
		known = nil
	}
	if train, err = t.read("train", t.train, known); err != nil {
		return nil, nil, err
	}
	if known == nil && len(model.Config.Labels) > len(train.Task.Labels) {
		if set, err := train.Relabel(model.Config.Labels); err == nil { // by the numbers of its classes
			train = set
		}
	}
	if t.dev == "" {
		return train, nil, nil
	}
	if known == nil || len(known.Config.Labels) == 0 {
		known = &checkpoints.Model{Config: checkpoints.Config{Labels: train.Task.Labels}}
	}
	if dev, err = t.read("dev", t.dev, known); err != nil {
		return nil, nil, err
	}
	return train, dev, nil
}
