package pruning

import (
	"context"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/head"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/tokenize"
)

// Texts of the corpus have the same sub-words and logits as before, whichever
// files the tokenizer is made of.
func TestVocabularyKeepsTheCorpus(t *testing.T) {
	t.Parallel()
	words := []string{"[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "ab", "##c", "##d", "##cd", "red", "##der", "green", "##e", "r"}
	// "abx" is unknown, and would not be if "ab" went: "a" and "##bx" would take its place.
	words = append(words, "##bx", "blue", "##b")
	corpus := []string{"Redder abcd", "abx a red", "", "zzz [MASK] red"}
	wordPiece, err := tokenize.NewWordPiece(words, true)
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string]int{}
	for i, w := range words {
		ids[w] = i
	}
	vocab, _ := json.Marshal(ids)
	tokenizerJSON := `{"added_tokens": [{"id": 5, "content": "[MASK]", "special": true}], "padding": {"pad_id": 0},
		"normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": true},
		"pre_tokenizer": {"type": "BertPreTokenizer"},
		"post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 4], "cls": ["[CLS]", 3]},
		"model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100, "vocab": ` + string(vocab) + `}}`
	template := strings.Replace(tokenizerJSON, `{"type": "BertProcessing", "sep": ["[SEP]", 4], "cls": ["[CLS]", 3]}`,
		`{"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "[SEP]", "type_id": 0}}],
		"pair": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "[SEP]", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}, {"SpecialToken": {"id": "[SEP]", "type_id": 1}}],
		"special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [3], "tokens": ["[CLS]"]}, "[SEP]": {"id": "[SEP]", "ids": [4], "tokens": ["[SEP]"]}}}`, 1)
	for name, files := range map[string]map[string][]byte{
		"vocab.txt":      wordPiece.Files(),
		"BertProcessing": {"tokenizer.json": []byte(tokenizerJSON), "vocab.txt": wordPiece.Files()["vocab.txt"]},
		"template":       {"tokenizer.json": []byte(template), "tokenizer_config.json": []byte(`{"added_tokens_decoder": {"5": {"content": "[MASK]"}}}`)},
	} {
		cfg := tiny(checkpoints.LayerSize{Heads: 4, Intermediate: 8})
		cfg.VocabSize = len(words) + 3 // some models' embeddings have more rows
		m := checkpoints.InitBERT(cfg, 1)
		m.Tokenizer = files
		small, err := Vocabulary(m, slices.Values(corpus))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		// Without [unused0], green, blue and ##bx.
		if small.Config.VocabSize != len(words)-4 || small.Tensors[checkpoints.WordEmbeddings.Part().Weight()].Shape[0] != small.Config.VocabSize {
			t.Errorf("%s: a vocabulary of %d, want %d", name, small.Config.VocabSize, len(words)-4)
		}
		// The words of a masked language model keep their biases, under the new ids.
		masked := m.Clone()
		if err := masked.SetHead(head.MaskedLM, nil, 1); err != nil {
			t.Fatal(err)
		}
		bias := make([]float32, cfg.VocabSize)
		for i := range bias {
			bias[i] = float32(i)
		}
		masked.Tensors[checkpoints.Decoder.Part().Bias()] = checkpoints.NewTensor([]int{len(bias)}, bias)
		if masked, err = Vocabulary(masked, slices.Values(corpus)); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		reduced, err := tokenize.Load(masked.Tokenizer)
		if err != nil {
			t.Fatal(err)
		}
		for id, b := range masked.Tensors[checkpoints.Decoder.Part().Bias()].Float32s() {
			if word := reduced.Token(int32(id)); words[int(b)] != word {
				t.Errorf("%s: %q has the bias of %q", name, word, words[int(b)])
			}
		}
		if strings.Contains(string(small.Tokenizer["vocab.txt"]), "green") {
			t.Errorf("%s: vocab.txt still has a token that is gone", name)
		}
		inputs := make([]infer.Input, len(corpus))
		for i, text := range corpus {
			inputs[i].Text = text
		}
		before, after := predict(t, m, inputs), predict(t, small, inputs)
		for i := range inputs {
			if !slices.Equal(before[i].Logits, after[i].Logits) {
				t.Errorf("%s: %q: logits %v, before %v", name, corpus[i], after[i].Logits, before[i].Logits)
			}
		}
		dir := t.TempDir() + "/small"
		if err := small.SaveHF(dir); err != nil {
			t.Fatal(err)
		}
		if _, err := checkpoints.Open(dir); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func predict(t *testing.T, m *checkpoints.Model, inputs []infer.Input) []infer.Prediction {
	t.Helper()
	e, err := infer.New(m, infer.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	p, err := e.Predict(context.Background(), inputs)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// The vocabulary of the published model, on texts of another language too.
func TestVocabularyOfMiniLM(t *testing.T) {
	t.Parallel()
	dir := os.Getenv("SKIVE_MINILM")
	if dir == "" {
		t.Skip("SKIVE_MINILM names no model")
	}
	m, err := checkpoints.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	small, err := Vocabulary(m, slices.Values([]string{"a gorgeous, witty, seductive movie.", "Größe 東京 ☃ \u00a0x"}))
	if err != nil {
		t.Fatal(err)
	}
	if small.Config.VocabSize >= 5000 {
		t.Errorf("a vocabulary of %d", small.Config.VocabSize)
	}
}
