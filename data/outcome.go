package data

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/skive-ml/skive/head"
	"github.com/skive-ml/skive/internal/exact"
)

// Outcome holds a model's answers and the truth. All lists have one entry for each answer: an
// example, a word in a task that labels words, or a label in a task where several may hold.
type Outcome struct {
	Task Task
	// Predicted and Want are class indices. For a multiple choice they are the numbers of the
	// choices, and for several labels 1 if the label holds. A word that the model did not see has
	// -1 if there is no label "O". In ReCoRD, Predicted is 1 for the entity that the model finds
	// most likely for a query. Both are empty in a regression.
	Predicted, Want []int32
	// Scores and Values are the numbers of a regression, predicted and true. In ReCoRD they are
	// how likely each entity is and its score if chosen, see Example.Value. For a masked language
	// model, Values holds the loss of each word.
	Scores, Values []float32
	// Unit numbers answers that belong together and are adjacent: those of an example, or of the
	// question, query or pair that several examples share.
	Unit []int32
	// Loss is the mean loss over the answers.
	Loss float64
}

// Metric computes a metric by its name in Task.Metrics, as the benchmark, scikit-learn, scipy or
// seqeval compute it: as a fraction, a correlation from -1 to 1, or a perplexity. What is
// undefined there (a correlation with a constant) is 0.
func (o *Outcome) Metric(name string) (float64, error) {
	if len(o.Unit) == 0 {
		return 0, fmt.Errorf("metric %s: %w", name, ErrEmpty)
	}
	score, ok := o.metrics()[name]
	if !ok {
		return 0, fmt.Errorf("metric %q: not one of the task %q", name, o.Task.Name)
	}
	return score(o), nil
}

// metrics returns the metrics that this outcome has.
func (o *Outcome) metrics() map[string]func(*Outcome) float64 {
	k, err := o.Task.kindOf()
	if err != nil {
		return nil
	}
	all := k.metrics(o)
	if o.Task.definition().queries {
		all["f1"], all["em"] = (*Outcome).earned, (*Outcome).chosenRight
	}
	return all
}

// ofClasses makes a metric from a function of predicted and true classes.
func ofClasses(f func(predicted, want []int32) float64) func(*Outcome) float64 {
	return func(o *Outcome) float64 { return f(o.Predicted, o.Want) }
}

// classMetrics returns the metrics for texts with one class.
func classMetrics(o *Outcome) map[string]func(*Outcome) float64 {
	all := map[string]func(*Outcome) float64{
		"accuracy": ofClasses(Accuracy), "matthews": ofClasses(Matthews), "f1_macro": ofClasses(MacroF1),
		"f1a": (*Outcome).positiveF1, "em": (*Outcome).exactMatch, "parity": (*Outcome).parity,
	}
	if len(o.Task.Labels) == 2 || o.Task.Positive != "" {
		all["f1"] = (*Outcome).positiveF1
	}
	return all
}

// wordMetrics returns the metrics for the classes of words.
func wordMetrics(o *Outcome) map[string]func(*Outcome) float64 {
	all := map[string]func(*Outcome) float64{"accuracy": ofClasses(Accuracy)}
	if tg := o.Task.tagging(); tg != nil {
		all["entity_f1"] = func(o *Outcome) float64 { return o.entityF1(tg, nil) }
		if s := o.scheme(tg); s != nil {
			all["entity_f1_strict"] = func(o *Outcome) float64 { return o.entityF1(tg, s) }
		}
	}
	return all
}

// Interval returns the 95 % confidence interval of Metric. For an accuracy over independent
// examples it is Wilson's. For everything else it is the percentile bootstrap of Efron (1979)
// over the units. The same outcome gives the same interval.
func (o *Outcome) Interval(name string) ([2]float64, error) {
	value, err := o.Metric(name)
	if err != nil {
		return [2]float64{}, err
	}
	units := o.units()
	if name == "accuracy" && (len(units) == len(o.Unit) || o.Task.Kind.Outputs() == head.Labels) {
		return Wilson(value, len(units)), nil
	}
	score := o.metrics()[name]
	sample := &Outcome{Task: o.Task}
	return resample(len(units), func(chosen []int) float64 { return score(sample.choose(o, units, chosen)) }), nil
}

