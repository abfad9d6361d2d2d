// Package linear trains linear classifiers on bags of words and of word pairs.
// What they reach is the floor of a task: a share of the examples for which no
// reading of the text is needed.
package linear

import (
	"math"
	"math/rand/v2"
	"strings"
	"unicode"

	"github.com/skive-ml/skive/data"
)

// Features says what a classifier sees of a text.
type Features int

// The features of a text. Each counts once, and those of the two texts of a
// pair are told apart.
const (
	// Words are the words, whatever their order.
	Words Features = iota
	// Bigrams are the words and the pairs of adjacent words.
	Bigrams
	// Pairs are the words and all pairs of two words of the text, whatever
	// their order and distance. Texts longer than 64 words are paired within a
	// distance of 64.
	Pairs
)

// String returns what the features are, for a sentence.
func (f Features) String() string {
	switch f {
	case Words:
		return "words"
	case Bigrams:
		return "words and adjacent word pairs"
	}
	return "word pairs"
}

const (
	// hashBits is the logarithm of the number of features that are told apart.
	hashBits = 20
	window   = 64
	epochs   = 4
	rate     = 0.5
	seed     = 1
)

// vectors are the features of the examples, laid end to end.
type vectors struct {
	index  []uint32
	bounds []int
}

func (v *vectors) of(i int) []uint32 { return v.index[v.bounds[i]:v.bounds[i+1]] }

// Accuracy trains a multinomial logistic regression on the training examples
// (four epochs of AdaGrad, averaged over the steps of the last two) and returns
// the share of the development examples that it gets right. Examples without
// a label are left out. The same data give the same figure.
func Accuracy(train, dev *data.Dataset, f Features) float64 {
	classes := max(2, len(train.Task.Labels))
	for _, ds := range []*data.Dataset{train, dev} {
		for i := range ds.Examples {
			classes = max(classes, ds.Examples[i].Label+1)
		}
	}
	c := newClassifier(classes)
	x := extract(train, f)
	var order []int
	for i := range train.Examples {
		if train.Examples[i].Label >= 0 {
			order = append(order, i)
		}
	}
	r := rand.New(rand.NewPCG(seed, 0))
	for epoch := range epochs {
		r.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		if epoch == epochs/2 {
			c.startAverage()
		}
		for _, i := range order {
			c.step(x.of(i), train.Examples[i].Label)
		}
	}
	c.finish()
	x = extract(dev, f)
	right, n := 0, 0
	for i := range dev.Examples {
		if dev.Examples[i].Label < 0 {
			continue
		}
		n++
		if c.predict(x.of(i)) == dev.Examples[i].Label {
			right++
		}
	}
	if n == 0 {
		return 0
	}
	return float64(right) / float64(n)
}

// classifier is a multinomial logistic regression on hashed features.
type classifier struct {
	classes int
	weight  []float32 // [features, classes], the last row is the bias
	square  []float32 // sums of squared gradients
	// drift is the sum over the steps of step number x change of the weight:
	// with it the mean over the steps is had without a pass over all weights.
	drift   []float32
	steps   float32
	average bool
	score   []float64
}

func newClassifier(classes int) *classifier {
	n := (1<<hashBits + 1) * classes
	return &classifier{
		classes: classes,
		weight:  make([]float32, n), square: make([]float32, n), drift: make([]float32, n),
		score: make([]float64, classes),
	}
}

func (c *classifier) row(i uint32) int { return int(i) * c.classes }

// scores computes the logits.
func (c *classifier) scores(x []uint32) {
	bias := c.row(1 << hashBits)
	for k := range c.score {
		c.score[k] = float64(c.weight[bias+k])
	}
	for _, i := range x {
		for k, w := range c.weight[c.row(i) : c.row(i)+c.classes] {
			c.score[k] += float64(w)
		}
	}
}

func (c *classifier) predict(x []uint32) int {
	c.scores(x)
	best := 0
	for k, s := range c.score {
		if s > c.score[best] {
			best = k
		}
	}
	return best
}

func (c *classifier) startAverage() { c.average = true }

// step takes one step of AdaGrad on an example. Features are scaled by the root
// of their number, so that long texts do not step further than short ones.
func (c *classifier) step(x []uint32, label int) {
	c.scores(x)
	top := c.score[0]
	for _, s := range c.score {
		top = max(top, s)
	}
	sum := 0.0
	for k, s := range c.score {
		c.score[k] = math.Exp(s - top)
		sum += c.score[k]
	}
	if c.average {
		c.steps++
	}
	scale := 1 / math.Sqrt(float64(len(x)+1))
	for k := range c.score {
		g := c.score[k] / sum
		if k == label {
			g--
		}
		g32 := float32(g * scale)
		if g32 == 0 {
			continue
		}
		for _, i := range x {
			c.update(c.row(i)+k, g32)
		}
		c.update(c.row(1<<hashBits)+k, g32)
	}
}

func (c *classifier) update(i int, g float32) {
	c.square[i] += g * g
	d := -rate * g / float32(math.Sqrt(float64(c.square[i]))+1e-6)
	c.weight[i] += d
	if c.average {
		c.drift[i] += c.steps * d
	}
}

// finish replaces the weights by their mean.
func (c *classifier) finish() {
	if c.steps == 0 {
		return
	}
	for i := range c.weight {
		c.weight[i] -= c.drift[i] / c.steps
	}
}

// extract computes the features of every example.
func extract(ds *data.Dataset, f Features) *vectors {
	v := &vectors{bounds: make([]int, 1, len(ds.Examples)+1)}
	// seen holds, for each feature, the number of the last example that has it.
	seen := make([]int32, 1<<hashBits)
	ids := map[string]uint32{}
	var words []uint32
	for n := range ds.Examples {
		e := &ds.Examples[n]
		add := func(h uint32) {
			h = mix(h) >> (32 - hashBits)
			if seen[h] != int32(n)+1 {
				seen[h] = int32(n) + 1
				v.index = append(v.index, h)
			}
		}
		texts := []string{e.Text, e.Pair}
		if !e.HasPair {
			texts = texts[:1]
		}
		for side, text := range texts {
			words = words[:0]
			for w := range strings.FieldsFuncSeq(strings.ToLower(text), notWord) {
				id, ok := ids[w]
				if !ok {
					id = hash(w)
					ids[w] = id
				}
				words = append(words, id)
			}
			salt := uint32(side) * 0x85ebca6b
			for i, w := range words {
				add(w + salt)
				switch f {
				case Bigrams:
					if i > 0 {
						add(words[i-1]*31 + w + salt + 1)
					}
				case Pairs:
					for _, u := range words[max(0, i-window):i] {
						add((u^w)*31 + u + w + salt + 2)
					}
				}
			}
		}
		v.bounds = append(v.bounds, len(v.index))
	}
	return v
}

func notWord(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsNumber(r) && r != '\'' }

// hash is FNV-1a.
func hash(s string) uint32 {
	h := uint32(2166136261)
	for i := range len(s) {
		h = (h ^ uint32(s[i])) * 16777619
	}
	return mix(h)
}

func mix(h uint32) uint32 {
	h ^= h >> 16
	h *= 0x7feb352d
	h ^= h >> 15
	h *= 0x846ca68b
	return h ^ h>>16
}
