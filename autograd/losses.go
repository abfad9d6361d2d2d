package autograd

import (
	"fmt"
	"math"

	"github.com/skive-ml/skive/internal/exact"
	"github.com/skive-ml/skive/internal/kernels"
)

// Reduction says how the losses of the examples become one number.
type Reduction int

// Mean divides their sum by the number of examples with a label.
const (
	Mean Reduction = iota
	Sum
)

func (r Reduction) scale(n int) float64 {
	if r == Sum {
		return 1
	}
	return 1 / float64(max(n, 1))
}

// CrossEntropyOptions are the optional parts of cross-entropy with labels.
type CrossEntropyOptions struct {
	// Weights has one number for each class, which multiplies the loss of the examples
	// with that label. The mean then divides by the sum of these numbers. nil weighs
	// all classes alike.
	Weights []float64
	// Smoothing is the share of the target that is spread evenly over the
	// classes (Szegedy et al., arXiv 1512.00567).
	Smoothing float64
}

// crossEntropy compares logits with labels.
type crossEntropy struct {
	CrossEntropyOptions
	reduction Reduction
	gradient  []float32
	losses    []float64 // for each row
}

// CrossEntropy is -log softmax(logits)[label], summed over the examples, or averaged
// over those that have a label. logits is [rows, classes] and labels [rows]. The labels
// -1 and -100 mean that there is none, and such an example does not count. Without any
// label the loss is 0.
func (g *Graph) CrossEntropy(logits, labels *Node, r Reduction) *Node {
	return g.WeightedCrossEntropy(logits, labels, CrossEntropyOptions{}, r)
}

// WeightedCrossEntropy is CrossEntropy with class weights w and smoothing ε, defined as
// in PyTorch's CrossEntropyLoss. With C classes and q the softmax of the logits, the
// loss of an example is
//
//	(1-ε) * -w[label]*log q[label] + ε/C * Σ -w[c]*log q[c]
//
// and the mean divides by the sum of w[label].
func (g *Graph) WeightedCrossEntropy(logits, labels *Node, o CrossEntropyOptions, r Reduction) *Node {
	for _, w := range o.Weights {
		if !(w >= 0) || math.IsInf(w, 1) {
			return g.fail("CrossEntropy: class weights are %v, want finite numbers that are not negative", o.Weights)
		}
	}
	if !(o.Smoothing >= 0 && o.Smoothing < 1) {
		return g.fail("CrossEntropy: smoothing is %v, want 0 <= s < 1", o.Smoothing)
	}
	return g.apply(&crossEntropy{CrossEntropyOptions: o, reduction: r}, []bool{true, false}, logits, labels)
}

func (*crossEntropy) name() string { return "CrossEntropy" }

func (l *crossEntropy) shape(in []array) (array, error) {
	if in[0].dims != 2 || in[1].dims != 1 || in[1].i == nil || in[0].rows != in[1].rows {
		return array{}, fmt.Errorf("logits are %v and labels %v, want [rows classes] and [rows] integers", in[0], in[1])
	}
	if n := len(l.Weights); n > 0 && n != in[0].columns {
		return array{}, fmt.Errorf("%d class weights for %d classes", n, in[0].columns)
	}
	return array{rows: 1, columns: 1}, nil
}

func (l *crossEntropy) weight(class int) float64 {
	if l.Weights == nil {
		return 1
	}
	return l.Weights[class]
}

