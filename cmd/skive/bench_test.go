package main

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/skive-ml/skive/checkpoints"
)

// Inputs are read as predict answers them: a pair is one sequence, and so is
// each choice with its text.
func TestReadBatches(t *testing.T) {
	m, err := checkpoints.Open(filepath.Join("..", "..", "train", "testdata", "tiny"))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	path := filepath.Join(t.TempDir(), "inputs")
	inputs := "w1 w2\n" + `{"text": "w1", "text_pair": "w2"}` + "\n" + `{"text": "w1", "choices": ["w2", "w3 w4"]}` + "\n"
	if err := os.WriteFile(path, []byte(inputs), 0o666); err != nil {
		t.Fatal(err)
	}
	batches, err := readBatches(m, path, 8, 64)
	if err != nil {
		t.Fatal(err)
	}
	if len(batches) != 1 || !slices.Equal(batches[0].offsets, []int32{0, 4, 9, 14, 20}) || batches[0].examples != 3 {
		t.Errorf("%d batches, the first of %d examples with offsets %v", len(batches), batches[0].examples, batches[0].offsets)
	}
	if batches, err = readBatches(m, path, 2, 64); err != nil || len(batches) != 2 || batches[1].examples != 1 || len(batches[1].offsets) != 3 {
		t.Errorf("%d batches of 2 inputs (%v)", len(batches), err)
	}
}
