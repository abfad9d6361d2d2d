package main

import (
	"github.com/spf13/cobra"

	"github.com/skive-ml/skive/internal/flags"
	"github.com/skive-ml/skive/score"
)

func (app *skive) newScore() *cobra.Command {
	o := score.Defaults()
	var models []string
	c := &cobra.Command{
		Use:   "score",
		Short: "Answer for or embed the rows of whole files",
		Long: `Answer for or embed the rows of whole files: JSONL, CSV, TSV, Parquet and plain text. All formats except Parquet may
be compressed with gzip or zstd. All columns stay, and the answers of the models are added.

The output directory gets parts, whose names and bytes depend on the input, and a manifest once all parts are there.
Call the command again to continue a run that was stopped. With --shard several processes, on this or other machines,
share the work; the last one to end writes the manifest. If the output belongs to another model, input or setting,
score ends at once unless --overwrite is given.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			for _, arg := range models {
				o.Models = append(o.Models, score.ParseModel(arg))
			}
			o.Threads, o.Progress = app.common.threads, app.progress()
			r, err := score.Run(c.Context(), o)
			if err != nil {
				return err
			}
			return app.show(r, r.WriteText)
		},
	}
	f := c.Flags()
	f.StringArrayVar(&models, "model", nil, "`[NAME=]MODEL` that answers; each of several needs a name, which begins the names of its columns")
	flags.Sets(f, "model", "Models")
	f.StringArrayVar(&o.Inputs, "input", nil, "`FILE` or pattern, such as 'in/*.jsonl.zst'; may be given several times")
	flags.Sets(f, "input", "Inputs")
	f.StringVarP(&o.Output, "output", "o", "", "`DIRECTORY` for the parts")
	flags.Add(f, o.Settings().Without("threads"))
	return c
}
