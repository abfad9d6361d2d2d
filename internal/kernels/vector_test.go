package kernels

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// A vectorCase runs one kernel on operands made from the pool and returns everything it wrote.
type vectorCase struct {
	name string
	run  func(in *vectorInput) []uint32
}

// A vectorInput hands out copies of random rows, the same ones at every level, each between guard elements.
type vectorInput struct {
	t    testing.TB
	rows [][]float32
	next int
	all  [][]float32
}

const guard = 24

func newVectorInput(t testing.TB, rows [][]float32) *vectorInput {
	return &vectorInput{t: t, rows: rows}
}

// row returns the next row.
func (in *vectorInput) row() []float32 { return in.matrix(1) }

// matrix returns that many of the next rows, one after the other.
func (in *vectorInput) matrix(rows int) []float32 {
	var src []float32
	for range rows {
		src = append(src, in.rows[in.next%len(in.rows)]...)
		in.next++
	}
	return in.buffer(src)
}

// buffer returns a copy of src between guards, at an odd offset.
func (in *vectorInput) buffer(src []float32) []float32 {
	b := make([]float32, len(src)+2*guard+1)
	for i := range b {
		b[i] = 12345
	}
	in.all = append(in.all, b)
	r := b[guard+1 : guard+1+len(src) : guard+1+len(src)]
	copy(r, src)
	return r
}

// stats returns room for a number of each row; there are no rows where they are empty.
func (in *vectorInput) stats(rows int) []float32 {
	if len(in.rows[0]) == 0 {
		return nil
	}
	return in.buffer(make([]float32, rows))
}

// bits returns the rows handed out and checks their guards.
func (in *vectorInput) bits(extra ...float32) []uint32 {
	var out []uint32
	for _, b := range in.all {
		for i, v := range b {
			if (i <= guard || i >= len(b)-guard) && v != 12345 {
				in.t.Fatalf("row of %d: wrote outside it, at %d", len(b)-2*guard-1, i-guard-1)
			}
			out = append(out, canonical(v))
		}
	}
	for _, v := range extra {
		out = append(out, canonical(v))
	}
	return out
}

// canonical gives every NaN the same bits.
func canonical(v float32) uint32 {
	if v != v {
		return 0x7FC00000
	}
	return math.Float32bits(v)
}

