package onnx

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/skive-ml/skive/checkpoints"
)

// NamedModel is a model to export, and what messages call it.
type NamedModel struct {
	Name  string
	Model *checkpoints.Model
}

// CheckExports exports models and compares what the engine makes of random batches with
// ONNX Runtime, or where that is not there with the interpreter.
func CheckExports(t *testing.T, models []NamedModel) {
	t.Helper()
	dir := t.TempDir()
	paths, batches, cases := make([]string, len(models)), make([][]tokens, len(models)), make([]runCase, len(models))
	for i, m := range models {
		cfg := &m.Model.Config
		paths[i] = filepath.Join(dir, fmt.Sprint(i), ModelName)
		if _, err := Export(m.Model, Options{}, paths[i]); err != nil {
			t.Fatalf("%s: %v", m.Name, err)
		}
		cases[i].Model = paths[i]
		for seed, lengths := range [][]int{{5}, {9, 3, 20}} {
			b := randomBatch(cfg, uint64(seed), lengths...)
			batches[i], cases[i].Batches = append(batches[i], b), append(cases[i].Batches, b.input(cfg))
		}
	}
	var results []runResult
	if os.Getenv("SKIVE_ONNX_PYTHON") != "" {
		results = runPython(t, cases)
	}
	for i, m := range models {
		cfg := &m.Model.Config
		for j, b := range batches[i] {
			got := interpret(t, paths[i], b.padded(cfg))
			if perToken(cfg) {
				got = unpadded(runOutput{[]int{len(b.offsets) - 1, len(got) / (len(b.offsets) - 1) / len(cfg.Labels), len(cfg.Labels)}, got}, b)
			}
			outputs := map[string][]float32{"the interpreter": got}
			if results != nil {
				outputs["ONNX Runtime"] = results[i].Outputs[j].Values
				if perToken(cfg) {
					outputs["ONNX Runtime"] = unpadded(results[i].Outputs[j], b)
				}
			}
			want, err := engineOutputs(m.Model, "", "", b)
			if err != nil {
				t.Fatal(err)
			}
			tolerance := 1e-4
			if m.Model.DType() != checkpoints.F32 {
				tolerance = 6e-2 // a number on the edge of two steps of quantization may fall to either
			}
			for by, y := range outputs {
				if d, err := differenceOf(y, want); err != nil || !(d < tolerance*max(1, largest(want))) {
					t.Errorf("%s, batch %d: %s is %g from the engine (%v)", m.Name, j, by, d, err)
				}
			}
		}
	}
}
