// Package golden reads the tiny model and its data set, whose goldens PyTorch made
// (train/testdata/goldens.py). The tests of the packages that train it use them.
package golden

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
)

// dir is relative to a package at the top level of the module.
const dir = "../train/testdata"

// Model opens the model: hidden size 32, 2 layers, 4 heads, a vocabulary of
// w5 .. w99, labels red, green and blue, no dropout.
func Model(t testing.TB) *checkpoints.Model {
	t.Helper()
	m, err := checkpoints.Open(filepath.Join(dir, "tiny"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

// Data reads the examples, converted from ids back to texts.
func Data(t testing.TB) *data.Dataset {
	t.Helper()
	var examples []struct {
		IDs   []int
		Label int
	}
	JSON(t, filepath.Join(dir, "data.json"), &examples)
	ds := &data.Dataset{Task: data.Task{Name: "text", Labels: []string{"red", "green", "blue"}, Metric: "accuracy"}}
	for _, e := range examples {
		var texts, words []string
		for _, id := range e.IDs[1:] {
			if id == 3 { // [SEP]
				texts, words = append(texts, strings.Join(words, " ")), nil
				continue
			}
			words = append(words, fmt.Sprintf("w%d", id))
		}
		x := data.Example{Text: texts[0], Label: e.Label}
		if len(texts) > 1 {
			x.Pair, x.HasPair = texts[1], true
		}
		ds.Examples = append(ds.Examples, x)
	}
	return ds
}

// JSON reads a file of goldens into v.
func JSON(t testing.TB, path string, v any) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, v); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// Tensors reads a safetensors file of float32 tensors.
func Tensors(t testing.TB, path string) map[string][]float32 {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	n := binary.LittleEndian.Uint64(b)
	var header map[string]struct {
		Offsets [2]int `json:"data_offsets"`
	}
	if err := json.Unmarshal(b[8:8+n], &header); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	tensors := make(map[string][]float32)
	for name, h := range header {
		for at := 8 + int(n) + h.Offsets[0]; at < 8+int(n)+h.Offsets[1]; at += 4 {
			tensors[name] = append(tensors[name], math.Float32frombits(binary.LittleEndian.Uint32(b[at:])))
		}
	}
	return tensors
}
