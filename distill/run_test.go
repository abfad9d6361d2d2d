package distill

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nlpodyssey/safetensors"

	"github.com/skive-ml/skive/autograd"
	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/evaluate"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/internal/golden"
	"github.com/skive-ml/skive/layers"
	"github.com/skive-ml/skive/train"
)

// lossGoldens are tensors and the values and gradients that PyTorch computes of
// the losses.
type lossGoldens struct {
	Offsets       []int32
	RelationHeads int `json:"relation_heads"`
	Losses        map[string]struct{ Value float64 }
	tensors       map[string][]float32
}

func readLossGoldens(t *testing.T) *lossGoldens {
	t.Helper()
	g := &lossGoldens{tensors: make(map[string][]float32)}
	golden.JSON(t, "testdata/losses.json", g)
	b, err := os.ReadFile("testdata/losses.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	st, err := safetensors.Deserialize(b)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range st.Tensors() {
		g.tensors[v.Name] = checkpoints.Tensor{Data: v.TensorView.Data()}.Float32s()
	}
	return g
}

func (g *lossGoldens) check(t *testing.T, name string, loss float32, gradients map[string][]float32) {
	t.Helper()
	if want := g.Losses[name].Value; math.Abs(float64(loss)-want) > 1e-4*want {
		t.Errorf("%s: %.6f, PyTorch's %.6f", name, loss, want)
	}
	for input, got := range gradients {
		want := g.tensors["grad."+name+"."+input]
		if len(got) != len(want) {
			t.Errorf("%s: gradient of %s has %d values, want %d", name, input, len(got), len(want))
			continue
		}
		var largest, worst float64
		for i, w := range want {
			largest = max(largest, math.Abs(float64(w)))
			worst = max(worst, math.Abs(float64(got[i]-w)))
		}
		if !(worst <= 1e-4*largest) {
			t.Errorf("%s: gradient of %s differs from PyTorch's by %g, its largest is %g", name, input, worst, largest)
		}
	}
}

func TestSoftCrossEntropyFollowsPyTorch(t *testing.T) {
	t.Parallel()
	golden := readLossGoldens(t)
	for _, temperature := range []float32{1, 2, 4} {
		g := autograd.New(autograd.Options{Threads: 1})
		defer g.Close()
		x := g.InputWithGradient("student", autograd.Sequences, 3)
		target := g.Input("teacher", autograd.Sequences, 3)
		loss := g.SoftCrossEntropy(x, target, autograd.NewWeight(temperature), autograd.Mean)
		s, err := autograd.NewSession(g, loss)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(g.Set(x, golden.tensors["student.logits"]), g.Set(target, golden.tensors["teacher.logits"]), s.Run()); err != nil {
			t.Fatal(err)
		}
		golden.check(t, fmt.Sprintf("soft_ce_t%v_scaled", temperature), s.Loss(), map[string][]float32{"logits": s.Gradient(x)})
	}
}

func TestHiddenDistanceFollowsPyTorch(t *testing.T) {
	t.Parallel()
	golden := readLossGoldens(t)
	for _, distance := range []string{MSE, Cosine} {
		g := autograd.New(autograd.Options{Threads: 1})
		defer g.Close()
		b := &builder{g: g, o: &Options{Losses: Losses{HiddenDistance: distance}}}
		x, target := g.InputWithGradient("student", autograd.Tokens, 32), g.Input("teacher", autograd.Tokens, 48)
		projection := b.projection("hidden", checkpoints.Config{HiddenSize: 32}, checkpoints.Config{HiddenSize: 48})
		s, err := autograd.NewSession(g, b.distance(x, target, projection))
		if err != nil {
			t.Fatal(err)
		}
		weight := g.Parameters()[0]
		copy(weight.Value, golden.tensors["projection"])
		if err := errors.Join(g.Set(x, golden.tensors["student.hidden"]), g.Set(target, golden.tensors["teacher.hidden"]), s.Run()); err != nil {
			t.Fatal(err)
		}
		golden.check(t, distance, s.Loss(), map[string][]float32{"hidden": s.Gradient(x), "projection": weight.Gradient})
	}
}

