package kernels

import (
	"encoding/binary"
	"math"
	"runtime"
	"unsafe"

	"github.com/skive-ml/skive/internal/team"
)

// PanelsF32 is a packed right-hand matrix of K rows and N columns. Its panels have 16 columns,
// padded with zeros. Element (p, j) is Data[(j/16)*K*16+p*16+j%16]. The layout is the same at
// every level.
type PanelsF32 struct {
	K, N int
	Data []float32
}

// Panels returns the number of panels.
func (p *PanelsF32) Panels() int { return ceilDiv(p.N, Lanes) }

// Pack packs the k×n matrix b, reusing Data's capacity. For a weight stored as [out][in], which
// is multiplied transposed, b is Transposed(w, in), k is in and n is out.
func (p *PanelsF32) Pack(b ViewF32, k, n int) {
	p.resize(b, k, n)
	p.pack(b, 0, p.Panels())
}

// ParallelPackF32 is p.Pack(b, k, n) on the workers of t.
func ParallelPackF32(t *team.Team, p *PanelsF32, b ViewF32, k, n int) {
	p.resize(b, k, n)
	panels := p.Panels()
	if t == nil || t.Workers() == 1 || k*n < 1<<13 {
		p.pack(b, 0, panels)
		return
	}
	parts := min(panels, 4*t.Workers())
	t.Run(parts, func(_, part int) {
		p.pack(b, part*panels/parts, (part+1)*panels/parts)
	})
}

func (p *PanelsF32) resize(b ViewF32, k, n int) {
	b.check(k, n)
	p.K, p.N = k, n
	p.Data = growAligned(p.Data, ceilDiv(n, Lanes)*k*Lanes)
}

// pack packs the panels [lo, hi).
func (p *PanelsF32) pack(b ViewF32, lo, hi int) {
	if p.K > 0 {
		packPanelsF32(p, b, lo, hi)
	}
}

// packPanelGeneric sets dst[p*16+j] to b's element (p, col+j) for p < k and
// j < n, and to zero for n <= j < 16.
func packPanelGeneric(dst []float32, b ViewF32, k, col, n int) {
	for p := range k {
		row := dst[p*Lanes:][:Lanes]
		at := p*b.RowStride + col*b.ColStride
		if b.ColStride == 1 {
			copy(row[:n], b.Data[at:])
		} else {
			for j := range n {
				row[j] = b.Data[at+j*b.ColStride]
			}
		}
		clear(row[n:])
	}
}

// PanelsI8 is a packed right-hand matrix of int8 weights with a scale for each column. Data holds
// w^zeroI8: on amd64 that is w+128, which is unsigned as VPDPBUSD needs it, and elsewhere w. A
// column's elements are in groups of u: four, or eight if there is SMMLA. Element (p, j) is
// Data[(j/16)*K64*16+(p/u)*16*u+(j%16)*u+p%u], where K64 is K rounded up to a multiple of 64, a
// tile of AMX. The padding is zeroI8, which stands for zero. Scale is padded with zeros to whole
// panels.
type PanelsI8 struct {
	K, N  int
	Data  []uint8
	Scale []float32
	group int // 4 or 8
}

// packedGroup returns the size of the groups that Pack makes.
func packedGroup() int {
	if runtime.GOARCH == "arm64" && active.has(i8mm) {
		return 8
	}
	return 4
}

// Panels returns the number of panels.
func (p *PanelsI8) Panels() int { return ceilDiv(p.N, Lanes) }

// stride returns the bytes of one panel.
func (p *PanelsI8) stride() int { return ceilDiv(p.K, tileBytes) * tileBytes * Lanes }

// multiplied tells whether the level in use has a kernel for the panels. Panels in groups of
// eight are only for SMMLA.
func (p *PanelsI8) multiplied() bool {
	return active != 0 && p.K > 0 && (p.group == 4 || p.group == packedGroup())
}

// Pack packs the weights q, stored as [n][k]; column j stands for q*scale[j]. It requires -127 <=
// q <= 127 and k <= MaxKI8.
func (p *PanelsI8) Pack(q []int8, scale []float32, k, n int) {
	if len(q) < k*n || len(scale) < n {
		panic("kernels: too few weights or scales")
	}
	if k > MaxKI8 {
		panic("kernels: the sums of so many products overflow 32 bits")
	}
	p.K, p.N = k, n
	panels := p.Panels()
	p.Data = growAligned(p.Data, panels*p.stride())
	p.Scale = grow(p.Scale, panels*Lanes)
	clear(p.Scale[copy(p.Scale, scale[:n]):])
	p.group = packedGroup()
	for i := range panels {
		dst := p.Data[i*p.stride():][:p.stride()]
		for j := range Lanes {
			var column []byte
			if c := i*Lanes + j; c < n && k > 0 {
				column = unsafe.Slice((*byte)(unsafe.Pointer(&q[c*k])), k)
			}
			at := p.group * j
			if p.group == 8 {
				for ; len(column) >= 8; column, at = column[8:], at+8*Lanes {
					binary.LittleEndian.PutUint64(dst[at:], binary.LittleEndian.Uint64(column)^zeroI8*0x0101010101010101)
				}
			} else {
				for ; len(column) >= 4; column, at = column[4:], at+4*Lanes {
					binary.LittleEndian.PutUint32(dst[at:], binary.LittleEndian.Uint32(column)^zeroI8*0x01010101)
				}
			}
			// This writes the rest of the column, and the padding.
			for ; at < len(dst); column, at = nil, at+p.group*Lanes {
				var last [8]byte
				copy(last[:], column)
				for i, w := range last[:p.group] {
					dst[at+i] = w ^ zeroI8
				}
			}
		}
	}
}

