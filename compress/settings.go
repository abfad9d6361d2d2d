package compress

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/skive-ml/skive/data/reviews"
	"github.com/skive-ml/skive/distill"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/settings"
	"github.com/skive-ml/skive/train"
)

// Settings returns the recipe as a table of settings, in the order in which it is written.
func (r *Recipe) Settings() settings.Table {
	all := slices.Concat(
		r.ofTask(),
		r.ofTeacher(),
		r.Student.Settings().In("student", "Student"),
		r.Distill.Settings().In("distill", "Distill"),
		r.ofVariants(),
	)
	if q := r.QuantizeAware; q != nil {
		activations := settings.Setting{Name: "activations", Field: "QuantizeAware", Value: &q.QuantizeAware, Shown: true,
			Doc: "dynamic, or static with learned scales", Want: settings.Unless(q.QuantizeAware != "", "dynamic or static")}
		var table settings.Table
		for _, s := range q.Settings().Without("quantize-embeddings") { // which compress always does
			if s.Name == "quantize-aware" {
				activations.Want = cmp.Or(s.Want, activations.Want)
				continue
			}
			table = append(table, s)
		}
		all = append(all, append(settings.Table{activations}, table...).In("quantize-aware", "QuantizeAware")...)
	}
	return append(all, r.ofReport()...)
}

// ofTask returns the settings of the teacher's model and of the data.
func (r *Recipe) ofTask() settings.Table {
	generated := r.Task == reviews.Name
	table := settings.Table{
		{Name: "model", Field: "Model", Value: &r.Model, Doc: "pretrained `MODEL` that becomes the teacher",
			Want: cmp.Or(readable(r.Model), settings.Unless(r.Model != "" || r.TeacherModel != "" || r.Architecture != nil, "a model or an architecture"))},
		{Name: "teacher-model", Flag: "teacher", Field: "TeacherModel", Value: &r.TeacherModel, Doc: "fine-tuned `MODEL` that is the teacher as it is",
			Want: cmp.Or(readable(r.TeacherModel), settings.Unless(r.TeacherModel == "" || r.Model == "", "none beside a model that becomes the teacher"))},
		{Name: "search", Field: "Search", Value: &r.Search, Doc: "train `N` teachers with different rates and epochs, and take the best",
			Want: cmp.Or(settings.Unless(r.Search >= 0 && r.Search <= len(trials), "0 to %d", len(trials)),
				settings.Unless(r.Search == 0 || r.TeacherModel == "", "none for a teacher that is taken as it is"))},
		{Name: "new-head", Field: "NewHead", Value: &r.NewHead, Doc: "give {model} a new head, for other labels",
			Want: settings.Unless(!r.NewHead || r.Model != "", "a model that becomes the teacher")},
	}
	if a := r.Architecture; a != nil {
		table = append(table, a.settings().In("architecture", "Architecture")...)
	}
	table = append(table, settings.Table{
		{Name: "task", Field: "Task", Value: &r.Task, Shown: true, Doc: "`TASK`: a GLUE or SuperGLUE name, or text, multilabel, regression, choice, tokens",
			Want: cmp.Or(settings.Unless(r.Task != "", "the name of a task"), settings.Unless(!generated || r.Reviews != nil, "the numbers of generated reviews beside it"))},
		{Name: "train", Field: "Train", Value: &r.Train, Doc: "training `FILE`, may be .gz",
			Want: cmp.Or(readable(r.Train), settings.Unless(generated || r.Train != "", "a training file"))},
		{Name: "dev", Field: "Dev", Value: &r.Dev, Doc: "development `FILE`, may be .gz (default a share of {train})", Want: readable(r.Dev)},
		{Name: "test", Field: "Test", Value: &r.Test, Doc: "`FILE` for a last column of the report; it affects no choice",
			Want: cmp.Or(readable(r.Test), settings.Unless(!generated || r.Test == "", "none beside a generated task"))},
		{Name: "unlabeled", Field: "Unlabeled", Value: &r.Unlabeled, Doc: "plain text `FILE` with further examples for the distillations", Want: readable(r.Unlabeled)},
	}...)
	if v := r.Reviews; v != nil {
		number := func(name, field string, n *int) settings.Setting {
			return settings.Setting{Name: "reviews." + name, Field: "Reviews." + field, Value: n, Shown: true,
				Doc: "number of generated examples", Want: settings.Unless(!generated || *n >= 1, "1 or more")}
		}
		table = append(table, number("train", "Train", &v.Train), number("dev", "Dev", &v.Dev))
	}
	return append(table, settings.Table{
		{Name: "text-column", Field: "TextColumn", Value: &r.TextColumn, Doc: "column of the text, for the task text (default \"text\")", Want: readable(r.TextColumn)},
		{Name: "pair-column", Field: "PairColumn", Value: &r.PairColumn, Doc: "column of the second text, for the task text (default \"text_pair\")", Want: readable(r.PairColumn)},
		{Name: "label-column", Field: "LabelColumn", Value: &r.LabelColumn, Doc: "column of the label, for the task text (default \"label\")", Want: readable(r.LabelColumn)},
		{Name: "max-length", Field: "MaxLength", Value: &r.MaxLength, Shown: true, NotZero: true,
			Doc:  "truncate inputs to this number of tokens (default the model's maximum)",
			Want: settings.Unless(r.MaxLength >= 0, "a number of tokens or 0")},
		{Name: "seed", Field: "Seed", Value: &r.Seed, Shown: true, Doc: "seed of all random choices"},
	}...)
}

