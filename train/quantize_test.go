package train

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/skive-ml/skive/autograd"
	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/evaluate"
	"github.com/skive-ml/skive/head"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/internal/golden"
	"github.com/skive-ml/skive/layers"
	"github.com/skive-ml/skive/quantize"
	"github.com/skive-ml/skive/settings"
)

// quantizeAware is a run that trains for int8.
func quantizeAware(activations string) Options {
	o := quick()
	o.QuantizeAware, o.QuantizeEmbeddings = activations, true
	return o
}

// inInt8 is the model as `skive quantize --embeddings` makes it, from a file.
func inInt8(t *testing.T, m *checkpoints.Model) *checkpoints.Model {
	t.Helper()
	q, err := quantize.Int8Weights(m, append(quantize.LinearWeights(m.Config), quantize.Embeddings()...))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "m"+checkpoints.Extension)
	if err := q.SaveSkive(path); err != nil {
		t.Fatal(err)
	}
	if q, err = checkpoints.Open(path); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { q.Close() })
	return q
}

func scalesOf(m *checkpoints.Model) map[string]float32 {
	scales := make(map[string]float32)
	for _, w := range quantize.LinearWeights(m.Config) {
		if s, ok := m.Tensors[checkpoints.InputScaleOf(w)]; ok {
			scales[w] = s.Float32s()[0]
		}
	}
	return scales
}

