package pruning

import (
	"cmp"
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/skive-ml/skive/checkpoints"
)

// randomScores draws scores of every head and unit.
func randomScores(cfg checkpoints.Config, seed uint64) *Scores {
	r := rand.New(rand.NewPCG(seed, 1))
	s := newScores(cfg)
	for l := range s.Heads {
		for _, part := range [][]float64{s.Heads[l], s.FFN[l]} {
			for i := range part {
				part[i] = r.ExpFloat64()
			}
		}
	}
	return s
}

// score is the sum of what masks keep.
func (s *Scores) kept(m Masks) float64 {
	var sum float64
	for l := range m.Heads {
		for _, h := range m.Heads[l] {
			sum += s.Heads[l][h]
		}
		for _, u := range m.FFN[l] {
			sum += s.FFN[l][u]
		}
	}
	return sum
}

// No choice of sizes within the budget keeps more than the search.
func TestSearchIsTheOptimum(t *testing.T) {
	t.Parallel()
	cfg := tiny(checkpoints.LayerSize{Heads: 3, Intermediate: 48}, checkpoints.LayerSize{Heads: 4, Intermediate: 40})
	s := randomScores(cfg, 1)
	flops := FLOPs(cfg, 10)
	steps := &Costs{
		Fixed: 3,
		Heads: []Curve{{{1, 0}, {2, 5}, {3, 5}}, {{1, 0}, {4, 2}}},
		FFN:   []Curve{{{16, 1}, {48, 9}}, {{16, 0}, {32, 0.5}, {40, 4}}},
	}
	for _, costs := range []*Costs{flops, steps} {
		least := []checkpoints.LayerSize{{Heads: 1, Intermediate: 16}, {Heads: 1, Intermediate: 16}}
		for _, share := range []float64{0, 0.2, 0.5, 0.8, 1} {
			budget := costs.Of(least) + share*(costs.Of(cfg.Layers)-costs.Of(least))
			m, err := Search(s, cfg, costs, budget)
			if err != nil {
				t.Fatal(err)
			}
			if got := costs.Of(m.sizes()); got > budget*(1+1e-12) {
				t.Errorf("cost %g, budget %g", got, budget)
			}
			best := 0.0
			for _, f0 := range []int{16, 32, 48} {
				for _, f1 := range []int{16, 32, 40} {
					for h0 := 1; h0 <= 3; h0++ {
						for h1 := 1; h1 <= 4; h1++ {
							sizes := []checkpoints.LayerSize{{Heads: h0, Intermediate: f0}, {Heads: h1, Intermediate: f1}}
							if costs.Of(sizes) > budget {
								continue
							}
							masks, err := SelectSizes(s, cfg, sizes)
							if err != nil {
								t.Fatal(err)
							}
							best = max(best, s.kept(masks))
						}
					}
				}
			}
			if got := s.kept(m); math.Abs(got-best) > 1e-9 {
				t.Errorf("budget %g: a score of %g is kept, the best choice keeps %g", budget, got, best)
			}
		}
	}
	if _, err := Search(s, cfg, steps, 3.9); !errors.Is(err, ErrBudget) {
		t.Errorf("below the smallest model: error %v", err)
	}
}