func vectorCases() []vectorCase {
	cases := []vectorCase{
		{"Exp", func(in *vectorInput) []uint32 { x := in.row(); Exp(in.row(), x); Exp(x, x); return in.bits() }},
		{"Softmax", func(in *vectorInput) []uint32 { Softmax(in.row(), 0.125); Softmax(in.row(), 1); return in.bits() }},
		{"SoftmaxRows", func(in *vectorInput) []uint32 {
			n := len(in.rows[0])
			var out []uint32
			for rows := range 8 {
				x := make([]float32, rows*(n+3)) // gaps of 3 zeros
				for i := range rows {
					copy(x[i*(n+3):], in.row())
				}
				want := slices.Clone(x)
				for i := range rows {
					Softmax(want[i*(n+3):][:n], 0.125)
				}
				SoftmaxRows(x, rows, n, n+3, 0.125)
				for i, v := range x {
					out = append(out, canonical(v))
					if canonical(want[i]) != canonical(v) {
						in.t.Fatalf("%d rows of %d: element %d is not what Softmax makes of the row", rows, n, i)
					}
				}
			}
			return out
		}},
		{"softmaxWeights", func(in *vectorInput) []uint32 {
			n := len(in.rows[0])
			if n == 0 {
				return nil
			}
			for rows := range 8 {
				softmaxWeights(in.matrix(rows), rows, n, 0.125, in.buffer(make([]float32, rows)))
			}
			return in.bits()
		}},
		{"SoftmaxBackward", func(in *vectorInput) []uint32 {
			dp, p := in.row(), in.row()
			SoftmaxBackward(in.row(), dp, p, 0.3)
			SoftmaxBackward(dp, dp, p, 0.3)
			return in.bits()
		}},
		{"LogSumExp", func(in *vectorInput) []uint32 { return in.bits(LogSumExp(in.row())) }},
		{"LayerNorm", func(in *vectorInput) []uint32 {
			gamma, beta := in.row(), in.row()
			for rows := range 8 {
				x := in.matrix(rows)
				LayerNorm(in.matrix(rows), x, gamma, beta, 1e-12, in.stats(rows), in.stats(rows))
				LayerNorm(x, x, gamma, beta, 1e-5, nil, nil)
			}
			return in.bits()
		}},
		{"AddLayerNorm", func(in *vectorInput) []uint32 {
			gamma, beta := in.row(), in.row()
			for rows := range 8 {
				x, residual := in.matrix(rows), in.matrix(rows)
				AddLayerNorm(in.matrix(rows), in.matrix(rows), x, residual, gamma, beta, 1e-12, in.stats(rows), in.stats(rows))
				AddLayerNorm(residual, x, x, residual, gamma, beta, 1e-12, nil, nil)
			}
			return in.bits()
		}},
		{"SetAddLayerNorm", func(in *vectorInput) []uint32 {
			gamma, beta := in.row(), in.row()
			var out []uint32
			for rows := range 8 {
				for _, scale := range []float32{0, 0.03} {
					x, residual := in.matrix(rows), in.matrix(rows)
					var q, want RowsI8
					q.Resize(rows+1, len(gamma))
					q.SetRow(0, beta, scale)
					q.SetAddLayerNorm(1, residual, x, x, residual, gamma, beta, 1e-12, scale)
					want.Resize(rows+1, len(gamma))
					want.SetRow(0, beta, scale)
					for i := range rows {
						want.SetRow(i+1, residual[i*len(gamma):][:len(gamma)], scale)
					}
					if !slices.Equal(q.Data, want.Data) || !slices.Equal(q.Sum, want.Sum) {
						in.t.Fatalf("%d rows of %d: not what SetRow makes of the result", rows, len(gamma))
					}
					for _, v := range q.Data {
						out = append(out, uint32(v))
					}
					for i := range q.M {
						out = append(out, canonical(q.Scale[i]), uint32(q.Sum[i]))
					}
				}
			}
			return append(out, in.bits()...)
		}},
		{"LayerNormBackward", func(in *vectorInput) []uint32 {
			dgamma, dbeta, dy, x, gamma := in.row(), in.row(), in.row(), in.row(), in.row()
			LayerNormBackward(in.row(), dgamma, dbeta, dy, x, gamma, 0.25, 1.5)
			LayerNormBackward(dy, dgamma, dbeta, dy, x, gamma, 0.25, 1.5)
			return in.bits()
		}},
		{"QuantizeRow", func(in *vectorInput) []uint32 {
			x := in.row()
			q := make([]int8, len(x)+2)
			q[0], q[len(q)-1] = 99, 99
			scale, sum := QuantizeRow(q[1:len(q)-1], x)
			var out []uint32
			for _, v := range q {
				out = append(out, uint32(v))
			}
			if q[0] != 99 || q[len(q)-1] != 99 {
				in.t.Fatal("wrote outside the row")
			}
			return append(out, canonical(scale), uint32(sum))
		}},
		{"QuantizeRowStatic", func(in *vectorInput) []uint32 {
			x := in.row()
			q := make([]int8, len(x)+2)
			q[0], q[len(q)-1] = 99, 99
			var out []uint32
			for _, scale := range []float32{0.02, 1e-30, 1e30} {
				out = append(out, uint32(QuantizeRowStatic(q[1:len(q)-1], x, scale)))
				for _, v := range q {
					out = append(out, uint32(v))
				}
			}
			if q[0] != 99 || q[len(q)-1] != 99 {
				in.t.Fatal("wrote outside the row")
			}
			return out
		}},
		{"Add", func(in *vectorInput) []uint32 {
			a, b := in.row(), in.row()
			Add(in.row(), a, b)
			Add(a, a, b)
			return in.bits()
		}},
		{"Mul", func(in *vectorInput) []uint32 {
			a, b := in.row(), in.row()
			Mul(in.row(), a, b)
			Mul(b, a, b)
			return in.bits()
		}},
		{"Axpy", func(in *vectorInput) []uint32 { Axpy(in.row(), -1.7, in.row()); return in.bits() }},
		{"Scale", func(in *vectorInput) []uint32 {
			x := in.row()
			Scale(in.row(), 0.3, x)
			Scale(x, 0.3, x)
			return in.bits()
		}},
		{"Sum", func(in *vectorInput) []uint32 { return in.bits(Sum(in.row())) }},
		{"Dot", func(in *vectorInput) []uint32 { return in.bits(Dot(in.row(), in.row())) }},
		{"SumSquares", func(in *vectorInput) []uint32 {
			s := SumSquares(in.row())
			if s != s {
				return []uint32{1}
			}
			b := math.Float64bits(s)
			return []uint32{uint32(b), uint32(b >> 32)}
		}},
		{"MaxAbs", func(in *vectorInput) []uint32 { return in.bits(MaxAbs(in.row())) }},
		{"ColumnSums", func(in *vectorInput) []uint32 {
			dst, a := in.row(), in.row()
			n := len(a)
			x := append(append(append([]float32{}, a...), 1, 2, 3), in.row()...)
			x = append(append(x, 4, 5, 6), in.row()...)
			ColumnSums(dst, x, 3, n, n+3)
			return in.bits()
		}},
		{"Dropout", func(in *vectorInput) []uint32 {
			x := in.row()
			Dropout(in.row(), x, 0.1, 42, 1<<32-20)
			Dropout(x, x, 0.5, 7, 3)
			return in.bits()
		}},
		{"AdamW", func(in *vectorInput) []uint32 {
			w, g, m, v := in.row(), in.row(), in.row(), in.row()
			a := AdamW{LR: 1e-3, Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, WeightDecay: 0.01, Correction1: 0.19, Correction2: 0.002}
			a.Update(w, g, m, v, 0.7)
			return in.bits()
		}},
		{"Half", func(in *vectorInput) []uint32 {
			x := in.row()
			h, wide := make([]uint16, len(x)+2), make([]float32, len(x))
			var out []uint32
			for _, f := range []func(){
				func() { F32ToF16(h[1:len(h)-1], x) },
				func() { F16ToF32(wide, h[1:len(h)-1]) },
				func() { F32ToBF16(h[1:len(h)-1], x) },
				func() { BF16ToF32(wide, h[1:len(h)-1]) },
				func() { DequantizeRow(wide, int8s(x), 0.37) },
			} {
				f()
				for _, v := range h {
					out = append(out, uint32(v))
				}
				for _, v := range wide {
					out = append(out, math.Float32bits(v))
				}
			}
			return out
		}},
	}
	for a := Identity; a <= SiLU; a++ {
		cases = append(cases, vectorCase{"Activate/" + a.String(), func(in *vectorInput) []uint32 {
			x := in.row()
			Activate(a, in.row(), x)
			Activate(a, x, x)
			return in.bits()
		}}, vectorCase{"ActivateBackward/" + a.String(), func(in *vectorInput) []uint32 {
			dy, pre := in.row(), in.row()
			ActivateBackward(a, in.row(), dy, pre)
			ActivateBackward(a, pre, dy, pre)
			return in.bits()
		}})
	}
	return cases
}

