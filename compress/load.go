package compress

import (
	"errors"
	"fmt"
	"slices"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/data/reviews"
	"github.com/skive-ml/skive/evaluate"
	"github.com/skive-ml/skive/head"
	"github.com/skive-ml/skive/progress"
	"github.com/skive-ml/skive/settings"
	"github.com/skive-ml/skive/tokenize"
	"github.com/skive-ml/skive/train"
)

// HeldOut says which part of the training file is the development set.
type HeldOut struct {
	// Examples of Of are held out. Seed decides which.
	Examples int    `json:"examples"`
	Of       int    `json:"of"`
	Seed     uint64 `json:"seed"`
}

// heldOutShare is the share of the training examples that is held out, heldOutMost the largest
// number.
const (
	heldOutShare = 0.2
	heldOutMost  = 2000
)

// load reads the data sets and the model that becomes the teacher.
func (c *run) load() (err error) {
	if err := c.openModel(); err != nil {
		return err
	}
	if c.Task == reviews.Name {
		c.train, c.dev = reviews.Generate(reviews.Options{Train: c.Reviews.Train, Dev: c.Reviews.Dev, Seed: c.Seed})
	} else if err := c.readFiles(); err != nil {
		return err
	}
	if c.Unlabeled != "" {
		more, err := data.ReadText(c.Unlabeled)
		if err != nil {
			return &settings.Error{Field: "Unlabeled", Err: err}
		}
		if err := evaluate.CheckUnlabeled(c.train, more); err != nil {
			return settings.Errorf("Unlabeled", "%s: %w", c.Unlabeled, err)
		}
		c.unlabeled = more.Examples
	}
	if c.teacher != nil && c.teacher.Config.NumLabels() > 0 {
		if err := c.relabel(); err != nil {
			return err
		}
	}
	// Every stage encodes these sets with the tokenizer that all models share, so they remember
	// the result.
	for _, set := range c.sets() {
		(*set.set).Remember()
	}
	if c.teacher == nil {
		if c.teacher, err = c.freshTeacher(); err != nil {
			return err
		}
	}
	if most := c.teacher.Config.MaxTokens(); c.MaxLength > most {
		return settings.Errorf("MaxLength", "%d, expected at most the model's %d positions", c.MaxLength, most)
	}
	if _, err := tokenize.Load(c.teacher.Tokenizer); err != nil {
		return settings.Errorf("Model", "the tokenizer: %w", err)
	}
	if _, err := evaluate.Encode(c.teacher, &data.Dataset{Task: c.train.Task, Examples: c.train.Examples[:1]}, c.MaxLength); err != nil {
		return &settings.Error{Field: "MaxLength", Err: err}
	}
	return nil
}

// openModel opens the model that becomes the teacher, or is the teacher.
func (c *run) openModel() (err error) {
	path, field := c.Model, "Model"
	if c.TeacherModel != "" {
		path, field = c.TeacherModel, "TeacherModel"
	}
	if path == "" {
		return nil
	}
	if c.teacher, err = checkpoints.Open(path); err != nil {
		return &settings.Error{Field: field, Err: err}
	}
	if err := notQuantized(c.teacher); err != nil {
		return &settings.Error{Field: field, Err: err}
	}
	if c.TeacherModel != "" && !c.teacher.HasHead() {
		return settings.Errorf(field, "%s has no head, expected a model that was fine-tuned on the task", path)
	}
	return nil
}

// readFiles reads the recipe's data sets and gives the model its head.
func (c *run) readFiles() error {
	task, err := data.TaskByName(c.Task)
	if err != nil {
		return &settings.Error{Field: "Task", Err: err}
	}
	if task.Kind.Subject() == head.Masks {
		return settings.Errorf("Task", "%s is %s, expected a task with labels", task.Name, task.Kind)
	}
	columns := data.ReadOptions{TextColumn: c.TextColumn, PairColumn: c.PairColumn, LabelColumn: c.LabelColumn, RequireLabels: true}
	var model checkpoints.Config
	if c.teacher != nil && !c.NewHead {
		model = c.teacher.Config
	}
	read := evaluate.ReadTraining
	switch {
	case c.TeacherModel != "": // a teacher knows the task
		if err := evaluate.CheckHead(model, task); err != nil {
			return &settings.Error{Field: "TeacherModel", Err: err}
		}
		read = evaluate.Read
	case c.teacher != nil && !c.NewHead && c.teacher.HasHead() && model.Head.Outputs() != head.Tokens:
		if err := evaluate.CheckHead(model, task); err != nil {
			return settings.Errorf("Model", "%w; a new head (the setting new-head) gives it another", err)
		}
	}
	if c.train, err = read(c.Train, task, model, columns); err != nil {
		// The file may be readable without the model's labels.
		if _, other := data.Read(c.Train, task, columns); c.Model != "" && other == nil {
			err = fmt.Errorf("%w; a new head (the setting new-head) gives the model other labels", err)
		}
		return &settings.Error{Field: "Train", Err: err}
	}
	if c.Test != "" {
		if c.test, err = evaluate.ReadDevelopment(c.Test, task, c.train, columns); err != nil {
			return &settings.Error{Field: "Test", Err: err}
		}
	}
	if c.Dev != "" {
		if c.dev, err = evaluate.ReadDevelopment(c.Dev, task, c.train, columns); err != nil {
			return &settings.Error{Field: "Dev", Err: err}
		}
	} else if err := c.holdOut(); err != nil {
		return err
	}
	if c.NewHead {
		return c.teacher.SetHead(task.Kind, c.train.Task.Labels, c.Seed)
	}
	return nil
}