// What heads and units of the lowest joint scores are foreseen to cost is the
// estimate for dropping them together.
func TestJointScoresAddUp(t *testing.T) {
	t.Parallel()
	const examples, heads, units = 20, 4, 40
	r := rand.New(rand.NewPCG(5, 1))
	draw := func(n int) []float32 {
		all := make([]float32, examples*n)
		for i := range all {
			all[i] = float32(r.NormFloat64() * (1 + float64(i%n)))
		}
		return all
	}
	g := &Gradients{Heads: [][]float32{draw(heads)}, FFN: [][]float32{draw(units)}, Examples: examples}
	for i := range examples { // the last two cancel
		g.FFN[0][i*units+units-1] = -g.FFN[0][i*units+units-2]
	}
	s := g.Joint()
	for _, part := range []struct {
		scores    []float64
		gradients []float32
	}{{s.Heads[0], g.Heads[0]}, {s.FFN[0], g.FFN[0]}} {
		n := len(part.scores)
		order := firsts(n)
		slices.SortFunc(order, func(a, b int) int { return cmp.Compare(part.scores[a], part.scores[b]) })
		together := make([]float64, examples)
		foreseen := 0.0
		for k, i := range order {
			foreseen += part.scores[i]
			estimate := 0.0
			for e := range together {
				together[e] += float64(part.gradients[e*n+i])
				estimate += together[e] * together[e]
			}
			// Those that share what they add are known all at once.
			shared := k+1 < n && part.scores[order[k+1]]-part.scores[i] < 1e-9
			if part.scores[i] < 0 || !shared && math.Abs(foreseen-estimate) > 1e-4*(1+estimate) {
				t.Errorf("%d of %d dropped: a loss of %g is foreseen, the estimate is %g", k+1, n, foreseen, estimate)
			}
		}
	}
	if a, b := s.FFN[0][units-2], s.FFN[0][units-1]; a != b || a > g.Scores(Fisher).FFN[0][units-1]/2 {
		t.Errorf("two units that cancel score %g and %g", a, b)
	}
}

func TestFLOPsOfBERTBase(t *testing.T) {
	t.Parallel()
	cfg := tiny(slices.Repeat([]checkpoints.LayerSize{{Heads: 12, Intermediate: 3072}}, 2)...)
	cfg.HiddenSize, cfg.HeadDim = 768, 64
	c := FLOPs(cfg, 128)
	// A layer's products: 4·768² + 2·768·3072 weights for each token, and 2·768
	// for each pair of tokens.
	if got, want := c.Heads[0].At(12)+c.FFN[0].At(3072), 2.0*(128*(4*768*768+2*768*3072)+128*128*2*768); got != want {
		t.Errorf("a layer takes %g operations, want %g", got, want)
	}
	if got := c.FFN[1].At(1536); got != 2*2*768*1536 {
		t.Errorf("half of the last layer's units take %g operations", got)
	}
}

// On a machine where time is no multiple of the table's costs, what is found is
// within 5 % of every target that a model can meet.
func TestTheSearchApproachesATarget(t *testing.T) {
	t.Parallel()
	cfg := tiny(slices.Repeat([]checkpoints.LayerSize{{Heads: 12, Intermediate: 1536}}, 3)...)
	s, costs := randomScores(cfg, 3), FLOPs(cfg, 20)
	most := costs.Of(cfg.Layers)
	for name, clock := range map[string]func(share float64) float64{
		"proportional": func(x float64) float64 { return 4 * x },
		"overhead":     func(x float64) float64 { return 1 + 2*x },
		"caches":       func(x float64) float64 { return math.Pow(x, 1.7) + 0.1 },
		"steps":        func(x float64) float64 { return math.Ceil(x*40)/40 + 0.2 },
	} {
		measured := 0
		measure := func(m Masks) (*Fit, error) {
			measured++
			return &Fit{Masks: m, Before: clock(1), After: clock(costs.Of(m.sizes()) / most)}, nil
		}
		for _, speedup := range []float64{0.9, 1.04, 1.3, 2, 2.5} {
			measured = 0
			f, err := approach(s, cfg, costs, Target{Speedup: speedup}, measure)
			if err != nil {
				t.Errorf("%s, %g times: %v", name, speedup, err)
				continue
			}
			if got := f.Before / f.After; speedup > 1 && math.Abs(got/speedup-1) > tolerance || measured > trials+1 {
				t.Errorf("%s: %.3f times after %d measurements, want %g", name, got, measured, speedup)
			}
		}
		if _, err := approach(s, cfg, costs, Target{Speedup: 1e4}, measure); !errors.Is(err, ErrTarget) {
			t.Errorf("%s: 10,000 times the speed: error %v", name, err)
		}
	}
}

