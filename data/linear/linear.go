// Package linear trains linear models on bags of words and of word pairs. They do not see the
// order of words. A model has to beat them before its answers say anything about understanding.
package linear

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"unicode"

	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/head"
	"github.com/skive-ml/skive/internal/exact"
)

// Features says what a model sees of a text.
type Features int

const (
	// Words are the words of the text, of both texts of a pair, or of a choice. If words have
	// labels, it is the word with its neighbours on both sides.
	Words Features = iota
	// Pairs are the words and also all unordered pairs of words in the text. For a choice these
	// are pairs with a word of the question.
	Pairs
)

// String returns the name of the features.
func (f Features) String() string {
	if f == Pairs {
		return "word pairs"
	}
	return "words"
}

const (
	// Features are hashed into maxBuckets weights for each class, or into fewer if all classes
	// together would need more than maxWeights.
	maxBuckets = 1 << 20
	maxWeights = 1 << 24
	epochs     = 3
	rate       = 0.1
	// maxPaired is how many words of a text are paired at most. A long text then costs no more
	// than some thousand pairs.
	maxPaired = 64
)

// ErrNoLabels tells that an example has no label.
var ErrNoLabels = errors.New("linear: an example has no label")

// Accuracy returns the accuracy of the answers that Outcome returns.
func Accuracy(train, dev *data.Dataset, f Features) (float64, error) {
	o, err := Outcome(train, dev, f)
	if err != nil {
		return 0, err
	}
	return o.Metric("accuracy")
}

// Outcome trains a linear model of the task's kind on the training set and returns its answers
// for the development set together with the truth. It uses AdaGrad (Duchi et al. 2011) and hashed
// features, which count as often as they occur. The model is a multinomial logistic regression
// for classes, choices and the classes of words, a logistic regression for each of several
// labels, and least squares for numbers. The task of a masked language model is not possible.
func Outcome(train, dev *data.Dataset, f Features) (*data.Outcome, error) {
	columns, err := columns(train, dev)
	if err != nil {
		return nil, err
	}
	buckets := maxBuckets
	for buckets > 1 && buckets*columns > maxWeights {
		buckets /= 2
	}
	m := &model{
		features: f, columns: columns, buckets: uint64(buckets),
		weights: make([]float32, buckets*columns), squares: make([]float32, buckets*columns),
	}
	slope := slopes[train.Task.Kind](train)
	order := make([]int, len(train.Examples))
	for i := range order {
		order[i] = i
	}
	r := rand.New(rand.NewPCG(1, 1))
	for range epochs {
		r.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		for _, i := range order {
			m.learn(&train.Examples[i], slope)
		}
	}
	var outputs []float32
	for i := range dev.Examples {
		m.predict(&dev.Examples[i])
		for _, s := range m.scores {
			outputs = append(outputs, float32(s))
		}
	}
	return dev.Outcome(outputs, columns), nil
}

// MostFrequent returns the outcome of one answer for everything, the most frequent one of the
// training set: a class, a place among the choices, the labels that hold more often than not or
// else the first of them, or the mean of the numbers.
func MostFrequent(train, dev *data.Dataset) (*data.Outcome, error) {
	columns, err := columns(train, dev)
	if err != nil {
		return nil, err
	}
	var counts []float32
	add := func(i int, x float32) {
		for i >= len(counts) {
			counts = append(counts, 0)
		}
		counts[i] += x
	}
	n := float32(len(train.Examples))
	for i := range train.Examples {
		switch e := &train.Examples[i]; {
		case train.Task.Kind.OneNumber():
			add(0, e.Value/n)
		case len(e.Labels) > 0 || len(e.Words) > 0:
			for _, label := range e.Labels {
				if label >= 0 {
					add(int(label), 1)
				}
			}
		case train.Task.Kind.Outputs() != head.Labels:
			add(e.Label, 1)
		}
	}
	add(columns-1, 0)
	if train.Task.Kind.Outputs() == head.Labels {
		most := 0
		for l, c := range counts {
			if c > counts[most] {
				most = l
			}
			counts[l] = c - float32(n/2)
		}
		counts[most] = max(counts[most], 1)
	}
	var outputs []float32
	for i := range dev.Examples {
		e := &dev.Examples[i]
		switch {
		case len(e.Choices) > 0:
			add(len(e.Choices)-1, 0)
			outputs = append(outputs, counts[:len(e.Choices)]...)
		default:
			for range max(1, len(e.Words)) {
				outputs = append(outputs, counts[:columns]...)
			}
		}
	}
	return dev.Outcome(outputs, columns), nil
}

