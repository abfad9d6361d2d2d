package kernels

import (
	"math"

	"github.com/skive-ml/skive/internal/team"
)

// PanelsBF16 is a packed right-hand matrix of K rows and N columns in bfloat16. Its panels have
// 16 columns. Element (q, j), Data[(j/16)*P*16+q*16+j%16], has row 2q of column j in its lower
// half and row 2q+1 in its upper half. P is Pairs() rounded up to a multiple of 16, which is a
// tile of AMX. Everything beyond the matrix is zero. The layout is the same at every level.
type PanelsBF16 struct {
	K, N int
	Data []uint32
}

// Panels returns the number of panels.
func (p *PanelsBF16) Panels() int { return ceilDiv(p.N, Lanes) }

// Pairs returns the number of pairs of rows.
func (p *PanelsBF16) Pairs() int { return ceilDiv(p.K, 2) }

// stride returns the pairs of one panel.
func (p *PanelsBF16) stride() int { return p.tiles() * tilePairs * Lanes }

// tiles returns the number of tiles that the pairs of a column fill.
func (p *PanelsBF16) tiles() int { return ceilDiv(p.Pairs(), tilePairs) }

// tilePairs is the number of pairs in a row of a tile.
const tilePairs = tileBytes / 4

// Pack packs the k×n matrix b and rounds its elements as F32ToBF16 does. It reuses Data's
// capacity.
func (p *PanelsBF16) Pack(b ViewF32, k, n int) { ParallelPackBF16(nil, p, b, k, n) }

// ParallelPackBF16 is p.Pack(b, k, n) by the workers of t.
func ParallelPackBF16(t *team.Team, p *PanelsBF16, b ViewF32, k, n int) {
	b.check(k, n)
	p.K, p.N = k, n
	panels := p.Panels()
	p.Data = growAligned(p.Data, panels*p.stride())
	if k == 0 {
		return
	}
	if t == nil || t.Workers() == 1 || k*n < 1<<13 {
		packPanelsBF16(p, b, 0, panels)
		return
	}
	parts := min(panels, 4*t.Workers())
	t.Run(parts, func(_, part int) {
		packPanelsBF16(p, b, part*panels/parts, (part+1)*panels/parts)
	})
}

// packPairsGeneric sets dst[q*16+j] to b's elements (2q, col+j) and (2q+1,
// col+j) for 2q < k and j < n, and the rest of dst to zero.
func packPairsGeneric(dst []uint32, b ViewF32, k, col, n int) {
	for q := range ceilDiv(k, 2) {
		row := dst[q*Lanes:][:Lanes]
		for j := range n {
			row[j] = b.pair(q, col+j, k)
		}
		clear(row[n:])
	}
	clear(dst[ceilDiv(k, 2)*Lanes:])
}

// pair returns the elements (2q, j) and (2q+1, j), rounded to bfloat16, of a
// matrix of k rows.
func (v ViewF32) pair(q, j, k int) uint32 {
	x := uint32(roundBF16(v.at(2*q, j)))
	if 2*q+1 < k {
		x |= uint32(roundBF16(v.at(2*q+1, j))) << 16
	}
	return x
}

// GemmBF16 is GemmF32 with the elements of a and b rounded to bfloat16, and their products added
// up in float32 as by VDPBF16PS: each element of A·B is one chain of fused multiply-adds over k =
// 1, 0, 3, 2, 5, 4, ..., where a missing last k counts as zero.
//
// With AMX they are added up as by TDPBF16PS. 32 elements of k make two chains that begin with
// zero, k = 1, 3, ... and k = 0, 2, .... Their sum is added to that of the 32 before; missing
// elements at the end count as zero. Subnormal operands and sums count as zeros of their sign.
func GemmBF16(m int, a ViewF32, b *PanelsBF16, panelLo, panelHi int, c []float32, ldc int, ep Epilogue, s *Scratch) {
	n := min(panelHi*Lanes, b.N)
	a.check(m, b.K)
	ep.check(m, n, c, ldc)
	if m <= 0 || panelLo >= panelHi {
		return
	}
	if active == 0 || b.K == 0 {
		gemmBF16Generic(m, a, b, panelLo, panelHi, c, ldc, &ep, s)
		ep.finish(m, panelLo*Lanes, n, c, ldc)
		return
	}
	gemmBF16(m, a, b, panelLo, panelHi, c, ldc, &ep, s)
}

