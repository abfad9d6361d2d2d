package compress

import (
	"context"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/evaluate"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/progress/terminal"
	"github.com/skive-ml/skive/quantize"
)

// The student and every variant are trained for int8 before they are quantized,
// and that stage too is done once.
func TestQuantizeAwareStage(t *testing.T) {
	t.Parallel()
	r := tiny()
	r.Prune = r.Prune[:1]
	aware := r.Recover
	aware.QuantizeAware = quantize.Static
	r.QuantizeAware = &aware
	dir := filepath.Join(t.TempDir(), "out")
	var steps strings.Builder
	for round := range 2 {
		steps.Reset()
		report, err := Run(context.Background(), r, Options{Force: true, Output: dir, Threads: 2, Progress: terminal.New(&steps)})
		if err != nil {
			t.Fatal(err)
		}
		if len(report.Rows) != 6 {
			t.Fatalf("%d rows, want 6", len(report.Rows))
		}
		if again := strings.Contains(steps.String(), "student-quantize-aware: step"); again != (round == 0) {
			t.Errorf("round %d: trained for int8: %v", round, again)
		}
		for _, name := range []string{"student", "pruned-25-25"} {
			float, err := checkpoints.Open(filepath.Join(dir, name+quantizeAwareSuffix))
			if err != nil {
				t.Fatal(err)
			}
			defer float.Close()
			file, err := checkpoints.Open(filepath.Join(dir, name+"-int8.skive"))
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			for _, w := range quantize.LinearWeights(float.Config) {
				a, b := float.Tensors[checkpoints.InputScaleOf(w)], file.Tensors[checkpoints.InputScaleOf(w)]
				if len(a.Data) != 4 || string(a.Data) != string(b.Data) {
					t.Errorf("%s: the file's scale of the input of %s is not the trained one", name, w)
				}
			}
			last := float.Provenance[len(float.Provenance)-1]
			dev := (&run{Recipe: r, Options: Options{Force: true, Output: dir}})
			if err := dev.load(); err != nil {
				t.Fatal(err)
			}
			metrics, err := evaluate.Model(context.Background(), file, dev.dev, evaluate.Options{MaxLength: r.MaxLength, DType: infer.Int8})
			if err != nil || metrics["loss"] != last.Measured["dev_loss"] {
				t.Errorf("%s: the file's loss is %v, its training says %v (%v)", name, metrics["loss"], last.Measured["dev_loss"], err)
			}
		}
	}
}

// What a recipe does not say of the stage is the default recovery's.
func TestQuantizeAwareRecipe(t *testing.T) {
	t.Parallel()
	read := func(text string) (Recipe, error) {
		path := filepath.Join(t.TempDir(), "recipe.yaml")
		if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
		return ReadRecipe(path, nil)
	}
	r, err := read("quantize_aware: {activations: static, lr: 0.001}")
	if err != nil {
		t.Fatal(err)
	}
	want := Default().Recover
	want.QuantizeAware, want.LearningRate = quantize.Static, 0.001
	if r.QuantizeAware == nil || !reflect.DeepEqual(*r.QuantizeAware, want) {
		t.Errorf("%+v, want %+v", r.QuantizeAware, want)
	}
	text, err := r.YAML()
	if err != nil {
		t.Fatal(err)
	}
	if back, err := read(string(text)); err != nil || !reflect.DeepEqual(back, r) {
		t.Errorf("read back as %+v: %v", back.QuantizeAware, err)
	}
	if r, err = read("quantize_aware: {epochs: 2}"); err != nil || r.QuantizeAware.QuantizeAware != quantize.Dynamic || r.QuantizeAware.Epochs != 2 || r.QuantizeAware.Steps != 0 {
		t.Errorf("%+v (%v)", r.QuantizeAware, err)
	}
	for text, want := range map[string]string{
		"quantize_aware: {activations: int4}": "quantize_aware.activations",
		"quantize_aware: {lr: -1}":            "quantize_aware.lr",
		"quantize_aware: {soft: -1}":          "quantize_aware.soft",
	} {
		if _, err := read(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one that names %s", text, err, want)
		}
	}
}
