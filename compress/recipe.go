package compress

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/goccy/go-yaml"

	"github.com/skive-ml/skive/distill"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/internal/bounded"
	"github.com/skive-ml/skive/quantize"
	"github.com/skive-ml/skive/settings"
	"github.com/skive-ml/skive/train"
)

// Recipe is everything that decides the outcome of a run. It is written as
// YAML; every flag of the command has its place in it.
type Recipe struct {
	// Model is the pretrained checkpoint that becomes the teacher. Without one,
	// a teacher of Architecture is trained from scratch on the task.
	Model        string        `yaml:"model,omitempty" json:"model,omitempty"`
	Architecture *Architecture `yaml:"architecture,omitempty" json:"architecture,omitempty"`
	// Task is a name that data.TaskByName knows, or "reviews" for the generated
	// task.
	Task string `yaml:"task" json:"task"`
	// Train and Dev are the task's files.
	Train string `yaml:"train,omitempty" json:"train,omitempty"`
	Dev   string `yaml:"dev,omitempty" json:"dev,omitempty"`
	// Unlabeled is a plain text file of further examples for the distillations.
	Unlabeled string `yaml:"unlabeled,omitempty" json:"unlabeled,omitempty"`
	// Reviews are the numbers of generated examples of the task "reviews".
	Reviews *Reviews `yaml:"reviews,omitempty" json:"reviews,omitempty"`
	// TextColumn, PairColumn and LabelColumn name the columns of the task "text".
	TextColumn  string `yaml:"text_column,omitempty" json:"text_column,omitempty"`
	PairColumn  string `yaml:"pair_column,omitempty" json:"pair_column,omitempty"`
	LabelColumn string `yaml:"label_column,omitempty" json:"label_column,omitempty"`
	// MaxLength truncates the inputs, in tokens; 0 is the model's maximum. The
	// report's baseline pads to it.
	MaxLength int    `yaml:"max_length" json:"max_length"`
	Seed      uint64 `yaml:"seed" json:"seed"`

	Teacher Training     `yaml:"teacher" json:"teacher"`
	Student Student      `yaml:"student" json:"student"`
	Distill Distillation `yaml:"distill" json:"distill"`
	// Prune lists the pruned variants of the student, each cut from the one
	// before; the last one is the final model. Recover is the distillation that
	// follows each cut.
	Prune []Pruning `yaml:"prune" json:"prune"`
	// MaxDrop is the largest loss of the task's metric against the teacher, in
	// points (0.5 of 100), that a variant may have. The first one that loses more
	// is given up, and the variant before it is the final model; as long as none
	// does, variants beyond those of Prune are cut, each a quarter smaller. 0 takes
	// the variants of Prune whatever they lose.
	MaxDrop float64      `yaml:"max_drop,omitempty" json:"max_drop,omitempty"`
	Recover Distillation `yaml:"recover" json:"recover"`
	// TargetMS and TargetSpeedup, of which one may be given, replace Prune: the
	// student is cut, under costs measured on this machine, until a call of the
	// int8 engine takes TargetMS milliseconds, or is TargetSpeedup times as fast as
	// the teacher in f32; both on one thread with an input of the development set's
	// mean length. A cut makes the student at most 1.6 times as fast and is
	// followed by Recover; the last one is the final model. Under MaxDrop the cuts
	// end where too much is lost.
	TargetMS      float64 `yaml:"target_ms,omitempty" json:"target_ms,omitempty"`
	TargetSpeedup float64 `yaml:"target_speedup,omitempty" json:"target_speedup,omitempty"`
	// QuantizeAware is a distillation of the student and of each variant with the
	// arithmetic of the int8 engine, after which they are quantized. Settings that
	// it does not name are those of the default recovery. Without it they are
	// quantized as they are.
	QuantizeAware *QuantizeAware `yaml:"quantize_aware,omitempty" json:"quantize_aware,omitempty"`
	// ImportanceExamples is how many training examples decide what is pruned; 0
	// takes all. A target takes at most 2,048.
	ImportanceExamples int `yaml:"importance_examples" json:"importance_examples"`
	// Instances is the number of one-thread engines that serve together; 0 is
	// one for each thread.
	Instances int `yaml:"instances" json:"instances"`
	// PriceHour is the price of an hour of this machine in dollars.
	PriceHour float64 `yaml:"price_hour" json:"price_hour"`
}

