package compress

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/skive-ml/skive/data/reviews"
	"github.com/skive-ml/skive/distill"
	"github.com/skive-ml/skive/internal/bounded"
	"github.com/skive-ml/skive/internal/keys"
	"github.com/skive-ml/skive/quantize"
	"github.com/skive-ml/skive/settings"
	"github.com/skive-ml/skive/train"
)

// Recipe is everything that affects the outcome of a run. It is written as YAML. Every flag of
// the command has a place in it.
type Recipe struct {
	// Model is the pretrained checkpoint that becomes the teacher. TeacherModel is a model of the
	// task that is the teacher as it is. Only one of them may be set. Without either, a teacher
	// of Architecture is trained from scratch on the task.
	Model        string
	TeacherModel string
	Architecture *Architecture
	// NewHead gives Model a new head for the task if its own has other labels or is of another
	// kind.
	NewHead bool
	// Task is a name that data.TaskByName accepts, or reviews.Name for the generated task.
	Task string
	// Train and Dev are the task's files. Without Dev, a share of Train is held out, see
	// data.Dataset.HoldOut. Test is a file that affects no choice: the report shows what the
	// models reach on it.
	Train string
	Dev   string
	Test  string
	// Unlabeled is a plain text file with further examples for the distillations.
	Unlabeled string
	// Reviews holds the numbers of examples for the generated task.
	Reviews *Reviews
	// TextColumn, PairColumn and LabelColumn name the columns of the task "text".
	TextColumn  string
	PairColumn  string
	LabelColumn string
	// MaxLength is the number of tokens to which inputs are truncated, and to which the report's
	// baseline pads them; 0 means the model's maximum.
	MaxLength int
	Seed      uint64

	// Teacher says how the teacher is trained, with the MaxLength and the Seed of the recipe,
	// which also apply to all distillations. If Epochs, BatchSize or Patience is 0, it depends on
	// the data and the model, see train.Options.Fitted. A LearningRate of 0 does so only with
	// FitRate; without it, 0 means 0. What a file leaves out is 0 in this sense.
	Teacher train.Options
	FitRate bool
	// Search trains so many teachers, at rates and for epochs around those of Teacher, and takes
	// the one that is best on the development set. 1 trains a single teacher. So does 0, unless
	// there are few examples and Teacher leaves its rate and length to the data.
	Search  int
	Student distill.Student
	Distill Distillation
	// Prune lists the pruned variants of the student. Each is cut from the one before, and the
	// last one is the final model. Recover is the distillation after each cut.
	Prune []Pruning
	// MaxDrop is how much of the task's metric a variant may lose compared with the teacher, in
	// points (0.5 of 100). The first variant that loses more is discarded, and the one before it
	// is the final model. As long as none loses more, further variants beyond those of Prune are
	// cut, each a quarter smaller. 0 takes the variants of Prune whatever they lose.
	MaxDrop float64
	Recover Distillation
	// TargetMS and TargetSpeedup replace Prune; only one of them may be set. The student is cut,
	// under costs measured on this machine, until a call of the int8 engine takes TargetMS
	// milliseconds, or is TargetSpeedup times as fast as the teacher in f32. Both are measured on
	// one thread, with an input of the development set's mean length. One cut makes the student
	// at most 1.6 times as fast and is followed by Recover. The last one is the final model. With
	// MaxDrop, the cuts end when too much is lost.
	TargetMS      float64
	TargetSpeedup float64
	// QuantizeAware is a distillation of the student and of each variant with the arithmetic of
	// the int8 engine, as its QuantizeAware says. They are quantized afterwards. Settings that a
	// file does not name are those of the default recovery. If it is nil, student and variants
	// are quantized as they are.
	QuantizeAware *Distillation
	// ImportanceExamples is how many training examples decide what is pruned; 0 means all. For a
	// target it is at most 2,048.
	ImportanceExamples int
	// Instances is the number of one-thread engines that run at the same time; 0 means one for
	// each thread.
	Instances int
	// PriceHour is the price of this machine in dollars per hour.
	PriceHour float64
}

// Architecture is the size of a teacher that is trained from scratch.
type Architecture struct {
	Layers           int
	HiddenSize       int
	AttentionHeads   int
	IntermediateSize int
	VocabSize        int
	// InitializerRange is the standard deviation of new weights, EmbeddingRange that of new
	// embeddings. BERT's 0.02 suits its width of 768. Narrower models need larger weights, by the
	// root of the ratio.
	InitializerRange float64
	EmbeddingRange   float64
}

