package train

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/evaluate"
	"github.com/skive-ml/skive/head"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/internal/golden"
	"github.com/skive-ml/skive/progress/terminal"
	"github.com/skive-ml/skive/quantize"
)

func subset(ds *data.Dataset, lo, hi int) *data.Dataset {
	return &data.Dataset{Task: ds.Task, Examples: ds.Examples[lo:hi]}
}

// quick is a run with everything in it: dropout, shuffling, evaluations.
func quick() Options {
	o := Defaults()
	o.Epochs, o.BatchSize, o.LearningRate, o.Dropout = 3, 16, 2e-3, new(0.1)
	o.EvalEvery, o.SaveEvery = 4, 5
	return o
}

func sameWeights(a, b *checkpoints.Model) bool {
	return maps.EqualFunc(a.Tensors, b.Tensors, func(x, y checkpoints.Tensor) bool { return bytes.Equal(x.Data, y.Data) })
}

func run(t *testing.T, o Options) (*checkpoints.Model, *Result) {
	t.Helper()
	ds := golden.Data(t)
	m, r, err := Run(context.Background(), golden.Model(t), subset(ds, 0, 100), subset(ds, 100, 160), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m, r
}

func TestSameBitsForAnyNumberOfThreads(t *testing.T) {
	t.Parallel()
	var first *checkpoints.Model
	var history []Record
	for _, threads := range []int{1, 2, 7} {
		o := quick()
		o.Threads = threads
		m, r := run(t, o)
		if first == nil {
			first, history = m, r.History
			continue
		}
		if !sameWeights(first, m) {
			t.Errorf("%d threads: other weights than with 1", threads)
		}
		for i, want := range history {
			if got := r.History[i]; got.Loss != want.Loss || got.GradNorm != want.GradNorm {
				t.Errorf("%d threads: step %d: loss %v and norm %v, with 1 thread %v and %v", threads, got.Step, got.Loss, got.GradNorm, want.Loss, want.GradNorm)
				break
			}
		}
	}
	o := quick()
	o.Seed = 2
	if m, _ := run(t, o); sameWeights(first, m) {
		t.Error("another seed gives the same weights")
	}
}

func TestBestModelIsReturned(t *testing.T) {
	t.Parallel()
	o := quick()
	var seen []Evaluation
	o.OnEvaluation = func(e Evaluation) { seen = append(seen, e) }
	m, r := run(t, o)
	if r.Steps != 21 || len(seen) != 6 || len(r.Evaluations) != 6 {
		t.Fatalf("%d steps and %d evaluations, want 21 and 6 (each 4 steps and the last)", r.Steps, len(seen))
	}
	for _, e := range seen {
		if e.Metrics["accuracy"] > r.Best.Metrics["accuracy"] {
			t.Errorf("step %d is better than the best, step %d", e.Step, r.Best.Step)
		}
	}
	ds := golden.Data(t)
	metrics, err := evaluate.Model(context.Background(), m, subset(ds, 100, 160), evaluate.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(metrics, r.Best.Metrics) {
		t.Errorf("the returned model measures %v, the best evaluation says %v", metrics, r.Best.Metrics)
	}
	stage := m.Provenance[len(m.Provenance)-1]
	if stage.Name != "train" || stage.Settings["lr"] != "0.002" || stage.Measured["dev_accuracy"] != r.Best.Metrics["accuracy"] {
		t.Errorf("provenance %+v", stage)
	}
	if m.Config.HiddenDropout != 0 {
		t.Errorf("the run's dropout went into the configuration: %v", m.Config.HiddenDropout)
	}
}

func TestOutputDirectory(t *testing.T) {
	t.Parallel()
	o := quick()
	o.Output = filepath.Join(t.TempDir(), "out")
	o.Log = filepath.Join(t.TempDir(), "log.jsonl")
	m, r := run(t, o)
	o2 := quick()
	inMemory, _ := run(t, o2)
	if !sameWeights(m, inMemory) {
		t.Error("the model in the directory is another than the one kept in memory")
	}
	svg, err := os.ReadFile(filepath.Join(o.Output, CurvesFile))
	if err != nil || !bytes.Contains(svg, []byte("<svg")) {
		t.Errorf("curves: %v", err)
	}
	page, err := os.ReadFile(filepath.Join(o.Output, CurvesPage))
	if err != nil || !bytes.Contains(page, []byte("<svg")) || !bytes.Contains(page, []byte(fmt.Sprintf("%.4f", r.Best.Metrics["accuracy"]))) {
		t.Errorf("page of the curves: %v\n%s", err, page)
	}
	// A reader that has the old file open keeps it whole.
	old := filepath.Join(o.Output, "old.svg")
	if err := os.Link(filepath.Join(o.Output, CurvesFile), old); err != nil {
		t.Fatal(err)
	}
	if err := writeCurves(o.Output, "again", r.History, nil); err != nil {
		t.Fatal(err)
	}
	if kept, err := os.ReadFile(old); err != nil || !bytes.Equal(kept, svg) {
		t.Errorf("the curves are overwritten in place (%v)", err)
	}
	log, err := os.ReadFile(o.Log)
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.Split(bytes.TrimSpace(log), []byte("\n"))
	if len(lines) != r.Steps {
		t.Fatalf("%d lines in the log of %d steps", len(lines), r.Steps)
	}
	var line map[string]any
	if err := json.Unmarshal(lines[20], &line); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"step", "loss", "losses", "lr", "grad_norm", "tokens"} {
		if _, ok := line[key]; !ok {
			t.Errorf("the log has no %q: %s", key, lines[20])
		}
	}
}

func TestResumingGivesTheBitsOfTheUninterruptedRun(t *testing.T) {
	t.Parallel()
	whole := quick()
	whole.Output = filepath.Join(t.TempDir(), "whole")
	whole.Log = filepath.Join(t.TempDir(), "whole.jsonl")
	want, wantResult := run(t, whole)
	wantLog, err := os.ReadFile(whole.Log)
	if err != nil {
		t.Fatal(err)
	}
	ds := golden.Data(t)

	o := quick()
	o.Output = filepath.Join(t.TempDir(), "parts")
	o.Log = filepath.Join(t.TempDir(), "parts.jsonl")
	o.Resume = true // with nothing there: starts fresh
	for _, stop := range []int{3, 8, 9, 20} {
		ctx, cancel := context.WithCancel(context.Background())
		o.OnStep = func(r Record) {
			if r.Step == stop {
				cancel()
			}
		}
		_, _, err := Run(ctx, golden.Model(t), subset(ds, 0, 100), subset(ds, 100, 160), o)
		if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "state saved") {
			t.Fatalf("cancelled at step %d: error %v", stop, err)
		}
		cancel()
	}
	o.OnStep = nil
	o.Threads = 2 // another number of threads may take over
	got, result := run(t, o)
	if result.Resumed != 20 || result.Steps != 21 {
		t.Errorf("resumed after %d of %d steps, want 20 of 21", result.Resumed, result.Steps)
	}
	if !sameWeights(got, want) {
		t.Error("other weights than those of the uninterrupted run")
	}
	if result.Best.Step != wantResult.Best.Step || len(result.Evaluations) != len(wantResult.Evaluations) || result.Tokens != wantResult.Tokens {
		t.Errorf("best at step %d of %d evaluations, %d tokens; want %d, %d, %d", result.Best.Step, len(result.Evaluations), result.Tokens,
			wantResult.Best.Step, len(wantResult.Evaluations), wantResult.Tokens)
	}
	gotLog, err := os.ReadFile(o.Log)
	if err != nil || !bytes.Equal(gotLog, wantLog) {
		t.Errorf("the log differs from that of the uninterrupted run: %v", err)
	}
	last := func(o Options) []checkpoints.Section {
		s, err := checkpoints.ReadState(filepath.Join(o.Output, StateDir, stateFile), nil)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	if !slices.EqualFunc(last(o), last(whole), func(a, b checkpoints.Section) bool {
		return a.Name == b.Name && slices.Equal(a.Data, b.Data)
	}) {
		t.Error("the last weights differ from those of the uninterrupted run")
	}

	// A finished run returns at once.
	o.OnStep = func(Record) { t.Error("a finished run does a step") }
	again, result := run(t, o)
	if !sameWeights(again, want) || result.Best.Step != wantResult.Best.Step || result.Steps != 21 {
		t.Errorf("finished run: best at step %d of %d", result.Best.Step, result.Steps)
	}
	// Other settings are not this run.
	o.LearningRate = 1e-3
	var settings *SettingsError
	if _, _, err := Run(context.Background(), golden.Model(t), subset(ds, 0, 100), subset(ds, 100, 160), o); !errors.As(err, &settings) || settings.Setting != "lr" {
		t.Errorf("resuming with another rate: error %v", err)
	}
}

// A process that dies anywhere leaves the last state that it saved; whatever it
// did after that is done again.
func TestResumingAfterAKill(t *testing.T) {
	t.Parallel()
	want, _ := run(t, quick())
	ds := golden.Data(t)
	for _, stop := range []int{4, 7, 14} {
		o := quick()
		o.Output = filepath.Join(t.TempDir(), "out")
		func() {
			defer func() { _ = recover() }()
			o.OnStep = func(r Record) {
				if r.Step == stop {
					panic("killed")
				}
			}
			_, _, _ = Run(context.Background(), golden.Model(t), subset(ds, 0, 100), subset(ds, 100, 160), o)
		}()
		o.OnStep, o.Resume = nil, true
		got, r := run(t, o)
		if !sameWeights(got, want) {
			t.Errorf("killed in step %d, resumed after %d: other weights", stop, r.Resumed)
		}
	}
}

// Curves that cannot be written are an error, and cost nothing of what was trained.
func TestStateWithoutCurves(t *testing.T) {
	t.Parallel()
	o := quick()
	o.Output = t.TempDir()
	taken := filepath.Join(o.Output, CurvesFile)
	if err := os.Mkdir(taken, 0o777); err != nil {
		t.Fatal(err)
	}
	ds := golden.Data(t)
	if _, _, err := Run(t.Context(), golden.Model(t), ds, ds, o); err == nil || !strings.Contains(err.Error(), CurvesFile) {
		t.Errorf("error %v, want one that names %s", err, CurvesFile)
	}
	var h stateHeader
	if _, err := checkpoints.ReadState(filepath.Join(o.Output, StateDir, stateFile), &h); err != nil || h.Step == 0 {
		t.Errorf("state after step %d, error %v", h.Step, err)
	}
}

func TestDamagedStateIsAnErrorThatNamesTheFile(t *testing.T) {
	t.Parallel()
	o := quick()
	o.Output = filepath.Join(t.TempDir(), "out")
	run(t, o)
	path := filepath.Join(o.Output, StateDir, stateFile)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b[:len(b)/2], 0o666); err != nil {
		t.Fatal(err)
	}
	o.Resume = true
	ds := golden.Data(t)
	_, _, err = Run(context.Background(), golden.Model(t), subset(ds, 0, 100), subset(ds, 100, 160), o)
	if !errors.Is(err, checkpoints.ErrCorrupt) || !strings.Contains(err.Error(), path) {
		t.Errorf("error %v, want a damaged file named", err)
	}
}

