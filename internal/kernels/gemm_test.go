package kernels

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/skive-ml/skive/internal/team"
)

const gemmGuard = 1e30 // what surrounds outputs, to find writes outside them

// sameBits tells whether two floats are the same, all NaN being one.
func sameBits(x, y float32) bool {
	return math.Float32bits(x) == math.Float32bits(y) || x != x && y != y
}

func diffAt(got, want []float32) int {
	for i := range got {
		if !sameBits(got[i], want[i]) {
			return i
		}
	}
	return -1
}

// outputs returns n floats that hold data within guards.
func outputs(rng *rand.Rand, m, n, ld int) []float32 {
	c := make([]float32, m*ld+40)
	for i := range c {
		c[i] = gemmGuard
	}
	for i := range m {
		for j := range n {
			c[20+i*ld+j] = rng.Float32() - 0.5
		}
	}
	return c
}

func randomFloats(rng *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = rng.Float32()*2 - 1
	}
	return x
}

// product is one case of a matrix product.
type product struct {
	m, n, k        int
	transA, transB bool
	ld             int // added to leading dimensions
	bias, pre, add bool
	activation     Activation
	lo, hi         int // panels; hi 0: all
	special        bool
}

func (p product) checkF32(t *testing.T, seed uint64) {
	t.Helper()
	p.checkFloat(t, seed, func(a, bv ViewF32, lo, hi int, c []float32, ldc int, ep Epilogue) {
		var b PanelsF32
		var s Scratch
		b.Pack(bv, p.k, p.n)
		GemmF32(p.m, a, &b, lo, hi, c, ldc, ep, &s)
	})
}

// checkBF16 packs the right-hand side at the level under test: the layout is one.
func (p product) checkBF16(t *testing.T, seed uint64) {
	t.Helper()
	p.checkFloat(t, seed, func(a, bv ViewF32, lo, hi int, c []float32, ldc int, ep Epilogue) {
		var b PanelsBF16
		var s Scratch
		b.Pack(bv, p.k, p.n)
		GemmBF16(p.m, a, &b, lo, hi, c, ldc, ep, &s)
	})
}

// checkFloat compares the product at the current level with that at the generic
// one.
func (p product) checkFloat(t *testing.T, seed uint64, gemm func(a, b ViewF32, lo, hi int, c []float32, ldc int, ep Epilogue)) {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 1))
	view := func(rows, cols int, transposed bool) ViewF32 {
		if transposed {
			rows, cols = cols, rows
		}
		d := randomFloats(rng, rows*(cols+p.ld))
		for i := range d {
			if i%(cols+p.ld) >= cols {
				d[i] = float32(math.NaN()) // what is beyond the matrix is not to be read
			}
		}
		if p.special && len(d) > 0 {
			for _, x := range []float32{float32(math.Inf(1)), float32(math.NaN()), float32(math.Copysign(0, -1)), 0x1p-149, 0x1p-126, math.MaxFloat32, -0x1p-140} {
				d[rng.IntN(len(d))] = x
			}
		}
		if transposed {
			return Transposed(d, cols+p.ld)
		}
		return RowMajor(d, cols+p.ld)
	}
	a, bv := view(p.m, p.k, p.transA), view(p.k, p.n, p.transB)
	lo, hi := p.lo, p.hi
	if hi == 0 {
		hi = ceilDiv(p.n, Lanes)
	}
	ldc := p.n + p.ld
	c := outputs(rng, p.m, p.n, ldc)
	ep := Epilogue{Activation: p.activation, Accumulate: p.add}
	if p.bias {
		ep.Bias = randomFloats(rng, p.n)
	}
	run := func() (out, pre []float32) {
		out = slices.Clone(c)
		e := ep
		if p.pre {
			pre = slices.Clone(c)
			e.PreActivation = pre[20:]
		}
		gemm(a, bv, lo, hi, out[20:], ldc, e)
		return out, pre
	}
	got, gotPre := run()
	restore := UseDefinition(Current())
	want, wantPre := run()
	restore()
	if i := diffAt(got, want); i >= 0 {
		t.Fatalf("%+v: element %d (row %d, column %d) is %x, want %x", p, i-20, (i-20)/ldc, (i-20)%ldc, got[i], want[i])
	}
	if i := diffAt(gotPre, wantPre); i >= 0 {
		t.Fatalf("%+v: pre-activation %d is %x, want %x", p, i-20, gotPre[i], wantPre[i])
	}
	for i, x := range got {
		row, col := (i-20)/ldc, (i-20)%ldc
		inside := i >= 20 && row < p.m && col < p.n
		if !inside && x != gemmGuard {
			t.Fatalf("%+v: wrote outside the output at %d", p, i-20)
		}
	}
}

