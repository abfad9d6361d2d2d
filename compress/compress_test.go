package compress

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/distill"
	"github.com/skive-ml/skive/evaluate"
	"github.com/skive-ml/skive/internal/measure"
	"github.com/skive-ml/skive/progress/terminal"
	"github.com/skive-ml/skive/pruning"
	"github.com/skive-ml/skive/quantize"
)

// tiny is the default recipe, made small enough for a test.
func tiny() Recipe {
	r := Default()
	r.Architecture = &Architecture{Layers: 2, HiddenSize: 24, AttentionHeads: 12, IntermediateSize: 32, VocabSize: 300, InitializerRange: 0.08, EmbeddingRange: 0.3}
	r.Reviews = &Reviews{Train: 400, Dev: 60}
	r.Teacher.Steps, r.Teacher.EvalEvery = 6, 3
	r.Student.Layers = 1
	r.Distill.Steps, r.Recover.Steps = 4, 2
	r.Distill.Hidden, r.Distill.Relations = 0.1, 0.1
	r.ImportanceExamples = 40
	return r
}

func TestRunMeasuresEveryStep(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "out")
	report, err := Run(context.Background(), tiny(), Options{Force: true, Output: dir, Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Rows) != 7 {
		t.Fatalf("%d rows, want 7", len(report.Rows))
	}
	for i, row := range report.Rows {
		if row.ExamplesPerSecond <= 0 || row.LatencyMS <= 0 || row.Parameters <= 0 || row.Bytes <= 0 {
			t.Errorf("row %d (%s) is not measured: %+v", i, row.Name, row)
		}
		if row.Interval[0] > row.Metric || row.Interval[1] < row.Metric {
			t.Errorf("row %d: metric %g is outside of its interval %v", i, row.Metric, row.Interval)
		}
		if _, err := checkpoints.Inspect(filepath.Join(dir, row.Model)); err != nil {
			t.Errorf("row %d: %v", i, err)
		}
	}
	first, last := report.Rows[0], report.Rows[len(report.Rows)-1]
	if first.Speedup != 1 || first.Cumulative != 1 {
		t.Errorf("the baseline's ratios are %g and %g, want 1", first.Speedup, first.Cumulative)
	}
	if want := last.ExamplesPerSecond / first.ExamplesPerSecond; last.Cumulative != want {
		t.Errorf("cumulative speed-up is %g, want the ratio of throughputs %g", last.Cumulative, want)
	}
	if last.Parameters >= first.Parameters || last.Bytes >= first.Bytes {
		t.Errorf("the final model has %d parameters and %d bytes, the teacher %d and %d", last.Parameters, last.Bytes, first.Parameters, first.Bytes)
	}
	if len(report.Floors) != 3 {
		t.Errorf("%d floors, want those of the most frequent answer, of words and of word pairs", len(report.Floors))
	}
	text, err := os.ReadFile(filepath.Join(dir, "report.json"))
	if err != nil {
		t.Fatal(err)
	}
	var stable struct {
		Rows []map[string]any `json:"rows"`
	}
	if err := json.Unmarshal(text, &stable); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"name", "metric", "interval", "examples_per_s", "latency_ms", "speedup", "cumulative",
		"parameters", "bytes", "cpu_s_per_1000", "cost_per_million", "joules_per_1000", "model"} {
		if _, ok := stable.Rows[0][key]; !ok {
			t.Errorf("report.json: rows have no %q", key)
		}
	}
	for _, name := range []string{"report.md", "report.html", "report.svg"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || !strings.Contains(string(text), "fused int8") {
			t.Errorf("%s does not show every row (%v)", name, err)
		}
	}

	// Nothing is done again, and nothing measured.
	var said strings.Builder
	again, err := Run(context.Background(), tiny(), Options{Force: true, Output: dir, Threads: 2, Progress: terminal.New(&said)})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(said.String(), "finished") || strings.Count(said.String(), "\n") != 1 || !reflect.DeepEqual(again, report) {
		t.Errorf("the finished run again: %q, %+v", &said, again)
	}
	// Where only the report is missing, no importance is measured for it.
	said.Reset()
	if err := os.Remove(filepath.Join(dir, "report.json")); err != nil {
		t.Fatal(err)
	}
	if again, err = Run(context.Background(), tiny(), Options{Force: true, Output: dir, Threads: 2, Progress: terminal.New(&said)}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(report.Table(), "The whole run took") || !strings.Contains(again.Table(), "The last call took") {
		t.Errorf("who took how long: %s\n%s", report.Table(), again.Table())
	}
	if strings.Contains(said.String(), "importance") || len(again.Rows) != len(report.Rows) {
		t.Errorf("without the report: %s", &said)
	}
}