// Architecture is the size of a teacher that is trained from scratch.
type Architecture struct {
	Layers           int `yaml:"layers" json:"layers"`
	HiddenSize       int `yaml:"hidden_size" json:"hidden_size"`
	AttentionHeads   int `yaml:"attention_heads" json:"attention_heads"`
	IntermediateSize int `yaml:"intermediate_size" json:"intermediate_size"`
	VocabSize        int `yaml:"vocab_size" json:"vocab_size"`
	// InitializerRange is the standard deviation of fresh weights,
	// EmbeddingRange that of fresh embeddings. BERT's 0.02 suits its width of
	// 768; narrower models want weights larger by the root of the ratio.
	InitializerRange float64 `yaml:"initializer_range" json:"initializer_range"`
	EmbeddingRange   float64 `yaml:"embedding_range" json:"embedding_range"`
}

// Reviews are the numbers of generated examples.
type Reviews struct {
	Train int `yaml:"train" json:"train"`
	Dev   int `yaml:"dev" json:"dev"`
}

// Training are the settings of one run of training.
type Training struct {
	Epochs       int     `yaml:"epochs,omitempty" json:"epochs,omitempty"`
	Steps        int     `yaml:"steps,omitempty" json:"steps,omitempty"`
	BatchSize    int     `yaml:"batch_size" json:"batch_size"`
	LearningRate float64 `yaml:"lr" json:"lr"`
	Warmup       float64 `yaml:"warmup" json:"warmup"`
	Schedule     string  `yaml:"schedule" json:"schedule"`
	WeightDecay  float64 `yaml:"weight_decay" json:"weight_decay"`
	MaxGradNorm  float64 `yaml:"max_grad_norm" json:"max_grad_norm"`
	// Dropout replaces the model's probabilities; -1 keeps them.
	Dropout float64 `yaml:"dropout" json:"dropout"`
	// EvalEvery is the number of steps between evaluations; 0 evaluates after
	// each epoch.
	EvalEvery int `yaml:"eval_every,omitempty" json:"eval_every,omitempty"`
	// Accumulate, LayerDecay, Patience and Precision are those of train.Options;
	// the teachers of a distillation have its precision.
	Accumulate int     `yaml:"accumulate,omitempty" json:"accumulate,omitempty"`
	LayerDecay float64 `yaml:"layer_decay,omitempty" json:"layer_decay,omitempty"`
	Patience   int     `yaml:"patience,omitempty" json:"patience,omitempty"`
	Precision  string  `yaml:"precision,omitempty" json:"precision,omitempty"`
}

// Student says how the student is made.
type Student struct {
	// Layers is the number of layers; they are copied from teacher layers
	// spread evenly, or from TeacherLayers.
	Layers        int   `yaml:"layers" json:"layers"`
	TeacherLayers []int `yaml:"teacher_layers,omitempty" json:"teacher_layers,omitempty"`
	// Hidden, Heads and FFN make the student narrower, of the most important
	// dimensions, heads and units of the teacher; 0 keeps the teacher's sizes.
	Hidden int `yaml:"hidden,omitempty" json:"hidden,omitempty"`
	Heads  int `yaml:"heads,omitempty" json:"heads,omitempty"`
	FFN    int `yaml:"ffn,omitempty" json:"ffn,omitempty"`
	// Random starts from random weights of these sizes.
	Random bool `yaml:"random,omitempty" json:"random,omitempty"`
}