func TestDivergenceNamesTheStepAndKeepsTheLastState(t *testing.T) {
	t.Parallel()
	ds := golden.Data(t)
	o := quick()
	o.LearningRate, o.Schedule, o.Warmup, o.MaxGradNorm, o.Steps = 1e30, Constant, 0, 0, 20
	o.Output = filepath.Join(t.TempDir(), "out")
	o.SaveEvery, o.EvalEvery = 1, 100
	_, _, err := Run(context.Background(), golden.Model(t), subset(ds, 0, 100), nil, o)
	var diverged *DivergedError
	if !errors.As(err, &diverged) || diverged.Step < 2 {
		t.Fatalf("error %v, want a DivergedError after the first step", err)
	}
	var h stateHeader
	if _, err := checkpoints.ReadState(filepath.Join(o.Output, StateDir, stateFile), &h); err != nil || h.Step != diverged.Step-1 {
		t.Errorf("state of step %d, error %v; want step %d", h.Step, err, diverged.Step-1)
	}
	if _, err := os.Stat(filepath.Join(o.Output, "model.safetensors")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a model was written: %v", err)
	}
}

// A model that answers with NaN at an evaluation has diverged, whatever the loss
// of its last step was, and the best one before stays.
func TestDivergenceAtAnEvaluation(t *testing.T) {
	t.Parallel()
	ds := golden.Data(t)
	for name, change := range map[string]func(*Options){
		"every step":      func(o *Options) { o.EvalEvery = 1 },
		"the last step":   func(o *Options) { o.Steps = 2 },
		"bf16":            func(o *Options) { o.EvalEvery, o.Precision = 1, infer.BF16 },
		"quantize-aware":  func(o *Options) { o.EvalEvery, o.QuantizeAware = 1, quantize.Dynamic },
		"large, not NaN":  func(o *Options) { o.EvalEvery, o.LearningRate = 1, 1e10 },
		"accumulated":     func(o *Options) { o.EvalEvery, o.Accumulate = 1, 2 },
		"weights at once": func(o *Options) { o.EvalEvery, o.LearningRate = 1, 1e38 },
	} {
		t.Run(name, func(t *testing.T) {
			o := quick()
			o.LearningRate, o.Schedule, o.Warmup, o.Steps = 1e30, Constant, 0.5, 4
			o.Output = filepath.Join(t.TempDir(), "out")
			change(&o)
			_, _, err := Run(context.Background(), golden.Model(t), subset(ds, 0, 40), subset(ds, 100, 120), o)
			var diverged *DivergedError
			if err == nil && name == "large, not NaN" {
				return // LayerNorm makes numbers of it
			}
			if !errors.As(err, &diverged) || !strings.Contains(err.Error(), "lower the learning rate") {
				t.Fatalf("%v, expected a *DivergedError", err)
			}
			m, err := checkpoints.Open(o.Output)
			if errors.Is(err, fs.ErrNotExist) || errors.Is(err, checkpoints.ErrNotModel) {
				return // no evaluation was good
			}
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			if _, err := evaluate.Model(context.Background(), m, subset(ds, 100, 120), evaluate.Options{}); err != nil {
				t.Errorf("the best model: %v", err)
			}
		})
	}
	// Before the first update no learning rate helps.
	m := golden.Model(t).Clone()
	gamma := m.Tensors["bert.encoder.layer.0.output.LayerNorm.weight"].Float32s()
	for i := range gamma {
		gamma[i] = 3e38
	}
	_, _, err := Run(context.Background(), m, subset(ds, 0, 40), nil, quick())
	if err == nil || strings.Contains(err.Error(), "lower the learning rate") || !strings.Contains(err.Error(), "before the first update") {
		t.Error(err)
	}
}