// A target replaces the shares: the student is cut under measured costs.
func TestRunCutsToATarget(t *testing.T) {
	r := tiny()
	r.Architecture.Layers, r.Architecture.IntermediateSize, r.Student.Layers = 3, 768, 2
	r.Prune, r.TargetSpeedup = nil, 1.0001
	dir := filepath.Join(t.TempDir(), "out")
	run := func() (*Report, string, error) {
		var said strings.Builder
		report, err := Run(context.Background(), r, Options{Force: true, Output: dir, Threads: 1, Progress: terminal.New(&said)})
		return report, said.String(), err
	}
	report, _, err := run()
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Rows) != 4 || !report.Target.Uncut || !strings.Contains(report.Table(), "within the target as it is") {
		t.Errorf("a student that is faster than the target: %+v\n%s", report.Target, report.Table())
	}
	r.TargetSpeedup = 1.5 * report.Target.TeacherMS / report.Target.MeasuredMS
	if report, _, err = run(); err != nil {
		t.Fatal(err)
	}
	last, student := report.Rows[len(report.Rows)-1], report.Rows[3]
	if len(report.Rows) != 5 || last.Model != "cut-1-int8.skive" || last.Parameters >= student.Parameters || report.Target.Uncut {
		t.Errorf("rows %+v, target %+v", report.Rows, report.Target)
	}
	if !strings.Contains(report.Markdown(), "Target: ") || report.Target.MeasuredMS <= 0 || report.Target.TeacherMS <= 0 {
		t.Errorf("target %+v\n%s", report.Target, report.Markdown())
	}
	// The cut is kept, and with it all that was trained on it.
	if err := os.Remove(filepath.Join(dir, "report.json")); err != nil {
		t.Fatal(err)
	}
	again, said, err := run()
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(said, "importance") || strings.Contains(said, "measuring costs") || again.Rows[4].Name != last.Name {
		t.Errorf("once more: %s", said)
	}

	r.TargetSpeedup = 1e5
	dir = filepath.Join(t.TempDir(), "unreachable")
	if _, _, err := run(); !errors.Is(err, pruning.ErrTarget) {
		t.Errorf("an impossible target: %v", err)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("an impossible target: something was written")
	}
}

// What is refused leaves nothing behind, and nothing of what was there changes.
func TestRefusedRunLeavesNothing(t *testing.T) {
	t.Parallel()
	layers, labels := tiny(), tiny()
	layers.Student.TeacherLayers = []int{2}
	labels.Model, labels.Architecture = filepath.Join("..", "train", "testdata", "tiny"), nil
	heads, divided, deep, hidden, length, unlabeled := tiny(), tiny(), tiny(), tiny(), tiny(), tiny()
	heads.Student.Heads = 13
	divided.Student.Random, divided.Student.Heads = true, 5
	deep.Student.Random, deep.Student.Layers = true, 5000
	hidden.Student.Hidden = 4096
	length.MaxLength = 1
	unlabeled.Unlabeled = "absent.txt"
	texts, pairs := filepath.Join(t.TempDir(), "texts.txt"), filepath.Join(t.TempDir(), "pairs.csv")
	for path, content := range map[string]string{texts: "\ngood food\n", pairs: "text,text_pair,label\ngood food,a,yes\nbad food,b,no\n"} {
		if err := os.WriteFile(path, []byte(content), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	single := tiny()
	single.Task, single.Reviews, single.Train, single.Dev, single.Unlabeled = "text", nil, pairs, pairs, texts
	for want, r := range map[string]Recipe{
		"Student.TeacherLayers": layers, "labels": labels, "Student.Heads: 13": heads, "Student.Heads: 5": divided, "Student.Layers: 5000": deep,
		"Student.Hidden: 4096, expected at most the teacher's": hidden,
		"MaxLength: ": length, "Unlabeled: open absent.txt": unlabeled,
		"Unlabeled: " + texts + ": example 1 has only one text, expected a second text": single,
	} {
		dir := t.TempDir()
		for _, out := range []string{dir, filepath.Join(dir, "out")} {
			_, err := Run(context.Background(), r, Options{Force: true, Output: out, Threads: 1})
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("error %v, want one that names %s", err, want)
			}
			if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
				t.Errorf("%s: %v was written (%v)", want, entries, err)
			}
		}
	}
}

