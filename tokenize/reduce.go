package tokenize

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Reduce returns the files of a WordPiece tokenizer that has the tokens for which
// keep holds, and every special and added token, under new ids in the old order;
// and the old id of each new one. Whatever else the files say stays. A text whose
// tokens are all kept has the same tokens; a word with others is cut into
// smaller ones that are left, or is unknown.
func (t *Tokenizer) Reduce(keep func(id int32) bool) (files map[string][]byte, ids []int32, err error) {
	if _, ok := t.model.(*wordPiece); !ok {
		return nil, nil, fmt.Errorf("the tokenizer is not WordPiece, the only one whose vocabulary can be reduced")
	}
	fixed := map[int32]bool{}
	for _, id := range slices.Concat(t.frame.before, t.frame.between, t.frame.after, []int32{t.pad, t.unk, t.cls, t.sep, t.mask_}) {
		fixed[id] = true
	}
	for _, s := range t.specials.list {
		fixed[s.id] = true
	}
	renumbered := map[int32]int32{}
	for id, token := range t.vocab {
		if id := int32(id); token != "" && (fixed[id] || keep(id)) {
			renumbered[id] = int32(len(ids))
			ids = append(ids, id)
		}
	}
	files = maps.Clone(t.files)
	for name, reduce := range map[string]func([]byte, map[int32]int32) ([]byte, error){
		tokenizerFile: reduceJSON, vocabFile: reduceVocab, configFile: reduceConfig, "added_tokens.json": reduceIDs,
	} {
		if files[name] == nil {
			continue
		}
		if files[name], err = reduce(files[name], renumbered); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return files, ids, nil
}

// object is a JSON object whose fields stay as they are unless they are edited.
type object map[string]json.RawMessage

// change replaces a field by what f makes of it, if the object has it.
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

func reduceJSON(file []byte, ids map[int32]int32) ([]byte, error) {
	var o object
	if err := decodeJSON(file, &o); err != nil {
		return nil, err
	}
	newID := func(old int32) (any, error) { return ids[old], nil }
	for _, err := range []error{
		change(o, "padding", func(p object) (any, error) { return p, change(p, "pad_id", newID) }),
		change(o, "added_tokens", func(tokens []object) (any, error) {
			for _, t := range tokens {
				if err := change(t, "id", newID); err != nil {
					return nil, err
				}
			}
			return tokens, nil
		}),
		change(o, "model", func(m object) (any, error) {
			return m, change(m, "vocab", func(vocab map[string]int32) (any, error) { return reduced(vocab, ids), nil })
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

// reduced are the tokens that are kept, with their new ids.
func reduced(vocab map[string]int32, ids map[int32]int32) map[string]int32 {
	kept := make(map[string]int32, len(ids))
	for token, old := range vocab {
		if id, ok := ids[old]; ok {
			kept[token] = id
		}
	}
	return kept
}

func reduceVocab(file []byte, ids map[int32]int32) ([]byte, error) {
	lines := strings.Split(strings.TrimSuffix(string(file), "\n"), "\n")
	kept := make([]string, 0, len(ids))
	for old, line := range lines {
		if _, ok := ids[int32(old)]; ok {
			kept = append(kept, line)
		}
	}
	return []byte(strings.Join(kept, "\n") + "\n"), nil
}

func reduceConfig(file []byte, ids map[int32]int32) ([]byte, error) {
	var o object
	if err := decodeJSON(file, &o); err != nil {
		return nil, err
	}
	if err := change(o, "added_tokens_decoder", func(tokens map[string]json.RawMessage) (any, error) {
		kept := map[string]json.RawMessage{}
		for number, t := range tokens {
			old, err := strconv.ParseInt(number, 10, 32)
			if err != nil {
				return nil, fmt.Errorf("%q is not a token id", number)
			}
			if id, ok := ids[int32(old)]; ok {
				kept[strconv.Itoa(int(id))] = t
			}
		}
		return kept, nil
	}); err != nil {
		return nil, err
	}
	return indented(o, "  ")
}

func reduceIDs(file []byte, ids map[int32]int32) ([]byte, error) {
	var vocab map[string]int32
	if err := decodeJSON(file, &vocab); err != nil {
		return nil, err
	}
	return json.Marshal(reduced(vocab, ids))
}
