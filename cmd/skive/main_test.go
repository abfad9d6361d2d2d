package main

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/compress"
)

// execute runs a command line and returns what it wrote.
func execute(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	return executeIn(t, context.Background(), args...)
}

// executeIn is execute with a context that may stop the command.
func executeIn(t *testing.T, ctx context.Context, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out strings.Builder
	code, stderr = executeWith(ctx, strings.NewReader(""), &out, args...)
	return code, out.String(), stderr
}

// executeWith runs a command line with a standard input and output of the caller's.
func executeWith(ctx context.Context, in io.Reader, out io.Writer, args ...string) (code int, stderr string) {
	var errs strings.Builder
	app := &skive{in: in, out: out, errs: &errs}
	code = app.run(ctx, args)
	return code, errs.String()
}

// predictWith runs predict with the text on its standard input.
func predictWith(t *testing.T, input string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out strings.Builder
	code, stderr = executeWith(t.Context(), strings.NewReader(input), &out, append([]string{"predict"}, args...)...)
	return code, out.String(), stderr
}

// writer returns what writes files to a directory, and returns their paths.
func writer(t *testing.T, dir string) func(name, content string) string {
	return func(name, content string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o666); err != nil {
			t.Fatal(err)
		}
		return path
	}
}

func TestBadInputEndsInOneLine(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := writer(t, dir)
	empty := write("empty.tsv", "")
	broken := write("broken.skive", "SKIVE but not really")
	good := write("good.tsv", "sentence\tlabel\nfine\t1\n")
	badLabel := write("label.tsv", "sentence\tlabel\nfine\t7\n")
	for name, content := range map[string]string{
		"nolabel.tsv": "sentence\tlabel\nfine\t1\nfine\t\n", "columns.tsv": "text\tid\nfine\t1\n", "fields.tsv": "sentence\tlabel\nfine\n",
		"latin1.tsv": "sentence\tlabel\nfine\t1\nna\xefve\t0\n", "mixed.csv": "text,label\na,good\nb,1\n", "nan.tsv": "sentence1\tsentence2\tscore\na\tb\tnan\n",
		"stars.csv": "review,stars\ngood,5\n", "cut.tsv.gz": "\x1f\x8b\x08\x00\x00", "words.conll": "a O\nb\n", "blank.txt": "\n \n", "red.csv": "text,label\na,red\n", "pairs.tsv": "sentence1\tsentence2\tscore\na\tb\t1\n",
		"copa.jsonl": `{"premise": "a", "choice1": "b", "choice2": "c", "question": "cause", "label": 0}`,
	} {
		write(name, content)
	}
	model := filepath.Join("..", "..", "train", "testdata", "tiny")
	out := filepath.Join(dir, "out")
	training := func(task, file string, more ...string) []string {
		path := filepath.Join(dir, file)
		return append([]string{"train", "--model", model, "--task", task, "--train", path, "--dev", path, "-o", out}, more...)
	}
	words := write("words.jsonl", strings.Repeat(`{"text": "w9 w20", "label": "red"}`+"\n"+`{"text": "w8", "label": "blue"}`+"\n", 20))
	missing := filepath.Join(dir, "missing")
	socket := filepath.Join(dir, "socket")
	if l, err := net.Listen("unix", socket); err != nil {
		t.Fatal(err)
	} else {
		defer l.Close()
	}
	masked := filepath.Join("..", "..", "infer", "testdata", "heads", "masked_lm")
	int8 := filepath.Join(dir, "int8.skive")
	if code, _, stderr := execute(t, "quantize", "--model", model, "-o", int8, "-q"); code != 0 {
		t.Fatal(stderr)
	}
	for _, c := range []struct {
		name string
		args []string
		code int
		want string
	}{
		{"unknown command", []string{"shrink"}, exitUsage, `"shrink"`},
		{"an unknown command with flags", []string{"compres", "--model", "x"}, exitUsage, `unknown command "compres", did you mean skive compress` + "\n"},
		{"unknown flag", []string{"eval", "--modle", "x"}, exitUsage, "unknown flag --modle, did you mean --model\n"},
		{"a command of another", []string{"show"}, exitUsage, "did you mean skive data\n"},
		{"a share for a number", []string{"prune", "--heads", "0.5"}, exitUsage, "--heads: \"0.5\", expected a whole number\n"},
		{"a flag of a command of another", []string{"data", "show", missing}, exitUsage, "--task is required; skive data show --help lists the flags\n"},
		{"a table where lines are wanted", []string{"bench", "--model", model, "--data", filepath.Join(dir, "red.csv")}, exitFailure, "red.csv: a table (.csv), expected one input per line"},
		{"a directory of models", []string{"inspect", filepath.Dir(int8)}, exitFailure, "but it holds models: expected one of "},
		{"missing flag", []string{"eval"}, exitUsage, "--model"},
		{"empty flag", []string{"export", "--model", missing, "--format", "hf", "-o", ""}, exitUsage, "--output is empty"},
		{"output that is no file", []string{"export", "--model", model, "--format", "skive", "-o", socket}, exitFailure, "not a regular file"},
		{"empty argument", []string{"inspect", "--diff", missing, ""}, exitUsage, "empty"},
		{"threads", []string{"inspect", "--threads", "0", missing}, exitUsage, "--threads"},
		{"an empty model", []string{"compress", "--model", ""}, exitUsage, "--model is empty"},
		{"an empty model to compare with", []string{"eval", "--model", model, "--task", "text", "--data", filepath.Join(dir, "red.csv"), "--against", ""}, exitUsage, "--against"},
		{"an empty teacher", []string{"distill", "--teacher", model, "--teacher", "", "--layers", "1"}, exitUsage, "--teacher"},
		{"missing model", []string{"inspect", missing}, exitFailure, missing},
		{"no model", []string{"inspect", broken}, exitFailure, broken},
		{"half a name to pull", []string{"pull", "tiny"}, exitUsage, `"tiny"`},
		{"revision left out", []string{"pull", "me/tiny@"}, exitUsage, "@"},
		{"diff of one", []string{"inspect", "--diff", missing}, exitUsage, "2"},
		{"unknown task", []string{"data", "show", "--task", "sst3", good}, exitUsage, "sst3"},
		{"another task's file", []string{"data", "show", "--task", "copa", good}, exitFailure, "good.tsv:2"},
		{"nothing to show", []string{"data", "show"}, exitUsage, "data show FILE"},
		{"fewer than no examples", []string{"data", "show", "--task", "sst2", "--limit", "-1", good}, exitUsage, "--limit"},
		{"empty data set", []string{"data", "show", "--task", "sst2", empty}, exitFailure, empty},
		{"label", []string{"data", "show", "--task", "sst2", badLabel}, exitFailure, "label.tsv:2"},
		{"number format", []string{"eval", "--model", missing, "--task", "sst2", "--data", good, "--dtype", "int3"}, exitUsage, "--dtype"},
		{"mixed precision without data", []string{"quantize", "--model", missing, "-o", missing, "--max-drop", "0.5"}, exitUsage, "--task"},
		{"negative drop", []string{"quantize", "--model", missing, "-o", missing, "--max-drop", "-1", "--task", "sst2", "--data", good}, exitUsage, "--max-drop"},
		{"embeddings in half precision", []string{"quantize", "--model", missing, "-o", missing, "--dtype", "fp16", "--embeddings"}, exitUsage, "--embeddings"},
		{"graph in bf16", []string{"export", "--model", missing, "--format", "onnx", "-o", missing, "--dtype", "bf16"}, exitUsage, "--dtype"},
		{"graph with padding", []string{"export", "--model", missing, "--format", "onnx", "-o", missing, "--pad"}, exitUsage, "--pad"},
		{"embeddings in a directory", []string{"export", "--model", missing, "--format", "hf", "-o", missing, "--embedding", "mean"}, exitUsage, "--embedding"},
		{"calibration in half precision", []string{"quantize", "--model", missing, "-o", missing, "--dtype", "fp16", "--calibrate", good}, exitUsage, "--calibrate"},
		{"method of calibration", []string{"quantize", "--model", missing, "-o", missing, "--calibrate", good, "--calibrate-method", "median"}, exitUsage, "minmax percentile entropy mse"},
		{"method without calibration", []string{"quantize", "--model", missing, "-o", missing, "--calibrate-method", "mse"}, exitUsage, "--calibrate-method"},
		{"data without a drop", []string{"quantize", "--model", missing, "-o", missing, "--task", "sst2", "--data", good}, exitUsage, "--max-drop"},
		{"training rate", []string{"train", "--model", missing, "--task", "sst2", "--train", good, "--dev", good, "-o", dir, "--lr", "-1"}, exitUsage, "--lr"},
		{"training format", []string{"train", "--model", missing, "--task", "sst2", "--train", good, "--dev", good, "-o", dir, "--precision", "int8"}, exitUsage, "--precision"},
		{"training format of inference", []string{"bench", "--model", missing, "--precision", "bf16"}, exitUsage, "--train"},
		{"format of no teacher", []string{"bench", "--model", missing, "--train", "--teacher-precision", "bf16"}, exitUsage, "--teacher"},
		{"two budgets", []string{"train", "--model", missing, "--task", "sst2", "--train", good, "--dev", good, "-o", dir, "--batch-size", "8", "--batch-tokens", "9"}, exitUsage, "--batch-tokens"},
		{"no student", []string{"distill", "--teacher", missing, "--task", "sst2", "--train", good, "--dev", good, "-o", missing}, exitUsage, "--student"},
		{"general with a task", []string{"distill", "--general", "--teacher", missing, "--text", good, "--task", "sst2", "-o", missing}, exitUsage, "--task"},
		{"attention of no teacher", []string{"bench", "--train", "--model", missing, "--attention"}, exitUsage, "--attention goes with --teacher"},
		{"words without copies", []string{"distill", "--teacher", missing, "--layers", "1", "--task", "sst2", "--train", good, "--dev", good, "-o", missing, "--augment-mlm", missing}, exitUsage, "--augment-mlm goes with --augment"},
		{"layer map", []string{"distill", "--teacher", missing, "--layers", "1", "--task", "sst2", "--train", good, "--dev", good, "-o", missing, "--attention-map", "first"}, exitUsage, "--attention-map"},
		{"size of the cache", []string{"distill", "--cache-max", "4X"}, exitUsage, "--cache-max"},
		{"temperature schedule", []string{"distill", "--teacher", missing, "--layers", "1", "--task", "sst2", "--train", good, "--dev", good, "-o", missing, "--temperature-schedule", "linear"}, exitUsage, "--temperature-end"},
		{"end of a constant temperature", []string{"distill", "--teacher", missing, "--layers", "1", "--task", "sst2", "--train", good, "--dev", good, "-o", missing, "--temperature-end", "2"}, exitUsage, "--temperature-schedule"},
		{"a weight that is none", []string{"distill", "--teacher", missing, "--layers", "1", "--task", "sst2", "--train", good, "--dev", good, "-o", missing, "--hidden-loss", "nan"}, exitUsage, "--hidden-loss: NaN"},
		{"a stage's weight below 0", []string{"distill", "--teacher", model, "--layers", "1", "--stages", write("stages.yaml", "- {name: a, hidden: -1}"), "--task", "sst2", "--train", good, "--dev", good, "-o", missing}, exitFailure, ":1: [0].hidden: -1"},
		{"a teacher's weight below 0", []string{"distill", "--teacher", model, "--teacher-weights=-1", "--layers", "1", "--task", "sst2", "--train", good, "--dev", good, "-o", missing}, exitUsage, "--teacher-weights: -1"},
		{"losses beside stages", []string{"distill", "--teacher", missing, "--layers", "1", "--task", "sst2", "--train", good, "--dev", good, "-o", missing, "--stages", "tinybert", "--attention", "0.5"}, exitUsage, "--attention"},
		{"setting of a loss that is not weighed", []string{"distill", "--teacher", missing, "--layers", "1", "--task", "sst2", "--train", good, "--dev", good, "-o", missing, "--hidden-map", "last"}, exitUsage, "--hidden-loss"},
		{"temperature of a general distillation", []string{"distill", "--general", "--teacher", missing, "--text", good, "--layers", "1", "-o", missing, "--relations", "1", "--temperature", "2"}, exitUsage, "--soft"},
		{"class weights of a general distillation", []string{"distill", "--general", "--teacher", missing, "--text", good, "--layers", "1", "-o", missing, "--relations", "1", "--class-weights", "1,2"}, exitUsage, "--hard"},
		{"general without a loss", []string{"distill", "--general", "--teacher", missing, "--text", good, "--layers", "1", "-o", missing}, exitUsage, "--minilm"},
		{"augmentation of nothing", []string{"distill", "--teacher", missing, "--layers", "1", "--task", "sst2", "--train", good, "--dev", good, "-o", missing, "--augment-candidates", "2"}, exitUsage, "--augment"},
		{"nothing to prune to", []string{"prune", "--model", missing, "-o", missing}, exitUsage, "--heads"},
		{"sizes and a target", []string{"prune", "--model", missing, "-o", missing, "--heads", "2", "--target-ms", "1"}, exitUsage, "--heads"},
		{"two targets", []string{"prune", "--model", missing, "-o", missing, "--target-speedup", "2", "--target-ms", "1"}, exitUsage, "--target-ms"},
		{"family", []string{"prune", "--model", missing, "-o", missing, "--family", "2,x"}, exitUsage, "--family"},
		{"family without data", []string{"prune", "--model", missing, "-o", missing, "--family", "2,4"}, exitUsage, "--task"},
		{"importance of a target", []string{"prune", "--model", missing, "-o", missing, "--target-ms", "1", "--importance", "magnitude"}, exitUsage, "--importance"},
		{"recovery without data", []string{"prune", "--model", missing, "-o", missing, "--heads", "2", "--importance", "magnitude", "--recover"}, exitUsage, "--task"},
		{"fewer than no heads", []string{"prune", "--model", missing, "-o", missing, "--heads", "-1"}, exitUsage, "--heads: -1"},
		{"training without recovery", []string{"prune", "--model", missing, "-o", missing, "--heads", "2", "--lr", "1"}, exitUsage, "--lr goes with --recover"},
		{"a cost without target", []string{"prune", "--model", missing, "-o", missing, "--heads", "2", "--seq", "9"}, exitUsage, "--seq"},
		{"activation", []string{"prune", "--model", missing, "-o", missing, "--activation", "tanh"}, exitUsage, "--activation"},
		{"training for int4", []string{"train", "--model", missing, "--task", "sst2", "--train", good, "--dev", good, "-o", dir, "--quantize-aware", "int4"}, exitUsage, `--quantize-aware: "int4", expected dynamic or static`},
		{"int8 embeddings in float training", []string{"distill", "--teacher", missing, "--layers", "1", "--task", "sst2", "--train", good, "--dev", good, "-o", dir, "--quantize-embeddings"}, exitUsage, "--quantize-embeddings"},
		{"class weights", []string{"train", "--model", missing, "--task", "sst2", "--train", good, "--dev", good, "-o", dir, "--class-weights", "1,-2"}, exitUsage, "--class-weights"},
		{"seeds", []string{"train", "--model", missing, "--task", "sst2", "--train", good, "--dev", good, "-o", dir, "--seeds", "0"}, exitUsage, "--seeds"},
		{"training steps of a masked language model", []string{"bench", "--train", "--model", masked, "--seq", "4"}, exitFailure, "--train measures models that choose one class"},
		{"training on no words", []string{"bench", "--train", "--config", filepath.Join(model, "config.json"), "--seq", "2"}, exitUsage, "--seq: 2"},
		{"rate schedule", []string{"train", "--model", missing, "--task", "sst2", "--train", good, "--dev", good, "-o", dir, "--schedule", "step"}, exitUsage, "--schedule"},
		{"training without f32", []string{"bench", "--train", "--config", missing, "--dtype", "int8"}, exitUsage, "--dtype"},
		{"instances that train", []string{"bench", "--train", "--config", missing, "--instances", "2"}, exitUsage, "--instances"},
		{"steps of inference", []string{"bench", "--config", missing, "--steps", "2"}, exitUsage, "--train"},
		{"text without tokenizer", []string{"bench", "--config", missing, "--data", good}, exitUsage, "--data"},
		{"diverging", []string{"train", "--model", model, "--task", "text", "--train", words, "--dev", words, "-o", dir + "/diverged", "--lr", "1e38", "--epochs", "9", "--warmup", "0", "--max-grad-norm", "0"}, exitFailure, "at step 2"},
		{"recipe", []string{"compress", "--recipe", missing}, exitUsage, missing},
		{"half a model", []string{"compress", "--task", "sst2"}, exitUsage, "--task"},
		{"a label that the model does not have", training("text", "mixed.csv"), exitFailure, `mixed.csv:2: "label": unknown label "good" (one of "red", "green", "blue")`},
		{"a class index beyond the labels", training("sst2", "label.tsv"), exitFailure, `label.tsv:2: "label": label 7 is not a class index from 0 to 1`},
		{"a missing label", training("sst2", "nolabel.tsv"), exitFailure, `nolabel.tsv:3: "label": the label is empty`},
		{"missing columns", training("sst2", "columns.tsv"), exitFailure, `columns.tsv:2: the label is missing: expected the column "label"; --label-column names another`},
		{"no column of that name", training("text", "stars.csv"), exitFailure, `stars.csv:1: expected the column "text", found "review", "stars" in the first line, which names the columns; --text-column names another`},
		{"a column that is not there", training("text", "stars.csv", "--text-column", "reviews"), exitFailure, `stars.csv:1: expected the column "reviews" (did you mean "review"?), found "review", "stars" in the first line, which names the columns; --text-column names another`},
		{"a key that is not there", training("text", "copa.jsonl"), exitFailure, `copa.jsonl:1: expected the column "text", found "choice1", "choice2", "label", "premise", "question"; --text-column names another`},
		{"a column to compress with", []string{"compress", "--model", model, "--task", "text", "--train", filepath.Join(dir, "stars.csv"), "--dev", words, "-o", out}, exitFailure, `--train: ` + filepath.Join(dir, "stars.csv") + `:1: expected the column "text"`},
		{"going on and beginning anew", training("text", "red.csv", "--overwrite", "--resume"), exitUsage, "--overwrite and --resume exclude each other\n"},
		{"going on with a pruning and beginning anew", []string{"prune", "--model", model, "--layers", "1", "--resume", "--overwrite", "-o", out}, exitUsage, "--overwrite and --resume exclude each other\n"},
		{"missing fields", training("sst2", "fields.tsv"), exitFailure, "fields.tsv:2: found 1 fields, expected 2"},
		{"bytes that are not UTF-8", training("sst2", "latin1.tsv"), exitFailure, "latin1.tsv:3: is not valid UTF-8"},
		{"a number that is none", training("stsb", "nan.tsv"), exitFailure, `nan.tsv:2: "score": expected a number, found nan`},
		{"a file that is cut off", training("sst2", "cut.tsv.gz"), exitFailure, "cut.tsv.gz: decompressing"},
		{"a word without label", training("tokens", "words.conll"), exitFailure, `words.conll:2: the word "b" has no label`},
		{"no text", training("mlm", "blank.txt"), exitFailure, "blank.txt: no examples"},
		{"another head", training("stsb", "pairs.tsv"), exitFailure, `the model's head is for single_label_classification, but the task "stsb" is regression`},
		{"other labels", training("sst2", "good.tsv"), exitFailure, "the model's labels are red, green, blue"},
		{"longer than the model", training("text", "red.csv", "--max-length", "65"), exitUsage, "--max-length: 65, expected at most the model's 64 positions"},
		{"choices for a classifier", []string{"eval", "--model", model, "--task", "copa", "--data", filepath.Join(dir, "copa.jsonl")}, exitFailure, "multiple_choice"},
		{"predictions longer than the model", []string{"predict", "--model", model, "--max-length", "65"}, exitUsage, "--max-length"},
		{"predictions of fewer than no tokens", []string{"predict", "--model", model, "--max-length", "-1"}, exitUsage, "--max-length"},
		{"evaluation longer than the model", []string{"eval", "--model", model, "--task", "text", "--data", filepath.Join(dir, "red.csv"), "--max-length", "65"}, exitUsage, "--max-length: 65"},
		{"calibration longer than the model", []string{"quantize", "--model", model, "-o", filepath.Join(dir, "q.skive"), "--calibrate", good, "--max-length", "65"}, exitUsage, "--max-length: 65"},
		{"too many threads", []string{"eval", "--threads", "5000"}, exitUsage, "--threads"},
		{"a directory for a quantized model", []string{"quantize", "--model", missing, "-o", dir}, exitFailure, "--output: " + dir + " is a directory"},
		{"a directory for an exported file", []string{"export", "--model", missing, "--format", "skive", "-o", dir}, exitFailure, "--output: " + dir + " is a directory"},
		{"a file for an exported directory", []string{"export", "--model", missing, "--format", "hf", "-o", good}, exitFailure, "--output"},
		{"int8 in a directory", []string{"export", "--model", int8, "--format", "hf", "-o", out}, exitUsage, "expected f32"},
		{"int8 in half precision", []string{"export", "--model", int8, "--format", "hf", "--dtype", "fp16", "-o", out}, exitUsage, "expected f32"},
		{"int8 in a file in half precision", []string{"export", "--model", int8, "--format", "skive", "--dtype", "bf16", "-o", filepath.Join(dir, "h.skive")}, exitUsage, "or f32"},
		{"int8 padded", []string{"export", "--model", int8, "--format", "skive", "--pad", "-o", filepath.Join(dir, "h.skive")}, exitUsage, "--dtype: the model is int8, which cannot be padded, expected f32"},
		{"a missing training file", training("text", "absent.csv"), exitFailure, "--train: open"},
		{"a missing model to train", []string{"train", "--model", missing, "--task", "text", "--train", good, "--dev", good, "-o", out}, exitFailure, "--model: stat"},
		{"a missing teacher", []string{"distill", "--teacher", missing, "--layers", "1", "--task", "text", "--train", words, "--dev", words, "-o", out}, exitFailure, "--teacher: stat"},
		{"a directory for the log", []string{"distill", "--teacher", model, "--layers", "1", "--log", dir, "--task", "text", "--train", words, "--dev", words, "-o", out}, exitFailure, "--log: " + dir},
		{"a log below a file", []string{"distill", "--teacher", model, "--layers", "1", "--log", filepath.Join(good, "log"), "--task", "text", "--train", words, "--dev", words, "-o", out}, exitFailure, "--log: "},
		{"events below a file", []string{"train", "--model", model, "--tensorboard", filepath.Join(good, "x"), "--task", "text", "--train", words, "--dev", words, "-o", out}, exitFailure, "--tensorboard: "},
		{"a missing student", []string{"distill", "--teacher", model, "--student", missing, "--task", "text", "--train", words, "--dev", words, "-o", out}, exitFailure, "--student: stat"},
		{"missing stages", []string{"distill", "--teacher", model, "--layers", "1", "--stages", missing, "--task", "text", "--train", words, "--dev", words, "-o", out}, exitFailure, "--stages: open"},
		{"missing text", []string{"distill", "--general", "--teacher", model, "--layers", "1", "--text", missing, "--relations", "1", "-o", out}, exitFailure, "--text: open"},
		{"missing unlabelled text", []string{"distill", "--teacher", model, "--layers", "1", "--unlabeled", missing, "--task", "text", "--train", words, "--dev", words, "-o", out}, exitFailure, "--unlabeled: open"},
		{"missing data", []string{"eval", "--model", model, "--task", "text", "--data", missing}, exitFailure, "--data: open"},
		{"a missing model to compare with", []string{"eval", "--model", model, "--against", missing, "--task", "text", "--data", words}, exitFailure, "--against: stat"},
		{"missing inputs of a calibration", []string{"quantize", "--model", model, "--calibrate", missing, "-o", out}, exitFailure, "--calibrate: open"},
		{"unknown task of a flag", []string{"eval", "--model", model, "--task", "sst3", "--data", words}, exitUsage, `--task: unknown task "sst3"`},
		{"a missing recipe", []string{"compress", "--recipe", missing, "-o", out}, exitUsage, "--recipe: open"},
		{"a missing model to compress", []string{"compress", "--model", missing, "--task", "sst2", "--train", good, "--dev", good, "-o", out}, exitFailure, "--model: stat"},
		{"missing examples to compress with", []string{"compress", "--model", model, "--task", "sst2", "--train", missing, "--dev", good, "-o", out}, exitFailure, "--train: open"},
		{"a drop below 0", []string{"compress", "--max-drop", "-1", "-o", out}, exitUsage, "--max-drop: -1"},
		{"a drop of 0", []string{"compress", "--max-drop", "0", "-o", out}, exitUsage, "--max-drop: 0"},
		{"a price below 0", []string{"compress", "--price-hour", "-1", "-o", out}, exitUsage, "--price-hour: -1"},
		{"fewer than no instances", []string{"compress", "--instances", "-1", "-o", out}, exitUsage, "--instances: -1"},
		{"compression to two targets", []string{"compress", "--target-ms", "1", "--target-speedup", "2", "-o", out}, exitUsage, "--target-ms and --target-speedup"},
		{"compression of longer texts than the model's", []string{"compress", "--model", model, "--task", "text", "--train", words, "--dev", words, "--max-length", "65", "-o", out}, exitFailure, "--max-length: 65"},
		{"compression of a masked language model", []string{"compress", "--model", model, "--task", "mlm", "--train", good, "--dev", good, "-o", out}, exitFailure, "--task: mlm is masked_lm"},
		{"compression of a teacher of another kind", []string{"compress", "--teacher", model, "--task", "stsb", "--train", good, "--dev", good, "-o", out}, exitFailure, "--teacher: the model's head is for single_label"},
		{"compression of a model and a teacher", []string{"compress", "--model", model, "--teacher", model, "--task", "text", "--train", words, "-o", out}, exitUsage, "--teacher: "},
		{"a new head of a teacher", []string{"compress", "--teacher", model, "--new-head", "--task", "text", "--train", words, "-o", out}, exitUsage, "--new-head: "},
		{"a missing test file", []string{"compress", "--model", model, "--task", "text", "--train", words, "--dev", words, "--test", missing, "-o", out}, exitFailure, "--test: open"},
		{"a column of generated reviews", []string{"compress", "--text-column", "x", "-o", out}, exitUsage, "--text-column goes with"},
		{"losses beside stages", []string{"distill", "--teacher", model, "--layers", "1", "--stages", "tinybert", "--soft", "2", "--task", "text", "--train", words, "--dev", words, "-o", out}, exitUsage, "--soft"},
		{"a map of no loss", []string{"distill", "--teacher", model, "--layers", "1", "--hidden-map", "last", "--task", "text", "--train", words, "--dev", words, "-o", out}, exitUsage, "--hidden-map goes with --hidden-loss"},
		{"weights of a given student", []string{"distill", "--teacher", model, "--student", model, "--init", "random", "--task", "text", "--train", words, "--dev", words, "-o", out}, exitUsage, "--init"},
		{"general with two teachers", []string{"distill", "--general", "--teacher", model, "--teacher", model, "--layers", "1", "--text", good, "--relations", "1", "-o", out}, exitUsage, "--teacher: 2 teachers"},
		{"a student wider than the teacher", []string{"distill", "--teacher", model, "--layers", "1", "--heads", "9", "--task", "text", "--train", words, "--dev", words, "-o", out}, exitUsage, "--heads: 9"},
		{"tuning of nothing pruned", []string{"prune", "--model", model, "--layers", "1", "--tune", "--task", "text", "--train", words, "-o", out}, exitUsage, "--tune"},
		{"a ranking of nothing", []string{"prune", "--model", model, "--prune-vocab", "--global", "--task", "text", "--train", words, "-o", out}, exitUsage, "--global"},
		{"predictions for nothing", []string{"prune", "--model", model, "--prune-vocab", "--predictions", "--task", "text", "--train", words, "-o", out}, exitUsage, "--predictions"},
		{"a directory for the scores", []string{"prune", "--model", model, "--heads", "2", "--importance-out", dir, "--task", "text", "--train", words, "-o", out}, exitFailure, "--importance-out: " + dir},
		{"a column without data", []string{"quantize", "--model", model, "--text-column", "x", "-o", out}, exitUsage, "--text-column goes with --max-drop"},
		{"a length without data", []string{"quantize", "--model", model, "--max-length", "9", "-o", out}, exitUsage, "--max-length goes with"},
		{"a drop of another kind of task", []string{"quantize", "--model", model, "--max-drop", "1", "--task", "stsb", "--data", filepath.Join(dir, "pairs.tsv"), "-o", out}, exitFailure, "--task: the model's head"},
		{"output below a file", []string{"compress", "-o", filepath.Join(good, "x")}, exitFailure, "--output"},
		{"full output", []string{"compress", "-o", dir}, exitFailure, dir},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, stdout, stderr := execute(t, append(c.args, "-q")...)
			if code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			if stdout != "" {
				t.Errorf("standard output %q, want none", stdout)
			}
			if !strings.Contains(stderr, c.want) || strings.Count(stderr, "\n") != 1 {
				t.Errorf("standard error %q, want one line that names %s", stderr, c.want)
			}
			if _, err := os.Stat(out); err == nil {
				t.Error("something was written")
			}
		})
	}
}

