package train

import (
	"context"
	"errors"
	"math"
	"path/filepath"
	"testing"

	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/internal/golden"
)

// Under bf16 the loss follows that of f32 within one part in a hundred, in means
// over 25 of 200 steps.
func TestBF16FollowsF32(t *testing.T) {
	t.Parallel()
	curve := func(precision string) (means []float64) {
		o := quick()
		o.Precision, o.Steps, o.EvalEvery, o.Dropout = precision, 200, 0, new(0.0)
		o.LearningRate = 5e-4
		_, r := run(t, o)
		const window = 25
		for i := 0; i < len(r.History); i += window {
			sum := 0.0
			for _, s := range r.History[i : i+window] {
				sum += s.Loss / window
			}
			means = append(means, sum)
		}
		return means
	}
	f32, bf16 := curve(infer.F32), curve(infer.BF16)
	t.Logf("f32 %.5v, bf16 %.5v", f32, bf16)
	for i, want := range f32 {
		if d := math.Abs(bf16[i] - want); !(d > 0 && d < 0.01*want) {
			t.Errorf("steps %d to %d: loss %v, in f32 %v", 25*i+1, 25*(i+1), bf16[i], want)
		}
	}
	if last := len(f32) - 1; !(f32[last] < 0.8*f32[0]) {
		t.Errorf("the loss goes from %v to %v only: this tests little", f32[0], f32[last])
	}
}

func TestBF16IsExact(t *testing.T) {
	t.Parallel()
	o := quick()
	o.Precision, o.Threads = infer.BF16, 1
	want, _ := run(t, o)
	for _, threads := range []int{2, 7} {
		o.Threads = threads
		if m, _ := run(t, o); !sameWeights(m, want) {
			t.Errorf("%d threads: other weights than with 1", threads)
		}
	}
	if m, _ := run(t, quick()); sameWeights(m, want) {
		t.Error("f32 gives the same weights")
	}

	ds := golden.Data(t)
	o.Output, o.Resume = filepath.Join(t.TempDir(), "out"), true
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	o.OnStep = func(r Record) {
		if r.Step == 8 {
			cancel()
		}
	}
	if _, _, err := Run(ctx, golden.Model(t), subset(ds, 0, 100), subset(ds, 100, 160), o); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	o.OnStep = nil
	other := o
	other.Precision = infer.F32
	var settings *SettingsError
	if _, _, err := Run(context.Background(), golden.Model(t), subset(ds, 0, 100), subset(ds, 100, 160), other); !errors.As(err, &settings) || settings.Setting != "precision" {
		t.Errorf("resumed in f32: error %v", err)
	}
	m, r := run(t, o)
	if r.Resumed != 8 || !sameWeights(m, want) {
		t.Errorf("resumed after step %d, want 8, or other weights than those of the uninterrupted run", r.Resumed)
	}
	stage := m.Provenance[len(m.Provenance)-1]
	if stage.Settings["precision"] != infer.BF16 {
		t.Errorf("provenance %+v", stage)
	}
}