func TestVerdict(t *testing.T) {
	t.Parallel()
	d := &Dropped{Name: "pruned to 0.8 ms", Metric: 0.87, Limit: 0.885}
	none := &Dropped{Name: studentStep, Metric: 0.87, Limit: 0.885, None: true}
	for _, c := range []struct {
		r    Report
		want string
	}{
		{Report{}, ""},
		{Report{Dropped: d}, ""},
		{Report{Target: &Target{Milliseconds: 1}}, ""},
		{Report{Dropped: none}, "max_drop allows: distilled student reaches 87.0 %"},
		{Report{Dropped: d, Target: &Target{Milliseconds: 0.5}}, "meets the target of 0.5 ms: pruned to 0.8 ms reaches 87.0 %, the limit is 88.5 %"},
	} {
		err := c.r.verdict()
		if (err == nil) != (c.want == "") || err != nil && (!errors.Is(err, ErrMaxDrop) || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("error %v, want %q", err, c.want)
		}
	}
}

// cancelAt cancels a run when its progress first tells of a stage.
type cancelAt struct {
	stage  string
	cancel context.CancelFunc
}

func (c cancelAt) Write(b []byte) (int, error) {
	if strings.Contains(string(b), c.stage) {
		c.cancel()
	}
	return len(b), nil
}

