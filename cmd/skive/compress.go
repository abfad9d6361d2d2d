package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/skive-ml/skive/compress"
)

func newCompress() *cobra.Command {
	var (
		task                      taskFlags
		recipeFile, model, output string
		printRecipe               bool
		priceHour, maxDrop        float64
		targetMS, targetSpeedup   float64
		instances                 int
		seed                      uint64
	)
	c := &cobra.Command{
		Use:   "compress",
		Short: "Run the whole recipe: teacher, student, pruning, int8, and the report",
		Long: `Compress trains a teacher, distills a student, prunes it, distills again, quantizes to int8 and measures every step.

With neither --model nor --recipe it runs the embedded default: a generated task and a teacher trained from scratch. It
needs no files and takes some minutes. Stopped and called again with the same -o, it goes on where it was; with other
settings it does again what depends on them, keeps what that replaces in NAME.previous, and takes it up with its settings.

The student is pruned by the recipe's shares; or, with --target-ms or --target-speedup, to a latency measured on this
machine, with as many cuts and recoveries as that takes. --max-drop bounds what the metric may lose on the way: exit 1
says that no model is good enough, or none at the target. A target that no student reaches is refused at once.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			given := c.Flags().Changed
			for name, x := range map[string]float64{"target-ms": targetMS, "target-speedup": targetSpeedup} {
				if given(name) && !(x > 0) {
					return usagef("--%s: %g, expected more than 0", name, x)
				}
			}
			if given("max-drop") && maxDrop == 0 {
				return usagef("--max-drop: 0, expected more than 0 to 100 points; without the flag, the recipe's variants are taken whatever they lose")
			}
			if given("target-ms") && given("target-speedup") {
				return usagef("--target-ms and --target-speedup exclude one another")
			}
			change := func(recipe *compress.Recipe) {
				set := func(name string, apply func()) {
					if given(name) {
						apply()
					}
				}
				set("model", func() { recipe.Model = model })
				set("task", func() { recipe.Task = task.task })
				set("train", func() { recipe.Train = task.train })
				set("dev", func() { recipe.Dev = task.dev })
				set("text-column", func() { recipe.TextColumn = task.text })
				set("pair-column", func() { recipe.PairColumn = task.pair })
				set("label-column", func() { recipe.LabelColumn = task.label })
				set("max-length", func() { recipe.MaxLength = task.maxLength })
				set("price-hour", func() { recipe.PriceHour = priceHour })
				set("instances", func() { recipe.Instances = instances })
				set("max-drop", func() { recipe.MaxDrop = maxDrop })
				set("target-ms", func() { recipe.TargetMS, recipe.TargetSpeedup, recipe.Prune = targetMS, 0, nil })
				set("target-speedup", func() { recipe.TargetMS, recipe.TargetSpeedup, recipe.Prune = 0, targetSpeedup, nil })
				set("seed", func() { recipe.Seed = seed })
			}
			var recipe compress.Recipe
			var err error
			switch {
			case recipeFile != "":
				if recipe, err = compress.ReadRecipe(recipeFile, change); err != nil {
					err = fmt.Errorf("--recipe: %w", err)
				}
			case model != "":
				if err := require(c, "task", "train", "dev"); err != nil {
					return err
				}
				recipe = compress.ForModel(model, "", "", "")
				change(&recipe)
				err = recipe.Validate()
			default:
				for _, name := range []string{"task", "train", "dev", "text-column", "pair-column", "label-column"} {
					if given(name) {
						return usagef("--%s goes with --model or --recipe", name)
					}
				}
				recipe = compress.Default()
				change(&recipe)
				err = recipe.Validate()
			}
			if err != nil {
				return usageError{recipeByFlag(c, err)}
			}
			if printRecipe {
				if common.json {
					return printJSON(recipe)
				}
				text, err := recipe.YAML()
				if err != nil {
					return err
				}
				_, err = os.Stdout.Write(text)
				return err
			}
			release, err := claimOutput(c, output, checkOutput, nil)
			if err != nil {
				return err
			}
			defer release()
			report, err := compress.Run(c.Context(), recipe, compress.Options{
				Output: output, Threads: common.threads, Progress: common.progress(),
			})
			if err != nil && !errors.Is(err, compress.ErrMaxDrop) {
				return recipeByFlag(c, err)
			}
			if common.json {
				return errors.Join(printJSON(report), err)
			}
			_, perr := fmt.Printf("%s\nwritten: %s\n", report.Table(), filepath.Join(output, "report.{md,json,html}"))
			return errors.Join(perr, err)
		},
	}
	f := c.Flags()
	f.StringVar(&recipeFile, "recipe", "", "recipe `FILE` in YAML; flags override it")
	f.StringVar(&model, "model", "", "pretrained `MODEL` that becomes the teacher")
	task.register(f, true)
	f.Lookup("task").Usage = "`TASK` of one class: a GLUE or SuperGLUE name, or text"
	f.StringVarP(&output, "output", "o", "skive-out", "`DIR` for the models and the report")
	f.BoolVar(&printRecipe, "print-recipe", false, "print the effective recipe and stop")
	f.Float64Var(&priceHour, "price-hour", 0.10, "price of an hour of this machine, in dollars")
	f.IntVar(&instances, "instances", 0, "one-thread engines that serve together (default one for each thread)")
	f.Float64Var(&maxDrop, "max-drop", 0, "prune on until the metric has lost this many `POINTS` (0.5 of 100) against the teacher")
	f.Float64Var(&targetMS, "target-ms", 0, "prune until the int8 engine takes this many `MILLISECONDS` a call, on one thread")
	f.Float64Var(&targetSpeedup, "target-speedup", 0, "prune until it is this many times as fast as the teacher in f32, on one thread")
	refuseZero(f, "instances", "target-ms", "target-speedup")
	f.Uint64Var(&seed, "seed", 1, "seed of everything that is drawn")
	return c
}

// recipeByFlag names a wrong setting of a recipe as the flag that it was given by.
func recipeByFlag(c *cobra.Command, err error) error {
	var setting *compress.SettingError
	if errors.As(err, &setting) {
		if flag := strings.ReplaceAll(setting.Setting, "_", "-"); c.Flags().Changed(flag) {
			return fmt.Errorf("--%s: %w", flag, setting.Err)
		}
	}
	return err
}
