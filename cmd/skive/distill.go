package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/distill"
	"github.com/skive-ml/skive/head"
	"github.com/skive-ml/skive/internal/flags"
	"github.com/skive-ml/skive/settings"
	"github.com/skive-ml/skive/train"
)

// distillFlags are the flags of skive distill.
type distillFlags struct {
	app *skive
	distill.Job
	task                                taskFlags
	teachers                            []string
	weights                             []float64
	student, init                       string
	stages, unlabeled, text, augmentMLM string
	general                             bool
}

func (app *skive) newDistill() *cobra.Command {
	d := &distillFlags{app: app, task: app.newTask(), Job: distill.Job{Options: distill.Defaults(), Augment: distill.AugmentDefaults()}}
	d.Augment.Copies = 0
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
	flags.Sets(f, "augment-mlm", "Words")
	f.StringVar(&d.student, "student", "", "student `MODEL`")
	flags.Add(f, d.New.Settings().Without("random").In("", "New"))
	f.StringVar(&d.init, "init", "teacher", "weights of the student: the teacher's most important ones, or random")
	flags.Add(f, d.Augment.Settings())
	flags.Add(f, d.Settings().Without("max-length"))
	d.task.register(f, true)
	return c
}

func (d *distillFlags) run(c *cobra.Command) (err error) {
	if err := d.check(c); err != nil {
		return err
	}
	temporary := d.Cache == ""
	if temporary {
		d.Cache = filepath.Join(d.Output, train.StateDir, "teacher")
	}
	release, err := claimOutputs(c, d.Job.Options.Options, distill.CheckOutput)
	if err != nil {
		return err
	}
	defer release()
	var opened []*checkpoints.Model
	defer func() {
		for _, m := range opened {
			m.Close()
		}
	}()
	open := func(flag, path string) (*checkpoints.Model, error) {
		m, err := d.app.openCheckpoint(flag, path)
		if err == nil {
			opened = append(opened, m)
		}
		return m, err
	}
	if err := d.read(open); err != nil {
		return err
	}
	_, result, err := d.Run(c.Context(), opened[0])
	var wrong *settings.Error
	if path := map[string]string{"Words": d.augmentMLM, "Unlabeled": d.unlabeled}; errors.As(err, &wrong) && path[wrong.Field] != "" {
		return settings.Errorf(wrong.Field, "%s: %w", path[wrong.Field], wrong.Err)
	}
	if err == nil && temporary {
		err = os.RemoveAll(d.Cache)
	}
	if err != nil {
		return err
	}
	return d.app.printResult(result, d.Output)
}

// check completes the settings, reports what does not go together, and reads the
// stages, if there are any.
func (d *distillFlags) check(c *cobra.Command) (err error) {
	if err := d.checkInputs(c); err != nil {
		return err
	}
	if err := d.checkStudent(c.Flags().Changed("init")); err != nil {
		return err
	}
	if len(d.weights) > 0 && len(d.weights) != len(d.teachers) {
		return flags.Usagef("--teacher-weights: %d weights for %d teachers", len(d.weights), len(d.teachers))
	}
	d.app.completeTraining(&d.Job.Options.Options, d.task.maxLength)
	if err := d.checkLosses(c); err != nil {
		return err
	}
	augment := append(d.Augment.Settings(), settings.Setting{Name: "augment-mlm", Value: &d.augmentMLM, With: []string{"augment"}})
	if err := flags.CheckIdle(c.Flags(), augment); err != nil {
		return err
	}
	if err := d.Validate(); err != nil {
		return err
	}
	switch d.stages {
	case "":
	case "tinybert":
		d.Stages = distill.TinyBERT()
	default:
		d.Stages, err = distill.ReadStages(d.stages)
	}
	return flags.Named("stages", err)
}

// checkInputs reports flags that the kind of distillation does not read.
func (d *distillFlags) checkInputs(c *cobra.Command) error {
	given := c.Flags().Changed
	if !d.general {
		if given("text") {
			return flags.Usagef("--text is read by --general alone; --unlabeled adds to a task's examples")
		}
		return flags.Require(c, "teacher", "task", "train", "dev", "output")
	}
	if err := flags.Require(c, "teacher", "text", "output"); err != nil {
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

// checkStudent reports flags that do not say how the student is made.
func (d *distillFlags) checkStudent(initialized bool) error {
	s := &d.New
	s.Random = d.init == "random"
	switch {
	case d.init != "teacher" && d.init != "random":
		return flags.Usagef("--init: %q, expected teacher or random", d.init)
	case d.student == "" && s.Layers == 0 && len(s.TeacherLayers) == 0:
		return flags.Usagef("one of --student, --layers and --teacher-layers is required")
	case d.student != "" && (s.Size != distill.Size{} || len(s.TeacherLayers) > 0 || initialized):
		return flags.Usagef("--student excludes --layers, --teacher-layers, --hidden, --heads, --ffn and --init")
	case s.Layers != 0 && len(s.TeacherLayers) > 0 && s.Layers != len(s.TeacherLayers):
		return flags.Usagef("--layers: %d, but --teacher-layers names %d", s.Layers, len(s.TeacherLayers))
	}
	return settings.In("New", s.Settings().Check())
}

// read opens the teachers, the student and what else the flags name.
func (d *distillFlags) read(open func(flag, path string) (*checkpoints.Model, error)) (err error) {
	teachers := make([]distill.Teacher, len(d.teachers))
	for i, path := range d.teachers {
		if teachers[i].Model, err = open("teacher", path); err != nil {
			return err
		}
		if teachers[i].Weight = 1; len(d.weights) > 0 {
			teachers[i].Weight = d.weights[i]
		}
	}
	d.TeacherWeight, d.Ensemble = teachers[0].Weight, teachers[1:]
	if err := d.Validate(); err != nil {
		return err
	}
	if d.general {
		d.Text, err = data.ReadText(d.text)
		err = flags.Named("text", err)
	} else {
		d.Train, d.Dev, err = d.task.sets(teachers[0].Model, true)
	}
	if err != nil {
		return err
	}
	for _, t := range d.Ensemble { // of a task: a general distillation has one teacher
		d.task.Note(t.Model.Config, d.Train)
	}
	if d.unlabeled != "" {
		if d.Unlabeled, err = d.task.ReadUnlabeled(d.unlabeled, d.Train.Task.Labels); err != nil {
			return flags.Named("unlabeled", err)
		}
	}
	if d.student != "" {
		if d.Student, err = open("student", d.student); err != nil {
			return err
		}
	}
	if d.augmentMLM != "" {
		if d.Words, err = open("augment-mlm", d.augmentMLM); err != nil {
			return err
		}
		if d.Words.Config.Head.Outputs() != head.Tokens {
			return fmt.Errorf("--augment-mlm: the head of %s does %s, expected %s", d.augmentMLM, d.Words.Config.Head, head.MaskedLM)
		}
	}
	return nil
}
