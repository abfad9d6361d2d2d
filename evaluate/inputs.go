package evaluate

import (
	"fmt"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/internal/bounded"
	"github.com/skive-ml/skive/tokenize"
)

// Inputs is a batch of inputs in tokens: what infer.Engine.PredictTokens takes.
type Inputs struct {
	IDs, TypeIDs, Offsets []int32
	// Examples is the number of inputs; one with choices is several sequences.
	Examples int
}

// ReadInputs reads a file of inputs, one a line as infer.ParseInput takes them, in batches
// of so many, each cut to maxLength tokens (0: the model's positions). single tells whether
// one is a text alone. A length that the model does not have is a *settings.Error.
func ReadInputs(m *checkpoints.Model, path string, batch, maxLength int) (batches []Inputs, single bool, err error) {
	if maxLength, err = longest(m.Config, maxLength); err != nil {
		return nil, false, err
	}
	tokenizer, err := tokenize.Load(m.Tokenizer)
	if err != nil {
		return nil, false, err
	}
	f, err := bounded.Open(path)
	if err != nil {
		return nil, false, err
	}
	defer f.Close()
	var encoding tokenize.Encoding
	current := Inputs{Offsets: []int32{0}}
	lines := bounded.NewLines(f)
	for lines.Next() {
		input, err := infer.ParseInput(lines.Text())
		if err != nil {
			return nil, false, fmt.Errorf("%s:%d: %w", path, lines.Number(), err)
		}
		if err := infer.CheckInput(m.Config, &input); err != nil {
			return nil, false, fmt.Errorf("%s:%d: %w", path, lines.Number(), err)
		}
		single = single || !input.HasPair
		o := tokenize.Options{MaxLength: maxLength}
		pairs := input.Choices // each is a sequence of its own with the text
		if input.HasPair {
			pairs = []string{input.Pair}
		}
		for i := range max(1, len(pairs)) {
			if len(pairs) > 0 {
				err = tokenizer.EncodePair(&encoding, input.Text, pairs[i], o)
			} else {
				err = tokenizer.Encode(&encoding, input.Text, o)
			}
			if err != nil {
				return nil, false, fmt.Errorf("%s:%d: %w", path, lines.Number(), err)
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
	}
	if err := lines.Err(); err != nil {
		return nil, false, fmt.Errorf("%s:%d: %w", path, lines.Number()+1, err)
	}
	if len(current.IDs) > 0 {
		batches = append(batches, current)
	}
	if len(batches) == 0 {
		return nil, false, fmt.Errorf("%s: no inputs", path)
	}
	return batches, single, nil
}

// MayWantPairs tells whether a model that does not say so may have been trained on
// pairs: by its task, or because it gives one number without a name, as rerankers do.
func MayWantPairs(c checkpoints.Config) bool {
	if task, err := data.TaskByName(c.Task); err == nil && task.Pair && !c.Pairs {
		return true
	}
	return !c.Pairs && c.Head.OneNumber() && data.Unnamed(c.Labels) && c.Task == ""
}
