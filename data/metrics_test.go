package data

import (
	"encoding/json"
	"math"
	"os"
	"testing"
)

func TestMetricsAreScikitLearns(t *testing.T) {
	t.Parallel()
	var golden struct {
		Metrics []struct {
			Predicted, Want                 []int32
			Accuracy, Matthews, F1, F1Macro float64
		}
		Wilson []struct {
			Share    float64
			N        int
			Interval [2]float64
		}
	}
	b, err := os.ReadFile("testdata/metrics.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &golden); err != nil {
		t.Fatal(err)
	}
	near := func(what string, i int, got, want float64) {
		t.Helper()
		if math.Abs(got-want) > 1e-12 {
			t.Errorf("%s of case %d is %v, want %v", what, i, got, want)
		}
	}
	for i, g := range golden.Metrics {
		near("accuracy", i, Accuracy(g.Predicted, g.Want), g.Accuracy)
		near("F1", i, F1(g.Predicted, g.Want), g.F1)
		near("macro F1", i, MacroF1(g.Predicted, g.Want), g.F1Macro)
		near("Matthews", i, Matthews(g.Predicted, g.Want), g.Matthews)
	}
	for i, g := range golden.Wilson {
		w := Wilson(g.Share, g.N)
		near("lower bound", i, w[0], g.Interval[0])
		near("upper bound", i, w[1], g.Interval[1])
	}
	for n := range 300 {
		if all, none := Wilson(1, n+1), Wilson(0, n+1); all[1] != 1 || none[0] != 0 {
			t.Errorf("%d examples: %v for all right, %v for none", n+1, all, none)
		}
	}
	if Accuracy(nil, nil) != 0 || F1(nil, nil) != 0 || Matthews(nil, nil) != 0 || Wilson(0, 0) != [2]float64{0, 1} {
		t.Error("metrics of nothing")
	}
}

func TestBootstrapHoldsTheScore(t *testing.T) {
	t.Parallel()
	predicted, want := make([]int32, 1000), make([]int32, 1000)
	for i := range want {
		want[i] = int32(i % 2)
		predicted[i] = want[i]
		if i%5 == 0 {
			predicted[i] = 1 - want[i]
		}
	}
	o := &Outcome{Task: Task{Labels: []string{"a", "b"}}, Predicted: predicted, Want: want}
	for i := range want {
		o.Unit = append(o.Unit, int32(i))
	}
	for _, name := range []string{"accuracy", "f1", "f1_macro", "matthews"} {
		value, _ := o.Metric(name)
		interval, err := o.Interval(name)
		if err != nil || !(interval[0] < value && value < interval[1]) || interval[1]-interval[0] > 0.12 {
			t.Errorf("%s %g has interval %v (%v)", name, value, interval, err)
		}
	}
	// Where some examples belong together Wilson's does not apply; for hardly any
	// that do, the bootstrap agrees with it.
	wilson, _ := o.Interval("accuracy")
	o.Unit[1] = 0
	bootstrap, _ := o.Interval("accuracy")
	for i := range bootstrap {
		if math.Abs(bootstrap[i]-wilson[i]) > 0.005 {
			t.Errorf("bootstrap %v, Wilson %v", bootstrap, wilson)
		}
	}
}