// --json makes a document of the recipe, too.
func TestPrintRecipe(t *testing.T) {
	t.Parallel()
	var recipe struct {
		Task     string
		TargetMS float64 `json:"target_ms"`
	}
	code, stdout, stderr := execute(t, "compress", "--target-ms", "2", "--print-recipe", "--json")
	if err := json.Unmarshal([]byte(stdout), &recipe); code != 0 || err != nil || recipe.Task != "reviews" || recipe.TargetMS != 2 {
		t.Errorf("exit code %d, %s%s (%v)", code, stdout, stderr, err)
	}
}

// What cannot be printed fails the command.
func TestFullStandardOutput(t *testing.T) {
	t.Parallel()
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	defer full.Close()
	dir := t.TempDir()
	model := filepath.Join("..", "..", "train", "testdata", "tiny")
	file := filepath.Join(dir, "words.jsonl")
	if err := os.WriteFile(file, []byte(strings.Repeat(`{"text": "w9 w20", "label": "red"}`+"\n", 4)), 0o666); err != nil {
		t.Fatal(err)
	}
	task := []string{"--task", "text", "--train", file, "--dev", file, "--steps", "1"}
	for _, args := range [][]string{
		{"eval", "--model", model, "--task", "text", "--data", file},
		{"data", "show", "--task", "text", file},
		{"bench", "--model", model, "--duration", "1ms"},
		{"bench", "--model", model, "--train", "--steps", "1"},
		{"export", "--model", model, "--format", "onnx", "-o", filepath.Join(dir, "onnx")},
		{"quantize", "--model", model, "-o", filepath.Join(dir, "int8.skive")},
		{"inspect", model},
		{"compress", "--print-recipe"},
		append([]string{"train", "--model", model, "-o", filepath.Join(dir, "one")}, task...),
		append([]string{"train", "--model", model, "--seeds", "2", "-o", filepath.Join(dir, "two")}, task...),
	} {
		if code, stderr := executeWith(t.Context(), strings.NewReader(""), full, append(args, "-q")...); code != exitFailure || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%v: exit code %d, %q, want 1 and one line", args, code, stderr)
		}
	}
}

