package kernels

import (
	"time"

	"github.com/skive-ml/skive/internal/team"
)

// PeakF32 measures the float32 operations per second, multiplications and
// additions, that the workers of t reach together in products whose operands
// stay in the first two caches: the best of several trials.
func PeakF32(t *team.Team) float64 {
	const m, k, n, repeats, trials = 96, 256, 64, 50, 20
	a, b := make([]float32, m*k), make([]float32, k*n)
	for i := range a {
		a[i] = float32(i%7) / 7
	}
	for i := range b {
		b[i] = float32(i%5) / 5
	}
	var panels PanelsF32
	panels.Pack(RowMajor(b, n), k, n)
	type room struct {
		c []float32
		s Scratch
	}
	rooms := make([]room, t.Workers())
	for i := range rooms {
		rooms[i].c = make([]float32, m*n)
	}
	best := time.Duration(1<<63 - 1)
	for range trials {
		start := time.Now()
		t.Run(t.Workers(), func(_, part int) {
			r := &rooms[part]
			for range repeats {
				GemmF32(m, RowMajor(a, k), &panels, 0, panels.Panels(), r.c, n, Epilogue{}, &r.s)
			}
		})
		best = min(best, time.Since(start))
	}
	return float64(2*m*k*n*repeats*t.Workers()) / best.Seconds()
}
