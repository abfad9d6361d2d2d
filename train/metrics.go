package train

import (
	"fmt"
	"math"
)

// Metric computes a metric of predicted against true class indices. The names
// are "accuracy", "f1" (of class 1, for two classes; "macro_f1" averages over
// the classes) and "matthews" (the correlation for any number of classes, as
// scikit-learn's matthews_corrcoef). All are fractions.
func Metric(name string, predicted, want []int32, classes int) (float64, error) {
	if len(want) == 0 {
		return 0, fmt.Errorf("metric %s: %w", name, ErrEmpty)
	}
	if len(predicted) != len(want) {
		return 0, fmt.Errorf("metric %s: %d predictions for %d labels", name, len(predicted), len(want))
	}
	// counts[t*classes+p] is the number of examples of class t predicted as p.
	counts := make([]float64, classes*classes)
	for i, t := range want {
		p := predicted[i]
		if t < 0 || int(t) >= classes || p < 0 || int(p) >= classes {
			return 0, fmt.Errorf("metric %s: example %d has label %d and prediction %d, want 0 to %d", name, i, t, p, classes-1)
		}
		counts[int(t)*classes+int(p)]++
	}
	n := float64(len(want))
	switch name {
	case "accuracy":
		var right float64
		for c := range classes {
			right += counts[c*classes+c]
		}
		return right / n, nil
	case "f1":
		if classes != 2 {
			return 0, fmt.Errorf("metric f1: %d classes, want 2", classes)
		}
		return f1(counts, classes, 1), nil
	case "macro_f1":
		var sum float64
		for c := range classes {
			sum += f1(counts, classes, c)
		}
		return sum / float64(classes), nil
	case "matthews":
		// Gorodkin's R_K: (n·Σc_kk - Σt_k·p_k) / sqrt((n²-Σp_k²)(n²-Σt_k²)).
		var right, cross, pp, tt float64
		for c := range classes {
			var t, p float64
			for d := range classes {
				t += counts[c*classes+d]
				p += counts[d*classes+c]
			}
			right += counts[c*classes+c]
			cross += t * p
			pp += p * p
			tt += t * t
		}
		den := math.Sqrt((n*n - pp) * (n*n - tt))
		if den == 0 {
			return 0, nil
		}
		return (n*right - cross) / den, nil
	}
	return 0, fmt.Errorf("metric %q: want accuracy, f1, macro_f1 or matthews", name)
}

// f1 is the harmonic mean of precision and recall of class c, 0 where the class
// neither occurs nor is predicted.
func f1(counts []float64, classes, c int) float64 {
	hit := counts[c*classes+c]
	var total float64
	for d := range classes {
		total += counts[c*classes+d] + counts[d*classes+c]
	}
	if total == 0 {
		return 0
	}
	return 2 * hit / total
}
