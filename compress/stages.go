package compress

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/distill"
	"github.com/skive-ml/skive/evaluate"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/pruning"
	"github.com/skive-ml/skive/quantize"
	"github.com/skive-ml/skive/settings"
	"github.com/skive-ml/skive/train"
)

// saveEvery is the number of steps between two saved states of a stage. For a model with a
// hundred million parameters this is some minutes of work, for a small one seconds.
const saveEvery = 200

// training completes the options for a stage.
func (c *run) training(o train.Options, stage, output string) train.Options {
	o = o.Part(stage)
	o.Stage, o.Threads, o.Progress = stage, c.Threads, c.Progress
	o.Output, o.SaveEvery, o.Resume = output, cmp.Or(o.SaveEvery, saveEvery), true
	o.MaxLength, o.Seed = c.MaxLength, c.Seed
	return o
}

// teacherStage is the name of the teacher's folder.
const teacherStage = "teacher"

// makeTeacher trains the teacher, or takes the given one.
func (c *run) makeTeacher(ctx context.Context) (err error) {
	switch {
	case c.TeacherModel != "":
		c.teacher, err = c.keep(teacherStage, c.teacher)
	case c.Search > 1:
		c.teacher, err = c.search(ctx)
	default:
		c.teacher, _, err = c.trainTeacher(ctx, teacherStage, c.Teacher)
	}
	if err != nil {
		return err
	}
	c.steps = append(c.steps,
		step{"teacher, padded", c.path(teacherStage), 1, infer.Options{Threads: c.Threads, DType: infer.F32, PadTo: c.longest()}},
		step{"dynamic length", c.path(teacherStage), 1, infer.Options{Threads: c.Threads, DType: infer.F32}})
	return nil
}

// trainTeacher trains a teacher in the folder of a stage.
func (c *run) trainTeacher(ctx context.Context, stage string, o train.Options) (m *checkpoints.Model, result *train.Result, err error) {
	m, err = c.stage(stage, func(output string) (*checkpoints.Model, error) {
		m, r, err := train.Run(ctx, c.teacher, c.train, c.dev, c.training(o, stage, output))
		c.took(r)
		result = r
		return m, err
	})
	return m, result, err
}

// took adds the time of a training, including earlier calls.
func (c *run) took(result *train.Result) {
	if result != nil {
		c.trained += result.Seconds
		c.anew = result.Resumed < result.Steps
	}
}

// keep saves a model from elsewhere in the folder of a stage, so that the output has everything.
func (c *run) keep(stage string, m *checkpoints.Model) (*checkpoints.Model, error) {
	path := c.path(stage)
	if exists(path) {
		if kept, err := checkpoints.Open(path); err == nil {
			if train.Checksum(kept) == train.Checksum(m) && slices.Equal(kept.Config.Labels, m.Config.Labels) {
				return kept, nil
			}
			kept.Close()
		}
		if err := setAside(path); err != nil {
			return nil, err
		}
	}
	c.anew = true
	if err := m.SaveHF(path); err != nil {
		return nil, err
	}
	return checkpoints.Open(path)
}

// studentStep is the name of the student in the report, or wholeStep if the student is the whole
// teacher. studentStage is the name of its folder.
const (
	studentStep  = "distilled student"
	wholeStep    = "student, all layers"
	studentStage = "student"
)

func (c *run) makeStudents(ctx context.Context) error {
	student, file, name, err := c.makeStudent(ctx)
	if err != nil {
		return err
	}
	c.steps = append(c.steps, step{name, c.path(studentStage), 1, infer.Options{Threads: c.Threads, DType: infer.F32}})
	c.steps = append(c.steps, step{"fused int8", file, 1, infer.Options{Threads: c.Threads, DType: infer.Int8}})
	switch {
	case c.Instances > 1:
		c.steps = append(c.steps, c.served(fmt.Sprintf("%d instances", c.Instances), file))
	case c.Threads > 1:
		c.steps = append(c.steps, c.served("one thread", file))
	}
	if err := c.makeVariants(ctx, student, name, file); err != nil {
		return err
	}
	return os.RemoveAll(c.path(cacheDir))
}

// served returns the row for an int8 file that the recipe's instances run.
func (c *run) served(name, file string) step {
	return step{name, file, c.Instances, infer.Options{Threads: 1, DType: infer.Int8}}
}