// Reviews are the numbers of generated examples.
type Reviews struct {
	Train int
	Dev   int
}

// Distillation are the settings of one distillation.
type Distillation struct {
	// Options contain the losses. Stages replace them.
	distill.Options
	// FitRate says that a LearningRate of 0 depends on the data, see Recipe.Teacher.
	FitRate bool
	Stages  []distill.Stage
	// Augment adds copies of the training examples in which words are replaced by similar ones; 0
	// Copies adds none. AugmentMLM is the masked language model that finds the words, instead of
	// the teacher's embeddings.
	Augment    distill.AugmentOptions
	AugmentMLM string
}

// Pruning is a pruned variant of the student: which shares of the heads and feed-forward units
// are removed from each layer.
type Pruning struct {
	Heads float64
	FFN   float64
}

// next returns the variant that keeps three quarters of what p keeps.
func (p Pruning) next() Pruning {
	return Pruning{Heads: 1 - float64(0.75*(1-p.Heads)), FFN: 1 - float64(0.75*(1-p.FFN))}
}

// label returns the variant's name in the report.
func (p Pruning) label() string {
	return fmt.Sprintf("pruned %.0f %% heads, %.0f %% FFN", 100*p.Heads, 100*p.FFN)
}

// name returns the name of the variant's files.
func (p Pruning) name() string { return fmt.Sprintf("pruned-%.0f-%.0f", 100*p.Heads, 100*p.FFN) }

// Default returns the recipe of the built-in default task, which needs no files.
func Default() Recipe {
	r := ForModel("", reviews.Name, "", "")
	r.Architecture = &Architecture{
		Layers: 4, HiddenSize: 144, AttentionHeads: 12, IntermediateSize: 576, VocabSize: 400,
		InitializerRange: 0.045, EmbeddingRange: 0.3,
	}
	usual := reviews.Defaults()
	r.Reviews = &Reviews{Train: usual.Train, Dev: usual.Dev}
	r.MaxLength = 64
	short := func(o *train.Options, steps, evalEvery int, rate float64) {
		o.Epochs, o.Steps, o.EvalEvery, o.BatchSize, o.LearningRate, o.Dropout = 0, steps, evalEvery, 64, rate, new(0.0)
	}
	short(&r.Teacher, 1100, 550, 1e-3)
	short(&r.Distill.Options.Options, 750, 375, 1e-3)
	short(&r.Recover.Options.Options, 300, 0, 5e-4)
	r.Student.Layers = 2
	r.FitRate, r.Distill.FitRate, r.Recover.FitRate = false, false, false
	r.ImportanceExamples = 2000
	return r
}

// ForModel returns the recipe for a pretrained checkpoint and a task's files.
func ForModel(model, task, trainFile, devFile string) Recipe {
	distilling := Distillation{Options: distill.Defaults(), FitRate: true, Augment: distill.AugmentDefaults()}
	distilling.Augment.Copies = 0
	o := &distilling.Options
	o.Epochs, o.LearningRate = 0, 0
	// A recipe leaves out zeros, which mean the same as these defaults.
	o.Accumulate, o.LayerDecay, o.Precision, o.Stage = 0, 0, "", ""
	fineTuning := o.Options
	o.Dropout = new(0.0)
	o.Losses = distill.Losses{Soft: 1, Temperature: 2, Hard: 0.2, Embeddings: 0.03, Hidden: 0.07, Relations: 0.1}
	recovering := distilling
	recovering.Embeddings, recovering.Hidden, recovering.Relations = 0, 0, 0
	return Recipe{
		Model: model, Task: task, Train: trainFile, Dev: devFile, Seed: 1,
		Teacher: fineTuning, FitRate: true, Distill: distilling, Recover: recovering,
		Prune:              []Pruning{{Heads: 0.25, FFN: 0.25}, {Heads: 1.0 / 3, FFN: 0.5}},
		ImportanceExamples: 4096,
		PriceHour:          0.10,
	}
}

// ReadRecipe reads a recipe from a YAML file, or an empty one if path is "". Settings that it
// does not name are the defaults: those of ForModel if there is a model, and otherwise those of
// Default. change, if not nil, changes the settings before they are validated. Errors name the
// key and the line; they may also be a *settings.Error.
func ReadRecipe(path string, change func(*Recipe)) (Recipe, error) {
	if path == "" {
		return parseRecipe("recipe", nil, change)
	}
	text, err := bounded.ReadFile(path, bounded.Document)
	if err != nil {
		return Recipe{}, err
	}
	return parseRecipe(path, text, change)
}