// Distillation are the settings of one distillation: distill.Losses' weights, or
// a list of stages in their place.
type Distillation struct {
	Training       `yaml:",inline"`
	distill.Losses `yaml:",inline"`
	Stages         []distill.Stage `yaml:"stages,omitempty" json:"stages,omitempty"`
	// Augment is the number of copies of each training example, with words
	// replaced by near ones, that are added.
	Augment int `yaml:"augment,omitempty" json:"augment,omitempty"`
}

// QuantizeAware is a distillation as train.Options.QuantizeAware describes it, of
// linear layers and embeddings.
type QuantizeAware struct {
	// Activations is quantize.Dynamic or quantize.Static.
	Activations  string `yaml:"activations" json:"activations"`
	Distillation `yaml:",inline"`
}

// Pruning is one pruned variant of the student: the shares of heads and
// feed-forward units that are removed from each of its layers.
type Pruning struct {
	Heads float64 `yaml:"heads" json:"heads"`
	FFN   float64 `yaml:"ffn" json:"ffn"`
}

// next is the variant that keeps three quarters of what p keeps.
func (p Pruning) next() Pruning { return Pruning{Heads: 1 - 0.75*(1-p.Heads), FFN: 1 - 0.75*(1-p.FFN)} }

// label is the variant's name in the report.
func (p Pruning) label() string {
	return fmt.Sprintf("pruned %.0f %% heads, %.0f %% FFN", 100*p.Heads, 100*p.FFN)
}

// name is that of the variant's files.
func (p Pruning) name() string { return fmt.Sprintf("pruned-%.0f-%.0f", 100*p.Heads, 100*p.FFN) }

// Default returns the recipe of the embedded default: no files are needed.
func Default() Recipe {
	r := ForModel("", "reviews", "", "")
	r.Architecture = &Architecture{
		Layers: 4, HiddenSize: 144, AttentionHeads: 12, IntermediateSize: 576, VocabSize: 400,
		InitializerRange: 0.045, EmbeddingRange: 0.3,
	}
	r.Reviews = &Reviews{Train: 60000, Dev: 3000}
	r.MaxLength = 64
	r.Teacher = Training{Steps: 1100, BatchSize: 64, LearningRate: 1e-3, Warmup: 0.06, Schedule: "linear", WeightDecay: 0.01, MaxGradNorm: 1, EvalEvery: 550}
	r.Student.Layers = 2
	r.Distill.Training = r.Teacher
	r.Distill.Steps, r.Distill.EvalEvery = 750, 375
	r.Recover.Training = r.Teacher
	r.Recover.Steps, r.Recover.LearningRate, r.Recover.EvalEvery = 300, 5e-4, 0
	r.ImportanceExamples = 2000
	return r
}

// ForModel returns the recipe for a pretrained checkpoint and a task's files.
func ForModel(model, task, trainFile, devFile string) Recipe {
	fineTuning := Training{Epochs: 1, BatchSize: 32, LearningRate: 8e-5, Warmup: 0.06, Schedule: "linear",
		WeightDecay: 0.01, MaxGradNorm: 1, Dropout: train.ModelDropout}
	distilling := Distillation{Training: fineTuning, Losses: distill.Losses{
		Soft: 1, Temperature: 2, Hard: 0.2, Embeddings: 0.03, Hidden: 0.07, Relations: 0.1,
	}}
	distilling.LearningRate, distilling.Dropout = 1e-4, 0
	recovering := distilling
	recovering.Embeddings, recovering.Hidden, recovering.Relations = 0, 0, 0
	return Recipe{
		Model: model, Task: task, Train: trainFile, Dev: devFile, Seed: 1,
		Teacher: fineTuning, Distill: distilling, Recover: recovering,
		Prune:              []Pruning{{Heads: 0.25, FFN: 0.25}, {Heads: 1.0 / 3, FFN: 0.5}},
		ImportanceExamples: 4096,
		PriceHour:          0.10,
	}
}

