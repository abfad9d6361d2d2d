package quantize

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/internal/exact"
)

// How the inputs of int8 linear layers are quantized.
const (
	// Dynamic computes a scale for each row, which is a token, at run time.
	Dynamic = "dynamic"
	// Static uses one scale for the whole tensor, found beforehand.
	Static = "static"
)

// Method says how to choose the largest magnitude that a quantized activation can have. Larger
// values are clipped to it. The smaller it is, the finer the steps are.
type Method string

// Methods of calibration.
const (
	// MinMax is the largest observed magnitude.
	MinMax Method = "minmax"
	// Percentile is the magnitude that 99.99 % of the values do not exceed (Wu et al., arXiv
	// 2004.09602, section 5.2).
	Percentile Method = "percentile"
	// Entropy is the magnitude that loses the least information. Its histogram in 128 steps has
	// the smallest Kullback-Leibler divergence from the histogram of the values (Migacz, "8-bit
	// Inference with TensorRT", GTC 2017).
	Entropy Method = "entropy"
	// MSE is the magnitude for which the quantized values have the smallest mean squared error
	// (Choukroun et al., arXiv 1902.06822).
	MSE Method = "mse"
)

// Methods lists all methods of calibration.
var Methods = []Method{MinMax, Percentile, Entropy, MSE}

// Errors of calibration.
var (
	ErrMethod        = errors.New("no such method of calibration")
	ErrNotCalibrated = errors.New("no activations were observed")
	ErrNotInt8       = errors.New("no linear layer of the model is int8")
)

// Calibration collects the distributions of the inputs of linear layers. Its zero value is ready
// for use, and Observe fits infer.Options.Observe.
type Calibration struct {
	mu     sync.Mutex
	inputs map[string]*histogram // by the name of the layer's weight
	err    error
}

// Observe counts input values of the layer with this weight. Several goroutines may call it. The
// result does not depend on the order of calls.
func (c *Calibration) Observe(weight string, x []float32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.inputs == nil {
		c.inputs = make(map[string]*histogram)
	}
	h := c.inputs[weight]
	if h == nil {
		h = new(histogram)
		c.inputs[weight] = h
	}
	if !h.add(x) && c.err == nil {
		c.err = fmt.Errorf("quantize: the input of %s holds NaN or infinity", weight)
	}
}

// Static returns a copy of an int8 model that quantizes the input of each of its int8 linear
// layers with one scale. The method chooses the scale from what was observed of the float model.
// The engine then need not search each row for its largest magnitude, and the products stay the
// same. If the model was calibrated with a classifier, which computes only first tokens in the
// last layer, its scales are for that use.
func (c *Calibration) Static(m *checkpoints.Model, method Method) (*checkpoints.Model, error) {
	if err := m.Validate(); err != nil {
		return nil, fmt.Errorf("quantize: %w", err)
	}
	r := m.Clone()
	weights := slices.DeleteFunc(LinearWeights(m.Config), func(weight string) bool { return m.Tensors[weight].DType != checkpoints.I8 })
	if len(weights) == 0 {
		return nil, fmt.Errorf("quantize: %w", ErrNotInt8)
	}
	scales, cut, err := c.scales(weights, method)
	if err != nil {
		return nil, err
	}
	for weight, scale := range scales {
		r.Tensors[checkpoints.InputScaleOf(weight)] = checkpoints.NewTensor([]int{1}, []float32{scale})
	}
	r.Provenance = append(r.Provenance, checkpoints.Stage{
		Name:     "calibrate",
		Version:  checkpoints.Version,
		Time:     time.Now().UTC().Truncate(time.Second),
		Settings: map[string]string{"activations": "static, per tensor", "method": string(method)},
		Measured: map[string]float64{"layers": float64(len(scales)), "largest_share_cut": cut},
	})
	return r, nil
}

// Scales returns the scales that the method chooses for the inputs of layers, by the names of
// their weights. Learned scales start from these.
func (c *Calibration) Scales(weights []string, method Method) (map[string]float32, error) {
	scales, _, err := c.scales(weights, method)
	return scales, err
}

// scales also returns the largest share of an input's values that is clipped.
func (c *Calibration) scales(weights []string, method Method) (scales map[string]float32, cut float64, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !slices.Contains(Methods, method) {
		return nil, 0, fmt.Errorf("quantize: %w: %q, expected one of %v", ErrMethod, method, Methods)
	}
	if c.err != nil {
		return nil, 0, c.err
	}
	scales = make(map[string]float32)
	limits := make(map[*histogram]float64)
	for _, weight := range weights {
		// Queries, keys and values share their input. The last layer's queries may read only a
		// part of it.
		observed := weight
		if p, _, ok := checkpoints.ParseTensor(weight); ok && (p.Role == checkpoints.Query || p.Role == checkpoints.Value) {
			observed = checkpoints.Key.In(p.Layer).Weight()
		} else if ok && p.Role == checkpoints.Gate { // gated units do so, too
			observed = checkpoints.Up.In(p.Layer).Weight()
		}
		h := c.inputs[observed]
		if h == nil || h.total == 0 {
			return nil, 0, fmt.Errorf("quantize: tensor %s: %w", weight, ErrNotCalibrated)
		}
		limit, ok := limits[h]
		if !ok {
			limit = h.limit(method)
			limits[h] = limit
		}
		cut = max(cut, h.above(limit))
		scales[weight] = max(float32(limit/127), 0x1p-100)
	}
	return scales, cut, nil
}

