package main

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/compress"
	"github.com/skive-ml/skive/internal/flags"
	"github.com/skive-ml/skive/internal/keys"
	"github.com/skive-ml/skive/settings"
)

// compressFlags are the flags of skive compress. Those in recipeSettings set given, which
// overrides the recipe.
type compressFlags struct {
	app            *skive
	given          compress.Recipe
	recipe, output string
	print, force   bool
}

// recipeSettings lists the settings of a recipe that have a flag. taskSettings lists those of
// them that are about the data.
var (
	taskSettings   = []string{"task", "train", "dev", "test", "text-column", "pair-column", "label-column"}
	recipeSettings = append([]string{"model", "teacher-model", "new-head", "search", "max-length", "seed", "max-drop", "target-ms", "target-speedup", "instances", "price-hour"}, taskSettings...)
)

func (app *skive) newCompress() *cobra.Command {
	o := compressFlags{app: app, given: compress.Recipe{Seed: 1, PriceHour: compress.Default().PriceHour}}
	c := &cobra.Command{
		Use:   "compress",
		Short: "Run the whole recipe: teacher, student, pruning, int8, and the report",
		Long: `Compress trains a teacher, distills a student, prunes it, distills again, quantizes to int8 and measures every step.

The teacher is --model, fine-tuned on --train. Or it is --teacher, a model that was already fine-tuned on the task
and is taken as it is. Epochs, batches, rates and patience depend on the data and the model unless the recipe gives
them; the choices are printed and are in the report. Without --dev a share of --train is held out. --test measures
the models on a file that affects no choice. The run ends before anything is compressed if the teacher is not better
than the most frequent answer and a linear classifier, with a 95 % interval; --force continues. --search N tries
rates and epochs of the teacher.

Without --model, --teacher and --recipe it runs the built-in default: a generated task and a teacher trained from
scratch. This needs no files and takes some minutes. If you stop the command and call it again with the same -o, it
continues where it was. With other settings it repeats what depends on them. It keeps what that replaces in
NAME.previous, and uses it again if the settings return.

The student is pruned by the recipe's shares. With --target-ms or --target-speedup it is pruned to a latency on this
machine, with as many cuts and recoveries as needed. --max-drop limits how much of the metric may be lost; exit 1
says that no model is good enough, or none that meets the target. A target that no student can reach is refused at
once.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return o.run(c) },
	}
	f := c.Flags()
	f.StringVar(&o.recipe, "recipe", "", "recipe `FILE` in YAML; flags override it")
	f.StringVarP(&o.output, "output", "o", "skive-out", "`DIR` for the models and the report")
	f.BoolVar(&o.print, "print-recipe", false, "print the complete recipe and stop; it leaves out what depends on the data")
	f.BoolVar(&o.force, "force", false, "also compress a teacher that has not learned its task")
	flags.Add(f, o.given.Settings().Only(recipeSettings...))
	flags.RefuseZero(f, "max-drop") // in a recipe 0 takes the variants whatever they lose
	flags.GoesWith(f, []string{"model", "teacher", "recipe"}, taskSettings...)
	flags.Excludes(f, []string{"target-speedup"}, "target-ms")
	return c
}

func (o *compressFlags) run(c *cobra.Command) error {
	recipe, err := o.effective(c)
	if err != nil {
		return err
	}
	if o.print {
		return o.app.show(recipe, func(w io.Writer) error {
			text, err := recipe.YAML()
			if err != nil {
				return err
			}
			_, err = w.Write(text)
			return err
		})
	}
	release, err := claimOutput(c, o.output, checkpoints.TryDirectory, nil)
	if err != nil {
		return err
	}
	defer release()
	report, err := compress.Run(c.Context(), recipe, compress.Options{
		Output: o.output, Threads: o.app.common.threads, Progress: o.app.progress(), Force: o.force,
	})
	var unlearned *compress.UnlearnedError
	if errors.As(err, &unlearned) {
		if unlearned.AsItIs {
			return fmt.Errorf("%w; --force compresses it anyway", err)
		}
		return fmt.Errorf("%w; --search 8 tries rates and epochs, --force compresses it anyway", err)
	}
	if err != nil && !errors.Is(err, compress.ErrMaxDrop) {
		return o.named(c, err)
	}
	if o.app.common.json {
		return errors.Join(o.app.printJSON(report), err)
	}
	_, perr := fmt.Fprintf(o.app.out, "%s\nwritten: %s\n", report.Table(), filepath.Join(o.output, "report.{md,json,html}"))
	return errors.Join(perr, err)
}

// effective returns the recipe that the flags ask for.
func (o *compressFlags) effective(c *cobra.Command) (compress.Recipe, error) {
	if o.recipe == "" && (o.given.Model != "" || o.given.TeacherModel != "") {
		if err := flags.Require(c, "task", "train"); err != nil {
			return compress.Recipe{}, err
		}
	}
	recipe, err := compress.ReadRecipe(o.recipe, func(r *compress.Recipe) { o.override(c, r) })
	var at *keys.Error
	switch {
	case errors.As(err, &at):
		err = flags.Usage{Err: o.named(c, err)}
	case err != nil:
		err = flags.Usage{Err: flags.Named("recipe", err)}
	}
	return recipe, err
}

// override replaces the recipe's settings by those that flags give. A target replaces the shares
// to prune, and any other target.
func (o *compressFlags) override(c *cobra.Command, r *compress.Recipe) {
	given := c.Flags().Changed
	if given("target-ms") || given("target-speedup") {
		r.TargetMS, r.TargetSpeedup, r.Prune = 0, 0, nil
	}
	// A model replaces a teacher that is taken as it is, and the other way round.
	if given("model") != given("teacher") {
		r.Model, r.TeacherModel = "", ""
	}
	flags.Override(c.Flags(), r.Settings(), o.given.Settings().Only(recipeSettings...))
}

// named changes an error so that it names a wrong setting by the flag that gave it, or else by
// its name in the recipe.
func (o *compressFlags) named(c *cobra.Command, err error) error {
	var wrong *settings.Error
	if errors.As(err, &wrong) {
		if name := flags.Of(c.Flags(), wrong.Field); c.Flags().Changed(name) {
			return fmt.Errorf("--%s: %w", name, wrong.Err)
		}
	}
	return compress.ByKey(o.recipe, err)
}