func TestRunGoesOnWhereItWasStopped(t *testing.T) {
	t.Parallel()
	const final = "pruned-33-50-int8.skive"
	read := func(dir, name string) string {
		t.Helper()
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	run := func(ctx context.Context, r Recipe, o Options) error {
		o.Threads = 2
		_, err := Run(ctx, r, o)
		return err
	}
	whole, stopped := filepath.Join(t.TempDir(), "whole"), filepath.Join(t.TempDir(), "stopped")
	if err := run(context.Background(), tiny(), Options{Force: true, Output: whole}); err != nil {
		t.Fatal(err)
	}
	for _, stage := range []string{"teacher", "student", "pruned-33-50"} {
		ctx, cancel := context.WithCancel(context.Background())
		if err := run(ctx, tiny(), Options{Force: true, Output: stopped, Progress: terminal.New(cancelAt{stage, cancel})}); !errors.Is(err, context.Canceled) {
			t.Fatalf("stopped at %s: %v", stage, err)
		}
		cancel()
	}
	if err := run(context.Background(), tiny(), Options{Force: true, Output: stopped}); err != nil {
		t.Fatal(err)
	}
	weights := func(path string) []float32 {
		m, err := checkpoints.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		var all []float32
		for _, name := range m.Names() {
			if t := m.Tensors[name]; t.DType == checkpoints.F32 {
				all = append(all, t.Float32s()...)
			}
		}
		return all
	}
	if !slices.Equal(weights(filepath.Join(stopped, final)), weights(filepath.Join(whole, final))) {
		t.Error("the run that was stopped three times ends with other weights")
	}

	// Only what depends on a changed setting is done again, and the earlier
	// model is kept.
	teacher, student, pruned := read(whole, "teacher/model.safetensors"), read(whole, "student/model.safetensors"), read(whole, "pruned-25-25/model.safetensors")
	changed := tiny()
	changed.Recover.LearningRate *= 2
	if err := run(context.Background(), changed, Options{Force: true, Output: whole}); err != nil {
		t.Fatal(err)
	}
	if read(whole, "teacher/model.safetensors") != teacher || read(whole, "student/model.safetensors") != student {
		t.Error("teacher or student is another one, and nothing of theirs has changed")
	}
	if read(whole, "pruned-25-25/model.safetensors") == pruned || read(whole, "pruned-25-25.previous/model.safetensors") != pruned {
		t.Error("the pruned model was not trained with the new rate, or the earlier one is lost")
	}
	for _, name := range []string{"teacher.previous", "student.previous"} {
		if _, err := os.Stat(filepath.Join(whole, name)); err == nil {
			t.Errorf("%s: it was trained again", name)
		}
	}

	// What was set aside is taken up again with its settings, also where the
	// exchange is interrupted.
	again := read(whole, "pruned-25-25/model.safetensors")
	for i, rename := range [][2]string{{}, {"pruned-25-25", "pruned-25-25.exchange"}, {"pruned-25-25.previous", "pruned-25-25.exchange"}} {
		if i > 0 {
			if err := os.Rename(filepath.Join(whole, rename[0]), filepath.Join(whole, rename[1])); err != nil {
				t.Fatal(err)
			}
		}
		r, want, aside := tiny(), pruned, again
		if i == 1 {
			r, want, aside = changed, again, pruned
		}
		var said strings.Builder
		if err := run(context.Background(), r, Options{Force: true, Output: whole, Progress: terminal.New(&said)}); err != nil {
			t.Fatal(err)
		}
		if read(whole, "pruned-25-25/model.safetensors") != want || read(whole, "pruned-25-25.previous/model.safetensors") != aside ||
			!strings.Contains(said.String(), "pruned-25-25: lr has changed back") || strings.Contains(said.String(), "pruned-25-25: 1/") {
			t.Errorf("changed back %d times: %s", i+1, &said)
		}
		if _, err := os.Stat(filepath.Join(whole, "pruned-25-25.exchange")); err == nil {
			t.Error("the exchange is not ended")
		}
	}
	// A run with other settings that was stopped before it saved anything.
	if err := errors.Join(os.RemoveAll(filepath.Join(whole, "pruned-25-25")), os.RemoveAll(filepath.Join(whole, "report.json"))); err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	if err := run(context.Background(), changed, Options{Force: true, Output: whole, Progress: terminal.New(&said)}); err != nil {
		t.Fatal(err)
	}
	if read(whole, "pruned-25-25/model.safetensors") != again || strings.Contains(said.String(), "pruned-25-25: 1/") {
		t.Errorf("the model that was set aside is trained anew: %s", &said)
	}

	// A variant is another one with another share, whose name may be the same.
	changed.Architecture.IntermediateSize = 400
	whole = filepath.Join(t.TempDir(), "shares")
	for _, want := range []int{300, 298} {
		if err := run(context.Background(), changed, Options{Force: true, Output: whole}); err != nil {
			t.Fatal(err)
		}
		m, err := checkpoints.Open(filepath.Join(whole, "pruned-25-25"))
		if err != nil {
			t.Fatal(err)
		}
		if got := m.Config.Layers[0].Intermediate; got != want {
			t.Errorf("the share %g leaves %d units, want %d", changed.Prune[0].FFN, got, want)
		}
		m.Close()
		changed.Prune[0].FFN += 0.004
	}
}

// A run with a changed recipe may be stopped when it has replaced some of the models
// of a finished one: that one is then no longer finished.
func TestAStoppedChangeIsNotTakenForAFinishedRun(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "out")
	r, changed := tiny(), tiny()
	changed.Recover.LearningRate *= 2
	if _, err := Run(context.Background(), r, Options{Force: true, Output: dir, Threads: 1}); err != nil {
		t.Fatal(err)
	}
	weights := func() string {
		text, err := os.ReadFile(filepath.Join(dir, "pruned-25-25", "model.safetensors"))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	before := weights()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if _, err := Run(ctx, changed, Options{Force: true, Output: dir, Threads: 1, Progress: terminal.New(cancelAt{"pruned-33-50", cancel})}); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if weights() == before {
		t.Fatal("the run was stopped too soon for this test")
	}
	for _, name := range reportFiles {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			t.Errorf("%s speaks of models that are no longer there", name)
		}
	}
	if _, err := Run(context.Background(), r, Options{Force: true, Output: dir, Threads: 1}); err != nil {
		t.Fatal(err)
	}
	if weights() != before {
		t.Error("the first recipe once more ends with the models of the second")
	}
}

// What a file does not say is that of a pretrained model where one is given beside
// it, and what is given beside it makes it whole.
func TestRecipeIsChangedBeforeItIsValidated(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "recipe.yaml")
	if err := os.WriteFile(path, []byte("student: {layers: 3}"), 0o666); err != nil {
		t.Fatal(err)
	}
	r, err := ReadRecipe(path, func(r *Recipe) { r.Model, r.Task, r.Train, r.Dev = "dir", "sst2", "a", "b" })
	want := ForModel("dir", "sst2", "a", "b")
	want.Student.Layers = 3
	if err != nil || !reflect.DeepEqual(r, want) {
		t.Errorf("%+v (%v), want %+v", r, err, want)
	}
}

func TestRunRefusesAForeignDirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	recipe := ForModel("a", "sst2", "b", "c")
	c := run{Recipe: recipe, Options: Options{Force: true, Output: dir}}
	if err := c.claimOutput(); err != nil {
		t.Fatal(err)
	}
	if err := c.checkOutput(); err != nil {
		t.Errorf("the same run again: %v", err)
	}
	c.Model = "./a/"
	if err := c.checkOutput(); err != nil {
		t.Errorf("the same model by another path: %v", err)
	}
	for _, other := range []Recipe{ForModel("other", "sst2", "b", "c"), ForModel("a", "cola", "b", "c")} {
		c.Recipe = other
		var foreign *OtherRunError
		if err := c.checkOutput(); !errors.As(err, &foreign) || !strings.Contains(err.Error(), dir) {
			t.Errorf("model %s, task %s: %v", other.Model, other.Task, err)
		}
	}
	if err := os.Remove(filepath.Join(dir, RecipeFile)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, checkpoints.TemporaryName(RecipeFile)), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := c.checkOutput(); err != nil {
		t.Errorf("what a run leaves that is killed at its beginning: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "thesis.tex"), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := c.checkOutput(); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("somebody else's directory: %v", err)
	}
}

func TestRunRefusesAnInt8Model(t *testing.T) {
	t.Parallel()
	c := run{Recipe: tiny()}
	if err := c.load(); err != nil {
		t.Fatal(err)
	}
	int8, err := quantize.Int8(c.teacher)
	if err != nil {
		t.Fatal(err)
	}
	file, out := filepath.Join(t.TempDir(), "int8.skive"), filepath.Join(t.TempDir(), "out")
	if err := int8.SaveSkive(file); err != nil {
		t.Fatal(err)
	}
	r := tiny()
	r.Model, r.Architecture = file, nil
	if _, err := Run(context.Background(), r, Options{Force: true, Output: out}); err == nil || !strings.Contains(err.Error(), file+" is int8") {
		t.Errorf("error %v, want one that names the file", err)
	}
	if _, err := os.Stat(out); err == nil {
		t.Error("an output directory was made")
	}
}