func TestBadInputIsOneClearLine(t *testing.T) {
	t.Parallel()
	ds := golden.Data(t)
	label := func(v int) *data.Dataset {
		bad := subset(ds, 0, 10)
		bad.Examples = slices.Clone(bad.Examples)
		bad.Examples[3].Label = v
		return bad
	}
	other := subset(ds, 0, 10)
	other.Task.Labels = []string{"a", "b"}
	for _, c := range []struct {
		name       string
		train, dev *data.Dataset
		change     func(*Options)
		want       string
	}{
		{"no data", &data.Dataset{Task: ds.Task}, nil, nil, "training set: no examples"},
		{"no dev data", ds, &data.Dataset{Task: ds.Task}, nil, "development set: no examples"},
		{"label outside", label(3), nil, nil, "training set: example 4 has label 3, the model's 3 labels (red, green, blue) are 0 to 2"},
		{"label missing", label(-1), nil, nil, "training set: example 4 has no label"},
		{"dev label", ds, label(7), nil, "development set: example 4 has label 7"},
		{"other labels", other, nil, nil, "training set: the model's labels are red, green, blue, those of the task \"text\" are a, b"},
		{"rate", ds, nil, func(o *Options) { o.LearningRate = -1 }, "LearningRate: -1"},
		{"class weights", ds, nil, func(o *Options) { o.ClassWeights = []float64{1, 2} }, "ClassWeights: [1 2], expected one for each of the 3 labels (red, green, blue)"},
		{"patience", ds, nil, func(o *Options) { o.Patience = 2 }, "Patience: 2, expected a development set"},
		{"length", ds, nil, func(o *Options) { o.MaxLength = 65 }, "MaxLength: 65, expected at most the model's 64 positions"},
		{"log", ds, nil, func(o *Options) { o.Log = "testdata/data.json/log" }, "Log: mkdir testdata/data.json"},
	} {
		o := quick()
		if c.change != nil {
			c.change(&o)
		}
		_, _, err := Run(context.Background(), golden.Model(t), c.train, c.dev, o)
		if err == nil || !strings.HasPrefix(err.Error(), "train: "+c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error %v, want %q", c.name, err, c.want)
		}
	}
}