// Pooling makes a curve of noisy times that ascends.
func TestAscending(t *testing.T) {
	t.Parallel()
	got := ascending([]int{16, 32, 48, 64}, []float64{1, 3, 2, 5}, 2)
	want := Curve{{16, 0}, {32, 0.75}, {48, 0.75}, {64, 2}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("curve %v, want %v", got, want)
	}
	if got := want.At(56); got != 1.375 {
		t.Errorf("between the points %g, want 1.375", got)
	}
	if got := widths(1536, 16); len(got) != maxWidths || got[0] != 16 || got[len(got)-1] != 1536 {
		t.Errorf("widths %v", got)
	}
	if got := widths(3, 1); !slices.Equal(got, []int{1, 2, 3}) {
		t.Errorf("widths %v", got)
	}
}

// Measured costs are kept in a file; a search under them fits the target as far
// as the machine lets it.
func TestSearchLatency(t *testing.T) {
	layer := checkpoints.LayerSize{Heads: 4, Intermediate: 256}
	cfg := tiny(layer, layer, layer)
	cfg.HiddenSize, cfg.HeadDim = 64, 16
	o := MeasureOptions{Tokens: 16, Threads: 1, Duration: 20 * time.Millisecond}
	dir := filepath.Join(t.TempDir(), "cache")
	ctx := context.Background()
	costs, err := CachedCosts(ctx, cfg, o, dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := costs.check(cfg); err != nil {
		t.Fatal(err)
	}
	again, err := CachedCosts(ctx, cfg, o, dir)
	if err != nil || !reflect.DeepEqual(again, costs) {
		t.Errorf("the cached table differs, error %v", err)
	}
	files, _ := filepath.Glob(dir + "/costs-*.json")
	if len(files) != 1 {
		t.Fatalf("files %v, want one table", files)
	}
	if err := os.WriteFile(files[0], []byte("{"), 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := CachedCosts(ctx, cfg, o, dir); err != nil {
		t.Errorf("a damaged table: %v", err)
	}

	// Operations stand in for a table, whose noise is the machine's.
	costs = FLOPs(cfg, o.Tokens)
	m := checkpoints.InitBERT(cfg, 1)
	s := randomScores(cfg, 2)
	for name, target := range map[string]Target{
		"of itself": {Speedup: 1.2}, "of another": {Speedup: 1.2, Reference: m},
	} {
		fit, err := SearchLatency(ctx, m, s, costs, target, o)
		if err != nil {
			t.Fatal(err)
		}
		if err := fit.Masks.check(cfg); err != nil || fit.Before <= 0 || fit.After <= 0 {
			t.Errorf("%s: masks %v, %g ms of %g, error %v", name, fit.Masks, fit.After, fit.Before, err)
		}
	}
	relu := o
	relu.Activation = "relu"
	fit, err := SearchLatency(ctx, m, s, costs, Target{Milliseconds: 1e3}, relu)
	if err != nil || !slices.Equal(fit.Masks.sizes(), cfg.Layers) {
		t.Errorf("a target that the model meets: masks %v, error %v", fit, err)
	}
	if _, err := SearchLatency(ctx, m, s, costs, Target{Milliseconds: 1e-6}, o); !errors.Is(err, ErrTarget) {
		t.Errorf("an impossible target: error %v", err)
	}
	if err := Reachable(ctx, m, o, Target{Milliseconds: 1e3}, Target{Speedup: 1e3}); !errors.Is(err, ErrTarget) || !strings.Contains(err.Error(), "1000 times the speed") {
		t.Errorf("an impossible speed-up: error %v", err)
	}
	if gap, err := (Target{Milliseconds: 1e3}).Gap(ctx, m, o); err != nil || gap > 1 {
		t.Errorf("a gap of %g to what the model meets, error %v", gap, err)
	}
	if gap, err := (Target{Speedup: 3}).Gap(ctx, m, o); err != nil || gap < 1.5 || gap > 6 {
		t.Errorf("a gap of %g to three times its own speed, error %v", gap, err)
	}
	if _, err := SearchLatency(ctx, m, s, costs, Target{}, o); err == nil {
		t.Error("no target: no error")
	}
	o.Tokens = 17
	if _, err := MeasureCosts(ctx, cfg, o); err == nil {
		t.Error("a sequence beyond the model's positions: no error")
	}
}
