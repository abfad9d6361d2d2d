package distill

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/head"
	"github.com/skive-ml/skive/internal/golden"
	"github.com/skive-ml/skive/tokenize"
	"github.com/skive-ml/skive/train"
)

func TestTemperatureSchedules(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		schedule string
		want     []float64 // at steps 1, 3 and 5 of 5
	}{{Constant, []float64{4, 4, 4}}, {Linear, []float64{4, 2.5, 1}}, {Cosine, []float64{4, 2.5, 1}}} {
		l := Losses{Temperature: 4, TemperatureEnd: 1, TemperatureSchedule: c.schedule}
		for i, step := range []int{1, 3, 5} {
			if got := l.temperature(step, 5); math.Abs(got-c.want[i]) > 1e-9 {
				t.Errorf("%s: step %d: %g, want %g", c.schedule, step, got, c.want[i])
			}
		}
	}
	cosine := Losses{Temperature: 4, TemperatureEnd: 1, TemperatureSchedule: Cosine}
	if got := cosine.temperature(2, 5); math.Abs(got-(4-3*(1-math.Cos(math.Pi/4))/2)) > 1e-9 {
		t.Errorf("cosine, second step: %g", got)
	}

	// The student that equals its teacher has the loss T² times the entropy.
	teacher, ds := golden.Model(t), golden.Data(t)
	o := Defaults()
	o.Steps, o.LearningRate, o.BatchSize, o.NoShuffle = 3, 0, len(ds.Examples), true
	loss := func(temperature float64) float64 {
		o := o
		o.Temperature = temperature
		_, r, err := Run(context.Background(), teacher, teacher, ds, nil, o)
		if err != nil {
			t.Fatal(err)
		}
		return r.History[0].Loss
	}
	o.Temperature, o.TemperatureEnd, o.TemperatureSchedule = 3, 1, Linear
	_, r, err := Run(context.Background(), teacher, teacher, ds, nil, o)
	if err != nil {
		t.Fatal(err)
	}
	o.TemperatureSchedule = Constant
	for i, temperature := range []float64{3, 2, 1} {
		if want := loss(temperature); math.Abs(r.History[i].Loss-want) > 1e-6*want {
			t.Errorf("step %d: loss %g, at temperature %g it is %g", i+1, r.History[i].Loss, temperature, want)
		}
	}
}

// The loss against the labels is that of training on them, their weights and their
// smoothing included, and so is what a step makes of it.
func TestLabelsWeighAsInTraining(t *testing.T) {
	t.Parallel()
	teacher, ds := golden.Model(t), golden.Data(t)
	o := Defaults()
	o.Soft, o.Hard, o.Steps, o.BatchSize, o.Accumulate, o.MaxLength = 0, 1, 3, 10, 2, 12
	o.ClassWeights, o.LabelSmoothing = []float64{1, 3, 0.5}, 0.1
	_, want, err := train.Run(context.Background(), teacher, ds, nil, o.Options)
	if err != nil {
		t.Fatal(err)
	}
	_, got, err := Run(context.Background(), teacher, teacher, ds, nil, o)
	if err != nil {
		t.Fatal(err)
	}
	for i, w := range want.History {
		if g := got.History[i]; math.Abs(g.Loss-w.Loss) > 1e-5 || math.Abs(g.GradNorm-w.GradNorm) > 1e-4*w.GradNorm {
			t.Errorf("step %d: loss %.6f, norm %.5f; in training %.6f, %.5f", w.Step, g.Loss, g.GradNorm, w.Loss, w.GradNorm)
		}
	}

	// Of several stages they concern those that learn from labels.
	stages := []Stage{{Name: "a", Losses: Losses{Hidden: 1}}, {Name: "b", Losses: Losses{Hard: 1}}}
	o.Steps = 1
	if _, _, err := RunStages(context.Background(), teacher, teacher, ds, nil, o, stages); err != nil {
		t.Error(err)
	}
	if err := CheckStages(stages[:1], o); err == nil || !strings.HasPrefix(err.Error(), "ClassWeights: ") {
		t.Errorf("stages without labels: error %v", err)
	}
	o.Soft, o.Hard = 1, 0
	if _, _, err := Run(context.Background(), teacher, teacher, ds, nil, o); err == nil || !strings.Contains(err.Error(), "ClassWeights: ") {
		t.Errorf("without labels: error %v", err)
	}
}

