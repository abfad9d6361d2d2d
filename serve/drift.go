package serve

import (
	"context"
	"maps"
	"math"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/head"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/internal/exact"
)

// The kinds of what is counted of inputs and answers, none of which tells a text.
const (
	ofLabels  = "label"
	ofScores  = "score"
	ofLengths = "length"
	ofUnknown = "unknown"
)

const (
	scoreBins  = 10 // of equal width from 0 to 1
	lengthBins = 32 // up to 1, 2, 4, ... tokens

	// The window of what is recent has so many blocks of so many texts, of which the
	// oldest is given up when the newest is full.
	recentBlocks, blockTexts = 8, 512
	// leastTexts is how many texts the window must have for a distance to mean anything:
	// with fewer, chance alone makes it large.
	leastTexts = 256
)

// shares are, by kind, which share of what was seen had which value.
type shares map[string]map[string]float64

// length is the length of a text in tokens, and how many of them the vocabulary lacks.
type length struct{ tokens, unknown int }

// tally counts texts and their answers.
type tally struct {
	texts, tokens, unknown int64
	labels                 []int64 // by label; the last counts texts without any
	scores                 [scoreBins]int64
	lengths                [lengthBins]int64
}

func (c *tally) add(o *tally) {
	c.texts += o.texts
	c.tokens += o.tokens
	c.unknown += o.unknown
	for i, n := range o.labels {
		c.labels[i] += n
	}
	for i, n := range o.scores {
		c.scores[i] += n
	}
	for i, n := range o.lengths {
		c.lengths[i] += n
	}
}

func (c *tally) length(l length) {
	c.texts++
	c.tokens += int64(l.tokens)
	c.unknown += int64(l.unknown)
	c.lengths[min(bits.Len(uint(max(l.tokens, 1)-1)), lengthBins-1)]++
}

// answer counts the labels that an answer gives and how sure it is of them; a number counts
// as its sigmoid.
func (c *tally) answer(p *infer.Prediction, kind head.Kind) {
	switch {
	case kind.Subject() == head.Words:
		for i := range p.Words {
			if w := &p.Words[i]; w.Index >= 0 {
				c.labels[w.Index]++
				c.score(w.Probability)
			}
		}
	case kind.OneNumber():
		c.score(sigmoid(p.Logits[0]))
	case kind.OneClass():
		c.labels[p.Index]++
		c.score(p.Probabilities[p.Index])
	case kind.Outputs() == head.Labels:
		for i, v := range p.Probabilities {
			if v > 0.5 {
				c.labels[i]++
			}
		}
		if len(p.Labels) == 0 {
			c.labels[len(c.labels)-1]++
		}
		c.score(p.Probabilities[p.Index])
	}
}

func (c *tally) score(p float32) { c.scores[min(int(p*scoreBins), scoreBins-1)]++ }

// shares are what the counts say. names are the labels.
func (c *tally) shares(names []string) shares {
	s := shares{}
	put := func(kind, value string, n int64) {
		if s[kind] == nil {
			s[kind] = map[string]float64{}
		}
		s[kind][value] += float64(n)
	}
	for i, n := range c.labels {
		name := "" // of texts without any
		if i < len(names) {
			name = strings.ToValidUTF8(names[i], "\ufffd")
		}
		if n > 0 || name != "" {
			put(ofLabels, name, n)
		}
	}
	for i, n := range c.scores {
		put(ofScores, strconv.FormatFloat(float64(i)/scoreBins, 'f', 1, 64), n)
	}
	for i, n := range c.lengths {
		if n > 0 {
			put(ofLengths, strconv.Itoa(1<<i), n)
		}
	}
	put(ofUnknown, "no", c.tokens-c.unknown)
	put(ofUnknown, "yes", c.unknown)
	for kind, values := range s {
		sum := 0.0
		for _, n := range values {
			sum += n
		}
		if sum == 0 {
			delete(s, kind) // the model has no such thing
			continue
		}
		for value := range values {
			values[value] /= sum
		}
	}
	return s
}

// distance is the Jensen-Shannon distance of two distributions, with logarithms to base 2:
// 0 for equal ones, 1 for those that have nothing in common.
func distance(a, b map[string]float64) float64 {
	values := maps.Clone(a)
	maps.Copy(values, b)
	sum := 0.0
	for _, value := range slices.Sorted(maps.Keys(values)) {
		p, q := a[value], b[value]
		for _, x := range []float64{p, q} {
			if x > 0 {
				sum += float64(x * exact.Log2(2*x/(p+q)) / 2)
			}
		}
	}
	return math.Sqrt(min(max(sum, 0), 1))
}

// recent is what a model's last texts and answers looked like. It is safe for concurrent use.
type recent struct {
	config    checkpoints.Config
	embeds    bool
	reference shares

	mu     sync.Mutex
	blocks [recentBlocks]tally
	at     int
}

