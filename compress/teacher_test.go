package compress

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/evaluate"
	"github.com/skive-ml/skive/head"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/progress"
	"github.com/skive-ml/skive/progress/terminal"
)

// colours is a task that a small model learns in some steps: which of two words comes
// first, which words and their pairs do not tell.
func colours(n int) string {
	var b strings.Builder
	b.WriteString("text,label\n")
	for i := range n {
		first, second, label := "red", "blue", "warm"
		if i%2 == 1 {
			first, second, label = second, first, "cold"
		}
		fmt.Fprintf(&b, "%s number%d %s,%s\n", first, i/2, second, label)
	}
	return b.String()
}

// smallModel is an encoder that has not learned anything.
func smallModel(t *testing.T, dir string, labels ...string) string {
	t.Helper()
	m := checkpoints.InitBERT(checkpoints.Config{
		ModelType: "bert", VocabSize: 8, MaxPositions: 16, TypeVocabSize: 2, HiddenSize: 32, HeadDim: 8,
		Layers:     []checkpoints.LayerSize{{Heads: 4, Intermediate: 64}, {Heads: 4, Intermediate: 64}},
		Activation: "gelu", LayerNormEps: 1e-12, InitializerRange: 0.1, Labels: labels,
	}, 1)
	m.Tokenizer = map[string][]byte{"vocab.txt": []byte("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nred\nblue\n##x\n")}
	path := filepath.Join(dir, "model"+strings.Join(labels, "-"))
	if err := m.SaveHF(path); err != nil {
		t.Fatal(err)
	}
	return path
}

func write(t *testing.T, path, content string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

// short makes the distillations of a recipe quick.
func short(r Recipe) Recipe {
	r.Distill.Epochs, r.Distill.LearningRate = 4, 1e-3
	r.Recover.Epochs, r.Prune = 1, r.Prune[:1]
	return r
}

// From one file a development share is drawn, the trainings fit it, and the teacher that
// comes of it is compressed as it is by the next run, with its labels in their order.
func TestOneFileAndATeacherAsItIs(t *testing.T) {
	dir := t.TempDir()
	file, test := write(t, filepath.Join(dir, "train.csv"), colours(400)), write(t, filepath.Join(dir, "test.csv"), colours(60))
	r := short(ForModel(smallModel(t, dir, "warm", "cold"), "text", file, ""))
	r.Test, r.Teacher.LearningRate = test, 2e-3
	var said strings.Builder
	out := filepath.Join(dir, "out")
	report, err := Run(context.Background(), r, Options{Output: out, Threads: 2, Progress: terminal.New(&said)})
	if err != nil {
		t.Fatal(err)
	}
	if h := report.HeldOut; h == nil || h.Of != 400 || h.Examples < 70 || h.Examples > 90 || report.Examples != h.Examples || report.TestExamples != 60 {
		t.Errorf("held out %+v, %d development and %d test examples", report.HeldOut, report.Examples, report.TestExamples)
	}
	for _, want := range []string{"are held out for development, with the seed 1", "teacher: 20 epochs, batches of 8, patience 6, for "} {
		if !strings.Contains(said.String(), want) || !strings.Contains(report.Markdown(), want) {
			t.Errorf("%q is not said: %s\n%s", want, said.String(), report.Markdown())
		}
	}
	for _, row := range report.Rows {
		if row.Test == nil || row.TestInterval == nil || row.Calls == 0 {
			t.Errorf("%s: test %v, interval %v, %d calls", row.Name, row.Test, row.TestInterval, row.Calls)
		}
	}
	_, table, _ := strings.Cut(report.Markdown(), "\n| step ")
	if cells := strings.Split(strings.SplitN(table, "\n", 2)[0], "|"); !strings.Contains(cells[len(cells)-3], "test accuracy %") {
		t.Errorf("the last columns are %q", cells)
	}
	if len(report.Floors) != 3 || report.Floors[0].Metric > 0.6 || report.Floors[2].LeadInterval[0] <= 0 {
		t.Errorf("floors %+v", report.Floors)
	}
	if report.MeasuringSeconds <= 0 || report.MeasuringSeconds > report.Seconds {
		t.Errorf("measuring took %g of %g s", report.MeasuringSeconds, report.Seconds)
	}
	if epochs := report.Recipe.Teacher.Epochs; epochs != 20 || report.Recipe.Distill.BatchSize != 8 {
		t.Errorf("the report's recipe has %d epochs", epochs)
	}
	// The recipe that the run leaves is the same run.
	again, err := ReadRecipe(filepath.Join(out, RecipeFile), nil)
	if err != nil {
		t.Fatal(err)
	}
	said.Reset()
	if _, err := Run(context.Background(), again, Options{Output: out, Threads: 2, Progress: terminal.New(&said)}); err != nil || !strings.Contains(said.String(), "the run is finished") {
		t.Errorf("%v: %s", err, said.String())
	}

	teacher := filepath.Join(out, "teacher")
	asItIs := short(ForModel("", "text", file, ""))
	asItIs.TeacherModel = teacher
	next := filepath.Join(dir, "next")
	said.Reset()
	second, err := Run(context.Background(), asItIs, Options{Output: next, Threads: 2, Progress: terminal.New(&said)})
	if err != nil {
		t.Fatal(err)
	}
	if second.Rows[0].Checksum != report.Rows[0].Checksum || second.Rows[0].Metric != report.Rows[0].Metric || strings.Contains(said.String(), "teacher: ") {
		t.Errorf("the teacher was changed: %s", said.String())
	}
	text, err := second.Recipe.YAML()
	if err != nil || strings.Contains(string(text), "\nteacher:") || !strings.Contains(string(text), "teacher_model: ") {
		t.Errorf("%v: %s", err, text)
	}
	var other *OtherRunError
	if _, err := Run(context.Background(), r, Options{Output: next, Threads: 2}); !errors.As(err, &other) {
		t.Errorf("a model in the place of the teacher: %v", err)
	}
}

// A teacher that has learned nothing is not compressed, unless that is asked for.
func TestAnUnlearnedTeacherIsStopped(t *testing.T) {
	dir := t.TempDir()
	file := write(t, filepath.Join(dir, "train.csv"), colours(100))
	trained := short(ForModel(smallModel(t, dir, "warm", "cold"), "text", file, file))
	trained.Teacher.Epochs, trained.Teacher.LearningRate = 1, 1e-6
	asItIs := trained
	asItIs.Model, asItIs.TeacherModel = "", trained.Model
	for want, r := range map[string]Recipe{"teacher.epochs, teacher.lr": trained, "take a model that was fine-tuned on this task": asItIs} {
		out := filepath.Join(dir, "out")
		_, err := Run(context.Background(), r, Options{Output: out, Threads: 1})
		var unlearned *UnlearnedError
		if !errors.As(err, &unlearned) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Fatalf("error %v, want one line that says %s", err, want)
		}
		if exists(filepath.Join(out, "student")) {
			t.Error("it was distilled")
		}
		// What was forced once goes on when it is called again.
		if _, err := Run(context.Background(), r, Options{Output: out, Threads: 1, Force: true}); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(filepath.Join(out, reportFile)); err != nil {
			t.Fatal(err)
		}
		if _, err := Run(context.Background(), r, Options{Output: out, Threads: 1}); err != nil {
			t.Errorf("again: %v", err)
		}
		os.RemoveAll(out)
	}
}

