package compress

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/progress/terminal"
)

// Two recipes at once into one directory: the second ends before it does anything.
func TestASecondRecipeIsRefused(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "out")
	other := tiny()
	other.Seed, other.Architecture.Layers = 2, 3
	second := func() error {
		_, err := Run(context.Background(), other, Options{Force: true, Output: dir, Threads: 1})
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var err error
	_, first := Run(ctx, tiny(), Options{Force: true, Output: dir, Threads: 1, Progress: terminal.New(cancelAt{"teacher", func() {
		if err == nil {
			err = second()
		}
		cancel()
	}})})
	var busy *checkpoints.BusyError
	if !errors.As(err, &busy) || busy.PID != os.Getpid() {
		t.Errorf("the second: %v", err)
	}
	if !errors.Is(first, context.Canceled) {
		t.Fatalf("the first: %v", first)
	}
	if r, err := ReadRecipe(filepath.Join(dir, RecipeFile), nil); err == nil && r.Seed != tiny().Seed {
		t.Error("the recipe is that of the second")
	}
}

// Models that two recipes have left in one directory are told apart by what they
// are, whatever the recipe and the report beside them say. What is of another recipe
// is named, set aside and made again.
func TestMixturesAreFound(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	path := func(names ...string) string { return filepath.Join(append([]string{root}, names...)...) }
	mine, other, same := tiny(), tiny(), tiny()
	other.Seed, other.Architecture.Layers = 2, 3
	same.Seed = 2
	weights := func(dir string) (all []string) {
		for _, name := range []string{"teacher", "student", "pruned-25-25"} {
			text, err := os.ReadFile(filepath.Join(dir, name, "model.safetensors"))
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, string(text))
		}
		return all
	}
	for name, r := range map[string]Recipe{"mine": mine, "other": other, "same": same} {
		if _, err := Run(context.Background(), r, Options{Force: true, Output: path(name), Threads: 1}); err != nil {
			t.Fatal(err)
		}
	}
	want := weights(path("mine"))
	model := []string{"config.json", "model.safetensors", "skive.json", "vocab.txt"}
	for _, c := range []struct {
		name, stage, from string
		files             []string
		report            bool
		want              string
	}{
		{"a teacher of another recipe", "teacher", "other", append(model, "state/training.state"), true, "teacher: "},
		{"that and no report", "teacher", "other", append(model, "state/training.state"), false, "teacher: "},
		{"a teacher's model alone", "teacher", "other", model, true, "teacher: the model there is not of this run"},
		{"a teacher's model of the same sizes", "teacher", "same", model, true, "teacher: the model there is not of this run"},
		{"weights alone", "teacher", "same", model[1:2], true, "teacher: the model there is not of this run"},
		{"weights alone and no report", "student", "same", model[1:2], false, "student: the model there is not of this run"},
		{"a student of another recipe", "student", "other", append(model, "state/training.state"), true, "student: "},
		{"a student's state alone", "student", "other", []string{"state/training.state"}, false, "student: "},
	} {
		dir := path("mixed")
		if err := errors.Join(os.RemoveAll(dir), os.CopyFS(dir, os.DirFS(path("mine")))); err != nil {
			t.Fatal(err)
		}
		for _, file := range c.files {
			text, err := os.ReadFile(path(c.from, c.stage, file))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, c.stage, file), text, 0o666); err != nil {
				t.Fatal(err)
			}
		}
		if !c.report {
			for _, name := range reportFiles {
				os.Remove(filepath.Join(dir, name))
			}
		}
		var said strings.Builder
		report, err := Run(context.Background(), mine, Options{Force: true, Output: dir, Threads: 1, Progress: terminal.New(&said)})
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if !strings.Contains(said.String(), c.want) || !strings.Contains(said.String(), "training again") {
			t.Errorf("%s: not named in %s", c.name, &said)
		}
		for i, got := range weights(dir) {
			if got != want[i] {
				t.Errorf("%s: model %d is another one than that of a clean run", c.name, i)
			}
		}
		m, err := checkpoints.Open(filepath.Join(dir, "teacher"))
		if err != nil {
			t.Fatal(err)
		}
		if report.Rows[0].Parameters != m.Parameters() {
			t.Errorf("%s: the report has %d parameters, the teacher %d", c.name, report.Rows[0].Parameters, m.Parameters())
		}
		m.Close()
	}
}