// checkLevels runs every kernel at every level and compares with the reference.
func checkLevels(t *testing.T, rows [][]float32) {
	t.Helper()
	levels := Available()[1:]
	for _, c := range vectorCases() {
		run := func(l Level) []uint32 {
			defer Use(l)()
			return c.run(newVectorInput(t, rows))
		}
		want := run(Generic)
		for _, l := range levels {
			got := run(l)
			if len(got) != len(want) {
				t.Fatalf("%s at %v: %d results, want %d", c.name, l, len(got), len(want))
			}
			for i := range want {
				if got[i] != want[i] {
					t.Fatalf("%s at %v, length %d: result %d is %#x (%v), want %#x (%v)", c.name, l, len(rows[0]), i,
						got[i], math.Float32frombits(got[i]), want[i], math.Float32frombits(want[i]))
				}
			}
		}
	}
}

func vectorRows(r *rand.Rand, n int, value func() float32) [][]float32 {
	rows := make([][]float32, 6)
	for i := range rows {
		rows[i] = make([]float32, n)
		for j := range rows[i] {
			rows[i][j] = value()
		}
	}
	return rows
}

func TestVectorLevelsEveryLength(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for n := range 201 {
		checkLevels(t, vectorRows(r, n, func() float32 { return float32(r.NormFloat64() * 3) }))
	}
	for _, n := range []int{312, 768, 1200, 3072} {
		checkLevels(t, vectorRows(r, n, func() float32 { return float32(r.NormFloat64() * 3) }))
	}
}

