package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/skive-ml/skive/checkpoints/hub"
	"github.com/skive-ml/skive/internal/flags"
)

func (app *skive) newPull() *cobra.Command {
	return &cobra.Command{
		Use:   "pull OWNER/NAME[@REVISION]",
		Short: "Download a model from the Hugging Face Hub",
		Long: `Download a model from the Hugging Face Hub and print its directory, for use with --model.

It goes to the cache that it shares with the Python library huggingface_hub. HF_ENDPOINT, HF_TOKEN, HF_HUB_CACHE and
HF_HOME have the same meaning. An interrupted download continues where it was, and every file is checked against the
hub's hash.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			o, err := hub.FromEnvironment()
			if err != nil {
				return err
			}
			model, revision, given := strings.Cut(args[0], "@")
			if given && revision == "" {
				return flags.Usagef("%s: a branch, tag or commit is missing after the @", args[0])
			}
			o.Progress = app.progress()
			s, err := hub.Pull(c.Context(), model, revision, o)
			if errors.Is(err, hub.ErrName) {
				return flags.Usage{Err: err}
			}
			if err != nil {
				return err
			}
			return app.show(s, func(w io.Writer) error {
				_, err := fmt.Fprintln(w, s.Directory)
				return err
			})
		},
	}
}
