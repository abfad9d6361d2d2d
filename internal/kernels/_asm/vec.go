package main

import (
	"fmt"
	"math"

	. "github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/gotypes"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// lanes is the number of virtual lanes: one ZMM register, or two YMM registers.
const lanes = 16

// A vec holds the virtual lanes: one ZMM register or two YMM registers, or the
// same constant in memory for each of them.
type vec []Op

// A gen writes one function for one instruction set.
type gen struct {
	avx512 bool
	suffix string
	// Of the tail that is being written, if any:
	inTail bool
	count  reg.GPVirtual // of its lanes
	masks  vec           // AVX2: all ones in its lanes
	k      Op            // AVX-512
	// Of the loop that is being written:
	index  reg.GPVirtual // its first element
	disp   int           // of the vector from there, in bytes
	labels int
}

// both declares a function for both instruction sets; body writes what comes
// between its arguments and VZEROUPPER.
func both(name, signature, doc string, body func(g *gen)) {
	for _, g := range []*gen{{suffix: "AVX2"}, {avx512: true, suffix: "AVX512"}} {
		TEXT(name+g.suffix, NOSPLIT, signature)
		Pragma("noescape")
		Doc(name + g.suffix + " " + doc)
		body(g)
		VZEROUPPER()
		RET()
	}
}

// An inst is an instruction with, for AVX-512, its form that broadcasts a
// constant in memory.
type inst struct{ plain, bcst func(...Op) }

var (
	addps   = inst{VADDPS, VADDPS_BCST}
	subps   = inst{VSUBPS, VSUBPS_BCST}
	mulps   = inst{VMULPS, VMULPS_BCST}
	divps   = inst{VDIVPS, VDIVPS_BCST}
	maxps   = inst{VMAXPS, VMAXPS_BCST}
	minps   = inst{VMINPS, VMINPS_BCST}
	fma213  = inst{VFMADD213PS, VFMADD213PS_BCST}
	fma231  = inst{VFMADD231PS, VFMADD231PS_BCST}
	fnma213 = inst{VFNMADD213PS, VFNMADD213PS_BCST}
	fnma231 = inst{VFNMADD231PS, VFNMADD231PS_BCST}
	addd    = inst{VPADDD, VPADDD_BCST}
	mulld   = inst{VPMULLD, VPMULLD_BCST}
	maxsd   = inst{VPMAXSD, VPMAXSD_BCST}
	maxud   = inst{VPMAXUD, VPMAXUD_BCST}
)

// do writes in for every register; operands are in Go's order, the destination
// last.
func (g *gen) do(in inst, operands ...vec) {
	for i := range operands[len(operands)-1] {
		f := in.plain
		ops := make([]Op, len(operands))
		for j, o := range operands {
			ops[j] = o[i]
			if _, memory := o[i].(Mem); memory && g.avx512 {
				f = in.bcst
			}
		}
		f(ops...)
	}
}

// bitwise writes a bitwise instruction, which AVX-512 names by element size.
func (g *gen) bitwise(avx2 func(_, _, _ Op), avx512, bcst func(...Op), a, b, d vec) {
	if g.avx512 {
		g.do(inst{avx512, bcst}, a, b, d)
		return
	}
	for i := range d {
		avx2(a[i], b[i], d[i])
	}
}

func (g *gen) and(a, b, d vec) { g.bitwise(VPAND, VPANDD, VPANDD_BCST, a, b, d) }
func (g *gen) or(a, b, d vec)  { g.bitwise(VPOR, VPORD, VPORD_BCST, a, b, d) }
func (g *gen) xor(a, b, d vec) { g.bitwise(VPXOR, VPXORD, VPXORD_BCST, a, b, d) }

// shift writes a shift by an immediate.
func (g *gen) shift(f func(...Op), n uint64, a, d vec) {
	for i := range d {
		f(U8(n), a[i], d[i])
	}
}

// unary writes an instruction of one source.
func (g *gen) unary(f func(...Op), a, d vec) {
	for i := range d {
		f(a[i], d[i])
	}
}

// new returns fresh registers.
func (g *gen) new() vec {
	if g.avx512 {
		return vec{ZMM()}
	}
	return vec{YMM(), YMM()}
}

func (g *gen) zero() vec {
	v := g.new()
	g.xor(v, v, v)
	return v
}

// constants are those of the file, by their bits.
var constants = map[uint32]Mem{}

func constantBits(b uint32) Mem {
	m, ok := constants[b]
	if !ok {
		m = GLOBL(fmt.Sprintf("c%08x", b), attrRODATA)
		for i := range 8 {
			DATA(4*i, U32(b))
		}
		constants[b] = m
	}
	return m
}

const attrRODATA = RODATA | NOPTR

// bits returns a constant, given by its bits, as a memory operand.
func (g *gen) bits(b uint32) vec {
	m := constantBits(b)
	if g.avx512 {
		return vec{m}
	}
	return vec{m, m}
}

func (g *gen) c(v float64) vec { return g.bits(math.Float32bits(float32(v))) }

// repeat returns v for every register.
func (g *gen) repeat(v Op) vec {
	if g.avx512 {
		return vec{v}
	}
	return vec{v, v}
}

// broadcast returns a register with the float at m in all its lanes.
func (g *gen) broadcast(m Op) vec {
	if g.avx512 {
		z := ZMM()
		VBROADCASTSS(m, z)
		return vec{z}
	}
	y := YMM()
	VBROADCASTSS(m, y)
	return g.repeat(y)
}

// r returns a constant in a register.
func (g *gen) r(v float64) vec { return g.broadcast(constantBits(math.Float32bits(float32(v)))) }

// load returns a constant in registers that may be overwritten.
func (g *gen) load(c vec) vec {
	d := g.new()
	for i := range d {
		if g.avx512 {
			VBROADCASTSS(c[i], d[i])
		} else {
			VMOVUPS(c[i], d[i])
		}
	}
	return d
}

func (g *gen) copy(a vec) vec {
	d := g.new()
	g.unary(VMOVAPS, a, d)
	return d
}

// param returns a float32 parameter in all lanes.
func (g *gen) param(name string) vec { return g.broadcast(paramAddr(name)) }

func paramAddr(name string) Mem { return resolve(Param(name)) }

func resolve(c gotypes.Component) Mem {
	b, err := c.Resolve()
	if err != nil {
		panic(err)
	}
	return b.Addr
}

// result stores the lowest lane of x as a float32 result. avo would write MOVSS,
// which waits for the upper halves of the registers on CPUs that keep them.
func result(x Op, to gotypes.Component) { VMOVSS(x, resolve(to)) }

func ptr(name string) reg.GPVirtual {
	return Load(Param(name).Base(), GP64()).(reg.GPVirtual)
}

// word returns a parameter of 64 bits.
func word(name string) reg.GPVirtual { return Load(Param(name), GP64()).(reg.GPVirtual) }

func length(name string) reg.GPVirtual {
	return Load(Param(name).Len(), GP64()).(reg.GPVirtual)
}

func (g *gen) label(name string) string {
	g.labels++
	return fmt.Sprintf("%s%d", name, g.labels)
}

// loop writes body twice: in a loop over the whole vectors of n elements, and
// for the tail of the last n%16, where loads give zeros and stores write
// nothing outside the tail.
func (g *gen) loop(n reg.GPVirtual, body func()) {
	g.index = GP64()
	XORQ(g.index, g.index)
	g.loopFrom(n, body, g.index)
}

// loopFrom is loop from the first index on; the others move along with it.
func (g *gen) loopFrom(n reg.GPVirtual, body func(), indexes ...reg.GPVirtual) {
	head, tail, done := g.label("loop"), g.label("tail"), g.label("done")
	whole := GP64()
	MOVQ(n, whole)
	ANDQ(I32(-lanes), whole)
	CMPQ(indexes[0], whole)
	JGE(LabelRef(tail))
	Label(head)
	body()
	for _, i := range indexes {
		ADDQ(Imm(lanes), i)
	}
	CMPQ(indexes[0], whole)
	JLT(LabelRef(head))
	Label(tail)
	g.tail(n, done, body)
	Label(done)
}

// unrolled is loop with n copies of the body for as many vectors at first, of
// which each is told its number.
func (g *gen) unrolled(copies int, n reg.GPVirtual, body func(number int)) {
	head, rest := g.label("loop"), g.label("rest")
	g.index = GP64()
	XORQ(g.index, g.index)
	end := GP64()
	LEAQ(Mem{Base: n, Disp: -copies * lanes}, end)
	CMPQ(g.index, end)
	JGT(LabelRef(rest))
	Label(head)
	for i := range copies {
		g.disp = 4 * lanes * i
		body(i)
	}
	g.disp = 0
	ADDQ(Imm(uint64(copies*lanes)), g.index)
	CMPQ(g.index, end)
	JLE(LabelRef(head))
	Label(rest)
	g.loopFrom(n, func() { body(0) }, g.index)
}

func (g *gen) tail(n reg.GPVirtual, done string, body func()) {
	g.count = GP64()
	MOVQ(n, g.count)
	ANDQ(Imm(lanes-1), g.count)
	JZ(LabelRef(done))
	g.inTail = true
	if g.avx512 {
		bits, one := GP64(), GP64()
		MOVQ(U32(1), one)
		SHLXQ(g.count, one, bits)
		DECQ(bits)
		k := K()
		KMOVW(bits.As32(), k)
		g.k = k
	} else {
		table, address, offset := tailTable(), GP64(), GP64()
		LEAQ(table, address)
		MOVQ(g.count, offset)
		NEGQ(offset)
		g.masks = g.new()
		for i := range g.masks {
			VMOVDQU(Mem{Base: address, Index: offset, Scale: 4, Disp: 4*lanes + 32*i}, g.masks[i])
		}
	}
	body()
	g.inTail = false
}

var tailMasks Mem

// tailTable is 16 words of ones and 16 of zeros; 16-r words into it lies the
// mask of a tail of r lanes.
func tailTable() Mem {
	if tailMasks.Base == nil {
		tailMasks = GLOBL("tailMasks", attrRODATA)
		for i := range 2 * lanes {
			word := uint32(0)
			if i < lanes {
				word = 1<<32 - 1
			}
			DATA(4*i, U32(word))
		}
	}
	return tailMasks
}

func (g *gen) at(p reg.Register, part int) Mem {
	return Mem{Base: p, Index: g.index, Scale: 4, Disp: g.disp + 32*part}
}

// floats loads the lanes of this turn from the float32s (or int32s) at p.
func (g *gen) floats(p reg.Register) vec {
	d := g.new()
	for i := range d {
		g.floatsPart(p, i, d[i])
	}
	return d
}

func (g *gen) floatsPart(p reg.Register, i int, d Op) {
	switch {
	case !g.inTail:
		VMOVUPS(g.at(p, i), d)
	case g.avx512:
		VMOVUPS_Z(g.at(p, i), g.k, d)
	default:
		VMASKMOVPS(g.at(p, i), g.masks[i], d)
	}
}

// store writes the lanes of this turn to p.
func (g *gen) store(v vec, p reg.Register) {
	for i := range v {
		g.storePart(v[i], p, i)
	}
}

func (g *gen) storePart(v Op, p reg.Register, i int) {
	switch {
	case !g.inTail:
		VMOVUPS(v, g.at(p, i))
	case g.avx512:
		VMOVUPS(v, g.k, g.at(p, i))
	default:
		VMASKMOVPS(v, g.masks[i], g.at(p, i))
	}
}

// keep zeroes what lies outside the tail.
func (g *gen) keep(v vec) {
	switch {
	case !g.inTail:
	case g.avx512:
		VMOVAPS_Z(v[0], g.k, v[0])
	default:
		for i := range v {
			VANDPS(v[i], g.masks[i], v[i])
		}
	}
}

// fill sets what lies outside the tail to f.
func (g *gen) fill(v, f vec) {
	switch {
	case !g.inTail:
	case g.avx512:
		VBLENDMPS(v[0], f[0], g.k, v[0])
	default:
		for i := range v {
			VBLENDVPS(g.masks[i], v[i], f[i], v[i])
		}
	}
}

// reduce folds the lanes by f in the tree 8+8, 4+4, 2+2, 1+1 and returns a
// register with the result in its lowest lane.
func (g *gen) reduce(f func(...Op), v vec) reg.VecVirtual {
	x, t := g.quarter(f, v), XMM()
	VPSHUFD(Imm(0xEE), x, t)
	f(x, t, x)
	VPSHUFD(Imm(0x55), x, t)
	f(x, t, x)
	return x
}

// quarter is reduce up to 4+4.
func (g *gen) quarter(f func(...Op), v vec) reg.VecVirtual {
	low, high := YMM(), YMM()
	if g.avx512 {
		VEXTRACTF64X4(Imm(1), v[0], high)
		f(v[0].(reg.VecVirtual).AsY(), high, low)
	} else {
		f(v[0], v[1], low)
	}
	x, t := XMM(), XMM()
	VEXTRACTF128(Imm(1), low, t)
	f(low.AsX(), t, x)
	return x
}

// spread returns the lowest lane of x in all lanes.
func (g *gen) spread(x Op) vec { return g.broadcast(x) }

// toFloat returns n as a float32.
func toFloat(n reg.GPVirtual) reg.VecVirtual {
	x := XMM()
	VXORPS(x, x, x)
	VCVTSI2SSQ(n, x, x)
	return x
}

// polynomial returns what evaluates the polynomial with these coefficients,
// highest first, at x. AVX-512 has registers enough to hold them.
func (g *gen) polynomial(coefficients ...float64) func(x vec) vec {
	held := make([]vec, len(coefficients))
	for i, c := range coefficients {
		if held[i] = g.c(c); g.avx512 {
			held[i] = g.r(c)
		}
	}
	return func(x vec) vec {
		p := g.new()
		if g.avx512 {
			g.unary(VMOVAPS, held[0], p)
		} else {
			p = g.load(held[0])
		}
		for _, c := range held[1:] {
			g.do(fma213, c, x, p)
		}
		return p
	}
}

// horner evaluates the polynomial with these coefficients, highest first, at x.
func (g *gen) horner(x vec, coefficients ...float64) vec {
	p := g.load(g.c(coefficients[0]))
	for _, c := range coefficients[1:] {
		g.do(fma213, g.c(c), x, p)
	}
	return p
}
