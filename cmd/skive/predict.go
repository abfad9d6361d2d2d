package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/head"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/internal/bounded"
)

func newPredict() *cobra.Command {
	var (
		model, dtype      string
		embedding, prompt string
		attentionDType    string
		maxLength         int
		noMap             bool
	)
	c := &cobra.Command{
		Use:   "predict",
		Short: "Answer for or embed the lines of standard input",
		Long: `Predict reads one input a line: plain text, or a JSON object {"text": ..., "text_pair": ...},
for a multiple choice {"text": ..., "choices": [...]}.
It writes one answer a line, as the model's head has it: the label and its probability; all labels that hold; a number;
the choice; each word with its label; or what may stand in the place of each [MASK]. With --embedding it is the
embedding as a JSON array: of texts that are cut, and begin, as the files of a sentence-transformers model say
(max_seq_length, default_prompt_name).`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := require(c, "model"); err != nil {
				return err
			}
			if err := checkDType(dtype); err != nil {
				return err
			}
			if err := checkAttentionDType(attentionDType); err != nil {
				return err
			}
			if err := checkEmbedding(embedding); err != nil {
				return err
			}
			if prompt != "" && embedding == "" {
				return usagef("--prompt goes with --embedding")
			}
			p, err := openPredictor(model, infer.Options{DType: dtype, AttentionDType: attentionDType, MaxLength: maxLength, Embedding: embedding, Prompt: prompt, NoMap: noMap})
			if errors.Is(err, infer.ErrOption) { // of these options; the others were looked at
				flag := "max-length"
				switch {
				case errors.Is(err, infer.ErrEmbedding):
					flag = "embedding"
				case errors.Is(err, infer.ErrPrompt):
					flag = "prompt"
				}
				return usagef("--%s: %w", flag, err)
			}
			if err != nil {
				return ofFlag("model", err)
			}
			defer p.Close()
			var once sync.Once
			unsure := embedding == "" && !common.quiet && mayWantPairs(p.Config())
			answer := predictLine
			if embedding != "" {
				answer = embedLine
			}
			return answerLines(c.Context(), os.Stdin, os.Stdout, linesAhead*common.threads, func(ctx context.Context, line string) ([]byte, error) {
				input, err := parseInput(line)
				if err != nil {
					return nil, err
				}
				if unsure && !input.HasPair {
					once.Do(func() { noteSingle(model) })
				}
				return answer(ctx, p, input)
			})
		},
	}
	f := c.Flags()
	f.StringVar(&model, "model", "", "`MODEL` that predicts")
	f.StringVar(&dtype, "dtype", "", "f32, fp16, bf16 or int8 (default as stored)")
	attentionFlag(f, &attentionDType)
	f.StringVar(&embedding, "embedding", "", "mean or cls: write embeddings of unit length instead of labels; model: those of the model's modules.json")
	f.StringVar(&prompt, "prompt", "", "`NAME` of a prompt of the model to put before each text, none for none (default the model's default_prompt_name)")
	f.IntVar(&maxLength, "max-length", 0, "truncate inputs to this number of tokens (default the model's maximum, for embeddings its max_seq_length)")
	f.BoolVar(&noMap, "no-mmap", false, "copy what would stay in the mapped file: the model's file may then change meanwhile")
	return c
}

// mayWantPairs tells whether a model that does not say so may have been trained on
// pairs: by its task, or because it gives one number without a name, as rerankers do.
func mayWantPairs(c checkpoints.Config) bool {
	if task, err := data.TaskByName(c.Task); err == nil && task.Pair && !c.Pairs {
		return true
	}
	return !c.Pairs && c.Head.OneNumber() && c.GenericLabels() && c.Task == ""
}

// noteSingle says of a model, or of a file for one that may want pairs, that it has
// one text alone.
func noteSingle(path string) {
	fmt.Fprintf(os.Stderr, "skive: %s: one text, not a pair; a reranker or another model of pairs expects {\"text\": ..., \"text_pair\": ...}\n", path)
}

// checkEmbedding refuses kinds of embeddings that there are not.
func checkEmbedding(kind string) error {
	switch kind {
	case "", infer.Mean, infer.CLS, infer.OfModel:
		return nil
	}
	return usagef("--embedding: %q, expected mean, cls or model", kind)
}

// linesAhead is how many lines are under way for each instance: two batches of
// short ones.
const linesAhead = 64

// longLine is the number of bytes from which on a line is answered before the next
// is read, so that memory does not grow with the lines under way.
const longLine = 64 << 10

