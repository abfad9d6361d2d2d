package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func init() {
	register("gemm_f32_avx2", func() {
		f32Kernel(avx2, 4).function(avx2Shapes)
	})
	register("gemm_f32_avx512", func() {
		f32Kernel(avx512, 4).function(avx512Shapes())
	})
}

// avx2Shapes are the tiles of AVX2: 6 rows of 2 registers use 12 of 16 as
// accumulators. With fewer rows more panels keep as many sums under way as FMA's
// latency wants.
var avx2Shapes = []tileShape{{6, 1}, {5, 1}, {4, 1}, {3, 2}, {2, 2}, {1, 4}, {3, 1}, {2, 1}, {1, 2}, {1, 1}}

func avx512Shapes() (shapes []tileShape) {
	for _, panels := range []int{2, 1} {
		for rows := 14; rows > 0; rows-- {
			shapes = append(shapes, tileShape{rows, panels})
		}
	}
	return append(shapes, tileShape{3, 4}, tileShape{2, 4}, tileShape{1, 4})
}

// A gemmKernel is a product with sums in float32. A step of k reads 64 bytes of
// a panel.
type gemmKernel struct {
	isa
	name   string
	types  [2]string // of the elements of a and b
	step   []string  // what a step does, for the documentation
	unroll int
	passes []pass
	// multiply adds the product of two registers; broadcast that of a factor in
	// memory, broadcast, and a register of 64 bytes.
	multiply  func(x, y, acc reg.VecVirtual)
	broadcast func(x Mem, y, acc reg.VecVirtual)
	// ahead is how many bytes before it is read a panel is brought into L1, 0
	// where that is left to the CPU.
	ahead int
	// flush computes the sums with subnormal numbers taken for zero, as MXCSR
	// has it.
	flush bool
}

// A pass is one multiply-add of a step for every accumulator.
type pass struct {
	a    int                             // where the factor lies in a's element
	load func(at Mem, to reg.VecVirtual) // reads a register of a panel
}

func f32Kernel(v isa, unroll int) gemmKernel {
	ahead := 0
	if v.wide == 64 {
		ahead = 1024
	}
	return gemmKernel{
		isa: v, ahead: ahead, name: "gemmF32" + v.name, types: [2]string{"float32", "float32"}, unroll: unroll,
		step:     []string{"\tacc = fma(a[i*rs+p*cs], b[j/16*bs+p*16+j%16], acc)   for p = 0, 1, ... k-1"},
		passes:   []pass{{load: func(at Mem, to reg.VecVirtual) { VMOVUPS(at, to) }}},
		multiply: multiplyF32, broadcast: broadcastF32,
	}
}

func multiplyF32(x, y, acc reg.VecVirtual)      { VFMADD231PS(x, y, acc) }
func broadcastF32(x Mem, y, acc reg.VecVirtual) { VFMADD231PS_BCST(x, y, acc) }

// function writes the kernel.
func (g gemmKernel) function(shapes []tileShape) {
	TEXT(g.name, NOSPLIT, fmt.Sprintf("func(rows, panels, k int, a *%s, rs, cs int, b *%s, bs int, c *float32, ldc int, bias *float32, accumulate int, next *%s)", g.types[0], g.types[1], g.types[1]))
	Pragma("noescape")
	doc := []string{
		g.name + " sets, for i < rows and j < 16*panels,",
		"",
		"\tacc = 0, or c[i][j] when accumulate is not zero",
	}
	doc = append(doc, g.step...)
	Doc(append(doc,
		"\tc[i][j] = acc + bias[j]                              or acc, when bias is nil",
		"",
		"All strides are in bytes; that of c's rows is ldc. k is at least 1. Meanwhile the 16*k bytes at next, a part of",
		"what is wanted later, are brought near. The shapes rows x panels are:",
		shapeList(shapes))...)
	var mxcsr Mem
	if g.flush {
		mxcsr = AllocLocal(8)
		STMXCSR(mxcsr)
		LDMXCSR(constantBits(flushToZero))
	}
	dispatch(shapes, true)
	for i := range shapes {
		s := shapes[(i+len(shapes)-1)%len(shapes)] // the last is fallen through to
		Label(s.label("tile"))
		g.tile(s, mxcsr)
	}
}

func shapeList(shapes []tileShape) (list string) {
	for i, s := range shapes {
		if i > 0 {
			list += ", "
		}
		list += fmt.Sprintf("%dx%d", s.rows, s.panels)
	}
	return list + "."
}

