package main

import (
	"fmt"
	"io"
	"os"
	"strings"

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
		Long: `Answer for or embed the rows of whole files: JSONL, CSV, TSV, Parquet and plain text, the first and the last also
compressed by gzip or zstd. All columns stay, and the answers of the models are added. The output directory gets parts,
whose names and bytes follow from the input, and a manifest once all are there. A run that was stopped goes on when it
is called again. With --shard several processes, here or on other machines, share the work; the last one that ends writes
the manifest. Where the output is of another model, input or setting, score ends at once unless --overwrite is given.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := flags.Require(c, "model", "input", "output"); err != nil {
				return err
			}
			for _, arg := range models {
				name, path, ok := strings.Cut(arg, "=")
				if _, err := os.Stat(arg); !ok || err == nil {
					name, path = "", arg
				}
				o.Models = append(o.Models, score.Model{Name: name, Path: path})
			}
			o.Threads, o.Progress = app.common.threads, app.progress()
			r, err := score.Run(c.Context(), o)
			if err != nil {
				return err
			}
			return app.show(r, func(w io.Writer) error {
				state := "complete: " + o.Output + " has the manifest"
				if !r.Complete {
					state = "parts of other shards are missing"
				}
				_, err := fmt.Fprintf(w, "%d rows, %d bad, in %d parts (%d were there), %.1f s, %s\n", r.Rows, r.Bad, r.Parts, r.Earlier, r.Seconds, state)
				return err
			})
		},
	}
	f := c.Flags()
	f.StringArrayVar(&models, "model", nil, "`[NAME=]MODEL` that answers; several need names, which begin those of their columns")
	flags.Sets(f, "model", "Models")
	f.StringArrayVar(&o.Inputs, "input", nil, "`FILE` or pattern, such as 'in/*.jsonl.zst'; may be given several times")
	flags.Sets(f, "input", "Inputs")
	f.StringVarP(&o.Output, "output", "o", "", "`DIRECTORY` of the parts")
	flags.Add(f, o.Settings().Without("threads"))
	return c
}
