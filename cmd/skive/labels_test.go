package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/head"
)

// labelled is a small model with other names for its three classes, and a
// file of a task whose labels are the model's own answers, as they are called there.
type labelled struct{ model, file string }

func newLabelled(t *testing.T, names []string, file, header, format string, called map[string]string) labelled {
	t.Helper()
	l := labelled{filepath.Join(t.TempDir(), "model"), filepath.Join(t.TempDir(), file)}
	if err := os.CopyFS(l.model, os.DirFS(filepath.Join(earlier, "train"))); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(l.model, "config.json")
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal(text, &fields); err != nil {
		t.Fatal(err)
	}
	id2label := map[string]string{}
	for i, name := range names {
		id2label[fmt.Sprint(i)] = name
	}
	fields["id2label"] = id2label
	delete(fields, "label2id")
	if text, err = json.Marshal(fields); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(config, text, 0o666); err != nil {
		t.Fatal(err)
	}
	texts := []string{}
	for i := range 40 {
		texts = append(texts, fmt.Sprintf("w%d w%d w%d", 30*(i%3)+i/2, 30*(i%3)+i/3, 90-2*i))
	}
	code, stdout, stderr := predictWith(t, strings.Join(texts, "\n")+"\n", "--model", l.model, "--json", "-q")
	if code != 0 {
		t.Fatal(stderr)
	}
	var b bytes.Buffer
	b.WriteString(header)
	seen := map[string]bool{}
	for i, line := range strings.Split(strings.TrimSpace(stdout), "\n") {
		var answer struct{ Label string }
		if err := json.Unmarshal([]byte(line), &answer); err != nil {
			t.Fatal(err)
		}
		label, ok := called[answer.Label]
		if !ok {
			t.Fatalf("the model answers %q, known are %v", answer.Label, called)
		}
		seen[label] = true
		fmt.Fprintf(&b, format, texts[i], label)
	}
	if len(seen) < 2 {
		t.Fatalf("the model answers %v alone", seen)
	}
	if err := os.WriteFile(l.file, b.Bytes(), 0o666); err != nil {
		t.Fatal(err)
	}
	return l
}

// A model that is measured on its own answers is right, whatever its labels are
// called and in which order.
func TestLabelsAreMatchedByName(t *testing.T) {
	t.Parallel()
	const pairs, texts = `{"premise": %q, "hypothesis": null, "label": %q}` + "\n", "%s,%s\n"
	same := func(names ...string) map[string]string {
		m := map[string]string{}
		for _, n := range names {
			m[n] = n
		}
		return m
	}
	for _, c := range []struct {
		name   string
		names  []string
		task   string
		file   string
		header string
		format string
		called map[string]string
		want   string // an error; "" for an accuracy of 1
	}{
		{"another order", []string{"contradiction", "entailment", "neutral"}, "text", "dev.csv", "text,label\n", texts, same("contradiction", "entailment", "neutral"), ""},
		{"another case", []string{"RED", "Green", "BLUE"}, "text", "dev.csv", "text,label\n", texts, map[string]string{"RED": "red", "Green": "green", "BLUE": "Blue"}, ""},
		{"integers as names", []string{"1", "2", "3"}, "text", "dev.csv", "text,label\n", texts, same("1", "2", "3"), ""},
		{"JSON integers as names", []string{"3", "1", "2"}, "text", "dev.jsonl", "", `{"text": %q, "label": %s}` + "\n", same("1", "2", "3"), ""},
		{"negative integers as names", []string{"-1", "0", "1"}, "text", "dev.csv", "text,label\n", texts, same("-1", "0", "1"), ""},
		{"integers as numbers", []string{"a", "b", "c"}, "text", "dev.csv", "text,label\n", texts, map[string]string{"a": "0", "b": "1", "c": "2"}, ""},
		{"a task of other names", []string{"a", "b", "c"}, "cb", "dev.jsonl", "", `{"premise": %q, "hypothesis": "w9", "label": %q}` + "\n", map[string]string{"a": "entailment", "b": "neutral", "c": "contradiction"}, `the model's labels are a, b, c, those of the task "cb" are entailment, contradiction, neutral: "entailment" is not among the model's`},
		{"a label that the model does not have", []string{"a", "b", "c"}, "text", "dev.csv", "text,label\n", texts, map[string]string{"a": "d", "b": "d", "c": "e"}, `unknown label "`},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLabelled(t, c.names, c.file, c.header, c.format, c.called)
			code, stdout, stderr := execute(t, "eval", "--model", l.model, "--task", c.task, "--data", l.file, "--json", "-q")
			if c.want != "" {
				if code != exitFailure || !strings.Contains(stderr, c.want) {
					t.Fatalf("%d, %s, want %q", code, stderr, c.want)
				}
				return
			}
			var e struct{ Metrics map[string]float64 }
			if err := json.Unmarshal([]byte(stdout), &e); err != nil || e.Metrics["accuracy"] != 1 {
				t.Fatalf("%s%s, want an accuracy of 1", stdout, stderr)
			}
			for _, args := range [][]string{
				{"train", "--model", l.model, "--train", l.file, "--steps", "1", "--lr", "0", "-o", filepath.Join(t.TempDir(), "trained")},
				{"distill", "--teacher", l.model, "--layers", "2", "--train", l.file, "--steps", "1", "--lr", "0", "-o", filepath.Join(t.TempDir(), "student")},
				{"prune", "--model", l.model, "--heads", "4", "--ffn", "64", "--train", l.file, "--importance", "exact", "-o", filepath.Join(t.TempDir(), "pruned")},
			} {
				args = append(args, "--task", c.task, "--dev", l.file, "-q")
				if code, _, stderr := execute(t, args...); code != 0 {
					t.Fatalf("%s: %s", args[0], stderr)
				}
				code, stdout, stderr := execute(t, "eval", "--model", args[len(args)-6], "--task", c.task, "--data", l.file, "--json", "-q")
				if err := json.Unmarshal([]byte(stdout), &e); code != 0 || err != nil || e.Metrics["accuracy"] != 1 {
					t.Errorf("%s: %s%s, want an accuracy of 1", args[0], stdout, stderr)
				}
			}
			code, _, stderr = execute(t, "quantize", "--model", l.model, "--max-drop", "50", "--task", c.task, "--data", l.file, "-o", filepath.Join(t.TempDir(), "q.skive"), "-q")
			if code != 0 {
				t.Errorf("quantize: %s", stderr)
			}
		})
	}
}

