package train

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
)

// tinyModel is the model of the goldens: hidden size 32, 2 layers, 4 heads, a
// vocabulary of w5 .. w99, labels red, green and blue, no dropout.
func tinyModel(t testing.TB) *checkpoints.Model {
	t.Helper()
	m, err := checkpoints.Open("testdata/tiny")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

// tinyData is the goldens' examples, turned back from ids into texts.
func tinyData(t testing.TB) *data.Dataset {
	t.Helper()
	var examples []struct {
		IDs, Types []int
		Label      int
	}
	readJSON(t, "testdata/data.json", &examples)
	ds := &data.Dataset{Task: data.Task{Name: "text", Labels: []string{"red", "green", "blue"}, Metric: "accuracy"}}
	for _, e := range examples {
		out := data.Example{Label: e.Label}
		var texts []string
		var words []string
		for _, id := range e.IDs[1:] {
			if id == 3 { // [SEP]
				texts, words = append(texts, strings.Join(words, " ")), nil
				continue
			}
			words = append(words, fmt.Sprintf("w%d", id))
		}
		out.Text = texts[0]
		if len(texts) > 1 {
			out.Pair, out.HasPair = texts[1], true
		}
		ds.Examples = append(ds.Examples, out)
	}
	return ds
}

func readJSON(t testing.TB, path string, v any) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, v); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// Twenty steps of AdamW in PyTorch on the same batches.
func TestTrainingFollowsPyTorch(t *testing.T) {
	var golden struct {
		Steps []struct {
			Step     int
			LR       float64
			Loss     float64
			GradNorm float64 `json:"grad_norm"`
		}
		FinalSums map[string]float64 `json:"final_sums"`
	}
	readJSON(t, "testdata/train.json", &golden)
	o := Defaults()
	o.Steps, o.BatchSize, o.LearningRate, o.NoShuffle = 20, 8, 1e-3, true
	o.Warmup = 0.1
	o.Threads = 1
	model, result, err := Run(context.Background(), tinyModel(t), tinyData(t), nil, o)
	if err != nil {
		t.Fatal(err)
	}
	if len(result.History) != len(golden.Steps) {
		t.Fatalf("%d steps, want %d", len(result.History), len(golden.Steps))
	}
	for i, want := range golden.Steps {
		got := result.History[i]
		if got.Step != want.Step || math.Abs(got.LR-want.LR) > 1e-9 {
			t.Errorf("step %d at rate %g, want step %d at %g", got.Step, got.LR, want.Step, want.LR)
		}
		if math.Abs(got.Loss-want.Loss) > 1e-3 {
			t.Errorf("step %d: loss %.6f, PyTorch's %.6f", got.Step, got.Loss, want.Loss)
		}
		if math.Abs(got.GradNorm-want.GradNorm) > 0.01*want.GradNorm {
			t.Errorf("step %d: gradient norm %.6f, PyTorch's %.6f", got.Step, got.GradNorm, want.GradNorm)
		}
	}
	for name, want := range golden.FinalSums {
		var got, size float64
		for _, v := range model.Tensors[name].Float32s() {
			got += float64(v)
			size += math.Abs(float64(v))
		}
		if math.Abs(got-want) > 1e-3*max(1, size) {
			t.Errorf("%s: the weights sum to %.5f, PyTorch's to %.5f", name, got, want)
		}
	}
}
