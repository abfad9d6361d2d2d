package main

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/pruning"
)

func newPrune() *cobra.Command {
	var (
		task          taskFlags
		model, output string
		importance    string
		importanceOut string
		heads, ffn    int
	)
	c := &cobra.Command{
		Use:   "prune",
		Short: "Remove the least important heads and feed-forward units",
		Long: `Prune measures how much each attention head and each feed-forward unit of a model matters to a task, keeps the given
numbers of them in each layer, and rewires what is left into a smaller model. Distill it again to recover the accuracy.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := require(c, "model", "heads", "ffn", "output"); err != nil {
				return err
			}
			method, err := pruning.ParseMethod(importance)
			if err != nil {
				return usagef("--importance: %w", err)
			}
			if method != pruning.Magnitude {
				if err := require(c, "task", "train"); err != nil {
					return err
				}
			}
			m, err := openCheckpoint(model)
			if err != nil {
				return err
			}
			defer m.Close()
			var set *data.Dataset
			if method != pruning.Magnitude {
				if set, err = task.read(task.train, m); err != nil {
					return err
				}
			}
			if err := checkOutput(output); err != nil {
				return err
			}
			scores, err := pruning.Importance(c.Context(), m, set, pruning.ImportanceOptions{
				Method: method, MaxLength: task.maxLength, Threads: common.threads, Progress: common.progress(),
			})
			if err != nil {
				return err
			}
			if importanceOut != "" {
				if err := checkpoints.WriteFile(importanceOut, scores.WriteJSON); err != nil {
					return err
				}
			}
			masks, err := pruning.Select(scores, m.Config, heads, ffn)
			if err != nil {
				return usageError{err}
			}
			smaller, err := pruning.Rewire(m, masks)
			if err != nil {
				return err
			}
			if err := smaller.SaveHF(output); err != nil {
				return err
			}
			return printSize(os.Stdout, smaller, output, m.Parameters())
		},
	}
	f := c.Flags()
	f.StringVar(&model, "model", "", "`MODEL` to prune")
	f.StringVarP(&output, "output", "o", "", "`DIR` for the pruned model")
	f.IntVar(&heads, "heads", 0, "attention heads kept in each layer")
	f.IntVar(&ffn, "ffn", 0, "feed-forward units kept in each layer")
	f.StringVar(&importance, "importance", "exact", "exact, fastformers, fisher or magnitude")
	f.StringVar(&importanceOut, "importance-out", "", "write the scores to `FILE` as JSON")
	task.register(f, true)
	f.Lookup("dev").Hidden = true
	return c
}

// printSize says how large a saved model is.
func printSize(w io.Writer, m *checkpoints.Model, path string, before int64) error {
	if common.json {
		return printJSON(struct {
			Output     string `json:"output"`
			Parameters int64  `json:"parameters"`
			Bytes      int64  `json:"bytes"`
			Before     int64  `json:"parameters_before"`
		}{path, m.Parameters(), m.Bytes(), before})
	}
	_, err := fmt.Fprintf(w, "%d parameters of %d, %d bytes; written: %s\n", m.Parameters(), before, m.Bytes(), path)
	return err
}
