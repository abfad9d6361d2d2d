package main

import (
	"math"
	"slices"
)

// A quad holds the virtual lanes: four registers, or the same one four times.
type quad [4]vreg

func (g *armFunc) quad() quad { return quad{g.v(), g.v(), g.v(), g.v()} }

func (g *armFunc) zeroQuad() quad {
	q := g.quad()
	g.zeroOf(q[:]...)
	return q
}

func all(v vreg) quad { return quad{v, v, v, v} }

// do writes an instruction of three registers for each register of the operands, the
// destination first; do2 one of two, and by one with a number behind.
func (g *armFunc) do(in func(d, n, m vreg) armInst, d, n, m quad) {
	for i := range d {
		g.emit(in(d[i], n[i], m[i]))
	}
}

func (g *armFunc) do2(in func(d, n vreg) armInst, d, n quad) {
	for i := range d {
		g.emit(in(d[i], n[i]))
	}
}

func (g *armFunc) by(in func(d, n vreg, by int) armInst, d, n quad, by int) {
	for i := range d {
		g.emit(in(d[i], n[i], by))
	}
}

// with calls use with a constant, given by its bits, in all lanes of a register.
func (g *armFunc) with(bits uint32, use func(c quad)) {
	v := g.v()
	g.setConstant(v, bits)
	use(all(v))
	g.free(v)
}

// doConstant is do with a constant in the place of the last operand.
func (g *armFunc) doConstant(in func(d, n, m vreg) armInst, d, n quad, c float64) {
	g.with(float32Bits(c), func(c quad) { g.do(in, d, n, c) })
}

func float32Bits(c float64) uint32 { return math.Float32bits(float32(c)) }

// constant returns registers of their own with a constant in all lanes.
func (g *armFunc) constant(c float64) quad {
	q := g.quad()
	for _, v := range q {
		g.setConstant(v, float32Bits(c))
	}
	return q
}

// spread returns a register with lane 0 of v in all its lanes.
func (g *armFunc) spread(v vreg) quad {
	d := g.v()
	g.emit(dup(d, v, 0))
	return all(d)
}

// float loads an argument of 32 bits into the lowest lane of a register, param into all.
func (g *armFunc) float(name string) vreg {
	v := g.v()
	g.plain("FMOVS %s, F%d", g.slot(name), v)
	return v
}

func (g *armFunc) param(name string) quad {
	v := g.float(name)
	g.emit(dup(v, v, 0))
	return all(v)
}

// horner evaluates the polynomial with these coefficients, highest first, at x. FMLA
// overwrites the addend, so that each coefficient is loaded anew.
func (g *armFunc) horner(x quad, coefficients ...float64) quad {
	var p quad
	for i, c := range coefficients[1:] {
		q := g.constant(c)
		if i == 0 {
			g.with(float32Bits(coefficients[0]), func(c quad) { g.do(fmla, q, x, c) })
		} else {
			g.do(fmla, q, p, x)
			g.free(p)
		}
		p = q
	}
	return p
}

// loop writes body twice: in a loop over the whole vectors of n elements, and for the
// tail of the last n%16, where loads give zeros and stores write nothing outside. What
// body reads and writes moves along.
func (g *armFunc) loop(n xreg, body func()) {
	head, tail, done := g.label("loop"), g.label("tail"), g.label("done")
	left := g.x()
	g.plain("LSR $4, R%d, R%d", n, left)
	g.plain("CBZ R%d, %s", left, tail)
	g.plain("PCALIGN $16")
	g.at(head)
	g.moving = nil
	body()
	for i, p := range g.moving {
		if !slices.Contains(g.moving[:i], p) {
			g.plain("ADD $64, R%d, R%d", p, p)
		}
	}
	g.plain("SUBS $1, R%d, R%d", left, left)
	g.plain("BNE %s", head)
	g.at(tail)
	g.count = left
	g.plain("ANDS $15, R%d, R%d", n, g.count)
	g.plain("BEQ %s", done)
	g.inTail = true
	body()
	g.inTail = false
	g.at(done)
	g.free(left)
}

// each is loop for body with the lanes at x, which are given back behind it; both is each
// for two.
func (g *armFunc) each(n, x xreg, body func(v quad)) {
	g.loop(n, func() {
		v := g.floats(x)
		body(v)
		g.free(v)
	})
}

func (g *armFunc) both(n, x, y xreg, body func(v, w quad)) {
	g.loop(n, func() {
		v, w := g.floats(x), g.floats(y)
		body(v, w)
		g.free(v, w)
	})
}

// whole is loop over whole vectors alone; body moves what it reads and writes.
func (g *armFunc) whole(n xreg, body func()) {
	head, done := g.label("loop"), g.label("done")
	left := g.x()
	g.plain("LSR $4, R%d, R%d", n, left)
	g.plain("CBZ R%d, %s", left, done)
	g.at(head)
	body()
	g.plain("SUBS $1, R%d, R%d", left, left)
	g.plain("BNE %s", head)
	g.at(done)
	g.free(left)
}

// floats loads the lanes of this turn from the float32s at p.
func (g *armFunc) floats(p xreg) quad {
	q := g.quad()
	if g.inTail {
		g.tailOf(p, q, true)
		return q
	}
	g.emit(ldp(q[0], q[1], p, 0), ldp(q[2], q[3], p, 32))
	g.moving = append(g.moving, p)
	return q
}