// tile writes the product of one tile. It is long as assembly is: an instruction a
// line.
func (g gemmKernel) tile(s tileShape, mxcsr Mem) {
	v, unroll := g.isa, g.unroll
	per := 64 / v.wide // registers to a panel
	n := per * s.panels
	acc := make([][]reg.VecVirtual, s.rows)
	for r := range acc {
		acc[r] = make([]reg.VecVirtual, n)
		for j := range acc[r] {
			acc[r][j] = v.vec()
		}
	}
	eachOutput := func(f func(r, j int, at Mem)) {
		c, ldc := arg("c"), arg("ldc")
		for r := range s.rows {
			for j := range n {
				f(r, j, Mem{Base: c, Disp: v.wide * j})
			}
			if r < s.rows-1 {
				ADDQ(ldc, c)
			}
		}
	}

	// The outputs of the next tile lie below this one's.
	below, ldc := arg("c"), arg("ldc")
	for i := range 2 * s.rows {
		if i >= s.rows {
			for line := range s.panels {
				PREFETCHT0(Mem{Base: below, Disp: 64 * line})
			}
		}
		if i < 2*s.rows-1 {
			ADDQ(ldc, below)
		}
	}
	ifZero("accumulate", s.label("zero"))
	eachOutput(func(r, j int, at Mem) { VMOVUPS(at, acc[r][j]) })
	JMP(LabelRef(s.label("start")))
	Label(s.label("zero"))
	for r := range acc {
		for j := range acc[r] {
			v.zero(acc[r][j])
		}
	}

	Label(s.label("start"))
	k, cs := arg("k"), arg("cs")
	rows := newRowSet(s.rows, arg("a"), arg("rs"))
	b, next := arg("b"), arg("next")
	var bs, bs3 reg.GPVirtual
	if s.panels > 1 {
		bs = arg("bs")
	}
	if s.panels > 3 {
		bs3 = GP64()
		LEAQ(Mem{Base: bs, Index: bs, Scale: 2}, bs3)
	}
	step := func(i int) {
		for _, p := range g.passes {
			bAt := func(j int) Mem { return panelAt(b, bs, bs3, j/per, 64*i+v.wide*(j%per)) }
			if v.wide == 32 && s.rows < n {
				// The side of fewer registers is held, for lack of them.
				x := make([]reg.VecVirtual, s.rows)
				for r := range x {
					x[r] = v.vec()
					VBROADCASTSS(rows.at(r, p.a), x[r])
				}
				for j := range n {
					y := v.vec()
					p.load(bAt(j), y)
					for r := range x {
						g.multiply(x[r], y, acc[r][j])
					}
				}
				continue
			}
			bv := make([]reg.VecVirtual, n)
			for j := range bv {
				bv[j] = v.vec()
				p.load(bAt(j), bv[j])
			}
			for r := range s.rows {
				if v.wide == 64 && n == 1 {
					g.broadcast(rows.at(r, p.a), bv[0], acc[r][0])
					continue
				}
				// A load for each product would be one too many for two a cycle.
				x := v.vec()
				VBROADCASTSS(rows.at(r, p.a), x)
				for j := range n {
					g.multiply(x, bv[j], acc[r][j])
				}
			}
		}
		if g.ahead > 0 {
			for j := range n {
				PREFETCHT0(panelAt(b, bs, bs3, j/per, g.ahead+64*i+v.wide*(j%per)))
			}
		}
		rows.advance(cs)
	}
	SUBQ(Imm(uint64(unroll)), k)
	JLT(LabelRef(s.label("rest")))
	Label(s.label("loop"))
	for i := range unroll {
		if i%4 == 0 {
			PREFETCHT1(Mem{Base: next})
			ADDQ(Imm(uint64(16*unroll)), next)
		}
		step(i)
	}
	ADDQ(U32(64*unroll), b)
	SUBQ(Imm(uint64(unroll)), k)
	JGE(LabelRef(s.label("loop")))
	Label(s.label("rest"))
	ADDQ(Imm(uint64(unroll)), k)
	JZ(LabelRef(s.label("bias")))
	Label(s.label("one"))
	step(0)
	ADDQ(Imm(64), b)
	DECQ(k)
	JNZ(LabelRef(s.label("one")))

	Label(s.label("bias"))
	if g.flush {
		LDMXCSR(mxcsr)
	}
	bias := arg("bias")
	TESTQ(bias, bias)
	JZ(LabelRef(s.label("store")))
	for j := range n {
		x := v.vec()
		VMOVUPS(Mem{Base: bias, Disp: v.wide * j}, x)
		for r := range s.rows {
			VADDPS(x, acc[r][j], acc[r][j])
		}
	}
	Label(s.label("store"))
	eachOutput(func(r, j int, at Mem) { VMOVUPS(acc[r][j], at) })
	VZEROUPPER()
	RET()
}
