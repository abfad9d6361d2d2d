package exact

import (
	"hash/fnv"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/cpu"
)

// functions are those of the package, beside those of package math, and what they
// are asked for.
var functions = []struct {
	name      string
	got, want func(float64) float64
	arguments func(r *rand.Rand) float64
	special   []float64
	hash      uint64 // of the bits of the results
}{
	{"Exp", Exp, math.Exp, within(-746, 710), []float64{0, math.Copysign(0, -1), -1e300, 1e300, 709.7827, -745.13, -745.14, -708.4,
		math.Inf(1), math.Inf(-1), math.NaN(), 1e-20, -0x1p-1074, 1 - 1e-16}, 0x42b2976a6fff5ef3},
	{"Exp of small arguments", Exp, math.Exp, within(-30, 1), nil, 0xa37260729292d6b},
	{"Log", Log, math.Log, positive, []float64{0, -1, 1, math.Inf(1), math.NaN(), math.Sqrt2 / 2, 0x1p-1074, 0x1p-1022}, 0x9ed74b1ecb06d443},
	{"Log of small arguments", Log, math.Log, within(0, 4), nil, 0x3e96a26700daf2db},
	{"Log1p", Log1p, math.Log1p, positive, []float64{0, -1, -2, math.Inf(1), math.NaN(), 0x1p-29, -0x1p-30, 0x1p-60, 0x1p53, 1, 3, 7}, 0xfd8cfbef22295307},
	{"Log1p of small arguments", Log1p, math.Log1p, within(-1, 3), nil, 0xa6cc0f713c9a3d34},
	{"Log2", Log2, math.Log2, positive, []float64{1, 2, 0.5, 3}, 0xa8cb49d2940c1ba7},
	{"Log10", Log10, math.Log10, positive, []float64{1, 10, 1000}, 0x43f007f346e7278e},
	{"Sin", Sin, math.Sin, within(-1e4, 1e4), []float64{0, math.Copysign(0, -1), math.Pi, math.Pi / 4}, 0x54c66da6ecb4def5},
	{"Cos", Cos, math.Cos, within(-1e4, 1e4), []float64{0, math.Pi, math.Pi / 2}, 0x2262e7fec18a94a0},
	{"Cos of half a turn", Cos, math.Cos, within(0, math.Pi), nil, 0x494be7586cacd29b},
	{"Pow", func(x float64) float64 { return Pow(10000, x) }, func(x float64) float64 { return math.Pow(10000, x) }, within(-1, 1), []float64{0, 0.5, -0.5, 1, -1}, 0xffe41b8348267e84},
	{"Pow of fractions", func(x float64) float64 { return Pow(x, 17) }, func(x float64) float64 { return math.Pow(x, 17) }, within(0, 1), nil, 0x9f97584e2a737ae},
}

func within(low, high float64) func(r *rand.Rand) float64 {
	return func(r *rand.Rand) float64 { return low + float64((high-low)*r.Float64()) }
}

func positive(r *rand.Rand) float64 { return math.Float64frombits(r.Uint64N(0x7FF << 52)) }

// TestBits holds the results to bits that are pinned: they are the same on every
// architecture. On amd64 they are also those of package math, but for NaN.
func TestBits(t *testing.T) {
	for _, f := range functions {
		t.Run(f.name, func(t *testing.T) {
			r, h := rand.New(rand.NewPCG(1, 2)), fnv.New64a()
			for i := range 20000 + len(f.special) {
				var x float64
				if i < len(f.special) {
					x = f.special[i]
				} else {
					x = f.arguments(r)
				}
				got := f.got(x)
				if runtime.GOARCH == "amd64" && cpu.X86.HasFMA {
					if want := f.want(x); math.Float64bits(got) != math.Float64bits(want) && got == got {
						t.Fatalf("f(%v) = %v (%x), math has %v (%x)", x, got, math.Float64bits(got), want, math.Float64bits(want))
					}
				}
				if got != got {
					got = math.Inf(1)
				}
				b := math.Float64bits(got)
				h.Write([]byte{byte(b), byte(b >> 8), byte(b >> 16), byte(b >> 24), byte(b >> 32), byte(b >> 40), byte(b >> 48), byte(b >> 56)})
			}
			if h.Sum64() != f.hash {
				t.Errorf("the results have the hash %#x, want %#x", h.Sum64(), f.hash)
			}
		})
	}
}

// TestMathIsLeftAlone finds the code that decides results by a function of package
// math that has other bits elsewhere.
func TestMathIsLeftAlone(t *testing.T) {
	differs := regexp.MustCompile(`\bmath\.(A?(Sin|Cos|Tan)h?|Atan2|Cbrt|Erfc?|Exp2?|Expm1|J0|Log|Log10|Log1p|Log2|Pow|Sincos|L?gamma)\(`)
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := filepath.ToSlash(strings.TrimPrefix(path, filepath.Join("..", "..")+string(filepath.Separator)))
		switch {
		case d.IsDir() && slices.Contains([]string{".git", "beam", "examples", "internal/exact", "internal/gradcheck", "internal/kernels/_asm"}, name):
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for i, line := range strings.Split(string(text), "\n") {
			if call := differs.FindString(line); call != "" {
				t.Errorf("%s:%d calls %s...): take internal/exact", name, i+1, call)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestNormalIsNormFloat64(t *testing.T) {
	const want = 0x94ee4a1dcf432c08
	a, b := rand.New(rand.NewPCG(3, 4)), rand.New(rand.NewPCG(3, 4))
	var sum uint64
	for i := range 300000 {
		got := Normal(a)
		if runtime.GOARCH == "amd64" && cpu.X86.HasFMA {
			if want := b.NormFloat64(); got != want {
				t.Fatalf("number %d is %v, want %v", i, got, want)
			}
		}
		sum = sum*0x9E3779B97F4A7C15 + math.Float64bits(got)
	}
	if sum != want {
		t.Errorf("the numbers have the hash %#x, want %#x", sum, uint64(want))
	}
}