// A student that is its teacher loses nothing.
func TestEveryDistanceOfEqualModelsIsZero(t *testing.T) {
	t.Parallel()
	teacher, ds := golden.Model(t), golden.Data(t)
	for name, change := range map[string]func(*Options){
		"logits-mse": func(o *Options) { o.LogitsMSE = 1 },
		"embeddings": func(o *Options) { o.Embeddings = 1 },
		"hidden":     func(o *Options) { o.Hidden = 1 },
		"cosine":     func(o *Options) { o.Hidden, o.HiddenDistance = 1, Cosine },
		"pkd":        func(o *Options) { o.Hidden, o.HiddenDistance, o.HiddenMap = 1, PKD, Skip() },
		"attention":  func(o *Options) { o.Attention = 1 },
		"maps":       func(o *Options) { o.Attention, o.AttentionDistance, o.AttentionMap = 1, Cosine, Last() },
		"head means": func(o *Options) { o.Attention, o.HeadMeans = 1, true },
		"minilm":     func(o *Options) { o.MiniLM = 1 },
		"relations":  func(o *Options) { o.Relations, o.RelationHeads = 1, 2 },
	} {
		o := Defaults()
		o.Soft, o.Steps, o.LearningRate, o.Dropout = 0, 1, 0, new(0.0)
		change(&o)
		_, r, err := Run(context.Background(), teacher, teacher, ds, nil, o)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		// The teacher's states are rounded to half precision.
		if loss := r.History[0].Loss; !(math.Abs(loss) < 1e-5) {
			t.Errorf("%s: loss %g", name, loss)
		}
	}
}

func TestDifferentHeadCounts(t *testing.T) {
	t.Parallel()
	teacher, ds := golden.Model(t), golden.Data(t)
	student := narrowStudent(t, teacher) // 2 heads, the teacher has 4
	for _, c := range []struct {
		change func(*Options)
		want   string
	}{
		{func(o *Options) { o.Attention = 1 }, "distill: Attention: it expects as many heads in student layer 0 (2) as in teacher layer 1 (4), or to compare the means over the heads"},
		{func(o *Options) { o.Attention, o.HeadMeans = 1, true }, ""},
		{func(o *Options) { o.MiniLM = 1 }, "distill: MiniLM: it expects as many heads in student layer 0 (2) as in teacher layer 1 (4), or the loss on relations, which wants no equal numbers"},
		{func(o *Options) { o.Relations, o.RelationHeads = 1, 8 }, ""},
	} {
		o := Defaults()
		o.Steps = 1
		c.change(&o)
		_, _, err := Run(context.Background(), teacher, student, ds, nil, o)
		if c.want == "" && err != nil || c.want != "" && (err == nil || err.Error() != c.want) {
			t.Errorf("error %v, want %q", err, c.want)
		}
	}
}

func TestEnsembleIsTheWeightedMeanOfLogits(t *testing.T) {
	t.Parallel()
	teacher, ds := golden.Model(t), golden.Data(t)
	other := teacher.Clone()
	shift := other.Tensors["classifier.bias"].Float32s()
	shift[0] += 3
	o := Defaults()
	o.Soft, o.LogitsMSE, o.Steps, o.LearningRate, o.Dropout = 0, 1, 1, 0, new(0.0)
	for _, unit := range []float64{1, 5e307, 1e-320} {
		o.TeacherWeight, o.Ensemble = unit, []Teacher{{other, 3 * unit}}
		_, r, err := Run(context.Background(), teacher, teacher, ds, nil, o)
		if err != nil {
			t.Fatal(err)
		}
		// One of three logits is off by 3/4 of 3.
		if want := 2.25 * 2.25 / 3; math.Abs(r.History[0].Loss-want) > 1e-5 {
			t.Errorf("weights of %g: loss %g, want %g", unit, r.History[0].Loss, want)
		}
	}
	o.TeacherWeight, o.Ensemble[0].Weight = 2, 0
	_, r, err := Run(context.Background(), teacher, teacher, ds, nil, o)
	if err != nil || r.History[0].Loss > 1e-9 {
		t.Errorf("a teacher without weight: loss %g, error %v", r.History[0].Loss, err)
	}
	other.Config.Labels = []string{"a", "b", "c"}
	if _, _, err = Run(context.Background(), teacher, teacher, ds, nil, o); err == nil || !strings.Contains(err.Error(), "the teacher's labels are a, b, c") {
		t.Errorf("other labels: error %v", err)
	}
}

