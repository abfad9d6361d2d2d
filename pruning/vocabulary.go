package pruning

import (
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/tokenize"
)

// Vocabulary returns the model with only those sub-words and word embeddings that the texts of a
// corpus need, plus the special tokens and the single characters, which can spell many words that
// are not in the corpus. The texts of the corpus have the same sub-words as before, under new
// ids, and so the same outputs. Other texts may change: a sub-word that is gone becomes smaller
// ones, or its word becomes the unknown token.
func Vocabulary(model *checkpoints.Model, corpus iter.Seq[string]) (*checkpoints.Model, error) {
	out, err := vocabulary(model, corpus)
	if err != nil {
		return nil, fmt.Errorf("vocabulary pruning: %w", err)
	}
	return out, nil
}

func vocabulary(model *checkpoints.Model, corpus iter.Seq[string]) (*checkpoints.Model, error) {
	tokenizer, err := tokenize.Load(model.Tokenizer)
	if err != nil {
		return nil, err
	}
	if tokenizer.VocabSize() > model.Config.VocabSize {
		return nil, fmt.Errorf("the tokenizer has %d tokens, the model %d", tokenizer.VocabSize(), model.Config.VocabSize)
	}
	used := make([]bool, tokenizer.VocabSize())
	for id := range used {
		used[id] = utf8.RuneCountInString(strings.TrimPrefix(tokenizer.Token(int32(id)), "##")) == 1
	}
	if pad := model.Config.PadTokenID; pad < len(used) {
		used[pad] = true
		if model.Config.PositionsByID() { // the id of padding must stay
			for id := range pad {
				used[id] = true
			}
		}
	}
	if err := mark(used, tokenizer, corpus); err != nil {
		return nil, err
	}
	files, ids, err := tokenizer.Reduce(func(id int32) bool { return used[id] })
	if err != nil {
		return nil, err
	}
	rows := make([]int, len(ids))
	for i, id := range ids {
		rows[i] = int(id)
	}
	out, err := model.Take(checkpoints.Cut{Axis: checkpoints.Vocabulary, Keep: rows})
	if err != nil {
		return nil, err
	}
	out.Tokenizer = files
	if err := out.Validate(); err != nil {
		return nil, err
	}
	if err := sameTokens(tokenizer, files, ids, corpus); err != nil {
		return nil, err
	}
	out.Provenance = append(out.Provenance, checkpoints.Stage{
		Name: "prune vocabulary", Version: checkpoints.Version, Time: time.Now().UTC(),
		Settings: map[string]string{"vocabulary": strconv.Itoa(len(ids)), "vocabulary_before": strconv.Itoa(model.Config.VocabSize)},
	})
	return out.Clone(), nil
}

// mark marks the tokens that occur when the corpus is encoded. A word may be unknown because no
// token continues the ones that begin it. It must stay unknown, so mark also encodes all
// beginnings of such a word and keeps their tokens.
func mark(used []bool, t *tokenize.Tokenizer, corpus iter.Seq[string]) error {
	var e, start tokenize.Encoding
	_, unknown, _, _, _ := t.Special()
	for text := range corpus {
		if err := t.Encode(&e, text, tokenize.Options{Offsets: true}); err != nil {
			return err
		}
		var runes []rune
		for i, id := range e.IDs {
			used[id] = true
			if id != unknown {
				continue
			}
			if runes == nil {
				runes = []rune(text)
			}
			for end := e.Offsets[i][0] + 1; end < e.Offsets[i][1]; end++ {
				if err := t.Encode(&start, string(runes[e.Offsets[i][0]:end]), tokenize.Options{}); err != nil {
					return err
				}
				for _, id := range start.IDs {
					used[id] = true
				}
			}
		}
	}
	return nil
}

// sameTokens reports the first text of the corpus that the reduced tokenizer encodes differently.
func sameTokens(before *tokenize.Tokenizer, files map[string][]byte, ids []int32, corpus iter.Seq[string]) error {
	after, err := tokenize.Load(files)
	if err != nil {
		return err
	}
	var a, b tokenize.Encoding
	for text := range corpus {
		if err := before.Encode(&a, text, tokenize.Options{}); err != nil {
			return err
		}
		if err := after.Encode(&b, text, tokenize.Options{}); err != nil {
			return err
		}
		if !slices.EqualFunc(a.IDs, b.IDs, func(old, id int32) bool { return ids[id] == old }) {
			return fmt.Errorf("the text %.80q would be encoded differently", text)
		}
	}
	return nil
}
