package train

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/skive-ml/skive/head"
)

// A model from scratch has the classes that its configuration names, or none yet.
func TestFresh(t *testing.T) {
	t.Parallel()
	for id2label, want := range map[string][]string{
		`{"0": "no", "1": "yes"}`:          {"no", "yes"},
		`{"0": "LABEL_0", "1": "LABEL_1"}`: nil,
	} {
		dir := t.TempDir()
		config := filepath.Join(dir, "config.json")
		for name, content := range map[string]string{
			"vocab.txt": "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\ngood\n",
			"config.json": `{"model_type": "bert", "vocab_size": 6, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
				"intermediate_size": 8, "max_position_embeddings": 16, "id2label": ` + id2label + `}`,
		} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o666); err != nil {
				t.Fatal(err)
			}
		}
		m, err := Fresh(config, 1, false)
		if err != nil || !slices.Equal(m.Config.Labels, want) || len(m.Tokenizer["vocab.txt"]) == 0 {
			t.Errorf("%v, labels %v, want %v", err, m.Config.Labels, want)
		}
		if m, err = Fresh(config, 1, true); err != nil || m.Config.Head != head.MaskedLM || len(m.Config.Labels) > 0 {
			t.Errorf("%v: a masked language model: %v", err, m.Config.Head)
		}
		if err := os.Remove(filepath.Join(dir, "vocab.txt")); err != nil {
			t.Fatal(err)
		}
		if _, err := Fresh(config, 1, false); err == nil {
			t.Error("without a tokenizer")
		}
	}
}