func (l *crossEntropy) forward(g *Graph, in []array, out array, _ bool) error {
	x, labels := in[0], in[1].i
	l.gradient = grow(l.gradient, len(x.f))
	count, total := 0.0, 0.0
	for i, label := range labels {
		if label >= int32(x.columns) || label < 0 && label != -1 && label != -100 {
			return fmt.Errorf("label of row %d is %d, want 0 to %d, or -1 for none", i, label, x.columns-1)
		}
		if label >= 0 {
			count += l.weight(int(label))
		}
	}
	scale := 1.0
	if l.reduction == Mean {
		if scale = 0; count > 0 {
			scale = 1 / count
		}
	}
	spread, all := l.Smoothing/float64(x.columns), 0.0
	for c := range x.columns {
		all += l.weight(c)
	}
	l.losses = grow(l.losses, x.rows)
	g.rows(x.rows, func(_, _, lo, hi int) {
		for i := lo; i < hi; i++ {
			d, label := l.gradient[i*x.columns:][:x.columns], labels[i]
			l.losses[i] = 0
			if label < 0 {
				clear(d)
				continue
			}
			sum := logSumExp(x.row(i), 1)
			hard := float64((1 - l.Smoothing) * l.weight(int(label)))
			for c, v := range x.row(i) {
				target := float64(spread * l.weight(c))
				if c == int(label) {
					target += hard
				}
				if target != 0 {
					l.losses[i] += float64(target * (sum - float64(v)))
				}
				d[c] = float32((float64(exact.Exp(float64(v)-sum)*(hard+float64(spread*all))) - target) * scale)
			}
		}
	})
	for _, loss := range l.losses {
		total += loss
	}
	out.f[0] = float32(total * scale)
	return nil
}

func (l *crossEntropy) backward(g *Graph, in []array, out, dout array, d []array) error {
	kernels.Scale(d[0].f, dout.f[0], l.gradient)
	return nil
}

// logSumExp returns log Σ exp(x*scale).
func logSumExp(x []float32, scale float64) float64 {
	m := math.Inf(-1)
	for _, v := range x {
		m = math.Max(m, float64(v)*scale)
	}
	sum := 0.0
	for _, v := range x {
		sum += exact.Exp(float64(float64(v)*scale) - m)
	}
	return m + exact.Log(sum)
}

// binaryCrossEntropy compares each logit with its own target.
type binaryCrossEntropy struct{ gradient []float32 }

// BinaryCrossEntropy is the mean over all elements of -t*log σ(x) - (1-t)*log(1-σ(x)),
// with logits x and targets t between 0 and 1, both [rows, classes] (PyTorch's
// BCEWithLogitsLoss). The target gets no gradient.
func (g *Graph) BinaryCrossEntropy(logits, target *Node) *Node {
	return g.apply(&binaryCrossEntropy{}, []bool{true, false}, logits, target)
}

func (*binaryCrossEntropy) name() string { return "BinaryCrossEntropy" }

func (*binaryCrossEntropy) shape(in []array) (array, error) { return pair(in) }

func (l *binaryCrossEntropy) forward(g *Graph, in []array, out array, _ bool) error {
	x, target := in[0].f, in[1].f
	l.gradient = grow(l.gradient, len(x))
	total, scale := 0.0, 1/float64(len(x))
	for i, v := range x {
		loss, d := binary(float64(v), float64(target[i]))
		total += loss
		l.gradient[i] = float32(d * scale)
	}
	out.f[0] = float32(total * scale)
	return nil
}

func (l *binaryCrossEntropy) backward(g *Graph, in []array, out, dout array, d []array) error {
	kernels.Scale(d[0].f, dout.f[0], l.gradient)
	return nil
}

// choiceCrossEntropy compares the scores of a group with each other.
type choiceCrossEntropy struct{ gradient []float32 }

// ChoiceCrossEntropy is the mean over the groups of -log softmax(the group's
// scores)[right row]. scores is [rows, 1]. Neighbouring rows with equal numbers in
// groups [rows] form a group. labels [rows] is 1 for a group's right row and 0 for the
// others. A group without a right row does not count.
func (g *Graph) ChoiceCrossEntropy(scores, groups, labels *Node) *Node {
	return g.apply(&choiceCrossEntropy{}, []bool{true, false, false}, scores, groups, labels)
}

func (*choiceCrossEntropy) name() string { return "ChoiceCrossEntropy" }

