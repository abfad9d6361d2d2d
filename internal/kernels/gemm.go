package kernels

import "github.com/skive-ml/skive/internal/team"

// Epilogue says what happens to a product A·B before it is stored. For GemmF32 it is
//
//	z = (c + A·B) + bias, without c unless Accumulate, without bias when it is nil
//	c = activation(z)
//
// and for GemmI8
//
//	z = c + (A·B + bias), likewise.
type Epilogue struct {
	Bias          []float32  // one for each column of B, or nil
	Activation    Activation // applied to z
	PreActivation []float32  // if not nil, receives z; its rows are as far apart as those of c
	Accumulate    bool       // add to c
}

// finish applies the activation of ep to the columns [lo, hi) of m rows of c,
// which hold z.
func (ep *Epilogue) finish(m, lo, hi int, c []float32, ldc int) {
	if ep.Activation == Identity && ep.PreActivation == nil {
		return
	}
	for i := range m {
		row := c[i*ldc+lo : i*ldc+hi]
		if ep.PreActivation != nil {
			copy(ep.PreActivation[i*ldc+lo:i*ldc+hi], row)
		}
		if ep.Activation != Identity {
			Activate(ep.Activation, row, row)
		}
	}
}

// check panics if m rows of n columns do not fit the outputs or the bias.
func (ep *Epilogue) check(m, n int, c []float32, ldc int) {
	if m <= 0 || n <= 0 {
		return
	}
	if ldc < n && m > 1 {
		panic("kernels: rows of the output overlap")
	}
	last := (m-1)*ldc + n
	if len(c) < last || ep.PreActivation != nil && len(ep.PreActivation) < last {
		panic("kernels: output too short")
	}
	if ep.Bias != nil && len(ep.Bias) < n {
		panic("kernels: bias too short")
	}
}

// Scratch holds the buffers of one worker. Its zero value is ready for use. It grows to the
// largest product seen.
type Scratch struct {
	tile   []float32 // an output tile that the matrix's edge cuts off
	bias   []float32 // the bias of the last panel, padded
	packed []float32 // a block of the left-hand matrix
	wide   []int16   // the same, of 8-bit integers
	pairs  []uint32  // the same, of bfloat16
	shared []uint32  // the same, of all parts of a job
	strip  []float32 // outputs of GemmI8Quantized before they are quantized

	widened PanelsF32 // panels of GemmHalf

	scores     []float32 // of Attention
	keys, vals PanelsF32

	keysBF16, valsBF16 PanelsBF16 // of Attention in bfloat16
	sums               [attentionRows]float32
	relative           relativeScratch

	amx amxScratch

	job  gemmJob // of ParallelGemmF32 and ParallelGemmBF16
	run  func(worker, part int)
	pack func(worker, part int)
}

// GemmF32 multiplies the m×K matrix a by the columns of b's panels [panelLo, panelHi) into the
// same columns of c; 0 and b.Panels() select all panels. The rows of c are ldc floats apart.
// Epilogue says what is stored. GemmF32 runs on the calling goroutine. Operands are transposed by
// their views.
//
// Each element of A·B is one chain of fused multiply-adds over k = 0..K-1 that begins with 0, or
// with c under Accumulate.
func GemmF32(m int, a ViewF32, b *PanelsF32, panelLo, panelHi int, c []float32, ldc int, ep Epilogue, s *Scratch) {
	n := min(panelHi*Lanes, b.N)
	a.check(m, b.K)
	ep.check(m, n, c, ldc)
	if m <= 0 || panelLo >= panelHi {
		return
	}
	if active == 0 || b.K == 0 {
		gemmF32Generic(m, a, b, panelLo, panelHi, c, ldc, &ep)
		ep.finish(m, panelLo*Lanes, n, c, ldc)
		return
	}
	gemmF32(m, a, b, panelLo, panelHi, c, ldc, &ep, s)
}

// GemmI8 multiplies the quantized rows a by the columns of b's panels [panelLo, panelHi) into the
// same columns of c, whose rows are ldc floats apart. The sums are exact. Then, for row i and
// column j,
//
//	z = fma(float32(sum), a.Scale[i]*b.Scale[j], bias[j])
//	c = activation(z), or activation(c + z) with Accumulate
//
// The bias is 0 if there is none.
func GemmI8(a *RowsI8, b *PanelsI8, panelLo, panelHi int, c []float32, ldc int, ep Epilogue, s *Scratch) {
	n := min(panelHi*Lanes, b.N)
	if a.K != b.K {
		panic("kernels: inner sizes of a product differ")
	}
	ep.check(a.M, n, c, ldc)
	if a.M <= 0 || panelLo >= panelHi {
		return
	}
	if !b.multiplied() {
		gemmI8Generic(a, b, panelLo, panelHi, c, ldc, &ep)
		ep.finish(a.M, panelLo*Lanes, n, c, ldc)
		return
	}
	gemmI8(a, b, panelLo, panelHi, c, ldc, &ep, nil, s)
}

