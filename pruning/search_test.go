package pruning

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
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

func TestFLOPsOfBERTBase(t *testing.T) {
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

// Pooling makes a curve of noisy times that ascends.
func TestAscending(t *testing.T) {
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
	fit, err := SearchLatency(ctx, m, s, costs, Target{Speedup: 1.2}, o)
	if err != nil {
		t.Fatal(err)
	}
	if err := fit.Masks.check(cfg); err != nil || fit.Before <= 0 || fit.After <= 0 {
		t.Errorf("masks %v, %g ms of %g, error %v", fit.Masks, fit.After, fit.Before, err)
	}
	if _, err := SearchLatency(ctx, m, s, costs, Target{Milliseconds: 1e-6}, o); !errors.Is(err, ErrBudget) {
		t.Errorf("an impossible target: error %v", err)
	}
	if _, err := SearchLatency(ctx, m, s, costs, Target{}, o); err == nil {
		t.Error("no target: no error")
	}
	o.Tokens = 17
	if _, err := MeasureCosts(ctx, cfg, o); err == nil {
		t.Error("a sequence beyond the model's positions: no error")
	}
}
