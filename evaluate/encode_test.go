package evaluate

import (
	"path/filepath"
	"testing"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/internal/golden"
)

// A data set that remembers its encodings is encoded once for each tokenizer and length,
// whichever model reads it and from whatever file; with other labels it is another one.
func TestEncodedOnce(t *testing.T) {
	t.Parallel()
	m, ds := golden.Model(t), golden.Data(t)
	again, err := Encode(m, ds, 0)
	if err != nil {
		t.Fatal(err)
	}
	if enc, err := Encode(m, ds, 0); err != nil || enc == again {
		t.Error("it is remembered without being asked")
	}
	ds.Remember()
	first, err := Encode(m, ds, 0)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	hf, skive := filepath.Join(dir, "hf"), filepath.Join(dir, "m.skive")
	if err := m.SaveHF(hf); err != nil {
		t.Fatal(err)
	}
	if err := m.SaveSkive(skive); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{hf, skive} {
		saved, err := checkpoints.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer saved.Close()
		if enc, err := Encode(saved, ds, m.Config.MaxTokens()); err != nil || enc != first {
			t.Errorf("%s: it is encoded again, %v", path, err)
		}
	}
	if enc, err := Encode(m, ds, 8); err != nil || enc == first || enc.Longest() > 8 {
		t.Errorf("another length is not cut: %v", err)
	}
	if part := ds.First(3); part != ds.First(3) || ds.First(1000) != ds {
		t.Error("a part is made twice")
	}
	one := m.Clone()
	one.Config.TypeVocabSize = 1
	if enc, err := Encode(one, ds, 0); err != nil || enc == first {
		t.Errorf("a model of one token type shares it: %v", err)
	}
	other, err := ds.Relabel([]string{"green", "red", "blue"})
	if err != nil {
		t.Fatal(err)
	}
	if enc, err := Encode(m, other, 0); err != nil || enc == first || enc.Label(0) == first.Label(0) && enc.Label(1) == first.Label(1) && enc.Label(2) == first.Label(2) {
		t.Errorf("other labels share it: %v", err)
	}
}