func TestMaxDropDecidesHowMuchIsPruned(t *testing.T) {
	t.Parallel()
	r := tiny()
	r.Prune = []Pruning{{Heads: 0.5, FFN: 0.5}}
	r.MaxDrop = 100
	dir := filepath.Join(t.TempDir(), "out")
	report, err := Run(context.Background(), r, Options{Force: true, Output: dir, Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	// Nothing is too much: pruning goes on until nothing is left to take.
	last, err := checkpoints.Open(filepath.Join(dir, report.Rows[len(report.Rows)-1].Model))
	if err != nil {
		t.Fatal(err)
	}
	defer last.Close()
	if size := last.Config.Layers[0]; size.Heads != 1 || size.Intermediate > 2 {
		t.Errorf("the last variant has %+v, want one head and at most two units", size)
	}
	if report.Dropped != nil || !strings.Contains(report.Table(), "No variant lost more") {
		t.Errorf("dropped %v; %s", report.Dropped, report.Table())
	}

	c := &run{Recipe: r, Options: Options{Threads: 1}}
	if err := c.load(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{studentStep, "pruned"} {
		if ok, err := c.within(context.Background(), name, filepath.Join(dir, "student-int8.skive"), 1.01); ok || err != nil {
			t.Errorf("%s: beyond a limit that no model reaches: %t, %v", name, ok, err)
		}
		report.Dropped = c.dropped
		want := map[bool]string{true: "No model is within", false: "The last row is the smallest model within"}[name == studentStep]
		if !strings.Contains(report.Markdown(), want) {
			t.Errorf("%s: the report does not say %q", name, want)
		}
	}
}

func TestRunStopsWhenCancelled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	dir := filepath.Join(t.TempDir(), "out")
	if _, err := Run(ctx, tiny(), Options{Force: true, Output: dir}); err == nil {
		t.Fatal("no error")
	}
	if _, err := os.Stat(filepath.Join(dir, "report.json")); err == nil {
		t.Error("a cancelled run wrote a report")
	}
}

func TestANarrowStudentInStages(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := tiny()
	r.Student.Hidden, r.Student.Heads, r.Student.Intermediate = 16, 6, 20
	r.Distill.Stages = distill.TinyBERT()
	r.Distill.Augment.Copies, r.Recover.Augment.Copies = 1, 1
	r.Prune = []Pruning{{Heads: 0.5, FFN: 0.5}}
	r.Unlabeled = filepath.Join(dir, "more.txt")
	if err := os.WriteFile(r.Unlabeled, []byte("the food was never bad\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	run := func() string {
		var said strings.Builder
		if _, err := Run(context.Background(), r, Options{Force: true, Output: filepath.Join(dir, "out"), Threads: 2, Progress: terminal.New(&said)}); err != nil {
			t.Fatal(err)
		}
		return said.String()
	}
	run()
	// The narrow student is kept, and so is what was trained.
	if err := os.Remove(filepath.Join(dir, "out", reportFile)); err != nil {
		t.Fatal(err)
	}
	if said := run(); strings.Contains(said, "importance") {
		t.Errorf("once more: %s", said)
	}
	for _, path := range []string{"student", "student/stages/intermediate"} {
		m, err := checkpoints.Open(filepath.Join(dir, "out", path))
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		if c := m.Config; c.HiddenSize != 16 || c.HeadDim != 2 || c.Layers[0] != (checkpoints.LayerSize{Heads: 6, Intermediate: 20}) {
			t.Errorf("%s: hidden size %d, head width %d, layers %v", path, c.HiddenSize, c.HeadDim, c.Layers)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "out", "cache")); !os.IsNotExist(err) {
		t.Errorf("the cache is left: %v", err)
	}
}

func TestAugmentedOnce(t *testing.T) {
	t.Parallel()
	c := run{Recipe: tiny(), Options: Options{Threads: 1}, examplesOf: map[string]*data.Dataset{}}
	if err := c.load(); err != nil {
		t.Fatal(err)
	}
	c.train.Examples = c.train.Examples[:20]
	augment := distill.AugmentDefaults()
	augment.Copies = 2
	first, err := c.examples(context.Background(), Distillation{Augment: augment})
	if err != nil || len(first.Examples) <= 20 {
		t.Fatalf("%d examples (%v), want more than 20", len(first.Examples), err)
	}
	c.teacher = nil // whose embeddings find the words
	again, err := c.examples(context.Background(), Distillation{Augment: augment})
	if err != nil || !reflect.DeepEqual(again, first) {
		t.Errorf("other examples for the next distillation (%v)", err)
	}
}

func TestRecipeRoundTrip(t *testing.T) {
	t.Parallel()
	full := ForModel("dir", "sst2", "a.tsv", "b.tsv")
	full.Unlabeled, full.Distill.Augment.Copies = "more.txt", 2
	full.Distill.Cache, full.Distill.AllowCrossTokenizer, full.Distill.Dropout = "cache", true, nil
	full.Recover.ClassWeights, full.Recover.LabelSmoothing, full.Recover.Augment.Candidates = []float64{1, 2}, 0.1, 3
	full.Student = distill.Student{Size: distill.Size{Layers: 2, Hidden: 96, Heads: 3, Intermediate: 128}, TeacherLayers: []int{1, 3}}
	full.Distill.Stages = distill.TinyBERT()
	full.Distill.Stages[0].HiddenMap, full.Distill.Stages[0].HiddenDistance = distill.Skip(), distill.PKD
	full.Prune, full.TargetMS = []Pruning{}, 0.5
	full.Recover.Attention, full.Recover.AttentionMap = 1, distill.Explicit([2]int{0, 2}, [2]int{1, 5})
	for name, recipe := range map[string]Recipe{"default": Default(), "model": ForModel("dir", "sst2", "a.tsv", "b.tsv"), "everything": full} {
		t.Run(name, func(t *testing.T) {
			text, err := recipe.YAML()
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(t.TempDir(), "recipe.yaml")
			if err := os.WriteFile(path, text, 0o666); err != nil {
				t.Fatal(err)
			}
			back, err := ReadRecipe(path, nil)
			if err != nil {
				t.Fatal(err)
			}
			again, err := back.YAML()
			if err != nil {
				t.Fatal(err)
			}
			if string(again) != string(text) || !reflect.DeepEqual(back, recipe) {
				t.Errorf("read back as\n%s\nwant\n%s", again, text)
			}
		})
	}
}

func TestAnEmptyRecipeIsTheDefault(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "# all as it is\n"} {
		path := filepath.Join(t.TempDir(), "recipe.yaml")
		if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
		if r, err := ReadRecipe(path, nil); err != nil || !reflect.DeepEqual(r, Default()) {
			t.Errorf("%q: %+v (%v)", text, r, err)
		}
	}
	if r, err := ReadRecipe("", nil); err != nil || !reflect.DeepEqual(r, Default()) {
		t.Errorf("no file: %+v (%v)", r, err)
	}
}

func TestEpochsOfARecipeReplaceTheDefaultSteps(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "recipe.yaml")
	if err := os.WriteFile(path, []byte("teacher: {epochs: 3}\ndistill: {epochs: 2, steps: 5}"), 0o666); err != nil {
		t.Fatal(err)
	}
	r, err := ReadRecipe(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if r.Teacher.Epochs != 3 || r.Teacher.Steps != 0 || r.Distill.Steps != 5 || r.Recover.Steps != Default().Recover.Steps {
		t.Errorf("teacher: %d epochs, %d steps; distill: %d steps; recover: %d steps", r.Teacher.Epochs, r.Teacher.Steps, r.Distill.Steps, r.Recover.Steps)
	}
}

func TestRecipeErrorsNameTheSetting(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ yaml, want string }{
		{"seed: [1", "not YAML"},
		{"sed: 3", "sed"},
		{"price_hour: -1", "price_hour"},
		{"prune: [{heads: 1.5, ffn: 0.1}]", "prune[0].heads: 1.5"},
		{"prune: [{heads: 0.334, ffn: 0.5}, {heads: 0.3341, ffn: 0.5}]", "prune[1].ffn"},
		{"teacher: {lr: -1, batch_size: 8, steps: 1, schedule: linear}", "teacher.lr: -1"},
		{"teacher: {schedule: zigzag}", "teacher.schedule"},
		{"distill: {hidden_map: first}", `distill.hidden_map: layer map "first"`},
		{"distill: {relation_map: [[0, 1]]}", ":1: distill.relation_map: "},
		{"distill: {stages: [{name: a, hidden: 1}, {name: a, soft: 1}]}", "distill.stages[1].name"},
		{"distill: {stages: [{name: a}]}", "distill.stages[0].soft"},
		{"distill: {stages: [{name: a, soft: 1, steps: 0}]}", "distill.stages[0].steps: 0, expected more"},
		{"recover: {stages: [{name: a, soft: 1}, {name: b, soft: 1, epochs: 0}]}", "recover.stages[1].epochs: 0, expected more"},
		{"quantize_aware: {stages: [{name: a, soft: 1, lr: 0}]}", "quantize_aware.stages[0].lr: 0, expected more"},
		{"distill: {relations: 1, relation_heads: 0}", "distill.relation_heads: 0, expected more"},
		{"recover: {temperature: -1}", "recover.temperature: -1"},
		{"model: dir\ntask: sst2", "training file"},
		{"target_ms: -1", "target_ms"},
		{"target_speedup: 1", "target_speedup"},
		{"{target_speedup: 2, target_ms: 1}", "cannot be combined"},
		{"{target_speedup: 2, prune: [{heads: 0.5, ffn: 0.5}]}", "prune"},
		{"reviews: {train: 100, dev: 0}", "reviews.dev: 0"},
		{"{model: dir, architecture: {layers: 2}, task: sst2, train: a, dev: b}", "architecture"},
		{"quantize_aware: {activations: dynamic, precision: bf16}", "quantize_aware.precision"},
		{"recover: {hard: 0, class_weights: [1, 2]}", ":1: recover.class_weights: [1 2], expected none without"},
		{"recover: {stages: [{name: a, soft: 1}], label_smoothing: 0.1}", "recover.label_smoothing: 0.1, expected none: no stage"},
		{"teacher: {dropout: none}", `teacher.dropout: "none", expected a number or model`},
		{"distill: {augment: 2, augment_probability: 0}", "distill.augment_probability: 0, expected more"},
		{"student: {hidden: -1}", "student.hidden: -1"},
		{"student: {random: true, teacher_layers: [0]}", "student.teacher_layers"},
		{`{model: "a\tb", task: sst2, train: a, dev: b}`, `model: "a\tb"`},
	} {
		path := filepath.Join(t.TempDir(), "recipe.yaml")
		if err := os.WriteFile(path, []byte(c.yaml), 0o666); err != nil {
			t.Fatal(err)
		}
		_, err := ReadRecipe(path, nil)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: error %v, want one line that names %s", c.yaml, err, c.want)
		}
	}
}

