package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/distill"
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
}

func (app *skive) newDistill() *cobra.Command {
	d := &distillFlags{app: app, task: app.newTask(), Job: distill.JobDefaults()}
	c := &cobra.Command{
		Use:   "distill",
		Short: "Teach a student what a teacher knows",
		Long: `Teach a student what a teacher knows.

The output directory gets the student that was best on --dev (of equally good ones the first) and the state of the
run, with --stages that of each stage. --resume continues a run that was stopped. If there is a run or a model
already, distill ends at once unless --resume or --overwrite is given.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return d.run(c) },
	}
	f := c.Flags()
	f.StringArrayVar(&d.teachers, "teacher", nil, "teacher `MODEL`; several are an ensemble, and the first gives the hidden states")
	f.Float64SliceVar(&d.weights, "teacher-weights", nil, "`WEIGHTS` of the teachers' logits, separated by commas (default equal)")
	f.Lookup("teacher-weights").DefValue = ""
	flags.Sets(f, "teacher-weights", "TeacherWeight", "Ensemble")
	f.StringVar(&d.stages, "stages", "", "YAML `FILE` with a list of stages, or tinybert for TinyBERT's two stages")
	f.StringVar(&d.unlabeled, "unlabeled", "", "`FILE` with further examples, whose labels are not read; plain text in .txt")
	f.BoolVar(&d.General, "general", false, "task-agnostic distillation on --text, without losses on predictions")
	f.StringVar(&d.text, "text", "", "plain text `FILE` for --general, may be .gz")
	f.StringVar(&d.Shards, "teacher-shards", "", "`DIR` with the teacher's outputs for --general, instead of --text; --make-shard fills it")
	flags.Add(f, settings.Table{{Name: "make-shard", Field: "Make", Value: &d.Make,
		Doc: "`I/N`: compute share I (from 0) of N of --teacher-shards from --text, for the same losses, and train nothing"}})
	f.StringVar(&d.augmentMLM, "augment-mlm", "", "masked language `MODEL` that finds the words for --augment, instead of the teacher's embeddings")
	flags.Sets(f, "augment-mlm", "Words")
	f.StringVar(&d.student, "student", "", "student `MODEL`")
	student := d.New.Settings().Without("random").In("", "New")
	flags.Add(f, student)
	f.StringVar(&d.init, "init", "teacher", "weights of the student: the teacher's most important ones, or random")
	flags.Add(f, d.Augment.Settings().In("", "Augment"))
	addTraining(f, d.Settings())
	d.task.register(f, true)

	flags.GoesWith(f, []string{"general"}, "text", "teacher-shards")
	flags.GoesWith(f, []string{"teacher-shards"}, "make-shard")
	flags.Excludes(f, []string{"make-shard"}, "output")
	flags.GoesWith(f, []string{"augment"}, "augment-mlm")
	flags.GoesWith(f, []string{"stages"}, train.OfLabels...) // stages may have losses against labels
	flags.Excludes(f, []string{"general"}, "task", "train", "dev", "text-column", "pair-column", "label-column", "unlabeled", "augment", "stages")
	flags.Excludes(f, []string{"student"}, append(flags.Names(student), "init")...)
	flags.Excludes(f, []string{"stages"}, flags.Names(d.Losses.Settings())...)
	return c
}

func (d *distillFlags) run(c *cobra.Command) (err error) {
	if err := d.check(c); err != nil {
		return err
	}
	if d.Make.Of == 0 {
		release, err := claimOutputs(c, d.Job.Options.Options, distill.CheckOutput)
		if err != nil {
			return err
		}
		defer release()
	}
	teacher, err := d.read()
	if err != nil {
		return err
	}
	_, result, err := d.Run(c.Context(), teacher)
	if err != nil {
		return err
	}
	if d.Make.Of > 0 {
		complete := distill.CheckShards(d.Shards) == nil
		return d.app.show(map[string]bool{"complete": complete}, func(w io.Writer) error {
			_, err := fmt.Fprintf(w, "%s: complete: %v\n", d.Shards, complete)
			return err
		})
	}
	return d.app.printResult(result, d.Output)
}

// check completes the settings, reports combinations that are not allowed, and reads the stages,
// if there are any.
func (d *distillFlags) check(c *cobra.Command) (err error) {
	required := []string{"task", "train", "dev", "output"}
	switch {
	case d.Make.Of > 0:
		required = []string{"text", "teacher-shards"}
	case d.Shards != "":
		required = []string{"output"}
	case d.General:
		required = []string{"text", "output"}
	}
	if err := flags.Require(c, required...); err != nil {
		return err
	}
	if err := flags.RequireOne(c, "student", "layers", "teacher-layers"); err != nil {
		return err
	}
	given := c.Flags().Changed
	switch n := len(d.teachers); {
	case d.init != "teacher" && d.init != "random":
		return flags.Usagef("--init: %q, expected teacher or random", d.init)
	case len(d.weights) > 0 && len(d.weights) != n:
		return flags.Usagef("--teacher-weights: %d weights for %d teachers", len(d.weights), n)
	case d.General && n > 1:
		return flags.Usagef("--teacher: %d teachers, expected one for a --general distillation, which has no logits to average", n)
	case d.Shards != "" && d.Make.Of == 0 && d.text != "":
		return flags.Usagef("--text: --teacher-shards has the examples, unless --make-shard fills it")
	case given("temperature-end") && d.TemperatureSchedule == distill.Constant:
		return flags.Usagef("--temperature-end goes with --temperature-schedule linear or cosine")
	}
	d.New.Random = d.init == "random"
	teachers := make([]distill.Teacher, len(d.teachers)) // opened later
	for i := range teachers {
		if teachers[i].Weight = 1; len(d.weights) > 0 {
			teachers[i].Weight = d.weights[i]
		}
	}
	d.TeacherWeight, d.Ensemble = teachers[0].Weight, teachers[1:]
	d.app.completeTraining(&d.Job.Options.Options, d.task.maxLength)
	if d.General && !given("soft") {
		d.Soft = 0
		if err := flags.CheckTogether(c.Flags()); err != nil {
			return err
		}
	}
	if err := d.Validate(); err != nil {
		return err
	}
	if d.stages != "" {
		d.Stages, err = distill.ReadStages(d.stages)
	}
	return flags.Named("stages", err)
}

// read opens the teachers, the student and the other files that flags name. It returns the first
// teacher.
func (d *distillFlags) read() (teacher *checkpoints.Model, err error) {
	for i, path := range d.teachers {
		m, err := d.app.openCheckpoint("teacher", path)
		if err != nil {
			return nil, err
		}
		if i == 0 {
			teacher = m
		} else {
			d.Ensemble[i-1].Model = m
		}
	}
	if d.student != "" {
		if d.Student, err = d.app.openCheckpoint("student", d.student); err != nil {
			return nil, err
		}
	}
	if d.augmentMLM != "" {
		if d.Words, err = d.app.openCheckpoint("augment-mlm", d.augmentMLM); err != nil {
			return nil, err
		}
	}
	if d.General && d.text == "" {
		return teacher, flags.Named("teacher-shards", distill.CheckShards(d.Shards))
	}
	if d.General {
		d.Text, err = data.ReadText(d.text)
		return teacher, flags.Named("text", err)
	}
	if d.Train, d.Dev, err = d.task.sets(teacher, true); err != nil {
		return nil, err
	}
	for _, t := range d.Ensemble {
		d.task.Note(t.Model.Config, d.Train)
	}
	if d.unlabeled != "" {
		d.Unlabeled, err = d.task.ReadUnlabeled(d.unlabeled, d.Train)
	}
	return teacher, flags.Named("unlabeled", err)
}
