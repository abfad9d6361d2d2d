package distill

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/evaluate"
	"github.com/skive-ml/skive/head"
	"github.com/skive-ml/skive/pruning"
	"github.com/skive-ml/skive/settings"
	"github.com/skive-ml/skive/train"
)

// A Job is a whole distillation: it makes the student, adds examples to those of the task, and
// distills. Start from JobDefaults.
type Job struct {
	// Options are those of Run, General or RunStages. Without a Cache, the output directory keeps
	// the teachers' outputs until the job is done.
	Options
	// Train and Dev are the data of a task. With General, the job distills on Text instead,
	// as the function General does: with one teacher and without Unlabeled, Augment and Stages.
	Train, Dev *data.Dataset
	General    bool
	Text       *data.Dataset
	// Student is the model that learns. If it is nil, New says how to make one.
	Student *checkpoints.Model
	New     Student
	// Unlabeled holds examples to be added to Train, or is nil. Augment.Copies is the number of
	// copies that are made of all examples; 0 makes none. The job sets Augment's seed and
	// threads. Words is the masked language model that finds the words for copies. If it is nil,
	// the teacher's embeddings decide.
	Unlabeled *data.Dataset
	Augment   AugmentOptions
	Words     *checkpoints.Model
	// Shards is a directory with a teacher's outputs, on which General distills instead of Text.
	// If Make is set, the job writes this share of the shards from Text (see MakeShards) and
	// trains nothing.
	Shards string
	Make   settings.Shard
	// Stages, if any, are run one after another, see RunStages.
	Stages []Stage
}

// JobDefaults returns a job with the defaults of all its options. It adds no examples.
func JobDefaults() Job {
	j := Job{Options: Defaults(), Augment: AugmentDefaults()}
	j.Augment.Copies = 0
	return j
}

// importanceExamples is how many examples decide which parts of the teacher a narrower student
// keeps.
const importanceExamples = 2048

// Validate reports the first setting that is not usable, as a *settings.Error. Models and data
// may still be missing.
func (j *Job) Validate() error {
	if j.General {
		if err := j.checkGeneral(); err != nil {
			return err
		}
	}
	switch {
	case j.Shards != "" && !j.General:
		return settings.Errorf("Shards", "%s: they go with a general distillation", j.Shards)
	case j.Shards == "" && j.Make.Of > 0:
		return settings.Errorf("Make", "%v: without a directory of shards", j.Make)
	}
	if err := j.Options.Validate(); err != nil {
		return err
	}
	if err := j.checkStudent(); err != nil {
		return err
	}
	if j.Augment.Copies != 0 {
		if err := j.Augment.Settings().Check(); err != nil {
			return settings.In("Augment", err)
		}
	}
	if j.Words != nil {
		if j.Augment.Copies == 0 {
			return settings.Errorf("Words", "it finds words for copies, and there are none")
		}
		if err := CheckWords(j.Words); err != nil {
			return settings.Errorf("Words", "%w", err)
		}
	}
	return nil
}

// checkStudent reports a student that is described in two ways.
func (j *Job) checkStudent() error {
	s := &j.New
	switch err := s.Settings().Check(); {
	case err != nil:
		return settings.In("New", err)
	case j.Student != nil && (s.Size != Size{} || len(s.TeacherLayers) > 0 || s.Random):
		return settings.Errorf("New", "it and a student that is given exclude one another")
	case s.Layers != 0 && len(s.TeacherLayers) > 0 && s.Layers != len(s.TeacherLayers):
		return settings.Errorf("New.TeacherLayers", "%d of them, expected as many as the %d layers of the student", len(s.TeacherLayers), s.Layers)
	}
	return nil
}

// checkGeneral reports settings that a distillation on plain text does not have.
func (j *Job) checkGeneral() error {
	if err := j.Losses.checkGeneral(); err != nil {
		return err
	}
	for _, x := range []struct {
		field string
		given bool
	}{
		{"Train", j.Train != nil}, {"Dev", j.Dev != nil}, {"Unlabeled", j.Unlabeled != nil},
		{"Augment", j.Augment.Copies != 0}, {"Stages", len(j.Stages) > 0},
	} {
		if x.given {
			return settings.Errorf(x.field, "a general distillation reads its text alone")
		}
	}
	if n := len(j.Ensemble); n > 0 {
		return settings.Errorf("Ensemble", "%d further teachers, expected one teacher of a general distillation, which has no logits to average", n)
	}
	return nil
}