func TestVectorLevelsWideRange(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for n := range 101 {
		checkLevels(t, vectorRows(r, n, func() float32 { return float32(r.NormFloat64() * math.Exp(r.NormFloat64()*12)) }))
	}
}

func TestVectorLevelsExtremes(t *testing.T) {
	inf := float32(math.Inf(1))
	special := []float32{0, float32(math.Copysign(0, -1)), inf, -inf, float32(math.NaN()), math.MaxFloat32,
		-math.MaxFloat32, math.SmallestNonzeroFloat32, -math.SmallestNonzeroFloat32, 0x1p-126, -0x1p-126, 1e-30, -1e-30,
		88.72, 88.73, 88.8, -86.98, -86.99, -87.4, -104, 65504, 65519, 65520, 0x1p-14, 0x1p-24, 0x1p-25, 1, -1, 4, -4, 9, -9}
	r := rand.New(rand.NewPCG(5, 6))
	for n := range 70 {
		for _, share := range []int{1, 4, 50} {
			checkLevels(t, vectorRows(r, n, func() float32 {
				if r.IntN(share) == 0 {
					return special[r.IntN(len(special))]
				}
				return float32(r.NormFloat64())
			}))
		}
		one := special[n%len(special)]
		checkLevels(t, vectorRows(r, n, func() float32 { return one }))
	}
}

func FuzzVectorLevels(f *testing.F) {
	f.Add(uint64(1), uint16(37), uint8(0))
	f.Add(uint64(2), uint16(300), uint8(255))
	f.Add(uint64(0), uint16(1), uint8(163)) // large values in a row of one
	f.Fuzz(func(t *testing.T, seed uint64, n uint16, wild uint8) {
		r := rand.New(rand.NewPCG(seed, 0))
		checkLevels(t, vectorRows(r, int(n%1024), func() float32 {
			if r.IntN(256) < int(wild) {
				return math.Float32frombits(r.Uint32())
			}
			return float32(r.NormFloat64())
		}))
	})
}

func TestF16AllValues(t *testing.T) {
	src, wide, back := make([]uint16, 1<<16), make([]float32, 1<<16), make([]uint16, 1<<16)
	for i := range src {
		src[i] = uint16(i)
	}
	for _, l := range Available() {
		restore := Use(l)
		F16ToF32(wide, src)
		F32ToF16(back, wide)
		restore()
		for i, h := range src {
			if nan := h&0x7C00 == 0x7C00 && h&0x3FF != 0; nan != (wide[i] != wide[i]) || back[i] != h && !(nan && back[i] == h|0x200) {
				t.Fatalf("%v: %#04x becomes %v and then %#04x", l, h, wide[i], back[i])
			}
		}
		if wide[0x3C01] != 1+0x1p-10 || wide[1] != 0x1p-24 || wide[0x7BFF] != 65504 {
			t.Fatalf("%v: wrong values", l)
		}
	}
}

