package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/distill"
	"github.com/skive-ml/skive/head"
	"github.com/skive-ml/skive/pruning"
	"github.com/skive-ml/skive/train"
)

// lossFlags are the weights and settings of the losses.
type lossFlags struct {
	distill.Losses
	hidden, attention, relations string // layer maps
}

func (l *lossFlags) register(f *pflag.FlagSet) {
	d := distill.Defaults()
	f.Float64Var(&l.Soft, "soft", d.Soft, "weight of the cross-entropy against the teacher's probabilities")
	f.Float64Var(&l.Temperature, "temperature", d.Temperature, "temperature of those probabilities")
	f.StringVar(&l.TemperatureSchedule, "temperature-schedule", d.TemperatureSchedule, "constant, linear or cosine, towards --temperature-end")
	f.Float64Var(&l.TemperatureEnd, "temperature-end", 0, "temperature of the last step")
	f.Float64Var(&l.Hard, "hard", d.Hard, "weight of the cross-entropy against the labels")
	f.Float64Var(&l.LogitsMSE, "logits-mse", 0, "weight of the squared difference of the logits")
	f.Float64Var(&l.Embeddings, "embeddings", 0, "weight of the distance of the embedding layers' outputs")
	f.Float64Var(&l.Hidden, "hidden-loss", d.Hidden, "weight of the hidden states' distance")
	f.StringVar(&l.HiddenDistance, "hidden-distance", d.HiddenDistance, "mse, cosine, or pkd (normalised, of [CLS])")
	f.StringVar(&l.hidden, "hidden-map", "uniform", "teacher layer of each student layer: uniform, last, skip, or pairs such as 0:2,1:5")
	f.Float64Var(&l.Attention, "attention", 0, "weight of the difference of the attention")
	f.StringVar(&l.AttentionDistance, "attention-distance", d.AttentionDistance, "mse of the scores before the softmax, or cosine or ce of the maps")
	f.StringVar(&l.attention, "attention-map", "uniform", "as --hidden-map, for the attention")
	f.BoolVar(&l.HeadMeans, "head-means", false, "compare the attention's means over the heads, whose numbers may then differ")
	f.Float64Var(&l.MiniLM, "minilm", 0, "weight of the last layers' attention and value relations (MiniLM)")
	f.Float64Var(&l.Relations, "relations", d.Relations, "weight of the query, key and value relations (MiniLMv2)")
	f.IntVar(&l.RelationHeads, "relation-heads", d.RelationHeads, "heads of the relations (default the student's)")
	f.StringVar(&l.relations, "relation-map", "uniform", "as --hidden-map, for the relations")
}

// checkLosses reports settings of losses that have no weight, which would do
// nothing.
func checkLosses(l distill.Losses, f *pflag.FlagSet) error {
	for _, s := range []struct {
		loss     string
		weight   float64
		settings []string
	}{
		{"soft", l.Soft, []string{"temperature", "temperature-schedule", "temperature-end"}},
		{"hidden-loss", l.Hidden, []string{"hidden-map"}},
		{"hidden-loss or --embeddings", l.Hidden + l.Embeddings, []string{"hidden-distance"}},
		{"attention", l.Attention, []string{"attention-distance", "attention-map", "head-means"}},
		{"relations", l.Relations, []string{"relation-heads", "relation-map"}},
	} {
		for _, name := range s.settings {
			if s.weight == 0 && f.Changed(name) {
				return usagef("--%s goes with --%s, whose weight is 0", name, s.loss)
			}
		}
	}
	return nil
}

func (l *lossFlags) losses() (distill.Losses, error) {
	for _, m := range []struct {
		flag, text string
		to         *distill.LayerMap
	}{{"hidden-map", l.hidden, &l.HiddenMap}, {"attention-map", l.attention, &l.AttentionMap}, {"relation-map", l.relations, &l.RelationMap}} {
		var err error
		if *m.to, err = distill.ParseLayerMap(m.text); err != nil {
			return l.Losses, usagef("--%s: %w", m.flag, err)
		}
	}
	return l.Losses, nil
}

// named is an error of usage that names the setting as its flag is.
func named(err error) error {
	var setting *train.OptionError
	if errors.As(err, &setting) {
		flag := *setting
		switch setting.Option {
		case "hidden": // which is a size here
			flag.Option = "hidden-loss"
		case "teacher-weight":
			flag.Option = "teacher-weights"
		}
		err = &flag
	}
	return usagef("--%w", err)
}