// reversed is the teacher with its vocabulary upside down: other ids, the same
// function of a text.
func reversed(t *testing.T, m *checkpoints.Model) *checkpoints.Model {
	t.Helper()
	tok, err := tokenize.Load(m.Tokenizer)
	if err != nil {
		t.Fatal(err)
	}
	out := m.Clone()
	words := out.Tensors["bert.embeddings.word_embeddings.weight"].Float32s()
	var vocab []string
	for id := range int32(tok.VocabSize()) {
		vocab = append(vocab, tok.Token(id))
	}
	const first, width = 5, 32 // behind the special tokens
	for i, j := first, len(vocab)-1; i < j; i, j = i+1, j-1 {
		vocab[i], vocab[j] = vocab[j], vocab[i]
		for k := range width {
			words[i*width+k], words[j*width+k] = words[j*width+k], words[i*width+k]
		}
	}
	other, err := tokenize.NewWordPiece(vocab, true)
	if err != nil {
		t.Fatal(err)
	}
	out.Tokenizer = other.Files()
	return out
}

func TestCrossTokenizerDistillsLogitsAlone(t *testing.T) {
	t.Parallel()
	teacher, ds := golden.Model(t), golden.Data(t)
	o := Defaults()
	o.Soft, o.LogitsMSE, o.Steps, o.LearningRate, o.Dropout, o.BatchSize = 0, 1, 2, 0, new(0.0), 5
	student := reversed(t, teacher)
	_, _, err := Run(context.Background(), teacher, student, ds, nil, o)
	if !errors.Is(err, ErrTokenizer) || !strings.Contains(err.Error(), "AllowCrossTokenizer") {
		t.Errorf("not allowed: error %v", err)
	}
	o.AllowCrossTokenizer = true
	_, r, err := Run(context.Background(), teacher, student, ds, nil, o)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range r.History {
		if h.Loss > 1e-9 {
			t.Errorf("step %d: each model sees its own ids, yet the loss is %g", h.Step, h.Loss)
		}
	}
	o.Relations = 1
	_, _, err = Run(context.Background(), teacher, student, ds, nil, o)
	if !errors.Is(err, ErrTokenizer) || !strings.Contains(err.Error(), "it compares tokens with tokens") {
		t.Errorf("relations: error %v", err)
	}
}

