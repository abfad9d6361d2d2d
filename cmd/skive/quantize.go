package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/quantize"
)

func newQuantize() *cobra.Command {
	var model, dtype, output string
	c := &cobra.Command{
		Use:   "quantize",
		Short: "Store a model's weights in fewer bits, as one .skive file",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := require(c, "model", "output"); err != nil {
				return err
			}
			m, err := checkpoints.Open(model)
			if err != nil {
				return err
			}
			defer m.Close()
			q, err := withDType(m, dtype)
			if err != nil {
				return err
			}
			if err := q.SaveSkive(output); err != nil {
				return err
			}
			return printSize(os.Stdout, q, output, m.Parameters())
		},
	}
	f := c.Flags()
	f.StringVar(&model, "model", "", "`MODEL` to quantize")
	f.StringVar(&dtype, "dtype", "int8", "int8, fp16 or bf16")
	f.StringVarP(&output, "output", "o", "", "`FILE.skive` to write")
	return c
}

// withDType stores a model's weights in the number format of a --dtype flag.
func withDType(m *checkpoints.Model, dtype string) (*checkpoints.Model, error) {
	switch dtype {
	case "int8":
		return quantize.Int8(m)
	case "f32":
		return quantize.Floats(m, checkpoints.F32)
	case "fp16":
		return quantize.Floats(m, checkpoints.F16)
	case "bf16":
		return quantize.Floats(m, checkpoints.BF16)
	}
	return nil, usagef("--dtype: %q is not a number format of this command, expected f32, fp16, bf16 or int8", dtype)
}