// columns returns how many numbers an answer has.
func columns(train, dev *data.Dataset) (int, error) {
	n := 1
	for _, set := range []*data.Dataset{train, dev} {
		for i := range set.Examples {
			e := &set.Examples[i]
			if e.Label < 0 {
				return 0, ErrNoLabels
			}
			if set.Task.Kind.OneClass() {
				n = max(n, e.Label+1)
			}
		}
		if set.Task.Kind.Named() {
			n = max(n, len(set.Task.Labels))
		}
	}
	if slopes[train.Task.Kind] == nil {
		return 0, fmt.Errorf("linear: a task of %s has no linear model", train.Task.Kind)
	}
	return n, nil
}

// slope replaces the scores of an example, [rows × columns], by the derivative of its loss with
// respect to them.
type slope func(e *data.Example, scores []float64, columns int)

// slopes returns the slope of each kind of head, for a training set.
var slopes = map[head.Kind]func(train *data.Dataset) slope{
	head.SingleLabel: func(*data.Dataset) slope {
		return func(e *data.Example, scores []float64, _ int) {
			softmax(scores)
			scores[e.Label]--
		}
	},
	head.MultiLabel: func(*data.Dataset) slope {
		return func(e *data.Example, scores []float64, _ int) {
			for l, s := range scores {
				scores[l] = 1 / (1 + exact.Exp(-s))
			}
			for _, l := range e.Labels {
				scores[l]--
			}
		}
	},
	head.Regression: func(train *data.Dataset) slope {
		// The scores are shifted and scaled to numbers around 0, which leaves their correlations
		// the same.
		var mean, square float64
		for i := range train.Examples {
			v := float64(train.Examples[i].Value)
			mean += v / float64(len(train.Examples))
			square += v * v / float64(len(train.Examples))
		}
		deviation := math.Sqrt(max(square-float64(mean*mean), 1e-12))
		return func(e *data.Example, scores []float64, _ int) {
			scores[0] -= (float64(e.Value) - mean) / deviation
		}
	},
	head.MultipleChoice: func(*data.Dataset) slope {
		return func(e *data.Example, scores []float64, _ int) {
			softmax(scores)
			scores[e.Label]--
		}
	},
	head.TokenClassification: func(*data.Dataset) slope {
		return func(e *data.Example, scores []float64, columns int) {
			for w := range len(scores) / columns {
				row := scores[w*columns:][:columns]
				if w >= len(e.Labels) || e.Labels[w] < 0 {
					clear(row)
					continue
				}
				softmax(row)
				row[e.Labels[w]]--
			}
		}
	},
	head.MaskedLM: nil,
}

// softmax turns scores into probabilities.
func softmax(scores []float64) {
	top := scores[0]
	for _, s := range scores {
		top = max(top, s)
	}
	sum := 0.0
	for c, s := range scores {
		scores[c] = exact.Exp(s - top)
		sum += scores[c]
	}
	for c := range scores {
		scores[c] /= sum
	}
}

type model struct {
	features         Features
	columns          int
	buckets          uint64
	weights, squares []float32 // [buckets × columns]
	scores           []float64 // [rows × columns] of the last example
	active           [][]uint32
	words, question  []uint64
}