func (*choiceCrossEntropy) shape(in []array) (array, error) {
	x := in[0]
	if x.dims != 2 || x.columns != 1 {
		return array{}, fmt.Errorf("scores are %v, want [rows 1]", x)
	}
	for _, v := range in[1:] {
		if v.dims != 1 || v.i == nil || v.rows != x.rows {
			return array{}, fmt.Errorf("scores are %v with %v, want [rows] integers", x, v)
		}
	}
	return array{rows: 1, columns: 1}, nil
}

func (l *choiceCrossEntropy) forward(g *Graph, in []array, out array, _ bool) error {
	scores, groups, labels := in[0].f, in[1].i, in[2].i
	l.gradient = grow(l.gradient, len(scores))
	clear(l.gradient)
	total, count := 0.0, 0
	for lo, hi := 0, 0; lo < len(scores); lo = hi {
		right := -1
		for hi = lo; hi < len(scores) && groups[hi] == groups[lo]; hi++ {
			if labels[hi] == 1 {
				right = hi
			}
		}
		if right < 0 {
			continue
		}
		count++
		sum := logSumExp(scores[lo:hi], 1)
		total += sum - float64(scores[right])
		for i := lo; i < hi; i++ {
			l.gradient[i] = float32(exact.Exp(float64(scores[i]) - sum))
		}
		l.gradient[right]--
	}
	scale := Mean.scale(count)
	kernels.Scale(l.gradient, float32(scale), l.gradient)
	out.f[0] = float32(total * scale)
	return nil
}

func (l *choiceCrossEntropy) backward(g *Graph, in []array, out, dout array, d []array) error {
	kernels.Scale(d[0].f, dout.f[0], l.gradient)
	return nil
}

// soft is shared by the losses against a teacher's logits.
type soft struct {
	temperature *Weight
	gradient    []float32
	losses      []float64 // for each row
}

// prepare returns the temperature, and provides memory for the gradient of x.
func (l *soft) prepare(x array) (float64, error) {
	l.gradient, l.losses = grow(l.gradient, len(x.f)), grow(l.losses, x.rows)
	temperature := float64(l.temperature.Value())
	if !(temperature > 0) {
		return 0, fmt.Errorf("temperature is %v, want a positive number", temperature)
	}
	return temperature, nil
}

// compare sets d to the gradient of Σ -p*log q and returns that sum. p is
// softmax(target/T) and q softmax(x/T).
func compare(x, target, d []float32, temperature, scale float64) float64 {
	total, inverse := 0.0, 1/temperature
	logQ, logP := logSumExp(x, inverse), logSumExp(target, inverse)
	for c, v := range x {
		p := exact.Exp(float64(float64(target[c])*inverse) - logP)
		q := float64(float64(v)*inverse) - logQ
		total -= float64(p * q)
		d[c] = float32((exact.Exp(q) - p) * inverse * scale)
	}
	return total
}

func (l *soft) backward(g *Graph, in []array, out, dout array, d []array) error {
	kernels.Scale(d[0].f, dout.f[0], l.gradient)
	return nil
}

// applySoft adds a loss with a temperature, whose second input is a teacher's logits.
func (g *Graph) applySoft(b block, temperature *Weight, inputs ...*Node) *Node {
	if temperature == nil || !(temperature.value > 0) {
		return g.fail("%s: temperature is %v, want a positive number", b.name(), temperature)
	}
	return g.apply(b, append([]bool{true}, make([]bool, len(inputs)-1)...), inputs...)
}

// softCrossEntropy compares logits with a teacher's.
type softCrossEntropy struct {
	soft
	reduction Reduction
}