func TestRelationsFollowPyTorch(t *testing.T) {
	t.Parallel()
	golden := readLossGoldens(t)
	join := func(model string, width int) []float32 {
		var out []float32
		for i := range int(golden.Offsets[len(golden.Offsets)-1]) {
			for _, part := range []string{"query", "key", "value"} {
				out = append(out, golden.tensors[model+"."+part][i*width:][:width]...)
			}
		}
		return out
	}
	config := func(heads, dim int) checkpoints.Config {
		return checkpoints.Config{HeadDim: dim, Layers: []checkpoints.LayerSize{{Heads: heads}}}
	}
	g := autograd.New(autograd.Options{Threads: 1})
	defer g.Close()
	x := g.InputWithGradient("student", autograd.Tokens, 96)
	b := &builder{g: g, in: layers.NewInputs(g), o: &Options{Losses: Losses{RelationHeads: golden.RelationHeads}},
		Setup: train.Setup{Model: &checkpoints.Model{Config: config(2, 16)}}, members: []Teacher{{Model: &checkpoints.Model{Config: config(3, 16)}}}}
	loss, err := b.relations(&layers.Encoder{Layers: []layers.Layer{{QKV: x}}})
	if err != nil {
		t.Fatal(err)
	}
	target := b.outputs[0].input
	s, err := autograd.NewSession(g, loss)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(g.Set(x, join("student", 32)), g.Set(target, join("teacher", 48)), g.SetInts(b.in.Offsets, golden.Offsets), s.Run()); err != nil {
		t.Fatal(err)
	}
	gradients := map[string][]float32{}
	for i, v := range s.Gradient(x) {
		part := []string{"query", "key", "value"}[i/32%3]
		gradients[part] = append(gradients[part], v)
	}
	golden.check(t, "relation_tokens", s.Loss(), gradients)
}

// everything is a distillation with all losses between different widths,
// depths and heads.
func everything() Options {
	o := Defaults()
	o.Epochs, o.BatchSize, o.LearningRate, o.Dropout = 6, 16, 3e-3, new(0.0)
	o.Temperature, o.Hard, o.LogitsMSE, o.Embeddings, o.Hidden, o.Relations, o.RelationHeads = 2, 0.5, 0.3, 0.5, 1, 1, 8
	o.Attention, o.HeadMeans, o.CacheMax = 0.2, true, 1<<20
	return o
}

func narrowStudent(t testing.TB, teacher *checkpoints.Model) *checkpoints.Model {
	t.Helper()
	s, err := NewStudent(teacher, Size{Layers: 1, Hidden: 16, Heads: 2, Intermediate: 32}, 5)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestEveryLossFalls(t *testing.T) {
	t.Parallel()
	teacher, ds := golden.Model(t), golden.Data(t)
	student := narrowStudent(t, teacher)
	for _, distance := range []string{MSE, Cosine} {
		o := everything()
		o.HiddenDistance = distance
		m, r, err := Run(context.Background(), teacher, student, ds, nil, o)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"soft", "logits-mse", "embeddings", "hidden", "attention", "relations"} {
			mean := func(h []train.Record) (sum float64) {
				for _, x := range h {
					sum += x.Losses[name] / float64(len(h))
				}
				return sum
			}
			first, last := mean(r.History[:10]), mean(r.History[len(r.History)-10:])
			if !(last < first) {
				t.Errorf("%s: the loss %s goes from %.4f to %.4f", distance, name, first, last)
			}
		}
		first := r.History[0]
		sum := first.Losses["soft"] + 0.5*first.Losses["hard"] + 0.3*first.Losses["logits-mse"] + 0.5*first.Losses["embeddings"] +
			first.Losses["hidden"] + 0.2*first.Losses["attention"] + first.Losses["relations"]
		if math.Abs(sum-first.Loss) > 1e-4*sum {
			t.Errorf("loss %v is not the weighted sum of %v", first.Loss, first.Losses)
		}
		for name := range m.Tensors {
			if strings.HasPrefix(name, "projection") {
				t.Errorf("%s is part of the model", name)
			}
		}
		stage := m.Provenance[len(m.Provenance)-1]
		if stage.Name != "distill" || stage.Settings["temperature"] != "2" || stage.Settings["teacher-checksum"] == "" {
			t.Errorf("provenance %+v", stage)
		}
	}
}

