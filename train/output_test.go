package train

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/internal/golden"
)

// What a run finds in its output directory decides, together with Resume and
// Overwrite, whether it begins, goes on or ends with an error that says why.
func TestRunOntoAnotherRun(t *testing.T) {
	t.Parallel()
	ds := golden.Data(t)
	run := func(o Options) (*Result, error) {
		m, r, err := Run(context.Background(), golden.Model(t), subset(ds, 0, 16), subset(ds, 16, 24), o)
		if err == nil {
			m.Close()
		}
		return r, err
	}
	mine := quick()
	mine.Epochs, mine.Steps, mine.EvalEvery, mine.Threads = 0, 6, 3, 1
	other := mine
	other.Seed = 99
	finished := func(t *testing.T, dir string, o Options) {
		o.Output = dir
		if _, err := run(o); err != nil {
			t.Fatal(err)
		}
	}
	replace := func(t *testing.T, dir, name string) {
		from := filepath.Join(t.TempDir(), "other")
		finished(t, from, other)
		text, err := os.ReadFile(filepath.Join(from, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), text, 0o666)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name    string
		prepare func(t *testing.T, dir string)
		// What is said of the output: "" where the run succeeds.
		plain, resume string
	}{
		{"nothing", func(*testing.T, string) {}, "", ""},
		{"a finished run", func(t *testing.T, dir string) { finished(t, dir, mine) }, "a finished run is there", ""},
		{"a finished run of other settings", func(t *testing.T, dir string) { finished(t, dir, other) }, "a finished run is there", "cannot resume with seed"},
		{"a model alone", func(t *testing.T, dir string) {
			if err := golden.Model(t).SaveHF(dir); err != nil {
				t.Fatal(err)
			}
		}, "a model is there already", "a model is there already"},
		{"another model beside the state", func(t *testing.T, dir string) {
			finished(t, dir, mine)
			replace(t, dir, "skive.json")
		}, "a finished run is there", `its seed is "99"`},
		{"other weights", func(t *testing.T, dir string) {
			finished(t, dir, mine)
			replace(t, dir, "model.safetensors")
		}, "a finished run is there", "its weights have been changed"},
	} {
		for flag, want := range map[string]string{"": c.plain, "resume": c.resume, "overwrite": ""} {
			o := mine
			o.Output, o.Resume, o.Overwrite = filepath.Join(t.TempDir(), "out"), flag == "resume", flag == "overwrite"
			c.prepare(t, o.Output)
			r, err := run(o)
			if (err == nil) != (want == "") || err != nil && (!strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n")) {
				t.Errorf("%s, %q: %v, expected %q", c.name, flag, err, want)
			}
			if err == nil && r.Resumed != 0 && flag != "resume" {
				t.Errorf("%s, %q: resumed after step %d", c.name, flag, r.Resumed)
			}
		}
	}
}

// A run that ended between its first evaluation and its first state goes on too: a
// state is written before the first model.
func TestNoModelWithoutState(t *testing.T) {
	t.Parallel()
	ds := golden.Data(t)
	o := quick()
	o.Epochs, o.Steps, o.EvalEvery, o.SaveEvery, o.Threads = 0, 6, 2, 5, 1
	o.Output = filepath.Join(t.TempDir(), "out")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	o.OnEvaluation = func(Evaluation) {
		if _, err := os.Stat(filepath.Join(o.Output, StateDir, stateFile)); err != nil {
			t.Error(err)
		}
		cancel()
	}
	var there *checkpoints.ExistsError
	if _, _, err := Run(ctx, golden.Model(t), subset(ds, 0, 16), subset(ds, 16, 24), o); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if err := CheckOutput(o.Output); !errors.As(err, &there) || !there.Resumable {
		t.Errorf("a stopped run: %v", err)
	}
	if err := CheckOutput(filepath.Dir(o.Output)); err != nil {
		t.Errorf("beside a run: %v", err)
	}
}

// A run holds its output, its log and its events.
func TestRunHoldsWhatItWrites(t *testing.T) {
	t.Parallel()
	ds, dir := golden.Data(t), t.TempDir()
	o := quick()
	o.Epochs, o.Steps, o.Threads = 0, 1, 1
	o.Output, o.Log, o.TensorBoard = filepath.Join(dir, "out"), filepath.Join(dir, "log.jsonl"), filepath.Join(dir, "events")
	o.OnStep = func(Record) {
		for _, path := range []string{o.Output, o.Log, o.TensorBoard} {
			var busy *checkpoints.BusyError
			if _, _, err := checkpoints.Claim(context.Background(), path); !errors.As(err, &busy) {
				t.Errorf("%s: %v", path, err)
			}
		}
	}
	m, _, err := Run(context.Background(), golden.Model(t), subset(ds, 0, 16), subset(ds, 16, 24), o)
	if err != nil {
		t.Fatal(err)
	}
	m.Close()
	if left, err := filepath.Glob(filepath.Join(dir, ".*")); err != nil || len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}
