package infer

import (
	"fmt"
	"slices"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/settings"
)

// maxThreads is the largest number of threads of an engine.
const maxThreads = 1 << 12

// Settings is the table of the options.
func (o *Options) Settings() settings.Table {
	attention := settings.Unless(slices.Contains([]string{"", F32, BF16}, o.AttentionDType), "f32 or bf16")
	if o.PadTo > 0 && o.AttentionDType == BF16 {
		attention = "f32 with padding"
	}
	return settings.Table{
		{Name: "threads", Field: "Threads", Value: &o.Threads,
			Want: settings.Unless(o.Threads >= 0 && o.Threads <= maxThreads, "1 to %d, or 0 for all cores", maxThreads)},
		{Name: "dtype", Field: "DType", Value: &o.DType,
			Doc: "f32, fp16, bf16 or int8 (default as stored)", Want: settings.Unless(slices.Contains([]string{"", F32, FP16, BF16, Int8}, o.DType), "f32, fp16, bf16 or int8")},
		{Name: "attention-dtype", Field: "AttentionDType", Value: &o.AttentionDType,
			Doc: "f32 or bf16, for attention's products (default bf16 in layers that compute in bf16)", Want: attention},
		{Name: "pad-to", Field: "PadTo", Value: &o.PadTo,
			Want: settings.Unless(o.PadTo >= 0, "a number of tokens, or 0 for no padding")},
		{Name: "embedding", Field: "Embedding", Value: &o.Embedding,
			Doc:  "mean or cls: write embeddings of unit length instead of labels; model: those of the model's modules.json",
			Want: settings.Unless(slices.Contains([]string{"", Mean, CLS, OfModel}, o.Embedding), "mean, cls or model")},
		{Name: "prompt", Field: "Prompt", Value: &o.Prompt, With: []string{"embedding"},
			Doc: "`NAME` of a prompt of the model to put before each text, none for none (default the model's default_prompt_name)"},
		{Name: "max-length", Field: "MaxLength", Value: &o.MaxLength, NotZero: true,
			Doc:  "truncate inputs to this number of tokens (default the model's maximum, for embeddings its max_seq_length)",
			Want: settings.Unless(o.MaxLength >= 0, "a positive number of tokens, or 0 for the model's maximum")},
		{Name: "no-mmap", Field: "NoMap", Value: &o.NoMap,
			Doc: "copy what would stay in the mapped file: the model's file may then change meanwhile"},
	}
}

// check reports options that are invalid or do not go with a model. Its errors wrap
// ErrOption and a *settings.Error.
func (o Options) check(c checkpoints.Config) error {
	err := o.Settings().Without("embedding").Check() // that is for SentenceOf to say
	switch most := c.MaxTokens(); {
	case err != nil:
	case o.PadTo > most:
		err = settings.Wrong("PadTo", o.PadTo, "at most the model's %d positions", most)
	case o.MaxLength > most:
		err = settings.Wrong("MaxLength", o.MaxLength, "at most the model's %d positions", most)
	}
	return invalid(err)
}

// invalid makes an error an ErrOption as well.
func invalid(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrOption, err)
}