// ParallelGemmBF16 is GemmBF16 over all panels of b, on the workers of t. Each worker uses its
// own element of s. The result does not depend on their number.
func ParallelGemmBF16(t *team.Team, m int, a ViewF32, b *PanelsBF16, c []float32, ldc int, ep Epilogue, s []Scratch) {
	if t == nil || t.Workers() == 1 || m*b.N*b.K < 1<<15 {
		GemmBF16(m, a, b, 0, b.Panels(), c, ldc, ep, &s[0])
		return
	}
	a.check(m, b.K)
	ep.check(m, b.N, c, ldc)
	s[0].parallel(t, gemmJob{m: m, n: b.N, a: a, bf16: b, c: c, ldc: ldc, ep: ep, s: s})
}

// gemmBF16Generic is the definition of GemmBF16 up to the activation: for each
// row i and column j of the panels [lo, hi)
//
//	acc = 0, or c[i][j] with Accumulate
//	acc = fmaFlushed(a[i][2q+1], b[2q+1][j], acc)
//	acc = fmaFlushed(a[i][2q], b[2q][j], acc)      for q = 0, 1, ...
//	c[i][j] = acc + bias[j]                        or acc, when there is no bias
//
// or, for the sums of tiles,
//
//	odd = fmaFlushed(a[i][2q+1], b[2q+1][j], odd)
//	even = fmaFlushed(a[i][2q], b[2q][j], even)
//	acc = acc + (even + odd), flushed               after each 16 q and the last, whereupon even = odd = 0
func gemmBF16Generic(m int, a ViewF32, b *PanelsBF16, lo, hi int, c []float32, ldc int, ep *Epilogue, s *Scratch) {
	var acc [Lanes]float32
	pairs := b.Pairs()
	s.pairs = grow(s.pairs, pairs)
	for i := range m {
		for q := range s.pairs {
			s.pairs[q] = a.T().pair(q, i, b.K)
		}
		for panel := lo; panel < hi; panel++ {
			col := panel * Lanes
			n := min(Lanes, b.N-col)
			data := b.Data[panel*b.stride():][:b.stride()]
			out := c[i*ldc+col:][:n]
			clear(acc[:])
			if ep.Accumulate {
				copy(acc[:], out)
			}
			if tileSums {
				addTiles(acc[:n], s.pairs, data)
			} else {
				addPairs(acc[:n], s.pairs, data)
			}
			if ep.Bias != nil {
				for j, y := range ep.Bias[col : col+n] {
					acc[j] += y
				}
			}
			copy(out, acc[:])
		}
	}
}

// addPairs adds to acc the products of a row's pairs with the columns of a panel,
// as VDPBF16PS does it.
func addPairs(acc []float32, row, panel []uint32) {
	for q, x := range row {
		for j, y := range panel[q*Lanes:][:len(acc)] {
			odd := fmaFlushed(upper(x), upper(y), acc[j])
			acc[j] = fmaFlushed(upper(x<<16), upper(y<<16), odd)
		}
	}
}

// addTiles is addPairs as TDPBF16PS does it.
func addTiles(acc []float32, row, panel []uint32) {
	for at := 0; at < len(row); at += tilePairs {
		for j := range acc {
			var even, odd float32
			for q := at; q < at+tilePairs; q++ {
				x, y := uint32(0), panel[q*Lanes+j]
				if q < len(row) {
					x = row[q]
				}
				odd = fmaFlushed(upper(x), upper(y), odd)
				even = fmaFlushed(upper(x<<16), upper(y<<16), even)
			}
			acc[j] = fmaFlushed(1, acc[j], fmaFlushed(1, even, odd))
		}
	}
}

// upper returns the bfloat16 in the upper half of x.
func upper(x uint32) float32 { return math.Float32frombits(x &^ 0xFFFF) }

// flushed returns x, or a zero of its sign if it is subnormal.
func flushed(x float32) float32 {
	if b := math.Float32bits(x); b&0x7F800000 == 0 {
		return math.Float32frombits(b & (1 << 31))
	}
	return x
}

// fmaFlushed is fma32 of two bfloat16 and a float32, where subnormal numbers count as zero. On
// x86 a result is subnormal if it would be below 2^-126 after rounding with an exponent of any
// size, on Arm if it is so before rounding. Chains that come near that limit differ there.
func fmaFlushed(a, b, c float32) float32 {
	a, b, c = flushed(a), flushed(b), flushed(c)
	p, q := float64(float64(a)*float64(b)), float64(c)
	s := p + q
	var tiny bool
	switch magnitude := math.Abs(s); {
	case tinyAfterRounding:
		// Near the limit the sum is exact, because no operand has bits below 2^-168 then.
		tiny = magnitude < 0x1p-126-0x1p-151
	case magnitude == 0x1p-126:
		e := restOfSum(p, q, s)
		tiny = e != 0 && (e > 0) != (s > 0)
	default:
		tiny = magnitude < 0x1p-126
	}
	if tiny {
		return float32(math.Copysign(0, s))
	}
	return fma32(a, b, c)
}
