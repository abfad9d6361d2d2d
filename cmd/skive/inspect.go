package main

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/skive-ml/skive/checkpoints"
)

func newInspect() *cobra.Command {
	return &cobra.Command{
		Use:   "inspect MODEL",
		Short: "Show what a checkpoint holds",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			info, err := checkpoints.Inspect(args[0])
			if err != nil {
				return err
			}
			if common.json {
				return printJSON(info)
			}
			w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
			cfg := info.Config
			fmt.Fprintf(w, "format\t%s\n", info.Format)
			fmt.Fprintf(w, "architecture\t%s\n", info.Architecture)
			fmt.Fprintf(w, "vocabulary, positions, types\t%d, %d, %d\n", cfg.VocabSize, cfg.MaxPositions, cfg.TypeVocabSize)
			fmt.Fprintf(w, "hidden size, head width\t%d, %d\n", cfg.HiddenSize, cfg.HeadDim)
			fmt.Fprintf(w, "labels\t%q\n", cfg.Labels)
			fmt.Fprintf(w, "dtype\t%s\n", info.DType)
			fmt.Fprintf(w, "parameters\t%d\n", info.Parameters)
			fmt.Fprintf(w, "bytes\t%d (%d on disk)\n", info.Bytes, info.FileBytes)
			fmt.Fprintf(w, "checksums\t%s\n", info.Checksums)
			for i, l := range info.Layers {
				fmt.Fprintf(w, "layer %d\t%d heads, %d feed-forward units, %d parameters\n", i, l.Heads, l.Intermediate, l.Parameters)
				for _, name := range slices.Sorted(maps.Keys(l.InputScales)) {
					fmt.Fprintf(w, "  %s\tinput scale %.4g\n", name, l.InputScales[name])
				}
			}
			for _, s := range info.Provenance {
				fmt.Fprintf(w, "made by\t%s %s, %s: %v %v\n", s.Name, s.Version, s.Time.Format("2006-01-02 15:04"), s.Settings, s.Measured)
			}
			for _, note := range info.Notes {
				fmt.Fprintf(w, "note\t%s\n", note)
			}
			if common.verbose {
				for _, t := range info.Tensors {
					fmt.Fprintf(w, "%s\t%s %v\n", t.Name, t.DType, t.Shape)
				}
			}
			return w.Flush()
		},
	}
}