// store writes the lanes of this turn to p.
func (g *armFunc) store(q quad, p xreg) {
	if g.inTail {
		g.tailOf(p, q, false)
		return
	}
	g.emit(stp(q[0], q[1], p, 0), stp(q[2], q[3], p, 32))
	g.moving = append(g.moving, p)
}

// tailOf loads or stores the lanes of the tail, and nothing outside of it: eight, four,
// and at most three of them.
func (g *armFunc) tailOf(p xreg, q quad, load bool) {
	t := g.x()
	if load {
		g.zeroOf(q[:]...)
	}
	g.plain("MOVD R%d, R%d", p, t)
	done := g.label("t")
	half := func(q []vreg) {
		low := g.label("t")
		g.plain("TBZ $2, R%d, %s", g.count, low)
		if load {
			g.plain("FMOVQ.P 16(R%d), F%d", t, q[0])
		} else {
			g.plain("FMOVQ.P F%d, 16(R%d)", q[0], t)
		}
		g.few(t, q[1], load, done)
		g.at(low)
		g.few(t, q[0], load, done)
	}
	low := g.label("t")
	g.plain("TBZ $3, R%d, %s", g.count, low)
	if load {
		g.plain("FLDPQ.P 32(R%d), (F%d, F%d)", t, q[0], q[1])
	} else {
		g.plain("FSTPQ.P (F%d, F%d), 32(R%d)", q[0], q[1], t)
	}
	half(q[2:])
	g.at(low)
	half(q[:2])
	g.at(done)
	g.free(t)
}

// few loads or stores the lowest count%4 lanes of v and goes on at done.
func (g *armFunc) few(t xreg, v vreg, load bool, done string) {
	two, one := g.label("t"), g.label("t")
	g.plain("TBZ $1, R%d, %s", g.count, one)
	g.plain("TBZ $0, R%d, %s", g.count, two)
	if load {
		g.plain("FMOVD.P 8(R%d), F%d", t, v)
		g.plain("VLD1 (R%d), V%d.S[2]", t, v)
	} else {
		g.plain("FMOVD.P F%d, 8(R%d)", v, t)
		g.plain("VST1 V%d.S[2], (R%d)", v, t)
	}
	g.plain("B %s", done)
	g.at(two)
	if load {
		g.plain("FMOVD (R%d), F%d", t, v)
	} else {
		g.plain("FMOVD F%d, (R%d)", v, t)
	}
	g.plain("B %s", done)
	g.at(one)
	g.plain("TBZ $0, R%d, %s", g.count, done)
	if load {
		g.plain("FMOVS (R%d), F%d", t, v)
	} else {
		g.plain("FMOVS F%d, (R%d)", v, t)
	}
	g.plain("B %s", done)
}

// masks calls use with the masks of the tail's lanes.
func (g *armFunc) masks(use func(m quad)) {
	g.file.tails = true
	t, m := g.x(), g.quad()
	g.plain("MOVD $tailMasks<>+%d(SB), R%d", 4*lanes, t)
	g.plain("SUB R%d<<2, R%d, R%d", g.count, t, t)
	g.emit(ldp(m[0], m[1], t, 0), ldp(m[2], m[3], t, 32))
	use(m)
	g.free(t, m)
}

// keep zeroes what lies outside the tail, fill sets it to f.
func (g *armFunc) keep(q quad) {
	if g.inTail {
		g.masks(func(m quad) { g.do(and, q, q, m) })
	}
}

func (g *armFunc) fill(q, f quad) {
	if g.inTail {
		g.masks(func(m quad) { g.do(bif, q, f, m) })
	}
}

// sum folds the lanes in the tree 8+8, 4+4, 2+2, 1+1 into the lowest lane of the first
// register, which it returns; the others are given back.
func (g *armFunc) sum(q quad) vreg {
	g.emit(fadd(q[0], q[0], q[2]), fadd(q[1], q[1], q[3]), fadd(q[0], q[0], q[1]))
	g.emit(ext(q[1], q[0], q[0], 8), fadd(q[0], q[0], q[1]), faddpS(q[0], q[0]))
	g.free(q[1], q[2], q[3])
	return q[0]
}

// greater sets m to the larger of m and v, unless v is NaN.
func (g *armFunc) greater(m, v quad) {
	t := g.quad()
	g.do(fcmgt, t, v, m)
	g.do(bit, m, v, t)
	g.free(t)
}

// largest returns laneMax of the n elements at x in the lowest lane.
func (g *armFunc) largest(n xreg, x string) vreg {
	p, least := g.arg(x), g.v()
	g.setConstant(least, minusInf)
	m := g.quad()
	for _, v := range m {
		g.emit(move(v, least))
	}
	g.each(n, p, func(v quad) {
		g.fill(v, all(least))
		g.greater(m, v)
	})
	g.free(p, least)
	t := g.v()
	fold := func(d, n vreg) { g.emit(fcmgt(t, n, d), bit(d, n, t)) }
	fold(m[0], m[2])
	fold(m[1], m[3])
	fold(m[0], m[1])
	g.emit(ext(m[1], m[0], m[0], 8))
	fold(m[0], m[1])
	g.emit(ext(m[1], m[0], m[0], 4))
	fold(m[0], m[1])
	g.free(t, m[1], m[2], m[3])
	return m[0]
}

// result stores the lowest lane of v as a result of 32 bits.
func (g *armFunc) result(v vreg, name string) { g.plain("FMOVS F%d, %s", v, g.slot(name)) }