func TestUnlabeledDataDo(t *testing.T) {
	t.Parallel()
	teacher, ds := golden.Model(t), golden.Data(t)
	student, err := StudentFromLayers(teacher, []int{1})
	if err != nil {
		t.Fatal(err)
	}
	for i := range ds.Examples {
		ds.Examples[i].Label = -1
	}
	o := Defaults()
	o.Steps = 2
	if _, _, err := Run(context.Background(), teacher, student, ds, nil, o); err != nil {
		t.Error(err)
	}
	o.Soft, o.Hard = 0, 1
	var label *evaluate.LabelError
	if _, _, err := Run(context.Background(), teacher, student, ds, nil, o); !errors.As(err, &label) {
		t.Errorf("hard labels alone: error %v, want a LabelError", err)
	}
}

func TestResumingGivesTheBitsOfTheUninterruptedRun(t *testing.T) {
	t.Parallel()
	teacher, ds := golden.Model(t), golden.Data(t)
	student := narrowStudent(t, teacher)
	o := everything()
	o.Epochs, o.Dropout = 2, new(0.1)
	want, _, err := Run(context.Background(), teacher, student, ds, nil, o)
	if err != nil {
		t.Fatal(err)
	}
	o.Output = filepath.Join(t.TempDir(), "out")
	o.Resume = true
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	o.OnStep = func(r train.Record) {
		if r.Step == 7 {
			cancel()
		}
	}
	if _, _, err := Run(ctx, teacher, student, ds, nil, o); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	o.OnStep = nil
	got, r, err := Run(context.Background(), teacher, student, ds, nil, o)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Close()
	if r.Resumed != 7 {
		t.Errorf("resumed after step %d, want 7", r.Resumed)
	}
	if !maps.EqualFunc(got.Tensors, want.Tensors, func(a, b checkpoints.Tensor) bool { return bytes.Equal(a.Data, b.Data) }) {
		t.Error("other weights than those of the uninterrupted run")
	}
}

// Layers whose values are computed again give the same bits, whatever the losses
// read of them, in less memory.
func TestRecomputationGivesTheSameBits(t *testing.T) {
	t.Parallel()
	ds := golden.Data(t)
	teacher, err := NewStudent(golden.Model(t), Size{Layers: 5}, 3)
	if err != nil {
		t.Fatal(err)
	}
	student, err := NewStudent(teacher, Size{Layers: 4, Hidden: 16, Heads: 4, Intermediate: 64}, 5)
	if err != nil {
		t.Fatal(err)
	}
	for name, losses := range map[string]Losses{
		"everything": everything().Losses,
		"hidden":     {Hidden: 1, HiddenDistance: PKD, Soft: 1, Temperature: 1},
		"relations":  {MiniLM: 1, Relations: 1},
		"logits":     {Soft: 1, Temperature: 2, Hard: 1},
	} {
		var models []*checkpoints.Model
		var memory []int64
		for _, recompute := range []bool{false, true} {
			o := Defaults()
			o.Steps, o.BatchSize, o.LearningRate, o.Dropout, o.Recompute = 5, 16, 3e-3, new(0.1), recompute
			o.Losses = losses
			m, _, err := Run(context.Background(), teacher, student, ds, nil, o)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			models = append(models, m)
			set, err := evaluate.Encode(student, ds, 0)
			if err != nil {
				t.Fatal(err)
			}
			b := &builder{o: &o, members: []Teacher{{Model: teacher, Weight: 1}}, Setup: train.Setup{Model: student.Clone(), Train: set, Options: o.Options, Steps: 1}}
			built, err := b.build()
			if err != nil {
				t.Fatal(err)
			}
			memory = append(memory, built.(*objective).Memory(autograd.Extents{Tokens: 1024, Sequences: 16, Longest: 64}))
			built.Close()
		}
		if !sameTensors(models[0], models[1]) {
			t.Errorf("%s: other weights than without recomputation", name)
		}
		if float64(memory[1]) > 0.9*float64(memory[0]) {
			t.Errorf("%s: %d bytes with recomputation, %d without", name, memory[1], memory[0])
		}
	}
}

