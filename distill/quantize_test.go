package distill

import (
	"context"
	"maps"
	"testing"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/evaluate"
	"github.com/skive-ml/skive/internal/golden"
	"github.com/skive-ml/skive/pruning"
	"github.com/skive-ml/skive/quantize"
)

// A float student is taught with the int8 engine's arithmetic, by every kind of
// loss, and what the run measures is what the quantized student does.
func TestQuantizeAwareDistillation(t *testing.T) {
	t.Parallel()
	teacher, ds := golden.Model(t), golden.Data(t)
	dev := &data.Dataset{Task: ds.Task, Examples: ds.Examples[100:160]}
	for _, activations := range []string{quantize.Dynamic, quantize.Static} {
		o := everything()
		o.QuantizeAware = activations
		student, r, err := Run(context.Background(), teacher, narrowStudent(t, teacher), ds, dev, o)
		if err != nil {
			t.Fatal(err)
		}
		q, err := quantize.Int8(student)
		if err != nil {
			t.Fatal(err)
		}
		metrics, err := evaluate.Model(context.Background(), q, dev, evaluate.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if !maps.Equal(metrics, r.Best.Metrics) {
			t.Errorf("%s: the int8 student measures %v, the run says %v", activations, metrics, r.Best.Metrics)
		}
		first, last := r.History[0], r.History[len(r.History)-1]
		if !(last.Loss < 0.8*first.Loss) {
			t.Errorf("%s: the loss goes from %.3f to %.3f", activations, first.Loss, last.Loss)
		}
	}

	// Without a head and without labels, the scales are those of all tokens.
	text := &data.Dataset{Task: data.Task{Name: "text", Metric: "accuracy"}}
	for _, e := range ds.Examples {
		text.Examples = append(text.Examples, data.Example{Text: e.Text, Label: -1})
	}
	o := everything()
	o.Soft, o.Hard, o.LogitsMSE, o.Epochs, o.QuantizeAware = 0, 0, 0, 1, quantize.Static
	encoder, _, err := General(context.Background(), teacher, narrowStudent(t, teacher), text, o)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := encoder.Tensors[checkpoints.InputScaleOf("bert.encoder.layer.0.output.dense.weight")]; !ok || encoder.HasHead() {
		t.Error("the encoder has no learned scales, or a head")
	}
	// A student made of it begins anew.
	s, err := StudentFromLayers(encoder, []int{0})
	if err != nil {
		t.Fatal(err)
	}
	narrow, err := Narrow(context.Background(), encoder, []int{0}, Size{Hidden: 8}, nil, pruning.ImportanceOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Tensors) != len(encoder.Tensors)-6 || len(narrow.Tensors) != len(s.Tensors) {
		t.Errorf("students of %d and %d tensors, want the encoder's %d but 6 scales", len(s.Tensors), len(narrow.Tensors), len(encoder.Tensors))
	}
}
