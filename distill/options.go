package distill

import (
	"fmt"
	"math"

	"github.com/skive-ml/skive/train"
)

// Distances between hidden states.
const (
	// MSE is the mean squared difference over all tokens and dimensions.
	MSE = "mse"
	// Cosine is 1 - cos(student, teacher), the mean over all tokens.
	Cosine = "cosine"
)

// Losses weighs the terms of the objective; a weight of 0 leaves the term out.
type Losses struct {
	// Soft weighs the cross-entropy of the student's logits against the
	// teacher's probabilities, both at Temperature T, times T².
	Soft        float64
	Temperature float64
	// Hard weighs the cross-entropy against the labels.
	Hard float64
	// Hidden weighs the distance of the hidden states of mapped layers, and of
	// the embeddings' output: the mean over the pairs and it. Where the widths
	// differ, learned projections of the student's states stand between; they
	// are not part of the resulting model.
	Hidden         float64
	HiddenDistance string
	// Relations weighs the divergence of the self-attention relations of the
	// mapped layers: the sum of query-query, key-key and value-value, the mean
	// over the pairs. RelationHeads is the number of heads into which the
	// queries, keys and values of both are cut anew, so that teacher and
	// student need not have equal numbers of attention heads; 0 takes the
	// student's number of heads, or the next smaller one that divides the
	// attention widths of both.
	Relations     float64
	RelationHeads int
	// HiddenMap and RelationMap say which of the teacher's layers each of the
	// student's learns from. The zero value is Uniform.
	HiddenMap, RelationMap LayerMap
}

// Options are the settings of a distillation. Start from Defaults.
type Options struct {
	train.Options
	Losses
}

// Defaults returns train's defaults with soft cross-entropy at temperature 1
// alone, as FastFormers distills.
func Defaults() Options {
	o := Options{Options: train.Defaults()}
	o.Stage = "distill"
	o.Soft, o.Temperature, o.HiddenDistance = 1, 1, MSE
	return o
}

// Validate reports the first setting that is out of its range, as a
// *train.OptionError.
func (o *Options) Validate() error {
	if err := o.Options.Validate(); err != nil {
		return err
	}
	some := false
	for _, w := range []struct {
		name  string
		value float64
	}{{"soft", o.Soft}, {"hard", o.Hard}, {"hidden", o.Hidden}, {"relations", o.Relations}} {
		if !(w.value >= 0) || math.IsInf(w.value, 1) {
			return &train.OptionError{Option: w.name, Value: w.value, Want: "a finite weight that is not negative"}
		}
		some = some || w.value > 0
	}
	switch {
	case !some:
		return &train.OptionError{Option: "soft", Value: o.Soft, Want: "a positive weight of at least one of soft, hard, hidden and relations"}
	case o.Soft > 0 && (!(o.Temperature > 0) || math.IsInf(o.Temperature, 1)):
		return &train.OptionError{Option: "temperature", Value: o.Temperature, Want: "a positive number"}
	case o.Hidden > 0 && o.HiddenDistance != MSE && o.HiddenDistance != Cosine:
		return &train.OptionError{Option: "hidden-distance", Value: fmt.Sprintf("%q", o.HiddenDistance), Want: "mse or cosine"}
	case o.RelationHeads < 0:
		return &train.OptionError{Option: "relation-heads", Value: o.RelationHeads, Want: "a positive number, or 0 for the student's heads"}
	}
	return nil
}

// settings are the losses by flag name, for the provenance.
func (l *Losses) settings() map[string]string {
	s := map[string]string{}
	for name, v := range map[string]float64{"soft": l.Soft, "hard": l.Hard, "hidden": l.Hidden, "relations": l.Relations} {
		if v > 0 {
			s[name] = fmt.Sprint(v)
		}
	}
	if l.Soft > 0 {
		s["temperature"] = fmt.Sprint(l.Temperature)
	}
	if l.Hidden > 0 {
		s["hidden-distance"] = l.HiddenDistance
		s["hidden-map"] = l.HiddenMap.String()
	}
	if l.Relations > 0 {
		s["relation-heads"] = fmt.Sprint(l.RelationHeads)
		s["relation-map"] = l.RelationMap.String()
	}
	return s
}
