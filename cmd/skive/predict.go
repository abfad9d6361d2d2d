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

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/infer"
)

func newPredict() *cobra.Command {
	var (
		model, dtype, embedding string
		maxLength               int
	)
	c := &cobra.Command{
		Use:   "predict",
		Short: "Answer for or embed the lines of standard input",
		Long: `Predict reads one input a line: plain text, or a JSON object {"text": ..., "text_pair": ...},
for a multiple choice {"text": ..., "choices": [...]}.
It writes one answer a line, as the model's head has it: the label and its probability; all labels that hold; a number;
the choice; each word with its label; or what may stand in the place of each [MASK]. With --embedding it is the
embedding as a JSON array.`,
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
			printNotes(model, engine.Notes())
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
		Text    *string  `json:"text"`
		Pair    *string  `json:"text_pair"`
		Choices []string `json:"choices"`
	}
	if err := json.Unmarshal([]byte(line), &object); err != nil {
		return infer.Input{}, fmt.Errorf("not a JSON object: %w", err)
	}
	if object.Text == nil {
		return infer.Input{}, fmt.Errorf(`the JSON object has no "text"`)
	}
	input := infer.Input{Text: *object.Text, Choices: object.Choices}
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
	head := engine.Config().Head
	if common.json {
		return json.NewEncoder(w).Encode(answerDocument(head, &p))
	}
	_, err = fmt.Fprintln(w, answerText(head, &p))
	return err
}

// predictedWord is a word of predict's JSON document; Label is null where the
// model says nothing of it.
type predictedWord struct {
	Word        string  `json:"word"`
	Label       *string `json:"label"`
	Probability float32 `json:"probability"`
	Start       int     `json:"start"`
	End         int     `json:"end"`
}

// predictedToken is a token in the place of a mask in predict's JSON document.
type predictedToken struct {
	Token       string  `json:"token"`
	ID          int32   `json:"id"`
	Probability float32 `json:"probability"`
}

// answerDocument is predict's JSON document for one input.
func answerDocument(head checkpoints.Head, p *infer.Prediction) any {
	switch head {
	case checkpoints.Regression:
		return struct {
			Value  float32   `json:"value"`
			Logits []float32 `json:"logits"`
		}{p.Logits[0], p.Logits}
	case checkpoints.TokenClassification:
		words := make([]predictedWord, len(p.Words))
		for i := range p.Words {
			word := &p.Words[i]
			words[i] = predictedWord{word.Text, nil, word.Probability, word.Start, word.End}
			if word.Index >= 0 {
				words[i].Label = &word.Label
			}
		}
		return struct {
			Words []predictedWord `json:"words"`
		}{words}
	case checkpoints.MaskedLM:
		masks := make([][]predictedToken, len(p.Masks))
		for i, fills := range p.Masks {
			for _, f := range fills {
				masks[i] = append(masks[i], predictedToken(f))
			}
		}
		return struct {
			Masks [][]predictedToken `json:"masks"`
		}{masks}
	}
	document := struct {
		Label         string    `json:"label"`
		Index         int       `json:"index"`
		Logits        []float32 `json:"logits"`
		Probabilities []float32 `json:"probabilities"`
		Labels        *[]string `json:"labels,omitempty"`
	}{p.Label, p.Index, p.Logits, p.Probabilities, nil}
	if head == checkpoints.MultiLabel {
		labels := append([]string{}, p.Labels...)
		document.Labels = &labels
	}
	return document
}

// answerText is predict's line for one input.
func answerText(head checkpoints.Head, p *infer.Prediction) string {
	var fields []string
	switch head {
	case checkpoints.Regression:
		return fmt.Sprintf("%.4f", p.Logits[0])
	case checkpoints.MultiLabel:
		return strings.Join(p.Labels, "\t")
	case checkpoints.TokenClassification:
		for _, word := range p.Words {
			fields = append(fields, word.Text+"/"+word.Label)
		}
		return strings.Join(fields, " ")
	case checkpoints.MaskedLM:
		for _, fills := range p.Masks {
			var tokens []string
			for _, f := range fills {
				tokens = append(tokens, fmt.Sprintf("%s %.4f", f.Token, f.Probability))
			}
			fields = append(fields, strings.Join(tokens, ", "))
		}
		return strings.Join(fields, "\t")
	}
	return fmt.Sprintf("%s\t%.4f", p.Label, p.Probabilities[p.Index])
}
