package distill

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/skive-ml/skive/autograd"
	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/internal/exact"
	"github.com/skive-ml/skive/train"
)

// Distances between hidden states.
const (
	// MSE is the mean squared difference over all tokens and dimensions.
	MSE = "mse"
	// Cosine is 1 - cos(student, teacher), the mean over all tokens.
	Cosine = "cosine"
	// PKD is the squared difference of the states of [CLS], each scaled to unit
	// length, the mean over the examples (Sun et al., arXiv 1908.09355). Of the
	// embeddings it is the mean over all tokens.
	PKD = "pkd"
)

// CrossEntropy is a distance between attention maps, beside MSE and Cosine.
const CrossEntropy = "ce"

// Schedules of the temperature, beside Cosine.
const (
	Constant = "constant"
	Linear   = "linear"
)

// Losses weighs the terms of the objective; a weight of 0 leaves the term out.
type Losses struct {
	// Soft weighs the cross-entropy of the student's logits against the
	// teacher's probabilities, both at Temperature T, times T²: of classes, of
	// the choices of a question, of each of several labels, of the classes of
	// each word or of the tokens behind masks. In a regression it is the squared
	// difference of the numbers, which T does not change.
	Soft        float64
	Temperature float64
	// TemperatureSchedule is how the temperature goes from Temperature at the
	// first step to TemperatureEnd at the last: Linear, Cosine (half a wave of
	// it), or Constant, which stays at Temperature.
	TemperatureSchedule string
	TemperatureEnd      float64
	// Hard weighs the loss against the labels, see train.Target.
	Hard float64
	// LogitsMSE weighs the mean squared difference of the logits.
	LogitsMSE float64
	// Embeddings weighs the distance of the embedding layer's outputs, and
	// Hidden that of the hidden states of mapped layers, the mean over the
	// pairs. Where the widths differ, learned projections of the student's
	// states stand between (TinyBERT, equations 8 and 9); they are not part of
	// the resulting model. HiddenDistance is MSE (also where it is ""), Cosine or
	// PKD.
	Embeddings     float64
	Hidden         float64
	HiddenDistance string
	// Attention weighs the difference of the attention of mapped layers, the
	// mean over the pairs. AttentionDistance is MSE (also where it is "") of the
	// scores before the softmax (TinyBERT), or Cosine or CrossEntropy of the maps. Layers
	// with windows are compared within them, and want equal ones. Where the
	// numbers of heads differ, HeadMeans compares the means over the heads;
	// without it, such layers are refused.
	Attention         float64
	AttentionDistance string
	HeadMeans         bool
	// MiniLM weighs the divergence of the last layers' attention maps plus that
	// of their value relations (Wang et al., arXiv 2002.10957). It wants equal
	// numbers of heads; Relations does not.
	MiniLM float64
	// Relations weighs the divergence of the self-attention relations of the
	// mapped layers: the sum of query-query, key-key and value-value, the mean
	// over the pairs (MiniLMv2). RelationHeads is the number of heads into which
	// the queries, keys and values of both are cut anew, so that teacher and
	// student need not have equal numbers of attention heads; 0 takes the
	// student's number of heads, or the next smaller one that divides the
	// attention widths of both.
	Relations     float64
	RelationHeads int
	// HiddenMap, AttentionMap and RelationMap say which of the teacher's layers
	// each of the student's learns from. The zero value is Uniform.
	HiddenMap    LayerMap
	AttentionMap LayerMap
	RelationMap  LayerMap
	// Own are losses of the program's own. They are no settings: a recipe has none.
	Own []Loss
}

// DefaultCacheMax is the space for a teacher's hidden states on disk.
const DefaultCacheMax = 4 << 30