func parseRecipe(path string, text []byte, change func(*Recipe)) (Recipe, error) {
	if change == nil {
		change = func(*Recipe) {}
	}
	doc, err := keys.Parse(path, text)
	if err != nil {
		return Recipe{}, err
	}
	var r Recipe
	change(&r)
	if err := r.read(doc, r.Model != "" || r.TeacherModel != ""); err != nil {
		return Recipe{}, err
	}
	change(&r)
	return r, doc.Locate(r.Validate())
}

// read reads the recipe from a document. With pretrained, there is a model even if the document
// names none.
func (r *Recipe) read(doc *keys.Document, pretrained bool) error {
	*r = Default()
	if pretrained || doc.Has("model") || doc.Has("teacher_model") {
		*r = ForModel("", "", "", "")
	}
	if !doc.Has("prune") && (doc.Has("target_ms") || doc.Has("target_speedup")) {
		r.Prune = nil
	}
	if r.Architecture == nil && doc.Has("architecture") {
		r.Architecture = &Architecture{}
	}
	if r.Reviews == nil && doc.Has("reviews") {
		r.Reviews = &Reviews{}
	}
	trainings := map[string]*train.Options{"teacher": &r.Teacher, "distill": &r.Distill.Options.Options, "recover": &r.Recover.Options.Options}
	if doc.Has("quantize_aware") {
		aware := r.Recover
		aware.QuantizeAware = quantize.Dynamic
		r.QuantizeAware = &aware
		trainings["quantize_aware"] = &aware.Options.Options
	}
	for section, o := range trainings {
		// Epochs only count without steps, and only one of the two sizes of a batch may be given.
		if doc.Has(section + ".epochs") {
			o.Steps = 0
		}
		if doc.Has(section + ".batch_tokens") {
			o.BatchSize = 0
		}
	}
	if err := doc.Set(r.Settings()); err != nil {
		return err
	}
	if r.TeacherModel != "" && doc.Has("teacher") {
		return doc.Locate(settings.Errorf("Teacher", "%s is taken as it is, expected no settings for its training", r.TeacherModel))
	}
	r.FitRate = r.FitRate && !doc.Has("teacher.lr")
	for section, d := range map[string]*Distillation{"distill": &r.Distill, "recover": &r.Recover, "quantize_aware": r.QuantizeAware} {
		if d != nil {
			d.FitRate = d.FitRate && !doc.Has(section+".lr")
		}
	}
	return nil
}

// YAML returns the recipe as a file that ReadRecipe reads.
func (r Recipe) YAML() ([]byte, error) { return keys.Marshal(r.written()) }

// MarshalJSON writes the same settings as YAML. UnmarshalJSON reads them.
func (r Recipe) MarshalJSON() ([]byte, error) { return keys.MarshalJSON(r.written()) }

// written returns the settings that a recipe's file has. It leaves out the defaults of a
// distillation, whether they are zero or not.
func (r *Recipe) written() settings.Table {
	usual := ForModel("", "", "", "")
	defaults := map[string]any{}
	for _, s := range usual.Distill.Settings().Only("cache-max", "augment-probability", "augment-candidates") {
		defaults[s.Name] = s.Get()
	}
	return slices.DeleteFunc(r.Settings(), func(s settings.Setting) bool {
		value, ok := defaults[s.Name[strings.LastIndexByte(s.Name, '.')+1:]]
		return ok && value == s.Get()
	})
}

func (r *Recipe) UnmarshalJSON(text []byte) error {
	doc, err := keys.Parse("recipe", text)
	if err != nil {
		return err
	}
	return r.read(doc, false)
}

// ByKey makes a *settings.Error name the setting by its key in the recipe, and the line of the
// file at path that gives it. path is "" if there is no file.
func ByKey(path string, err error) error {
	var at *keys.Error
	if err == nil || errors.As(err, &at) {
		return err
	}
	text, _ := bounded.ReadFile(path, bounded.Document)
	doc, parsed := keys.Parse(cmp.Or(path, "recipe"), text)
	if parsed != nil {
		return err
	}
	var r Recipe
	if r.read(doc, false) != nil {
		return err
	}
	return doc.Locate(err)
}
