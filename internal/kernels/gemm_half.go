package kernels

// stripBytes is roughly the memory of the widened panels that GemmHalf multiplies at a time. They
// stay in the second-level cache while the rows pass.
const stripBytes = 192 << 10

// PanelsHalf is PanelsF32 with elements of half precision.
type PanelsHalf struct {
	K, N int
	Data []uint16
}

// Panels returns the number of panels.
func (p *PanelsHalf) Panels() int { return ceilDiv(p.N, Lanes) }

// Pack packs the k×n matrix b, whose elements are rounded half to even.
func (p *PanelsHalf) Pack(b ViewF32, k, n int) {
	var wide PanelsF32
	wide.Pack(b, k, n)
	p.K, p.N = k, n
	p.Data = make([]uint16, len(wide.Data))
	F32ToF16(p.Data, wide.Data)
}

// GemmHalf is GemmF32 with the elements of b widened. Widening is exact, so it reads half the
// memory for the same result.
func GemmHalf(m int, a ViewF32, b *PanelsHalf, panelLo, panelHi int, c []float32, ldc int, ep Epilogue, s *Scratch) {
	step := max(2, stripBytes/(4*Lanes*max(b.K, 1)))
	w := &s.widened
	for lo := panelLo; lo < panelHi; lo += step {
		hi := min(lo+step, panelHi)
		from := b.Data[lo*b.K*Lanes : hi*b.K*Lanes]
		col, n := lo*Lanes, min(hi*Lanes, b.N)
		w.K, w.N, w.Data = b.K, n-col, grow(w.Data, len(from))
		F16ToF32(w.Data, from)
		e := ep
		if ep.Bias != nil {
			e.Bias = ep.Bias[col:n]
		}
		if ep.PreActivation != nil {
			e.PreActivation = ep.PreActivation[col:]
		}
		GemmF32(m, a, w, 0, hi-lo, c[col:], ldc, e, s)
	}
}
