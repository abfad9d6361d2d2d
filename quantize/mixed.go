package quantize

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/internal/exact"
	"github.com/skive-ml/skive/progress"
)

// ErrMaxDrop is returned if MaxDrop is negative or not a number.
var ErrMaxDrop = errors.New("the largest drop is to be 0 or more")

// Evaluate computes the logits of a model over a development set, one row of labels' logits for
// each example, and the model's metric, where more is better. It must compute layers in the
// formats in which they are stored.
type Evaluate func(ctx context.Context, m *checkpoints.Model) (logits []float32, metric float64, err error)

// MixedOptions are the settings of Mixed.
type MixedOptions struct {
	// MaxDrop is how much of the metric may be lost, in its own unit: 0.005 of an accuracy is
	// half a point.
	MaxDrop float64
	// Weights lists the weights to quantize. nil means LinearWeights of the model.
	Weights []string
	// Divergence says how far predictions are from want, those of the float model. nil means the
	// function Divergence for rows with one logit per label.
	Divergence func(want, got []float32) float64
	// Progress, if not nil, is told about each evaluation. The search for the set of parts may
	// take more of them than the total says.
	Progress progress.Reporter
}

// Sensitivity says what int8 does to one part of a model. A part is one kind of linear layer in
// one encoder layer, where queries, keys and values count as one kind.
type Sensitivity struct {
	Part    string   `json:"part"`
	Weights []string `json:"-"`
	// Divergence and Metric are those of the model with only this part in int8. Divergence
	// compares its predictions with the float model's, see MixedOptions.
	Divergence float64 `json:"divergence"`
	Metric     float64 `json:"metric"`
	// Kept is true for parts that stay in their float format.
	Kept bool `json:"kept"`
}

// MixedReport says how Mixed arrived at its model.
type MixedReport struct {
	Float float64 `json:"float_metric"`
	Int8  float64 `json:"int8_metric"` // with all parts in int8
	Mixed float64 `json:"metric"`      // of the returned model
	// Parts are sorted by descending divergence.
	Parts []Sensitivity `json:"parts"`
}

// WriteText writes the parts for people, the most sensitive first, and the values of the named
// metric.
func (r *MixedReport) WriteText(to io.Writer, metric string) error {
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "int8 alone in\tdivergence\t%s\tformat\n", metric)
	kept := 0
	for _, p := range r.Parts {
		format := "int8"
		if p.Kept {
			format = "kept"
			kept++
		}
		fmt.Fprintf(w, "%s\t%.2e\t%+.2f\t%s\n", p.Part, math.Max(p.Divergence, 0), 100*(p.Metric-r.Float), format)
	}
	fmt.Fprintf(w, "%s: float %.2f, all in int8 %.2f, with %d of %d parts kept %.2f\n", metric, 100*r.Float, 100*r.Int8, kept, len(r.Parts), 100*r.Mixed)
	return w.Flush()
}

// Mixed returns a copy of the model with as many weights in int8 as possible, while its metric
// stays within MaxDrop of the float model's. It quantizes each part alone to measure its
// sensitivity, and then keeps the most sensitive parts in their float format. It finds their
// number by doubling and halving, and measures every model that it considers. In the worst case
// nothing is quantized.
func Mixed(ctx context.Context, m *checkpoints.Model, evaluate Evaluate, o MixedOptions) (*checkpoints.Model, *MixedReport, error) {
	if !(o.MaxDrop >= 0) {
		return nil, nil, fmt.Errorf("quantize: %w: %g", ErrMaxDrop, o.MaxDrop)
	}
	if o.Weights == nil {
		o.Weights = LinearWeights(m.Config)
	}
	all, err := Int8Weights(m, o.Weights)
	if err != nil {
		return nil, nil, err
	}
	s := mixedSearch{float: m, int8: all, evaluate: evaluate, o: o}
	s.report.Parts = parts(o.Weights)
	s.progress = progress.Begin(o.Progress, "sensitivity", 0, s.total())
	defer s.progress.Finish("")
	if err := s.rank(ctx); err != nil {
		return nil, nil, fmt.Errorf("quantize: %w", err)
	}
	kept, err := s.search(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("quantize: %w", err)
	}
	for i := range kept {
		s.report.Parts[i].Kept = true
	}
	r := s.model(s.report.Parts[kept:]...).Clone()
	r.Provenance = append(r.Provenance, checkpoints.Stage{
		Name:    "quantize",
		Version: checkpoints.Version,
		Time:    time.Now().UTC().Truncate(time.Second),
		Settings: map[string]string{
			"dtype":       "int8, the most sensitive parts as they were",
			"weights":     "symmetric, per output channel",
			"activations": activations(r),
			"max_drop":    fmt.Sprint(o.MaxDrop),
			"kept":        strings.Join(names(s.report.Parts[:kept]), " "),
		},
		Measured: map[string]float64{
			"float_metric": s.report.Float,
			"int8_metric":  s.report.Int8,
			"metric":       s.report.Mixed,
			"bytes":        float64(r.Bytes()),
		},
	})
	return r, &s.report, nil
}