// The teacher can be in bf16 alone, and is where the student is: the losses stay
// within one part in a hundred.
func TestPrecisionOfTheTeacher(t *testing.T) {
	t.Parallel()
	teacher, ds := golden.Model(t), golden.Data(t)
	student := narrowStudent(t, teacher)
	losses := func(precision, ofTeacher string, threads int) (all []float64) {
		o := everything()
		o.Epochs, o.Threads = 1, threads
		o.Precision, o.TeacherPrecision = precision, ofTeacher
		out, r, err := Run(context.Background(), teacher, student, ds, nil, o)
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		for _, s := range r.History {
			all = append(all, s.Loss)
		}
		settings := out.Provenance[len(out.Provenance)-1].Settings
		if (settings["teacher-precision"] == infer.BF16) != (cmp.Or(ofTeacher, precision) == infer.BF16) {
			t.Errorf("%q and %q: settings %v", precision, ofTeacher, settings)
		}
		return all
	}
	f32 := losses("", "", 1)
	alone, both := losses(infer.F32, infer.BF16, 1), losses(infer.BF16, "", 1)
	if slices.Equal(alone, both) || slices.Equal(losses(infer.BF16, infer.F32, 1), both) {
		t.Error("the precisions of teacher and student do nothing")
	}
	for i, want := range f32 {
		for _, got := range []float64{alone[i], both[i]} {
			if d := math.Abs(got - want); !(d > 0 && d < 0.01*want) {
				t.Errorf("step %d: loss %v, in f32 %v", i+1, got, want)
			}
		}
	}
	if !slices.Equal(losses(infer.BF16, "", 2), both) {
		t.Error("two threads: other losses")
	}
}

func TestTeacherAndStudentThatDoNotGoTogether(t *testing.T) {
	t.Parallel()
	teacher, ds := golden.Model(t), golden.Data(t)
	for _, c := range []struct {
		name   string
		change func(student *checkpoints.Model, o *Options)
		want   string
	}{
		{"tokenizer", func(s *checkpoints.Model, _ *Options) {
			s.Tokenizer["vocab.txt"] = append(slices.Clone(s.Tokenizer["vocab.txt"]), "more\n"...)
		}, "AllowCrossTokenizer: " + ErrTokenizer.Error()},
		{"labels", func(s *checkpoints.Model, _ *Options) { s.Config.Labels = []string{"red", "violet", "green"} }, `training set: the model's labels are red, violet, green`},
		{"relation heads", func(_ *checkpoints.Model, o *Options) { o.RelationHeads = 3 }, "RelationHeads: 3, expected a divisor of the attention widths 16 (student layer 0) and 32 (teacher layer 1)"},
		{"layer map", func(_ *checkpoints.Model, o *Options) { o.HiddenMap = Explicit([2]int{0, 2}) }, "layer map: pair 0:2"},
		{"rate", func(_ *checkpoints.Model, o *Options) { o.LearningRate = math.NaN() }, "LearningRate: NaN"},
	} {
		student, o := narrowStudent(t, teacher), everything()
		c.change(student, &o)
		_, _, err := Run(context.Background(), teacher, student, ds, nil, o)
		if err == nil || !strings.HasPrefix(err.Error(), "distill: "+c.want) {
			t.Errorf("%s: error %v, want %q", c.name, err, c.want)
		}
	}
}