func TestLabelsOfTheModelHold(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	train, dev := filepath.Join(dir, "train.csv"), filepath.Join(dir, "dev.csv")
	const names, numbers = "text,label\ngood food,positive\nbad food,negative\n", "text,label\ngood food,1\nbad food,0\n"
	for _, c := range []struct {
		model, want []string
		train, dev  string
		said        string
	}{
		{[]string{"positive", "negative"}, []string{"positive", "negative"}, names, names, ""},
		{[]string{"LABEL_0", "LABEL_1"}, []string{"negative", "positive"}, names, names, "the model's labels LABEL_0, LABEL_1 are only numbers and are taken for negative, positive, in this order\n"},
		{[]string{"positive", "negative"}, []string{"positive", "negative"}, numbers, numbers, "numbers instead of labels are taken for the model's classes: 0 positive, 1 negative\n"},
		{[]string{"positive", "negative"}, []string{"positive", "negative"}, names, numbers, "numbers instead of labels are taken for the model's classes: 0 positive, 1 negative\n"},
	} {
		for path, content := range map[string]string{train: c.train, dev: c.dev} {
			if err := os.WriteFile(path, []byte(content), 0o666); err != nil {
				t.Fatal(err)
			}
		}
		m := checkpoints.InitBERT(checkpoints.Config{
			ModelType: "bert", VocabSize: 8, MaxPositions: 8, TypeVocabSize: 2, HiddenSize: 4, HeadDim: 2,
			Layers: []checkpoints.LayerSize{{Heads: 2, Intermediate: 4}}, Activation: "gelu", LayerNormEps: 1e-12,
			InitializerRange: 0.02, Labels: c.model,
		}, 1)
		m.Tokenizer = map[string][]byte{"vocab.txt": []byte("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\ngood\nbad\nfood\n")}
		path := filepath.Join(t.TempDir(), c.model[0])
		if err := m.SaveHF(path); err != nil {
			t.Fatal(err)
		}
		var said strings.Builder
		r := run{Recipe: ForModel(path, "text", train, dev), Options: Options{Progress: terminal.New(&said)}}
		if err := r.load(); err != nil {
			t.Fatal(err)
		}
		if said.String() != c.said {
			t.Errorf("a model of %v: said %q, want %q", c.model, said.String(), c.said)
		}
		defer r.teacher.Close()
		if !slices.Equal(r.train.Task.Labels, c.want) || !slices.Equal(r.dev.Task.Labels, c.want) {
			t.Errorf("a model of %v: labels %v and %v, want %v", c.model, r.train.Task.Labels, r.dev.Task.Labels, c.want)
		}
	}
}