// The model that a run leaves in its directory, quantized, has the metrics that
// the run measured, and the logits of the graph that trained it, bit for bit.
func TestWhatIsTrainedIsWhatIsServed(t *testing.T) {
	t.Parallel()
	ds := golden.Data(t)
	for _, family := range []string{"tiny", "roberta", "mpnet", "distilbert", "electra", "albert", "modernbert", "nomic_bert", "gte", "deberta-v2"} {
		for _, activations := range []string{quantize.Dynamic, quantize.Static} {
			start, err := checkpoints.Open(filepath.Join("testdata", family))
			if err != nil {
				t.Fatal(err)
			}
			defer start.Close()
			o := quantizeAware(activations)
			o.Output = filepath.Join(t.TempDir(), "out")
			m, r, err := Run(context.Background(), start, subset(ds, 0, 100), subset(ds, 100, 160), o)
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			served := inInt8(t, m)
			metrics, err := evaluate.Model(context.Background(), served, subset(ds, 100, 160), evaluate.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if !maps.Equal(metrics, r.Best.Metrics) {
				t.Errorf("%s, %s: the int8 file measures %v, the run says %v", family, activations, metrics, r.Best.Metrics)
			}
			scales := len(scalesOf(served))
			if want := map[string]int{quantize.Static: len(quantize.LinearWeights(m.Config))}[activations]; scales != want {
				t.Errorf("%s, %s: the int8 file has %d scales of inputs, want %d", family, activations, scales, want)
			}

			enc, err := evaluate.Encode(m, ds, 0)
			if err != nil {
				t.Fatal(err)
			}
			want, err := evaluate.Logits(context.Background(), served, enc, infer.Options{})
			if err != nil {
				t.Fatal(err)
			}
			g := autograd.New(autograd.Options{})
			defer g.Close()
			in := layers.NewInputs(g)
			options := o.Layers()
			options.Dropout = false
			c, err := layers.NewClassifier(g, in, m, options)
			if err != nil {
				t.Fatal(err)
			}
			s, err := autograd.NewSession(g, nil)
			if err != nil {
				t.Fatal(err)
			}
			var b data.Batch
			all := make([]int32, enc.Len())
			for i := range all {
				all[i] = int32(i)
			}
			enc.Fill(&b, all)
			if err := errors.Join(in.Set(b.IDs, b.TypeIDs, b.Positions, b.Offsets), s.Run()); err != nil {
				t.Fatal(err)
			}
			for i, v := range s.Value(c.Logits) {
				if math.Float32bits(v) != math.Float32bits(want[i]) {
					t.Fatalf("%s, %s: the graph's logit %d is %v, the file's %v", family, activations, i, v, want[i])
				}
			}
		}
	}
}

func TestQuantizeAwareBitsForAnyNumberOfThreads(t *testing.T) {
	t.Parallel()
	for _, activations := range []string{quantize.Dynamic, quantize.Static} {
		var first *checkpoints.Model
		for _, threads := range []int{1, 2, 7} {
			o := quantizeAware(activations)
			o.Threads = threads
			m, _ := run(t, o)
			if first == nil {
				first = m
			}
			if !sameWeights(first, m) {
				t.Errorf("%s: %d threads give other weights than 1", activations, threads)
			}
		}
	}
}

// Learned scales and their moments are part of the training state.
func TestResumingAQuantizeAwareRun(t *testing.T) {
	t.Parallel()
	ds := golden.Data(t)
	for _, activations := range []string{quantize.Dynamic, quantize.Static} {
		want, _ := run(t, quantizeAware(activations))
		o := quantizeAware(activations)
		o.Output, o.Resume = filepath.Join(t.TempDir(), "out"), true
		for _, stop := range []int{3, 13} {
			ctx, cancel := context.WithCancel(context.Background())
			o.OnStep = func(r Record) {
				if r.Step == stop {
					cancel()
				}
			}
			if _, _, err := Run(ctx, golden.Model(t), subset(ds, 0, 100), subset(ds, 100, 160), o); !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
			cancel()
		}
		o.OnStep = nil
		got, r := run(t, o)
		if r.Resumed != 13 || !sameWeights(got, want) {
			t.Errorf("%s: resumed after step %d: other weights than those of the uninterrupted run", activations, r.Resumed)
		}
		var settings *SettingsError
		o.QuantizeAware = ""
		o.QuantizeEmbeddings = false
		if _, _, err := Run(context.Background(), golden.Model(t), subset(ds, 0, 100), subset(ds, 100, 160), o); !errors.As(err, &settings) {
			t.Errorf("resuming in float: error %v", err)
		}
	}
}

// Scales begin with the calibration, are learned, and are where a second run
// begins; a run that does not train them leaves none.
func TestScalesAreLearned(t *testing.T) {
	t.Parallel()
	ds := golden.Data(t)
	trainSet := subset(ds, 0, 100)
	fit := func(m *checkpoints.Model, o Options) *checkpoints.Model {
		t.Helper()
		out, _, err := Run(context.Background(), m, trainSet, nil, o)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	still := quantizeAware(quantize.Static)
	still.LearningRate = 0
	calibrated := fit(golden.Model(t), still)
	var c quantize.Calibration
	enc, err := evaluate.Encode(golden.Model(t), trainSet, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := evaluate.Logits(context.Background(), golden.Model(t), enc, infer.Options{Observe: c.Observe}); err != nil {
		t.Fatal(err)
	}
	want, err := c.Scales(quantize.LinearWeights(calibrated.Config), quantize.MinMax)
	if err != nil {
		t.Fatal(err)
	}
	if got := scalesOf(calibrated); !maps.Equal(got, want) {
		t.Errorf("a run begins with scales %v, calibrated are %v", got, want)
	}

	o := quantizeAware(quantize.Static)
	o.MaxGradNorm = 0
	learned := fit(golden.Model(t), o)
	for w, scale := range scalesOf(learned) {
		// 21 steps of at most 2e-3 of the scale.
		if change := math.Abs(float64(scale/want[w] - 1)); change == 0 || change > 21*2e-3 {
			t.Errorf("the scale of the input of %s changes by %.2g of itself", w, change)
		}
		for _, other := range []string{"key", "value"} {
			if same := strings.Replace(w, "self.query", "self."+other, 1); scalesOf(learned)[same] != scale {
				t.Errorf("%s has another scale than %s", same, w)
			}
		}
	}
	if again := fit(learned, still); !maps.Equal(scalesOf(again), scalesOf(learned)) {
		t.Error("a second run does not begin with the learned scales")
	}
	for _, o := range []Options{quick(), quantizeAware(quantize.Dynamic)} {
		if n := len(scalesOf(fit(learned, o))); n != 0 {
			t.Errorf("a run with quantize-aware %q leaves %d scales of another model", o.QuantizeAware, n)
		}
	}
}

// Of a model that int8 harms, training for int8 makes a better int8 model than
// training in float does.
func TestQuantizeAwareTrainingPaysInInt8(t *testing.T) {
	t.Parallel()
	ds := golden.Data(t)
	o := Defaults()
	o.Epochs, o.BatchSize, o.LearningRate = 10, 16, 2e-3
	float, _, err := Run(context.Background(), golden.Model(t), ds, nil, o)
	if err != nil {
		t.Fatal(err)
	}
	// The output weight of a unit that is always zero leaves few levels for the
	// weights of the others.
	coarse := float.Clone()
	for l := range coarse.Config.Layers {
		p := fmt.Sprintf("bert.encoder.layer.%d.", l)
		coarse.Tensors[p+"intermediate.dense.bias"].Float32s()[0] = -100
		w := coarse.Tensors[p+"output.dense.weight"]
		for row := range slices.Chunk(w.Float32s(), w.Shape[1]) {
			row[0] = 60
		}
	}
	loss := map[string]float64{}
	for _, activations := range []string{"", quantize.Dynamic, quantize.Static} {
		o.Epochs, o.LearningRate = 5, 5e-4
		o.QuantizeAware, o.QuantizeEmbeddings = activations, activations != ""
		m, _, err := Run(context.Background(), coarse, ds, nil, o)
		if err != nil {
			t.Fatal(err)
		}
		metrics, err := evaluate.Model(context.Background(), inInt8(t, m), ds, evaluate.Options{})
		if err != nil {
			t.Fatal(err)
		}
		loss[activations] = metrics["loss"]
	}
	if float := loss[""]; !(loss[quantize.Dynamic] < 0.9*float && loss[quantize.Static] < 0.9*float) {
		t.Errorf("losses in int8 by the activations that were trained: %v", loss)
	}
}

func TestQuantizeAwareRecomputation(t *testing.T) {
	t.Parallel()
	for _, activations := range []string{quantize.Dynamic, quantize.Static} {
		o := quantizeAware(activations)
		want, _ := run(t, o)
		o.Recompute = true
		if got, _ := run(t, o); !sameWeights(got, want) {
			t.Errorf("%s: recomputation gives other weights", activations)
		}
	}
}

// A model with any head is trained for int8.
func TestQuantizeAwareTrainingOfEveryHead(t *testing.T) {
	t.Parallel()
	for _, kind := range toyKinds {
		o := quantizeAware(quantize.Static)
		o.Epochs, o.EvalEvery, o.MaxLength = 1, 0, 32
		trainSet, dev := toy(kind, 48, 1), toy(kind, 16, 2)
		if kind == head.MaskedLM {
			var wrong *settings.Error
			if _, _, err := Run(context.Background(), tinyEncoder(t), trainSet, dev, o); !errors.As(err, &wrong) || wrong.Field != "QuantizeEmbeddings" {
				t.Errorf("embeddings of a masked language model in int8: error %v", err)
			}
			o.QuantizeEmbeddings = false
		}
		m, r, err := Run(context.Background(), tinyEncoder(t), trainSet, dev, o)
		if err != nil {
			t.Errorf("%s: %v", kind, err)
			continue
		}
		q, err := quantize.Int8(m)
		if o.QuantizeEmbeddings {
			q, err = inInt8(t, m), nil
		}
		if err != nil {
			t.Fatal(err)
		}
		metrics, err := evaluate.Model(context.Background(), q, dev, evaluate.Options{MaxLength: o.MaxLength})
		if err != nil || metrics["loss"] != r.Best.Metrics["loss"] {
			t.Errorf("%s: the int8 model's loss is %v, the run says %v (%v)", kind, metrics["loss"], r.Best.Metrics["loss"], err)
		}
	}
}
