package distill

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/internal/bounded"
	"github.com/skive-ml/skive/internal/keys"
	"github.com/skive-ml/skive/settings"
	"github.com/skive-ml/skive/train"
)

// Stage is one of several distillations in a row. Each starts from the student of the one before.
type Stage struct {
	Name string
	// Epochs, Steps and LearningRate replace those of the options if they are not 0.
	Epochs, Steps int
	LearningRate  float64
	// Losses replace those of the options. A temperature of 0 means 1.
	Losses
}

// Settings returns the fields as a table of settings.
func (s *Stage) Settings() settings.Table {
	return append(settings.Table{
		{Name: "name", Field: "Name", Value: &s.Name, Shown: true, Doc: "name of the stage, and of its directory"},
		{Name: "epochs", Field: "Epochs", Value: &s.Epochs, NotZero: true, Doc: "passes over the training set, instead of the options'"},
		{Name: "steps", Field: "Steps", Value: &s.Steps, NotZero: true, Doc: "optimizer steps, instead of the options'"},
		{Name: "lr", Field: "LearningRate", Value: &s.LearningRate, NotZero: true, Doc: "peak learning rate, instead of the options'"},
	}, s.Losses.Settings()...)
}

// StagesDir is the directory inside an output directory for the students of all stages except the
// last.
const StagesDir = "stages"

// TinyBERT returns the two stages of TinyBERT's task distillation (Jiao et al., arXiv
// 1909.10351): first embeddings, hidden states and attention scores, then logits.
func TinyBERT() []Stage {
	return []Stage{
		{Name: "intermediate", Losses: Losses{Embeddings: 1, Hidden: 1, Attention: 1, HeadMeans: true}},
		{Name: "prediction", Losses: Losses{Soft: 1, Temperature: 1}},
	}
}

// ReadStages reads a list of stages from a YAML file, in which losses have the same names as in
// recipes:
//
//   - name: intermediate
//     epochs: 10
//     hidden: 1
//     attention: 1
//   - name: prediction
//     soft: 1
//
// The path "tinybert" stands for TinyBERT's stages.
func ReadStages(path string) ([]Stage, error) {
	if path == "tinybert" {
		return TinyBERT(), nil
	}
	text, err := bounded.ReadFile(path, bounded.Document)
	if err != nil {
		return nil, err
	}
	doc, err := keys.Parse(path, text)
	if err != nil {
		return nil, err
	}
	var stages []Stage
	if err := doc.SetList(settings.ListOf(&stages, (*Stage).Settings), "Stages"); err != nil {
		return nil, err
	}
	if len(stages) == 0 {
		return nil, fmt.Errorf("%s: no stages, expected at least one", path)
	}
	if err := CheckStages(stages, Defaults()); err != nil {
		return nil, doc.Locate(err)
	}
	return stages, nil
}

// CheckStages reports the first stage that is not possible with the options.
func CheckStages(stages []Stage, o Options) error {
	if len(stages) == 0 {
		return errors.New("no stages, expected at least one")
	}
	if !slices.ContainsFunc(stages, func(s Stage) bool { return s.Hard > 0 }) {
		for _, s := range o.Options.Settings().Only(train.OfLabels...) {
			if !s.IsZero() {
				return settings.Wrong(s.Field, s.Get(), "none: no stage has a loss against the labels")
			}
		}
	}
	seen := map[string]bool{}
	for i, s := range stages {
		if s.Name == "" || seen[s.Name] || s.Name != filepath.Base(s.Name) || s.Name == "." || s.Name == ".." {
			return settings.Wrong(fmt.Sprintf("Stages[%d].Name", i), s.Name, "a name that no other stage has and that can be a directory's")
		}
		seen[s.Name] = true
		staged := s.options(o)
		if err := staged.Validate(); err != nil {
			return settings.In(fmt.Sprintf("Stages[%d]", i), err)
		}
	}
	return nil
}

// options returns o with the stage's own settings.
func (s Stage) options(o Options) Options {
	if s.Epochs != 0 || s.Steps != 0 {
		o.Epochs, o.Steps = s.Epochs, s.Steps
	}
	if s.LearningRate != 0 {
		o.LearningRate = s.LearningRate
	}
	o.Losses = s.Losses
	if s.Hard == 0 { // these settings are for stages that learn from labels
		o.ClassWeights, o.LabelSmoothing = nil, 0
	}
	if o.Temperature == 0 {
		o.Temperature = 1
	}
	return o
}

// CheckOutput is train.CheckOutput for Run, General and RunStages.
func CheckOutput(dir string) error {
	if err := train.CheckOutput(dir); err != nil {
		return err
	}
	stages, err := os.ReadDir(filepath.Join(dir, StagesDir))
	for _, stage := range stages {
		if train.CheckOutput(filepath.Join(dir, StagesDir, stage.Name())) != nil {
			return &checkpoints.ExistsError{Path: dir, What: "an unfinished run of several stages is there", Resumable: true}
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// RunStages is Run in several stages. An output directory gets the files of the last stage; those
// of the others go to StagesDir, under their names. Logs and events are named as in
// train.Options.Part. A stage without a loss on logits trains no classifier. So it passes on its
// last student, not the one that is best on devSet, and is not stopped early. With
// Options.Resume, finished stages are not run again.
func RunStages(ctx context.Context, teacher, student *checkpoints.Model, trainSet, devSet *data.Dataset, o Options, stages []Stage) (*checkpoints.Model, *train.Result, error) {
	if err := CheckStages(stages, o); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", o.Stage, err)
	}
	ctx, release, err := o.Claim(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", o.Stage, err)
	}
	defer release()
	if o.Output != "" && !o.Resume && !o.Overwrite {
		if err := CheckOutput(o.Output); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", o.Stage, err)
		}
	}
	var result *train.Result
	for i, s := range stages {
		staged, dev := s.options(o), devSet
		staged.Stage = fmt.Sprintf("%s %s", o.Stage, s.Name)
		if i < len(stages)-1 {
			staged.Options = staged.Part(s.Name)
			if o.Output != "" {
				staged.Output = filepath.Join(o.Output, StagesDir, s.Name)
			}
		}
		if some(staged.predictions()) == "" {
			dev, staged.Patience = nil, 0
		}
		next, r, err := Run(ctx, teacher, student, trainSet, dev, staged)
		if i > 0 {
			err = errors.Join(err, student.Close())
		}
		if err != nil {
			return nil, nil, err
		}
		student, result = next, r
	}
	return student, result, nil
}