func TestTokenizationIsTimedForOneProcessor(t *testing.T) {
	c := run{Recipe: tiny()}
	if err := c.load(); err != nil {
		t.Fatal(err)
	}
	fastest := func(processors int) float64 {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(processors))
		best := math.Inf(1)
		for range 5 {
			report, err := c.report(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			best = min(best, report.TokenizeMS)
		}
		return best
	}
	if one, many := fastest(1), fastest(256); many > 20*one {
		t.Errorf("%g ms an example on 256 processors, %g ms on one", many, one)
	}
}

func TestEnergyIsThatOfTheMeteredPasses(t *testing.T) {
	t.Parallel()
	c := run{Recipe: tiny()}
	if err := c.load(); err != nil {
		t.Fatal(err)
	}
	dev, err := evaluate.Encode(c.teacher, c.dev, 0)
	if err != nil {
		t.Fatal(err)
	}
	// The counter wrapped in one of three passes.
	m := measurement{}
	idle := measure.Load{Call: func(_, _ int) error { return nil }}
	for range 3 {
		if err := m.samples.Add(context.Background(), &idle, measure.Pass{Calls: dev.Len()}); err != nil {
			t.Fatal(err)
		}
	}
	m.samples.Joules, m.samples.Metered = 2*float64(dev.Len()), 2*dev.Len()
	if row := m.row(); *row.JoulesPer1000 != 1000 {
		t.Errorf("%g joules per 1,000 examples of one joule", *row.JoulesPer1000)
	}
}

// Whatever a recipe file holds ends in an error or in a recipe that can be
// written and read again.
func FuzzRecipe(f *testing.F) {
	text, err := Default().YAML()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte("model: m\ntask: sst2\ntrain: a\ndev: b\nteacher: {epochs: 1}\npruning: [{heads: 2}]\n"))
	f.Add([]byte("a: &x [1]\nb: *x\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := parseRecipe("recipe.yaml", text, nil)
		if err != nil {
			return
		}
		again, err := r.YAML()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parseRecipe("recipe.yaml", again, nil); err != nil {
			t.Fatalf("%v\n%s", err, again)
		}
	})
}
