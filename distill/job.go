package distill

import (
	"cmp"
	"context"
	"slices"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/pruning"
	"github.com/skive-ml/skive/settings"
	"github.com/skive-ml/skive/train"
)

// A Job is a distillation with all that goes before it: the student is made, and
// examples are added to those of the task.
type Job struct {
	Options
	// Train and Dev are the data of a task. Text is plain text in their place, for a
	// distillation by General.
	Train, Dev, Text *data.Dataset
	// Student is the model that learns; where it is nil, one is made as New says.
	Student *checkpoints.Model
	New     Student
	// Unlabeled are examples that are added to Train, if they are not nil, and Augment
	// says how many copies of them all: none by 0 Copies, of which the other options are
	// the job's. Words is the masked language model that finds their words, nil for the
	// teacher's embeddings.
	Unlabeled *data.Dataset
	Augment   AugmentOptions
	Words     *checkpoints.Model
	// Stages, if there are any, follow one another, see RunStages.
	Stages []Stage
}

// importanceExamples are those that decide which parts of the teacher a narrower student
// keeps.
const importanceExamples = 2048

// Run makes the student and distills from the teacher. The student is that of Run,
// RunStages or General.
func (j *Job) Run(ctx context.Context, teacher *checkpoints.Model) (*checkpoints.Model, *train.Result, error) {
	if j.Unlabeled != nil {
		if err := CheckUnlabeled(j.Train, j.Unlabeled); err != nil {
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
	if j.Text != nil {
		return General(ctx, teacher, student, j.Text, j.Options)
	}
	set, err := j.examples(ctx, teacher)
	if err != nil {
		return nil, nil, err
	}
	if len(j.Stages) > 0 {
		return RunStages(ctx, teacher, student, set, j.Dev, j.Options, j.Stages)
	}
	return Run(ctx, teacher, student, set, j.Dev, j.Options)
}

// examples are those of the task with what is added to them.
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
		err = settings.Errorf("Words", "%w", err)
	}
	if err != nil {
		return nil, err
	}
	all.Examples = append(all.Examples, more.Examples...)
	return all, nil
}