func BenchmarkVector(b *testing.B) {
	const n = 768
	r := rand.New(rand.NewPCG(7, 8))
	rows := vectorRows(r, n, func() float32 { return float32(r.NormFloat64()) })
	x, y, z, dst := rows[0], rows[1], rows[2], rows[3]
	mean, rstd := float32(0), float32(1)
	q, h := make([]int8, n), make([]uint16, n)
	a := AdamW{LR: 1e-3, Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, Correction1: 0.1, Correction2: 0.001}
	F32ToF16(h, x)
	w, m, v := make([]float32, n), make([]float32, n), make([]float32, n)
	p := make([]float32, n)
	work := []struct {
		name string
		f    func()
	}{
		{"Exp", func() { Exp(dst, x) }},
		{"Softmax", func() { copy(p, x); Softmax(p, 0.125) }},
		{"SoftmaxBackward", func() { SoftmaxBackward(dst, x, y, 0.125) }},
		{"LogSumExp", func() { LogSumExp(x) }},
		{"GELU", func() { Activate(GELU, dst, x) }},
		{"GELUTanh", func() { Activate(GELUTanh, dst, x) }},
		{"Tanh", func() { Activate(Tanh, dst, x) }},
		{"SiLU", func() { Activate(SiLU, dst, x) }},
		{"ReLU", func() { Activate(ReLU, dst, x) }},
		{"GELUBackward", func() { ActivateBackward(GELU, dst, x, y) }},
		{"GELUTanhBackward", func() { ActivateBackward(GELUTanh, dst, x, y) }},
		{"LayerNorm", func() { LayerNorm(dst, x, y, z, 1e-12, nil, nil) }},
		{"AddLayerNorm", func() { AddLayerNorm(dst, p, x, y, z, z, 1e-12, nil, nil) }},
		{"LayerNormBackward", func() { LayerNormBackward(dst, p, w, x, y, z, mean, rstd) }},
		{"QuantizeRow", func() { QuantizeRow(q, x) }},
		{"QuantizeRowStatic", func() { QuantizeRowStatic(q, x, 0.03) }},
		{"Add", func() { Add(dst, x, y) }},
		{"Axpy", func() { Axpy(dst, 0.5, x) }},
		{"Sum", func() { Sum(x) }},
		{"Dot", func() { Dot(x, y) }},
		{"SumSquares", func() { SumSquares(x) }},
		{"MaxAbs", func() { MaxAbs(x) }},
		{"ColumnSums", func() { ColumnSums(dst[:96], x, 8, 96, 96) }},
		{"Dropout", func() { Dropout(dst, x, 0.1, 1, 2) }},
		{"AdamW", func() { a.Update(w, x, m, v, 1) }},
		{"F16ToF32", func() { F16ToF32(dst, h) }},
		{"F32ToF16", func() { F32ToF16(h, x) }},
		{"F32ToBF16", func() { F32ToBF16(h, x) }},
	}
	for _, c := range work {
		for _, l := range Available() {
			b.Run(fmt.Sprintf("%s/%v", c.name, l), func(b *testing.B) {
				defer Use(l)()
				for b.Loop() {
					c.f()
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/element")
			})
		}
	}
}

// BenchmarkRows runs the kernels between an engine's products over rows of the usual widths, which the first-level cache
// holds or the second-level one.
func BenchmarkRows(b *testing.B) {
	for _, n := range []int{312, 384, 768, 1200, 3072} {
		for _, cache := range []struct {
			name   string
			floats int
		}{{"L1", 4 << 10}, {"L2", 128 << 10}} {
			rows := max(1, cache.floats/n)
			r := rand.New(rand.NewPCG(9, 10))
			v := vectorRows(r, n, func() float32 { return float32(r.NormFloat64()) })
			gamma, beta, first := v[0], v[1], slices.Repeat(v[2], rows)
			x, y := make([]float32, rows*n), make([]float32, rows*n)
			var q RowsI8
			q.Resize(rows, n)
			each := func(f func(i int, x, y []float32)) func() {
				return func() {
					for i := range rows {
						f(i, x[i*n:][:n], y[i*n:][:n])
					}
				}
			}
			for _, c := range []struct {
				name string
				f    func()
			}{
				{"AddLayerNorm", func() { AddLayerNorm(x, x, y, x, gamma, beta, 1e-12, nil, nil) }},
				{"SetAddLayerNorm", func() { q.SetAddLayerNorm(0, x, x, y, x, gamma, beta, 1e-12, 0) }},
				{"Quantize", func() { q.Quantize(x, rows, n, n, 0) }},
				{"QuantizeStatic", func() { q.Quantize(x, rows, n, n, 0.03) }},
				{"GELU", each(func(_ int, x, y []float32) { Activate(GELU, y, x) })},
				{"GELUTanh", each(func(_ int, x, y []float32) { Activate(GELUTanh, y, x) })},
				{"SoftmaxRows", func() { SoftmaxRows(x, rows, n, n, 0.125) }},
				{"Softmax", each(func(_ int, x, _ []float32) { Softmax(x, 0.125) })},
				{"DequantizeRow", each(func(i int, x, _ []float32) { DequantizeRow(x, q.Data[i*q.Stride():][:n], 0.03) })},
			} {
				b.Run(fmt.Sprintf("%s/%d/%s", c.name, n, cache.name), func(b *testing.B) {
					copy(x, first)
					clear(y)
					for b.Loop() {
						c.f()
					}
					b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(rows*n), "ns/element")
				})
			}
		}
	}
}

// int8s are the lowest bytes of x.
func int8s(x []float32) []int8 {
	q := make([]int8, len(x))
	for i, v := range x {
		q[i] = int8(math.Float32bits(v))
	}
	return q
}