// answerLines writes the answers to the lines of in, in their order. As many
// lines are answered at the same time; no answer is held back while the next
// line is awaited. The first error ends it, after the answers to the lines before.
func answerLines(ctx context.Context, in io.Reader, to io.Writer, ahead int, answer func(ctx context.Context, line string) ([]byte, error)) error {
	type answered struct {
		text []byte
		err  error
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	pending := make(chan chan answered, ahead)
	go func() {
		defer close(pending)
		lines := bounded.NewLines(in)
		for {
			more := lines.Next()
			if !more && lines.Err() == nil {
				return
			}
			result := make(chan answered, 1)
			select {
			case pending <- result:
			case <-ctx.Done():
				return
			}
			if !more {
				result <- answered{err: lines.Err()}
				return
			}
			line, done := lines.Text(), make(chan bool)
			go func() {
				defer close(done)
				text, err := answer(ctx, line)
				result <- answered{text, err}
			}()
			if len(line) > longLine {
				<-done
			}
		}
	}()
	out := bufio.NewWriter(to)
	for number := 1; ; number++ {
		if len(pending) == 0 {
			if err := out.Flush(); err != nil {
				return err
			}
		}
		var result chan answered
		select {
		case result = <-pending:
		case <-ctx.Done():
			return errors.Join(ctx.Err(), out.Flush())
		}
		if result == nil {
			return out.Flush()
		}
		r := <-result
		if r.err != nil {
			return errors.Join(fmt.Errorf("line %d: %w", number, r.err), out.Flush())
		}
		out.Write(r.text) // an error comes back from Flush
	}
}

// predictor is what infer.Engine and infer.Pool have in common.
type predictor interface {
	Config() checkpoints.Config
	Notes() []string
	Predict(context.Context, []infer.Input) ([]infer.Prediction, error)
	Embed(context.Context, []infer.Input) ([][]float32, error)
	Close() error
}

// openPredictor opens a model as a pool of instances of one thread, since a line
// is too short for more. The head of a masked language model, which a pool does
// not serve, gets an engine of all threads.
func openPredictor(path string, o infer.Options) (predictor, error) {
	// Almost all that is allocated until the first answer stays.
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	pool, err := infer.OpenPool(path, infer.PoolOptions{Options: o, Instances: common.threads})
	var p predictor = pool
	if errors.Is(err, infer.ErrMaskedLM) {
		o.Threads = common.threads
		p, err = infer.Open(path, o)
	}
	if err != nil {
		return nil, err
	}
	printNotes(path, p.Notes())
	return p, nil
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

func embedLine(ctx context.Context, model predictor, input infer.Input) ([]byte, error) {
	embeddings, err := model.Embed(ctx, []infer.Input{input})
	if err != nil {
		return nil, err
	}
	return jsonLine(embeddings[0])
}

func predictLine(ctx context.Context, model predictor, input infer.Input) ([]byte, error) {
	predictions, err := model.Predict(ctx, []infer.Input{input})
	if err != nil {
		return nil, err
	}
	p := predictions[0]
	a := predicted[model.Config().Head]
	if common.json {
		return jsonLine(a.document(&p))
	}
	return append([]byte(a.text(&p)), '\n'), nil
}

func jsonLine(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	return append(b, '\n'), err
}

// answer is how predict shows what a head answers.
type answer struct {
	// document is the JSON document for one input, and text the line.
	document func(p *infer.Prediction) any
	text     func(p *infer.Prediction) string
}

var predicted = map[head.Kind]answer{
	head.SingleLabel: {func(p *infer.Prediction) any { return classDocument(p) }, classText},
	head.MultiLabel: {
		func(p *infer.Prediction) any {
			document := classDocument(p)
			labels := append([]string{}, p.Labels...)
			document.Labels = &labels
			return document
		},
		func(p *infer.Prediction) string { return strings.Join(p.Labels, "\t") },
	},
	head.Regression: {
		func(p *infer.Prediction) any {
			return struct {
				Value  float32   `json:"value"`
				Logits []float32 `json:"logits"`
			}{p.Logits[0], p.Logits}
		},
		func(p *infer.Prediction) string { return fmt.Sprintf("%.4f", p.Logits[0]) },
	},
	head.MultipleChoice:      {func(p *infer.Prediction) any { return classDocument(p) }, classText},
	head.TokenClassification: {wordsDocument, wordsText},
	head.MaskedLM:            {masksDocument, masksText},
}

// predictedClass is predict's JSON document for a class, a choice or labels.
type predictedClass struct {
	Label         string    `json:"label"`
	Index         int       `json:"index"`
	Logits        []float32 `json:"logits"`
	Probabilities []float32 `json:"probabilities"`
	Labels        *[]string `json:"labels,omitempty"`
}

func classDocument(p *infer.Prediction) predictedClass {
	return predictedClass{p.Label, p.Index, p.Logits, p.Probabilities, nil}
}

func classText(p *infer.Prediction) string {
	return fmt.Sprintf("%s\t%.4f", p.Label, p.Probabilities[p.Index])
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

func wordsDocument(p *infer.Prediction) any {
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
}

func wordsText(p *infer.Prediction) string {
	var fields []string
	for _, word := range p.Words {
		fields = append(fields, word.Text+"/"+word.Label)
	}
	return strings.Join(fields, " ")
}

// predictedToken is a token in the place of a mask in predict's JSON document.
type predictedToken struct {
	Token       string  `json:"token"`
	ID          int32   `json:"id"`
	Probability float32 `json:"probability"`
}

func masksDocument(p *infer.Prediction) any {
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

func masksText(p *infer.Prediction) string {
	var fields []string
	for _, fills := range p.Masks {
		var tokens []string
		for _, f := range fills {
			tokens = append(tokens, fmt.Sprintf("%s %.4f", f.Token, f.Probability))
		}
		fields = append(fields, strings.Join(tokens, ", "))
	}
	return strings.Join(fields, "\t")
}