// holdOut turns a share of the training set into the development set.
func (c *run) holdOut() error {
	all := len(c.train.Examples)
	c.train, c.dev = c.train.HoldOut(max(1, min(int(heldOutShare*float64(all)), heldOutMost)), c.Seed)
	n := len(c.dev.Examples)
	if n == 0 || len(c.train.Examples) == 0 {
		return settings.Errorf("Dev", "none is given, and %d examples of %s are too few to hold out a share", all, c.Train)
	}
	c.heldOut = &HeldOut{Examples: n, Of: all, Seed: c.Seed}
	c.say("%d of the %d examples of %s are held out for development, with the seed %d", n, all, c.Train, c.Seed)
	return nil
}

// A namedSet is a data set and the field of the recipe that names it.
type namedSet struct {
	name, field string
	set         **data.Dataset
}

// sets returns the data sets that exist.
func (c *run) sets() []namedSet {
	all := []namedSet{{"training", "Train", &c.train}, {"development", "Dev", &c.dev}}
	if c.test != nil {
		all = append(all, namedSet{"test", "Test", &c.test})
	}
	return all
}

// relabel gives the data sets the labels of the model. From here on, all class indices are in its
// order.
func (c *run) relabel() error {
	for _, s := range c.sets() {
		if note := evaluate.Assumed(c.teacher.Config, *s.set); note != "" && !slices.Contains(c.notes, note) {
			c.say("%s", note)
		}
	}
	named := c.teacher.Config
	if c.TeacherModel == "" {
		named.Pairs = false // the model is trained on these texts first
	}
	for _, s := range c.sets() {
		set, err := evaluate.Relabel(s.name, *s.set, named, true)
		var labels *data.LabelsError
		if errors.As(err, &labels) && c.Model != "" {
			err = fmt.Errorf("%w; a new head (the setting new-head) gives the model other labels", err)
		}
		if err != nil {
			return &settings.Error{Field: s.field, Err: err}
		}
		*s.set = set
	}
	return nil
}

// distillationLength is how many times as long as a fine-tuning a distillation is if its length
// depends on the data. The student learns from the teacher's outputs for each example.
const distillationLength = 2

// With at most fewExamples, fewTrials teachers are trained if the recipe leaves rate and length
// to the data.
const (
	fewExamples = 500
	fewTrials   = 3
)

// fit chooses what the recipe's trainings leave to the data and the model.
func (c *run) fit() error {
	set, err := evaluate.Encode(c.teacher, c.train, c.MaxLength)
	if err != nil {
		return &settings.Error{Field: "Train", Err: err}
	}
	dev, err := evaluate.Encode(c.teacher, c.dev, c.MaxLength)
	if err != nil {
		return &settings.Error{Field: "Dev", Err: err}
	}
	size, layers, err := c.Student.Resolve(c.teacher.Config)
	if err != nil {
		return err
	}
	student := size.Config(c.teacher.Config, layers)
	fit := func(o *train.Options, fitRate *bool, stage string, of checkpoints.Config, longer float64) {
		meant := o.LearningRate == 0 && !*fitRate
		if o.Stage = stage; meant {
			o.LearningRate = 1 // count as given
		}
		fits, why := o.Fitted(of, set, dev, longer)
		if fits.Stage = ""; meant {
			fits.LearningRate = 0
		}
		if *o, *fitRate = fits, false; why != "" {
			c.say("%s", why)
		}
	}
	if c.TeacherModel == "" {
		open := c.Search == 0 && c.FitRate && c.Teacher.LearningRate == 0 && c.Teacher.Epochs == 0 && c.Teacher.Steps == 0
		fit(&c.Teacher, &c.FitRate, "teacher", c.teacher.Config, 1)
		if open && set.Len() <= fewExamples {
			c.Search = fewTrials
			c.say("teacher: the best of %d trainings, because with %d examples much depends on the rate", c.Search, set.Len())
		}
	}
	distillation := func(d *Distillation, stage string, longer float64) {
		fit(&d.Options.Options, &d.FitRate, stage, student, longer)
	}
	distillation(&c.Recipe.Distill, "student", distillationLength)
	distillation(&c.Recover, "recovery", 1)
	if c.QuantizeAware != nil {
		aware := *c.QuantizeAware
		distillation(&aware, "quantize_aware", 1)
		c.QuantizeAware = &aware
	}
	return nil
}

// say shows what was chosen because of data and model, and notes it for the report.
func (c *run) say(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	c.notes = append(c.notes, line)
	progress.Logger(c.Progress).Info(line)
}