func (p product) checkI8(t *testing.T, seed uint64) {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 1))
	w, scale := make([]int8, p.n*p.k), make([]float32, p.n)
	for i := range w {
		w[i] = int8(rng.IntN(255) - 127)
		if p.special {
			w[i] = int8(127 - 254*rng.IntN(2)*int(seed%2))
		}
	}
	for i := range scale {
		scale[i] = rng.Float32() * 0.01
	}
	var b PanelsI8
	b.Pack(w, scale, p.k, p.n)
	var a RowsI8
	a.Resize(p.m, p.k)
	clear(a.Data)
	for i := range p.m {
		a.Scale[i], a.Sum[i] = rng.Float32(), 0
		for j := range p.k {
			x := int8(rng.IntN(255) - 127)
			if p.special {
				x = 127
				if i%2 == 1 {
					x = -128
				}
			}
			a.Data[i*a.Stride()+j] = x
			a.Sum[i] += int32(x)
		}
	}
	lo, hi := p.lo, p.hi
	if hi == 0 {
		hi = b.Panels()
	}
	ldc := p.n + p.ld
	c := outputs(rng, p.m, p.n, ldc)
	ep := Epilogue{Activation: p.activation, Accumulate: p.add}
	if p.bias {
		ep.Bias = randomFloats(rng, p.n)
	}
	run := func(level Level) (out, pre []float32) {
		defer Use(level)()
		out = slices.Clone(c)
		e := ep
		if p.pre {
			pre = slices.Clone(c)
			e.PreActivation = pre[20:]
		}
		var s Scratch
		GemmI8(&a, &b, lo, hi, out[20:], ldc, e, &s)
		return out, pre
	}
	level := Current()
	want, wantPre := run(Generic)
	got, gotPre := run(level)
	if i := diffAt(got, want); i >= 0 {
		t.Fatalf("%+v: element %d (row %d, column %d) is %x, want %x", p, i-20, (i-20)/ldc, (i-20)%ldc, got[i], want[i])
	}
	if i := diffAt(gotPre, wantPre); i >= 0 {
		t.Fatalf("%+v: pre-activation %d is %x, want %x", p, i-20, gotPre[i], wantPre[i])
	}
	p.checkI8Quantized(t, &a, &b, ep)
}

// checkI8Quantized compares GemmI8Quantized with the two steps that it stands for, at the generic level.
func (p product) checkI8Quantized(t *testing.T, a *RowsI8, b *PanelsI8, ep Epilogue) {
	t.Helper()
	const scale = 0.05
	var s Scratch
	got := RowsI8{Data: slices.Repeat([]int8{77}, 40*128)}
	GemmI8Quantized(a, b, &got, scale, ep.Bias, ep.Activation, &s)
	defer Use(Generic)()
	c := make([]float32, p.m*p.n)
	GemmI8(a, b, 0, b.Panels(), c, p.n, Epilogue{Bias: ep.Bias, Activation: ep.Activation}, &s)
	var want RowsI8
	want.Quantize(c, p.m, p.n, p.n, scale)
	if got.M != want.M || got.K != want.K || !slices.Equal(got.Data, want.Data) || !slices.Equal(got.Scale, want.Scale) || !slices.Equal(got.Sum, want.Sum) {
		t.Fatalf("%+v: quantized outputs differ", p)
	}
}

