package pruning

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/skive-ml/skive/autograd"
	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/evaluate"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/internal/golden"
	"github.com/skive-ml/skive/layers"
	"github.com/skive-ml/skive/train"
)

// The same definitions computed by PyTorch.
func TestImportanceFollowsPyTorch(t *testing.T) {
	t.Parallel()
	var pytorch struct {
		BatchSize                                          int `json:"batch_size"`
		Exact, Predictions, Fisher, FastFormers, Magnitude Scores
	}
	golden.JSON(t, "testdata/importance.json", &pytorch)
	m, ds := golden.Model(t), golden.Data(t)
	for _, c := range []struct {
		method      Method
		predictions bool
		want        Scores
	}{
		{Exact, false, pytorch.Exact}, {Exact, true, pytorch.Predictions}, {Fisher, false, pytorch.Fisher},
		{FastFormers, false, pytorch.FastFormers}, {Magnitude, false, pytorch.Magnitude},
	} {
		got, err := Importance(context.Background(), m, ds, ImportanceOptions{Method: c.method, Predictions: c.predictions, BatchSize: pytorch.BatchSize})
		if err != nil {
			t.Fatal(err)
		}
		if c.method != Magnitude && got.Examples != len(ds.Examples) {
			t.Errorf("%s: %d examples, want %d", c.method, got.Examples, len(ds.Examples))
		}
		for l := range m.Config.Layers {
			compare(t, fmt.Sprintf("%s: heads of layer %d", c.method, l), got.Heads[l], c.want.Heads[l])
			compare(t, fmt.Sprintf("%s: units of layer %d", c.method, l), got.FFN[l], c.want.FFN[l])
		}
	}
}

// compare demands scores within 1e-3 of the layer's largest and the same
// ranking up to ties within that.
func compare(t *testing.T, what string, got, want []float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %d scores, want %d", what, len(got), len(want))
		return
	}
	tie := 1e-3 * slices.Max(want)
	for i := range want {
		if math.Abs(got[i]-want[i]) > tie {
			t.Errorf("%s: number %d scores %g, PyTorch's %g", what, i, got[i], want[i])
			return
		}
	}
	order := make([]int, len(got))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(got[b], got[a]) })
	for i := 1; i < len(order); i++ {
		if want[order[i]] > want[order[i-1]]+tie {
			t.Errorf("%s: number %d ranks below %d", what, order[i], order[i-1])
		}
	}
}