// ReadRecipe reads a recipe from a YAML file. Settings that it does not name are
// the defaults: ForModel's if there is a model, Default's if not. change, if it is
// not nil, changes the settings of the file before they are validated.
func ReadRecipe(path string, change func(*Recipe)) (Recipe, error) {
	text, err := bounded.ReadFile(path, bounded.Document)
	if err != nil {
		return Recipe{}, err
	}
	r, err := parseRecipe(text, change)
	if err != nil {
		return Recipe{}, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

func parseRecipe(text []byte, change func(*Recipe)) (Recipe, error) {
	if change == nil {
		change = func(*Recipe) {}
	}
	var named map[string]any
	if err := yaml.Unmarshal(text, &named); err != nil {
		return Recipe{}, fmt.Errorf("not YAML: %s", firstLine(err))
	}
	var r Recipe
	change(&r)
	model := named["model"]
	pretrained := r.Model != "" || model != nil && model != ""
	r = Default()
	if pretrained {
		r = ForModel("", "", "", "")
	}
	if named["prune"] == nil && (named["target_ms"] != nil || named["target_speedup"] != nil) {
		r.Prune = nil
	}
	trainings := map[string]*Training{"teacher": &r.Teacher, "distill": &r.Distill.Training, "recover": &r.Recover.Training}
	if named["quantize_aware"] != nil {
		r.QuantizeAware = &QuantizeAware{Activations: quantize.Dynamic, Distillation: r.Recover}
		trainings["quantize_aware"] = &r.QuantizeAware.Training
	}
	// Epochs count only without steps, and the default has steps.
	for stage, t := range trainings {
		if given, ok := named[stage].(map[string]any); ok && given["epochs"] != nil {
			t.Steps = 0
		}
	}
	if len(named) > 0 { // of an empty file the decoder makes an empty recipe
		if err := yaml.NewDecoder(bytes.NewReader(text), yaml.Strict()).Decode(&r); err != nil {
			return Recipe{}, errors.New(firstLine(err))
		}
	}
	change(&r)
	if err := zeros(named); err != nil {
		return Recipe{}, err
	}
	return r, r.Validate()
}

// zeros reports a setting that a file gives as 0 although that means nothing: it
// would be taken for one that is not given.
func zeros(named map[string]any) error {
	training := []string{"epochs", "steps", "batch_size", "eval_every", "accumulate", "layer_decay", "patience"}
	distillation := append([]string{"temperature_end", "relation_heads"}, training...)
	for _, section := range []struct {
		name string
		keys []string
	}{
		{"", []string{"target_ms", "target_speedup"}},
		{"teacher", training}, {"student", []string{"hidden", "heads", "ffn"}},
		{"distill", distillation}, {"recover", distillation}, {"quantize_aware", distillation},
	} {
		given, prefix := named, ""
		if section.name != "" {
			given, _ = named[section.name].(map[string]any)
			prefix = section.name + "."
		}
		for _, key := range section.keys {
			switch fmt.Sprint(given[key]) {
			case "0", "-0":
				return settingError(prefix+key, "0, expected more; without the setting it is the default")
			}
		}
		if err := distill.CheckZeros(given["stages"]); err != nil {
			return ofSection(section.name, err)
		}
	}
	return nil
}

// firstLine leaves out the excerpt of the file that the YAML package appends.
func firstLine(err error) string {
	text, _, _ := bytes.Cut([]byte(err.Error()), []byte("\n"))
	return string(text)
}

// YAML returns the recipe as a file that ReadRecipe takes.
func (r Recipe) YAML() ([]byte, error) { return yaml.Marshal(r) }

// A SettingError tells that one setting of a recipe cannot be carried out.
type SettingError struct {
	// Setting is its name in the recipe.
	Setting string
	// Err says what is wrong with it.
	Err error
}

func (e *SettingError) Error() string { return fmt.Sprintf("recipe: %s: %v", e.Setting, e.Err) }
func (e *SettingError) Unwrap() error { return e.Err }

func settingError(setting, format string, args ...any) error {
	return &SettingError{setting, fmt.Errorf(format, args...)}
}

// Validate reports the first setting that cannot be carried out, as a
// *SettingError where it is one alone.
func (r Recipe) Validate() error {
	share := func(x float64) bool { return x >= 0 && x < 1 }
	switch {
	case r.Model == "" && r.Architecture == nil:
		return errors.New("recipe: neither a model nor an architecture is given")
	case r.Model != "" && r.Architecture != nil:
		return settingError("architecture", "it is that of a teacher without a model, but the model is %s", r.Model)
	case r.Task == "":
		return errors.New("recipe: no task is given")
	case r.Task != "reviews" && r.Train == "":
		return errors.New("recipe: no training file is given")
	case r.Task != "reviews" && r.Dev == "":
		return errors.New("recipe: no development file is given")
	case r.Task == "reviews" && r.Reviews == nil:
		return settingError("task", "reviews needs the numbers of generated reviews")
	case r.Task == "reviews" && (r.Reviews.Train < 1 || r.Reviews.Dev < 1):
		return settingError("reviews", "%d of training and %d of development, expected 1 or more of each", r.Reviews.Train, r.Reviews.Dev)
	case r.MaxLength < 0:
		return settingError("max_length", "%d, expected a number of tokens or 0", r.MaxLength)
	case r.Student.Layers < 0:
		return settingError("student.layers", "%d, expected at least 1, or 0 for half of the teacher's", r.Student.Layers)
	case r.Student.Hidden < 0:
		return settingError("student.hidden", "%d, expected at least 1, or 0 for the teacher's", r.Student.Hidden)
	case r.Student.Heads < 0:
		return settingError("student.heads", "%d, expected at least 1, or 0 for the teacher's", r.Student.Heads)
	case r.Student.FFN < 0:
		return settingError("student.ffn", "%d, expected at least 1, or 0 for the teacher's", r.Student.FFN)
	case r.Student.Random && len(r.Student.TeacherLayers) > 0:
		return settingError("student.teacher_layers", "a student of random weights has none of the teacher's layers")
	case !(r.PriceHour >= 0) || math.IsInf(r.PriceHour, 1):
		return settingError("price_hour", "%g, expected a price of 0 or more", r.PriceHour)
	case r.Instances < 0 || r.Instances > infer.MaxInstances:
		return settingError("instances", "%d, expected 0 to %d", r.Instances, infer.MaxInstances)
	case !(r.MaxDrop >= 0 && r.MaxDrop <= 100):
		return settingError("max_drop", "%g, expected 0 to 100 points", r.MaxDrop)
	case !(r.TargetMS >= 0) || math.IsInf(r.TargetMS, 1):
		return settingError("target_ms", "%g, expected a time above 0", r.TargetMS)
	case r.TargetSpeedup != 0 && !(r.TargetSpeedup > 1) || math.IsInf(r.TargetSpeedup, 1):
		return settingError("target_speedup", "%g, expected a factor above 1", r.TargetSpeedup)
	case r.TargetMS > 0 && r.TargetSpeedup > 0:
		return errors.New("recipe: target_ms and target_speedup exclude one another")
	case (r.TargetMS > 0 || r.TargetSpeedup > 0) && len(r.Prune) > 0:
		return errors.New("recipe: prune and a target, which replaces it, exclude one another")
	case r.ImportanceExamples < 0:
		return settingError("importance_examples", "%d, expected 0 or more", r.ImportanceExamples)
	}
	for _, named := range []struct{ setting, text string }{
		{"model", r.Model}, {"train", r.Train}, {"dev", r.Dev}, {"unlabeled", r.Unlabeled},
		{"text_column", r.TextColumn}, {"pair_column", r.PairColumn}, {"label_column", r.LabelColumn},
	} {
		// Others come back changed from the recipe that a run keeps.
		if !utf8.ValidString(named.text) || strings.ContainsFunc(named.text, unicode.IsControl) {
			return settingError(named.setting, "%q, expected UTF-8 without control characters", named.text)
		}
	}
	for i, p := range r.Prune {
		if !share(p.Heads) || !share(p.FFN) {
			return fmt.Errorf("recipe: prune[%d]: heads %g and ffn %g are expected to be shares, 0 or more and less than 1", i, p.Heads, p.FFN)
		}
		if i > 0 && (p.Heads < r.Prune[i-1].Heads || p.FFN < r.Prune[i-1].FFN) {
			return fmt.Errorf("recipe: prune[%d]: it is cut from the variant before and is expected to remove no less", i)
		}
		if i > 0 && p.name() == r.Prune[i-1].name() {
			return fmt.Errorf("recipe: prune[%d]: the variant before removes the same whole percentages", i)
		}
	}
	type stage struct {
		name string
		Distillation
		quantizeAware string
	}
	stages := []stage{{"teacher", Distillation{Training: r.Teacher, Losses: distill.Defaults().Losses}, ""}, {"distill", r.Distill, ""}, {"recover", r.Recover, ""}}
	if q := r.QuantizeAware; q != nil {
		if q.Activations != quantize.Dynamic && q.Activations != quantize.Static {
			return settingError("quantize_aware.activations", "%q, expected %s or %s", q.Activations, quantize.Dynamic, quantize.Static)
		}
		stages = append(stages, stage{"quantize_aware", q.Distillation, q.Activations})
	}
	for _, s := range stages {
		o := distill.Defaults()
		var err error
		if o.Options, err = s.options(r); err != nil {
			return ofSection(s.name, err)
		}
		o.QuantizeAware = s.quantizeAware
		if len(s.Stages) == 0 { // which have losses of their own
			o.Losses = s.Losses
		}
		if err := o.Validate(); err != nil {
			return ofSection(s.name, err)
		}
		if len(s.Stages) > 0 {
			if err := distill.CheckStages(s.Stages, o); err != nil {
				return fmt.Errorf("recipe: %s: %w", s.name, err)
			}
		}
		if s.Augment < 0 || s.Augment > distill.MaxCopies {
			return settingError(s.name+".augment", "%d, expected 0 to %d copies", s.Augment, distill.MaxCopies)
		}
	}
	return nil
}

// ofSection calls a wrong option of a section, a stage or the student, by its name
// in the recipe.
func ofSection(section string, err error) error {
	var wrong *settings.Error
	if !errors.As(err, &wrong) {
		return fmt.Errorf("recipe: %s: %w", section, err)
	}
	var size distill.Size
	o := distill.Defaults()
	table := slices.Concat(o.Settings(), size.Settings().In("", "size"), settings.Table{{Name: "teacher-layers", Field: "layers"}})
	for _, s := range table {
		if s.Field == wrong.Field {
			return &SettingError{section + "." + strings.ReplaceAll(s.Name, "-", "_"), wrong.Err}
		}
	}
	return fmt.Errorf("recipe: %s: %w", section, err)
}

// options turns the settings into those of package train.
func (t Training) options(r Recipe) (train.Options, error) {
	o := train.Defaults()
	o.Epochs, o.Steps, o.BatchSize = t.Epochs, t.Steps, t.BatchSize
	o.LearningRate, o.Warmup, o.Schedule = t.LearningRate, t.Warmup, train.Schedule(t.Schedule)
	o.WeightDecay, o.MaxGradNorm, o.Dropout = t.WeightDecay, t.MaxGradNorm, t.Dropout
	o.EvalEvery, o.MaxLength, o.Seed = t.EvalEvery, r.MaxLength, r.Seed
	o.Accumulate, o.LayerDecay, o.Patience, o.Precision = t.Accumulate, t.LayerDecay, t.Patience, t.Precision
	return o, nil
}
