package main

func init() {
	registerARM("peak/peak", func(f *armFile) {
		f.peak("fmaNEON", "FMLA of 4 floats", func(g *armFunc, acc, x, _ vreg) { g.emit(fmla(acc, x, x)) })
		f.peak("widenNEON", "SMULL and SMLAL of 8 bytes each with a SADALP", func(g *armFunc, acc, x, t vreg) {
			g.emit(smull(t, x, x), smlal(t, x, x), sadalp(acc, t))
		})
		f.peak("dotNEON", "SDOT of 16 bytes", func(g *armFunc, acc, x, _ vreg) { g.emit(sdotElement(acc, x, x, 0)) })
		f.peak("matNEON", "SMMLA of 16 bytes", func(g *armFunc, acc, x, _ vreg) { g.emit(smmla(acc, x, x)) })
	})
}

func (f *armFile) peak(name, what string, issue func(g *armFunc, acc, x, t vreg)) {
	f.function(name, "func(n int)", "issues 24*n times "+what+", of registers alone.", func(g *armFunc) {
		n, x := g.arg("n"), g.v()
		var acc [perCall]vreg
		for i := range acc {
			acc[i] = g.v()
		}
		g.zeroOf(x)
		g.zeroOf(acc[:]...)
		t := [4]vreg{g.v(), g.v(), g.v(), g.v()}
		g.at("loop")
		for i := range acc {
			issue(g, acc[i], x, t[i%4])
		}
		g.plain("SUBS $1, R%d, R%d", n, n)
		g.plain("BNE loop")
	})
}
