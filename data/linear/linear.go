// Package linear trains linear classifiers on bags of words and of word pairs.
// They see no order: their accuracy is the floor that a model must beat before
// its own says anything about understanding.
package linear

import (
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"unicode"

	"github.com/skive-ml/skive/data"
)

// Features says what a classifier sees of a text.
type Features int

const (
	// Words are the words of the text.
	Words Features = iota
	// Pairs are the words and, in addition, all unordered pairs of words that
	// occur together in the text.
	Pairs
)

// String names the features.
func (f Features) String() string {
	if f == Pairs {
		return "word pairs"
	}
	return "words"
}

const (
	// Features are hashed into maxBuckets weights for each class, or fewer where
	// the classes are so many that the weights would be more than maxWeights.
	maxBuckets = 1 << 20
	maxWeights = 1 << 24
	epochs     = 3
	rate       = 0.1
	// maxPaired bounds the words of a text that are paired, so that a long text
	// costs no more than some thousand pairs.
	maxPaired = 64
)

// ErrNoLabels tells that an example carries no label.
var ErrNoLabels = errors.New("linear: an example has no label")

// Accuracy trains a multinomial logistic regression on the training set, with
// AdaGrad (Duchi et al. 2011) and hashed features, which count as often as they
// occur, and returns its
// accuracy on the development set.
func Accuracy(train, dev *data.Dataset, f Features) (float64, error) {
	classes := 0
	for _, set := range []*data.Dataset{train, dev} {
		for i := range set.Examples {
			if set.Examples[i].Label < 0 {
				return 0, ErrNoLabels
			}
			classes = max(classes, set.Examples[i].Label+1)
		}
	}
	buckets := maxBuckets
	for buckets > 1 && buckets*classes > maxWeights {
		buckets /= 2
	}
	m := &model{
		features: f, classes: classes, buckets: uint64(buckets),
		weights: make([]float32, buckets*classes), squares: make([]float32, buckets*classes),
		scores: make([]float64, classes),
	}
	order := make([]int, len(train.Examples))
	for i := range order {
		order[i] = i
	}
	r := rand.New(rand.NewPCG(1, 1))
	for range epochs {
		r.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		for _, i := range order {
			m.learn(&train.Examples[i])
		}
	}
	right := 0
	for i := range dev.Examples {
		if m.predict(&dev.Examples[i]) == dev.Examples[i].Label {
			right++
		}
	}
	return float64(right) / float64(len(dev.Examples)), nil
}

type model struct {
	features         Features
	classes          int
	buckets          uint64
	weights, squares []float32 // [buckets × classes]
	scores           []float64 // [classes]
	words            []uint64
	active           []uint32
}

func (m *model) predict(e *data.Example) int {
	m.extract(e)
	clear(m.scores)
	for _, b := range m.active {
		row := m.weights[int(b)*m.classes:][:m.classes]
		for c, w := range row {
			m.scores[c] += float64(w)
		}
	}
	best := 0
	for c, s := range m.scores {
		if s > m.scores[best] {
			best = c
		}
	}
	return best
}

// learn takes one AdaGrad step on the cross-entropy of an example.
func (m *model) learn(e *data.Example) {
	top := m.scores[m.predict(e)]
	sum := 0.0
	for c, s := range m.scores {
		m.scores[c] = math.Exp(s - top)
		sum += m.scores[c]
	}
	for c := range m.scores {
		m.scores[c] /= sum
	}
	m.scores[e.Label]--
	for _, b := range m.active {
		at := int(b) * m.classes
		for c, g := range m.scores {
			m.squares[at+c] += float32(g * g)
			m.weights[at+c] -= float32(rate * g / (math.Sqrt(float64(m.squares[at+c])) + 1e-8))
		}
	}
}

// extract lists the buckets of an example's features.
func (m *model) extract(e *data.Example) {
	m.words, m.active = m.words[:0], m.active[:0]
	split := func(text string) {
		for word := range strings.FieldsFuncSeq(strings.ToLower(text), func(r rune) bool {
			return !unicode.IsLetter(r) && !unicode.IsDigit(r)
		}) {
			h := uint64(14695981039346656037)
			for i := range len(word) {
				h = (h ^ uint64(word[i])) * 1099511628211
			}
			m.words = append(m.words, mix(h))
		}
	}
	split(e.Text)
	if e.HasPair {
		split(e.Pair)
	}
	for _, w := range m.words {
		m.active = append(m.active, uint32(w%m.buckets))
	}
	if m.features == Words {
		return
	}
	paired := m.words[:min(len(m.words), maxPaired)]
	for i, a := range paired {
		for _, b := range paired[:i] {
			// The sum does not tell the order of the two.
			m.active = append(m.active, uint32(mix(a+b)%m.buckets))
		}
	}
}

// mix is the finalizer of SplitMix64.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