// products are the cases that all levels are compared on.
func products() []product {
	var list []product
	for m := 1; m <= 31; m++ { // every tile, and every way to cut
		for _, n := range []int{1, 15, 16, 17, 32, 40, 64, 72} {
			list = append(list, product{m: m, n: n, k: 1 + (m*7+n)%13, ld: m % 3, add: m%2 == 0, bias: n%3 == 0})
		}
	}
	for k := range 20 {
		list = append(list,
			product{m: 7, n: 33, k: k, transB: true, bias: true, pre: true},
			product{m: 9, n: 20, k: k, transA: true, ld: 5, add: true, bias: true})
	}
	for i, m := range []int{16, 32, 33, 48, 50, 100} { // tiles of 16 rows and 64 bytes
		for j, n := range []int{16, 40, 64, 72} {
			list = append(list, product{m: m, n: n, k: []int{32, 64, 70, 130}[(i+j)%4], ld: j, add: i%2 == 0, bias: j%2 == 0, transA: (i+j)%3 == 0})
		}
	}
	for i, n := range []int{26, 80, 150} {
		list = append(list,
			product{m: 131, n: n, k: 50, transA: true, transB: true, ld: 3, bias: true, pre: true, activation: ReLU},
			product{m: 5, n: n, k: 800, ld: i, add: true, bias: true, activation: GELU, pre: true},
			product{m: 17, n: 20 + i, k: 2100, transA: i == 1, bias: true, activation: ReLU, pre: true},
			product{m: 14, n: n, k: 401, transA: true, bias: true},
			product{m: 3 + i, n: n, k: 33, lo: 1, hi: 2},
			product{m: 40, n: n, k: 30, bias: true, add: true, special: true})
	}
	for _, n := range []int{400, 3000} { // more panels than a call of any kernel takes, with and without a bias
		list = append(list, product{m: 8, n: n, k: 64}, product{m: 40, n: n, k: 20, bias: true, add: true})
	}
	return append(list, product{m: 0, n: 5, k: 5}, product{m: 5, n: 0, k: 5, ld: 1})
}

func TestGemmF32LevelsAgree(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		for i, p := range products() {
			p.checkF32(t, uint64(i))
		}
	})
}

func TestGemmI8LevelsAgree(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		for i, p := range products() {
			p.checkI8(t, uint64(i))
		}
		// The largest sums of either sign, longer than a 16-bit sum could hold.
		product{m: 13, n: 48, k: 3072, special: true}.checkI8(t, 2)
		product{m: 13, n: 48, k: 3072, special: true}.checkI8(t, 3)
		product{m: 40, n: 48, k: 3072, special: true}.checkI8(t, 4)
	})
}

func fuzzed(m, n, k, flags uint16) product {
	return product{
		m: 1 + int(m%40), n: 1 + int(n%100), k: int(k % 500), ld: int(flags >> 12),
		transA: flags&1 != 0, transB: flags&2 != 0, bias: flags&4 != 0, pre: flags&8 != 0, add: flags&16 != 0,
		activation: Activation(flags >> 5 & 3), special: flags&128 != 0,
	}
}

func FuzzGemmF32(f *testing.F) {
	f.Add(uint64(1), uint16(5), uint16(40), uint16(400), uint16(0xffff))
	f.Fuzz(func(t *testing.T, seed uint64, m, n, k, flags uint16) {
		eachLevel(t, func(t *testing.T) { fuzzed(m, n, k, flags).checkF32(t, seed) })
	})
}

func FuzzGemmBF16(f *testing.F) {
	f.Add(uint64(1), uint16(5), uint16(40), uint16(400), uint16(0xffff))
	f.Fuzz(func(t *testing.T, seed uint64, m, n, k, flags uint16) {
		eachLevel(t, func(t *testing.T) { fuzzed(m, n, k, flags).checkBF16(t, seed) })
	})
}

func FuzzGemmI8(f *testing.F) {
	f.Add(uint64(1), uint16(5), uint16(40), uint16(400), uint16(0xffff))
	f.Fuzz(func(t *testing.T, seed uint64, m, n, k, flags uint16) {
		eachLevel(t, func(t *testing.T) { fuzzed(m, n, k, flags).checkI8(t, seed) })
	})
}

func TestGemmF32IsTheProduct(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(3, 4))
	const m, n, k = 11, 37, 29
	x, w, bias := randomFloats(rng, m*k), randomFloats(rng, n*k), randomFloats(rng, n)
	var b PanelsF32
	b.Pack(Transposed(w, k), k, n)
	c := make([]float32, m*n)
	var s Scratch
	GemmF32(m, RowMajor(x, k), &b, 0, b.Panels(), c, n, Epilogue{Bias: bias}, &s)
	for i := range m {
		for j := range n {
			want := float64(bias[j])
			for p := range k {
				want += float64(x[i*k+p]) * float64(w[j*k+p])
			}
			if math.Abs(float64(c[i*n+j])-want) > 1e-5 {
				t.Fatalf("c[%d][%d] = %g, want %g", i, j, c[i*n+j], want)
			}
		}
	}
}

