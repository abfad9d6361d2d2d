package evaluate

import (
	"math"
	"slices"
	"testing"

	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/internal/golden"
)

func TestMasks(t *testing.T) {
	t.Parallel()
	m, err := NewMasker(golden.Model(t))
	if err != nil {
		t.Fatal(err)
	}
	b := &data.Batch{Offsets: []int32{0}}
	for s := range 200 {
		b.IDs = append(b.IDs, 2)
		for i := range 100 {
			b.IDs = append(b.IDs, int32(5+(s+i)%95))
		}
		b.IDs = append(b.IDs, 3)
		b.Offsets, b.Index = append(b.Offsets, int32(len(b.IDs))), append(b.Index, int32(s))
	}
	apply := func(b *data.Batch, seed, step uint64) (rows, ids []int32) {
		if err := m.Mask(b, seed, step); err != nil {
			t.Fatal(err)
		}
		return slices.Clone(m.Rows), slices.Clone(m.IDs)
	}
	rows, ids := apply(b, 1, 1)
	hidden, kept := 0, 0
	for i, row := range rows {
		if was := b.IDs[row]; was != m.Labels[i] || was < 5 {
			t.Fatalf("token %d was %d, the label is %d", row, was, m.Labels[i])
		}
		switch ids[row] {
		case m.mask:
			hidden++
		case b.IDs[row]:
			kept++
		}
	}
	n := float64(len(rows))
	if share := n / 20000; math.Abs(share-0.15) > 0.01 || math.Abs(float64(hidden)/n-0.8) > 0.03 || math.Abs(float64(kept)/n-0.1) > 0.025 {
		t.Errorf("%.3f of the tokens are chosen, %.3f of them hidden, %.3f kept", share, float64(hidden)/n, float64(kept)/n)
	}
	changed := 0
	for i := range ids {
		if ids[i] != b.IDs[i] {
			changed++
		}
	}
	if changed > len(rows)-kept {
		t.Error("a token was replaced that is not chosen")
	}
	if again, same := apply(b, 1, 1); !slices.Equal(rows, again) || !slices.Equal(ids, same) {
		t.Error("the same step masks otherwise")
	}
	for _, other := range [][2]uint64{{1, 2}, {2, 1}} {
		if again, _ := apply(b, other[0], other[1]); slices.Equal(rows, again) {
			t.Errorf("seed and step %v mask alike", other)
		}
	}
	// What is masked of an example does not depend on the batch.
	one := &data.Batch{IDs: b.IDs[102:204], Offsets: []int32{0, 102}, Index: []int32{1}}
	if _, alone := apply(one, 1, 1); !slices.Equal(alone, ids[102:204]) {
		t.Error("an example alone is masked otherwise")
	}
	// However short, a text has something to find; special tokens are nothing.
	short := &data.Batch{IDs: []int32{2, 7, 3}, Offsets: []int32{0, 3}, Index: []int32{0}}
	for step := range uint64(30) {
		if rows, _ := apply(short, 1, step); !slices.Equal(rows, []int32{1}) {
			t.Fatalf("step %d: %v", step, rows)
		}
	}
	if m.Mask(&data.Batch{IDs: []int32{2, 3}, Offsets: []int32{0, 2}, Index: []int32{0}}, 1, 1) == nil {
		t.Error("special tokens alone pass")
	}
}
