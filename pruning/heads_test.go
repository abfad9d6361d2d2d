package pruning

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/head"
	"github.com/skive-ml/skive/internal/golden"
)

// asked is a model with a head, and examples for it.
func asked(t *testing.T, kind head.Kind) (*checkpoints.Model, *data.Dataset) {
	t.Helper()
	m, ds := golden.Model(t).Clone(), golden.Data(t)
	ds.Task = data.Task{Name: "heads", Kind: kind}
	if kind == head.MultiLabel || kind == head.TokenClassification {
		ds.Task.Labels = []string{"red", "green", "blue"}
	}
	if err := m.SetHead(kind, ds.Task.Labels, 1); err != nil {
		t.Fatal(err)
	}
	ds.Examples = ds.Examples[:12]
	for i := range ds.Examples {
		e := &ds.Examples[i]
		*e = data.Example{Text: e.Text, Value: float32(i) / 4}
		switch kind {
		case head.MultiLabel:
			e.Labels = []int32{int32(i % 3)}
		case head.MultipleChoice:
			e.Choices = []string{"w10", "w20 w21", "w30"}[:2+i%2]
			e.Label = i % 2
		case head.TokenClassification:
			e.Words = strings.Fields(e.Text)
			for w := range e.Words {
				e.Labels = append(e.Labels, int32(w%3))
			}
		}
	}
	return m, ds
}

// The importance of an example of any kind is that of the whole of it: of all
// choices of a question, all words. It does not depend on the batches, is had from
// the model's own answers as well, and drops layers.
func TestImportanceOfEveryHead(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	for _, kind := range []head.Kind{head.Regression, head.MultiLabel, head.MultipleChoice, head.TokenClassification} {
		m, ds := asked(t, kind)
		want, err := Importance(ctx, m, ds, ImportanceOptions{BatchSize: 1})
		if err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		got, err := Importance(ctx, m, ds, ImportanceOptions{BatchSize: 5})
		if err != nil {
			t.Fatal(err)
		}
		sums := newScores(m.Config)
		for i, e := range ds.Examples {
			// The gradient of one example's loss, a mean, added up over the batch.
			one, err := Importance(ctx, m, &data.Dataset{Task: ds.Task, Examples: ds.Examples[i : i+1]}, ImportanceOptions{Method: FastFormers})
			if err != nil {
				t.Fatal(err)
			}
			for l := range sums.Heads {
				for h, v := range one.Heads[l] {
					sums.Heads[l][h] += v * float64(max(1, len(e.Words)))
				}
			}
		}
		for l := range want.Heads {
			for i, w := range slices.Concat(want.Heads[l], want.FFN[l]) {
				if g := slices.Concat(got.Heads[l], got.FFN[l])[i]; math.Abs(g-w) > 1e-5*w+1e-9 || !(w > 0) {
					t.Fatalf("%s: batches of 5: layer %d: number %d scores %g, in batches of 1 %g", kind, l, i, g, w)
				}
			}
			for h, w := range want.Heads[l] {
				if g := sums.Heads[l][h]; math.Abs(g-w) > 1e-4*w {
					t.Errorf("%s: layer %d: head %d scores %g, example by example %g", kind, l, h, w, g)
				}
			}
		}
		g, err := MaskGradients(ctx, m, ds, ImportanceOptions{})
		if err != nil || g.Examples != len(ds.Examples) || len(g.Heads[0]) != g.Examples*m.Config.NumHeads(0) {
			t.Errorf("%s: gradients of %d examples (%v)", kind, g.Examples, err)
		}
		if _, _, err := DropLayers(ctx, m, ds, 1, ImportanceOptions{}); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
		for i := range ds.Examples {
			ds.Examples[i].Label = -1
		}
		_, err = Importance(ctx, m, ds, ImportanceOptions{Predictions: true})
		if kind == head.Regression {
			if err == nil || !strings.Contains(err.Error(), "Predictions: true, expected false for a regression") {
				t.Errorf("%s: %v", kind, err)
			}
		} else if err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
	m, ds := asked(t, head.MaskedLM)
	if _, err := Importance(ctx, m, ds, ImportanceOptions{}); err == nil || !strings.Contains(err.Error(), "masked_lm depends on the masks") {
		t.Error(fmt.Sprint(err))
	}
	if _, err := Importance(ctx, m, nil, ImportanceOptions{Method: Magnitude}); err != nil {
		t.Error(err)
	}
}
