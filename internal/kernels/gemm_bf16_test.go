package kernels

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/skive-ml/skive/internal/team"
)

func TestGemmBF16LevelsAgree(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		list := products()
		for m := 1; m <= 3; m++ { // four panels at a time, and deep enough to be cut
			list = append(list, product{m: m, n: 80, k: 1601, bias: true}, product{m: m, n: 70, k: 7, transA: true, transB: true, special: true})
		}
		for i, p := range append(list,
			product{m: 20, n: 48, k: 1700, transA: true, ld: 2},
			product{m: 260, n: 33, k: 37, transA: true, transB: true}) {
			p.checkBF16(t, uint64(i))
		}
	})
}

// subnormals are numbers whose products and sums come to lie about the least
// normal number.
func subnormals(rng *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		v := float32(math.Ldexp(1+float64(rng.IntN(256))/256, -63-rng.IntN(3))) * float32(1-2*rng.IntN(2))
		switch rng.IntN(8) {
		case 0:
			v = math.Float32frombits(rng.Uint32N(1<<23) | rng.Uint32N(2)<<31)
		case 1:
			v = math.Float32frombits(0x7F0000 | rng.Uint32N(1<<17)) // about 2^-126
		}
		x[i] = v
	}
	return x
}

func TestGemmBF16TakesSubnormalNumbersForZero(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		for seed := range uint64(20) {
			rng := rand.New(rand.NewPCG(seed, 5))
			const m, n, k = 9, 49, 15
			a, b, c := subnormals(rng, m*k), subnormals(rng, n*k), subnormals(rng, m*n)
			for i, x := range subnormals(rng, m*n) {
				c[i] *= x
			}
			run := func(add bool) []float32 {
				var p PanelsBF16
				var s Scratch
				p.Pack(Transposed(b, k), k, n)
				out := slices.Clone(c)
				GemmBF16(m, RowMajor(a, k), &p, 0, p.Panels(), out, n, Epilogue{Accumulate: add}, &s)
				return out
			}
			for _, add := range []bool{false, true} {
				got := run(add)
				restore := UseDefinition(Current())
				want := run(add)
				restore()
				if i := diffAt(got, want); i >= 0 {
					t.Fatalf("seed %d, added %t: element %d is %x, want %x", seed, add, i, got[i], want[i])
				}
				zeros := 0
				for _, x := range got {
					if x != 0 && math.Abs(float64(x)) < 0x1p-126 {
						t.Fatalf("a subnormal result: %x", x)
					}
					if x == 0 {
						zeros++
					}
				}
				if zeros == 0 || zeros == len(got) {
					t.Fatalf("%d of %d results are zero: this tests nothing", zeros, len(got))
				}
			}
		}
		// The kernel leaves the processor as it was: subnormal numbers exist.
		tiny := []float32{0x1p-140}
		if Scale(tiny, 0.5, tiny); tiny[0] != 0x1p-141 {
			t.Errorf("after a product, 2^-140 / 2 is %x", tiny[0])
		}
	})
}

// The definition by plain float64 arithmetic: the factors are rounded to 8 bits,
// and the sums to 24.
func TestGemmBF16IsTheProductOfTheRounded(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(3, 4))
	const m, n, k = 11, 37, 129
	x, w, bias := randomFloats(rng, m*k), randomFloats(rng, n*k), randomFloats(rng, n)
	var b PanelsBF16
	b.Pack(Transposed(w, k), k, n)
	c := make([]float32, m*n)
	var s Scratch
	GemmBF16(m, RowMajor(x, k), &b, 0, b.Panels(), c, n, Epilogue{Bias: bias}, &s)
	rounded := func(v float32) float64 {
		fraction, exponent := math.Frexp(float64(v))
		return math.Ldexp(math.RoundToEven(fraction*256)/256, exponent)
	}
	for i := range m {
		for j := range n {
			want, size := float64(bias[j]), math.Abs(float64(bias[j]))
			for p := range k {
				product := rounded(x[i*k+p]) * rounded(w[j*k+p])
				want += product
				size += math.Abs(product)
			}
			// k+1 roundings of partial sums, none larger than the sum of magnitudes.
			if math.Abs(float64(c[i*n+j])-want) > (k+1)*0x1p-24*size {
				t.Fatalf("c[%d][%d] = %g, want %g", i, j, c[i*n+j], want)
			}
		}
	}
}

func TestPackBF16Layout(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 3))
	for _, level := range Available() {
		restore := Use(level)
		for _, size := range [][2]int{{1, 1}, {7, 16}, {16, 16}, {19, 33}, {40, 50}, {301, 40}, {5, 0}, {0, 5}} {
			k, n := size[0], size[1]
			d := randomFloats(rng, (k+3)*(n+3))
			for i := range d {
				if i%17 == 0 {
					d[i] = math.Float32frombits(rng.Uint32())
				}
			}
			for name, v := range map[string]ViewF32{
				"row-major":  RowMajor(d, n+1),
				"transposed": Transposed(d, k+1),
				"strided":    {Data: randomFloats(rng, 3*(k+1)*(n+1)), RowStride: 3 * (n + 1), ColStride: 3},
			} {
				p := PanelsBF16{Data: make([]uint32, 4000)}
				for i := range p.Data {
					p.Data[i] = rng.Uint32() // leftovers of an earlier use
				}
				p.Pack(v, k, n)
				pairs := (k + 31) / 32 * 16
				for i, got := range p.Data {
					row, column := i/Lanes%pairs*2, i/(pairs*Lanes)*Lanes+i%Lanes
					var want [2]uint16
					for h := range want {
						if row+h < k && column < n {
							F32ToBF16(want[h:h+1], []float32{v.at(row+h, column)})
						}
					}
					if got != uint32(want[0])|uint32(want[1])<<16 {
						t.Fatalf("%v, %s %dx%d: element %d is %x, want %x", level, name, k, n, i, got, want)
					}
				}
			}
		}
		restore()
	}
}

func TestParallelGemmBF16DoesNotDependOnWorkers(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(7, 8))
	for _, p := range []product{{m: 100, n: 40, k: 33}, {m: 3, n: 700, k: 70}, {m: 33, n: 200, k: 64}} {
		x, w := randomFloats(rng, p.m*p.k), randomFloats(rng, p.n*p.k)
		var want []float32
		for workers := 1; workers <= 4; workers++ {
			tm := team.New(workers)
			s := make([]Scratch, workers)
			var b PanelsBF16
			ParallelPackBF16(tm, &b, Transposed(w, p.k), p.k, p.n)
			got := make([]float32, p.m*p.n)
			ParallelGemmBF16(tm, p.m, RowMajor(x, p.k), &b, got, p.n, Epilogue{Activation: GELU}, s)
			tm.Close()
			if want == nil {
				want = got
			}
			if diffAt(got, want) >= 0 {
				t.Errorf("%+v: %d workers give other results", p, workers)
			}
		}
	}
}