func TestFreshHeadForAModelWithoutOne(t *testing.T) {
	t.Parallel()
	cfg := golden.Model(t).Config
	cfg.Labels = nil
	m := checkpoints.InitBERT(cfg, 1)
	m.Tokenizer = golden.Model(t).Tokenizer
	ds := golden.Data(t)
	o := quick()
	o.Steps = 2
	out, _, err := Run(context.Background(), m, subset(ds, 0, 32), nil, o)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(out.Config.Labels, ds.Task.Labels) || m.HasHead() {
		t.Errorf("labels %v; the argument has a head now: %v", out.Config.Labels, m.HasHead())
	}
}

func TestTokenBudgetBatches(t *testing.T) {
	t.Parallel()
	o := quick()
	o.BatchSize, o.BatchTokens, o.Epochs = 0, 200, 1
	_, r := run(t, o)
	for _, s := range r.History {
		if s.Tokens > 200 {
			t.Errorf("step %d has %d tokens, the budget is 200", s.Step, s.Tokens)
		}
	}
}

func TestProgressLines(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	o := quick()
	o.Progress = terminal.New(&out)
	run(t, o)
	text := out.String()
	for _, want := range []string{"train: 1/21 (4%)", "train: step 4: dev accuracy 0.", "train: 21/21 in"} {
		if !strings.Contains(text, want) {
			t.Errorf("progress lacks %q:\n%s", want, text)
		}
	}
}