func TestGemmI8ApproximatesTheProduct(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(5, 6))
	const m, n, k = 5, 21, 70
	x, w, scale := randomFloats(rng, m*k), make([]int8, n*k), make([]float32, n)
	for i := range w {
		w[i] = int8(rng.IntN(255) - 127)
	}
	for i := range scale {
		scale[i] = 1.0 / 127
	}
	var a RowsI8
	a.Quantize(x, m, k, k, 0)
	var b PanelsI8
	b.Pack(w, scale, k, n)
	c := make([]float32, m*n)
	var s Scratch
	GemmI8(&a, &b, 0, b.Panels(), c, n, Epilogue{}, &s)
	for i := range m {
		for j := range n {
			var want float64
			for p := range k {
				want += float64(x[i*k+p]) * float64(w[j*k+p]) / 127
			}
			if math.Abs(float64(c[i*n+j])-want) > k*0.5/127 {
				t.Fatalf("c[%d][%d] = %g, want about %g", i, j, c[i*n+j], want)
			}
		}
	}
}

func TestParallelGemmF32DoesNotDependOnWorkers(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(7, 8))
	for _, p := range []product{{m: 100, n: 40, k: 33}, {m: 3, n: 700, k: 70}, {m: 33, n: 200, k: 64}, {m: 64, n: 16, k: 99}} {
		x, w, bias := randomFloats(rng, p.m*p.k), randomFloats(rng, p.n*p.k), randomFloats(rng, p.n)
		var b PanelsF32
		b.Pack(Transposed(w, p.k), p.k, p.n)
		want, wantPre := make([]float32, p.m*p.n), make([]float32, p.m*p.n)
		var one Scratch
		ep := Epilogue{Bias: bias, Activation: GELU, PreActivation: wantPre}
		GemmF32(p.m, RowMajor(x, p.k), &b, 0, b.Panels(), want, p.n, ep, &one)
		for workers := 1; workers <= 4; workers++ {
			tm := team.New(workers)
			s := make([]Scratch, workers)
			var packed PanelsF32
			ParallelPackF32(tm, &packed, Transposed(w, p.k), p.k, p.n)
			got, gotPre := make([]float32, p.m*p.n), make([]float32, p.m*p.n)
			ep.PreActivation = gotPre
			ParallelGemmF32(tm, p.m, RowMajor(x, p.k), &packed, got, p.n, ep, s)
			tm.Close()
			if diffAt(got, want) >= 0 || diffAt(gotPre, wantPre) >= 0 {
				t.Errorf("%+v: %d workers give other results", p, workers)
			}
		}
	}
}

func TestGemmDoesNotAllocate(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 10))
	const m, n, k = 30, 200, 90
	x, c := randomFloats(rng, m*k), make([]float32, m*n)
	var b PanelsF32
	var half PanelsBF16
	var s [2]Scratch
	tm := team.New(2)
	defer tm.Close()
	if allocs := testing.AllocsPerRun(10, func() {
		b.Pack(Transposed(x, k), k, m)
		GemmF32(m, Transposed(x, m), &b, 0, b.Panels(), c, n, Epilogue{Activation: GELU}, &s[0])
		ParallelGemmF32(tm, m, RowMajor(x, k), &b, c, n, Epilogue{}, s[:])
		half.Pack(Transposed(x, k), k, m)
		GemmBF16(m, Transposed(x, m), &half, 0, half.Panels(), c, n, Epilogue{Activation: GELU}, &s[0])
		ParallelGemmBF16(tm, m, RowMajor(x, k), &half, c, n, Epilogue{}, s[:])
		Attention{Tokens: m, Queries: m, Width: k, Q: RowMajor(x, k), K: RowMajor(x, k), V: RowMajor(x, k), Scale: 1, Mask: 1}.Forward(c, n, nil, &s[0])
	}); allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}
