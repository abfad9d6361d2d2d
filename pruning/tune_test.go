package pruning

import (
	"context"
	"math"
	"reflect"
	"testing"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/evaluate"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/internal/golden"
)

// Rearrangement keeps what the paper's own program keeps, and tuning gives the
// logits of the same least squares in PyTorch.
func TestRearrangeAndTuneFollowPyTorch(t *testing.T) {
	t.Parallel()
	var pytorch struct {
		Heads, FFN    [][]int
		Before, After [][]float64
	}
	golden.JSON(t, "testdata/tuning.json", &pytorch)
	ctx, m, ds := context.Background(), golden.Model(t), golden.Data(t)
	gradients, err := MaskGradients(ctx, m, ds, ImportanceOptions{})
	if err != nil {
		t.Fatal(err)
	}
	fisher, err := Importance(ctx, m, ds, ImportanceOptions{Method: Fisher})
	if err != nil {
		t.Fatal(err)
	}
	if got := gradients.Scores(Fisher); !reflect.DeepEqual(got, fisher) {
		t.Error("the gradients' sum of squares differs from Importance's")
	}
	want := Masks{Heads: pytorch.Heads, FFN: pytorch.FFN}
	masks, err := SelectSizes(fisher, m.Config, want.sizes())
	if err != nil {
		t.Fatal(err)
	}
	if masks, err = Rearrange(masks, gradients); err != nil || !reflect.DeepEqual(masks, want) {
		t.Errorf("kept %v, error %v; want %v", masks, err, want)
	}

	pruned, err := Rewire(m, want)
	if err != nil {
		t.Fatal(err)
	}
	tuned, err := Tune(ctx, m, pruned, ds, TuneOptions{})
	if err != nil {
		t.Fatal(err)
	}
	enc, err := evaluate.Encode(m, &data.Dataset{Task: ds.Task, Examples: ds.Examples[:len(pytorch.After)]}, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		model *checkpoints.Model
		want  [][]float64
	}{{"before tuning", pruned, pytorch.Before}, {"after tuning", tuned, pytorch.After}} {
		logits, err := evaluate.Logits(ctx, c.model, enc, infer.Options{Threads: 1})
		if err != nil {
			t.Fatal(err)
		}
		for i, row := range c.want {
			for j, v := range row {
				if got := float64(logits[i*len(row)+j]); math.Abs(got-v) > 1e-4 {
					t.Fatalf("%s: logit %d of example %d is %v, PyTorch's %v", c.name, j, i, got, v)
				}
			}
		}
	}
}

// A model that lost nothing is left as it is.
func TestTuneOfAnUnprunedModel(t *testing.T) {
	t.Parallel()
	m := golden.Model(t)
	tuned, err := Tune(context.Background(), m, m, golden.Data(t), TuneOptions{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	for name, w := range m.Tensors {
		for i, v := range tuned.Tensors[name].Float32s() {
			if v != w.Float32s()[i] {
				t.Fatalf("tensor %s changed", name)
			}
		}
	}
}
