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

// Recipe is everything that decides the outcome of a run. It is written as
// YAML; every flag of the command has its place in it.
type Recipe struct {
	// Model is the pretrained checkpoint that becomes the teacher, TeacherModel, in its
	// place, a model of the task that is the teacher as it is. Without either, a
	// teacher of Architecture is trained from scratch on the task.
	Model        string
	TeacherModel string
	Architecture *Architecture
	// NewHead gives Model a fresh head for the task in the place of its own, whose
	// labels or kind are others.
	NewHead bool
	// Task is a name that data.TaskByName knows, or reviews.Name for the generated
	// task.
	Task string
	// Train and Dev are the task's files. Without Dev, a share of Train is held out,
	// see data.Dataset.HoldOut. Test is a file by which nothing is chosen: the report
	// has what the models reach on it.
	Train string
	Dev   string
	Test  string
	// Unlabeled is a plain text file of further examples for the distillations.
	Unlabeled string
	// Reviews are the numbers of generated examples of the generated task.
	Reviews *Reviews
	// TextColumn, PairColumn and LabelColumn name the columns of the task "text".
	TextColumn  string
	PairColumn  string
	LabelColumn string
	// MaxLength truncates the inputs, in tokens; 0 is the model's maximum. The
	// report's baseline pads to it.
	MaxLength int
	Seed      uint64

	// Teacher says how the teacher is trained, with the MaxLength and the Seed of the
	// recipe; so it is in all distillations. Epochs, BatchSize and Patience of 0 follow
	// from the data and the model, see train.Options.Fitted, and so does a LearningRate of
	// 0 with FitRate, without which it is meant. What a file leaves out is such a 0.
	Teacher train.Options
	FitRate bool
	// Search trains so many teachers, at rates and for epochs around those of Teacher, and
	// takes the best on the development set; 1 trains the one, and so does 0, unless there
	// are few examples and Teacher leaves its rate and length to the data.
	Search  int
	Student distill.Student
	Distill Distillation
	// Prune lists the pruned variants of the student, each cut from the one
	// before; the last one is the final model. Recover is the distillation that
	// follows each cut.
	Prune []Pruning
	// MaxDrop is the largest loss of the task's metric against the teacher, in
	// points (0.5 of 100), that a variant may have. The first one that loses more
	// is given up, and the variant before it is the final model; as long as none
	// does, variants beyond those of Prune are cut, each a quarter smaller. 0 takes
	// the variants of Prune whatever they lose.
	MaxDrop float64
	Recover Distillation
	// TargetMS and TargetSpeedup, of which one may be given, replace Prune: the
	// student is cut, under costs measured on this machine, until a call of the
	// int8 engine takes TargetMS milliseconds, or is TargetSpeedup times as fast as
	// the teacher in f32; both on one thread with an input of the development set's
	// mean length. A cut makes the student at most 1.6 times as fast and is
	// followed by Recover; the last one is the final model. Under MaxDrop the cuts
	// end where too much is lost.
	TargetMS      float64
	TargetSpeedup float64
	// QuantizeAware is a distillation of the student and of each variant with the
	// arithmetic of the int8 engine, as its QuantizeAware says, after which they are
	// quantized. Settings that a file does not name are those of the default
	// recovery. Without it they are quantized as they are.
	QuantizeAware *Distillation
	// ImportanceExamples is how many training examples decide what is pruned; 0
	// takes all. A target takes at most 2,048.
	ImportanceExamples int
	// Instances is the number of one-thread engines that serve together; 0 is
	// one for each thread.
	Instances int
	// PriceHour is the price of an hour of this machine in dollars.
	PriceHour float64
}

// Architecture is the size of a teacher that is trained from scratch.
type Architecture struct {
	Layers           int
	HiddenSize       int
	AttentionHeads   int
	IntermediateSize int
	VocabSize        int
	// InitializerRange is the standard deviation of fresh weights,
	// EmbeddingRange that of fresh embeddings. BERT's 0.02 suits its width of
	// 768; narrower models want weights larger by the root of the ratio.
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
	// Options have the losses, or Stages in their place.
	distill.Options
	// FitRate says that a LearningRate of 0 follows from the data, see Recipe.Teacher.
	FitRate bool
	Stages  []distill.Stage
	// Augment says how copies of the training examples with words replaced by near
	// ones are made, which are added: none by 0 Copies. AugmentMLM is the masked
	// language model that finds the words, in the place of the teacher's embeddings.
	Augment    distill.AugmentOptions
	AugmentMLM string
}

// Pruning is one pruned variant of the student: the shares of heads and
// feed-forward units that are removed from each of its layers.
type Pruning struct {
	Heads float64
	FFN   float64
}

// next is the variant that keeps three quarters of what p keeps.
func (p Pruning) next() Pruning {
	return Pruning{Heads: 1 - float64(0.75*(1-p.Heads)), FFN: 1 - float64(0.75*(1-p.FFN))}
}

// label is the variant's name in the report.
func (p Pruning) label() string {
	return fmt.Sprintf("pruned %.0f %% heads, %.0f %% FFN", 100*p.Heads, 100*p.FFN)
}

// name is that of the variant's files.
func (p Pruning) name() string { return fmt.Sprintf("pruned-%.0f-%.0f", 100*p.Heads, 100*p.FFN) }

// Default returns the recipe of the embedded default: no files are needed.
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
	// A recipe leaves out what is zero, which means the same as these defaults.
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

// ReadRecipe reads a recipe from a YAML file, or an empty one where path is "". Settings
// that it does not name are the defaults: ForModel's if there is a model, Default's if not.
// change, if it is not nil, changes the settings of the file before they are validated.
// What is wrong is named by its key and its line; it may be a *settings.Error, too.
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

// read makes the recipe that a document says, of a model in any case if pretrained.
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
		// Epochs count only without steps, and one of two sizes of a batch is given.
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
		return doc.Locate(settings.Errorf("Teacher", "%s is the teacher as it is, expected no training of it", r.TeacherModel))
	}
	r.FitRate = r.FitRate && !doc.Has("teacher.lr")
	for section, d := range map[string]*Distillation{"distill": &r.Distill, "recover": &r.Recover, "quantize_aware": r.QuantizeAware} {
		if d != nil {
			d.FitRate = d.FitRate && !doc.Has(section+".lr")
		}
	}
	return nil
}

// YAML returns the recipe as a file that ReadRecipe takes.
func (r Recipe) YAML() ([]byte, error) { return keys.Marshal(r.written()) }

// MarshalJSON writes the recipe as YAML does, and UnmarshalJSON reads it.
func (r Recipe) MarshalJSON() ([]byte, error) { return keys.MarshalJSON(r.written()) }

// written are the settings of a recipe's file: it leaves out the defaults of a
// distillation that are not zero, as it does with those that are.
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

// ByKey makes an error that is a *settings.Error name the setting by its key in the
// recipe, and the line of the file at path that gives it; path is "" without a file.
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