// Difference returns how much higher o's Metric is than that of other, which another model
// answered to the same data. It also returns the 95 % confidence interval of this difference, by
// the paired bootstrap over the units (Koehn 2004, section 3.3): each unit is drawn for both
// models at once, so units that are hard for both do not widen the interval. If the interval
// excludes 0, one model is better.
func (o *Outcome) Difference(other *Outcome, name string) (float64, [2]float64, error) {
	mine, err := o.Metric(name)
	if err != nil {
		return 0, [2]float64{}, err
	}
	theirs, err := other.Metric(name)
	if err != nil {
		return 0, [2]float64{}, err
	}
	words := o.Task.Kind.Subject() == head.Masks // Values are losses there, not the truth
	if o.Task.Kind != other.Task.Kind || !slices.Equal(o.Unit, other.Unit) || !o.sameTruth(other) ||
		!words && !slices.Equal(o.Values, other.Values) {
		return 0, [2]float64{}, fmt.Errorf("metric %s: the outcomes do not have the same data and labels in the same order", name)
	}
	units, score, scoreOther := o.units(), o.metrics()[name], other.metrics()[name]
	a, b := &Outcome{Task: o.Task}, &Outcome{Task: other.Task}
	return mine - theirs, resample(len(units), func(chosen []int) float64 {
		return score(a.choose(o, units, chosen)) - scoreOther(b.choose(other, units, chosen))
	}), nil
}

// sameTruth tells whether another outcome is about the same answers. The labels of its model may
// be in another order.
func (o *Outcome) sameTruth(other *Outcome) bool {
	mine, theirs := o.Task.Labels, other.Task.Labels
	if !o.Task.Kind.Named() || slices.Equal(mine, theirs) || Unnamed(mine) || Unnamed(theirs) || o.Task.definition().queries {
		return slices.Equal(o.Want, other.Want)
	}
	order := make([]int32, len(mine))
	for i, name := range mine {
		order[i] = -1
		if n, err := findLabel(theirs, name); err == nil {
			order[i] = int32(n)
		}
	}
	if o.Task.Kind.Outputs() != head.Labels {
		return slices.EqualFunc(o.Want, other.Want, func(a, b int32) bool { return int(a) < len(order) && order[a] == b })
	}
	if len(mine) != len(theirs) || len(o.Want) != len(other.Want) || slices.Contains(order, -1) {
		return false
	}
	for i, want := range o.Want { // labels of one example
		l := i % len(order)
		if other.Want[i-l+int(order[l])] != want {
			return false
		}
	}
	return true
}

// resample returns the percentile interval of a score over random samples of the units, drawn
// with replacement. The same number of units gives the same samples.
func resample(units int, score func(chosen []int) float64) [2]float64 {
	r := rand.New(rand.NewPCG(1, 0))
	scores, chosen := make([]float64, resamples), make([]int, units)
	for s := range scores {
		for i := range chosen {
			chosen[i] = r.IntN(units)
		}
		scores[s] = score(chosen)
	}
	return percentiles(scores)
}

// choose sets o to the chosen units of another outcome.
func (o *Outcome) choose(from *Outcome, units [][2]int, chosen []int) *Outcome {
	o.reset()
	for i, u := range chosen {
		o.take(from, units[u][0], units[u][1], int32(i))
	}
	return o
}

// units returns the range of answers of each unit.
func (o *Outcome) units() [][2]int {
	var units [][2]int
	for lo, hi := 0, 0; lo < len(o.Unit); lo = hi {
		for hi = lo; hi < len(o.Unit) && o.Unit[hi] == o.Unit[lo]; hi++ {
		}
		units = append(units, [2]int{lo, hi})
	}
	return units
}

func (o *Outcome) reset() {
	o.Predicted, o.Want, o.Scores, o.Values, o.Unit = o.Predicted[:0], o.Want[:0], o.Scores[:0], o.Values[:0], o.Unit[:0]
}

// take appends the answers [lo, hi) of another outcome as one unit.
func (o *Outcome) take(from *Outcome, lo, hi int, unit int32) {
	if from.Predicted != nil {
		o.Predicted, o.Want = append(o.Predicted, from.Predicted[lo:hi]...), append(o.Want, from.Want[lo:hi]...)
	}
	if from.Scores != nil {
		o.Scores = append(o.Scores, from.Scores[lo:hi]...)
	}
	if from.Values != nil {
		o.Values = append(o.Values, from.Values[lo:hi]...)
	}
	for range hi - lo {
		o.Unit = append(o.Unit, unit)
	}
}

// perplexity returns exp of the mean loss.
func (o *Outcome) perplexity() float64 {
	sum := 0.0
	for _, v := range o.Values {
		sum += float64(v)
	}
	return exact.Exp(ratio(sum, float64(len(o.Values))))
}

// exactMatch returns the share of units with only right answers: the exact match of MultiRC's
// questions, or the subset accuracy of several labels.
func (o *Outcome) exactMatch() float64 {
	right, units := 0, o.units()
	for _, u := range units {
		if slices.Equal(o.Predicted[u[0]:u[1]], o.Want[u[0]:u[1]]) {
			right++
		}
	}
	return ratio(float64(right), float64(len(units)))
}

