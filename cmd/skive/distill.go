package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/distill"
	"github.com/skive-ml/skive/head"
	"github.com/skive-ml/skive/internal/flags"
	"github.com/skive-ml/skive/pruning"
	"github.com/skive-ml/skive/settings"
	"github.com/skive-ml/skive/train"
)

// distillFlags are the flags of skive distill.
type distillFlags struct {
	app *skive
	distill.Options
	task              taskFlags
	student           studentFlags
	augment           distill.AugmentOptions
	augmentMLM        string
	teachers          []string
	weights           []float64
	unlabeled, stages string
	general           bool
	text              string
}

func (app *skive) newDistill() *cobra.Command {
	d := &distillFlags{app: app, task: taskFlags{app: app}, student: studentFlags{app: app}, Options: distill.Defaults(), augment: distill.AugmentDefaults()}
	d.augment.Copies = 0
	c := &cobra.Command{
		Use:   "distill",
		Short: "Teach a student what a teacher knows",
		Long: `Teach a student what a teacher knows.

The output directory has the student that did best on --dev, of equal ones the first, and the state of the run, of each
stage with --stages. A run that was stopped goes on with --resume. Where a run or a model is there already, distill ends
at once unless --resume or --overwrite is given.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return d.run(c) },
	}
	f := c.Flags()
	f.StringArrayVar(&d.teachers, "teacher", nil, "teacher `MODEL`; several are an ensemble, whose first gives the hidden states")
	f.Float64SliceVar(&d.weights, "teacher-weights", nil, "`WEIGHTS` of the teachers' logits, separated by commas (default equal)")
	f.Lookup("teacher-weights").DefValue = ""
	flags.Sets(f, "teacher-weights", "TeacherWeight", "Ensemble")
	f.StringVar(&d.stages, "stages", "", "YAML `FILE` with a list of stages, or tinybert for its two")
	f.StringVar(&d.unlabeled, "unlabeled", "", "`FILE` of further examples, whose labels are not read; plain text in .txt")
	f.BoolVar(&d.general, "general", false, "task-agnostic distillation on --text, by inner losses alone")
	f.StringVar(&d.text, "text", "", "plain text `FILE` for --general, may be .gz")
	f.StringVar(&d.augmentMLM, "augment-mlm", "", "masked language `MODEL` that finds the words for --augment in the place of the teacher's embeddings")
	d.student.register(f)
	flags.Add(f, d.augment.Settings())
	flags.Add(f, d.Settings().Without("max-length"))
	d.task.register(f, true)
	return c
}

func (d *distillFlags) run(c *cobra.Command) error {
	list, err := d.check(c)
	if err != nil {
		return err
	}
	temporary := d.Cache == ""
	if temporary {
		d.Cache = filepath.Join(d.Output, train.StateDir, "teacher")
	}
	release, err := claimOutputs(c, d.Options.Options, distill.CheckOutput)
	if err != nil {
		return err
	}
	defer release()
	teacher, closeTeachers, err := d.openTeachers()
	defer closeTeachers()
	if err != nil {
		return err
	}
	if err := d.Validate(); err != nil {
		return err
	}
	result, err := d.distill(c.Context(), teacher, list)
	if err != nil {
		return err
	}
	if temporary {
		if err := os.RemoveAll(d.Cache); err != nil {
			return err
		}
	}
	return d.app.printResult(result, d.Output)
}

// check completes the settings, reports what does not go together, and reads the
// stages, if there are any.
func (d *distillFlags) check(c *cobra.Command) ([]distill.Stage, error) {
	if err := d.checkInputs(c); err != nil {
		return nil, err
	}
	if err := d.student.check(c.Flags().Changed); err != nil {
		return nil, err
	}
	if len(d.weights) > 0 && len(d.weights) != len(d.teachers) {
		return nil, flags.Usagef("--teacher-weights: %d weights for %d teachers", len(d.weights), len(d.teachers))
	}
	d.app.completeTraining(&d.Options.Options, d.task.maxLength)
	if err := d.checkLosses(c); err != nil {
		return nil, err
	}
	augment := append(d.augment.Settings(), settings.Setting{Name: "augment-mlm", Value: &d.augmentMLM, With: []string{"augment"}})
	if err := flags.CheckIdle(c.Flags(), augment); err != nil {
		return nil, err
	}
	if err := d.Validate(); err != nil {
		return nil, err
	}
	switch d.stages {
	case "":
		return nil, nil
	case "tinybert":
		return distill.TinyBERT(), nil
	}
	list, err := distill.ReadStages(d.stages)
	return list, ofFlag("stages", err)
}

// checkInputs reports flags that the kind of distillation does not read.
func (d *distillFlags) checkInputs(c *cobra.Command) error {
	given := c.Flags().Changed
	if !d.general {
		if given("text") {
			return flags.Usagef("--text is read by --general alone; --unlabeled adds to a task's examples")
		}
		return require(c, "teacher", "task", "train", "dev", "output")
	}
	if err := require(c, "teacher", "text", "output"); err != nil {
		return err
	}
	for _, name := range []string{"task", "train", "dev", "unlabeled", "augment", "stages", "text-column", "pair-column", "label-column"} {
		if given(name) {
			return flags.Usagef("--%s: a --general distillation reads --text alone", name)
		}
	}
	if len(d.teachers) > 1 {
		return flags.Usagef("--teacher: %d teachers, expected one of a --general distillation, which has no logits to average", len(d.teachers))
	}
	return nil
}

// checkLosses reports losses that the kind of distillation does not have, and
// settings of losses that have no weight.
func (d *distillFlags) checkLosses(c *cobra.Command) error {
	given := c.Flags().Changed
	if d.general && !given("soft") {
		d.Soft = 0
		if d.Hidden == 0 && d.Embeddings == 0 && d.Attention == 0 && d.MiniLM == 0 && d.Relations == 0 {
			return flags.Usagef("--general: no loss, expected a weight of --hidden-loss, --embeddings, --attention, --minilm or --relations")
		}
	}
	losses := d.Losses.Settings()
	for _, s := range losses {
		if d.stages != "" && given(flags.Name(s)) {
			return flags.Usagef("--%s: with --stages, losses and their settings are those of each stage", flags.Name(s))
		}
	}
	if given("temperature-end") && d.TemperatureSchedule == distill.Constant {
		return flags.Usagef("--temperature-end goes with --temperature-schedule linear or cosine")
	}
	if d.stages != "" {
		return nil
	}
	return flags.CheckIdle(c.Flags(), d.Settings())
}

// openTeachers opens the teachers and returns the first. What it returns closes those
// that it has opened.
func (d *distillFlags) openTeachers() (teacher *checkpoints.Model, closeAll func(), err error) {
	var opened []distill.Teacher
	closeAll = func() {
		for _, t := range opened {
			t.Model.Close()
		}
	}
	for i, path := range d.teachers {
		m, err := d.app.openCheckpoint("teacher", path)
		if err != nil {
			return nil, closeAll, err
		}
		t := distill.Teacher{Model: m, Weight: 1}
		if len(d.weights) > 0 {
			t.Weight = d.weights[i]
		}
		opened = append(opened, t)
	}
	d.TeacherWeight, d.Ensemble = opened[0].Weight, opened[1:]
	return opened[0].Model, closeAll, nil
}

// distill makes the student and trains it, in stages if there are any.
func (d *distillFlags) distill(ctx context.Context, teacher *checkpoints.Model, list []distill.Stage) (*train.Result, error) {
	var text, trainSet, devSet *data.Dataset
	var err error
	if d.general {
		text, err = data.ReadText(d.text)
		err = ofFlag("text", err)
	} else {
		trainSet, devSet, err = d.task.sets(teacher, true)
	}
	if err != nil {
		return nil, err
	}
	for _, m := range d.Ensemble {
		if !d.general {
			d.task.noteLabels(m.Model.Config, trainSet)
		}
	}
	student, err := d.student.open(ctx, teacher, trainSet, d.Options.Options)
	if err != nil {
		return nil, err
	}
	defer student.Close()
	var result *train.Result
	if d.general {
		_, result, err = distill.General(ctx, teacher, student, text, d.Options)
		return result, err
	}
	if err := d.addExamples(ctx, teacher, trainSet); err != nil {
		return nil, err
	}
	if len(list) > 0 {
		_, result, err = distill.RunStages(ctx, teacher, student, trainSet, devSet, d.Options, list)
	} else {
		_, result, err = distill.Run(ctx, teacher, student, trainSet, devSet, d.Options)
	}
	return result, err
}

// addExamples adds unlabelled text and augmented copies to the training set.
func (d *distillFlags) addExamples(ctx context.Context, teacher *checkpoints.Model, set *data.Dataset) error {
	if d.unlabeled != "" {
		more, err := d.task.unlabeled(d.unlabeled, set.Task.Labels)
		if err != nil {
			return err
		}
		if err := distill.CheckUnlabeled(set, more); err != nil {
			return fmt.Errorf("--unlabeled: %s: %w", d.unlabeled, err)
		}
		set.Examples = append(set.Examples, more.Examples...)
	}
	if d.augment.Copies == 0 {
		return nil
	}
	d.augment.Seed, d.augment.Threads, d.augment.Progress = d.Seed, d.Threads, d.Progress
	if d.augmentMLM == "" {
		more, err := distill.Augment(ctx, set, teacher, d.augment)
		if err == nil {
			set.Examples = append(set.Examples, more.Examples...)
		}
		return err
	}
	words, err := d.app.openCheckpoint("augment-mlm", d.augmentMLM)
	if err != nil {
		return err
	}
	defer words.Close()
	if words.Config.Head.Outputs() != head.Tokens {
		return fmt.Errorf("--augment-mlm: the head of %s does %s, expected %s", d.augmentMLM, words.Config.Head, head.MaskedLM)
	}
	more, err := distill.Augment(ctx, set, words, d.augment)
	if err != nil {
		return fmt.Errorf("--augment-mlm: %s: %w", d.augmentMLM, err)
	}
	set.Examples = append(set.Examples, more.Examples...)
	return nil
}

// studentFlags say how the student is made.
type studentFlags struct {
	distill.Student
	app        *skive
	path, init string
}

func (s *studentFlags) register(f *pflag.FlagSet) {
	f.StringVar(&s.path, "student", "", "student `MODEL`")
	flags.Add(f, s.Settings().Without("random").In("", "Student"))
	f.StringVar(&s.init, "init", "teacher", "weights of the student: the teacher's most important ones, or random")
}

func (s *studentFlags) check(given func(flag string) bool) error {
	s.Random = s.init == "random"
	switch {
	case s.init != "teacher" && s.init != "random":
		return flags.Usagef("--init: %q, expected teacher or random", s.init)
	case s.path == "" && s.Layers == 0 && len(s.TeacherLayers) == 0:
		return flags.Usagef("one of --student, --layers and --teacher-layers is required")
	case s.path != "" && (s.Size != distill.Size{} || len(s.TeacherLayers) > 0 || given("init")):
		return flags.Usagef("--student excludes --layers, --teacher-layers, --hidden, --heads, --ffn and --init")
	case s.Layers != 0 && len(s.TeacherLayers) > 0 && s.Layers != len(s.TeacherLayers):
		return flags.Usagef("--layers: %d, but --teacher-layers names %d", s.Layers, len(s.TeacherLayers))
	}
	return settings.In("Student", s.Settings().Check())
}

// narrowExamples are those that decide which parts of the teacher a narrower
// student keeps.
const narrowExamples = 2048

// open opens --student or makes one from the teacher. ds is what decides the
// importance of the teacher's parts, nil for their magnitude.
func (s *studentFlags) open(ctx context.Context, teacher *checkpoints.Model, ds *data.Dataset, o train.Options) (*checkpoints.Model, error) {
	if s.path != "" {
		return s.app.openCheckpoint("student", s.path)
	}
	m, err := s.Make(ctx, teacher, ds, pruning.ImportanceOptions{Limit: narrowExamples, Threads: o.Threads, Progress: o.Progress}, o.Seed)
	return m, settings.In("Student", err)
}