// SoftCrossEntropy is the loss of knowledge distillation (Hinton et al., arXiv
// 1503.02531). With p = softmax(target/T) and q = softmax(logits/T), it is
//
//	T² * Σ -p*log q
//
// averaged over the rows, or summed. The factor T² keeps the gradient's size the same
// at any temperature. The value is a cross-entropy, so it is not 0 if both agree.
// logits and target are [rows, classes]; the target gets no gradient. The temperature
// may change between runs.
func (g *Graph) SoftCrossEntropy(logits, target *Node, temperature *Weight, r Reduction) *Node {
	return g.applySoft(&softCrossEntropy{soft: soft{temperature: temperature}, reduction: r}, temperature, logits, target)
}

func (*softCrossEntropy) name() string { return "SoftCrossEntropy" }

func (*softCrossEntropy) shape(in []array) (array, error) { return pair(in) }

// pair checks that two inputs are matrices of the same shape. The loss is a scalar.
func pair(in []array) (array, error) {
	a, b := in[0], in[1]
	if a.dims != 2 || b.dims != 2 || a.rows != b.rows || a.columns != b.columns {
		return array{}, fmt.Errorf("input is %v and target %v, want matrices of one shape", a, b)
	}
	return array{rows: 1, columns: 1}, nil
}

func (l *softCrossEntropy) forward(g *Graph, in []array, out array, _ bool) error {
	x, t := in[0], in[1]
	temperature, err := l.prepare(x)
	if err != nil {
		return err
	}
	scale := l.reduction.scale(x.rows) * temperature * temperature
	g.rows(x.rows, func(_, _, lo, hi int) {
		for i := lo; i < hi; i++ {
			l.losses[i] = compare(x.row(i), t.row(i), l.gradient[i*x.columns:][:x.columns], temperature, scale)
		}
	})
	total := 0.0
	for _, loss := range l.losses {
		total += loss
	}
	out.f[0] = float32(total * scale)
	return nil
}

// choiceSoftCrossEntropy compares scores with a teacher's.
type choiceSoftCrossEntropy struct{ soft }

// ChoiceSoftCrossEntropy is SoftCrossEntropy over the rows of a group instead of over
// classes: T² * Σ -p*log q, averaged over the groups, where p and q are the softmax of
// target/T and scores/T within a group. scores and target are [rows, 1]. Neighbouring
// rows with equal numbers in groups [rows] form a group.
func (g *Graph) ChoiceSoftCrossEntropy(scores, target, groups *Node, temperature *Weight) *Node {
	return g.applySoft(&choiceSoftCrossEntropy{soft{temperature: temperature}}, temperature, scores, target, groups)
}

func (*choiceSoftCrossEntropy) name() string { return "ChoiceSoftCrossEntropy" }

func (*choiceSoftCrossEntropy) shape(in []array) (array, error) {
	if groups := in[2]; in[0].columns != 1 || groups.dims != 1 || groups.i == nil || groups.rows != in[0].rows {
		return array{}, fmt.Errorf("scores are %v with groups %v, want [rows 1] and [rows] integers", in[0], groups)
	}
	return pair(in)
}

func (l *choiceSoftCrossEntropy) forward(g *Graph, in []array, out array, _ bool) error {
	x, t, groups := in[0].f, in[1].f, in[2].i
	temperature, err := l.prepare(in[0])
	if err != nil {
		return err
	}
	total, count := 0.0, 0
	for lo, hi := 0, 0; lo < len(x); lo = hi {
		for hi = lo; hi < len(x) && groups[hi] == groups[lo]; hi++ {
		}
		total += compare(x[lo:hi], t[lo:hi], l.gradient[lo:hi], temperature, 1)
		count++
	}
	scale := Mean.scale(count) * temperature * temperature
	kernels.Scale(l.gradient, float32(scale), l.gradient)
	out.f[0] = float32(total * scale)
	return nil
}

// softBinaryCrossEntropy compares each logit with a teacher's.
type softBinaryCrossEntropy struct{ soft }