// makeVariants cuts the pruned variants of the student with this name and int8 file. They are
// those of the recipe, or those on the way to its target. Under the recipe's max_drop there are
// as many as stay within it.
func (c *run) makeVariants(ctx context.Context, student *checkpoints.Model, name, studentFile string) error {
	var limit float64
	if c.MaxDrop > 0 {
		metric, err := c.outcome.Metric(evaluate.MainMetric(c.dev.Task))
		if err != nil {
			return err
		}
		limit = metric - c.MaxDrop/100
		if ok, err := c.within(ctx, name, studentFile, limit); err != nil || !ok {
			return err
		}
	}
	if c.targeted() {
		return c.cutToTarget(ctx, student, limit)
	}
	variant, last := student, Pruning{}
	sizes := student.Config.Layers
	for i := 0; ; i++ {
		p := last.next()
		if i < len(c.Prune) {
			p = c.Prune[i]
		} else if c.MaxDrop == 0 || p.name() == last.name() || slices.Equal(p.sizes(sizes), last.sizes(sizes)) {
			return nil
		}
		cut, err := c.prune(ctx, variant, sizes, p)
		if err != nil {
			return err
		}
		if variant, err = c.recover(ctx, cut, p.name(), p.label(), limit); err != nil || variant == nil {
			return err
		}
		last = p
	}
}

// recover distills into a cut model, quantizes it, and adds its row. It returns nil if the model
// loses more than the recipe's max_drop allows.
func (c *run) recover(ctx context.Context, cut *checkpoints.Model, name, label string, limit float64) (*checkpoints.Model, error) {
	m, err := c.distill(ctx, cut, c.Recover, name)
	if err != nil {
		return nil, err
	}
	file, err := c.quantize(ctx, m, name)
	if err != nil {
		return nil, err
	}
	if c.MaxDrop > 0 {
		if ok, err := c.within(ctx, label, file, limit); err != nil || !ok {
			return nil, err
		}
	}
	c.steps = append(c.steps, c.served(label, file))
	return m, nil
}

// within tells whether the metric of an int8 file is at least limit. A model that exceeds the
// recipe's max_drop is noted for the report.
func (c *run) within(ctx context.Context, name, file string, limit float64) (bool, error) {
	metric, err := c.metricOf(ctx, file)
	if err != nil || metric >= limit {
		return err == nil, err
	}
	c.dropped = &Dropped{Name: name, Metric: metric, Limit: limit, Model: filepath.Base(file), None: name == studentStep || name == wholeStep}
	return false, nil
}

// metricOf returns what an int8 file reaches on the development set.
func (c *run) metricOf(ctx context.Context, file string) (float64, error) {
	m, err := checkpoints.Open(file)
	if err != nil {
		return 0, err
	}
	defer m.Close()
	outcome, err := c.outcomeOf(ctx, m, variant{file, infer.Int8})
	if err != nil {
		return 0, err
	}
	return outcome.Metric(evaluate.MainMetric(c.dev.Task))
}

// defaultDrop is how many points a student may lose if the data decide its number of layers and
// the recipe has no max_drop.
const defaultDrop = 1

