package tokenize

import (
	"io"
	"testing"
)

// SentencePieceModel is one of the models of testdata/unigram.py.
func SentencePieceModel(t testing.TB, name string) []byte {
	t.Helper()
	b, err := io.ReadAll(unzip(t, "spm_"+name+".model.gz"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// CharsMap is the table of characters of a SentencePiece model.
func CharsMap(t testing.TB, model []byte) []byte {
	t.Helper()
	m, err := readSentencePiece(model)
	if err != nil {
		t.Fatal(err)
	}
	return m.charsMap
}

// GoldenFile is the tokenizer.json of a golden.
func GoldenFile(t testing.TB, name string, number int) string {
	t.Helper()
	return goldens(t, name)[number].Tokenizer
}