func TestVersionAndVerbose(t *testing.T) {
	t.Parallel()
	if code, stdout, stderr := execute(t, "--version"); code != 0 || stdout != "skive "+checkpoints.Version+"\n" || stderr != "" {
		t.Errorf("--version: exit %d, %q, %q", code, stdout, stderr)
	}
	model := filepath.Join("..", "..", "train", "testdata", "tiny")
	code, stdout, stderr := execute(t, "inspect", "-v", model)
	if code != 0 || !strings.Contains(stdout, "classifier.weight") || !strings.Contains(stderr, compress.ThisMachine().String()) {
		t.Errorf("-v: exit %d, %s%s", code, stdout, stderr)
	}
}

// What can be made of an int8 model, and how inspect describes a model.
func TestExportOfInt8(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	model := filepath.Join("..", "..", "train", "testdata", "electra")
	int8 := filepath.Join(dir, "int8.skive")
	for _, args := range [][]string{
		{"quantize", "--model", model, "-o", int8},
		{"export", "--model", int8, "--format", "skive", "--dtype", "int8", "-o", filepath.Join(dir, "same.skive")},
		{"export", "--model", int8, "--format", "skive", "--dtype", "f32", "-o", filepath.Join(dir, "f32.skive")},
		{"quantize", "--model", int8, "--dtype", "f32", "-o", filepath.Join(dir, "values.skive")},
		{"export", "--model", int8, "--format", "hf", "--dtype", "f32", "-o", filepath.Join(dir, "hf")},
		{"export", "--model", int8, "--format", "onnx", "--dtype", "fp16", "-o", filepath.Join(dir, "onnx")},
		{"inspect", "--diff", int8, filepath.Join(dir, "same.skive")},
		{"inspect", filepath.Join(dir, "hf")},
	} {
		code, stdout, stderr := execute(t, append(args, "-q")...)
		if code != 0 {
			t.Errorf("%v: %s", args, stderr)
		}
		switch {
		case args[1] == "--diff" && stdout != "no difference\n":
			t.Errorf("%v: %s", args, stdout)
		case len(args) == 2 && !strings.Contains(stdout, "embedding size"):
			t.Errorf("%v does not tell ELECTRA's embedding size: %s", args, stdout)
		}
	}
}