// Options are the settings of a distillation. Start from Defaults.
type Options struct {
	train.Options
	Losses
	// Ensemble are teachers beside the one that Run is given: the student learns
	// from the weighted mean of their logits. TeacherWeight is the weight of
	// that one. Hidden states and attention are the first teacher's.
	Ensemble      []Teacher
	TeacherWeight float64
	// TeacherPrecision is the Precision of the teachers, which are computed and
	// not trained; "" stands for the student's.
	TeacherPrecision string
	// AllowCrossTokenizer lets teacher and student have different tokenizers, of
	// which each then gives its own model's tokens. Only losses on the logits
	// can be had so.
	AllowCrossTokenizer bool
	// Cache is a directory that keeps the teachers' outputs, for the epochs that
	// follow and for other runs with the same teacher and data; "" keeps the
	// logits in memory alone. Logits are always stored; hidden states, queries,
	// keys and values of the examples that fit into CacheMax bytes, if a later
	// epoch reads them. The others are computed anew. A result never depends on
	// it: states are rounded to half precision whether they are stored or not.
	Cache    string
	CacheMax int64

	shards *shardSet // that give the outputs, nil for none
	making *making   // of shards in the place of a training, or nil
}

// Teacher is a model with its weight in an ensemble.
type Teacher struct {
	Model  *checkpoints.Model
	Weight float64
}

// Defaults returns train's defaults with soft cross-entropy at temperature 1
// alone, as FastFormers distills.
func Defaults() Options {
	o := Options{Options: train.Defaults(), TeacherWeight: 1, CacheMax: DefaultCacheMax}
	o.Stage = "distill"
	o.Soft, o.Temperature, o.TemperatureSchedule = 1, 1, Constant
	o.HiddenDistance, o.AttentionDistance = MSE, MSE
	return o
}

// teacherPrecision is the precision of the teachers, infer.F32 or infer.BF16.
func (o *Options) teacherPrecision() string {
	return cmp.Or(o.TeacherPrecision, o.Precision, infer.F32)
}

// weighed is the weight of a loss by its field.
type weighed struct {
	field string
	value float64
}

// predictions are the losses on logits, and inner those on what is inside the
// encoder.
func (l *Losses) predictions() []weighed {
	return append([]weighed{{"Soft", l.Soft}, {"LogitsMSE", l.LogitsMSE}, {"Hard", l.Hard}}, l.own(false)...)
}

func (l *Losses) inner() []weighed {
	return append([]weighed{{"Embeddings", l.Embeddings}, {"Hidden", l.Hidden}, {"Attention", l.Attention}, {"MiniLM", l.MiniLM}, {"Relations", l.Relations}}, l.own(true)...)
}

// own are the program's own losses that read what is inside the encoder, or none of
// it.
func (l *Losses) own(inner bool) (weights []weighed) {
	for i, own := range l.Own {
		if slices.ContainsFunc(own.Reads, Part.inner) == inner {
			weights = append(weights, weighed{fmt.Sprintf("Own[%d]", i), own.Weight})
		}
	}
	return weights
}

// some returns the field of the first loss with a positive weight, or "".
func some(weights []weighed) string {
	for _, w := range weights {
		if w.value > 0 {
			return w.field
		}
	}
	return ""
}

var attentionDistances = map[string]autograd.AttentionDistance{
	"": autograd.ScoreMSE, MSE: autograd.ScoreMSE, Cosine: autograd.MapCosine, CrossEntropy: autograd.MapCrossEntropy,
}

func known[V any](names map[string]V, name string) bool {
	_, ok := names[name]
	return ok
}

// temperature is that of a step, from 1 to steps.
func (l *Losses) temperature(step, steps int) float64 {
	share := 0.0
	if steps > 1 {
		share = float64(step-1) / float64(steps-1)
	}
	switch l.TemperatureSchedule {
	case Cosine:
		share = (1 - exact.Cos(math.Pi*share)) / 2
	case Linear:
	default:
		share = 0
	}
	return l.Temperature + float64(share*(l.TemperatureEnd-l.Temperature))
}
