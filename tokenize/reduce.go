package tokenize

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Reduce returns the files of a smaller WordPiece or unigram tokenizer, and the old id of each
// new one. The smaller tokenizer has the tokens for which keep is true, and every special and
// added token, under new ids in the old order. Everything else in the files stays, except that a
// SentencePiece model becomes a tokenizer.json. A text whose tokens are all kept has the same
// tokens as before. A word with other tokens is cut into smaller ones that remain, or is unknown.
func (t *Tokenizer) Reduce(keep func(id int32) bool) (files map[string][]byte, ids []int32, err error) {
	fixed := map[int32]bool{}
	files = maps.Clone(t.files)
	switch m := t.model.(type) {
	case *wordPiece:
	case *unigram:
		// The lowest score decides what an unknown character costs.
		fixed[int32(slices.Index(m.scores, slices.Min(m.scores)))] = true
		if files, err = WithJSON(files); err != nil {
			return nil, nil, err
		}
		for _, name := range pieceFiles {
			delete(files, name)
		}
	default:
		return nil, nil, fmt.Errorf("the tokenizer is byte-pair encoding, whose vocabulary cannot be reduced (supported: WordPiece, Unigram)")
	}
	for _, id := range slices.Concat(t.frame.before, t.frame.between, t.frame.after, []int32{t.pad, t.unk, t.cls, t.sep, t.mask_}) {
		fixed[id] = true
	}
	for _, s := range t.added {
		fixed[s.id] = true
	}
	renumbered := map[int32]int32{}
	for id, token := range t.vocab {
		if id := int32(id); token != "" && (fixed[id] || keep(id)) {
			renumbered[id] = int32(len(ids))
			ids = append(ids, id)
		}
	}
	r := reducer{renumbered, map[string]int32{}}
	for _, s := range t.added {
		if !s.absent {
			r.added[s.text] = renumbered[s.id]
		}
	}
	for name, reduce := range map[string]func([]byte) ([]byte, error){
		tokenizerFile: r.tokenizerJSON, vocabFile: r.vocabTxt, configFile: r.config, addedFile: r.addedTokens,
	} {
		if files[name] == nil {
			continue
		}
		if files[name], err = reduce(files[name]); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return files, ids, t.checkReduced(files, ids, renumbered)
}

// reducer holds the new ids of a reduced vocabulary. It finds added tokens by their texts, since
// the ids in the files may differ from those that the tokens got.
type reducer struct {
	ids   map[int32]int32  // by the old id
	added map[string]int32 // by the text
}

// checkReduced checks that tokens have the intended ids in the reduced files, because added
// tokens get theirs by their order.
func (t *Tokenizer) checkReduced(files map[string][]byte, ids []int32, renumbered map[int32]int32) error {
	small, err := loadAs(t.class, files)
	if err != nil {
		return err
	}
	for id, old := range ids {
		if token := t.Token(old); small.Token(int32(id)) != token {
			return fmt.Errorf("the token %q would not have the id %d in the smaller vocabulary", token, id)
		}
	}
	same := func(a, b addedToken) bool {
		if a.id = renumbered[a.id]; a.absent {
			a.id = b.id
		}
		return a == b
	}
	if len(ids) != small.VocabSize() || !slices.EqualFunc(t.added, small.added, same) {
		return fmt.Errorf("the smaller vocabulary would have other added tokens")
	}
	return nil
}

// object is a JSON object. Its fields stay as they are unless they are changed.
type object map[string]json.RawMessage

// change replaces a field, if the object has it, by the result of f.
func change[T any](o object, field string, f func(v T) (any, error)) error {
	raw := o[field]
	if len(raw) == 0 || string(raw) == "null" {
		return nil
	}
	var v T
	if err := decodeJSON(raw, &v); err != nil {
		return fmt.Errorf("%s: %w", field, err)
	}
	to, err := f(v)
	if err != nil {
		return fmt.Errorf("%s: %w", field, err)
	}
	o[field], err = json.Marshal(to)
	return err
}

func (r reducer) tokenizerJSON(file []byte) ([]byte, error) {
	var o object
	if err := decodeJSON(file, &o); err != nil {
		return nil, err
	}
	ids := r.ids
	newID := func(old int32) (any, error) { return ids[old], nil }
	for _, err := range []error{
		change(o, "padding", func(p object) (any, error) { return p, change(p, "pad_id", newID) }),
		change(o, "added_tokens", func(tokens []object) (any, error) {
			var kept []object
			for _, t := range tokens {
				var text string
				if err := decodeJSON(t["content"], &text); err != nil {
					return nil, err
				}
				if id, ok := r.added[text]; ok {
					t["id"] = json.RawMessage(strconv.Itoa(int(id)))
					kept = append(kept, t)
				}
			}
			return kept, nil
		}),
		change(o, "model", func(m object) (any, error) {
			return m, r.model(m)
		}),
		change(o, "post_processor", func(p object) (any, error) {
			for _, field := range []string{"sep", "cls"} { // BertProcessing
				if err := change(p, field, func(pair []any) (any, error) {
					if len(pair) == 2 {
						if old, ok := pair[1].(float64); ok {
							pair[1] = ids[int32(old)]
							return pair, nil
						}
					}
					return nil, fmt.Errorf("expected a token and its id")
				}); err != nil {
					return nil, err
				}
			}
			return p, change(p, "special_tokens", func(tokens map[string]object) (any, error) { // TemplateProcessing
				for _, t := range tokens {
					if err := change(t, "ids", func(all []int32) (any, error) {
						for i, old := range all {
							all[i] = ids[old]
						}
						return all, nil
					}); err != nil {
						return nil, err
					}
				}
				return tokens, nil
			})
		}),
	} {
		if err != nil {
			return nil, err
		}
	}
	return indented(o, "  ")
}

// model reduces the vocabulary of a model.
func (r reducer) model(m object) error {
	if string(m["type"]) != `"`+unigramModel+`"` {
		return change(m, "vocab", func(vocab map[string]int32) (any, error) { return r.vocab(vocab), nil })
	}
	if err := change(m, "unk_id", func(old int32) (any, error) { return r.ids[old], nil }); err != nil {
		return err
	}
	return change(m, "vocab", func(vocab []json.RawMessage) (any, error) {
		kept := make([]json.RawMessage, 0, len(r.ids))
		for old, entry := range vocab {
			if _, ok := r.ids[int32(old)]; ok {
				kept = append(kept, entry)
			}
		}
		return kept, nil
	})
}

// vocab returns the tokens that are kept, with their new ids.
func (r reducer) vocab(vocab map[string]int32) map[string]int32 {
	kept := make(map[string]int32, len(r.ids))
	for token, old := range vocab {
		if id, ok := r.ids[old]; ok {
			kept[token] = id
		}
	}
	return kept
}

func (r reducer) vocabTxt(file []byte) ([]byte, error) {
	lines := strings.Split(strings.TrimSuffix(string(file), "\n"), "\n")
	kept := make([]string, 0, len(r.ids))
	for old, line := range lines {
		if _, ok := r.ids[int32(old)]; ok {
			kept = append(kept, line)
		}
	}
	return []byte(strings.Join(kept, "\n") + "\n"), nil
}

func (r reducer) config(file []byte) ([]byte, error) {
	var o object
	if err := decodeJSON(file, &o); err != nil {
		return nil, err
	}
	if err := change(o, "added_tokens_decoder", func(tokens map[string]json.RawMessage) (any, error) {
		kept := map[string]json.RawMessage{}
		for number, t := range tokens {
			var token struct{ Content string }
			if err := decodeJSON(t, &token); err != nil {
				return nil, fmt.Errorf("%s: %w", number, err)
			}
			if id, ok := r.added[token.Content]; ok {
				kept[strconv.Itoa(int(id))] = t
			}
		}
		return kept, nil
	}); err != nil {
		return nil, err
	}
	return indented(o, "  ")
}

func (r reducer) addedTokens(file []byte) ([]byte, error) {
	var vocab map[string]int32
	if err := decodeJSON(file, &vocab); err != nil {
		return nil, err
	}
	kept := map[string]int32{}
	for text := range vocab {
		if id, ok := r.added[text]; ok {
			kept[text] = id
		}
	}
	return json.Marshal(kept)
}