// studentFlags say how the student is made.
type studentFlags struct {
	path   string
	size   distill.Size
	init   string
	layers []int
}

func (s *studentFlags) register(f *pflag.FlagSet) {
	f.StringVar(&s.path, "student", "", "student `MODEL`")
	f.IntVar(&s.size.Layers, "layers", 0, "make a student of this many layers")
	f.IntSliceVar(&s.layers, "teacher-layers", nil, "make a student of these of the teacher's layers, from 0 (default spread evenly)")
	f.IntVar(&s.size.Hidden, "hidden", 0, "hidden size of the student (default the teacher's)")
	f.IntVar(&s.size.Heads, "heads", 0, "attention heads in each of its layers (default the teacher's)")
	f.IntVar(&s.size.Intermediate, "ffn", 0, "feed-forward units in each of its layers (default the teacher's)")
	f.StringVar(&s.init, "init", "teacher", "weights of the student: the teacher's most important ones, or random")
}

func (s *studentFlags) check(given func(flag string) bool) error {
	switch {
	case s.init != "teacher" && s.init != "random":
		return usagef("--init: %q, expected teacher or random", s.init)
	case s.path == "" && s.size.Layers == 0 && len(s.layers) == 0:
		return usagef("one of --student, --layers and --teacher-layers is required")
	case s.path != "" && (s.size != distill.Size{} || len(s.layers) > 0 || given("init")):
		return usagef("--student excludes --layers, --teacher-layers, --hidden, --heads, --ffn and --init")
	case s.size.Layers != 0 && len(s.layers) > 0 && s.size.Layers != len(s.layers):
		return usagef("--layers: %d, but --teacher-layers names %d", s.size.Layers, len(s.layers))
	case s.init == "random" && len(s.layers) > 0:
		return usagef("--teacher-layers: a student of random weights has none of the teacher's layers")
	}
	return nil
}

// open opens --student or makes one from the teacher. ds is what decides the
// importance of the teacher's parts, nil for their magnitude, which is that of a
// masked language model in any case.
func (s *studentFlags) open(ctx context.Context, teacher *checkpoints.Model, ds *data.Dataset, seed uint64, progress io.Writer) (*checkpoints.Model, error) {
	if s.path != "" {
		return openCheckpoint("student", s.path)
	}
	if s.init == "random" {
		return distill.NewStudent(teacher, s.size, seed)
	}
	layers, total := s.layers, len(teacher.Config.Layers)
	if len(layers) == 0 {
		if layers = distill.UniformLayers(s.size.Layers, total); layers == nil {
			return nil, usagef("--layers: %d, the teacher has %d; --init random makes deeper ones", s.size.Layers, total)
		}
	}
	if s.size.Hidden == 0 && s.size.Heads == 0 && s.size.Intermediate == 0 {
		return distill.StudentFromLayers(teacher, layers)
	}
	if teacher.Config.Head.Outputs() == head.Tokens {
		ds = nil
	}
	return distill.Narrow(ctx, teacher, layers, s.size, ds, pruning.ImportanceOptions{Limit: narrowExamples, Threads: common.threads, Progress: progress})
}

// narrowExamples are those that decide which parts of the teacher a narrower
// student keeps.
const narrowExamples = 2048

// bytesFlag is a number of bytes such as 500M or 4G.
type bytesFlag int64

func (b *bytesFlag) String() string {
	n, unit := int64(*b), ""
	for _, larger := range []string{"K", "M", "G", "T"} {
		if n == 0 || n%1024 != 0 {
			break
		}
		n, unit = n/1024, larger
	}
	return strconv.FormatInt(n, 10) + unit
}

func (b *bytesFlag) Type() string { return "SIZE" }
func (b *bytesFlag) Set(s string) error {
	digits := strings.TrimRight(strings.ToUpper(s), "KMGTIB")
	n, err := strconv.ParseInt(digits, 10, 64)
	unit, ok := map[string]int64{"": 1, "B": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}[strings.TrimSuffix(strings.TrimSuffix(strings.ToUpper(s[len(digits):]), "B"), "I")]
	if err != nil || !ok || n < 0 || n > 1<<62/max(unit, 1) {
		return fmt.Errorf("%q, expected a number of bytes such as 500M or 4G", s)
	}
	*b = bytesFlag(n * unit)
	return nil
}

