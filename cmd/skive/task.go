package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/data/reviews"
	"github.com/skive-ml/skive/evaluate"
	"github.com/skive-ml/skive/head"
	"github.com/skive-ml/skive/internal/flags"
)

// taskFlags name a task and its files.
type taskFlags struct {
	app               *skive
	task, train, dev  string
	text, pair, label string
	maxLength         int
	optional          bool // labels may be missing
	passOver          bool // labels are not read

	assumed []string // what was said of labels
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
	flags.RefuseZero(f, "max-length")
}

// named is the task that --task names.
func (t *taskFlags) named() (data.Task, error) {
	if t.task == reviews.Name {
		return data.Task{Name: "text", Labels: reviews.Labels, Metric: "accuracy"}, nil
	}
	task, err := data.TaskByName(t.task)
	if err != nil {
		return task, flags.Usage{Err: flags.Named("task", err)}
	}
	return task, nil
}

// masked tells whether the task is to find the words behind masks.
func (t *taskFlags) masked() bool {
	task, err := t.named()
	return err == nil && task.Kind.Subject() == head.Masks
}

// read reads one of the task's files, which a flag names or, if that is "", an
// argument, with the labels of a model, see evaluate.Read.
func (t *taskFlags) read(flag, path string, model *checkpoints.Model) (*data.Dataset, error) {
	var cfg checkpoints.Config
	if model != nil {
		cfg = model.Config
	}
	set, err := t.readBy(flag, path, func(task data.Task, o data.ReadOptions) (*data.Dataset, error) {
		return evaluate.Read(path, task, cfg, o)
	})
	if err == nil {
		t.noteLabels(cfg, set)
	}
	return set, err
}

// noteLabels says, once, what labels are taken for that say nothing: a model's, or those
// of data that are numbers.
func (t *taskFlags) noteLabels(cfg checkpoints.Config, set *data.Dataset) {
	if note := evaluate.Assumed(cfg, set); note != "" && !slices.Contains(t.assumed, note) && !t.app.common.quiet {
		t.assumed = append(t.assumed, note)
		fmt.Fprintf(t.app.errs, "skive: %s\n", note)
	}
}

// readBy reads one of the task's files in the way of one of package evaluate.
func (t *taskFlags) readBy(flag, path string, read func(data.Task, data.ReadOptions) (*data.Dataset, error)) (*data.Dataset, error) {
	task, err := t.named()
	if err != nil {
		return nil, err
	}
	set, err := read(task, data.ReadOptions{
		TextColumn: t.text, PairColumn: t.pair, LabelColumn: t.label,
		RequireLabels: !t.optional, NoLabels: t.passOver,
	})
	if err == nil && set.Skipped > 0 && !t.app.common.quiet {
		fmt.Fprintf(t.app.errs, "%s: skipped %d records without a label of the benchmark\n", path, set.Skipped)
	}
	return set, flags.Named(flag, err)
}

// unlabeled reads the file of --unlabeled, of the task or of plain text, without
// its labels.
func (t *taskFlags) unlabeled(path string, labels []string) (*data.Dataset, error) {
	if strings.HasSuffix(strings.TrimSuffix(path, ".gz"), ".txt") {
		ds, err := data.ReadText(path)
		return ds, flags.Named("unlabeled", err)
	}
	o := *t
	o.passOver = true
	return o.read("unlabeled", path, &checkpoints.Model{Config: checkpoints.Config{Labels: labels}})
}

// sets reads the training and the development file, which is nil where the
// flag is not given, for a model that is to learn the task, or for a teacher, which
// knows it.
func (t *taskFlags) sets(model *checkpoints.Model, teacher bool) (train, dev *data.Dataset, err error) {
	read := evaluate.ReadTraining
	if teacher {
		read = evaluate.Read
	}
	train, err = t.readBy("train", t.train, func(task data.Task, o data.ReadOptions) (*data.Dataset, error) {
		return read(t.train, task, model.Config, o)
	})
	if err != nil {
		return nil, nil, err
	}
	t.noteLabels(model.Config, train)
	if t.dev == "" {
		return train, nil, nil
	}
	dev, err = t.readBy("dev", t.dev, func(task data.Task, o data.ReadOptions) (*data.Dataset, error) {
		return evaluate.ReadDevelopment(t.dev, task, train, o)
	})
	if err == nil {
		t.noteLabels(model.Config, dev)
	}
	return train, dev, err
}
