package data

import (
	"cmp"
	"maps"
	"math"
	"slices"
)

// Accuracy returns the share of examples whose predicted class is the true one, 0 without
// examples.
func Accuracy(predicted, want []int32) float64 {
	right := 0
	for i := range want {
		if predicted[i] == want[i] {
			right++
		}
	}
	return ratio(float64(right), float64(len(want)))
}

// F1 returns the harmonic mean of precision and recall of class 1, as GLUE does for MRPC and QQP.
// It is 0 if that class neither occurs nor is predicted.
func F1(predicted, want []int32) float64 { return classF1(predicted, want, 1) }

// classF1 is F1 for any class.
func classF1(predicted, want []int32, class int32) float64 {
	both, either := 0, 0 // true positives; predicted plus true ones
	for i := range want {
		p, w := predicted[i] == class, want[i] == class
		if p && w {
			both++
		}
		if p {
			either++
		}
		if w {
			either++
		}
	}
	return ratio(2*float64(both), float64(either))
}

// MacroF1 returns the mean F1 of the classes that occur or are predicted, as SuperGLUE does for
// CB.
func MacroF1(predicted, want []int32) float64 {
	both, either := map[int32]float64{}, map[int32]float64{}
	for i, w := range want {
		either[predicted[i]]++
		either[w]++
		if predicted[i] == w {
			both[w]++
		}
	}
	sum := 0.0
	for _, class := range slices.Sorted(maps.Keys(either)) {
		sum += ratio(2*both[class], either[class])
	}
	return ratio(sum, float64(len(either)))
}

// Pearson returns the correlation of two lists of numbers, 0 if one of them is constant.
func Pearson(x, y []float32) float64 {
	n := float64(len(x))
	var mx, my float64
	for i := range x {
		mx += float64(x[i]) / n
		my += float64(y[i]) / n
	}
	var xy, xx, yy float64
	for i := range x {
		dx, dy := float64(x[i])-mx, float64(y[i])-my
		xy += float64(dx * dy)
		xx += float64(dx * dx)
		yy += float64(dy * dy)
	}
	return ratio(xy, math.Sqrt(xx)*math.Sqrt(yy))
}

// Spearman returns the correlation of the ranks of two lists of numbers. Equal numbers get the
// mean of their ranks.
func Spearman(x, y []float32) float64 { return Pearson(ranks(x), ranks(y)) }

func ranks(x []float32) []float32 {
	order := make([]int, len(x))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(x[a], x[b]) })
	r := make([]float32, len(x))
	for lo, hi := 0, 0; lo < len(x); lo = hi {
		for hi = lo; hi < len(x) && x[order[hi]] == x[order[lo]]; hi++ {
		}
		for _, i := range order[lo:hi] {
			r[i] = float32(lo+hi+1) / 2
		}
	}
	return r
}

// Matthews returns Matthews' correlation coefficient, in Gorodkin's form for several classes. It
// is 0 if predictions or true classes are all the same.
func Matthews(predicted, want []int32) float64 {
	p, w := map[int32]float64{}, map[int32]float64{}
	right := 0.0
	for i := range want {
		p[predicted[i]]++
		w[want[i]]++
		if predicted[i] == want[i] {
			right++
		}
	}
	n := float64(len(want))
	// Counts are whole numbers, so the order of the map does not affect the sums.
	var pw, pp, ww float64
	for class, c := range p {
		pw += float64(c * w[class])
		pp += float64(c * c)
	}
	for _, c := range w {
		ww += float64(c * c)
	}
	return ratio(float64(right*n)-pw, math.Sqrt((float64(n*n)-pp)*(float64(n*n)-ww)))
}

func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

// Wilson returns the 95 % confidence interval of a share measured on n examples: the score
// interval of Wilson (1927) without continuity correction. Without examples it is 0 to 1.
func Wilson(share float64, n int) [2]float64 {
	if n <= 0 {
		return [2]float64{0, 1}
	}
	const z = 1.959963984540054
	m := float64(n)
	center := (share + z*z/(2*m)) / (1 + z*z/m)
	half := float64(z / (1 + z*z/m) * math.Sqrt(share*(1-share)/m+z*z/(4*m*m)))
	interval := [2]float64{max(0, center-half), min(1, center+half)}
	// For 0 and 1 these bounds are exact. The formula would add rounding errors.
	switch share {
	case 0:
		interval[0] = 0
	case 1:
		interval[1] = 1
	}
	return interval
}

// resamples is the number of samples in a bootstrap, enough for two digits of an interval.
const resamples = 1000

// percentiles sorts scores and returns their 2.5 % and 97.5 % points.
func percentiles(scores []float64) [2]float64 {
	slices.Sort(scores)
	return [2]float64{scores[resamples*25/1000], scores[resamples*975/1000-1]}
}