func newDistill() *cobra.Command {
	var (
		task              taskFlags
		flags             trainingFlags
		losses            lossFlags
		lossSet           = pflag.NewFlagSet("losses", pflag.ContinueOnError)
		student           studentFlags
		teachers          []string
		weights           []float64
		unlabeled, stages string
		general           bool
		text              string
		augment           = distill.AugmentDefaults()
		augmentMLM        string
		cacheMax          = bytesFlag(distill.DefaultCacheMax)
		o                 = distill.Defaults()
	)
	augment.Copies = 0
	run := func(c *cobra.Command) error {
		if general {
			if err := require(c, "teacher", "text", "output"); err != nil {
				return err
			}
			for _, name := range []string{"task", "train", "dev", "unlabeled", "augment", "stages", "text-column", "pair-column", "label-column"} {
				if c.Flags().Changed(name) {
					return usagef("--%s: a --general distillation reads --text alone", name)
				}
			}
			if len(teachers) > 1 {
				return usagef("--teacher: %d teachers, expected one of a --general distillation, which has no logits to average", len(teachers))
			}
		} else if err := require(c, "teacher", "task", "train", "dev", "output"); err != nil {
			return err
		} else if c.Flags().Changed("text") {
			return usagef("--text is read by --general alone; --unlabeled adds to a task's examples")
		}
		if err := student.check(c.Flags().Changed); err != nil {
			return err
		}
		if len(weights) > 0 && len(weights) != len(teachers) {
			return usagef("--teacher-weights: %d weights for %d teachers", len(weights), len(teachers))
		}
		stage := o.Stage
		var err error
		if o.Options, err = flags.options(task.maxLength); err != nil {
			return err
		}
		o.Stage, o.CacheMax = stage, int64(cacheMax)
		if o.Losses, err = losses.losses(); err != nil {
			return err
		}
		if general && !c.Flags().Changed("soft") {
			o.Soft = 0
			if o.Hidden == 0 && o.Embeddings == 0 && o.Attention == 0 && o.MiniLM == 0 && o.Relations == 0 {
				return usagef("--general: no loss, expected a weight of --hidden-loss, --embeddings, --attention, --minilm or --relations")
			}
		}
		if stages != "" {
			// Each stage brings its own.
			var given string
			lossSet.VisitAll(func(f *pflag.Flag) {
				if f.Changed && given == "" {
					given = f.Name
				}
			})
			if given != "" {
				return usagef("--%s: with --stages, losses and their settings are those of each stage", given)
			}
		}
		if err := checkLosses(o.Losses, c.Flags()); err != nil {
			return err
		}
		if c.Flags().Changed("temperature-end") && o.TemperatureSchedule == "constant" {
			return usagef("--temperature-end goes with --temperature-schedule linear or cosine")
		}
		for _, name := range []string{"augment-mlm", "augment-probability", "augment-candidates"} {
			if c.Flags().Changed(name) && augment.Copies == 0 {
				return usagef("--%s goes with --augment", name)
			}
		}
		temporary := o.Cache == ""
		if temporary {
			o.Cache = filepath.Join(o.Output, train.StateDir, "teacher")
		}
		finish := func(r *train.Result) error {
			if temporary {
				if err := os.RemoveAll(o.Cache); err != nil {
					return err
				}
			}
			return printResult(r, o.Output)
		}
		var list []distill.Stage
		if stages == "tinybert" {
			list = distill.TinyBERT()
		} else if stages != "" {
			if list, err = distill.ReadStages(stages); err != nil {
				// A stage's loss may be called as a flag is.
				return fmt.Errorf("--stages: %v", err)
			}
		}
		if err := o.Validate(); err != nil {
			return named(err)
		}
		release, err := flags.claimOutputs(c, distill.CheckOutput)
		if err != nil {
			return err
		}
		defer release()
		for i, path := range teachers {
			m, err := openCheckpoint("teacher", path)
			if err != nil {
				return err
			}
			defer m.Close()
			t := distill.Teacher{Model: m, Weight: 1}
			if len(weights) > 0 {
				t.Weight = weights[i]
			}
			o.Ensemble = append(o.Ensemble, t)
		}
		teacher := o.Ensemble[0].Model
		o.TeacherWeight, o.Ensemble = o.Ensemble[0].Weight, o.Ensemble[1:]
		if err := o.Validate(); err != nil {
			return named(err)
		}

		if general {
			ds, err := data.ReadText(text)
			if err != nil {
				return ofFlag("text", err)
			}
			to, err := student.open(c.Context(), teacher, nil, o.Seed, o.Progress)
			if err != nil {
				return err
			}
			defer to.Close()
			_, result, err := distill.General(c.Context(), teacher, to, ds, o)
			if err != nil {
				return err
			}
			return finish(result)
		}
		trainSet, devSet, err := task.sets(teacher)
		if err != nil {
			return err
		}
		to, err := student.open(c.Context(), teacher, trainSet, o.Seed, o.Progress)
		if err != nil {
			return err
		}
		defer to.Close()
		if unlabeled != "" {
			more, err := task.unlabeled(unlabeled, trainSet.Task.Labels)
			if err != nil {
				return err
			}
			if err := distill.CheckUnlabeled(trainSet, more); err != nil {
				return fmt.Errorf("--unlabeled: %s: %w", unlabeled, err)
			}
			trainSet.Examples = append(trainSet.Examples, more.Examples...)
		}
		if augment.Copies != 0 {
			augment.Seed, augment.Threads, augment.Progress = o.Seed, o.Threads, o.Progress
			words := teacher
			if augmentMLM != "" {
				if words, err = openCheckpoint("augment-mlm", augmentMLM); err != nil {
					return err
				}
				defer words.Close()
				if words.Config.Head.Outputs() != head.Tokens {
					return fmt.Errorf("--augment-mlm: the head of %s does %s, expected %s", augmentMLM, words.Config.Head, head.MaskedLM)
				}
			}
			more, err := distill.Augment(c.Context(), trainSet, words, augment)
			if err != nil && augmentMLM != "" {
				return fmt.Errorf("--augment-mlm: %s: %w", augmentMLM, err)
			}
			if err != nil {
				return err
			}
			trainSet.Examples = append(trainSet.Examples, more.Examples...)
		}
		var result *train.Result
		if len(list) > 0 {
			_, result, err = distill.RunStages(c.Context(), teacher, to, trainSet, devSet, o, list)
		} else {
			_, result, err = distill.Run(c.Context(), teacher, to, trainSet, devSet, o)
		}
		if err != nil {
			return err
		}
		return finish(result)
	}
	c := &cobra.Command{
		Use:   "distill",
		Short: "Teach a student what a teacher knows",
		Long: `Teach a student what a teacher knows.

The output directory has the best student and the state of the run, of each stage with --stages. A run that was stopped goes
on with --resume. Where a run or a model is there already, distill ends at once unless --resume or --overwrite is given.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return run(c) },
	}
	f := c.Flags()
	f.StringArrayVar(&teachers, "teacher", nil, "teacher `MODEL`; several are an ensemble, whose first gives the hidden states")
	f.Float64SliceVar(&weights, "teacher-weights", nil, "`WEIGHTS` of the teachers' logits, separated by commas (default equal)")
	f.Lookup("teacher-weights").DefValue = ""
	f.StringVar(&o.TeacherPrecision, "teacher-precision", "", "f32 or bf16, as --precision, for the teachers alone (default that of --precision)")
	f.StringVar(&stages, "stages", "", "YAML `FILE` with a list of stages, or tinybert for its two")
	f.StringVar(&unlabeled, "unlabeled", "", "`FILE` of further examples, whose labels are not read; plain text in .txt")
	f.BoolVar(&general, "general", false, "task-agnostic distillation on --text, by inner losses alone")
	f.StringVar(&text, "text", "", "plain text `FILE` for --general, may be .gz")
	f.IntVar(&augment.Copies, "augment", 0, "add this many copies of each example with words replaced by near ones")
	f.StringVar(&augmentMLM, "augment-mlm", "", "masked language `MODEL` that finds the words for --augment in the place of the teacher's embeddings")
	f.Float64Var(&augment.Probability, "augment-probability", augment.Probability, "probability of a word to be replaced")
	f.IntVar(&augment.Candidates, "augment-candidates", augment.Candidates, "nearest or likeliest words that may replace one")
	f.BoolVar(&o.AllowCrossTokenizer, "allow-cross-tokenizer", false, "distill logits between models of different tokenizers")
	f.StringVar(&o.Cache, "cache", "", "`DIR` that keeps the teachers' outputs for other runs (default in the output directory, until the run is done)")
	f.Var(&cacheMax, "cache-max", "`SIZE` of the teacher's hidden states that are kept, such as 500M; logits are always kept")
	student.register(f)
	losses.register(lossSet)
	f.AddFlagSet(lossSet)
	task.register(f, true)
	flags.register(f)
	return c
}