func TestLossFalls(t *testing.T) {
	t.Parallel()
	o := quick()
	o.Epochs, o.EvalEvery, o.Dropout = 20, 0, new(0.0)
	_, r := run(t, o)
	mean := func(h []Record) (sum float64) {
		for _, s := range h {
			sum += s.Loss / float64(len(h))
		}
		return sum
	}
	first, last := mean(r.History[:7]), mean(r.History[len(r.History)-7:])
	if !(last < 0.5*first) || math.IsNaN(last) {
		t.Errorf("the loss goes from %.3f to %.3f", first, last)
	}
}

func TestRecomputationGivesTheSameBits(t *testing.T) {
	t.Parallel()
	cfg := golden.Model(t).Config
	for range 3 {
		cfg.Layers = append(cfg.Layers, checkpoints.LayerSize{Heads: 4, Intermediate: 48})
	}
	m := checkpoints.InitBERT(cfg, 1)
	m.Tokenizer = golden.Model(t).Tokenizer
	ds := golden.Data(t)
	var models []*checkpoints.Model
	var results []*Result
	for _, recompute := range []bool{false, true} {
		o := quick()
		o.Recompute, o.Accumulate, o.BatchSize = recompute, 2, 8
		out, r, err := Run(context.Background(), m, subset(ds, 0, 100), nil, o)
		if err != nil {
			t.Fatal(err)
		}
		models, results = append(models, out), append(results, r)
	}
	if !sameWeights(models[0], models[1]) {
		t.Error("recomputation gives other weights")
	}
	for i, want := range results[0].History {
		if got := results[1].History[i]; got.Loss != want.Loss || got.GradNorm != want.GradNorm {
			t.Fatalf("step %d: loss %v and norm %v, want %v and %v", want.Step, got.Loss, got.GradNorm, want.Loss, want.GradNorm)
		}
	}
}

