package distill

import (
	"context"
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
	"github.com/skive-ml/skive/head"
	"github.com/skive-ml/skive/internal/golden"
	"github.com/skive-ml/skive/internal/gradcheck"
	"github.com/skive-ml/skive/train"
)

// withHead gives a copy of a model the head of testdata/heads.py.
func withHead(t *testing.T, m *checkpoints.Model, kind head.Kind, wave func(float64) float64) *checkpoints.Model {
	t.Helper()
	m = m.Clone()
	var labels []string
	if kind.Named() {
		labels = []string{"red", "green", "blue"}
	}
	if err := m.SetHead(kind, labels, 1); err != nil {
		t.Fatal(err)
	}
	for _, name := range m.Names() {
		if strings.HasPrefix(name, "classifier.") || strings.HasPrefix(name, "cls.predictions.") {
			for i := range m.Tensors[name].Float32s() {
				v := 0.3 * wave(float64(i+1))
				if strings.HasSuffix(name, "LayerNorm.weight") {
					v = 1 + float64(float32(v))
				}
				m.Tensors[name].Float32s()[i] = float32(v)
			}
		}
	}
	return m
}

// asked are the examples of testdata/heads.py.
func asked(t *testing.T, kind head.Kind) *data.Dataset {
	ds := golden.Data(t)
	ds.Task = data.Task{Name: "heads", Kind: kind}
	if kind.Named() {
		ds.Task.Labels = []string{"red", "green", "blue"}
	}
	ds.Examples = ds.Examples[:6]
	for i := range ds.Examples {
		e := &ds.Examples[i]
		*e = data.Example{Text: e.Text}
		switch kind {
		case head.Regression:
			e.Value = float32(i) / 2
		case head.MultiLabel:
			for c := range 3 {
				if i%(c+2) == 0 {
					e.Labels = append(e.Labels, int32(c))
				}
			}
		case head.MultipleChoice:
			e.Choices = []string{"w10", "w20 w21", "w30"}[:2+i%2]
			e.Label = i % 2
		case head.TokenClassification:
			e.Words = strings.Fields(e.Text)
			for _, w := range e.Words {
				var id int32
				fmt.Sscanf(w, "w%d", &id)
				e.Labels = append(e.Labels, id%3)
			}
		}
	}
	return ds
}

var heads = []head.Kind{head.Regression, head.MultiLabel, head.MultipleChoice, head.TokenClassification, head.MaskedLM}

// What a student learns from a teacher's answers is what PyTorch says, for every
// head.
func TestAnswersFollowPyTorch(t *testing.T) {
	t.Parallel()
	opened, err := checkpoints.Open("testdata/teacher")
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	var goldens map[head.Kind]map[string]struct {
		Value     float64
		Gradients map[string][]float64
	}
	golden.JSON(t, "testdata/heads.json", &goldens)
	workers := autograd.NewWorkers(2)
	defer workers.Close()
	for _, kind := range heads {
		student, teacher := withHead(t, golden.Model(t), kind, math.Sin), withHead(t, opened, kind, math.Cos)
		set, err := evaluate.Encode(student, asked(t, kind), 0)
		if err != nil {
			t.Fatal(err)
		}
		var all []int32
		for i := range set.Len() {
			all = append(all, int32(i))
		}
		var batch data.Batch
		set.Fill(&batch, all)
		for name, losses := range map[string]Losses{
			"soft":       {Soft: 1, Temperature: 2},
			"logits-mse": {LogitsMSE: 1},
			"hard":       {Hard: 1},
		} {
			want, ok := goldens[kind][name]
			if !ok {
				t.Fatalf("no golden of %s of %s", name, kind)
			}
			o := Defaults()
			o.Losses = losses
			b := &builder{o: &o, members: []Teacher{{Model: teacher, Weight: 1}}, Setup: train.Setup{
				Model: student.Clone(), Train: set, Workers: workers, Options: o.Options, Steps: 1,
			}}
			built, err := b.build()
			if err != nil {
				t.Fatalf("%s of %s: %v", name, kind, err)
			}
			step := built.Step
			if kind == head.MaskedLM {
				m := b.masker
				m.IDs = slices.Clone(batch.IDs)
				for i, id := range m.IDs {
					if id > 4 && id%5 == 0 {
						m.IDs[i], m.Rows, m.Labels = 4, append(m.Rows, int32(i)), append(m.Labels, id)
					}
				}
				step = built.(*objective).Objective.Step
			}
			// The second time the logits are remembered ones.
			for range 2 {
				loss, _, err := step(1, &batch)
				if err != nil {
					t.Fatalf("%s of %s: %v", name, kind, err)
				}
				if math.Abs(loss-want.Value) > 1e-4*want.Value {
					t.Errorf("%s of %s: %.6f, PyTorch's %.6f", name, kind, loss, want.Value)
				}
				for _, p := range built.Parameters() {
					if g, ok := want.Gradients[p.Name]; ok {
						if e := gradcheck.RelativeError(p.Gradient, g); e > 1e-3 {
							t.Errorf("%s of %s: gradient of %s differs by %.1e of its largest element", name, kind, p.Name, e)
						}
					}
				}
			}
			built.Close()
		}
	}
}

