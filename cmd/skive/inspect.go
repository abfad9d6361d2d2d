package main

import (
	"io"

	"github.com/spf13/cobra"

	"github.com/skive-ml/skive/checkpoints"
)

func (app *skive) newInspect() *cobra.Command {
	var diff bool
	c := &cobra.Command{
		Use:   "inspect MODEL | --diff A B",
		Short: "Show what a checkpoint contains, or how two differ",
		Long: `Show what a checkpoint contains: a model in any format, a training state, or a file of weights.

With --diff show how two of them differ: settings, tokenizer files, provenance, and the values of every tensor.`,
		Args: func(c *cobra.Command, args []string) error {
			if diff {
				return cobra.ExactArgs(2)(c, args)
			}
			return cobra.ExactArgs(1)(c, args)
		},
		RunE: func(_ *cobra.Command, args []string) error {
			if diff {
				differences, err := checkpoints.Diff(args[0], args[1])
				if err != nil {
					return err
				}
				return app.show(differences, differences.WriteText)
			}
			info, err := checkpoints.Inspect(args[0])
			if err != nil {
				return err
			}
			return app.show(info, func(w io.Writer) error { return info.WriteText(w, app.common.verbose) })
		},
	}
	c.Flags().BoolVar(&diff, "diff", false, "compare two checkpoints")
	return c
}
