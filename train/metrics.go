package train

import (
	"fmt"

	"github.com/skive-ml/skive/data"
)

// Metric computes a metric of predicted against true class indices by its name
// in data.Task: "accuracy", "f1" (of class 1 of two) or "matthews". All are
// fractions.
func Metric(name string, predicted, want []int32, classes int) (float64, error) {
	if len(want) == 0 {
		return 0, fmt.Errorf("metric %s: %w", name, ErrEmpty)
	}
	if len(predicted) != len(want) {
		return 0, fmt.Errorf("metric %s: %d predictions for %d labels", name, len(predicted), len(want))
	}
	for i, w := range want {
		if p := predicted[i]; w < 0 || int(w) >= classes || p < 0 || int(p) >= classes {
			return 0, fmt.Errorf("metric %s: example %d has label %d and prediction %d, want 0 to %d", name, i+1, w, p, classes-1)
		}
	}
	switch name {
	case "accuracy":
		return data.Accuracy(predicted, want), nil
	case "f1":
		if classes != 2 {
			return 0, fmt.Errorf("metric f1: %d classes, want 2", classes)
		}
		return data.F1(predicted, want), nil
	case "matthews":
		return data.Matthews(predicted, want), nil
	}
	return 0, fmt.Errorf("metric %q: want accuracy, f1 or matthews", name)
}

// Interval returns the 95 % confidence interval of Metric's value on these
// examples: Wilson's for accuracy, a bootstrap's for the others, which are no
// shares of examples.
func Interval(name string, predicted, want []int32, classes int) ([2]float64, error) {
	value, err := Metric(name, predicted, want, classes)
	if err != nil {
		return [2]float64{}, err
	}
	switch name {
	case "f1":
		return data.Bootstrap(data.F1, predicted, want), nil
	case "matthews":
		return data.Bootstrap(data.Matthews, predicted, want), nil
	}
	return data.Wilson(value, len(want)), nil
}