// Tokenizers are the same where they give the same ids, whatever their files are.
func TestTokenizersAreComparedByWhatTheyDo(t *testing.T) {
	t.Parallel()
	vocab := "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n[BOS]\ngood\nfilm\n##s\n##o\n##d\ng\no\nd\n\u00e9\ne\n\u6f22\n\u6f22\u5b57\n"
	with := func(files ...string) *checkpoints.Model { // names and contents
		m := &checkpoints.Model{Tokenizer: map[string][]byte{"vocab.txt": []byte(vocab), "tokenizer_config.json": []byte(`{"tokenizer_class": "BertTokenizer"}`)}}
		for i := 0; i < len(files); i += 2 {
			m.Tokenizer[files[i]] = []byte(files[i+1])
		}
		return m
	}
	config := func(settings string) *checkpoints.Model {
		return with("tokenizer_config.json", `{"tokenizer_class": "BertTokenizer", `+settings+`}`)
	}
	added := func(settings string) *checkpoints.Model {
		return config(`"added_tokens_decoder": {"6": {"content": "good"` + settings + `}}`)
	}
	for _, c := range []struct {
		name string
		a, b *checkpoints.Model
		want string // "" for the same
	}{
		{"a file that changes nothing", with(), with("special_tokens_map.json", "{}"), ""},
		{"a setting that is the default", with(), config(`"do_lower_case": true`), ""},
		{"another maximum length", with(), config(`"model_max_length": 8`), ""},
		{"cased and uncased", with(), config(`"do_lower_case": false`), "has other ids"},
		{"accents", with(), config(`"strip_accents": false`), "has other ids"},
		{"Chinese characters", with(), config(`"tokenize_chinese_chars": false`), "has other ids"},
		{"another class", with(), with("tokenizer_config.json", `{"tokenizer_class": "DistilBertTokenizer"}`), "has other ids"},
		{"another first token", with(), config(`"cls_token": "[BOS]"`), "has other ids"},
		{"another unknown token", with(), config(`"unk_token": "[BOS]"`), "has other ids"},
		{"an added token", with(), added(""), "has other ids"},
		{"one that is a word of its own", added(""), added(`, "single_word": true`), "has other ids"},
		{"one that is looked for in the normalized text", added(`, "normalized": false`), added(`, "normalized": true`), "has other ids"},
		{"special tokens that are split", with(), config(`"split_special_tokens": true`), "has other ids"},
		{"a token more", with(), with("vocab.txt", vocab+"more\n"), "they have 18 and 19 tokens"},
		{"another token", with(), with("vocab.txt", strings.Replace(vocab, "film", "book", 1)), `token 7 is "film" and "book"`},
		{"two in each other's place", with(), with("vocab.txt", strings.Replace(vocab, "good\nfilm", "film\ngood", 1)), `token 6 is "good" and "film"`},
		{"one that cannot be read", with(), config(`"do_lower_case": 3`), "do_lower_case"},
	} {
		for _, got := range []string{tokenizersDiffer(c.a, c.b), tokenizersDiffer(c.b, c.a)} {
			if (got == "") != (c.want == "") {
				t.Errorf("%s: %q, want %q", c.name, got, c.want)
			}
		}
		if got := tokenizersDiffer(c.a, c.b); !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// A teacher whose classes stand in another order, or have other letter case or
// numbers alone for names, teaches what it would in the student's order.
func TestTeachersOfOtherOrders(t *testing.T) {
	t.Parallel()
	for _, kind := range []head.Kind{head.SingleLabel, head.MultiLabel, head.TokenClassification} {
		teacher, student := withHead(t, golden.Model(t), kind, math.Cos), withHead(t, golden.Model(t), kind, math.Sin)
		reordered := func(order []int, labels ...string) *checkpoints.Model {
			m := teacher.Clone()
			m.Config.Labels = labels
			for _, name := range []string{"classifier.weight", "classifier.bias"} {
				from, width := teacher.Tensors[name], len(teacher.Tensors[name].Float32s())/len(order)
				values := make([]float32, 0, len(from.Float32s()))
				for _, class := range order {
					values = append(values, from.Float32s()[class*width:][:width]...)
				}
				m.Tensors[name] = checkpoints.NewTensor(from.Shape, values)
			}
			return m
		}
		o := Defaults()
		o.Steps, o.BatchSize, o.LogitsMSE, o.Hard, o.Seed = 3, 4, 1, 1, 1
		learn := func(m *checkpoints.Model, others ...*checkpoints.Model) (*checkpoints.Model, error) {
			o := o
			for _, other := range others {
				o.Ensemble = append(o.Ensemble, Teacher{other, 2})
			}
			trained, _, err := Run(context.Background(), m, student, toy(kind, 16, 1), nil, o)
			return trained, err
		}
		alone, err := learn(teacher)
		if err != nil {
			t.Fatal(err)
		}
		both, err := learn(teacher, teacher)
		if err != nil {
			t.Fatal(err)
		}
		same := []int{0, 1, 2}
		for _, c := range []struct {
			name  string
			other *checkpoints.Model
			want  bool
		}{
			{"another order", reordered([]int{2, 0, 1}, "blue", "red", "green"), true},
			{"another order and case", reordered([]int{1, 0, 2}, "Green", "RED", " blue"), true},
			{"numbers", reordered(same, "LABEL_0", "LABEL_1", "LABEL_2"), true},
			{"bare numbers", reordered(same, "0", "1", "2"), true},
			{"another name", reordered(same, "red", "green", "violet"), false},
			{"other numbers", reordered(same, "1", "2", "3"), false},
			{"two that one may be", reordered(same, "red", "Red", "blue"), false},
		} {
			got, err := learn(c.other)
			if c.want && (err != nil || !sameTensors(got, alone)) || !c.want && (err == nil || !strings.Contains(err.Error(), "the teacher's labels are "+data.ListLabels(c.other.Config.Labels)+", the student's red, green, blue")) {
				t.Errorf("%q, %s: %v, or other weights", kind, c.name, err)
			}
			if got, err = learn(teacher, c.other); (err == nil) != c.want || c.want && !sameTensors(got, both) {
				t.Errorf("%q, %s in an ensemble: %v, or other weights", kind, c.name, err)
			}
		}
	}
	// More classes than the student's are not its own.
	teacher, student := withHead(t, golden.Model(t), head.SingleLabel, math.Cos), withHead(t, golden.Model(t), head.SingleLabel, math.Sin)
	if err := teacher.SetHead(head.SingleLabel, []string{"red", "green", "blue", "violet"}, 1); err != nil {
		t.Fatal(err)
	}
	o := Defaults()
	o.Steps = 1
	for _, pair := range [][2]*checkpoints.Model{{teacher, student}, {student, teacher}} {
		if _, _, err := Run(context.Background(), pair[0], pair[1], toy(head.SingleLabel, 4, 1), nil, o); err == nil || !strings.Contains(err.Error(), "expected the same ones") {
			t.Errorf("four classes beside three: error %v", err)
		}
	}
}

func TestGeneralDistillationThenTraining(t *testing.T) {
	t.Parallel()
	teacher, ds := golden.Model(t), golden.Data(t)
	text := &data.Dataset{Task: data.Task{Name: "text", Metric: "accuracy"}}
	for _, e := range ds.Examples {
		text.Examples = append(text.Examples, data.Example{Text: e.Text, Label: -1})
	}
	bare := withoutHead(teacher)
	dir := filepath.Join(t.TempDir(), "general")
	for name, from := range map[string]*checkpoints.Model{"a classifier": teacher, "a bare encoder": bare} {
		o := Defaults()
		o.Soft, o.Relations, o.Hidden, o.RelationHeads, o.Epochs, o.BatchSize, o.LearningRate = 0, 1, 1, 8, 4, 8, 3e-3
		o.Output, o.Overwrite = dir, true
		m, r, err := General(context.Background(), from, narrowStudent(t, teacher), text, o)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if m.HasHead() {
			t.Errorf("%s: the student has labels %v", name, m.Config.Labels)
		}
		if n := len(r.History); !(r.History[n-1].Loss < r.History[0].Loss) {
			t.Errorf("%s: the loss goes from %g to %g", name, r.History[0].Loss, r.History[n-1].Loss)
		}
		m.Close()
	}
	m, err := checkpoints.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	o := train.Defaults()
	o.Steps = 2
	tuned, _, err := train.Run(context.Background(), m, ds, ds, o)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(tuned.Config.Labels, ds.Task.Labels) {
		t.Errorf("labels %v", tuned.Config.Labels)
	}
	if _, _, err := General(context.Background(), teacher, teacher, text, Defaults()); err == nil || !strings.HasPrefix(err.Error(), "distill: Soft: expected 0") {
		t.Errorf("soft: error %v", err)
	}
}

func TestStagesFollowOneAnother(t *testing.T) {
	t.Parallel()
	teacher, ds := golden.Model(t), golden.Data(t)
	student := narrowStudent(t, teacher)
	o := Defaults()
	o.BatchSize, o.LearningRate, o.Steps = 8, 3e-3, 4
	stages := TinyBERT()
	stages[0].Steps, stages[0].LearningRate = 3, 1e-3

	first := o
	first.Steps, first.LearningRate, first.Losses = 3, 1e-3, stages[0].Losses
	want, _, err := Run(context.Background(), teacher, student, ds, nil, first)
	if err != nil {
		t.Fatal(err)
	}
	second := o
	second.Losses = stages[1].Losses
	if want, _, err = Run(context.Background(), teacher, want, ds, ds, second); err != nil {
		t.Fatal(err)
	}

	o.Output, o.Resume = filepath.Join(t.TempDir(), "out"), true
	o.TensorBoard = filepath.Join(o.Output, "events")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	steps := 0
	o.OnStep = func(train.Record) {
		if steps++; steps == 5 {
			cancel()
		}
	}
	if _, _, err := RunStages(ctx, teacher, student, ds, ds, o, stages); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	got, _, err := RunStages(context.Background(), teacher, student, ds, ds, o, stages)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Close()
	if !sameTensors(got, want) {
		t.Error("other weights than those of two distillations by hand")
	}
	if steps != 7 {
		t.Errorf("%d steps in all, want those of both stages, once each: 7", steps)
	}
	for stage, dir := range map[string]string{"intermediate": filepath.Join(o.TensorBoard, "intermediate"), "prediction": o.TensorBoard} {
		if _, err := os.Stat(filepath.Join(dir, train.EventsFile)); err != nil {
			t.Errorf("events of the %s stage: %v", stage, err)
		}
	}
	if n := len(got.Provenance); n < 2 || got.Provenance[n-2].Name != "distill intermediate" || got.Provenance[n-1].Name != "distill prediction" {
		t.Errorf("provenance %+v", got.Provenance)
	}
}

// Early stopping is of the stages that are evaluated; the others run to their end.
func TestStagesWithPatience(t *testing.T) {
	t.Parallel()
	teacher, ds := golden.Model(t), golden.Data(t)
	o := Defaults()
	o.BatchSize, o.LearningRate, o.Steps, o.EvalEvery, o.Patience = 8, 0, 6, 1, 2
	stages := map[string]int{}
	for _, s := range TinyBERT() {
		stages["distill "+s.Name] = 0
	}
	m, r, err := RunStages(context.Background(), teacher, narrowStudent(t, teacher), ds, ds, o, TinyBERT())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range m.Provenance {
		if _, ok := stages[p.Name]; ok {
			stages[p.Name]++
		}
	}
	if stages["distill intermediate"] != 1 || stages["distill prediction"] != 1 {
		t.Errorf("the stages %v have made the student, want each once", stages)
	}
	// Nothing is learned, so that the first evaluation stays the best.
	if n := len(r.History); n != 3 {
		t.Errorf("the last stage takes %d steps, want 3", n)
	}
}

func TestReadStages(t *testing.T) {
	t.Parallel()
	if stages, err := ReadStages("tinybert"); err != nil || !reflect.DeepEqual(stages, TinyBERT()) {
		t.Errorf("%+v, error %v", stages, err)
	}
	path := filepath.Join(t.TempDir(), "stages.yaml")
	for _, c := range []struct{ text, want string }{
		{"- {name: a, epochs: 2, hidden: 1, hidden_map: skip, attention: 0.5}\n- {name: b, soft: 1, lr: 0.001}\n", ""},
		{"", "no stages"},
		{"- {name: a, hiden: 1}", "hiden"},
		{"- {hidden: 1}", `[0].name: ""`},
		{"- {name: ../a, hidden: 1}", `:1: [0].name: "../a"`},
		{"- {name: a, hidden: 1, hidden_distance: l1}", `:1: [0].hidden_distance: "l1"`},
		{"name: a", path},
		{"- {name: a, hidden: 1, epochs: 0}", ":1: [0].epochs: 0, expected more"},
		{"- {name: a, hidden: 1, epochs: 0, steps: 3}", ":1: [0].epochs: 0, expected more"},
		{"- {name: a, hidden: 1}\n- {name: b, soft: 1, steps: 0}", ":2: [1].steps: 0, expected more"},
		{"- {name: a, hidden: 1, lr: 0.0}", "[0].lr: 0, expected more"},
		{"- {name: a, relations: 1, relation_heads: -0}", "[0].relation_heads: 0, expected more"},
		{"- {name: a, soft: 1, temperature_end: 0}", "[0].temperature_end: 0, expected more"},
		{"- &a {name: a, soft: 1, steps: 0}\n- *a", "[0].steps: 0, expected more"},
		{"- {name: a, soft: 1, batch_size: 0}", "[0].batch_size: no such setting"},
	} {
		if err := os.WriteFile(path, []byte(c.text), 0o666); err != nil {
			t.Fatal(err)
		}
		stages, err := ReadStages(path)
		if c.want != "" {
			if err == nil || !strings.HasPrefix(err.Error(), path+":") || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%q: error %v, want one line with %q", c.text, err, c.want)
			}
			continue
		}
		if err != nil || len(stages) != 2 || stages[0].HiddenMap.String() != "skip" || stages[0].Attention != 0.5 || stages[1].LearningRate != 0.001 {
			t.Errorf("%q: %+v, error %v", c.text, stages, err)
		}
	}
}
