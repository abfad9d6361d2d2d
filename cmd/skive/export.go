package main

import (
	"os"

	"github.com/spf13/cobra"
)

func newExport() *cobra.Command {
	var (
		model, format, dtype, output string
		pad                          bool
	)
	c := &cobra.Command{
		Use:   "export",
		Short: "Write a model in another format",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := require(c, "model", "format", "output"); err != nil {
				return err
			}
			if format != "hf" && format != "skive" {
				return usagef("--format: %q is not known, expected hf or skive", format)
			}
			if format == "hf" && dtype == "int8" {
				return usagef("--dtype: int8 has no form in a Hugging Face directory, use --format skive")
			}
			m, err := openCheckpoint(model)
			if err != nil {
				return err
			}
			defer m.Close()
			out := m
			if dtype != "" {
				if out, err = withDType(m, dtype); err != nil {
					return err
				}
			}
			if pad {
				if out, err = out.Pad(); err != nil {
					return err
				}
			}
			if format == "hf" {
				err = out.SaveHF(output)
			} else {
				err = out.SaveSkive(output)
			}
			if err != nil {
				return err
			}
			return printSize(os.Stdout, out, output, m.Parameters())
		},
	}
	f := c.Flags()
	f.StringVar(&model, "model", "", "`MODEL` to export")
	f.StringVar(&format, "format", "", "hf (a Hugging Face directory) or skive (one file)")
	f.StringVar(&dtype, "dtype", "", "f32, fp16, bf16, or int8 for skive (default as stored)")
	f.BoolVar(&pad, "pad", false, "fill pruned heads and units with zeros, so that stock transformers loads the model")
	f.StringVarP(&output, "output", "o", "", "`PATH` to write")
	return c
}
