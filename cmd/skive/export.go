package main

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/internal/flags"
	"github.com/skive-ml/skive/onnx"
	"github.com/skive-ml/skive/tokenize"
)

// exportFlags are the flags of skive export.
type exportFlags struct {
	app                                     *skive
	model, format, dtype, embedding, output string
	pad, overwrite                          bool
}

func (app *skive) newExport() *cobra.Command {
	e := &exportFlags{app: app}
	c := &cobra.Command{
		Use:   "export",
		Short: "Write a model in another format",
		Long: `Write a model in another format.

hf is a Hugging Face directory, which stock transformers loads; of a pruned model only with --pad. onnx is an ONNX graph
for ONNX Runtime and what understands the same: PATH is the file if it ends in .onnx, otherwise a directory that
receives model.onnx. The graph is interpreted on sample inputs and compared with the engine before it is written.
config.json, the tokenizer's files and those of sentence-transformers go along with both. skive is one file for Skive itself.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return e.run(c) },
	}
	f := c.Flags()
	f.StringVar(&e.model, "model", "", "`MODEL` to export")
	f.StringVar(&e.format, "format", "", "hf (a Hugging Face directory), onnx (a graph) or skive (one file)")
	f.StringVar(&e.dtype, "dtype", "", "f32 or fp16; int8 for onnx and skive; bf16 for hf and skive (default as stored)")
	f.StringVar(&e.embedding, "embedding", "", "mean or cls: an ONNX graph that gives embeddings of unit length instead of labels; model: those of the model's modules.json")
	f.BoolVar(&e.pad, "pad", false, "fill pruned heads and units with zeros, so that stock transformers loads the model")
	f.StringVarP(&e.output, "output", "o", "", "`PATH` to write")
	overwriteFlag(f, &e.overwrite)
	return c
}

// check reports flags that do not go together.
func (e *exportFlags) check(c *cobra.Command) error {
	if err := require(c, "model", "format", "output"); err != nil {
		return err
	}
	switch {
	case e.format != "hf" && e.format != "onnx" && e.format != "skive":
		return flags.Usagef("--format: %q is not known, expected hf, onnx or skive", e.format)
	case e.format == "hf" && e.dtype == "int8":
		return flags.Usagef("--dtype: int8 has no form in a Hugging Face directory, use --format onnx or skive")
	case e.format == "onnx" && e.dtype != "" && e.dtype != infer.F32 && e.dtype != infer.FP16 && e.dtype != infer.Int8:
		return flags.Usagef("--dtype: %q is not a number format of ONNX graphs, expected f32, fp16 or int8", e.dtype)
	case e.format != "onnx" && e.embedding != "":
		return flags.Usagef("--embedding goes with --format onnx, not %s", e.format)
	case e.format == "onnx" && e.pad:
		return flags.Usagef("--pad: an ONNX graph needs no padding, its layers may have any size")
	}
	return checkEmbedding(e.embedding)
}

func (e *exportFlags) run(c *cobra.Command) error {
	if err := e.check(c); err != nil {
		return err
	}
	try, free := checkpoints.TryDirectory, checkpoints.CheckFree
	switch {
	case e.format == "skive" || e.format == "onnx" && strings.HasSuffix(e.output, onnx.Extension):
		try = checkpoints.TryFile
	case e.format == "onnx": // a graph may lie beside the model that it was made of
		free = func(dir string) error { return checkpoints.CheckFree(filepath.Join(dir, onnx.ModelName)) }
	}
	release, err := claimOutput(c, e.output, try, unless(e.overwrite, free))
	if err != nil {
		return err
	}
	defer release()
	m, err := e.app.openCheckpoint("model", e.model)
	if err != nil {
		return err
	}
	defer m.Close()
	if e.format == "onnx" {
		return e.app.exportONNX(m, onnx.Options{DType: e.dtype, Embedding: e.embedding}, e.output)
	}
	out, err := e.convert(m)
	if err != nil {
		return err
	}
	if e.format == "hf" {
		err = e.app.exportHF(out, e.output)
	} else {
		err = out.SaveSkive(e.output)
	}
	if err != nil {
		return err
	}
	return e.app.showSize(out, e.output, m.Parameters())
}

// convert returns the model in the number format of --dtype, padded with --pad.
func (e *exportFlags) convert(m *checkpoints.Model) (out *checkpoints.Model, err error) {
	int8 := m.DType() == checkpoints.I8
	switch {
	case e.format == "hf" && int8 && e.dtype != infer.F32:
		return nil, flags.Usagef("--dtype: %s is int8, which has no form in a Hugging Face directory, expected f32", e.model)
	case int8 && (e.dtype == infer.FP16 || e.dtype == infer.BF16):
		return nil, flags.Usagef("--dtype: %s is int8, expected int8, or f32 for the values of its weights", e.model)
	case int8 && e.pad && e.dtype != infer.F32:
		return nil, flags.Usagef("--pad: %s is int8, expected --dtype f32", e.model)
	}
	out = m
	if e.dtype != "" && !(int8 && e.dtype == infer.Int8) {
		if out, err = withDType(m, e.dtype); err != nil {
			return nil, err
		}
	}
	if e.pad {
		return out.Pad()
	}
	return out, nil
}

func (app *skive) exportONNX(m *checkpoints.Model, o onnx.Options, path string) error {
	r, err := onnx.Export(m, o, path)
	if err != nil {
		return err
	}
	if app.common.json {
		return app.printJSON(r)
	}
	text := fmt.Sprintf("%s: %s, opset %d, %d bytes; self-check within %.1e of the engine\n", r.Model, r.DType, r.Opset, r.Bytes, r.Difference)
	if len(r.Files) > 0 {
		text += fmt.Sprintf("beside it: %s\n", strings.Join(r.Files, ", "))
	}
	_, err = fmt.Fprint(app.out, text)
	return err
}

// exportHF writes a Hugging Face directory whose tokenizer is in the form that
// every loader reads, and says so where stock transformers cannot load it.
func (app *skive) exportHF(m *checkpoints.Model, path string) error {
	out := *m
	if len(m.Tokenizer) > 0 {
		var err error
		if out.Tokenizer, err = tokenize.WithJSON(m.Tokenizer); err != nil {
			return err
		}
	}
	if err := out.SaveHF(path); err != nil {
		return err
	}
	if !m.Config.Stock() && !app.common.quiet {
		remedy := "with --pad it can"
		if _, err := m.Pad(); err != nil {
			remedy = err.Error()
		}
		fmt.Fprintf(app.errs, "note: its heads are pruned or its layers differ in size, which stock transformers cannot load; %s\n", remedy)
	}
	return nil
}
