package autograd

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/skive-ml/skive/internal/gradcheck"
)

// Outputs and gradients are PyTorch's.
func TestGoldens(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("testdata/ops.json")
	check(t, err)
	var goldens map[string]struct {
		Inputs       [][]float32
		Output       []float64
		Coefficients []float32
		Gradients    [][]float64
	}
	check(t, json.Unmarshal(raw, &goldens))
	found := 0
	for _, c := range opCases {
		gold, ok := goldens[c.name]
		if !ok {
			continue
		}
		found++
		x := newInstance(t, c, 2)
		for i, v := range gold.Inputs {
			copy(x.values[i], v)
		}
		copy(x.coefficients, gold.Coefficients)
		check(t, x.session.Run())
		if e := gradcheck.RelativeError(x.session.Value(x.output), gold.Output); e > 1e-4 {
			t.Errorf("%s: output differs by %.1e of its largest element", c.name, e)
		}
		for i, want := range gold.Gradients {
			if want == nil {
				continue
			}
			if e := gradcheck.RelativeError(x.session.Gradient(x.nodes[i]), want); e > 1e-4 {
				t.Errorf("%s: gradient of %s differs by %.1e of its largest element", c.name, c.operands[i].name, e)
			}
		}
	}
	if found != len(goldens) {
		t.Errorf("%d operations of %d goldens", found, len(goldens))
	}
}