// The labels of a benchmark are found in a model that calls them in capitals, and
// in one that has more of them in another order.
func TestTaskLabelsAreMatchedByName(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		names  []string
		called map[string]string
		data   string
	}{
		{[]string{"NEUTRAL", "POSITIVE", "NEGATIVE"}, map[string]string{"NEUTRAL": "0", "POSITIVE": "1", "NEGATIVE": "0"}, "sst2"},
	} {
		l := newLabelled(t, c.names, "dev.tsv", "sentence\tlabel\n", "%s\t%s\n", c.called)
		code, stdout, stderr := execute(t, "eval", "--model", l.model, "--task", c.data, "--data", l.file, "--json", "-q")
		var e struct{ Metrics map[string]float64 }
		if err := json.Unmarshal([]byte(stdout), &e); code != 0 || err != nil || e.Metrics["accuracy"] == 0 {
			t.Errorf("%v: %s%s", c.names, stdout, stderr)
		}
	}
}

// A training file of one class is refused, whichever class it is; a development
// file of one class is not.
func TestOneClass(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name string, labels ...string) string {
		path := filepath.Join(dir, name)
		text := "text,label\n"
		for i := range 8 {
			text += fmt.Sprintf("w%d,%s\n", i+5, labels[i%len(labels)])
		}
		if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
		return path
	}
	tiny := filepath.Join("..", "..", "train", "testdata", "tiny")
	encoder := filepath.Join("..", "..", "infer", "testdata", "families", "bert_encoder")
	if _, err := os.Stat(encoder); err != nil {
		encoder = tiny
	}
	both := write("both.csv", "red", "blue")
	for _, label := range []string{"0", "1", "7", "red"} {
		one := write("one.csv", label)
		for _, model := range []string{tiny, encoder} {
			if label == "7" && model == tiny {
				continue // no class of that model
			}
			code, _, stderr := execute(t, "train", "--task", "text", "--model", model, "--train", one, "--dev", one, "--steps", "1", "-q", "-o", filepath.Join(dir, "out"))
			if code != exitFailure || !strings.Contains(stderr, "all labels are") {
				t.Errorf("%s, %s: %d %s", model, label, code, stderr)
			}
		}
	}
	one := write("one.csv", "red")
	if code, _, stderr := execute(t, "train", "--task", "text", "--model", tiny, "--train", both, "--dev", one, "--steps", "1", "-q", "-o", filepath.Join(dir, "out")); code != 0 {
		t.Errorf("a development file of one class: %s", stderr)
	}
}

