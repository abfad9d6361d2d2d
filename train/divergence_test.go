package train

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/skive-ml/skive/head"
	"github.com/skive-ml/skive/internal/golden"
	"github.com/skive-ml/skive/progress/terminal"
)

// A run that ends in finite numbers, but far above what it began with, says so in
// one line; one that learns, or learns nothing, does not.
func TestDivergenceInFiniteNumbers(t *testing.T) {
	t.Parallel()
	for _, kind := range append([]head.Kind{head.SingleLabel}, toyKinds...) {
		for rate, want := range map[float64]bool{1e-12: false, 2e-3: false, 300: true} {
			var progress bytes.Buffer
			o := quick()
			o.LearningRate, o.Steps, o.Schedule, o.Progress = rate, 24, Constant, terminal.New(&progress)
			set := toy(kind, 40, 1)
			if kind == head.SingleLabel {
				set = subset(golden.Data(t), 0, 40)
			}
			_, r, err := Run(context.Background(), tinyEncoder(t), set, nil, o)
			if err != nil {
				t.Fatal(err)
			}
			lines := strings.Count(progress.String(), "train: the run has diverged: its loss went from ")
			if r.Diverged != want || (lines == 1) != want || lines > 1 {
				t.Errorf("%v at %v: diverged %v, expected %v:\n%s", kind, rate, r.Diverged, want, &progress)
			}
		}
	}
}

// A run that has diverged goes on to the same error, and its last state and best
// model stay as they were; another rate is refused by its name.
func TestResumingAfterDivergence(t *testing.T) {
	t.Parallel()
	ds := golden.Data(t)
	o := quick()
	o.LearningRate, o.Warmup, o.MaxGradNorm, o.Steps, o.SaveEvery, o.EvalEvery = 1e24, 0.9, 0, 20, 1, 1
	o.Output = filepath.Join(t.TempDir(), "out")
	again := func() (*DivergedError, map[string]string, error) {
		_, _, err := Run(context.Background(), golden.Model(t), subset(ds, 0, 60), subset(ds, 100, 120), o)
		files := map[string]string{}
		for _, name := range []string{filepath.Join(StateDir, stateFile), "model.safetensors"} {
			b, rerr := os.ReadFile(filepath.Join(o.Output, name))
			if rerr != nil {
				t.Fatal(rerr)
			}
			files[name] = string(b)
		}
		var diverged *DivergedError
		errors.As(err, &diverged)
		return diverged, files, err
	}
	first, before, err := again()
	if first == nil || first.Step < 2 {
		t.Fatalf("%v, expected a *DivergedError after the first step", err)
	}
	o.Resume = true
	second, after, err := again()
	if second == nil || second.Step != first.Step || second.What != first.What {
		t.Errorf("resumed: %v, expected %v", err, first)
	}
	for name := range before {
		if before[name] != after[name] {
			t.Errorf("%s is another after the second run", name)
		}
	}
	o.LearningRate = 1e-3
	var settings *SettingsError
	if _, _, err = again(); !errors.As(err, &settings) || settings.Setting != "lr" {
		t.Errorf("another rate: %v", err)
	}
	o.Resume, o.Overwrite = false, true
	if _, _, err = again(); err != nil {
		t.Errorf("anew: %v", err)
	}
}
