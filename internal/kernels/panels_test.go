package kernels

import (
	"math/rand/v2"
	"testing"
)

func TestPackLayout(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 3))
	for _, level := range Available() {
		restore := Use(level)
		for _, size := range [][2]int{{1, 1}, {7, 16}, {8, 16}, {9, 33}, {40, 50}, {23, 150}, {5, 0}, {0, 5}} {
			k, n := size[0], size[1]
			d := randomFloats(rng, (k+3)*(n+3))
			for name, v := range map[string]ViewF32{
				"row-major":  RowMajor(d, n+1),
				"transposed": Transposed(d, k+1),
				"strided":    {Data: randomFloats(rng, 3*(k+1)*(n+1)), RowStride: 3 * (n + 1), ColStride: 3},
			} {
				p := PanelsF32{Data: randomFloats(rng, 4000)} // leftovers of an earlier use
				p.Pack(v, k, n)
				for i, x := range p.Data {
					panel, row, col := i/(k*Lanes), i/Lanes%k, i%Lanes
					var want float32
					if j := panel*Lanes + col; j < n {
						want = v.at(row, j)
					}
					if x != want {
						t.Fatalf("%v, %s %dx%d: element %d is %g, want %g", level, name, k, n, i, x, want)
					}
				}
			}
		}
		restore()
	}
}

func TestPackI8Layout(t *testing.T) {
	t.Parallel()
	for _, size := range [][2]int{{1, 1}, {4, 16}, {7, 33}, {30, 15}, {64, 16}, {70, 20}} {
		k, n := size[0], size[1]
		q, scale := make([]int8, k*n), make([]float32, n)
		for i := range q {
			q[i] = int8(i*31%255 - 127)
		}
		for i := range scale {
			scale[i] = float32(i + 1)
		}
		p := PanelsI8{Data: make([]uint8, 9000), Scale: []float32{9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9}}
		p.Pack(q, scale, k, n)
		k64 := (k + 63) / 64 * 64
		if len(p.Data) != p.Panels()*k64*Lanes || len(p.Scale) != p.Panels()*Lanes {
			t.Fatalf("%dx%d: %d bytes and %d scales", k, n, len(p.Data), len(p.Scale))
		}
		for i, x := range p.Data {
			u := packedGroup()
			panel, row, col := i/(k64*Lanes), i%(k64*Lanes)/(16*u)*u+i%u, i%(16*u)/u
			want := uint8(zeroI8)
			if j := panel*Lanes + col; j < n && row < k {
				want = uint8(q[j*k+row]) ^ zeroI8
			}
			if x != want {
				t.Fatalf("%dx%d: byte %d is %d, want %d", k, n, i, x, want)
			}
		}
		for j, s := range p.Scale {
			want := float32(0)
			if j < n {
				want = scale[j]
			}
			if s != want {
				t.Fatalf("%dx%d: scale %d is %g, want %g", k, n, j, s, want)
			}
		}
	}
}