func TestExactDoesNotDependOnBatchesOrThreads(t *testing.T) {
	t.Parallel()
	m, ds := golden.Model(t), golden.Data(t)
	want, err := Importance(context.Background(), m, ds, ImportanceOptions{BatchSize: 1, Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range []ImportanceOptions{{BatchSize: 7, Threads: 2}, {BatchSize: 160, Threads: 1}} {
		got, err := Importance(context.Background(), m, ds, o)
		if err != nil {
			t.Fatal(err)
		}
		for l := range want.Heads {
			for i, w := range slices.Concat(want.Heads[l], want.FFN[l]) {
				if g := slices.Concat(got.Heads[l], got.FFN[l])[i]; math.Abs(g-w) > 1e-5*w+1e-9 {
					t.Fatalf("batches of %d: layer %d: number %d scores %g, in batches of 1 %g", o.BatchSize, l, i, g, w)
				}
			}
		}
	}
}

func TestPredictionsNeedNoLabels(t *testing.T) {
	t.Parallel()
	m, ds := golden.Model(t), golden.Data(t)
	ds.Examples = ds.Examples[:20]
	for i := range ds.Examples {
		ds.Examples[i].Label = -1
	}
	if _, err := Importance(context.Background(), m, ds, ImportanceOptions{Predictions: true}); err != nil {
		t.Error(err)
	}
	var label *evaluate.LabelError
	if _, err := Importance(context.Background(), m, ds, ImportanceOptions{}); !errors.As(err, &label) || label.Example != 1 {
		t.Errorf("without labels: error %v, want a LabelError", err)
	}
}

func TestImportanceRefuses(t *testing.T) {
	t.Parallel()
	m, ds := golden.Model(t), golden.Data(t)
	for _, c := range []struct {
		ds   *data.Dataset
		o    ImportanceOptions
		want string
	}{
		{&data.Dataset{}, ImportanceOptions{}, "importance: no examples"},
		{nil, ImportanceOptions{}, "importance: no examples"},
		{ds, ImportanceOptions{Method: "random"}, `Method: "random", expected exact, fisher, fastformers, magnitude`},
		{ds, ImportanceOptions{BatchSize: -1}, "BatchSize: -1"},
		{ds, ImportanceOptions{Limit: -1}, "Limit: -1"},
	} {
		if _, err := Importance(context.Background(), m, c.ds, c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want one with %q", err, c.want)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Importance(ctx, m, ds, ImportanceOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: error %v", err)
	}
}

// The rewired model computes what the original computes under the mask.
func TestRewiredModelEqualsTheMaskedOriginal(t *testing.T) {
	t.Parallel()
	m := golden.Model(t)
	r := rand.New(rand.NewPCG(1, 2))
	some := func(n, keep int) []int {
		kept := r.Perm(n)[:keep]
		slices.Sort(kept)
		return kept
	}
	masks := Masks{Heads: [][]int{some(4, 3), some(4, 1)}, FFN: [][]int{some(64, 17), some(64, 40)}}
	small, err := Rewire(m, masks)
	if err != nil {
		t.Fatal(err)
	}
	enc, err := evaluate.Encode(m, golden.Data(t), 0)
	if err != nil {
		t.Fatal(err)
	}
	var batch data.Batch
	examples := make([]int32, 40)
	for i := range examples {
		examples[i] = int32(i)
	}
	enc.Fill(&batch, examples)

	g := autograd.New(autograd.Options{})
	defer g.Close()
	in := layers.NewInputs(g)
	c, err := layers.NewClassifier(g, in, m, layers.Options{Frozen: true, HeadMasks: true, FFNMasks: true})
	if err != nil {
		t.Fatal(err)
	}
	s, err := autograd.NewSession(g, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := in.Set(batch.IDs, batch.TypeIDs, batch.Positions, batch.Offsets); err != nil {
		t.Fatal(err)
	}
	for l, layer := range c.Layers {
		for _, x := range []struct {
			node *autograd.Node
			kept []int
			n    int
		}{{layer.HeadMask, masks.Heads[l], 4}, {layer.FFNMask, masks.FFN[l], 64}} {
			mask := make([]float32, len(examples)*x.n)
			for row := range examples {
				for _, k := range x.kept {
					mask[row*x.n+k] = 1
				}
			}
			if err := g.Set(x.node, mask); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := s.Run(); err != nil {
		t.Fatal(err)
	}
	masked := s.Value(c.Logits)

	engine, err := infer.New(small, infer.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer engine.Close()
	pruned, err := engine.PredictTokens(nil, batch.IDs, batch.TypeIDs, batch.Offsets)
	if err != nil {
		t.Fatal(err)
	}
	if len(pruned) != len(masked) {
		t.Fatalf("%d logits, want %d", len(pruned), len(masked))
	}
	for i, want := range masked {
		if math.Abs(float64(pruned[i]-want)) > 1e-5 {
			t.Fatalf("logit %d of the pruned model is %v, of the masked one %v", i, pruned[i], want)
		}
	}

	// It can be stored, read, and trained.
	dir := t.TempDir() + "/pruned"
	if err := small.SaveHF(dir); err != nil {
		t.Fatal(err)
	}
	back, err := checkpoints.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer back.Close()
	o := train.Defaults()
	o.Steps = 2
	if _, _, err := train.Run(context.Background(), back, golden.Data(t), nil, o); err != nil {
		t.Errorf("training the pruned model: %v", err)
	}
}
