package exact

import (
	"math"
	"math/rand/v2"
	"sync"
)

// ziggurat holds 128 layers of equal area under the bell curve (Marsaglia and Tsang, "The
// Ziggurat Method for Generating Random Variables", 2000).
type ziggurat struct {
	inner  [128]uint32  // below this, an integer of 31 bits is also under the next layer
	width  [128]float32 // width of one unit of such an integer
	height [128]float32
}

const zigguratEdge = 3.442619855899

var zigguratLayers = sync.OnceValue(func() *ziggurat {
	const area, unit = 9.91256303526217e-3, 1 << 31
	curve := func(x float64) float64 { return Exp(-0.5 * x * x) }
	var z ziggurat
	x, next := zigguratEdge, zigguratEdge
	base := area / curve(x)
	z.inner[0], z.width[0], z.height[0] = uint32(x/base*unit), float32(base/unit), 1
	z.width[127], z.height[127] = float32(x/unit), float32(curve(x))
	for i := 126; i >= 1; i-- {
		x = math.Sqrt(-2 * Log(area/x+curve(x)))
		z.inner[i+1], next = uint32(x/next*unit), x
		z.width[i], z.height[i] = float32(x/unit), float32(curve(x))
	}
	return &z
})

// Normal returns a number of the standard normal distribution. It draws the same as
// r.NormFloat64, whose results differ by architecture.
func Normal(r *rand.Rand) float64 {
	z := zigguratLayers()
	for {
		u := r.Uint64()
		j, i := int32(u), u>>32&0x7F
		x := float64(j) * float64(z.width[i])
		if uint32(max(j, -j)) < z.inner[i] {
			return x
		}
		if i == 0 {
			for {
				x = float64(-Log(r.Float64()) * (1 / zigguratEdge))
				if y := -Log(r.Float64()); y+y >= float64(x*x) {
					break
				}
			}
			return math.Copysign(zigguratEdge+x, float64(j))
		}
		if z.height[i]+float32(float32(r.Float64())*(z.height[i-1]-z.height[i])) < float32(Exp(float64(-0.5*x)*x)) {
			return x
		}
	}
}
