package main

import (
	"errors"
	"slices"

	"github.com/spf13/cobra"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/evaluate"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/internal/flags"
	"github.com/skive-ml/skive/serve"
)

func (app *skive) newReference() *cobra.Command {
	var o infer.Options
	var model, file, output string
	var overwrite bool
	c := &cobra.Command{
		Use:   "reference",
		Short: "Store statistics of typical inputs in a model, so that skive serve can measure drift",
		Long: `Reference answers a file with one input per line, as for predict. It writes the model with shares of what it saw:
labels, scores, lengths in tokens, unknown tokens. No text is stored. skive serve then measures how far requests are
from that (skive_drift). Any later change of the model drops the shares, so reference comes last.

A sentence-transformers model gives embeddings because its files say so; for other models use --embedding.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := o.Settings().Check(); err != nil {
				return err
			}
			release, err := claimOutput(c, output, checkpoints.TryFile, unless(overwrite, checkpoints.CheckFree))
			if err != nil {
				return err
			}
			defer release()
			m, err := app.openCheckpoint("model", model)
			if err != nil {
				return err
			}
			if o.Embedding == "" {
				o.Embedding, _ = serve.EmbeddingOf(m)
			}
			inputs, err := evaluate.ReadLines(file)
			if err != nil {
				return flags.Named("data", err)
			}
			p, err := infer.NewPool(m, infer.PoolOptions{Options: o, Instances: app.common.threads})
			if errors.Is(err, infer.ErrOption) {
				return flags.Usage{Err: flags.Locate(c.Flags(), err)}
			}
			if err != nil {
				return flags.Named("model", err)
			}
			stage, err := serve.Reference(c.Context(), p, inputs)
			if err = errors.Join(err, p.Close()); err != nil {
				return err
			}
			m.Provenance = append(slices.DeleteFunc(slices.Clone(m.Provenance), func(s checkpoints.Stage) bool { return s.Name == stage.Name }), stage)
			if err := m.SaveSkive(output); err != nil {
				return err
			}
			return app.showSize(m, output, m.Parameters())
		},
	}
	f := c.Flags()
	f.StringVar(&model, "model", "", "`MODEL` whose inputs and answers are measured")
	f.StringVar(&file, "data", "", "`FILE` with one input per line, as for predict")
	f.StringVarP(&output, "output", "o", "", "`FILE.skive` to write")
	flags.Add(f, o.Settings().Only("dtype", "embedding", "prompt", "max-length"))
	overwriteFlag(f, &overwrite)
	return c
}
