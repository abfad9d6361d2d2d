package pruning

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/internal/golden"
)

// Each round takes an equal part of what is to go, out of what the last recovery
// returned.
func TestIterate(t *testing.T) {
	t.Parallel()
	ctx, m, ds := context.Background(), golden.Model(t), golden.Data(t)
	var rounds [][]checkpoints.LayerSize
	o := IterateOptions{Rounds: 3, Heads: 1, FFN: 16, Recover: func(_ context.Context, m *checkpoints.Model, round int) (*checkpoints.Model, error) {
		if rounds = append(rounds, slices.Clone(m.Config.Layers)); round != len(rounds) {
			t.Errorf("round %d after %d", round, len(rounds)-1)
		}
		m.Provenance = append(m.Provenance, checkpoints.Stage{Name: "recovered"})
		return m, nil
	}}
	pruned, err := Iterate(ctx, m, ds, o)
	if err != nil {
		t.Fatal(err)
	}
	both := func(heads, units int) []checkpoints.LayerSize {
		return slices.Repeat([]checkpoints.LayerSize{{Heads: heads, Intermediate: units}}, 2)
	}
	want := [][]checkpoints.LayerSize{both(3, 48), both(2, 32), both(1, 16)}
	if !slices.EqualFunc(rounds, want, slices.Equal[[]checkpoints.LayerSize]) {
		t.Errorf("rounds %v, want %v", rounds, want)
	}
	var names []string
	for _, s := range pruned.Provenance[len(m.Provenance):] {
		names = append(names, s.Name)
	}
	if got := strings.Join(names, " "); got != "prune recovered prune recovered prune recovered" {
		t.Errorf("provenance %s", got)
	}

	o.Global, o.Recover = true, nil
	if pruned, err = Iterate(ctx, m, ds, o); err != nil || pruned.Config.Layers[0].Intermediate+pruned.Config.Layers[1].Intermediate != 32 {
		t.Errorf("ranked together: error %v, layers %v", err, pruned.Config.Layers)
	}
	failed := errors.New("no memory")
	o.Recover = func(context.Context, *checkpoints.Model, int) (*checkpoints.Model, error) { return nil, failed }
	if _, err := Iterate(ctx, m, ds, o); !errors.Is(err, failed) || !strings.Contains(err.Error(), "round 1") {
		t.Errorf("a recovery that fails: %v", err)
	}
	if _, err := Iterate(ctx, m, ds, IterateOptions{Rounds: -1}); err == nil {
		t.Error("a negative number of rounds: no error")
	}
}

// The switched activation is that of what follows, and is noted.
func TestSetActivation(t *testing.T) {
	t.Parallel()
	m := golden.Model(t)
	relu, err := SetActivation(m, "relu")
	if err != nil {
		t.Fatal(err)
	}
	last := relu.Provenance[len(relu.Provenance)-1]
	if relu.Config.Activation != "relu" || m.Config.Activation != "gelu" || last.Settings["before"] != "gelu" {
		t.Errorf("activation %s, was %s; provenance %+v", relu.Config.Activation, m.Config.Activation, last)
	}
	if _, err := SetActivation(m, "step"); err == nil || !strings.Contains(err.Error(), "activation") {
		t.Errorf("an activation that there is not: %v", err)
	}
}