// parity returns the share of AX-g's pairs with the same answer for both forms. A single form
// counts for nothing.
func (o *Outcome) parity() float64 {
	alike, pairs := 0, 0
	for _, u := range o.units() {
		p := o.Predicted[u[0]:u[1]]
		if len(p) < 2 {
			continue
		}
		pairs++
		if !slices.ContainsFunc(p, func(c int32) bool { return c != p[0] }) {
			alike++
		}
	}
	return ratio(float64(alike), float64(pairs))
}

// earned returns the mean score of the entities chosen for ReCoRD's queries.
func (o *Outcome) earned() float64 {
	sum := 0.0
	for i, p := range o.Predicted {
		if p == 1 {
			sum += float64(o.Values[i])
		}
	}
	return ratio(sum, float64(len(o.units())))
}

// chosenRight returns the share of ReCoRD's queries whose chosen entity is an answer.
func (o *Outcome) chosenRight() float64 {
	right := 0
	for i, p := range o.Predicted {
		if p == 1 && o.Want[i] == 1 {
			right++
		}
	}
	return ratio(float64(right), float64(len(o.units())))
}

// positiveF1 returns the F1 of the task's positive class.
func (o *Outcome) positiveF1() float64 { return classF1(o.Predicted, o.Want, o.Task.positive()) }

// labelF1 returns the mean F1 over the labels.
func (o *Outcome) labelF1() float64 {
	n := len(o.Task.Labels)
	predicted, want := make([]int32, 0, len(o.Want)/n), make([]int32, 0, len(o.Want)/n)
	sum := 0.0
	for l := range n {
		predicted, want = predicted[:0], want[:0]
		for i := l; i < len(o.Want); i += n {
			predicted, want = append(predicted, o.Predicted[i]), append(want, o.Want[i])
		}
		sum += F1(predicted, want)
	}
	return sum / float64(n)
}

// measuring is an outcome under construction.
type measuring struct {
	*Encoded
	*Outcome
	columns int
	// grouped and queries come from the task's definition.
	grouped, queries bool
	positive         int32
	likeliest        int // answer to the current query of ReCoRD
	loss             float64
	answers          int
}

// Outcome compares a model's outputs with the truth of the examples, which must all have one.
// outputs are rows with this many columns, numbered as in Rows. In the result, examples that are
// measured together are adjacent; otherwise the order stays. The task of a masked language model
// is not possible.
func (e *Encoded) Outcome(outputs []float32, columns int) *Outcome {
	def := e.Task.definition()
	m := measuring{
		Encoded: e, Outcome: &Outcome{Task: e.Task}, columns: columns,
		grouped: def.grouped, queries: def.queries, positive: e.Task.positive(), likeliest: -1,
	}
	measure := kinds[e.Task.Kind].measure
	for _, i := range e.order(m.grouped) {
		lo, hi := e.Rows(i)
		measure(&m, i, outputs[lo*columns:hi*columns])
	}
	m.Loss = ratio(m.loss, float64(m.answers))
	return m.Outcome
}

// answer appends an answer that is a class, and its loss.
func (m *measuring) answer(predicted, want, unit int32, loss float64) {
	m.Predicted, m.Want, m.Unit = append(m.Predicted, predicted), append(m.Want, want), append(m.Unit, unit)
	m.loss += loss
	m.answers++
}

func (m *measuring) number(i int, rows []float32) {
	m.Scores, m.Values, m.Unit = append(m.Scores, rows[0]), append(m.Values, m.values[i]), append(m.Unit, int32(i))
	d := float64(rows[0]) - float64(m.values[i])
	m.loss += float64(d * d)
	m.answers++
}

func (m *measuring) labels(i int, rows []float32) {
	for l, x := range rows {
		want := int32(m.targets[i*m.width+l])
		m.answer(b2i(x > 0), want, int32(i), softplus(float64(x))-float64(float64(want)*float64(x)))
	}
}

func (m *measuring) words(i int, rows []float32) {
	for _, w := range m.Encoded.words[m.wordEnds[i]:m.wordEnds[i+1]] {
		if w.label < 0 {
			continue
		}
		if w.token < 0 { // cut off, so the model says nothing about it
			m.Predicted, m.Want, m.Unit = append(m.Predicted, m.Outcome.Task.outside()), append(m.Want, w.label), append(m.Unit, int32(i))
			continue
		}
		row := rows[int(w.token)*m.columns:][:m.columns]
		m.answer(argmax(row), w.label, int32(i), crossEntropy(row, int(w.label)))
	}
}

func (m *measuring) choice(i int, rows []float32) {
	m.answer(argmax(rows), m.Encoded.labels[i], int32(i), crossEntropy(rows, int(m.Encoded.labels[i])))
}