// predict computes the scores of an example.
func (m *model) predict(e *data.Example) {
	m.extract(e)
	m.scores = m.scores[:0]
	for _, active := range m.active {
		at := len(m.scores)
		for range m.columns {
			m.scores = append(m.scores, 0)
		}
		for _, b := range active {
			row := m.weights[int(b)*m.columns:][:m.columns]
			for c, w := range row {
				m.scores[at+c] += float64(w)
			}
		}
	}
}

// learn makes one AdaGrad step on the loss of an example.
func (m *model) learn(e *data.Example, slope slope) {
	m.predict(e)
	slope(e, m.scores, m.columns)
	for r, active := range m.active {
		for _, b := range active {
			at := int(b) * m.columns
			for c, g := range m.scores[r*m.columns:][:m.columns] {
				if g == 0 {
					continue
				}
				m.squares[at+c] += float32(g * g)
				m.weights[at+c] -= float32(rate * g / (math.Sqrt(float64(m.squares[at+c])) + 1e-8))
			}
		}
	}
}

// row begins the buckets of the next row.
func (m *model) row() *[]uint32 {
	if len(m.active) < cap(m.active) {
		m.active = m.active[:len(m.active)+1]
	} else {
		m.active = append(m.active, nil)
	}
	last := &m.active[len(m.active)-1]
	*last = (*last)[:0]
	return last
}

// extract lists the buckets of an example's features, row by row.
func (m *model) extract(e *data.Example) {
	m.active = m.active[:0]
	switch {
	case len(e.Words) > 0:
		m.ofWords(e.Words)
	case len(e.Choices) > 0:
		m.question = split(m.question[:0], e.Text)
		for _, choice := range e.Choices {
			m.words = split(m.words[:0], choice)
			m.bag(m.row(), m.words, m.question)
		}
	default:
		m.words = split(m.words[:0], e.Text)
		if e.HasPair {
			m.words = split(m.words, e.Pair)
		}
		m.bag(m.row(), m.words, m.words)
	}
}

// bag appends the buckets of words and, if the features include pairs, of their pairs with
// others. If others are the words themselves, each pair is appended once.
func (m *model) bag(to *[]uint32, words, others []uint64) {
	for _, w := range words {
		*to = append(*to, uint32(w%m.buckets))
	}
	if m.features == Words {
		return
	}
	own := len(others) > 0 && len(words) > 0 && &others[0] == &words[0]
	others = others[:min(len(others), maxPaired)]
	for i, a := range words[:min(len(words), maxPaired)] {
		with := others
		if own {
			with = others[:i]
		}
		for _, b := range with {
			// The sum does not depend on the order of the two.
			*to = append(*to, uint32(mix(a+b)%m.buckets))
		}
	}
}

// ofWords appends a row for each word, with the word and its neighbours by position.
func (m *model) ofWords(words []string) {
	m.words = m.words[:0]
	for _, w := range words {
		m.words = append(m.words, hash(strings.ToLower(w)))
	}
	for i, w := range m.words {
		to := m.row()
		*to = append(*to, uint32(w%m.buckets))
		for place, at := range []int{i - 1, i + 1} {
			if at < 0 || at >= len(m.words) {
				continue
			}
			near := mix(m.words[at] + uint64(place) + 1)
			*to = append(*to, uint32(near%m.buckets))
			if m.features == Pairs {
				*to = append(*to, uint32(mix(w+near)%m.buckets))
			}
		}
	}
}

// split appends the words of a text.
func split(to []uint64, text string) []uint64 {
	for word := range strings.FieldsFuncSeq(strings.ToLower(text), func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r)
	}) {
		to = append(to, hash(word))
	}
	return to
}

// hash returns the FNV-1a hash after mix.
func hash(word string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(word) {
		h = (h ^ uint64(word[i])) * 1099511628211
	}
	return mix(h)
}

// mix is the finalizer of SplitMix64.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