// parts groups weights. Queries, keys and values of a layer, which the engine multiplies
// together, are one group.
func parts(weights []string) []Sensitivity {
	var list []Sensitivity
	for _, w := range weights {
		part := w
		if p, _, ok := checkpoints.ParseTensor(w); ok {
			part = p.Block()
		}
		if i := slices.IndexFunc(list, func(s Sensitivity) bool { return s.Part == part }); i >= 0 {
			list[i].Weights = append(list[i].Weights, w)
			continue
		}
		list = append(list, Sensitivity{Part: part, Weights: []string{w}})
	}
	return list
}

func names(parts []Sensitivity) []string {
	list := make([]string, len(parts))
	for i, p := range parts {
		list[i] = p.Part
	}
	return list
}

type mixedSearch struct {
	float, int8 *checkpoints.Model
	evaluate    Evaluate
	o           MixedOptions
	report      MixedReport
	done        int
	progress    progress.Task
}

// model returns the float model with some parts in int8. It shares its tensors.
func (s *mixedSearch) model(int8 ...Sensitivity) *checkpoints.Model {
	m := *s.float
	m.Tensors = maps.Clone(m.Tensors)
	for _, p := range int8 {
		for _, w := range p.Weights {
			m.Tensors[w] = s.int8.Tensors[w]
			m.Tensors[checkpoints.ScaleOf(w)] = s.int8.Tensors[checkpoints.ScaleOf(w)]
		}
	}
	return &m
}

func (s *mixedSearch) measure(ctx context.Context, note string, int8 ...Sensitivity) (logits []float32, metric float64, err error) {
	if err := ctx.Err(); err != nil {
		return nil, 0, err
	}
	if logits, metric, err = s.evaluate(ctx, s.model(int8...)); err != nil {
		return nil, 0, fmt.Errorf("%s: %w", note, err)
	}
	s.done++
	s.progress.Set(min(s.done, s.total()), note)
	return logits, metric, nil
}

// total counts the evaluations: of the float model, of each part, and of all parts.
func (s *mixedSearch) total() int { return len(s.report.Parts) + 2 }

// rank measures the float model, each part, and all parts, and sorts the parts by divergence.
func (s *mixedSearch) rank(ctx context.Context) error {
	want, metric, err := s.measure(ctx, "float")
	if err != nil {
		return err
	}
	s.report.Float = metric
	if s.o.Divergence == nil {
		labels := s.float.Config.NumLabels()
		s.o.Divergence = func(want, got []float32) float64 { return Divergence(want, got, labels) }
	}
	for i := range s.report.Parts {
		p := &s.report.Parts[i]
		logits, metric, err := s.measure(ctx, p.Part, *p)
		if err != nil {
			return err
		}
		if len(logits) != len(want) {
			return fmt.Errorf("%s: %d logits, the float model gave %d", p.Part, len(logits), len(want))
		}
		p.Metric, p.Divergence = metric, s.o.Divergence(want, logits)
	}
	slices.SortStableFunc(s.report.Parts, func(a, b Sensitivity) int { return cmp.Compare(b.Divergence, a.Divergence) })
	return nil
}

// search returns how many of the most sensitive parts are kept.
func (s *mixedSearch) search(ctx context.Context) (int, error) {
	n := len(s.report.Parts)
	try := func(kept int) (bool, error) {
		if kept == n {
			s.report.Mixed = s.report.Float
			return true, nil
		}
		_, metric, err := s.measure(ctx, fmt.Sprintf("%d of %d parts kept", kept, n), s.report.Parts[kept:]...)
		if err != nil {
			return false, err
		}
		if kept == 0 {
			s.report.Int8 = metric
		}
		good := s.report.Float-metric <= s.o.MaxDrop
		if good {
			s.report.Mixed = metric
		}
		return good, nil
	}
	// low parts are too few, high parts are enough.
	low, high := -1, 0
	for {
		good, err := try(high)
		if err != nil {
			return 0, err
		}
		if good {
			break
		}
		low, high = high, min(max(1, 2*high), n)
	}
	for high-low > 1 {
		middle := (low + high) / 2
		good, err := try(middle)
		if err != nil {
			return 0, err
		}
		if good {
			high = middle
		} else {
			low = middle
		}
	}
	return high, nil
}

// Divergence returns the mean Kullback-Leibler divergence in nats, Σ p·log(p/q), over rows with
// one logit per label. p is the softmax of want and q that of got.
func Divergence(want, got []float32, labels int) float64 {
	if len(want) == 0 {
		return 0
	}
	var sum float64
	for i := 0; i < len(want); i += labels {
		p, q := want[i:i+labels], got[i:i+labels]
		zp, zq := logSumExp(p), logSumExp(q)
		for j := range p {
			lp, lq := float64(p[j])-zp, float64(q[j])-zq
			sum += float64(exact.Exp(lp) * (lp - lq))
		}
	}
	return sum / float64(len(want)/labels)
}

func logSumExp(x []float32) float64 {
	top := float64(slices.Max(x))
	var sum float64
	for _, v := range x {
		sum += exact.Exp(float64(v) - top)
	}
	return top + exact.Log(sum)
}