// A model gets other labels, and another kind of head, only where that is asked for.
func TestANewHead(t *testing.T) {
	dir := t.TempDir()
	model := smallModel(t, dir, "hot", "wet", "dry")
	for task, content := range map[string]string{"text": colours(20), "regression": "text,label\nred,1\nblue,2\nred blue,3\nblue red,2\n"} {
		file := write(t, filepath.Join(dir, task+".csv"), content)
		c := run{Recipe: ForModel(model, task, file, file)}
		if err := c.load(); err == nil || !strings.Contains(err.Error(), "; a new head (the setting new-head) gives ") {
			t.Errorf("%s: error %v, want one that names the way out", task, err)
		}
		c = run{Recipe: ForModel(model, task, file, file)}
		c.NewHead = true
		if err := c.load(); err != nil {
			t.Fatal(err)
		}
		want := head.SingleLabel
		if task == "regression" {
			want = head.Regression
		}
		if c.teacher.Config.Head != want || want == head.SingleLabel && fmt.Sprint(c.teacher.Config.Labels) != "[cold warm]" {
			t.Errorf("%s: head %s, labels %v", task, c.teacher.Config.Head, c.teacher.Config.Labels)
		}
		c.teacher.Close()
	}
}

// A model without a head is none that was fine-tuned, and what a recipe says of the
// training of a teacher that is taken as it is has no effect.
func TestATeacherThatIsNone(t *testing.T) {
	dir := t.TempDir()
	file := write(t, filepath.Join(dir, "train.csv"), colours(20))
	r := ForModel("", "text", file, file)
	r.TeacherModel = smallModel(t, dir)
	if _, err := Run(context.Background(), r, Options{Output: filepath.Join(dir, "out")}); err == nil || !strings.Contains(err.Error(), "TeacherModel: "+r.TeacherModel+" has no head") {
		t.Errorf("error %v", err)
	}
	recipe := write(t, filepath.Join(dir, "recipe.yaml"), "teacher_model: dir\ntask: text\ntrain: a\nteacher: {epochs: 3}\n")
	if _, err := ReadRecipe(recipe, nil); err == nil || !strings.Contains(err.Error(), "recipe.yaml:4: teacher: dir is taken as it is") {
		t.Errorf("error %v", err)
	}
}

