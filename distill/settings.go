package distill

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/settings"
	"github.com/skive-ml/skive/train"
)

// Validate reports the first setting that is out of range, as a *settings.Error.
func (o *Options) Validate() error {
	for i, t := range o.Ensemble {
		if !settings.NotNegative(t.Weight) {
			return settings.Wrong(fmt.Sprintf("Ensemble[%d].Weight", i), t.Weight, wantWeight)
		}
	}
	return o.Settings().Check()
}

// Settings returns the fields as a table of settings.
func (o *Options) Settings() settings.Table {
	weighed := o.TeacherWeight > 0 || slices.ContainsFunc(o.Ensemble, func(t Teacher) bool { return t.Weight > 0 })
	read := len(o.Ensemble) > 0 || o.Soft+o.LogitsMSE > 0
	training := o.Options.Settings()
	for i := range training {
		if slices.Contains(train.OfLabels, training[i].Name) {
			training[i].With = []string{"hard"}
		}
	}
	return slices.Concat(training, o.Losses.Settings(), settings.Table{
		{Name: "teacher-weight", Field: "TeacherWeight", Value: &o.TeacherWeight,
			Want: cmp.Or(
				settings.Unless(settings.NotNegative(o.TeacherWeight), wantWeight),
				settings.Unless(weighed || !read, "a positive weight of at least one teacher"))},
		{Name: "teacher-precision", Field: "TeacherPrecision", Value: &o.TeacherPrecision,
			Doc:  "f32 or bf16 for the teachers (default that of {precision})",
			Want: settings.Unless(slices.Contains([]string{"", infer.F32, infer.BF16}, o.TeacherPrecision), "f32 or bf16")},
		{Name: "allow-cross-tokenizer", Field: "AllowCrossTokenizer", Value: &o.AllowCrossTokenizer,
			Doc: "distill logits between models with different tokenizers"},
		{Name: "cache", Field: "Cache", Value: &o.Cache,
			Doc: "`DIR` that keeps the teachers' outputs for other runs (default in the output directory, until the run is done)"},
		{Name: "cache-max", Field: "CacheMax", Value: (*settings.Bytes)(&o.CacheMax),
			Doc:  "`SIZE` of the cache for the teacher's hidden states, such as 500M; logits are always kept",
			Want: settings.Unless(o.CacheMax >= 0, "a number of bytes that is not negative")},
	})
}

const wantWeight = "a finite weight that is not negative"

// Settings returns the fields as a table of settings. The losses with a weight, and their own
// settings, affect the result.
func (l *Losses) Settings() settings.Table {
	return slices.Concat(l.onLogits(), l.onLayers(), l.maps())
}

// weight returns the row for a loss's weight.
func weight(name, field string, value *float64, doc string) settings.Setting {
	return settings.Setting{Name: name, Field: field, Value: value, Doc: doc, Decides: *value > 0, Want: settings.Unless(settings.NotNegative(*value), wantWeight)}
}

// shown returns the row so that recipes always show it.
func shown(s settings.Setting) settings.Setting {
	s.Shown = true
	return s
}

func (l *Losses) onLogits() settings.Table {
	none := !slices.ContainsFunc(append(l.predictions(), l.inner()...), func(w weighed) bool { return w.value != 0 })
	soft := shown(weight("soft", "Soft", &l.Soft, "weight of the cross-entropy against the teacher's probabilities"))
	soft.Want = cmp.Or(soft.Want, settings.Unless(!none, "a positive weight of at least one loss"))
	scheduled := l.TemperatureSchedule == Linear || l.TemperatureSchedule == Cosine
	constant := l.TemperatureSchedule == Constant || l.TemperatureSchedule == ""
	return settings.Table{
		soft,
		{Name: "temperature", Field: "Temperature", Value: &l.Temperature, Shown: true, NotZero: true, With: []string{"soft"}, Decides: l.Soft > 0,
			Doc:  "temperature of those probabilities",
			Want: settings.Unless(settings.NotNegative(l.Temperature) && (l.Soft <= 0 || l.Temperature > 0), "a positive number")},
		{Name: "temperature-schedule", Field: "TemperatureSchedule", Value: &l.TemperatureSchedule, With: []string{"soft"}, Decides: l.Soft > 0 && scheduled,
			Doc:  "how the temperature goes to {temperature-end}: constant, linear or cosine",
			Want: settings.Unless(l.Soft <= 0 || scheduled || constant, "constant, linear or cosine")},
		{Name: "temperature-end", Field: "TemperatureEnd", Value: &l.TemperatureEnd, NotZero: true, With: []string{"soft"}, Decides: l.Soft > 0 && scheduled,
			Doc:  "temperature of the last step",
			Want: settings.Unless(settings.NotNegative(l.TemperatureEnd) && (l.Soft <= 0 || !scheduled || l.TemperatureEnd > 0), "a positive number")},
		shown(weight("hard", "Hard", &l.Hard, "weight of the cross-entropy against the labels")),
		weight("logits-mse", "LogitsMSE", &l.LogitsMSE, "weight of the squared difference of the logits"),
	}
}

