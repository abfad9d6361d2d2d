package main

import (
	"bufio"
	"context"
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
		model, dtype, embedding string
		maxLength               int
	)
	c := &cobra.Command{
		Use:   "predict",
		Short: "Classify or embed the lines of standard input",
		Long: `Predict reads one input a line: plain text, or a JSON object {"text": ..., "text_pair": ...}.
It writes one answer a line: the label and its probability, or with --embedding the embedding as a JSON array.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := require(c, "model"); err != nil {
				return err
			}
			if err := checkDType(dtype); err != nil {
				return err
			}
			if embedding != "" && embedding != infer.Mean && embedding != infer.CLS {
				return usagef("--embedding: %q, expected mean or cls", embedding)
			}
			engine, err := infer.Open(model, infer.Options{Threads: common.threads, DType: dtype, MaxLength: maxLength, Embedding: embedding})
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
				answer := predictLine
				if embedding != "" {
					answer = embedLine
				}
				if perr := answer(c.Context(), out, engine, input); perr != nil {
					out.Flush()
					return fmt.Errorf("line %d: %w", number, perr)
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
	f.StringVar(&dtype, "dtype", "", "f32, fp16, bf16 or int8 (default as stored)")
	f.StringVar(&embedding, "embedding", "", "mean or cls: write embeddings of unit length instead of labels")
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

func embedLine(ctx context.Context, w io.Writer, engine *infer.Engine, input infer.Input) error {
	embeddings, err := engine.Embed(ctx, []infer.Input{input})
	if err != nil {
		return err
	}
	return json.NewEncoder(w).Encode(embeddings[0])
}

func predictLine(ctx context.Context, w io.Writer, engine *infer.Engine, input infer.Input) error {
	predictions, err := engine.Predict(ctx, []infer.Input{input})
	if err != nil {
		return err
	}
	p := predictions[0]
	if common.json {
		return json.NewEncoder(w).Encode(struct {
			Label         string    `json:"label"`
			Index         int       `json:"index"`
			Logits        []float32 `json:"logits"`
			Probabilities []float32 `json:"probabilities"`
		}{p.Label, p.Index, p.Logits, p.Probabilities})
	}
	_, err = fmt.Fprintf(w, "%s\t%.4f\n", p.Label, p.Probabilities[p.Index])
	return err
}