// SoftBinaryCrossEntropy is SoftCrossEntropy for independent yes-or-no questions. With
// p = σ(target/T) and q = σ(logits/T), it is the mean over all elements of
//
//	T² * (-p*log q - (1-p)*log(1-q))
//
// logits and target are [rows, classes]; the target gets no gradient.
func (g *Graph) SoftBinaryCrossEntropy(logits, target *Node, temperature *Weight) *Node {
	return g.applySoft(&softBinaryCrossEntropy{soft{temperature: temperature}}, temperature, logits, target)
}

func (*softBinaryCrossEntropy) name() string { return "SoftBinaryCrossEntropy" }

func (*softBinaryCrossEntropy) shape(in []array) (array, error) { return pair(in) }

func (l *softBinaryCrossEntropy) forward(g *Graph, in []array, out array, _ bool) error {
	temperature, err := l.prepare(in[0])
	if err != nil {
		return err
	}
	total, scale := 0.0, temperature*temperature/float64(len(in[0].f))
	for i, v := range in[0].f {
		loss, d := binary(float64(v)/temperature, sigmoid(float64(in[1].f[i])/temperature))
		total += loss
		l.gradient[i] = float32(d / temperature * scale)
	}
	out.f[0] = float32(total * scale)
	return nil
}

// binary returns -t*log σ(z) - (1-t)*log(1-σ(z)) and its derivative with respect
// to z.
func binary(z, t float64) (loss, d float64) {
	// log(1+exp(z)) - t*z, written so that exp does not overflow.
	return math.Max(z, 0) - float64(t*z) + exact.Log1p(exact.Exp(-math.Abs(z))), sigmoid(z) - t
}

func sigmoid(z float64) float64 { return 1 / (1 + exact.Exp(-z)) }

// distance is a loss that compares hidden states.
type distance struct {
	kind distanceKind
	sums []float64 // for each part
}

type distanceKind int

const (
	squared distanceKind = iota
	angular
	normalized
)

// MSE is the mean over all elements of (x-target)². Both are [rows, columns]; the
// target gets no gradient.
func (g *Graph) MSE(x, target *Node) *Node {
	return g.apply(&distance{}, []bool{true, false}, x, target)
}

// CosineLoss is the mean over the rows of 1 - cos(x, target). Both are [rows, columns];
// the target gets no gradient.
func (g *Graph) CosineLoss(x, target *Node) *Node {
	return g.apply(&distance{kind: angular}, []bool{true, false}, x, target)
}

// NormalizedMSE is the loss of patient knowledge distillation (Sun et al., arXiv
// 1908.09355, equation 7): the mean over the rows of ‖x/‖x‖ - target/‖target‖‖². Both
// are [rows, columns]; the target gets no gradient.
func (g *Graph) NormalizedMSE(x, target *Node) *Node {
	return g.apply(&distance{kind: normalized}, []bool{true, false}, x, target)
}

func (l *distance) name() string {
	return [...]string{"MSE", "CosineLoss", "NormalizedMSE"}[l.kind]
}

func (l *distance) shape(in []array) (array, error) { return pair(in) }

func (l *distance) forward(g *Graph, in []array, out array, _ bool) error {
	x, t := in[0], in[1]
	l.sums = grow(l.sums, (x.rows+grain-1)/grain)
	g.rows(x.rows, func(_, part, lo, hi int) {
		sum := 0.0
		for i := lo; i < hi; i++ {
			target := t.row(i)
			switch l.kind {
			case squared:
				for j, v := range x.row(i) {
					d := float64(v - target[j])
					sum += float64(d * d)
				}
			case angular:
				c, _, _ := cosine(x.row(i), target)
				sum += 1 - c
			case normalized:
				_, nx, nt := cosine(x.row(i), target)
				for j, v := range x.row(i) {
					d := float64(v)/nx - float64(target[j])/nt
					sum += float64(d * d)
				}
			}
		}
		l.sums[part] = sum
	})
	total := 0.0
	for _, s := range l.sums {
		total += s
	}
	n := x.rows
	if l.kind == squared {
		n *= x.columns
	}
	out.f[0] = float32(total / float64(n))
	return nil
}