// Labels of a model that only number its classes are taken for those of the task, or of
// a training file as they sort, and that is said; where nothing is learned, those of a
// file alone are refused.
func TestNumbersForLabels(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := writer(t, dir)
	none := func(*checkpoints.Config) {}
	generic, bare, named := modelOf(t, "", []string{"LABEL_0", "LABEL_1"}, none), modelOf(t, "", []string{"0", "1"}, none), modelOf(t, "", []string{"positive", "negative"}, none)
	glue := write("glue.tsv", "sentence\tlabel\ngood film\t1\nbad film\t0\n")
	names := write("names.csv", "text,label\ngood film,yes\nbad film,no\nfilm,yes\n")
	numbers := write("numbers.csv", "text,label\ngood film,1\nbad film,0\n")
	const ofTask, ofFile, unknown = "are taken for negative, positive, in this order", "are taken for no, yes, in this order", `unknown label "yes"`
	const places = "numbers instead of labels are taken for the model's classes: 0 positive, 1 negative"
	type step struct {
		model, task, file string
		want              map[string]string // said by the commands, "" for nothing
	}
	for _, s := range []step{
		{generic, "sst2", glue, map[string]string{"train": ofTask, "distill": ofTask, "eval": ofTask, "prune": ofTask, "quantize": ofTask}},
		{bare, "sst2", glue, map[string]string{"train": ofTask, "distill": ofTask, "eval": ofTask, "prune": ofTask, "quantize": ofTask}},
		{named, "sst2", glue, map[string]string{"train": "", "distill": "", "eval": "", "prune": "", "quantize": ""}},
		{generic, "text", names, map[string]string{"train": ofFile, "distill": unknown, "eval": unknown, "prune": unknown, "quantize": unknown}},
		{bare, "text", names, map[string]string{"train": ofFile, "distill": unknown, "eval": unknown, "prune": unknown, "quantize": unknown}},
		{generic, "text", numbers, map[string]string{"train": "", "distill": "", "eval": "", "prune": "", "quantize": ""}},
		{bare, "text", numbers, map[string]string{"train": "", "distill": "", "eval": "", "prune": "", "quantize": ""}},
		{named, "text", numbers, map[string]string{"train": places, "distill": places, "eval": places, "prune": places, "quantize": places}},
	} {
		for command, want := range s.want {
			out := filepath.Join(t.TempDir(), "out")
			args := map[string][]string{
				"train":    {"--model", s.model, "--train", s.file, "--dev", s.file, "--steps", "1", "-o", out},
				"distill":  {"--teacher", s.model, "--layers", "1", "--train", s.file, "--dev", s.file, "--steps", "1", "-o", out},
				"eval":     {"--model", s.model, "--data", s.file},
				"prune":    {"--model", s.model, "--heads", "1", "--train", s.file, "--dev", s.file, "-o", out},
				"quantize": {"--model", s.model, "--max-drop", "100", "--data", s.file, "-o", out + ".skive"},
			}[command]
			code, _, stderr := execute(t, append([]string{command, "--task", s.task}, args...)...)
			if (code != 0) != (want == unknown) || strings.Count(stderr, "are taken for") != strings.Count(want, "are taken for") || !strings.Contains(stderr, want) {
				t.Errorf("%s --task %s of %s: code %d, %s, want %q", command, s.task, filepath.Base(s.file), code, stderr, want)
			}
		}
	}
}

