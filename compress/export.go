package compress

import (
	"path/filepath"
	"slices"
	"strings"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/distill"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/onnx"
	"github.com/skive-ml/skive/quantize"
	"github.com/skive-ml/skive/settings"
	"github.com/skive-ml/skive/tokenize"
)

// Formats that Export writes.
const (
	HuggingFace = "hf"    // a directory
	ONNX        = "onnx"  // a graph, or a directory with one
	Skive       = "skive" // one file
)

// ExportOptions say how Export writes a model.
type ExportOptions struct {
	// Format is HuggingFace, ONNX or Skive.
	Format string
	// DType is the number format of the weights. "" keeps the model's. It is infer.F32 or FP16,
	// for ONNX and Skive also Int8, and for HuggingFace and Skive also BF16.
	DType string
	// Embedding makes an ONNX graph that computes embeddings, see onnx.Options.
	Embedding string
	// Pad fills in pruned heads and units with zeros, so that unmodified transformers can load
	// the model.
	Pad bool
}

// Settings returns the fields as a table of settings.
func (o *ExportOptions) Settings() settings.Table {
	formats := map[string][]string{
		HuggingFace: {infer.F32, infer.FP16, infer.BF16},
		ONNX:        {infer.F32, infer.FP16, infer.Int8},
		Skive:       {infer.F32, infer.FP16, infer.BF16, infer.Int8},
	}[o.Format]
	graph := o.Format == ONNX
	return settings.Table{
		{Name: "format", Field: "Format", Value: &o.Format, Doc: "hf (a Hugging Face directory), onnx (a graph) or skive (one file)",
			Want: settings.Unless(formats != nil, "hf, onnx or skive")},
		{Name: "dtype", Field: "DType", Value: &o.DType, Doc: "f32 or fp16; int8 for onnx and skive; bf16 for hf and skive (default as stored)",
			Want: settings.Unless(o.DType == "" || slices.Contains(formats, o.DType), "%s in the format %s", strings.Join(formats, ", "), o.Format)},
		{Name: "embedding", Field: "Embedding", Value: &o.Embedding,
			Doc: "mean or cls: an ONNX graph of embeddings of unit length instead of labels; model: embeddings as in the model's modules.json",
			Want: settings.Unless(o.Embedding == "" || graph && slices.Contains([]string{infer.Mean, infer.CLS, infer.OfModel}, o.Embedding),
				"mean, cls or model, of an ONNX graph")},
		{Name: "pad", Field: "Pad", Value: &o.Pad, Doc: "fill pruned heads and units with zeros, so that stock transformers can load the model",
			Want: settings.Unless(!o.Pad || !graph, "none for an ONNX graph, whose layers may have any size")},
	}
}

// Validate reports the first setting that is not usable, as a *settings.Error.
func (o *ExportOptions) Validate() error { return o.Settings().Check() }

// Output tells whether Export writes a file or a directory to path. The function free reports
// what Export would replace there.
func (o *ExportOptions) Output(path string) (file bool, free func(path string) error) {
	switch {
	case o.Format == Skive || o.Format == ONNX && strings.HasSuffix(path, onnx.Extension):
		return true, checkpoints.CheckFree
	case o.Format == ONNX: // a graph may be beside the model from which it was made
		return false, func(dir string) error { return checkpoints.CheckFree(filepath.Join(dir, onnx.ModelName)) }
	}
	return false, distill.CheckOutput // an unfinished run has no model yet
}

// Exported is what Export wrote: a Model, or the report for a Graph.
type Exported struct {
	Model *checkpoints.Model
	Graph *onnx.Report
}

// Export writes a model to path in another format. A Hugging Face directory gets the tokenizer in
// a form that every loader reads.
func Export(m *checkpoints.Model, o ExportOptions, path string) (*Exported, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if o.Format == ONNX {
		graph, err := onnx.Export(m, onnx.Options{DType: o.DType, Embedding: o.Embedding}, path)
		return &Exported{Graph: graph}, err
	}
	out, err := o.convert(m)
	if err != nil {
		return nil, err
	}
	if o.Format == Skive {
		return &Exported{Model: out}, out.SaveSkive(path)
	}
	written := *out
	if len(out.Tokenizer) > 0 {
		if written.Tokenizer, err = tokenize.WithJSON(out.Tokenizer); err != nil {
			return nil, err
		}
	}
	return &Exported{Model: &written}, written.SaveHF(path)
}

// convert returns the model in the number format of the options, and padded if they say so.
func (o *ExportOptions) convert(m *checkpoints.Model) (out *checkpoints.Model, err error) {
	int8 := m.DType() == checkpoints.I8
	switch {
	case o.Format == HuggingFace && int8 && o.DType != infer.F32:
		return nil, settings.Errorf("DType", "the model is int8, which a Hugging Face directory cannot hold, expected f32; with --pad, stock transformers loads a pruned model, too")
	case int8 && (o.DType == infer.FP16 || o.DType == infer.BF16):
		return nil, settings.Errorf("DType", "the model is int8, expected int8, or f32 for the values of its weights")
	case int8 && o.Pad && o.DType != infer.F32:
		return nil, settings.Errorf("DType", "the model is int8, which cannot be padded, expected f32")
	}
	out = m
	if o.DType != "" && !(int8 && o.DType == infer.Int8) {
		if out, err = quantize.Format(m, o.DType); err != nil {
			return nil, err
		}
	}
	if o.Pad {
		return out.Pad()
	}
	return out, nil
}
