package compress

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/onnx"
)

// A recipe takes a directory of ModernBERT from fine-tuning to the int8 file of a
// pruned student, which goes out to Hugging Face and ONNX.
func TestRecipeOfModernBERT(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var rows strings.Builder // the first word decides
	rows.WriteString("text,label\n")
	for i := range 90 {
		fmt.Fprintf(&rows, "w%d w%d w%d,%s\n", 5+i%3, 10+i/3, 12+i%7, []string{"red", "green", "blue"}[i%3])
	}
	file := write(t, filepath.Join(dir, "colours.csv"), rows.String())
	r := ForModel(filepath.Join("..", "train", "testdata", "modernbert"), "text", file, file)
	r.Teacher.Steps, r.Teacher.BatchSize, r.Teacher.LearningRate, r.Search = 60, 16, 1e-2, 1
	r.Distill.Steps, r.Distill.BatchSize, r.Distill.Hidden, r.Distill.Relations = 8, 8, 0.1, 0.1
	out := filepath.Join(dir, "out")
	if _, err := Run(t.Context(), r, Options{Output: out, Threads: 2}); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(out, "*"+checkpoints.Extension))
	if err != nil || len(files) == 0 {
		t.Fatalf("no model in %s: %v", out, err)
	}
	pruned := false
	for _, path := range files {
		m, err := checkpoints.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		if len(m.Config.Local) != len(m.Config.Layers) || !m.Config.Rotary() {
			t.Errorf("%s: %d layers with windows %v", path, len(m.Config.Layers), m.Config.Local)
		}
		for _, size := range m.Config.Layers {
			pruned = pruned || size != (checkpoints.LayerSize{Heads: 2, Intermediate: 24})
		}
		e, err := infer.New(m, infer.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if p, err := e.Predict(t.Context(), []infer.Input{{Text: "w5 w7"}}); err != nil || len(p) != 1 {
			t.Errorf("%s: %v, %v", path, p, err)
		}
		e.Close()
		// The export compares the graph with the engine.
		if _, err := onnx.Export(m, onnx.Options{}, filepath.Join(t.TempDir(), "onnx")); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
	if !pruned {
		t.Errorf("none of %v is pruned", files)
	}
	if _, err := os.Stat(filepath.Join(out, reportFile)); err != nil {
		t.Error(err)
	}
}
