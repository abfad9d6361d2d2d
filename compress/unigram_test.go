package compress

import (
	"compress/gzip"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/distill"
	"github.com/skive-ml/skive/evaluate"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/internal/golden"
	"github.com/skive-ml/skive/onnx"
	"github.com/skive-ml/skive/pruning"
	"github.com/skive-ml/skive/quantize"
	"github.com/skive-ml/skive/tokenize"
	"github.com/skive-ml/skive/train"
)

// Models with a vocabulary of SentencePiece go through the stages: XLM-RoBERTa and
// CamemBERT, and BERT with the tokenizer of XLM-RoBERTa, as multilingual sentence
// encoders are.
func TestStagesTakeVocabulariesOfSentencePiece(t *testing.T) {
	t.Parallel()
	f, err := os.Open(filepath.Join("..", "tokenize", "testdata", "spm_nfkc.model.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	pieces, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	all := golden.Data(t)
	for family, class := range map[string]string{"xlm-roberta": "XLMRobertaTokenizer", "camembert": "CamembertTokenizer", "bert": "XLMRobertaTokenizer"} {
		t.Run(family, func(t *testing.T) {
			t.Parallel()
			like, err := checkpoints.Open(filepath.Join("..", "train", "testdata", "roberta"))
			if err != nil {
				t.Fatal(err)
			}
			defer like.Close()
			files := map[string][]byte{
				"sentencepiece.bpe.model": pieces,
				"tokenizer_config.json":   []byte(`{"tokenizer_class": "` + class + `"}`),
			}
			tokenizer, err := tokenize.Load(files)
			if err != nil {
				t.Fatal(err)
			}
			c := like.Config.Clone()
			c.ModelType, c.VocabSize = family, tokenizer.VocabSize()+5 // more rows than tokens, as published models have
			m := checkpoints.InitBERT(c, 1)
			m.Tokenizer = files

			o := train.Defaults()
			o.Steps, o.BatchSize, o.Threads = 2, 8, 2
			if m, _, err = train.Run(t.Context(), m, all, nil, o); err != nil {
				t.Fatal(err)
			}
			d := distill.Defaults()
			d.Steps, d.BatchSize, d.Threads = 2, 8, 2
			student, err := distill.StudentFromLayers(m, []int{1})
			if err != nil {
				t.Fatal(err)
			}
			if student, _, err = distill.Run(t.Context(), m, student, all, nil, d); err != nil {
				t.Fatal(err)
			}
			texts := func(yield func(string) bool) {
				for _, e := range all.Examples {
					if !yield(e.Text) {
						return
					}
				}
			}
			small, err := pruning.Vocabulary(student, texts)
			if err != nil {
				t.Fatal(err)
			}
			if small.Config.VocabSize >= c.VocabSize/2 {
				t.Errorf("%d tokens of %d are left", small.Config.VocabSize, c.VocabSize)
			}
			sameAnswers(t, student, small)

			int8, err := quantize.Int8(small)
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(t.TempDir(), "model"+checkpoints.Extension)
			if err := int8.SaveSkive(path); err != nil {
				t.Fatal(err)
			}
			again, err := checkpoints.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer again.Close()
			sameAnswers(t, int8, again)
			// The export compares the graph with the engine.
			if _, err := onnx.Export(again, onnx.Options{}, filepath.Join(t.TempDir(), "onnx")); err != nil {
				t.Error(err)
			}
			stock := filepath.Join(t.TempDir(), "hf")
			if err := small.SaveHF(stock); err != nil {
				t.Fatal(err)
			}
			back, err := checkpoints.Open(stock)
			if err != nil {
				t.Fatal(err)
			}
			defer back.Close()
			if !maps.EqualFunc(back.Tokenizer, small.Tokenizer, func(a, b []byte) bool { return string(a) == string(b) }) {
				t.Errorf("the tokenizer's files %v came back as %v", slices.Sorted(maps.Keys(small.Tokenizer)), slices.Sorted(maps.Keys(back.Tokenizer)))
			}
			sameAnswers(t, small, back)
		})
	}
}

// sameAnswers compares the logits of two models for the same texts, to the bit.
func sameAnswers(t *testing.T, a, b *checkpoints.Model) {
	t.Helper()
	set := golden.Data(t)
	var logits [2][]float32
	for i, m := range []*checkpoints.Model{a, b} {
		encoded, err := evaluate.Encode(m, set, 0)
		if err != nil {
			t.Fatal(err)
		}
		if logits[i], err = evaluate.Logits(t.Context(), m, encoded, infer.Options{Threads: 1}); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(logits[0], logits[1]) {
		t.Error("other logits")
	}
}
