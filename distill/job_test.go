package distill

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/head"
	"github.com/skive-ml/skive/internal/golden"
	"github.com/skive-ml/skive/settings"
	"github.com/skive-ml/skive/train"
)

// A job that cannot be carried out is refused by the field that is wrong.
func TestJobsThatAreRefused(t *testing.T) {
	t.Parallel()
	classifier := tinyTeacher()
	masked := tinyTeacher()
	masked.Config.Head, masked.Config.Labels = head.MaskedLM, nil
	general := func(j *Job) { j.General, j.Soft, j.Relations = true, 0, 1 }
	for _, c := range []struct {
		field  string // "" for a job that is fine
		change func(j *Job)
	}{
		{"", func(*Job) {}},
		{"", general},
		{"", func(j *Job) { j.New.Layers, j.New.TeacherLayers = 2, []int{0, 2} }},
		{"", func(j *Job) { j.Augment.Copies, j.Words = 1, masked }},
		{"LearningRate", func(j *Job) { j.LearningRate = -1 }},
		{"New.Hidden", func(j *Job) { j.New.Hidden = -8 }},
		{"New.TeacherLayers", func(j *Job) { j.New.Layers, j.New.TeacherLayers = 1, []int{0, 2} }},
		{"New.TeacherLayers", func(j *Job) { j.New.Random, j.New.TeacherLayers = true, []int{0} }},
		{"New", func(j *Job) { j.Student, j.New.Layers = classifier, 1 }},
		{"Ensemble[0].Weight", func(j *Job) { j.Ensemble = []Teacher{{Weight: -1}} }},
		{"Augment.Copies", func(j *Job) { j.Augment.Copies = -1 }},
		{"Augment.Probability", func(j *Job) { j.Augment.Copies, j.Augment.Probability = 1, 2 }},
		{"Words", func(j *Job) { j.Words = masked }},
		{"Words", func(j *Job) { j.Augment.Copies, j.Words = 1, classifier }},
		{"Soft", func(j *Job) { general(j); j.Soft = 1 }},
		{"MiniLM", func(j *Job) { general(j); j.Relations = 0 }},
		{"Relations", func(j *Job) { general(j); j.Relations = -1 }},
		{"Train", func(j *Job) { general(j); j.Train = new(data.Dataset) }},
		{"Unlabeled", func(j *Job) { general(j); j.Unlabeled = new(data.Dataset) }},
		{"Augment", func(j *Job) { general(j); j.Augment.Copies = 1 }},
		{"Stages", func(j *Job) { general(j); j.Stages = TinyBERT() }},
		{"Ensemble", func(j *Job) { general(j); j.Ensemble = make([]Teacher, 1) }},
	} {
		j := JobDefaults()
		c.change(&j)
		err := j.Validate()
		var wrong *settings.Error
		if c.field == "" && err != nil || c.field != "" && (!errors.As(err, &wrong) || wrong.Field != c.field) {
			t.Errorf("error %v, want one about %q", err, c.field)
		}
	}
	for field, j := range map[string]Job{"Train": JobDefaults(), "Text": {General: true, Options: Options{Options: train.Defaults(), Losses: Losses{MiniLM: 1}}}} {
		_, _, err := j.Run(context.Background(), classifier)
		var wrong *settings.Error
		if !errors.As(err, &wrong) || wrong.Field != field {
			t.Errorf("error %v, want one about %q", err, field)
		}
	}
}

// What the teacher says is kept until a job is done, where it names no cache.
func TestJobsKeepTheirCacheUntilTheyAreDone(t *testing.T) {
	t.Parallel()
	all, teacher := golden.Data(t), golden.Model(t)
	j := JobDefaults()
	j.Train = &data.Dataset{Task: all.Task, Examples: all.Examples[:8]}
	j.New.Layers, j.Steps, j.BatchSize, j.Threads, j.Output = 1, 2, 4, 1, filepath.Join(t.TempDir(), "out")
	cache := filepath.Join(j.Output, train.StateDir, "teacher")
	there := false
	j.OnStep = func(train.Record) {
		_, err := os.Stat(cache)
		there = err == nil
	}
	m, _, err := j.Run(context.Background(), teacher)
	if err != nil {
		t.Fatal(err)
	}
	m.Close()
	if _, err := os.Stat(cache); !there || err == nil {
		t.Errorf("kept while it runs: %v, afterwards: %v", there, err == nil)
	}
	if _, err := checkpoints.Open(j.Output); err != nil {
		t.Error(err)
	}
}