// toy makes a data set of a kind whose answers follow from the words.
func toy(kind head.Kind, n int, seed uint64) *data.Dataset {
	r := rand.New(rand.NewPCG(seed, 1))
	ds := &data.Dataset{Task: data.Task{Name: "toy", Kind: kind}}
	if kind.Named() {
		ds.Task.Labels = []string{"red", "green", "blue"}
	}
	for range n {
		words := make([]string, 2+r.IntN(5))
		var e data.Example
		for i := range words {
			id := 5 + r.IntN(20)
			words[i] = fmt.Sprint("w", id)
			if kind == head.TokenClassification {
				e.Labels = append(e.Labels, int32(id%3))
			}
		}
		e.Text = strings.Join(words, " ")
		first := 0
		fmt.Sscanf(words[0], "w%d", &first)
		switch kind {
		case head.Regression:
			e.Value = float32(first) / 10
		case head.MultiLabel:
			e.Labels = []int32{int32(first % 3)}
		case head.MultipleChoice:
			e.Choices = []string{"w50", "w60", "w70"}[:2+r.IntN(2)]
			e.Label = r.IntN(len(e.Choices))
			e.Choices[e.Label] = "w80"
		case head.TokenClassification:
			e.Words = words
		}
		ds.Examples = append(ds.Examples, e)
	}
	return ds
}

// A teacher of every kind of answer teaches a student of another width, depth and
// number of heads, which then does better than chance; accumulated batches are one
// large batch; and logits that the disk remembers are those that are computed.
func TestEveryHeadIsDistilled(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	for _, kind := range heads {
		t.Run(string(kind), func(t *testing.T) {
			set, dev := toy(kind, 192, 1), toy(kind, 64, 2)
			bare := withoutHead(golden.Model(t))
			o := train.Defaults()
			o.Epochs, o.BatchSize, o.LearningRate, o.Dropout, o.MaxLength = 4, 16, 4e-3, new(0.0), 32
			teacher, _, err := train.Run(ctx, bare, set, nil, o)
			if err != nil {
				t.Fatal(err)
			}
			student, err := NewStudent(teacher, Size{Layers: 1, Hidden: 16, Heads: 2, Intermediate: 32}, 5)
			if err != nil {
				t.Fatal(err)
			}
			d := Defaults()
			stage := d.Stage
			d.Options, d.Temperature, d.Hidden, d.HiddenDistance = o, 2, 0.1, PKD
			d.Stage, d.Epochs, d.LearningRate = stage, 6, 8e-3
			if kind == head.MaskedLM || kind == head.TokenClassification {
				d.LogitsMSE, d.Hard = 0.1, 0.1
			}
			d.Cache = t.TempDir()
			m, r, err := Run(ctx, teacher, student, set, dev, d)
			if err != nil {
				t.Fatal(err)
			}
			n := len(r.History)
			var first, last float64
			for i := range 5 {
				first, last = first+r.History[i].Losses["soft"], last+r.History[n-1-i].Losses["soft"]
			}
			if !(last < first) {
				t.Errorf("the loss goes from %.3f to %.3f", first/5, last/5)
			}
			d.Cache = ""
			again, _, err := Run(ctx, teacher, student, set, dev, d)
			if err != nil || !sameTensors(m, again) {
				t.Errorf("without a cache the student is another one (%v)", err)
			}

			// One step of a large batch, and of four that are accumulated, of which
			// one has most of the labels; every loss has a mean of its own.
			d.Steps, d.NoShuffle, d.LogitsMSE, d.Hard, d.Embeddings, d.Relations = 1, true, 0.5, 0, 0.3, 0.2
			if kind != head.Regression && kind != head.MultiLabel {
				d.Hard = 0.5
				for i := range 20 {
					set.Examples[i].Label, set.Examples[i].Labels = -1, nil
				}
			}
			var losses []float64
			d.OnStep = func(r train.Record) { losses = append(losses, r.Loss, r.GradNorm) }
			for _, size := range []int{32, 8} {
				d.BatchSize, d.Accumulate = size, 32/size
				if _, _, err := Run(ctx, teacher, student, set, nil, d); err != nil {
					t.Fatal(err)
				}
			}
			for i := range 2 {
				if math.Abs(losses[i]-losses[2+i]) > 1e-4*math.Abs(losses[i]) {
					t.Errorf("four batches have loss and gradient norm %v, one %v", losses[2:], losses[:2])
				}
			}
		})
	}
}

