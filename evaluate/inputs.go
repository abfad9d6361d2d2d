package evaluate

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/internal/bounded"
	"github.com/skive-ml/skive/tokenize"
)

// Inputs is a batch of inputs as tokens, for infer.Engine.PredictTokens.
type Inputs struct {
	IDs, TypeIDs, Offsets []int32
	// Examples is the number of inputs. An input with choices is several sequences.
	Examples int
}

// ReadInputs reads a file with one input per line, in the form that infer.ParseInput takes. It
// returns batches of so many inputs, each cut to maxLength tokens (0: the model's positions).
// single tells whether some input is a text alone. A length that the model does not have is a
// *settings.Error.
func ReadInputs(m *checkpoints.Model, path string, batch, maxLength int) (batches []Inputs, single bool, err error) {
	if maxLength, err = longest(m.Config, maxLength); err != nil {
		return nil, false, err
	}
	tokenizer, err := tokenize.Load(m.Tokenizer)
	if err != nil {
		return nil, false, err
	}
	var encoding tokenize.Encoding
	current := Inputs{Offsets: []int32{0}}
	err = eachLine(path, func(input infer.Input) error {
		if err := infer.CheckInput(m.Config, &input); err != nil {
			return err
		}
		single = single || !input.HasPair
		o := tokenize.Options{MaxLength: maxLength}
		pairs := input.Choices // each choice is a sequence together with the text
		if input.HasPair {
			pairs = []string{input.Pair}
		}
		for i := range max(1, len(pairs)) {
			var err error
			if len(pairs) > 0 {
				err = tokenizer.EncodePair(&encoding, input.Text, pairs[i], o)
			} else {
				err = tokenizer.Encode(&encoding, input.Text, o)
			}
			if err != nil {
				return err
			}
			current.IDs = append(current.IDs, encoding.IDs...)
			if m.Config.TypeVocabSize > 1 {
				current.TypeIDs = append(current.TypeIDs, encoding.TypeIDs...)
			} else {
				current.TypeIDs = append(current.TypeIDs, make([]int32, len(encoding.IDs))...)
			}
			current.Offsets = append(current.Offsets, int32(len(current.IDs)))
		}
		if current.Examples++; current.Examples == batch {
			batches = append(batches, current)
			current = Inputs{Offsets: []int32{0}}
		}
		return nil
	})
	if err != nil {
		return nil, false, err
	}
	if current.Examples > 0 {
		batches = append(batches, current)
	}
	return batches, single, nil
}

// ReadLines reads a file with one input per line, in the form that infer.ParseInput takes.
func ReadLines(path string) (inputs []infer.Input, err error) {
	err = eachLine(path, func(input infer.Input) error {
		inputs = append(inputs, input)
		return nil
	})
	return inputs, err
}

// tables are the endings of files with columns instead of lines of text.
var tables = []string{".csv", ".tsv", ".parquet"}

// eachLine calls take for each input of a file, which must have at least one. A table is refused,
// because its lines would be taken for texts.
func eachLine(path string, take func(infer.Input) error) error {
	if extension := filepath.Ext(strings.TrimSuffix(path, ".gz")); slices.Contains(tables, strings.ToLower(extension)) {
		return fmt.Errorf("%s: a table (%s), expected one input per line: plain text, or JSON objects with \"text\"", path, extension)
	}
	f, err := bounded.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	lines, some := bounded.NewLines(f), false
	for lines.Next() {
		input, err := infer.ParseInput(lines.Text())
		if err == nil {
			err = take(input)
		}
		if err != nil {
			return fmt.Errorf("%s:%d: %w", path, lines.Number(), err)
		}
		some = true
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("%s:%d: %w", path, lines.Number()+1, err)
	}
	if !some {
		return fmt.Errorf("%s: no inputs", path)
	}
	return nil
}

// MayWantPairs tells whether a model that does not say so may have been trained on pairs: because
// of its task, or because it gives one number without a name, as rerankers do.
func MayWantPairs(c checkpoints.Config) bool {
	if task, err := data.TaskByName(c.Task); err == nil && task.Pair && !c.Pairs {
		return true
	}
	return !c.Pairs && c.Head.OneNumber() && data.Unnamed(c.Labels) && c.Task == ""
}