// makeStudent makes the student, distills into it and quantizes it. It also returns the int8 file
// and the name in the report. If the recipe does not say how many layers the student has, it has
// half of the teacher's. If its int8 file then loses too much on the development set, makeStudent
// tries three quarters, and at last all layers, which is the teacher: few examples cannot teach a
// student what the missing layers knew.
func (c *run) makeStudent(ctx context.Context) (m *checkpoints.Model, file, name string, err error) {
	s, total := c.Student, len(c.teacher.Config.Layers)
	if s.Layers != 0 || len(s.TeacherLayers) > 0 || s.Random || c.targeted() {
		m, file, err = c.teach(ctx, s, studentStage)
		return m, file, studentStep, err
	}
	teacher, err := c.outcome.Metric(evaluate.MainMetric(c.dev.Task))
	if err != nil {
		return nil, "", "", err
	}
	drop := cmp.Or(c.MaxDrop, defaultDrop)
	depths := slices.Compact([]int{max(1, total/2), (3*total + 3) / 4, total})
	for i := 0; ; i++ { // the last one is always good enough
		s.Layers = depths[i]
		if s.Layers == total && s.Copies() {
			c.outcomes[variant{c.path(studentStage), infer.F32}] = c.outcome
			if m, err = c.keep(studentStage, c.teacher); err != nil {
				return nil, "", "", err
			}
			file, err = c.quantize(ctx, m, studentStage)
			return m, file, wholeStep, err
		}
		// If an earlier call gave up such a student, its folder has another name.
		stage, aside := studentStage, fmt.Sprintf("%s-%d-layers", studentStage, s.Layers)
		if exists(c.path(aside)) {
			stage = aside
		}
		if m, file, err = c.teach(ctx, s, stage); err != nil {
			return nil, "", "", err
		}
		value, err := c.metricOf(ctx, file)
		if err != nil {
			return nil, "", "", err
		}
		enough := s.Layers == total || value >= teacher-drop/100
		if enough && stage == studentStage {
			return m, file, studentStep, nil
		}
		m.Close()
		if enough { // it may not have been under another bound
			m, err = c.takeUp(aside)
			return m, file, studentStep, err
		}
		delete(c.outcomes, variant{file, infer.Int8}) // the next student gets its name
		c.say("student: %d of %d layers reach %.1f %% in int8, the teacher %.1f %%; expected at most %g less, so it gets more layers",
			s.Layers, total, 100*value, 100*teacher, drop)
		if stage == studentStage {
			if err := os.Rename(c.path(studentStage), c.path(aside)); err != nil {
				return nil, "", "", err
			}
		}
	}
}

// takeUp makes a student that an earlier call gave up the student of this run.
func (c *run) takeUp(aside string) (*checkpoints.Model, error) {
	path := c.path(studentStage)
	if exists(path) {
		if err := setAside(path); err != nil {
			return nil, err
		}
	}
	if err := os.Rename(c.path(aside), path); err != nil {
		return nil, err
	}
	return checkpoints.Open(path)
}

// teach makes a student from the teacher, distills into it in the folder of a stage, and
// quantizes it.
func (c *run) teach(ctx context.Context, s distill.Student, stage string) (m *checkpoints.Model, file string, err error) {
	if m, err = c.student(ctx, s); err != nil {
		return nil, "", err
	}
	if m, err = c.distill(ctx, m, c.Recipe.Distill, stage); err != nil {
		return nil, "", err
	}
	file, err = c.quantize(ctx, m, studentStage)
	return m, file, err
}

// student makes a student from the teacher.
func (c *run) student(ctx context.Context, s distill.Student) (*checkpoints.Model, error) {
	size, layers, err := s.Resolve(c.teacher.Config)
	if err != nil {
		return nil, settings.In("Student", err)
	}
	make := func() (*checkpoints.Model, map[string]float64, error) {
		m, err := s.Make(ctx, c.teacher, c.importanceSet(), c.importanceOptions(), c.Seed)
		return m, nil, err
	}
	if s.Random || s.Copies() {
		m, _, err := make()
		return m, err
	}
	return c.cut("student", c.teacher, map[string]string{"layers": fmt.Sprint(layers), "size": fmt.Sprint(size)}, make)
}

// prune cuts a variant from the student, or from the variant before it. Its sizes are shares of
// the student's layers. A model that has recovered loses less in the next cut.
func (c *run) prune(ctx context.Context, m *checkpoints.Model, student []checkpoints.LayerSize, p Pruning) (*checkpoints.Model, error) {
	// The name has whole percentages, so several sizes may share one.
	sizes := p.sizes(student)
	return c.cut(p.name(), m, map[string]string{"sizes": fmt.Sprint(sizes)}, func() (*checkpoints.Model, map[string]float64, error) {
		ranked, err := Cut{Set: c.importanceSet(), Importance: c.importanceOptions()}.rank(ctx, m, false)
		if err != nil {
			return nil, nil, err
		}
		masks, err := pruning.SelectSizes(ranked.scores, m.Config, sizes)
		if err != nil {
			return nil, nil, err
		}
		pruned, err := ranked.remove(ctx, masks)
		return pruned, nil, err
	})
}

