package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/compress"
	"github.com/skive-ml/skive/internal/flags"
)

func (app *skive) newExport() *cobra.Command {
	var o compress.ExportOptions
	var model, output string
	var overwrite bool
	c := &cobra.Command{
		Use:   "export",
		Short: "Write a model in another format",
		Long: `Write a model in another format.

hf is a Hugging Face directory, which stock transformers can load; for a pruned model this needs --pad. onnx is an
ONNX graph for ONNX Runtime and similar programs. PATH is the file if it ends in .onnx, and otherwise a directory for
model.onnx. The graph is interpreted on sample inputs and compared with the engine before it is written. Both formats
include config.json, the tokenizer's files and those of sentence-transformers. skive is one file for Skive itself.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := o.Validate(); err != nil {
				return err
			}
			try := checkpoints.TryDirectory
			file, free := o.Output(output)
			if file {
				try = checkpoints.TryFile
			}
			release, err := claimOutput(c, output, try, unless(overwrite, free))
			if err != nil {
				return err
			}
			defer release()
			m, err := app.openCheckpoint("model", model)
			if err != nil {
				return err
			}
			made, err := compress.Export(m, o, output)
			if err != nil {
				return err
			}
			if made.Graph != nil {
				return app.show(made.Graph, made.Graph.WriteText)
			}
			if o.Format == compress.HuggingFace && !made.Model.Config.Stock() {
				app.noteNotStock(made.Model)
			}
			return app.showSize(made.Model, output, m.Parameters())
		},
	}
	f := c.Flags()
	f.StringVar(&model, "model", "", "`MODEL` to export")
	flags.Add(f, o.Settings())
	f.StringVarP(&output, "output", "o", "", "`PATH` to write")
	overwriteFlag(f, &overwrite)
	return c
}

// noteNotStock says that stock transformers cannot load a directory, and what helps.
func (app *skive) noteNotStock(m *checkpoints.Model) {
	remedy := "with --pad it can"
	if _, err := m.Pad(); err != nil {
		remedy = err.Error()
	}
	if !app.common.quiet {
		fmt.Fprintf(app.errs, "note: its heads are pruned or its layers differ in size, which stock transformers cannot load; %s\n", remedy)
	}
}
