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
	// PKD is the squared difference of the states of [CLS], each scaled to unit length, averaged
	// over the examples (Sun et al., arXiv 1908.09355). For embeddings it is averaged over all
	// tokens.
	PKD = "pkd"
)

// CrossEntropy is a distance between attention maps. The others are MSE and Cosine.
const CrossEntropy = "ce"

// Schedules of the temperature. Cosine is another.
const (
	Constant = "constant"
	Linear   = "linear"
)

// Losses holds the weights of the objective's terms. A weight of 0 leaves the term out.
type Losses struct {
	// Soft weighs the cross-entropy between the student's logits and the teacher's probabilities,
	// both at Temperature T, times T². It covers classes, the choices of a question, each of
	// several labels, the classes of each word, and the tokens behind masks. In a regression it
	// is the squared difference of the numbers, which T does not change.
	Soft        float64
	Temperature float64
	// TemperatureSchedule says how the temperature changes from Temperature at the first step to
	// TemperatureEnd at the last: Linear, Cosine (half a wave), or Constant, which stays at
	// Temperature.
	TemperatureSchedule string
	TemperatureEnd      float64
	// Hard weighs the loss against the labels, see train.Target.
	Hard float64
	// LogitsMSE weighs the mean squared difference of the logits.
	LogitsMSE float64
	// Embeddings weighs the distance between the outputs of the embedding layers. Hidden weighs
	// the distance between the hidden states of mapped layers, averaged over the pairs. If the
	// widths differ, learned matrices project the student's states to the teacher's width
	// (TinyBERT, equations 8 and 9); they are not part of the resulting model. HiddenDistance is
	// MSE (also if ""), Cosine or PKD.
	Embeddings     float64
	Hidden         float64
	HiddenDistance string
	// Attention weighs the difference of the attention in mapped layers, averaged over the pairs.
	// AttentionDistance is MSE (also if "") of the scores before the softmax (TinyBERT), or
	// Cosine or CrossEntropy of the maps. Layers with windows are compared inside their windows,
	// which must be equal. If the numbers of heads differ, HeadMeans compares the means over the
	// heads; without it, such layers are an error.
	Attention         float64
	AttentionDistance string
	HeadMeans         bool
	// MiniLM weighs the divergence of the last layers' attention maps plus the divergence of
	// their value relations (Wang et al., arXiv 2002.10957). It needs equal numbers of heads;
	// Relations does not.
	MiniLM float64
	// Relations weighs the divergence of the self-attention relations of mapped layers, averaged
	// over the pairs: the sum for query-query, key-key and value-value (MiniLMv2). RelationHeads
	// is the number of heads into which the queries, keys and values of both models are divided
	// anew, so teacher and student may have different numbers of attention heads. 0 means the
	// student's number of heads, or the next smaller number that divides the attention widths of
	// both.
	Relations     float64
	RelationHeads int
	// HiddenMap, AttentionMap and RelationMap say from which of the teacher's layers each layer
	// of the student learns. The zero value is Uniform.
	HiddenMap    LayerMap
	AttentionMap LayerMap
	RelationMap  LayerMap
	// Own holds losses of the calling program. They are not settings, so a recipe cannot have
	// any.
	Own []Loss
}

// DefaultCacheMax is the default of Options.CacheMax, in bytes.
const DefaultCacheMax = 4 << 30

// Options are the settings of a distillation. Start from Defaults.
type Options struct {
	train.Options
	Losses
	// Ensemble holds further teachers. The student learns from the weighted mean of all teachers'
	// logits. TeacherWeight is the weight of the teacher that is passed to Run; hidden states and
	// attention are those of that teacher.
	Ensemble      []Teacher
	TeacherWeight float64
	// TeacherPrecision is the Precision in which the teachers are computed. "" means the
	// student's.
	TeacherPrecision string
	// AllowCrossTokenizer allows teacher and student to have different tokenizers. Each model
	// then reads its own tokens, and only losses on the logits are possible.
	AllowCrossTokenizer bool
	// Cache is a directory that stores the teachers' outputs for later epochs and for other runs
	// with the same teacher and data. "" keeps only the logits, in memory. Logits are always
	// stored. Hidden states, queries, keys and values are stored if a later epoch reads them, for
	// as many examples as fit into CacheMax bytes, and computed again for the others. Results
	// never depend on the cache: states are rounded to half precision whether they are stored or
	// not.
	Cache    string
	CacheMax int64

	shards *shardSet // shards with the outputs, or nil
	making *making   // makes shards instead of training, or nil
}

// Teacher is a model and its weight in an ensemble.
type Teacher struct {
	Model  *checkpoints.Model
	Weight float64
}

// Defaults returns train's defaults and, as the only loss, soft cross-entropy at temperature 1,
// as in FastFormers.
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

// weighed is a field of Losses and its weight.
type weighed struct {
	field string
	value float64
}

// predictions returns the losses on logits, and inner those on values inside the encoder.
func (l *Losses) predictions() []weighed {
	return append([]weighed{{"Soft", l.Soft}, {"LogitsMSE", l.LogitsMSE}, {"Hard", l.Hard}}, l.own(false)...)
}

func (l *Losses) inner() []weighed {
	return append([]weighed{{"Embeddings", l.Embeddings}, {"Hidden", l.Hidden}, {"Attention", l.Attention}, {"MiniLM", l.MiniLM}, {"Relations", l.Relations}}, l.own(true)...)
}

// own returns the program's own losses that read values inside the encoder, or the others.
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

// temperature returns the temperature of a step, from 1 to steps.
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