// Data whose labels are numbers means one thing to all models of a run, or is refused.
func TestNumbersOfClassesInAnotherOrder(t *testing.T) {
	t.Parallel()
	labels := func(order string) checkpoints.Config { return checkpoints.Config{Labels: strings.Fields(order)} }
	text := data.Task{Name: "text", Metric: "accuracy"}
	numbers := filepath.Join(t.TempDir(), "numbers.csv")
	names := filepath.Join(t.TempDir(), "names.csv")
	for path, called := range map[string][]string{numbers: {"0", "1", "2"}, names: {"red", "green", "blue"}} {
		content := "text,label\n"
		for i := range 12 {
			content += fmt.Sprintf("w%d w%d,%s\n", 5+i, 30+i, called[i%3])
		}
		if err := os.WriteFile(path, []byte(content), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name                 string
		first, more, student string // labels; more is of a second teacher, "" for none
		train, dev           string
		losses               Losses
		library              bool // the sets are read without a model
		refused              bool
	}{
		{"one order", "red green blue", "", "red green blue", numbers, numbers, Losses{Soft: 1, Temperature: 1}, false, false},
		{"names", "blue red green", "", "red green blue", names, names, Losses{Soft: 1, Temperature: 1}, false, false},
		{"numbers", "blue red green", "", "red green blue", numbers, numbers, Losses{Soft: 1, Temperature: 1}, false, true},
		{"numbers to measure", "blue red green", "", "red green blue", names, numbers, Losses{Soft: 1, Temperature: 1}, false, true},
		{"numbers, inner losses", "blue red green", "", "red green blue", numbers, numbers, Losses{Hidden: 1, Hard: 1}, false, true},
		{"numbers, read without a model", "blue red green", "", "red green blue", numbers, numbers, Losses{Soft: 1, Temperature: 1}, true, true},
		{"numbers to measure, read without a model", "blue red green", "", "red green blue", names, numbers, Losses{Soft: 1, Temperature: 1}, true, true},
		{"a second teacher of another order", "red green blue", "green red blue", "red green blue", numbers, numbers, Losses{Soft: 1, Temperature: 1}, false, true},
		{"a second teacher of another order, names", "red green blue", "green red blue", "red green blue", names, names, Losses{Soft: 1, Temperature: 1}, false, false},
		{"a student without names", "blue red green", "", "LABEL_0 LABEL_1 LABEL_2", numbers, numbers, Losses{Soft: 1, Temperature: 1}, false, false},
		{"a second teacher, a student without names", "blue red green", "red green blue", "LABEL_0 LABEL_1 LABEL_2", numbers, numbers, Losses{Soft: 1, Temperature: 1}, false, true},
		{"a teacher that counts by name", "2 1 0", "", "red green blue", numbers, numbers, Losses{Soft: 1, Temperature: 1}, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			model := func(order string) *checkpoints.Model {
				m := golden.Model(t)
				m.Config.Labels = strings.Fields(order)
				return m
			}
			read := func(path string) *data.Dataset {
				config := labels(c.first)
				if c.library {
					config.Labels = nil
				}
				ds, err := evaluate.Read(path, text, config, data.ReadOptions{RequireLabels: true})
				if err != nil {
					t.Fatal(err)
				}
				return ds
			}
			o := Defaults()
			o.Losses, o.Steps = c.losses, 1
			if c.more != "" {
				o.Ensemble = []Teacher{{Model: model(c.more), Weight: 1}}
			}
			_, _, err := Run(t.Context(), model(c.first), model(c.student), read(c.train), read(c.dev), o)
			switch {
			case !c.refused && err != nil:
				t.Error(err)
			case c.refused && (err == nil || !strings.Contains(err.Error(), data.OneOrder) || strings.Contains(err.Error(), "\n")):
				t.Errorf("%v, want both lists", err)
			}
		})
	}
}

// A distillation whose losses end far above what they began with has diverged; a
// temperature that rises, and scales the loss by its square, is no divergence, nor
// is the noise of a student that begins as its teacher.
func TestDivergenceInFiniteNumbers(t *testing.T) {
	t.Parallel()
	teacher, ds := golden.Model(t), golden.Data(t)
	for name, c := range map[string]struct {
		change func(*Options)
		want   bool
	}{
		"learning":                 {func(*Options) {}, false},
		"far off":                  {func(o *Options) { o.LearningRate = 300 }, true},
		"hidden states alone":      {func(o *Options) { o.LearningRate, o.Soft, o.Hidden = 300, 0, 1 }, true},
		"a temperature that rises": {func(o *Options) { o.TemperatureSchedule, o.TemperatureEnd = Linear, 9 }, false},
		"the teacher itself":       {func(o *Options) { o.Soft, o.Hidden, o.Dropout = 0, 1, new(0.1) }, false},
	} {
		student := narrowStudent(t, teacher)
		if name == "the teacher itself" {
			student = teacher
		}
		o := Defaults()
		o.Steps, o.BatchSize = 24, 8
		c.change(&o)
		_, r, err := Run(context.Background(), teacher, student, ds, nil, o)
		if err != nil {
			t.Fatal(err)
		}
		if r.Diverged != c.want {
			t.Errorf("%s: diverged %v; losses %g to %g", name, r.Diverged, r.History[0].Loss, r.History[len(r.History)-1].Loss)
		}
	}
}