func (r *recent) init(config checkpoints.Config, embeds bool, reference shares) {
	r.config, r.embeds, r.reference = config, embeds, reference
	for i := range r.blocks {
		r.blocks[i] = r.empty()
	}
}

func (r *recent) empty() tally { return tally{labels: make([]int64, len(r.config.Labels)+1)} }

// note counts the inputs of a call and, of a model that gives any, its answers.
func (r *recent) note(lengths []length, answers []infer.Prediction) {
	r.mu.Lock()
	defer r.mu.Unlock()
	b := &r.blocks[r.at]
	if b.texts >= blockTexts {
		r.at = (r.at + 1) % recentBlocks
		r.blocks[r.at] = r.empty()
		b = &r.blocks[r.at]
	}
	for _, l := range lengths {
		b.length(l)
	}
	for i := range answers {
		b.answer(&answers[i], r.config.Head)
	}
}

// window is the sum of all blocks.
func (r *recent) window() tally {
	r.mu.Lock()
	defer r.mu.Unlock()
	sum := r.empty()
	for i := range r.blocks {
		sum.add(&r.blocks[i])
	}
	return sum
}

// stageReference is the entry of a model's provenance that holds the shares.
const stageReference = "reference"

// Reference answers the inputs with a pool and returns a record of what inputs and
// answers look like. It holds shares alone, no text. As the last entry of the model's
// provenance it lets a server tell how far its requests are from these inputs. Inputs
// that cannot be computed are an error.
func Reference(ctx context.Context, p *infer.Pool, inputs []infer.Input) (checkpoints.Stage, error) {
	var r recent
	r.init(p.Config(), p.Options().Embedding != "", nil)
	sum := r.empty()
	call := &infer.Call{Each: func(tokens, unknown int) { sum.length(length{tokens, unknown}) }}
	for some := range slices.Chunk(inputs, 64) {
		if r.embeds {
			if _, err := p.EmbedCall(ctx, call, some); err != nil {
				return checkpoints.Stage{}, err
			}
			continue
		}
		answers, err := p.PredictCall(ctx, call, some)
		if err != nil {
			return checkpoints.Stage{}, err
		}
		for i := range answers {
			sum.answer(&answers[i], r.config.Head)
		}
	}
	stage := checkpoints.Stage{
		Name: stageReference, Version: checkpoints.Version, Time: time.Now().UTC(),
		Settings: map[string]string{"texts": strconv.Itoa(len(inputs))}, Measured: map[string]float64{},
	}
	for kind, values := range sum.shares(r.config.Labels) {
		for value, share := range values {
			stage.Measured[kind+"/"+value] = share
		}
	}
	return stage, nil
}

// referenceOf are the shares of a model's provenance, nil for none. What was done to the model
// after they were measured leaves nothing of them.
func referenceOf(provenance []checkpoints.Stage) shares {
	if len(provenance) == 0 || provenance[len(provenance)-1].Name != stageReference {
		return nil
	}
	s := shares{}
	for name, share := range provenance[len(provenance)-1].Measured {
		kind, value, _ := strings.Cut(name, "/")
		if s[kind] == nil {
			s[kind] = map[string]float64{}
		}
		s[kind][value] = share
	}
	return s
}

// drift tells Prometheus of the models' windows.
type drift struct {
	server                 *Server
	texts, share, distance *prometheus.Desc
}

func newDrift(s *Server) *drift {
	return &drift{
		s,
		prometheus.NewDesc("skive_recent_texts", "Texts in the window that skive_recent_share is of.", []string{"model"}, nil),
		prometheus.NewDesc("skive_recent_share", "Shares of the labels, scores, lengths in tokens and unknown tokens of the last texts.", []string{"model", "kind", "value"}, nil),
		prometheus.NewDesc("skive_drift", "How far the shares are from the model's reference, from 0 to 1.", []string{"model", "kind"}, nil),
	}
}

func (d *drift) Describe(c chan<- *prometheus.Desc) {
	c <- d.texts
	c <- d.share
	c <- d.distance
}

func (d *drift) Collect(c chan<- prometheus.Metric) {
	for _, m := range d.server.models {
		if v, ok := m.acquire(); ok {
			d.collect(c, m.options.Name, &v.recent)
			v.release()
		}
	}
}

func (d *drift) collect(c chan<- prometheus.Metric, model string, r *recent) {
	sum := r.window()
	gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
		c <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, append([]string{model}, labels...)...)
	}
	gauge(d.texts, float64(sum.texts))
	for kind, values := range sum.shares(r.config.Labels) {
		for value, share := range values {
			gauge(d.share, share, kind, value)
		}
		if expected := r.reference[kind]; expected != nil && sum.texts >= leastTexts {
			gauge(d.distance, distance(values, expected), kind)
		}
	}
}