func TestPatienceEndsARunEarly(t *testing.T) {
	t.Parallel()
	o := quick()
	o.LearningRate, o.EvalEvery, o.Patience, o.KeepLast = 0, 2, 3, true // which learns nothing
	o.Output = filepath.Join(t.TempDir(), "out")
	_, r := run(t, o)
	if !r.Early || r.Best.Step != 2 || r.Steps != 8 || len(r.Evaluations) != 4 {
		t.Errorf("early %v, best at step %d of %d, %d evaluations; want step 2 of 8, 4 evaluations", r.Early, r.Best.Step, r.Steps, len(r.Evaluations))
	}
	last, err := checkpoints.Open(filepath.Join(o.Output, LastDir))
	if err != nil {
		t.Fatal(err)
	}
	last.Close()
	o.Resume = true
	o.OnStep = func(Record) { t.Error("a finished run does a step") }
	if _, again := run(t, o); !again.Early || again.Steps != 8 {
		t.Errorf("resumed: early %v after %d steps", again.Early, again.Steps)
	}
}

// A run with patience ends at an evaluation than which none can be better.
func TestPerfectRunsEnd(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		metric   string
		value    float64
		patience int
		want     bool
	}{
		{"accuracy", 1, 3, true},
		{"accuracy", 1, 0, false},
		{"accuracy", 0.99, 3, false},
		{"perplexity", 1.5, 3, false},
	} {
		e := Evaluation{Step: 2, Metrics: map[string]float64{c.metric: c.value}}
		f := &fit{o: Options{Patience: c.patience}, result: &Result{Metric: c.metric, Evaluations: []Evaluation{e}, Best: e}}
		if got := f.exhausted(); got != c.want {
			t.Errorf("%+v: %t", c, got)
		}
	}
}

func TestLastModelIsKept(t *testing.T) {
	t.Parallel()
	o := quick()
	o.Output, o.KeepLast = filepath.Join(t.TempDir(), "out"), true
	run(t, o)
	last, err := checkpoints.Open(filepath.Join(o.Output, LastDir))
	if err != nil {
		t.Fatal(err)
	}
	defer last.Close()
	o.Output, o.EvalEvery, o.KeepLast = "", 0, false
	ds := golden.Data(t)
	want, _, err := Run(context.Background(), golden.Model(t), subset(ds, 0, 100), nil, o)
	if err != nil {
		t.Fatal(err)
	}
	if !sameWeights(last, want) {
		t.Error("the last model is not the one after the last step")
	}
}