// MaxKI8 is the largest number of rows in a PanelsI8. With more, the sum of products of bytes
// could overflow an int32.
const MaxKI8 = (1<<31 - 1) / (255 * 128) / 4 * 4

// RowsI8 is a left-hand matrix of M rows and K columns, quantized row by row. Row i is Scale[i] *
// Data[i*Stride():][:K]. Its integers add up to Sum[i], and the rest of its Stride() bytes is
// zero.
type RowsI8 struct {
	M, K  int
	Data  []int8
	Scale []float32
	Sum   []int32
}

// Stride returns the distance between rows: K rounded up to a multiple of 64.
func (r *RowsI8) Stride() int { return ceilDiv(r.K, tileBytes) * tileBytes }

// Resize sets the size to m rows of k columns, reusing memory. The caller then has to set each
// row's integers, padding, scale and sum.
func (r *RowsI8) Resize(m, k int) {
	r.M, r.K = m, k
	r.Data = growAligned(r.Data, m*r.Stride())
	r.Scale = grow(r.Scale, m)
	r.Sum = grow(r.Sum, m)
}

// SetRow quantizes x, of K floats, into row i: with QuantizeRowStatic and the scale, or with
// QuantizeRow if the scale is 0. Different rows may be set at the same time.
func (r *RowsI8) SetRow(i int, x []float32, scale float32) {
	row := r.Data[i*r.Stride():][:r.Stride()]
	if scale == 0 {
		r.Scale[i], r.Sum[i] = QuantizeRow(row[:r.K], x[:r.K])
	} else {
		r.Scale[i], r.Sum[i] = scale, QuantizeRowStatic(row[:r.K], x[:r.K], scale)
	}
	clear(row[r.K:])
}

// SetAddLayerNorm is AddLayerNorm. It also quantizes the rows of dst into the rows from i on, as
// SetRow does, while they are in the cache.
func (r *RowsI8) SetAddLayerNorm(i int, dst, sum, x, residual, gamma, beta []float32, eps, scale float32) {
	sameLength(len(dst), len(sum), len(x), len(residual))
	sameLength(len(gamma), r.K)
	end := i + normalized(len(dst), gamma, beta, nil, nil)
	var s rowStats
	for n := 0; i < end; i += n {
		if scale == 0 {
			n = addLayerNormMax(end-i, dst, sum, x, residual, gamma, beta, eps, &s)
		} else {
			n = addLayerNorm(end-i, dst, sum, x, residual, gamma, beta, eps, &s)
		}
		for k := range n {
			v, row := dst[k*r.K:][:r.K], r.Data[(i+k)*r.Stride():][:r.Stride()]
			if scale == 0 {
				r.Scale[i+k], r.Sum[i+k] = quantizeRowTo(row[:r.K], v, math.Float32frombits(s.max[k]))
			} else {
				r.Scale[i+k], r.Sum[i+k] = scale, QuantizeRowStatic(row[:r.K], v, scale)
			}
			clear(row[r.K:])
		}
		size := n * r.K
		dst, sum, x, residual = dst[size:], sum[size:], x[size:], residual[size:]
	}
}

// Quantize sets r to the m×k matrix with rows in x, ld floats apart, each quantized as by SetRow.
// It reuses memory.
func (r *RowsI8) Quantize(x []float32, m, k, ld int, scale float32) {
	r.Resize(m, k)
	for i := range m {
		r.SetRow(i, x[i*ld:][:k], scale)
	}
}

// begin sets the size to m rows of k columns, which GemmI8Quantized fills.
func (r *RowsI8) begin(m, k int, scale float32) {
	r.Resize(m, k)
	for i := range m {
		r.Scale[i], r.Sum[i] = scale, 0
		clear(r.Data[i*r.Stride():][:r.Stride()][k:])
	}
}

// setColumns quantizes x into row i from a column on.
func (r *RowsI8) setColumns(i, column int, x []float32) {
	r.Sum[i] += QuantizeRowStatic(r.Data[i*r.Stride()+column:][:len(x)], x, r.Scale[i])
}