// cosine returns the cosine of two vectors, and their lengths, which are at least 1e-8
// as in PyTorch.
func cosine(x, y []float32) (c, nx, ny float64) {
	const eps = 1e-8
	var dot float64
	for i, v := range x {
		dot += float64(float64(v) * float64(y[i]))
		nx += float64(float64(v) * float64(v))
		ny += float64(float64(y[i]) * float64(y[i]))
	}
	nx, ny = math.Max(math.Sqrt(nx), eps), math.Max(math.Sqrt(ny), eps)
	return dot / (nx * ny), nx, ny
}

func (l *distance) backward(g *Graph, in []array, out, dout array, d []array) error {
	x, t := in[0], in[1]
	scale := float64(dout.f[0]) / float64(x.rows)
	g.rows(x.rows, func(_, _, lo, hi int) {
		for i := lo; i < hi; i++ {
			row, target, to := x.row(i), t.row(i), d[0].row(i)
			if l.kind == squared {
				f := float32(2 * scale / float64(x.columns))
				for j, v := range row {
					to[j] = f * (v - target[j])
				}
				continue
			}
			c, nx, ny := cosine(row, target)
			a, b := -scale/(nx*ny), scale*c/(nx*nx)
			if l.kind == normalized { // ‖x/‖x‖ - t/‖t‖‖² is 2 - 2 cos(x, t)
				a, b = 2*a, 2*b
			}
			for j, v := range row {
				to[j] = float32(float64(a*float64(target[j])) + float64(b*float64(v)))
			}
		}
	})
	return nil
}

// Weight is a number in a loss that may change between runs: its factor or temperature.
type Weight struct{ value float32 }

// NewWeight returns a weight with the given value.
func NewWeight(value float32) *Weight { return &Weight{value} }

// Set changes the weight for the next runs.
func (w *Weight) Set(value float32) { w.value = value }

// Value returns the weight.
func (w *Weight) Value() float32 { return w.value }

func (w *Weight) String() string {
	if w == nil {
		return "missing"
	}
	return fmt.Sprint(w.value)
}

// Term is a weighted loss.
type Term struct {
	Loss   *Node
	Weight *Weight
}

type weightedSum struct{ weights []*Weight }

// WeightedSum adds up scalar losses, each multiplied by its weight.
func (g *Graph) WeightedSum(terms ...Term) *Node {
	s := &weightedSum{}
	var inputs []*Node
	var diff []bool
	for _, t := range terms {
		for _, n := range inputs {
			if n == t.Loss {
				return g.fail("WeightedSum: the same loss twice")
			}
		}
		if t.Weight == nil {
			return g.fail("WeightedSum: a loss without weight")
		}
		s.weights = append(s.weights, t.Weight)
		inputs, diff = append(inputs, t.Loss), append(diff, true)
	}
	if len(terms) == 0 {
		return g.fail("WeightedSum: no losses")
	}
	return g.apply(s, diff, inputs...)
}

func (*weightedSum) name() string { return "WeightedSum" }

func (*weightedSum) shape(in []array) (array, error) {
	for i, a := range in {
		if a.dims != 0 {
			return array{}, fmt.Errorf("loss %d is %v, want a scalar", i, a)
		}
	}
	return array{rows: 1, columns: 1}, nil
}

func (s *weightedSum) forward(g *Graph, in []array, out array, _ bool) error {
	total := 0.0
	for i, a := range in {
		total += float64(float64(a.f[0]) * float64(s.weights[i].value))
	}
	out.f[0] = float32(total)
	return nil
}

func (s *weightedSum) backward(g *Graph, in []array, out, dout array, d []array) error {
	for i := range in {
		if d[i].f != nil {
			d[i].f[0] = dout.f[0] * s.weights[i].value
		}
	}
	return nil
}