func TestAnswersThatDoNotGoTogether(t *testing.T) {
	t.Parallel()
	regression := withHead(t, golden.Model(t), head.Regression, math.Sin)
	labels := withHead(t, golden.Model(t), head.MultiLabel, math.Sin)
	others := labels.Clone()
	others.Config.Labels = []string{"red", "green", "violet"}
	words := withHead(t, golden.Model(t), head.TokenClassification, math.Sin)
	unlabeled := toy(head.Regression, 4, 1)
	unlabeled.Examples[2].Label = -1
	o := Defaults()
	o.Steps = 1
	hard := o
	hard.Hard = 1
	cross := o
	cross.AllowCrossTokenizer = true
	foreign := words.Clone()
	foreign.Tokenizer["vocab.txt"] = append(slices.Clone(foreign.Tokenizer["vocab.txt"]), "more\n"...)
	for _, c := range []struct {
		teacher, student *checkpoints.Model
		set              *data.Dataset
		o                Options
		want             string
	}{
		{golden.Model(t), regression, toy(head.Regression, 4, 1), o, "distill: the teacher's head does single_label_classification, the student's regression"},
		{others, labels, toy(head.MultiLabel, 4, 1), o, "distill: the teacher's labels are red, green, violet, the student's red, green, blue"},
		{regression, regression, unlabeled, hard, "distill: training set: example 3 has no label"},
		{foreign, words, toy(head.TokenClassification, 4, 1), cross, "distill: a head for token_classification answers for tokens: teacher and student have different tokenizers"},
	} {
		if _, _, err := Run(context.Background(), c.teacher, c.student, c.set, nil, c.o); err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("error %v, want %q", err, c.want)
		}
	}
	if _, _, err := Run(context.Background(), regression, regression, unlabeled, nil, o); err != nil {
		t.Errorf("without hard labels: %v", err)
	}
	// A student without a head gets one.
	if m, _, err := Run(context.Background(), labels, withoutHead(labels), toy(head.MultiLabel, 4, 1), nil, o); err != nil || m.Config.Head != head.MultiLabel {
		t.Errorf("a student without a head: %v", err)
	}
}

// A student of one token type learns from a teacher that tells the texts of a pair
// apart: the teacher does so then, too.
func TestStudentOfOneTokenType(t *testing.T) {
	t.Parallel()
	teacher, ds := golden.Model(t), golden.Data(t)
	student := teacher.Clone()
	const types = "bert.embeddings.token_type_embeddings.weight"
	student.Config.TypeVocabSize = 1
	student.Tensors[types] = checkpoints.NewTensor([]int{1, 32}, student.Tensors[types].Float32s()[:32])
	// Only the types tell student and teacher apart.
	for _, c := range []struct {
		pairs bool
		same  bool
	}{{false, true}, {true, false}} {
		set := &data.Dataset{Task: ds.Task}
		for _, e := range ds.Examples {
			if e.HasPair == c.pairs && len(set.Examples) < 8 {
				set.Examples = append(set.Examples, e)
			}
		}
		o := Defaults()
		o.Steps, o.Soft, o.LogitsMSE = 1, 0, 1
		_, r, err := Run(context.Background(), teacher, student, set, nil, o)
		if err != nil {
			t.Fatal(err)
		}
		if loss := r.History[0].Loss; (loss < 1e-10) != c.same {
			t.Errorf("pairs %v: the logits differ by %g", c.pairs, loss)
		}
	}
}

// Texts without a word say nothing about words, whatever batches they come in.
func TestTextWithoutWords(t *testing.T) {
	t.Parallel()
	teacher := withHead(t, golden.Model(t), head.TokenClassification, math.Sin)
	student := withHead(t, golden.Model(t), head.TokenClassification, math.Cos)
	set := toy(head.TokenClassification, 3, 1)
	set.Task.Labels = teacher.Config.Labels
	set.Examples[1] = data.Example{Text: "\u200b", Words: []string{"\u200b"}}
	d := Defaults()
	d.Steps, d.NoShuffle, d.Dropout, d.LogitsMSE, d.Hard = 1, true, new(0.0), 0.5, 0.5
	step := func(size, accumulate int) train.Record {
		t.Helper()
		d.BatchSize, d.Accumulate = size, accumulate
		_, r, err := Run(context.Background(), teacher, student, set, nil, d)
		if err != nil {
			t.Fatal(err)
		}
		return r.History[0]
	}
	one, three := step(3, 1), step(1, 3)
	if math.Abs(one.Loss-three.Loss) > 1e-5 || math.Abs(one.GradNorm-three.GradNorm) > 1e-4*one.GradNorm {
		t.Errorf("one batch: loss %g, norm %g; three: %g, %g", one.Loss, one.GradNorm, three.Loss, three.GradNorm)
	}
	set.Examples = set.Examples[1:2]
	if r := step(1, 1); r.Loss != 0 || r.GradNorm != 0 {
		t.Errorf("without any word: loss %g, norm %g", r.Loss, r.GradNorm)
	}
}
