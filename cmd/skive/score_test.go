package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/score"
)

func TestScore(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	in, out := filepath.Join(dir, "in.csv"), filepath.Join(dir, "out")
	if err := os.WriteFile(in, []byte("text,id\nw7 w30,1\nw8,2\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	args := []string{"score", "-q", "--json", "--model", "color=../../train/testdata/tiny", "--input", filepath.Join(dir, "*.csv"), "-o", out, "--block", "16"}
	code, stdout, stderr := execute(t, append(args, "--shard", "1/2")...)
	var r score.Result
	if code != 0 || json.Unmarshal([]byte(stdout), &r) != nil || r.Complete {
		t.Fatalf("exit %d, %s%s", code, stdout, stderr)
	}
	code, stdout, stderr = execute(t, args...)
	if code != 0 || json.Unmarshal([]byte(stdout), &r) != nil || !r.Complete {
		t.Fatalf("exit %d, %s%s", code, stdout, stderr)
	}
	text, err := os.ReadFile(filepath.Join(out, "part-00000-000001.csv"))
	if err != nil || !regexp.MustCompile(`^text,id,color_label,color_probability\nw8,2,(red|green|blue),0\.\d+\n$`).Match(text) {
		t.Errorf("%s, %v", text, err)
	}
	for _, c := range []struct {
		args, want string
		code       int
	}{
		{"--max-length 5", ": --overwrite replaces it", exitFailure},
		{"--text-column review -o " + dir + "/o2", "; --text-column names another", exitFailure},
		{"--shard 2/2", "--shard", exitUsage},
		{"--columns score -o " + dir + "/o3", "--columns: \"score\", expected FIELD", exitUsage},
		{"--overwrite --shard 0/2", "--overwrite: ", exitUsage},
		{"--input absent.jsonl", "--input: absent.jsonl: file does not exist", exitFailure},
		{"--model m=absent", "--model: ", exitFailure},
		{"--dtype f8", `--dtype: "f8", expected`, exitUsage},
	} {
		code, _, stderr := execute(t, append(args, strings.Fields(c.args)...)...)
		if code != c.code || !strings.Contains(stderr, c.want) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%s: exit %d, %s", c.args, code, stderr)
		}
	}
}

// A prompt needs no --embedding where the files of a model say that it embeds.
func TestScorePrompts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	in := filepath.Join(dir, "in.csv")
	if err := os.WriteFile(in, []byte("text\ngood film\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	model := modelOf(t, "", nil, func(c *checkpoints.Config) {
		c.Sentence = &checkpoints.Sentence{Pooling: checkpoints.MeanPooling, Prompts: map[string]string{"query": "bad film"}}
	})
	answer := func(name string, more ...string) string {
		out := filepath.Join(dir, name)
		code, _, stderr := execute(t, append([]string{"score", "-q", "--model", model, "--input", in, "-o", out}, more...)...)
		parts, err := filepath.Glob(filepath.Join(out, "part-*"))
		if code != 0 || err != nil || len(parts) != 1 {
			t.Fatalf("%s: exit %d, %s, parts %v (%v)", name, code, stderr, parts, err)
		}
		text, err := os.ReadFile(parts[0])
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	if plain, prompted := answer("plain"), answer("prompted", "--prompt", "query"); plain == prompted {
		t.Errorf("the prompt changes nothing: %s", plain)
	}
}

// What the recipes call is there.
func TestScoreExamples(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"kubernetes.yaml", "slurm.sh"} {
		text, err := os.ReadFile(filepath.Join("..", "..", "examples", "score", file))
		if err != nil {
			t.Fatal(err)
		}
		var object struct{ Kind string }
		if strings.HasSuffix(file, ".yaml") && (yaml.Unmarshal(text, &object) != nil || object.Kind != "Job") {
			t.Errorf("%s is no Job", file)
		}
		known := (&skive{}).newScore().Flags()
		_, called, _ := strings.Cut(string(text), "template:")
		if called == "" {
			_, called, _ = strings.Cut(string(text), "exec ")
		}
		found := regexp.MustCompile(`[ "]--([a-z-]+)`).FindAllStringSubmatch(called, -1)
		for _, flag := range found {
			if known.Lookup(flag[1]) == nil && flag[1] != "threads" {
				t.Errorf("%s: no flag --%s", file, flag[1])
			}
		}
		if len(found) < 4 {
			t.Errorf("%s: found %v", file, found)
		}
	}
}

// Shards of a teacher's outputs are made and read as the flags say.
func TestTeacherShards(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	text, shards := filepath.Join(dir, "text.txt"), filepath.Join(dir, "shards")
	if err := os.WriteFile(text, []byte(strings.Repeat("w7 w30 w8\nw9 w40\n", 8)), 0o666); err != nil {
		t.Fatal(err)
	}
	args := []string{"distill", "-q", "--general", "--teacher", "../../train/testdata/tiny", "--layers", "1", "--hidden-loss", "1", "--steps", "3", "--teacher-shards", shards}
	with := func(more ...string) []string { return append(args[:len(args):len(args)], more...) }
	if code, _, stderr := execute(t, with("-o", dir+"/student")...); code != exitFailure || !strings.Contains(stderr, "--teacher-shards: ") {
		t.Errorf("without shards: exit %d, %s", code, stderr)
	}
	if code, stdout, stderr := execute(t, with("--text", text, "--make-shard", "0/1")...); code != 0 || !strings.Contains(stdout, "complete: true") {
		t.Fatalf("exit %d, %s%s", code, stdout, stderr)
	}
	if code, _, stderr := execute(t, with("-o", dir+"/student")...); code != 0 {
		t.Errorf("exit %d, %s", code, stderr)
	}
	local := append(args[:len(args)-2:len(args)-2], "--text", text, "-o", dir+"/local")
	if code, _, stderr := execute(t, local...); code != 0 {
		t.Errorf("exit %d, %s", code, stderr)
	}
	a, err1 := os.ReadFile(dir + "/student/model.safetensors")
	b, err2 := os.ReadFile(dir + "/local/model.safetensors")
	if err1 != nil || err2 != nil || string(a) != string(b) {
		t.Errorf("other weights: %v, %v", err1, err2)
	}
	for more, want := range map[string]string{
		"--text " + text + " -o o":                  "--text: --teacher-shards has the examples",
		"--text " + text + " --make-shard 0/1 -o o": "--output",
	} {
		if code, _, stderr := execute(t, with(strings.Fields(more)...)...); code != exitUsage || !strings.Contains(stderr, want) {
			t.Errorf("%s: exit %d, %s", more, code, stderr)
		}
	}
}