// Gradients of batches add up to those of one large batch, to rounding; those of a
// masked language model as well, whose batches have other numbers of masked tokens.
func TestAccumulationIsALargeBatch(t *testing.T) {
	t.Parallel()
	ds := golden.Data(t)
	text := &data.Dataset{Task: data.Task{Name: "mlm", Kind: head.MaskedLM}, Examples: ds.Examples[:90]}
	for _, c := range []struct {
		model   *checkpoints.Model
		set     *data.Dataset
		weights []float64
	}{{golden.Model(t), subset(ds, 0, 90), []float64{1, 2, 0.5}}, {tinyEncoder(t), text, nil}} {
		var results []*Result
		for _, accumulate := range []int{1, 4} {
			o := quick()
			o.Dropout, o.ClassWeights, o.MaxLength = new(0.0), c.weights, 12
			o.BatchSize, o.Accumulate = 20/accumulate, accumulate
			_, r, err := Run(context.Background(), c.model, c.set, nil, o)
			if err != nil {
				t.Fatal(err)
			}
			results = append(results, r)
		}
		if results[0].Steps != results[1].Steps {
			t.Fatalf("%s: %d steps, with accumulation %d", c.set.Task.Name, results[0].Steps, results[1].Steps)
		}
		for i, want := range results[0].History {
			got := results[1].History[i]
			if got.Tokens != want.Tokens || math.Abs(got.Loss-want.Loss) > 1e-4 || math.Abs(got.GradNorm-want.GradNorm) > 1e-3*want.GradNorm {
				t.Errorf("%s: step %d: %d tokens, loss %.6f, norm %.5f; with one large batch %d, %.6f, %.5f",
					c.set.Task.Name, want.Step, got.Tokens, got.Loss, got.GradNorm, want.Tokens, want.Loss, want.GradNorm)
			}
		}
	}
}

// A model of one token type has it for the second text of a pair, too.
func TestOneTokenType(t *testing.T) {
	t.Parallel()
	m, ds := golden.Model(t).Clone(), golden.Data(t)
	const name = "bert.embeddings.token_type_embeddings.weight"
	m.Config.TypeVocabSize = 1
	m.Tensors[name] = checkpoints.NewTensor([]int{1, 32}, m.Tensors[name].Float32s()[:32])
	o := quick()
	o.Steps = 3
	m, _, err := Run(context.Background(), m, subset(ds, 0, 16), subset(ds, 16, 32), o) // every third example is a pair
	if err != nil {
		t.Fatal(err)
	}
	if _, err := evaluate.Model(context.Background(), m, ds, evaluate.Options{}); err != nil {
		t.Error(err)
	}
}

func TestSeeds(t *testing.T) {
	t.Parallel()
	ds := golden.Data(t)
	o := quick()
	o.Output, o.Log = filepath.Join(t.TempDir(), "out"), filepath.Join(t.TempDir(), "log.jsonl")
	r, err := RunSeeds(context.Background(), golden.Model(t), subset(ds, 0, 100), subset(ds, 100, 160), o, 3)
	if err != nil {
		t.Fatal(err)
	}
	var mean, squares float64
	for i, one := range r.Results {
		mean += one.Best.Metrics["accuracy"] / 3
		if r.Seeds[i] != uint64(i+1) {
			t.Errorf("seeds %v", r.Seeds)
		}
		m, err := checkpoints.Open(filepath.Join(o.Output, fmt.Sprintf("seed-%d", i+1)))
		if err != nil {
			t.Fatal(err)
		}
		m.Close()
		if _, err := os.Stat(strings.TrimSuffix(o.Log, ".jsonl") + fmt.Sprintf(".seed-%d.jsonl", i+1)); err != nil {
			t.Error(err)
		}
	}
	for _, one := range r.Results {
		squares += math.Pow(one.Best.Metrics["accuracy"]-mean, 2)
	}
	if spread := math.Sqrt(squares / 2); math.Abs(r.Mean["accuracy"]-mean) > 1e-12 || math.Abs(r.Spread["accuracy"]-spread) > 1e-12 {
		t.Errorf("accuracy %v ± %v, want %v ± %v", r.Mean["accuracy"], r.Spread["accuracy"], mean, spread)
	}
}
