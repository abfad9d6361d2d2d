package score_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	_ "github.com/apache/beam/sdks/v2/go/pkg/beam/io/filesystem/local"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/io/textio"
	_ "github.com/apache/beam/sdks/v2/go/pkg/beam/runners/prism"

	transforms "github.com/skive-ml/skive/beam/score"
	"github.com/skive-ml/skive/score"
)

func TestMain(m *testing.M) {
	beam.Init()
	os.Exit(m.Run())
}

var models = []score.Model{{Path: "../../train/testdata/tiny"}}

func texts(n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprintf("w%d w%d w%d", 5+i%90, 5+i*7%90, 5+i*i%90))
	}
	return all
}

func write(t *testing.T, path, content string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

// contents are the files of a directory but plan.json, which a pipeline does not write.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if all[e.Name()] = string(b); e.Name() == "plan.json" {
			delete(all, e.Name())
		}
	}
	return all
}

func TestFilesAreThoseOfScore(t *testing.T) {
	dir := t.TempDir()
	var lines strings.Builder
	for i, text := range texts(300) {
		fmt.Fprintf(&lines, "{\"id\":%d,\"text\":%q}\n", i, text)
	}
	inputs := []string{
		write(t, filepath.Join(dir, "a.jsonl"), lines.String()+"{}\n"),
		write(t, filepath.Join(dir, "b.csv"), "text,n\n"+strings.Join(texts(200), ",1\n")+",2\n"),
		write(t, filepath.Join(dir, "c.txt"), strings.Join(texts(100), "\n")),
	}
	so := score.Defaults()
	so.Models, so.Inputs, so.Output, so.Block, so.MaxBad = models, inputs, filepath.Join(dir, "local"), 1<<10, score.BadRows(1)
	if _, err := score.Run(context.Background(), so); err != nil {
		t.Fatal(err)
	}
	o := transforms.Options{Models: models, Output: filepath.Join(dir, "beam"), Block: 1 << 10, MaxBad: "1"}
	p, s := beam.NewPipelineWithRoot()
	if err := os.Mkdir(o.Output, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := transforms.Files(context.Background(), s, o, inputs); err != nil {
		t.Fatal(err)
	}
	if _, err := beam.Run(context.Background(), "prism", p); err != nil {
		t.Fatal(err)
	}
	got, want := contents(t, o.Output), contents(t, so.Output)
	if !maps.Equal(got, want) {
		t.Errorf("%v, want %v\n%s\n%s", slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)), got["manifest.json"], want["manifest.json"])
	}
}

func TestTexts(t *testing.T) {
	dir := t.TempDir()
	p, s := beam.NewPipelineWithRoot()
	in := beam.CreateList(s, texts(700))
	answers, failed := transforms.Texts(s, transforms.Options{Models: models}, in)
	textio.Write(s, filepath.Join(dir, "answers"), answers)
	textio.Write(s, filepath.Join(dir, "failed"), failed)
	if _, err := beam.Run(context.Background(), "prism", p); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "answers"))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	if len(lines) != 700 {
		t.Errorf("%d answers", len(lines))
	}
	for _, line := range lines {
		if !strings.HasPrefix(line, `{"text":"w`) || !strings.Contains(line, `,"predicted_label":"`) {
			t.Fatal(line)
		}
	}
}

func TestWhatIsWrongIsSaidBefore(t *testing.T) {
	for want, change := range map[string]func(o *transforms.Options, in *string){
		"absent":                    func(_ *transforms.Options, in *string) { *in = "absent.jsonl" },
		"Models":                    func(o *transforms.Options, _ *string) { o.Models = []score.Model{{Path: "absent"}} },
		"expected a number of rows": func(o *transforms.Options, _ *string) { o.MaxBad = "some" },
		"Output":                    func(o *transforms.Options, _ *string) { o.Output = "" },
		"part-00000-000007.jsonl is there": func(o *transforms.Options, _ *string) {
			write(t, filepath.Join(o.Output, "part-00000-000007.jsonl"), "")
		},
	} {
		dir := t.TempDir()
		o, in := transforms.Options{Models: models, Output: dir}, write(t, filepath.Join(dir, "a.txt"), "w7\n")
		change(&o, &in)
		_, s := beam.NewPipelineWithRoot()
		if err := transforms.Files(context.Background(), s, o, []string{in}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