// readable says what is expected of a text so that a recipe can hold it. Other texts would come
// back changed from the recipe that a run keeps.
func readable(text string) string {
	return settings.Unless(utf8.ValidString(text) && !strings.ContainsFunc(text, unicode.IsControl), "UTF-8 without control characters")
}

func (a *Architecture) settings() settings.Table {
	table := settings.Table{
		{Name: "layers", Field: "Layers", Value: &a.Layers, Doc: "number of layers"},
		{Name: "hidden-size", Field: "HiddenSize", Value: &a.HiddenSize, Doc: "hidden size"},
		{Name: "attention-heads", Field: "AttentionHeads", Value: &a.AttentionHeads, Doc: "attention heads of a layer"},
		{Name: "intermediate-size", Field: "IntermediateSize", Value: &a.IntermediateSize, Doc: "feed-forward units of a layer"},
		{Name: "vocab-size", Field: "VocabSize", Value: &a.VocabSize, Doc: "sub-words of the vocabulary"},
		{Name: "initializer-range", Field: "InitializerRange", Value: &a.InitializerRange, Doc: "standard deviation of new weights"},
		{Name: "embedding-range", Field: "EmbeddingRange", Value: &a.EmbeddingRange, Doc: "standard deviation of new embeddings"},
	}
	for i := range table {
		table[i].Shown = true
	}
	return table
}

// training returns the settings of a run, without those that the recipe has for all its runs and
// those that compress decides.
func training(o *train.Options, fitRate bool) settings.Table {
	return fitted(o, o.Settings().Without(decided...), fitRate)
}

var decided = []string{"max-length", "seed", "resume", "overwrite", "output"}

// fitted returns the table of a training in which zeros mean that data and model decide, for the
// rate if fitRate says so. Recipes leave such settings out.
func fitted(o *train.Options, table settings.Table, fitRate bool) settings.Table {
	for i := range table {
		switch table[i].Field {
		case "Epochs":
			if o.Epochs == 0 {
				table[i].Want = ""
			}
		case "LearningRate":
			table[i].Shown = !fitRate || o.LearningRate != 0
		}
	}
	return table
}

// settled returns options with usable values for what is left to the data, so that the others can
// be checked.
func settled(o distill.Options) distill.Options {
	if o.Epochs == 0 {
		o.Epochs = 1
	}
	return o
}

// ofTeacher returns the settings of the teacher's training. There are none if the teacher is
// taken as it is.
func (r *Recipe) ofTeacher() settings.Table {
	if r.TeacherModel != "" {
		return nil
	}
	return training(&r.Teacher, r.FitRate).In("teacher", "Teacher")
}

// Settings returns the distillation as a table of settings. If there are stages, which have
// losses of their own, its losses are not read.
func (d *Distillation) Settings() settings.Table {
	table := fitted(&d.Options.Options, d.Options.Settings(), d.FitRate).Without(decided...)
	for i, s := range table {
		if slices.Contains(train.OfLabels, s.Name) {
			idle := len(d.Stages) == 0 && !s.IsZero() && table.Idle(s) != nil
			table[i].Want = cmp.Or(s.Want, settings.Unless(!idle, "none without a loss against the labels"))
		}
	}
	if len(d.Stages) > 0 {
		for _, loss := range d.Losses.Settings() {
			table[slices.IndexFunc(table, func(s settings.Setting) bool { return s.Name == loss.Name })].Want = ""
		}
	}
	augment := d.Augment.Settings()
	if copies := &augment[0]; copies.IsZero() { // here there may be none
		copies.Want = ""
	}
	table = append(table, settings.Setting{Name: "stages", Field: "Stages", Value: settings.ListOf(&d.Stages, (*distill.Stage).Settings),
		Doc: "several distillations in a row, instead of these losses"})
	table = append(table, augment.In("", "Augment")...)
	return append(table, settings.Setting{Name: "augment-mlm", Field: "AugmentMLM", Value: &d.AugmentMLM, With: []string{"augment"},
		Doc: "masked language `MODEL` that finds the words for {augment}, instead of the teacher's embeddings", Want: readable(d.AugmentMLM)})
}

