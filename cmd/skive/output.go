package main

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/compress"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/internal/flags"
	"github.com/skive-ml/skive/internal/shell"
)

// overwriteFlag adds the flag for commands that replace existing files only if they are told to.
func overwriteFlag(f *pflag.FlagSet, to *bool) {
	f.BoolVar(to, "overwrite", false, "replace existing output")
}

// claimOutput reserves the output of a command for as long as it runs. It then tries to write
// there, and finally calls free, if not nil, to check what exists. All this happens before any
// work.
func claimOutput(c *cobra.Command, path string, try func(path string) error, free func(path string) error) (release func(), err error) {
	ctx, release, err := checkpoints.Claim(c.Context(), path)
	if err != nil {
		return nil, flags.Named("output", err)
	}
	if err = try(path); err == nil && free != nil {
		err = free(path)
	}
	if err != nil {
		release()
		return nil, flags.Named("output", err)
	}
	c.SetContext(ctx)
	return release, nil
}

// unless returns a check of what exists, or nil if it may be overwritten.
func unless(overwrite bool, free func(path string) error) func(path string) error {
	if overwrite {
		return nil
	}
	return free
}

// advice says what helps against an error: how to continue a stopped run, which flags decide
// about existing files, or which flag names a column. It begins with what joins it to the error.
// It is "" if nothing helps.
func advice(c *cobra.Command, args []string, err error) string {
	shown := func(name string) bool {
		f := c.Flags().Lookup(name)
		return f != nil && !f.Hidden
	}
	var there *checkpoints.ExistsError
	var column *data.ColumnError
	switch {
	case errors.As(err, &column) && shown(flags.Of(c.Flags(), column.Option)):
		return "; --" + flags.Of(c.Flags(), column.Option) + " names another"
	case errors.Is(err, infer.ErrNoHead) && shown("embedding"):
		return "; --embedding model, mean or cls asks for embeddings"
	case errors.Is(err, infer.ErrNoHead):
		return "; skive train gives it one"
	case errors.As(err, &there) && there.Resumable && shown("resume"):
		return ": --resume continues it, --overwrite starts again"
	case errors.As(err, &there) && shown("overwrite"):
		return ": --overwrite replaces it"
	case !errors.Is(err, context.Canceled):
	case c.Name() == "compress" || c.Name() == "score":
		if _, err := os.Stat(c.Flag("output").Value.String()); err == nil {
			return "; continue with: " + shell.Line("skive", anew(args))
		}
	case shown("resume"):
		if unfinished(c) {
			again := anew(args)
			if !c.Flags().Changed("resume") {
				again = append(again, "--resume")
			}
			return "; continue with: " + shell.Line("skive", again)
		}
	}
	return ""
}

// anew returns the arguments of a call that continues from what this one has written.
func anew(args []string) []string {
	return slices.DeleteFunc(slices.Clone(args), func(arg string) bool { return strings.HasPrefix(arg, "--overwrite") })
}

// unfinished tells whether the output directory of a command holds a run that can continue.
func unfinished(c *cobra.Command) bool {
	var there *checkpoints.ExistsError
	return errors.As(compress.CheckPruned(c.Flag("output").Value.String()), &there) && there.Resumable
}
