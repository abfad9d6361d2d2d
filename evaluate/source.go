package evaluate

import (
	"fmt"
	"slices"
	"strings"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/data/reviews"
	"github.com/skive-ml/skive/head"
	"github.com/skive-ml/skive/progress"
	"github.com/skive-ml/skive/settings"
)

// A Source is a task and its files, as settings name them. It reports things that are worth
// knowing but not errors, each of them once.
type Source struct {
	// Task is the task's name, see data.TaskByName. reviews.Name means generated reviews that
	// were written to files.
	Task string
	// Train and Dev are files, "" for none.
	Train, Dev string
	// ReadOptions apply to all files.
	data.ReadOptions
	// Progress, if not nil, is told what is worth knowing.
	Progress progress.Reporter

	said []string
}

// SourceDefaults returns the settings from which the command line starts. They require labels.
func SourceDefaults() Source {
	return Source{ReadOptions: data.ReadOptions{TextColumn: "text", PairColumn: "text_pair", LabelColumn: "label", RequireLabels: true}}
}

// Settings returns the settings that are names.
func (s *Source) Settings() settings.Table {
	return settings.Table{
		{Name: "task", Field: "Task", Value: &s.Task, Doc: "`TASK`: a GLUE or SuperGLUE name, or text, multilabel, regression, choice, tokens, mlm"},
		{Name: "train", Field: "Train", Value: &s.Train, Doc: "training `FILE`, may be .gz"},
		{Name: "dev", Field: "Dev", Value: &s.Dev, Doc: "development `FILE`, may be .gz"},
		{Name: "text-column", Field: "TextColumn", Value: &s.TextColumn, Doc: "column of the text, for the task text"},
		{Name: "pair-column", Field: "PairColumn", Value: &s.PairColumn, Doc: "column of the second text, for the task text"},
		{Name: "label-column", Field: "LabelColumn", Value: &s.LabelColumn, Doc: "column of the label, for the task text"},
	}
}

// task returns the task of this name. An unknown name is a *settings.Error of Task.
func (s *Source) task() (data.Task, error) {
	if s.Task == reviews.Name {
		return data.Task{Name: "text", Labels: reviews.Labels, Metric: "accuracy"}, nil
	}
	task, err := data.TaskByName(s.Task)
	if err != nil {
		err = &settings.Error{Field: "Task", Err: err}
	}
	return task, err
}

// Masked tells whether the task is that of a masked language model.
func (s *Source) Masked() bool {
	task, err := s.task()
	return err == nil && task.Kind.Subject() == head.Masks
}

// Read reads a file of the task that a model has to answer, see the function Read.
func (s *Source) Read(path string, model checkpoints.Config) (*data.Dataset, error) {
	return s.read("", path, model, func(task data.Task, o data.ReadOptions) (*data.Dataset, error) {
		return Read(path, task, model, o)
	})
}

// ReadSets reads Train and Dev; each is nil if it is not given. The model has to learn the task,
// or it is a teacher and knows the task. Errors name the field.
func (s *Source) ReadSets(model checkpoints.Config, teacher bool) (train, dev *data.Dataset, err error) {
	how := ReadTraining
	if teacher {
		how = Read
	}
	if s.Train != "" {
		train, err = s.read("Train", s.Train, model, func(task data.Task, o data.ReadOptions) (*data.Dataset, error) {
			return how(s.Train, task, model, o)
		})
	}
	if err != nil || s.Dev == "" {
		return train, nil, err
	}
	dev, err = s.read("Dev", s.Dev, model, func(task data.Task, o data.ReadOptions) (*data.Dataset, error) {
		if train == nil {
			return how(s.Dev, task, model, o)
		}
		return ReadDevelopment(s.Dev, task, train, o)
	})
	return train, dev, err
}

// ReadUnlabeled reads a file of the task, or plain text in .txt, without labels. It is to be
// added to a training set, see CheckUnlabeled.
func (s *Source) ReadUnlabeled(path string, training *data.Dataset) (more *data.Dataset, err error) {
	if strings.HasSuffix(strings.TrimSuffix(path, ".gz"), ".txt") {
		more, err = data.ReadText(path)
	} else {
		without := *s
		without.NoLabels = true
		more, err = without.Read(path, checkpoints.Config{Labels: training.Task.Labels})
	}
	if err != nil {
		return nil, err
	}
	if err := CheckUnlabeled(training, more); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return more, nil
}

func (s *Source) read(field, path string, model checkpoints.Config, read func(data.Task, data.ReadOptions) (*data.Dataset, error)) (*data.Dataset, error) {
	task, err := s.task()
	if err != nil {
		return nil, err
	}
	set, err := read(task, s.ReadOptions)
	if err != nil {
		if field != "" {
			err = settings.Errorf(field, "%w", err)
		}
		return nil, err
	}
	if set.Skipped > 0 {
		s.say(fmt.Sprintf("%s: skipped %d records without a label of the benchmark", path, set.Skipped))
	}
	s.Note(model, set)
	return set, nil
}

// Note reports what labels are assumed to mean that are just numbers, those of the model or of
// the data.
func (s *Source) Note(model checkpoints.Config, set *data.Dataset) {
	if note := Assumed(model, set); note != "" {
		s.say(note)
	}
}

func (s *Source) say(text string) {
	if !slices.Contains(s.said, text) {
		s.said = append(s.said, text)
		progress.Logger(s.Progress).Warn(text)
	}
}