func (m *measuring) class(i int, rows []float32) {
	unit, label := int32(i), m.Encoded.labels[i]
	if m.grouped {
		unit = m.groups[i]
	}
	m.answer(argmax(rows), label, unit, crossEntropy(rows, int(label)))
	if !m.queries {
		return
	}
	m.Values = append(m.Values, m.values[i])
	m.Scores = append(m.Scores, margin(rows, int(m.positive)))
	last := len(m.Predicted) - 1
	m.Predicted[last], m.Want[last] = 0, b2i(label == m.positive)
	if m.likeliest < 0 || m.Unit[m.likeliest] != unit {
		m.likeliest = last
		m.Predicted[last] = 1
	} else if m.Scores[last] > m.Scores[m.likeliest] {
		m.Predicted[m.likeliest], m.Predicted[last] = 0, 1
		m.likeliest = last
	}
}

// Answered returns the examples of ds, which must be the encoded data set, with a model's answers
// instead of the true ones. outputs are as in Outcome. The task of a masked language model is not
// possible.
func (e *Encoded) Answered(ds *Dataset, outputs []float32, columns int) *Dataset {
	out := &Dataset{Task: ds.Task, Examples: slices.Clone(ds.Examples)}
	answered := kinds[e.Task.Kind].answered
	for i := range out.Examples {
		lo, hi := e.Rows(i)
		ex := &out.Examples[i]
		ex.Label = 0
		answered(e, ex, i, outputs[lo*columns:hi*columns], columns)
	}
	return out
}

// chosen sets an example's label to the most likely class or choice.
func chosen(_ *Encoded, ex *Example, _ int, rows []float32, _ int) { ex.Label = int(argmax(rows)) }

// labelledWords sets the label of each word to its most likely class.
func labelledWords(e *Encoded, ex *Example, i int, rows []float32, columns int) {
	ex.Labels = nil
	for _, w := range e.words[e.wordEnds[i]:e.wordEnds[i+1]] {
		label := int32(-1)
		if w.token >= 0 {
			label = argmax(rows[int(w.token)*columns:][:columns])
		}
		ex.Labels = append(ex.Labels, label)
	}
}

// order returns the numbers of the examples in the order of an outcome: their own, or with
// examples that are measured together side by side.
func (e *Encoded) order(grouped bool) []int {
	order := make([]int, e.Len())
	first := map[int32]int{} // first example of each group
	for i := range order {
		order[i] = i
		if grouped {
			if _, ok := first[e.groups[i]]; !ok {
				first[e.groups[i]] = i
			}
		}
	}
	if grouped {
		slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(first[e.groups[a]], first[e.groups[b]]) })
	}
	return order
}

// outside returns the label of words outside of entities, or -1 if no label is "O".
func (t Task) outside() int32 { return int32(slices.Index(t.Labels, "O")) }

// margin returns how far the value of a class is above the largest of the others.
func margin(row []float32, class int) float32 {
	others := slices.Delete(slices.Clone(row), class, class+1)
	return row[class] - slices.Max(others)
}

// argmax returns the index of the largest value, the first of equals.
func argmax(row []float32) int32 {
	best := 0
	for i, v := range row {
		if v > row[best] {
			best = i
		}
	}
	return int32(best)
}

func crossEntropy(row []float32, label int) float64 {
	top := float64(row[argmax(row)])
	var sum float64
	for _, v := range row {
		sum += exact.Exp(float64(v) - top)
	}
	return top + exact.Log(sum) - float64(row[label])
}

// softplus returns log(1 + exp(x)).
func softplus(x float64) float64 { return max(x, 0) + exact.Log1p(exact.Exp(-math.Abs(x))) }

// Outcome compares outputs with the truth of the examples, which must all have one, without
// knowing their tokens. There is a row of outputs for each example, for each of its choices, or
// for each of its words. The task of a masked language model is not possible.
func (ds *Dataset) Outcome(outputs []float32, columns int) *Outcome {
	e := &Encoded{Task: ds.Task, labels: make([]int32, len(ds.Examples)), offsets: []int32{0}, first: []int32{0}, wordEnds: []int32{0}}
	for i := range ds.Examples {
		ex := &ds.Examples[i]
		sequences, tokens := max(1, len(ex.Choices)), max(1, len(ex.Words))
		for range sequences {
			e.offsets = append(e.offsets, e.offsets[len(e.offsets)-1]+int32(tokens))
		}
		e.first = append(e.first, e.first[i]+int32(sequences))
		for w := range ex.Words {
			label := int32(-1)
			if w < len(ex.Labels) {
				label = ex.Labels[w]
			}
			e.words = append(e.words, word{label, int32(w)})
		}
		e.wordEnds = append(e.wordEnds, int32(len(e.words)))
	}
	e.truth(ds, kinds[ds.Task.Kind])
	return e.Outcome(outputs, columns)
}
