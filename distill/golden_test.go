package distill

import (
	"math"
	"strings"
	"testing"

	"github.com/skive-ml/skive/autograd"
	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/evaluate"
	"github.com/skive-ml/skive/internal/golden"
	"github.com/skive-ml/skive/internal/gradcheck"
	"github.com/skive-ml/skive/train"
)

// Whole objectives, of a student and a teacher of other depth, width and number
// of heads, have PyTorch's values and gradients.
func TestObjectivesFollowPyTorch(t *testing.T) {
	t.Parallel()
	teacher, err := checkpoints.Open("testdata/teacher")
	if err != nil {
		t.Fatal(err)
	}
	defer teacher.Close()
	var goldens map[string]struct {
		Value     float64
		Gradients map[string][]float64
	}
	golden.JSON(t, "testdata/objective.json", &goldens)
	set, err := evaluate.Encode(golden.Model(t), golden.Data(t), 0)
	if err != nil {
		t.Fatal(err)
	}
	workers := autograd.NewWorkers(2)
	defer workers.Close()
	for name, losses := range map[string]Losses{
		"soft":             {Soft: 1, Temperature: 2},
		"logits-mse":       {LogitsMSE: 1},
		"hard":             {Hard: 1},
		"embeddings":       {Embeddings: 1},
		"hidden mse":       {Hidden: 1},
		"hidden cosine":    {Hidden: 1, HiddenDistance: Cosine},
		"hidden pkd skip":  {Hidden: 1, HiddenDistance: PKD, HiddenMap: Skip()},
		"attention mse":    {Attention: 1, HeadMeans: true},
		"attention cosine": {Attention: 1, HeadMeans: true, AttentionDistance: Cosine},
		"attention ce":     {Attention: 1, HeadMeans: true, AttentionDistance: CrossEntropy, AttentionMap: Explicit([2]int{0, 1}, [2]int{1, 2})},
		"relations":        {Relations: 1, RelationHeads: 4},
	} {
		want, ok := goldens[name]
		if !ok {
			t.Fatalf("no golden of %s", name)
		}
		o := Defaults()
		o.Losses = losses
		b := &builder{o: &o, members: []Teacher{{Model: teacher, Weight: 1}}, Setup: train.Setup{
			Model: golden.Model(t).Clone(), Train: set, Workers: workers, Options: o.Options, Steps: 1,
		}}
		objective, err := b.build()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		gradients := map[string][]float32{}
		for _, p := range objective.Parameters() {
			gradients[p.Name] = p.Gradient
			if strings.HasPrefix(p.Name, "projection.") {
				for i := range p.Weights {
					p.Weights[i] = float32(0.3 * math.Sin(float64(i)))
				}
			}
		}
		var batch data.Batch
		set.Fill(&batch, []int32{0, 1, 2, 3, 4, 5})
		loss, _, err := objective.Step(1, &batch)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if math.Abs(loss-want.Value) > 1e-4*want.Value {
			t.Errorf("%s: %.6f, PyTorch's %.6f", name, loss, want.Value)
		}
		for parameter, g := range want.Gradients {
			got := gradients[parameter]
			if e := gradcheck.RelativeError(got, g); e > 1e-3 {
				t.Errorf("%s: gradient of %s differs by %.1e of its largest element", name, parameter, e)
			}
		}
		objective.Close()
	}
}