func TestSpreadIsAPermutationOfEveryLength(t *testing.T) {
	var examples []data.Example
	for i := range 100 {
		examples = append(examples, data.Example{Text: strings.Repeat("red ", 1+i%10)})
	}
	m, err := checkpoints.Open(smallModel(t, t.TempDir(), "warm", "cold"))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	enc, err := encode(m, examples)
	if err != nil {
		t.Fatal(err)
	}
	order := spread(enc)
	seen, sum := map[int32]bool{}, 0
	for i, n := range order {
		seen[n] = true
		if i < 10 {
			sum += enc.Length(int(n))
		}
	}
	if len(seen) != 100 || sum < 65 || sum > 85 { // the mean of 7.5 tokens
		t.Errorf("%d examples, the first ten have %d tokens: %v", len(seen), sum, order)
	}
}

// What a recipe leaves out follows from the data; a rate of 0 that it gives is meant.
func TestWhatARecipeLeavesOutFollowsFromTheData(t *testing.T) {
	dir := t.TempDir()
	file := write(t, filepath.Join(dir, "train.csv"), colours(40))
	model := smallModel(t, dir, "warm", "cold")
	path := write(t, filepath.Join(dir, "recipe.yaml"), "task: text\ntrain: "+file+"\nmodel: "+model+"\nteacher: {lr: 0, steps: 1}\ndistill: {epochs: 3}\n")
	r, err := ReadRecipe(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	c := run{Recipe: r}
	if err := c.load(); err != nil {
		t.Fatal(err)
	}
	defer c.teacher.Close()
	if err := c.fit(); err != nil {
		t.Fatal(err)
	}
	if o := c.Teacher; o.LearningRate != 0 || o.Steps != 1 || o.Epochs != 0 || o.BatchSize != 8 || o.Patience != 0 {
		t.Errorf("teacher: rate %g, %d steps, %d epochs, batches of %d, patience %d", o.LearningRate, o.Steps, o.Epochs, o.BatchSize, o.Patience)
	}
	if o := c.Recipe.Distill; o.LearningRate != 2e-4 || o.Epochs != 3 || o.BatchSize != 8 || o.Patience != 0 {
		t.Errorf("student: rate %g, %d epochs, batches of %d, patience %d", o.LearningRate, o.Epochs, o.BatchSize, o.Patience)
	}
	if o := c.Recover; o.Epochs != 20 {
		t.Errorf("recovery: %d epochs", o.Epochs)
	}
	if text, err := c.Recipe.YAML(); err != nil || !strings.Contains(string(text), "lr: 0.0\n") || strings.Count(string(text), "lr: ") != 3 {
		t.Errorf("%v: %s", err, text)
	}
	for given, want := range map[int]int{0: fewTrials, 1: 1} { // of few examples several teachers are trained
		c := run{Recipe: ForModel(model, "text", file, "")}
		c.Search = given
		if err := c.load(); err != nil {
			t.Fatal(err)
		}
		if err := c.fit(); err != nil || c.Search != want {
			t.Errorf("search %d became %d, want %d: %v", given, c.Search, want, err)
		}
		c.teacher.Close()
	}
	if text, err := ForModel("m", "text", "a", "").YAML(); err != nil || strings.Contains(string(text), "epochs: ") || strings.Contains(string(text), "lr: ") {
		t.Errorf("%v: %s", err, text)
	}
}

func encode(m *checkpoints.Model, examples []data.Example) (*data.Encoded, error) {
	return evaluate.Encode(m, &data.Dataset{Task: data.Task{Name: "text", Labels: m.Config.Labels}, Examples: examples}, 0)
}

// A search trains teachers around the recipe's settings and takes the best one.
func TestSearchTakesTheBestTeacher(t *testing.T) {
	dir := t.TempDir()
	file := write(t, filepath.Join(dir, "train.csv"), colours(200))
	r := short(ForModel(smallModel(t, dir, "warm", "cold"), "text", file, file))
	r.Teacher.Epochs, r.Teacher.LearningRate, r.Search = 4, 5e-4, 3
	out := filepath.Join(dir, "out")
	run := func() (*Report, string) {
		t.Helper()
		var said strings.Builder
		report, err := Run(context.Background(), r, Options{Output: out, Threads: 2, Progress: terminal.New(&said), Force: true})
		if err != nil {
			t.Fatal(err)
		}
		return report, said.String()
	}
	report, said := run()
	best, taken := 0, -1
	for i, trial := range report.Search {
		if trial.Metric > report.Search[best].Metric {
			best = i
		}
		if trial.Taken {
			taken = i
		}
	}
	if len(report.Search) != 3 || taken != best || report.Search[1].LearningRate != 1e-3 || report.Rows[0].Metric != report.Search[best].Metric {
		t.Errorf("%+v, the teacher has %g", report.Search, report.Rows[0].Metric)
	}
	if !strings.Contains(said, "search 2: rate 0.001, 4 epochs: ") || !strings.Contains(report.Markdown(), ", taken") {
		t.Error(said)
	}
	if err := os.Remove(filepath.Join(out, reportFile)); err != nil {
		t.Fatal(err)
	}
	if again, said := run(); strings.Contains(said, "search-1: 1/") || again.Rows[0].Checksum != report.Rows[0].Checksum {
		t.Errorf("again: %s", said)
	}
}

// Where measuring would take too long, times and metrics are of samples, which the report
// says.
func TestMeasuringKeepsItsBudget(t *testing.T) {
	r := tiny()
	r.Reviews = &Reviews{Train: 100, Dev: 3000}
	c := run{Recipe: r, Options: Options{Output: t.TempDir(), Threads: 1}}
	if err := c.load(); err != nil {
		t.Fatal(err)
	}
	path := c.path(teacherStage)
	if err := c.teacher.SaveHF(path); err != nil {
		t.Fatal(err)
	}
	c.steps = []step{{"teacher, padded", path, 1, infer.Options{Threads: 1, DType: infer.F32, PadTo: 64}}, {"dynamic length", path, 1, infer.Options{Threads: 1, DType: infer.F32}}}
	dev, err := evaluate.Encode(c.teacher, c.dev, 0)
	if err != nil {
		t.Fatal(err)
	}
	timed, err := measureSteps(context.Background(), c.steps, dev, 0, progress.Begin(nil, "", 0, 1))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range timed {
		if n := m.samples.Calls(); n == 0 || n > 3*dev.Len()/2 || m.rate() <= 0 {
			t.Errorf("%s: %d calls, %g a second", m.name, n, m.rate())
		}
	}
	report := &Report{Task: "reviews", Metric: "accuracy", Of: dev.Len()}
	scores, err := c.score(context.Background(), report, timed, 0, progress.Begin(nil, "", 0, 1))
	if err != nil {
		t.Fatal(err)
	}
	if report.Examples != leastSample || scores[0] != scores[1] || scores[0].interval[0] >= scores[0].value {
		t.Errorf("%d examples, scores %+v", report.Examples, scores)
	}
	if want := "accuracy on a sample of 200 of the 3,000 development examples"; !strings.Contains(report.Table(), want) {
		t.Errorf("the report does not say %q: %s", want, report.Table())
	}
}

// Where the recipe does not say how many layers the student has, one that loses too much is
// given up for a deeper one, at last for the teacher; a later call takes it up where it may
// lose that.
func TestAStudentGetsAsManyLayersAsItNeeds(t *testing.T) {
	dir := t.TempDir()
	file := write(t, filepath.Join(dir, "train.csv"), colours(200))
	r := short(ForModel(smallModel(t, dir, "warm", "cold"), "text", file, file))
	r.Teacher.LearningRate, r.Prune = 2e-3, nil
	r.Distill.Epochs, r.Distill.LearningRate = 1, 0.3 // which spoils it
	out := filepath.Join(dir, "out")
	run := func(drop float64) (*Report, string) {
		t.Helper()
		r.MaxDrop = drop
		var said strings.Builder
		report, err := Run(context.Background(), r, Options{Output: out, Threads: 2, Progress: terminal.New(&said)})
		if err != nil && !errors.Is(err, ErrMaxDrop) {
			t.Fatal(err)
		}
		return report, said.String()
	}
	report, said := run(0)
	student, teacher := report.Rows[2], report.Rows[0]
	if student.Name != "student, all layers" || student.Checksum != teacher.Checksum || !exists(filepath.Join(out, "student-1-layers")) ||
		!strings.Contains(report.Markdown(), "student: 1 of 2 layers reach ") {
		t.Errorf("%+v, %s", student, said)
	}
	if !strings.Contains(report.Markdown(), ": the fastest model within a point of the teacher. ") { // which one, the clock decides
		t.Error(report.Markdown())
	}
	if err := os.Remove(filepath.Join(out, reportFile)); err != nil {
		t.Fatal(err)
	}
	if again, said := run(0); again.Rows[2].Checksum != student.Checksum || strings.Contains(said, "student: 1/") {
		t.Errorf("again: %s", said)
	}
	less, said := run(99)
	if s := less.Rows[2]; s.Name != studentStep || s.Parameters >= teacher.Parameters || exists(filepath.Join(out, "student-1-layers")) || strings.Contains(said, "student: 1/") {
		t.Errorf("under a bound that it keeps: %+v, %s", s, said)
	}
	if back, _ := run(0); back.Rows[2].Checksum != student.Checksum {
		t.Errorf("back: %+v", back.Rows[2])
	}
}