// GemmI8Quantized is GemmI8 over all panels of b followed by QuantizeRowStatic with the scale.
// dst becomes the m×N matrix activation(a·B + bias), quantized while it is in the cache. bias may
// be nil.
func GemmI8Quantized(a *RowsI8, b *PanelsI8, dst *RowsI8, scale float32, bias []float32, activation Activation, s *Scratch) {
	if a.K != b.K {
		panic("kernels: inner sizes of a product differ")
	}
	if bias != nil && len(bias) < b.N {
		panic("kernels: bias too short")
	}
	dst.begin(a.M, b.N, scale)
	ep := Epilogue{Bias: bias, Activation: activation}
	if a.M == 0 || b.N == 0 {
		return
	}
	if !b.multiplied() {
		s.strip = grow(s.strip, a.M*b.N)
		gemmI8Generic(a, b, 0, b.Panels(), s.strip, b.N, &ep)
		ep.finish(a.M, 0, b.N, s.strip, b.N)
		for i := range a.M {
			dst.setColumns(i, 0, s.strip[i*b.N:][:b.N])
		}
		return
	}
	gemmI8(a, b, 0, b.Panels(), nil, 0, &ep, dst, s)
}

// gemmJob is a product that a parallel function has divided into parts.
type gemmJob struct {
	m, n, ldc  int
	a          ViewF32
	f32        *PanelsF32 // one of the two panels
	bf16       *PanelsBF16
	c          []float32
	ep         Epilogue
	s          []Scratch
	rows, cols int      // the number of parts in each direction
	pairs      []uint32 // pairs of a, if the parts share them
}

// ParallelGemmF32 is GemmF32 over all panels of b, on the workers of t. Each worker uses its own
// element of s. The result does not depend on their number.
func ParallelGemmF32(t *team.Team, m int, a ViewF32, b *PanelsF32, c []float32, ldc int, ep Epilogue, s []Scratch) {
	if t == nil || t.Workers() == 1 || m*b.N*b.K < 1<<15 {
		GemmF32(m, a, b, 0, b.Panels(), c, ldc, ep, &s[0])
		return
	}
	a.check(m, b.K)
	ep.check(m, b.N, c, ldc)
	s[0].parallel(t, gemmJob{m: m, n: b.N, a: a, f32: b, c: c, ldc: ldc, ep: ep, s: s})
}

// parallel runs a job on the workers of t.
func (s *Scratch) parallel(t *team.Team, job gemmJob) {
	job.split(t.Workers())
	s.job = job
	if s.run == nil {
		// The closure is kept so that a product allocates nothing.
		s.run, s.pack = s.job.part, s.job.pack
	}
	if job.bf16 != nil && job.cols > 1 {
		s.job.share(t, s.pack)
	}
	t.Run(job.rows*job.cols, s.run)
	s.job = gemmJob{}
}

// split chooses the parts. A part reads its rows of a and its panels of b. Splitting the longer
// side keeps the sum of these small.
func (g *gemmJob) split(workers int) {
	g.rows, g.cols = 1, 1
	panels := ceilDiv(g.n, Lanes)
	if g.m >= g.n && g.m >= 16*workers {
		g.rows = min(2*workers, g.m/16)
		return
	}
	g.cols = min(2*workers, max(1, panels/2))
	if g.cols < workers {
		g.rows = min(ceilDiv(workers, g.cols), ceilDiv(g.m, 8))
	}
}

func (g *gemmJob) part(worker, part int) {
	row, col := part/g.cols, part%g.cols
	panels := ceilDiv(g.n, Lanes)
	// Parts begin at pairs of panels, which are multiplied together.
	pairs := ceilDiv(panels, 2)
	lo, hi := 2*(col*pairs/g.cols), min(2*((col+1)*pairs/g.cols), panels)
	top, bottom := row*g.m/g.rows, (row+1)*g.m/g.rows
	if top == bottom || lo >= hi {
		return
	}
	a, ep := g.a, g.ep
	a.Data = a.Data[top*a.RowStride:]
	if ep.PreActivation != nil {
		ep.PreActivation = ep.PreActivation[top*g.ldc:]
	}
	c, s := g.c[top*g.ldc:], &g.s[worker]
	switch {
	case g.pairs != nil:
		g.multiplyPairs(top, bottom, lo, hi, c, ep, s)
	case g.bf16 != nil:
		GemmBF16(bottom-top, a, g.bf16, lo, hi, c, g.ldc, ep, s)
	default:
		GemmF32(bottom-top, a, g.f32, lo, hi, c, g.ldc, ep, s)
	}
}