func (l *Losses) onLayers() settings.Table {
	states := l.Embeddings+l.Hidden > 0
	hidden := shown(weight("hidden", "Hidden", &l.Hidden, "weight of the hidden states' distance"))
	hidden.Flag = "hidden-loss"
	return settings.Table{
		shown(weight("embeddings", "Embeddings", &l.Embeddings, "weight of the distance of the embedding layers' outputs")),
		hidden,
		{Name: "hidden-distance", Field: "HiddenDistance", Value: &l.HiddenDistance, With: []string{"hidden", "embeddings"}, Decides: states,
			Doc:  "mse, cosine, or pkd (normalised, of [CLS])",
			Want: settings.Unless(!states || slices.Contains([]string{"", MSE, Cosine, PKD}, l.HiddenDistance), "mse, cosine or pkd")},
		weight("attention", "Attention", &l.Attention, "weight of the difference of the attention"),
		{Name: "attention-distance", Field: "AttentionDistance", Value: &l.AttentionDistance, With: []string{"attention"}, Decides: l.Attention > 0,
			Doc:  "mse of the scores before the softmax, or cosine or ce of the maps",
			Want: settings.Unless(l.Attention <= 0 || known(attentionDistances, l.AttentionDistance), "mse, cosine or ce")},
		{Name: "head-means", Field: "HeadMeans", Value: &l.HeadMeans, With: []string{"attention"}, Decides: l.Attention > 0,
			Doc: "compare means of attention over the heads, so that numbers of heads may differ"},
		weight("minilm", "MiniLM", &l.MiniLM, "weight of the last layers' attention and value relations (MiniLM)"),
		shown(weight("relations", "Relations", &l.Relations, "weight of the query, key and value relations (MiniLMv2)")),
		{Name: "relation-heads", Field: "RelationHeads", Value: &l.RelationHeads, NotZero: true, With: []string{"relations"}, Decides: l.Relations > 0,
			Doc:  "heads of the relations (default the student's)",
			Want: settings.Unless(l.RelationHeads >= 0, "a positive number, or 0 for the student's heads")},
	}
}

func (l *Losses) maps() settings.Table {
	return settings.Table{
		{Name: "hidden-map", Field: "HiddenMap", Value: &l.HiddenMap, With: []string{"hidden"}, Decides: l.Hidden > 0,
			Doc: "teacher layer of each student layer: uniform, last, skip, or pairs such as 0:2,1:5"},
		{Name: "attention-map", Field: "AttentionMap", Value: &l.AttentionMap, With: []string{"attention"}, Decides: l.Attention > 0,
			Doc: "like {hidden-map}, for the attention"},
		{Name: "relation-map", Field: "RelationMap", Value: &l.RelationMap, With: []string{"relations"}, Decides: l.Relations > 0,
			Doc: "like {hidden-map}, for the relations"},
	}
}

// record returns the losses for a model's provenance.
func (l Losses) record() map[string]string {
	l.HiddenDistance, l.AttentionDistance = cmp.Or(l.HiddenDistance, MSE), cmp.Or(l.AttentionDistance, MSE)
	record := l.Settings().Record()
	for _, own := range l.Own {
		if own.Weight > 0 {
			record[own.Name] = fmt.Sprint(own.Weight)
		}
	}
	return record
}

// Settings returns the fields as a table of settings. The setting for the width is called hidden,
// like the loss on hidden states; the two are never in one table.
func (s *Size) Settings() settings.Table {
	size := func(name, field string, value *int, doc string) settings.Setting {
		return settings.Setting{Name: name, Field: field, Value: value, NotZero: true, Doc: doc, Want: settings.Unless(*value >= 0, "a positive number")}
	}
	return settings.Table{
		shown(size("layers", "Layers", &s.Layers, "make a student of this many layers")),
		size("hidden", "Hidden", &s.Hidden, "hidden size of the student (default the teacher's)"),
		size("heads", "Heads", &s.Heads, "attention heads in each of its layers (default the teacher's)"),
		size("ffn", "Intermediate", &s.Intermediate, "feed-forward units in each of its layers (default the teacher's)"),
	}
}

// Settings returns the fields as a table of settings.
func (s *Student) Settings() settings.Table {
	layers := settings.Setting{Name: "teacher-layers", Field: "TeacherLayers", Value: &s.TeacherLayers,
		Doc:  "numbers, from 0, of the teacher's layers for the student (default spread evenly)",
		Want: settings.Unless(!s.Random || len(s.TeacherLayers) == 0, "none of the teacher's layers for a student of random weights")}
	random := settings.Setting{Name: "random", Field: "Random", Value: &s.Random, Doc: "random weights, not the teacher's"}
	return append(slices.Insert(s.Size.Settings(), 1, layers), random)
}

// Settings returns the fields as a table of settings. Seed and Threads are not among them,
// because they are those of the run for which the copies are made.
func (o *AugmentOptions) Settings() settings.Table {
	return settings.Table{
		{Name: "augment", Field: "Copies", Value: &o.Copies,
			Doc:  "add this many copies of each example, with words replaced by similar ones",
			Want: settings.Unless(o.Copies >= 1 && o.Copies <= MaxCopies, "a positive number of copies, %d at most", MaxCopies)},
		{Name: "augment-probability", Field: "Probability", Value: &o.Probability, NotZero: true, With: []string{"augment"},
			Doc:  "probability that a word is replaced",
			Want: settings.Unless(o.Probability > 0 && o.Probability <= 1, "a probability above 0, at most 1")},
		{Name: "augment-candidates", Field: "Candidates", Value: &o.Candidates, NotZero: true, With: []string{"augment"},
			Doc:  "number of nearest or most likely words that may replace one",
			Want: settings.Unless(o.Candidates >= 1 && o.Candidates <= maxCandidates, "a positive number of words, %d at most", maxCandidates)},
	}
}
