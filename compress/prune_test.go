package compress

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/distill"
	"github.com/skive-ml/skive/internal/golden"
	"github.com/skive-ml/skive/progress/terminal"
	"github.com/skive-ml/skive/pruning"
	"github.com/skive-ml/skive/train"
)

// pruned carries out a plan on the tiny model, with a recovery of 12 steps. It is stopped
// after the steps, 0 for not, and where the context is done when a new recovery begins.
func pruned(t *testing.T, p Plan, output string, stopAfter int) (models []Pruned, progress string, err error) {
	t.Helper()
	all := golden.Data(t)
	p.Train = &data.Dataset{Task: all.Task, Examples: all.Examples[:24]}
	p.Dev = &data.Dataset{Task: all.Task, Examples: all.Examples[24:40]}
	p.Set = p.Train
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	o := distill.Defaults()
	o.Steps, o.BatchSize, o.Threads, o.SaveEvery, o.EvalEvery = 12, 8, 1, 2, 4
	steps := 0
	o.OnStep = func(train.Record) {
		if steps++; steps == stopAfter {
			stop()
		}
	}
	var shown bytes.Buffer
	p.Recover, p.Output, p.Threads, p.Progress = &o, output, 1, terminal.New(&shown)
	models, err = Prune(ctx, golden.Model(t), p)
	return models, shown.String(), err
}

// A pruning that is stopped goes on where it was and ends with the same weights, and
// what is finished is not done again.
func TestPruneGoesOn(t *testing.T) {
	costs := t.TempDir()
	for _, c := range []struct {
		name    string
		plan    Plan
		stops   []int    // steps after which it is stopped, each time anew
		members []string // below the output
		again   string   // what a call that goes on does not do again
	}{
		{"sizes", Plan{Heads: 2, FFN: 32, Cut: Cut{Rearrange: true, Importance: pruning.ImportanceOptions{Method: pruning.Exact}}}, []int{5}, []string{""}, "importance"},
		{"layers", Plan{Layers: 1}, []int{5}, []string{""}, "dropping layers"},
		{"rounds", Plan{Heads: 2, FFN: 32, Rounds: 2}, []int{5, 12}, []string{""}, "importance"},
		{"a family", Plan{Family: Speedups{1.0001, 1.0002}, Cut: Cut{Rearrange: true, Importance: pruning.ImportanceOptions{Method: pruning.Fisher}},
			DType: "f32", Costs: func() string { return costs }}, []int{17}, []string{"1.0001x", "1.0002x"}, "importance"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			whole, parts := filepath.Join(t.TempDir(), "out"), filepath.Join(t.TempDir(), "out")
			if _, _, err := pruned(t, c.plan, whole, 0); err != nil {
				t.Fatal(err)
			}
			for i, steps := range c.stops {
				if _, _, err := pruned(t, c.plan, parts, steps); !errors.Is(err, context.Canceled) {
					t.Fatalf("error %v, want that it is stopped", err)
				}
				var there *checkpoints.ExistsError
				if err := CheckPruned(parts, c.plan.Members()...); !errors.As(err, &there) || !there.Resumable {
					t.Errorf("after stop %d: %v, want a run that can go on", i+1, err)
				}
				c.plan.Resume = true
			}
			first := made(t, filepath.Join(parts, c.members[0]))
			models, shown, err := pruned(t, c.plan, parts, 0)
			if err != nil {
				t.Fatal(err)
			}
			if len(models) != len(c.members) || c.plan.Rounds < 2 && strings.Contains(shown, c.again) {
				t.Errorf("%d models; shown:\n%s", len(models), shown)
			}
			if c.plan.Family != nil { // what is cut follows from times, which are never the same
				if again := made(t, filepath.Join(parts, c.members[0])); again != first {
					t.Error("the first member is made again")
				}
			} else if differences, err := checkpoints.Diff(whole, parts); err != nil || tensors(differences) {
				t.Errorf("%v, %v", differences, err)
			}
			_, shown, err = pruned(t, c.plan, parts, 1)
			if err != nil || strings.Contains(shown, c.again) {
				t.Errorf("what is finished is done again: %v\n%s", err, shown)
			}
			other := c.plan
			other.Activation = "relu"
			var settings *train.SettingsError
			if _, _, err = pruned(t, other, parts, 0); !errors.As(err, &settings) || settings.Setting != "activation" {
				t.Errorf("error %v, want one of the activation", err)
			}
		})
	}
}

// made tells when a model was made, zero where there is none.
func made(t *testing.T, path string) time.Time {
	t.Helper()
	m, err := checkpoints.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return time.Time{}
	}
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	return m.Provenance[len(m.Provenance)-1].Time
}

// tensors tells whether models differ in their weights.
func tensors(differences []checkpoints.Difference) bool {
	for _, d := range differences {
		if d.Largest != nil {
			return true
		}
	}
	return false
}
