package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/skive-ml/skive/infer"
)

func newPredict() *cobra.Command {
	var (
		model, dtype string
		maxLength    int
	)
	c := &cobra.Command{
		Use:   "predict",
		Short: "Classify the lines of standard input",
		Long:  `Predict reads one input a line: plain text, or a JSON object {"text": ..., "text_pair": ...}.`,
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := require(c, "model"); err != nil {
				return err
			}
			if err := checkDType(dtype); err != nil {
				return err
			}
			engine, err := infer.Open(model, infer.Options{Threads: common.threads, DType: dtype, MaxLength: maxLength})
			if err != nil {
				return err
			}
			defer engine.Close()
			out := bufio.NewWriter(os.Stdout)
			in := bufio.NewReader(os.Stdin)
			for number := 1; ; number++ {
				line, err := in.ReadString('\n')
				if line == "" && err == io.EOF {
					return out.Flush()
				} else if err != nil && err != io.EOF {
					return err
				}
				input, perr := parseInput(strings.TrimRight(line, "\r\n"))
				if perr != nil {
					out.Flush()
					return fmt.Errorf("line %d: %w", number, perr)
				}
				predictions, perr := engine.Predict(c.Context(), []infer.Input{input})
				if perr != nil {
					out.Flush()
					return fmt.Errorf("line %d: %w", number, perr)
				}
				if perr := writePrediction(out, predictions[0]); perr != nil {
					return perr
				}
				// An answer is not held back while the next question is awaited.
				if in.Buffered() == 0 {
					if perr := out.Flush(); perr != nil {
						return perr
					}
				}
			}
		},
	}
	f := c.Flags()
	f.StringVar(&model, "model", "", "`MODEL` that predicts")
	f.StringVar(&dtype, "dtype", "", "f32 or int8 (default as stored)")
	f.IntVar(&maxLength, "max-length", 0, "truncate inputs to this number of tokens (default the model's maximum)")
	return c
}

// parseInput reads one line. A line that starts with { is JSON.
func parseInput(line string) (infer.Input, error) {
	if !strings.HasPrefix(strings.TrimSpace(line), "{") {
		return infer.Input{Text: line}, nil
	}
	var object struct {
		Text *string `json:"text"`
		Pair *string `json:"text_pair"`
	}
	if err := json.Unmarshal([]byte(line), &object); err != nil {
		return infer.Input{}, fmt.Errorf("not a JSON object: %w", err)
	}
	if object.Text == nil {
		return infer.Input{}, fmt.Errorf(`the JSON object has no "text"`)
	}
	input := infer.Input{Text: *object.Text}
	if object.Pair != nil {
		input.Pair, input.HasPair = *object.Pair, true
	}
	return input, nil
}

func writePrediction(w io.Writer, p infer.Prediction) error {
	if common.json {
		return json.NewEncoder(w).Encode(struct {
			Label         string    `json:"label"`
			Index         int       `json:"index"`
			Logits        []float32 `json:"logits"`
			Probabilities []float32 `json:"probabilities"`
		}{p.Label, p.Index, p.Logits, p.Probabilities})
	}
	_, err := fmt.Fprintf(w, "%s\t%.4f\n", p.Label, p.Probabilities[p.Index])
	return err
}
