package main

import (
	"github.com/spf13/cobra"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/distill"
)

func newDistill() *cobra.Command {
	var (
		task                    taskFlags
		flags                   trainingFlags
		teacher, student        string
		size                    distill.Size
		losses                  distill.Losses
		hiddenMap, relationsMap string
	)
	c := &cobra.Command{
		Use:   "distill",
		Short: "Teach a student what a teacher knows",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := require(c, "teacher", "task", "train", "dev", "output"); err != nil {
				return err
			}
			if (student == "") == (size.Layers == 0) {
				return usagef("one of --student and --layers is required")
			}
			o := distill.Defaults()
			stage := o.Stage
			var err error
			if o.Options, err = flags.options(task.maxLength); err != nil {
				return err
			}
			o.Losses, o.Stage = losses, stage
			if o.HiddenMap, err = distill.ParseLayerMap(hiddenMap); err != nil {
				return usagef("--hidden-map: %w", err)
			}
			if o.RelationMap, err = distill.ParseLayerMap(relationsMap); err != nil {
				return usagef("--relations-map: %w", err)
			}
			if err := o.Validate(); err != nil {
				return usagef("--%w", err)
			}
			from, err := openCheckpoint(teacher)
			if err != nil {
				return err
			}
			defer from.Close()
			to, err := openStudent(from, student, size, o.Seed)
			if err != nil {
				return err
			}
			defer to.Close()
			trainSet, devSet, err := task.sets(from)
			if err != nil {
				return err
			}
			if err := checkOutput(o.Output); err != nil {
				return err
			}
			_, result, err := distill.Run(c.Context(), from, to, trainSet, devSet, o)
			if err != nil {
				return err
			}
			return printResult(result, o.Output)
		},
	}
	f := c.Flags()
	f.StringVar(&teacher, "teacher", "", "teacher `MODEL`")
	f.StringVar(&student, "student", "", "student `MODEL`")
	f.IntVar(&size.Layers, "layers", 0, "make a student of this many of the teacher's layers")
	f.IntVar(&size.Hidden, "hidden", 0, "hidden size of a fresh student (default the teacher's, whose layers it then copies)")
	f.IntVar(&size.Heads, "heads", 0, "attention heads of a fresh student")
	f.IntVar(&size.Intermediate, "ffn", 0, "feed-forward units of a fresh student")
	d := distill.Defaults()
	f.Float64Var(&losses.Soft, "soft", d.Soft, "weight of the cross-entropy against the teacher's probabilities")
	f.Float64Var(&losses.Temperature, "temperature", d.Temperature, "temperature of those probabilities")
	f.Float64Var(&losses.Hard, "hard", d.Hard, "weight of the cross-entropy against the labels")
	f.Float64Var(&losses.Hidden, "hidden-loss", d.Hidden, "weight of the hidden states' distance")
	f.StringVar(&losses.HiddenDistance, "hidden-distance", d.HiddenDistance, "mse or cosine")
	f.StringVar(&hiddenMap, "hidden-map", "uniform", "teacher layer of each student layer: uniform, last, or pairs")
	f.Float64Var(&losses.Relations, "relations", d.Relations, "weight of the self-attention relations' divergence")
	f.IntVar(&losses.RelationHeads, "relation-heads", d.RelationHeads, "heads of the relations (default the student's)")
	f.StringVar(&relationsMap, "relations-map", "uniform", "as --hidden-map, for the relations")
	task.register(f, true)
	flags.register(f)
	return c
}

// openStudent opens --student or makes one from the teacher.
func openStudent(teacher *checkpoints.Model, path string, size distill.Size, seed uint64) (*checkpoints.Model, error) {
	switch {
	case path != "":
		return openCheckpoint(path)
	case size.Hidden == 0 && size.Heads == 0 && size.Intermediate == 0:
		total := len(teacher.Config.Layers)
		if size.Layers > total {
			return nil, usagef("--layers: %d is more than the teacher's %d", size.Layers, total)
		}
		return distill.StudentFromLayers(teacher, distill.UniformLayers(size.Layers, total))
	}
	return distill.NewStudent(teacher, size, seed)
}
