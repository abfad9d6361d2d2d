package kernels

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
)

// bigFMA is a*b + c rounded once, by exact arithmetic.
func bigFMA(a, b, c float32) float32 {
	p := float64(a) * float64(b) // exact
	if math.IsNaN(p+float64(c)) || math.IsInf(p+float64(c), 0) || p == 0 {
		return float32(p + float64(c))
	}
	x := new(big.Float).SetPrec(800).SetFloat64(p)
	x.Add(x, new(big.Float).SetPrec(800).SetFloat64(float64(c)))
	if x.Sign() == 0 {
		return float32(p + float64(c))
	}
	r, _ := x.Float32()
	return r
}

func TestFMA32IsCorrectlyRounded(t *testing.T) {
	t.Parallel()
	special := []float32{
		0, float32(math.Copysign(0, -1)), 1, -1, 1 + 0x1p-23, 1 - 0x1p-24, 0x1p-126, 0x1p-149, -0x1p-149, 0x1p-125,
		3 * 0x1p-149, 0x1p-74, 0x1p-75, math.MaxFloat32, -math.MaxFloat32, float32(math.Inf(1)), float32(math.Inf(-1)),
		float32(math.NaN()), 0x1p-24, 0x1p64, 0x1p63, 0x1.fffffep-127, 0x1.000002p-1, 0x1.000001p0,
	}
	same := func(a, b, c float32) {
		t.Helper()
		got, want := fma32(a, b, c), bigFMA(a, b, c)
		if math.Float32bits(got) != math.Float32bits(want) && !(got != got && want != want) {
			t.Fatalf("fma32(%x, %x, %x) = %x, want %x", a, b, c, got, want)
		}
	}
	for _, a := range special {
		for _, b := range special {
			for _, c := range special {
				same(a, b, c)
			}
		}
	}
	rng := rand.New(rand.NewPCG(1, 2))
	float := func(spread int) float32 {
		return float32(math.Ldexp(1+float64(rng.Uint32N(1<<23))*0x1p-23, rng.IntN(2*spread+1)-spread)) * float32(1-2*rng.IntN(2))
	}
	for range 300_000 {
		same(float(20), float(20), float(40)) // sums of all alignments
		same(float(60)*0x1p-40, float(40)*0x1p-40, float(10)*0x1p-130)
		// Products that end in the middle of a float, and something tiny.
		same(1+float32(rng.IntN(1<<12))*0x1p-12, 1+float32(1+2*rng.IntN(1<<11))*0x1p-12, float(10)*0x1p-70)
		same(math.Float32frombits(rng.Uint32()), math.Float32frombits(rng.Uint32()), math.Float32frombits(rng.Uint32()))
	}
}

func FuzzFMA32(f *testing.F) {
	f.Add(float32(1), float32(2), float32(3))
	f.Fuzz(func(t *testing.T, a, b, c float32) {
		got, want := fma32(a, b, c), bigFMA(a, b, c)
		if math.Float32bits(got) != math.Float32bits(want) && !(got != got && want != want) {
			t.Fatalf("fma32(%x, %x, %x) = %x, want %x", a, b, c, got, want)
		}
	})
}
