package tokenize

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// unigramFile is a tokenizer.json of a small unigram model.
func unigramFile(t testing.TB, vocab [][2]any) []byte {
	t.Helper()
	b, err := json.Marshal(obj{
		"added_tokens": []any{}, "normalizer": nil, "pre_tokenizer": obj{"type": "Metaspace", "replacement": "▁", "prepend_scheme": "never"},
		"post_processor": obj{"type": "TemplateProcessing", "single": []any{obj{"Sequence": obj{"id": "A"}}},
			"pair": []any{obj{"Sequence": obj{"id": "A"}}, obj{"Sequence": obj{"id": "B"}}}, "special_tokens": obj{}},
		"model": obj{"type": "Unigram", "unk_id": 0, "vocab": vocab},
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// No other way to cut a word has a larger sum of scores: all ways are tried.
func TestUnigramFindsTheBestPath(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		scores := map[string]float64{}
		vocab := [][2]any{{"<unk>", 0.0}}
		least := 0.0
		for range 12 {
			var s strings.Builder
			for range 1 + r.IntN(4) {
				s.WriteString([]string{"a", "b", "é"}[r.IntN(3)])
			}
			if _, ok := scores[s.String()]; !ok {
				score := -1 - 9*r.Float64()
				scores[s.String()] = score
				vocab = append(vocab, [2]any{s.String(), score})
				least = min(least, score)
			}
		}
		tok, err := Load(map[string][]byte{"tokenizer.json": unigramFile(t, vocab)})
		if err != nil {
			t.Fatal(err)
		}
		var word string
		for range 1 + r.IntN(9) {
			word += []string{"a", "b", "é", "x"}[r.IntN(4)]
		}
		var best func(rest string) float64
		best = func(rest string) float64 {
			if rest == "" {
				return 0
			}
			most := math.Inf(-1)
			_, size := utf8.DecodeRuneInString(rest)
			if _, ok := scores[rest[:size]]; !ok {
				most = least - unknownPenalty + best(rest[size:])
			}
			for token, score := range scores {
				if strings.HasPrefix(rest, token) {
					most = max(most, score+best(rest[len(token):]))
				}
			}
			return most
		}
		var e Encoding
		if err := tok.Encode(&e, word, Options{Offsets: true}); err != nil {
			t.Fatal(err)
		}
		sum := 0.0
		for i, id := range e.IDs {
			if id == 0 { // neighbours that are unknown are one token
				sum += float64(e.Offsets[i][1]-e.Offsets[i][0]) * (least - unknownPenalty)
			} else {
				sum += vocab[id][1].(float64)
			}
		}
		if want := best(word); math.Abs(sum-want) > 1e-9 {
			t.Errorf("%q: %v has %v, the best way %v", word, e.IDs, sum, want)
		}
	}
}

func TestSentencePieceErrorsNameTheFile(t *testing.T) {
	t.Parallel()
	model := SentencePieceModel(t, "plain")
	load := func(file []byte, config string) error {
		_, err := Load(map[string][]byte{"spm.model": file, "tokenizer_config.json": []byte(config)})
		return err
	}
	const deberta = `{"tokenizer_class": "DebertaV2Tokenizer"}`
	if err := load(model, deberta); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		file   []byte
		config string
		want   []string
	}{
		{"empty", []byte{}, deberta, []string{"spm.model", "SentencePiece"}},
		{"cut", model[:len(model)-1], deberta, []string{"spm.model", "damaged"}},
		{"text", []byte("[PAD]\n[CLS]\n"), deberta, []string{"spm.model", "SentencePiece"}},
		{"byte pairs", append(slices.Clone(model), 0x12, 2, 0x18, 2), deberta, []string{"spm.model", "model_type is 2", "unigram"}},
		{"a table that is none", append(slices.Clone(model), 0x1a, 3, 0x12, 1, 'x'), `{"tokenizer_class": "AlbertTokenizer"}`, []string{"spiece.model"}},
		{"split at punctuation", model, `{"tokenizer_class": "DebertaV2Tokenizer", "split_by_punct": true}`, []string{"tokenizer_config.json", "split_by_punct"}},
		{"no class", model, `{}`, []string{"tokenizer_class"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := load(c.file, c.config)
			if err == nil {
				t.Fatal("no error")
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q does not say %q", err, w)
				}
			}
		})
	}
}

// Whatever the files hold, they are refused or give ids of the vocabulary, in the order
// of the text.
func FuzzUnigram(f *testing.F) {
	f.Add(unigramFile(f, [][2]any{{"<unk>", 0.0}, {"▁", -2.0}, {"a", -1.0}, {"▁a", -1.5}}), SentencePieceModel(f, "plain"), "a  zé\xff a")
	for _, n := range []obj{
		{"type": "Sequence", "normalizers": []any{obj{"type": "NFKD"}, obj{"type": "StripAccents"}, obj{"type": "Lowercase"}, obj{"type": "NFC"}}},
		{"type": "Sequence", "normalizers": []any{obj{"type": "Replace", "pattern": obj{"Regex": " {2,}"}, "content": " "}, obj{"type": "Strip", "strip_left": true, "strip_right": true}}},
		{"type": "Precompiled", "precompiled_charsmap": "DAAAAAEAAAACAAAAAwAAAGFiYwA="},
	} {
		var file obj
		if err := json.Unmarshal(unigramFile(f, [][2]any{{"<unk>", 0.0}, {"▁", -2.0}, {"a", -1.0}}), &file); err != nil {
			f.Fatal(err)
		}
		file["normalizer"] = n
		b, err := json.Marshal(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, SentencePieceModel(f, "nfkc")[:2000], "Å e\u0301  각")
	}
	f.Fuzz(func(t *testing.T, file, model []byte, text string) {
		all := []map[string][]byte{{"tokenizer.json": file}}
		for _, class := range []string{"XLMRobertaTokenizer", "CamembertTokenizer", "AlbertTokenizer", "DebertaV2Tokenizer"} {
			config := []byte(`{"tokenizer_class": "` + class + `"}`)
			all = append(all, map[string][]byte{"tokenizer.json": file, "tokenizer_config.json": config},
				map[string][]byte{tokenizerClasses[class].unigram.file: model, "tokenizer_config.json": config})
		}
		var e Encoding
		for _, files := range all {
			tok, err := Load(files)
			if err != nil {
				continue
			}
			if err := tok.Encode(&e, text, Options{Offsets: true}); err != nil {
				continue // a special token that the vocabulary lacks
			}
			for i, id := range e.IDs {
				if id < 0 || int(id) >= tok.VocabSize() {
					t.Fatalf("id %d of %d", id, tok.VocabSize())
				}
				if o := e.Offsets[i]; o[0] < 0 || o[1] < o[0] || int(o[1]) > utf8.RuneCountInString(text) {
					t.Fatalf("offsets %v", o)
				}
			}
		}
	})
}