// sizes returns the sizes of a student's layers after the cut.
func (p Pruning) sizes(student []checkpoints.LayerSize) []checkpoints.LayerSize {
	keep := func(n int, removed float64) int { return max(1, n-int(math.Round(float64(n)*removed))) }
	sizes := make([]checkpoints.LayerSize, len(student))
	for l, size := range student {
		sizes[l] = checkpoints.LayerSize{Heads: keep(size.Heads, p.Heads), Intermediate: keep(size.Intermediate, p.FFN)}
	}
	return sizes
}

// importanceSet returns the part of the training set that decides what is pruned.
func (c *run) importanceSet() *data.Dataset {
	if c.ImportanceExamples > 0 {
		return c.train.First(c.ImportanceExamples)
	}
	return c.train
}

func (c *run) importanceOptions() pruning.ImportanceOptions {
	return pruning.ImportanceOptions{Threads: c.Threads, MaxLength: c.MaxLength, Progress: c.Progress}
}

// cacheDir is the directory for the teacher's outputs while students are trained, if a
// distillation names no other.
const cacheDir = "cache"

// distill trains a student.
func (c *run) distill(ctx context.Context, student *checkpoints.Model, d Distillation, name string) (*checkpoints.Model, error) {
	set, err := c.examples(ctx, d)
	if err != nil {
		return nil, err
	}
	return c.stage(name, func(output string) (*checkpoints.Model, error) {
		o := d.Options
		o.Options, o.Cache = c.training(o.Options, name, output), cmp.Or(o.Cache, c.path(cacheDir))
		var m *checkpoints.Model
		var result *train.Result
		if len(d.Stages) > 0 {
			m, result, err = distill.RunStages(ctx, c.teacher, student, set, c.dev, o, d.Stages)
		} else {
			m, result, err = distill.Run(ctx, c.teacher, student, set, c.dev, o)
		}
		c.took(result)
		return m, err
	})
}

// examples returns the examples for a distillation: the training set, unlabelled text and
// augmented copies.
func (c *run) examples(ctx context.Context, d Distillation) (*data.Dataset, error) {
	if c.Unlabeled == "" && d.Augment.Copies == 0 {
		return c.train, nil
	}
	key := fmt.Sprintf("%d %g %d %s", d.Augment.Copies, d.Augment.Probability, d.Augment.Candidates, d.AugmentMLM)
	if all := c.examplesOf[key]; all != nil {
		return all, nil
	}
	all := &data.Dataset{Task: c.train.Task, Examples: slices.Clone(c.train.Examples)}
	all.Examples = append(all.Examples, c.unlabeled...)
	if d.Augment.Copies > 0 {
		more, err := c.augment(ctx, all, d)
		if err != nil {
			return nil, err
		}
		all.Examples = append(all.Examples, more.Examples...)
	}
	all.Remember()
	c.examplesOf[key] = all
	return all, nil
}

// augment makes the copies of a data set that a distillation asks for.
func (c *run) augment(ctx context.Context, ds *data.Dataset, d Distillation) (*data.Dataset, error) {
	o := d.Augment
	o.Seed, o.Threads, o.Progress = c.Seed, c.Threads, c.Progress
	if d.AugmentMLM == "" {
		return distill.Augment(ctx, ds, c.teacher, o)
	}
	words, err := checkpoints.Open(d.AugmentMLM)
	if err != nil {
		return nil, err
	}
	defer words.Close()
	if err := distill.CheckWords(words); err != nil {
		return nil, err
	}
	return distill.Augment(ctx, ds, words, o)
}

// quantizeAwareSuffix is the end of the name of the folder of a model that was trained with the
// int8 engine's arithmetic.
const quantizeAwareSuffix = "-quantize-aware"

// quantize writes a model with linear layers and embeddings in int8. The model is first trained
// for that if the recipe says so.
func (c *run) quantize(ctx context.Context, m *checkpoints.Model, name string) (string, error) {
	if a := c.QuantizeAware; a != nil {
		d := *a
		d.QuantizeEmbeddings = true
		var err error
		if m, err = c.distill(ctx, m, d, name+quantizeAwareSuffix); err != nil {
			return "", err
		}
		defer m.Close()
	}
	q, err := quantize.Int8Weights(m, append(quantize.LinearWeights(m.Config), quantize.Embeddings()...))
	if err != nil {
		return "", err
	}
	file := c.path(name + "-int8.skive")
	return file, q.SaveSkive(file)
}