// Settings returns the variant as a table of settings.
func (p *Pruning) Settings() settings.Table {
	share := func(name, field string, x *float64, doc string) settings.Setting {
		return settings.Setting{Name: name, Field: field, Value: x, Shown: true, Doc: doc,
			Want: settings.Unless(*x >= 0 && *x < 1, "a share, 0 or more and less than 1")}
	}
	return settings.Table{
		share("heads", "Heads", &p.Heads, "share of the heads that are removed from each layer"),
		share("ffn", "FFN", &p.FFN, "share of the feed-forward units that are removed from each layer"),
	}
}

// ofVariants returns the settings of the pruned models.
func (r *Recipe) ofVariants() settings.Table {
	return slices.Concat(settings.Table{
		{Name: "prune", Field: "Prune", Value: settings.ListOf(&r.Prune, (*Pruning).Settings), Shown: true, Doc: "the pruned variants of the student"},
		{Name: "max-drop", Field: "MaxDrop", Value: &r.MaxDrop,
			Doc:  "prune further until the metric is this many `POINTS` (0.5 of 100) below the teacher's",
			Want: settings.Unless(r.MaxDrop >= 0 && r.MaxDrop <= 100, "0 to 100 points")},
	}, r.Recover.Settings().In("recover", "Recover"), settings.Table{
		{Name: "target-ms", Field: "TargetMS", Value: &r.TargetMS, NotZero: true,
			Doc:  "prune until a call of the int8 engine takes this many `MILLISECONDS`, on one thread",
			Want: settings.Unless(settings.NotNegative(r.TargetMS), "a time above 0")},
		{Name: "target-speedup", Field: "TargetSpeedup", Value: &r.TargetSpeedup, NotZero: true,
			Doc:  "prune until it is this many times as fast as the teacher in f32, on one thread",
			Want: settings.Unless(r.TargetSpeedup == 0 || r.TargetSpeedup > 1 && settings.NotNegative(r.TargetSpeedup), "a factor above 1")},
	})
}

// ofReport returns the settings of what is measured, and on how much.
func (r *Recipe) ofReport() settings.Table {
	return settings.Table{
		{Name: "importance-examples", Field: "ImportanceExamples", Value: &r.ImportanceExamples, Shown: true,
			Doc: "training examples that decide what is pruned; 0 takes all", Want: settings.Unless(r.ImportanceExamples >= 0, "0 or more")},
		{Name: "instances", Field: "Instances", Value: &r.Instances, Shown: true, NotZero: true,
			Doc:  "one-thread engines that run at the same time (default one for each thread)",
			Want: settings.Unless(r.Instances >= 0 && r.Instances <= infer.MaxInstances, "0 to %d", infer.MaxInstances)},
		{Name: "price-hour", Field: "PriceHour", Value: &r.PriceHour, Shown: true,
			Doc: "price of an hour of this machine, in dollars", Want: settings.Unless(settings.NotNegative(r.PriceHour), "a price of 0 or more")},
	}
}

// Validate reports the first setting that is not usable, as a *settings.Error.
func (r Recipe) Validate() error {
	if model := cmp.Or(r.Model, r.TeacherModel); model != "" && r.Architecture != nil {
		return settings.Errorf("Architecture", "it is only for a teacher without a model, but the model is %s", model)
	}
	if err := r.Settings().Check(); err != nil {
		return err
	}
	switch {
	case r.TargetMS > 0 && r.TargetSpeedup > 0:
		return settings.Errorf("TargetSpeedup", "it cannot be combined with a time as the target")
	case (r.TargetMS > 0 || r.TargetSpeedup > 0) && len(r.Prune) > 0:
		return settings.Errorf("Prune", "it cannot be combined with a target, which replaces it")
	}
	for i := range r.Prune {
		if err := r.checkVariant(i); err != nil {
			return settings.In(fmt.Sprintf("Prune[%d]", i), err)
		}
	}
	for _, section := range []struct {
		field string
		*Distillation
	}{{"Distill", &r.Distill}, {"Recover", &r.Recover}, {"QuantizeAware", r.QuantizeAware}} {
		if d := section.Distillation; d != nil && len(d.Stages) > 0 {
			if err := distill.CheckStages(d.Stages, settled(d.Options)); err != nil {
				return settings.In(section.field, err)
			}
		}
	}
	return nil
}

// checkVariant reports a variant that is not a share, or not cut from the one before.
func (r *Recipe) checkVariant(i int) error {
	p := r.Prune[i]
	if err := p.Settings().Check(); err != nil || i == 0 {
		return err
	}
	switch before := r.Prune[i-1]; {
	case p.Heads < before.Heads:
		return settings.Wrong("Heads", p.Heads, "no less than the %g of the variant before, from which it is cut", before.Heads)
	case p.FFN < before.FFN:
		return settings.Wrong("FFN", p.FFN, "no less than the %g of the variant before, from which it is cut", before.FFN)
	case p.name() == before.name():
		return settings.Wrong("FFN", p.FFN, "whole percentages that differ from those of the variant before")
	}
	return nil
}