// Numbers for labels count the classes of all models of a distillation, or are refused;
// what they count is said, but not under -q.
func TestNumbersAreSaid(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := writer(t, dir)
	none := func(*checkpoints.Config) {}
	teacher := modelOf(t, "", []string{"blue", "red", "green"}, none)
	student := modelOf(t, "", []string{"red", "green", "blue"}, none)
	some := write("some.csv", "text,label\ngood,1\nbad,2\nfilm,1\n")
	named := write("named.csv", "text,label\ngood,red\nbad,green\nfilm,blue\n")
	hot := write("hot.jsonl", `{"text": "good", "label": [0, 1, 1]}`+"\n"+`{"text": "bad", "label": [1, 0, 0]}`+"\n")
	several := modelOf(t, head.MultiLabel, []string{"red", "green", "blue"}, none)
	out := func() string { return filepath.Join(t.TempDir(), "out") }
	const said = "numbers instead of labels are taken for the model's classes: "
	for _, c := range []struct {
		name string
		args []string
		code int
		want string // "" for nothing about labels
	}{
		{"some of the classes", []string{"eval", "--model", student, "--task", "text", "--data", some}, 0, said + "0 red, 1 green, 2 blue\n"},
		{"quiet", []string{"eval", "--model", student, "--task", "text", "--data", some, "-q"}, 0, ""},
		{"names", []string{"eval", "--model", student, "--task", "text", "--data", named}, 0, ""},
		{"0 or 1 for each label", []string{"eval", "--model", several, "--task", "multilabel", "--data", hot}, 0, said + "0 red, 1 green, 2 blue\n"},
		{"numbers in the development set alone", []string{"train", "--model", student, "--task", "text", "--train", named, "--dev", some, "--steps", "1", "-o", out()}, 0, said + "0 red, 1 green, 2 blue\n"},
		{"one order", []string{"distill", "--teacher", teacher, "--layers", "1", "--task", "text", "--train", some, "--dev", some, "--steps", "1", "-o", out()}, 0, said + "0 blue, 1 red, 2 green\n"},
		{"another order", []string{"distill", "--teacher", teacher, "--student", student, "--task", "text", "--train", some, "--dev", some, "--steps", "1", "-o", out(), "-q"}, exitFailure,
			"the model's labels are red, green, blue, and the data's are numbers in the order blue, red, green: expected the same order, or names in the data\n"},
		{"another order, names", []string{"distill", "--teacher", teacher, "--student", student, "--task", "text", "--train", named, "--dev", named, "--steps", "1", "-o", out()}, 0, ""},
		{"an ensemble in two orders", []string{"distill", "--teacher", teacher, "--teacher", student, "--layers", "1", "--task", "text", "--train", some, "--dev", some, "--steps", "1", "-o", out(), "-q"}, exitFailure,
			"the teacher's labels are red, green, blue, the student's blue, red, green, and the data's are numbers: expected the same order, or names in the data\n"},
	} {
		code, _, stderr := execute(t, c.args...)
		if about := strings.Count(stderr, "numbers instead of labels") + strings.Count(stderr, "data's are numbers"); code != c.code || !strings.Contains(stderr, c.want) || about != min(1, len(c.want)) {
			t.Errorf("%s: %d %s, want %q once", c.name, code, stderr, c.want)
		}
	}
	if code, stdout, stderr := execute(t, "eval", "--model", student, "--task", "text", "--data", some, "-q", "--json"); code != 0 || !strings.Contains(stdout, `"assumed": "`+said) {
		t.Errorf("%s%s", stdout, stderr)
	}
}

// A 0 that is asked for is not the default.
func TestZeroIsNotTheDefault(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	recipe := filepath.Join(dir, "recipe.yaml")
	for _, args := range []string{
		"train --batch-size 0", "train --batch-tokens 0", "train --epochs 0", "train --steps 0", "train --max-length 0", "train --eval-every 0", "train --save-every 0",
		"train --patience 0", "train --accumulate 0", "train --layer-decay 0", "train --seeds 0", "distill --layers 0", "distill --hidden 0", "distill --temperature 0",
		"distill --relation-heads 0", "distill --augment-candidates 0", "prune --heads 0", "prune --ffn 0", "prune --rounds 0", "prune --target-ms 0", "prune --target-speedup 0.0",
		"prune --importance-examples 0", "prune --seq 0", "bench --batch 0", "bench --seq 0", "bench --steps 0", "bench --instances 0", "eval --max-length 0", "predict --max-length 0",
		"compress --target-ms 0", "compress --instances 0", "quantize --max-length 0",
	} {
		fields := strings.Fields(args)
		if code, _, stderr := execute(t, fields...); code != exitUsage || !strings.Contains(stderr, fields[1]+":") && !strings.Contains(stderr, fields[1]+" ") {
			t.Errorf("%s: %d %s", args, code, stderr)
		}
	}
	for _, setting := range []string{"teacher: {epochs: 0}", "teacher: {steps: 0}", "distill: {batch_size: 0}", "recover: {patience: 0}", "student: {hidden: 0}", "target_ms: 0", "target_speedup: 0.0"} {
		if err := os.WriteFile(recipe, []byte("task: reviews\n"+setting+"\n"), 0o666); err != nil {
			t.Fatal(err)
		}
		name := strings.NewReplacer(": {", ".", "}", "").Replace(setting)
		name, _, _ = strings.Cut(name, ":")
		if code, _, stderr := execute(t, "compress", "--recipe", recipe, "-o", filepath.Join(dir, "out")); code == 0 || !strings.Contains(stderr, name+": 0, expected more") {
			t.Errorf("%s: %d %s", setting, code, stderr)
		}
	}
}