// Run makes the student and distills. It returns what Run, RunStages or General returns.
func (j *Job) Run(ctx context.Context, teacher *checkpoints.Model) (*checkpoints.Model, *train.Result, error) {
	if err := j.Validate(); err != nil {
		return nil, nil, err
	}
	if set := j.Train; set == nil && !j.General {
		return nil, nil, settings.Errorf("Train", "none, expected the examples of a task")
	}
	if j.General && j.Text == nil && (j.Shards == "" || j.Make.Of > 0) {
		return nil, nil, settings.Errorf("Text", "none, expected the text of a general distillation")
	}
	if j.Unlabeled != nil {
		if err := evaluate.CheckUnlabeled(j.Train, j.Unlabeled); err != nil {
			return nil, nil, settings.Errorf("Unlabeled", "%w", err)
		}
	}
	student := j.Student
	if student == nil {
		o := pruning.ImportanceOptions{Limit: importanceExamples, Threads: j.Threads, Progress: j.Progress}
		made, err := j.New.Make(ctx, teacher, j.Train, o, j.Seed)
		if err != nil {
			return nil, nil, settings.In("New", err)
		}
		defer made.Close()
		student = made
	}
	o := j.Options
	temporary := o.Cache == "" && o.Output != "" && j.Shards == ""
	if temporary {
		o.Cache = filepath.Join(o.Output, train.StateDir, "teacher")
	}
	m, result, err := j.distill(ctx, teacher, student, o)
	if err == nil && temporary {
		if err = os.RemoveAll(o.Cache); err != nil {
			err = errors.Join(err, m.Close())
		}
	}
	if err != nil {
		return nil, nil, err
	}
	return m, result, nil
}

func (j *Job) distill(ctx context.Context, teacher, student *checkpoints.Model, o Options) (*checkpoints.Model, *train.Result, error) {
	switch {
	case j.Make.Of > 0:
		_, err := MakeShards(ctx, teacher, student, j.Text, j.Shards, j.Make, o)
		return nil, nil, err
	case j.Shards != "":
		return GeneralFromShards(ctx, teacher, student, j.Shards, o)
	case j.General:
		return General(ctx, teacher, student, j.Text, o)
	}
	set, err := j.examples(ctx, teacher)
	if err != nil {
		return nil, nil, err
	}
	if len(j.Stages) > 0 {
		return RunStages(ctx, teacher, student, set, j.Dev, o, j.Stages)
	}
	return Run(ctx, teacher, student, set, j.Dev, o)
}

// examples returns the examples of the task and those that are added.
func (j *Job) examples(ctx context.Context, teacher *checkpoints.Model) (*data.Dataset, error) {
	if j.Unlabeled == nil && j.Augment.Copies == 0 {
		return j.Train, nil
	}
	all := &data.Dataset{Task: j.Train.Task, Examples: slices.Clone(j.Train.Examples)}
	if j.Unlabeled != nil {
		all.Examples = append(all.Examples, j.Unlabeled.Examples...)
	}
	if j.Augment.Copies == 0 {
		return all, nil
	}
	o := j.Augment
	o.Seed, o.Threads, o.Progress = j.Seed, j.Threads, j.Progress
	more, err := Augment(ctx, all, cmp.Or(j.Words, teacher), o)
	if err != nil && j.Words != nil {
		err = settings.Errorf("Words", "%s: %w", cmp.Or(j.Words.Path(), "the model"), err)
	}
	if err != nil {
		return nil, err
	}
	all.Examples = append(all.Examples, more.Examples...)
	return all, nil
}

// CheckWords reports a model that cannot propose words because it is not a masked language model.
func CheckWords(m *checkpoints.Model) error {
	if m.Config.Head.Outputs() == head.Tokens {
		return nil
	}
	return fmt.Errorf("%s: its head does %s, expected %s", cmp.Or(m.Path(), "the model"), m.Config.Head, head.MaskedLM)
}
