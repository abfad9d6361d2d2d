package data

import (
	"math"
	"math/rand/v2"
	"slices"
)

// Accuracy returns the share of examples whose predicted class is the true one.
// It is 0 for no examples.
func Accuracy(predicted, want []int32) float64 {
	right := 0
	for i := range want {
		if predicted[i] == want[i] {
			right++
		}
	}
	return ratio(float64(right), float64(len(want)))
}

// F1 returns the harmonic mean of precision and recall of class 1, as GLUE
// scores MRPC and QQP. It is 0 where the class is neither there nor predicted.
func F1(predicted, want []int32) float64 {
	both, either := 0, 0 // true positives; predicted and true ones together
	for i := range want {
		p, w := predicted[i] == 1, want[i] == 1
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

// Matthews returns Matthews' correlation coefficient, for several classes in
// Gorodkin's form. It is 0 where one of the sides has a single class.
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
	// Counts are whole numbers, so that the order of the maps does not show.
	var pw, pp, ww float64
	for class, c := range p {
		pw += c * w[class]
		pp += c * c
	}
	for _, c := range w {
		ww += c * c
	}
	return ratio(right*n-pw, math.Sqrt((n*n-pp)*(n*n-ww)))
}

func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

// Wilson returns the 95 % confidence interval of a share that was measured on n
// examples: the score interval of Wilson (1927), without correction for
// continuity. For no examples it is 0 to 1.
func Wilson(share float64, n int) [2]float64 {
	if n <= 0 {
		return [2]float64{0, 1}
	}
	const z = 1.959963984540054
	m := float64(n)
	center := (share + z*z/(2*m)) / (1 + z*z/m)
	half := z / (1 + z*z/m) * math.Sqrt(share*(1-share)/m+z*z/(4*m*m))
	return [2]float64{max(0, center-half), min(1, center+half)}
}

// resamples is how often Bootstrap draws: enough for two digits of an interval.
const resamples = 1000

// Bootstrap returns the 95 % confidence interval of a score of predictions, for
// scores that are not shares: the percentile bootstrap of Efron (1979) over the
// examples. The same input gives the same interval.
func Bootstrap(score func(predicted, want []int32) float64, predicted, want []int32) [2]float64 {
	r := rand.New(rand.NewPCG(1, 0))
	p, w := make([]int32, len(want)), make([]int32, len(want))
	scores := make([]float64, resamples)
	for s := range scores {
		for i := range w {
			j := r.IntN(len(want))
			p[i], w[i] = predicted[j], want[j]
		}
		scores[s] = score(p, w)
	}
	slices.Sort(scores)
	return [2]float64{scores[resamples*25/1000], scores[resamples*975/1000-1]}
}