// bins is the number of bins in a histogram. It is many times the 127 steps that divide the
// range.
const bins = 8192

// histogram counts magnitudes in bins of equal width from 0 to top, a power of two. When top
// doubles, pairs of bins are added up, so the counts do not depend on the order of the values.
type histogram struct {
	counts  [bins]int64
	total   int64
	top     float64
	largest float64
}

// add counts values. It returns false for NaN and infinity.
func (h *histogram) add(x []float32) bool {
	for _, v := range x {
		a := math.Abs(float64(v))
		if !(a <= math.MaxFloat32) {
			return false
		}
		if a > h.largest || h.top == 0 {
			h.grow(a)
		}
		h.counts[int(a*(bins/h.top))]++
	}
	h.total += int64(len(x))
	return true
}

// grow makes room for a magnitude.
func (h *histogram) grow(a float64) {
	h.largest = max(h.largest, a)
	// A smaller value would give a scale without a reciprocal.
	h.top = max(h.top, 0x1p-90)
	for a >= h.top {
		if h.total == 0 && h.counts == [bins]int64{} {
			_, e := math.Frexp(a)
			h.top = math.Ldexp(1, e)
			return
		}
		h.top *= 2
		for i := range bins / 2 {
			h.counts[i] = h.counts[2*i] + h.counts[2*i+1]
		}
		clear(h.counts[bins/2:])
	}
}

// above returns the share of values that exceed a magnitude.
func (h *histogram) above(limit float64) float64 {
	var n int64
	for i := int(math.Ceil(limit * (bins / h.top))); i < bins; i++ {
		n += h.counts[i]
	}
	return float64(n) / float64(h.total)
}

// limit chooses the largest magnitude to represent.
func (h *histogram) limit(method Method) float64 {
	var limit float64
	switch method {
	case Percentile:
		limit = h.percentile(0.9999)
	case Entropy:
		limit = h.leastDivergence()
	case MSE:
		limit = h.leastError()
	default:
		limit = h.largest
	}
	return min(limit, h.largest)
}

// percentile returns the end of the bin in which the cumulative share is reached.
func (h *histogram) percentile(share float64) float64 {
	var n int64
	for i, c := range h.counts {
		if n += c; float64(n) >= share*float64(h.total) {
			return float64(i+1) * (h.top / bins)
		}
	}
	return h.largest
}

// leastError tries the end of every bin.
func (h *histogram) leastError() float64 {
	const tried = 512
	best, least := h.largest, math.Inf(1)
	width := h.top / bins
	used := min(int(h.largest/width)+1, bins)
	for i := range tried {
		limit := h.largest * float64(i+1) / tried
		scale := limit / 127
		var sum float64
		for b, c := range h.counts[:used] {
			if c == 0 {
				continue
			}
			x := float64((float64(b) + 0.5) * width)
			d := x - float64(scale*min(math.Round(x/scale), 127))
			if sum += float64(d * d * float64(c)); sum > least {
				break
			}
		}
		if sum < least {
			best, least = limit, sum
		}
	}
	return best
}

// leastDivergence is TensorRT's algorithm over 2,048 bins.
func (h *histogram) leastDivergence() float64 {
	const wide, steps = 2048, 128
	var counts [wide]float64
	for i, c := range h.counts {
		counts[i*wide/bins] += float64(c)
	}
	total := float64(h.total)
	// Values near zero, such as those of padding and ReLU, must not decide.
	total += counts[1] - counts[0]
	counts[0] = counts[1]
	used := wide
	for used > 0 && counts[used-1] == 0 {
		used--
	}
	best, least := h.largest, math.Inf(1)
	outside := total
	for _, c := range counts[:min(steps, used)] {
		outside -= c
	}
	for n := steps; n <= used; n++ {
		if n > steps {
			outside -= counts[n-1]
		}
		if d := divergenceInSteps(counts[:n], max(outside, 0), steps); d <= least {
			best, least = float64(n)*(h.top/wide), d
		}
	}
	return best
}

// divergenceInSteps returns the divergence between a histogram, whose last bin also counts what
// lies outside, and the same histogram in so many steps. The count of each step is spread evenly
// over its bins that are not empty.
func divergenceInSteps(counts []float64, outside float64, steps int) float64 {
	n := len(counts)
	var all, inside float64
	for _, c := range counts {
		inside += c
	}
	all = inside + outside
	if inside == 0 {
		return math.Inf(1)
	}
	var sum float64
	for s := range steps {
		lo, hi := (s*n+steps-1)/steps, ((s+1)*n+steps-1)/steps
		var count float64
		full := 0
		for _, c := range counts[lo:hi] {
			count += c
			if c > 0 {
				full++
			}
		}
		for i := lo; i < hi; i++ {
			p := counts[i]
			if i == n-1 {
				p += outside
			}
			if p == 0 {
				continue
			}
			if counts[i] == 0 {
				return math.Inf(1) // a clipped value has no counterpart inside
			}
			q := count / float64(full) / inside
			p /= all
			sum += float64(p * exact.Log(p/q))
		}
	}
	return sum
}
