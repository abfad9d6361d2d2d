package main

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"

	"github.com/spf13/cobra"

	"github.com/skive-ml/skive/evaluate"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/internal/flags"
	"github.com/skive-ml/skive/internal/lines"
	"github.com/skive-ml/skive/internal/textkeys"
)

func (app *skive) newPredict() *cobra.Command {
	var o infer.Options
	var model string
	c := &cobra.Command{
		Use:   "predict",
		Short: "Answer for or embed the lines of standard input",
		Long: `Predict reads one input per line: plain text, or a JSON object {"text": ..., "text_pair": ...}, for a multiple choice
{"text": ..., "choices": [...]}. Other keys are ignored, unless they look like one of these misspelt.

It writes one answer per line. The model's head decides which: the label and its probability; all labels that hold; a
number; the choice; each word with its label; or what may replace each [MASK]. With --embedding it is the embedding
as a JSON array. Texts are then cut and get a prompt as the files of a sentence-transformers model say
(max_seq_length, default_prompt_name).`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := o.Settings().Check(); err != nil {
				return err
			}
			p, err := app.openPredictor(model, o)
			if errors.Is(err, infer.ErrOption) {
				return flags.Usage{Err: flags.Locate(c.Flags(), err)}
			}
			if err != nil {
				return flags.Named("model", err)
			}
			defer p.Close()
			app.printNotes(model, p.Notes())
			var once, header sync.Once
			unsure := o.Embedding == "" && !app.common.quiet && evaluate.MayWantPairs(p.Config())
			return lines.Answer(c.Context(), app.in, app.out, linesAhead*app.common.threads, func(ctx context.Context, line string) ([]byte, error) {
				if textkeys.Header(line) && !app.common.quiet {
					header.Do(app.noteHeader)
				}
				input, err := infer.ParseInput(line)
				if err != nil {
					return nil, err
				}
				if unsure && !input.HasPair {
					once.Do(func() { app.noteSingle(model) })
				}
				if o.Embedding != "" {
					return infer.EmbeddingLine(ctx, p, input)
				}
				return infer.Line(ctx, p, input, app.common.json)
			})
		},
	}
	f := c.Flags()
	f.StringVar(&model, "model", "", "`MODEL` that predicts")
	flags.Add(f, o.Settings())
	return c
}

// openPredictor opens a model as a pool of instances with one thread each, because a line is too
// short for more.
func (app *skive) openPredictor(path string, o infer.Options) (*infer.Pool, error) {
	if app.alone { // almost everything allocated before the first answer stays
		defer debug.SetGCPercent(debug.SetGCPercent(-1))
	}
	return infer.OpenPool(path, infer.PoolOptions{Options: o, Instances: app.common.threads})
}

// noteHeader says that a line that looks like a table's first line is taken for a text.
func (app *skive) noteHeader() {
	fmt.Fprintln(app.errs, "skive: a line looks like the names of a table's columns; each line is taken for one text, skive score reads tables")
}

// noteSingle says that a model, or a file for a model that may want pairs, has only one text.
func (app *skive) noteSingle(path string) {
	fmt.Fprintf(app.errs, "skive: %s: one text, not a pair; a reranker or another model of pairs expects {\"text\": ..., \"text_pair\": ...}\n", path)
}

// linesAhead is how many lines each instance works on at the same time: two batches of short
// lines.
const linesAhead = 64
