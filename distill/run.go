package distill

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/skive-ml/skive/autograd"
	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/evaluate"
	"github.com/skive-ml/skive/head"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/internal/exact"
	"github.com/skive-ml/skive/layers"
	"github.com/skive-ml/skive/settings"
	"github.com/skive-ml/skive/tokenize"
	"github.com/skive-ml/skive/train"
)

// ErrTokenizer is returned if teacher and student have different tokenizers.
var ErrTokenizer = errors.New("teacher and student have different tokenizers")

// Run trains a copy of student to do what teacher does on the examples of trainSet. It returns
// the model that was best on devSet, or the last one if devSet is nil. Both models have the same
// kind of head, and the same classes in any order. Run reads the labels of trainSet only if
// Losses.Hard is set. Even then they may be missing if there are other losses, except in a
// regression and in tasks where several labels may hold.
//
// A teacher's outputs are computed when an example first comes up, and stored as Options.Cache
// says. Files, resuming and errors are as in train.Run.
func Run(ctx context.Context, teacher, student *checkpoints.Model, trainSet, devSet *data.Dataset, o Options) (*checkpoints.Model, *train.Result, error) {
	return run(ctx, teacher, student, trainSet, devSet, o, false)
}

// General distills a copy of student's encoder on plain text (TinyBERT's general distillation,
// MiniLM), with losses on hidden states, attention or relations only. The result has no
// classifier; train.Run adds one for a task.
func General(ctx context.Context, teacher, student *checkpoints.Model, text *data.Dataset, o Options) (*checkpoints.Model, *train.Result, error) {
	if err := o.checkGeneral(); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", o.Stage, err)
	}
	return run(ctx, teacher, withoutHead(student), text, nil, o, true)
}

// checkGeneral reports losses on predictions, and the lack of any other loss.
func (l *Losses) checkGeneral() error {
	if field := some(l.predictions()); field != "" {
		return settings.Errorf(field, "expected 0 in a general distillation, which has no labels and no logits")
	}
	if !slices.ContainsFunc(l.inner(), func(w weighed) bool { return w.value != 0 }) {
		return settings.Errorf("MiniLM", "0, as are the other losses on what is inside the encoder (embeddings, hidden states, attention, relations): expected a weight of one")
	}
	return nil
}

// withoutHead returns the model without its head. It shares the tensors.
func withoutHead(m *checkpoints.Model) *checkpoints.Model {
	bare := *m
	bare.Config = m.Config.Clone()
	bare.Config.Labels, bare.Config.Head, bare.Config.Task = nil, head.SingleLabel, ""
	kept := make(map[string]checkpoints.Tensor)
	for _, name := range bare.Names() { // the names that remain in the configuration
		kept[name] = m.Tensors[name]
	}
	bare.Tensors = kept
	return &bare
}

func run(ctx context.Context, teacher, student *checkpoints.Model, trainSet, devSet *data.Dataset, o Options, general bool) (*checkpoints.Model, *train.Result, error) {
	if o.Stage == "" {
		o.Stage = "distill"
	}
	fail := func(err error) (*checkpoints.Model, *train.Result, error) {
		return nil, nil, fmt.Errorf("%s: %w", o.Stage, err)
	}
	if err := o.Validate(); err != nil {
		return fail(err)
	}
	if err := o.checkOwn(); err != nil {
		return fail(err)
	}
	members := append([]Teacher{{Model: teacher, Weight: o.TeacherWeight}}, o.Ensemble...)
	cross := false
	for _, m := range members {
		err := o.fits(m.Model, student)
		if errors.Is(err, ErrTokenizer) && o.AllowCrossTokenizer {
			switch field := some(o.inner()); {
			case field != "":
				err = settings.Errorf(field, "%w, and it compares tokens with tokens", ErrTokenizer)
			case m.Model.Config.Head.PerToken():
				err = fmt.Errorf("a head for %s answers for tokens: %w", m.Model.Config.Head, ErrTokenizer)
			default:
				cross, err = true, nil
			}
		}
		if err != nil {
			return fail(err)
		}
		if limit := m.Model.Config.MaxTokens(); !cross && o.MaxLength == 0 && limit < student.Config.MaxTokens() {
			o.MaxLength = limit
		}
	}
	if !general && trainSet != nil {
		for _, m := range members {
			if err := evaluate.CheckPairs(m.Model.Config, trainSet); err != nil {
				return fail(fmt.Errorf("the teacher: training set: %w", err))
			}
		}
	}
	record := o.record()
	record["teacher-checksum"] = train.Checksum(teacher)
	if p := o.teacherPrecision(); p != infer.F32 {
		record["teacher-precision"] = p
	}
	for i, m := range o.Ensemble {
		record["teacher-weight"] = fmt.Sprint(o.TeacherWeight)
		record[fmt.Sprintf("teacher-%d-checksum", i+2)] = train.Checksum(m.Model)
		record[fmt.Sprintf("teacher-%d-weight", i+2)] = fmt.Sprint(m.Weight)
	}
	return train.Fit(ctx, student, trainSet, devSet, o.Options, train.Problem{
		Settings:  record,
		Unlabeled: o.unlabeled(trainSet),
		Headless:  general,
		Weighted:  o.Hard > 0 && !general && trainSet != nil && trainSet.Task.Kind.Outputs() == head.Classes,
		Rescaled:  o.TemperatureSchedule == Linear || o.TemperatureSchedule == Cosine,
		Build: func(s train.Setup) (train.Objective, error) {
			b := &builder{Setup: s, o: &o, members: members, general: general, examples: trainSet, dev: devSet, labels: trainSet.Task.Labels, cross: cross}
			return b.build()
		},
	})
}

// unlabeled tells whether examples may lack labels: if the student also learns from something
// else. Numbers, and labels of which several may hold, do not tell whether they are known.
func (o *Options) unlabeled(set *data.Dataset) bool {
	if o.Hard == 0 || set == nil {
		return true
	}
	return lessons[set.Task.Kind].gaps && (o.ofLogits() || some(o.inner()) != "")
}

// fits reports a teacher and a student that cannot be combined.
func (o *Options) fits(teacher, student *checkpoints.Model) error {
	if err := notQuantized(teacher); err != nil {
		return err
	}
	if in := tokenizersDiffer(teacher, student); in != "" {
		return settings.Errorf("AllowCrossTokenizer", "%w: %s; distilling across families works badly, and with it the logits alone are distilled", ErrTokenizer, in)
	}
	if o.MaxLength > teacher.Config.MaxTokens() {
		return settings.Wrong("MaxLength", o.MaxLength, "at most the teacher's %d positions", teacher.Config.MaxTokens())
	}
	return nil
}

// tokenizersDiffer says how two models differ in the ids that they make from text, or "" if they
// do not. They are equal if their files are. They are also equal if their vocabularies are, and
// if they agree on text with every kind of character and on every word: as it is, in capitals,
// with an accent, and inside another word.
func tokenizersDiffer(a, b *checkpoints.Model) string {
	if maps.EqualFunc(a.Tokenizer, b.Tokenizer, slices.Equal) {
		return ""
	}
	ta, errA := tokenize.Load(a.Tokenizer)
	tb, errB := tokenize.Load(b.Tokenizer)
	switch {
	case errA != nil:
		return errA.Error()
	case errB != nil:
		return errB.Error()
	case ta.VocabSize() != tb.VocabSize():
		return fmt.Sprintf("they have %d and %d tokens", ta.VocabSize(), tb.VocabSize())
	}
	var ea, eb tokenize.Encoding
	differ := func(text string) bool {
		errA, errB := ta.EncodePair(&ea, text, text, tokenize.Options{}), tb.EncodePair(&eb, text, text, tokenize.Options{})
		if errA != nil || errB != nil {
			return errA == nil || errB == nil
		}
		return !slices.Equal(ea.IDs, eb.IDs) || !slices.Equal(ea.TypeIDs, eb.TypeIDs)
	}
	for _, text := range []string{"", "don't\tstop...", "\u6f22\u5b57 \ud55c\uae00", "\u0441\u043b\u043e\u0432\u043e", "\u00c5ngstr\u00f6m", "\u00bd\u00a0x\u200b\u00ad", "3,141.59", "[MASK] <mask>", "\U0001f600"} {
		if differ(text) {
			return fmt.Sprintf("the text %q has other ids", text)
		}
	}
	for id := range int32(ta.VocabSize()) {
		word := ta.Token(id)
		if other := tb.Token(id); word != other {
			return fmt.Sprintf("token %d is %q and %q", id, word, other)
		}
		if text := fmt.Sprintf("%[1]s %[2]s %[1]s\u0301 x%[1]sx X%[2]sX", word, strings.ToUpper(word)); differ(text) {
			return fmt.Sprintf("the text %q has other ids", text)
		}
	}
	return ""
}

// builder adds the losses to the student's graph.
type builder struct {
	train.Setup
	o       *Options
	members []Teacher
	general bool
	// examples are those of the training set, for teachers that tokenize them differently. cross
	// says that they may do so.
	examples *data.Dataset
	dev      *data.Dataset // nil if there is none
	cross    bool

	g  *autograd.Graph
	in *layers.Inputs
	// labels are the task's labels. columns holds for each teacher what the function columns
	// returns.
	labels  []string
	columns [][]int
	// outputs are the first teacher's outputs that the losses read. logits is the input for the
	// mean logits of all teachers.
	outputs     []*output
	logits      *autograd.Node
	temperature *autograd.Weight
	// set holds the functions that set the other inputs of the losses.
	set []func(*data.Batch) error
	// means holds the means of losses, by term, which are needed if batches are accumulated or
	// may lack what a loss compares.
	means []mean
	// answered and labelled return how many answers the losses on logits compare with the
	// teachers' answers and with the labels.
	answered, labelled func(*data.Batch) float64
	// masker masks the batches of a masked language model. rows is the input for the tokens whose
	// logits are compared.
	masker *evaluate.Masker
	rows   *autograd.Node
}

// build makes the objective: the student's graph with the losses, and the teachers.
func (b *builder) build() (train.Objective, error) {
	g := autograd.New(autograd.Options{Workers: b.Workers, Seed: b.Options.Seed})
	b.g, b.in = g, layers.NewInputs(g)
	terms, err := b.terms()
	if err != nil {
		g.Close()
		return nil, err
	}
	known, err := b.teachers()
	if err == nil && b.o.making != nil {
		err = errors.Join(b.o.making.make(known.all[0], b.Train, cmp.Or(b.Options.MaxLength, b.Model.Config.MaxTokens())), known.Close())
	}
	if err != nil {
		g.Close()
		return nil, err
	}
	compiled, err := train.Compile(g, b.Model, terms, func(batch *data.Batch) error {
		var rows []int32
		switch {
		case b.masker != nil:
			masked := *batch
			masked.IDs, rows = b.masker.IDs, b.masker.Rows
			batch = &masked
		case b.rows != nil:
			rows = firstTokens(batch)
		}
		if err := b.in.Set(batch.IDs, batch.TypeIDs, batch.Positions, batch.Offsets); err != nil {
			return err
		}
		if b.rows != nil {
			if err := g.SetInts(b.rows, rows); err != nil {
				return err
			}
		}
		for _, set := range b.set {
			if err := set(batch); err != nil {
				return err
			}
		}
		return known.bind(g, batch, rows, b.masker != nil)
	})
	if err != nil {
		known.Close()
		return nil, err
	}
	return &objective{Objective: compiled, builder: b, known: known}, nil
}

// objective sets the temperature of each step, masks its batches, and closes the
// teachers.
type objective struct {
	train.Objective
	*builder
	known *teachers
	// tokens is the number of tokens in all batches of a step.
	tokens float64
}

// mean corrects the mean of a loss that divides by something other than tokens. The batches of a
// step may hold other shares of labelled words, say, than of tokens; the factor makes up for
// that. It is 0 for a batch without any.
type mean struct {
	count  func(*data.Batch) float64
	all    float64 // count over the batches of a step
	factor *autograd.Weight
}

func (o *objective) Step(number int, batch *data.Batch) (float64, map[string]float64, error) {
	if o.temperature != nil {
		o.temperature.Set(float32(o.o.temperature(o.StepOf(number), o.Steps)))
	}
	if err := o.mask(number, batch); err != nil {
		return 0, nil, err
	}
	for _, m := range o.means {
		n, factor := m.count(batch), 0.0
		switch {
		case n == 0:
		case o.Options.Accumulate > 1:
			factor = n / m.all * o.tokens / float64(batch.Tokens())
		default:
			factor = 1
		}
		m.factor.Set(float32(factor))
	}
	return o.Objective.Step(number, batch)
}

// mask masks the batch if the model is a masked language model.
func (o *objective) mask(number int, batch *data.Batch) error {
	if o.masker == nil {
		return nil
	}
	return o.masker.Mask(batch, o.Options.Seed, uint64(o.StepOf(number)))
}

// Weights returns the numbers of tokens, of which no batch is without. It also counts what the
// other means divide by.
func (o *objective) Weights(number int, batches []data.Batch) []float64 {
	o.tokens = 0
	for i := range o.means {
		o.means[i].all = 0
	}
	weights := make([]float64, len(batches))
	for i := range batches {
		batch := &batches[i]
		if o.mask(number+i, batch) != nil {
			continue // no text: the batch's step reports that
		}
		weights[i] = float64(batch.Tokens())
		o.tokens += weights[i]
		for j := range o.means {
			o.means[j].all += o.means[j].count(batch)
		}
	}
	return weights
}

// Memory returns the memory of the student's steps. That of the teachers is not included.
func (o *objective) Memory(e autograd.Extents) int64 { return o.g.Memory(e) }

// SetProfile makes the next steps add the times of the student's and the teachers' graphs to p.
func (o *objective) SetProfile(p *autograd.Profile) {
	if student, ok := o.Objective.(interface{ SetProfile(*autograd.Profile) }); ok {
		student.SetProfile(p)
	}
	for _, t := range o.known.all {
		t.profile = p
	}
}

func (o *objective) Close() error { return errors.Join(o.Objective.Close(), o.known.Close()) }

// teachers makes the teachers that the losses need.
func (b *builder) teachers() (*teachers, error) {
	known := &teachers{logits: b.logits}
	// Weights are relative to the largest, because their sum may overflow float64.
	heaviest, total := 0.0, 0.0
	for _, m := range b.members {
		heaviest = max(heaviest, m.Weight)
	}
	for _, m := range b.members {
		total += m.Weight / heaviest
	}
	for i, m := range b.members {
		t := &teacher{model: m.Model, set: b.Train, share: float32(m.Weight / heaviest / total), precision: b.o.teacherPrecision(), workers: b.Workers, threads: b.Options.Threads, progress: b.Options.Progress}
		if i == 0 {
			t.outputs = b.outputs
		}
		if b.logits != nil && m.Weight > 0 {
			t.columns = b.columns[i]
			t.outputs = append(t.outputs, &output{part: Logits, columns: answers(m.Model.Config), tokens: b.rows != nil})
		}
		if len(t.outputs) == 0 {
			continue
		}
		if types := m.Model.Config.TypeVocabSize; b.cross || (types < 2) != (b.Model.Config.TypeVocabSize < 2) {
			length := b.Options.MaxLength
			switch {
			case b.cross && length > m.Model.Config.MaxTokens():
				length = 0
			case !b.cross && length == 0:
				length = b.Model.Config.MaxTokens()
			}
			var err error
			if t.set, err = evaluate.Encode(m.Model, b.examples, length); err != nil {
				return nil, errors.Join(fmt.Errorf("teacher: %w", err), known.Close())
			}
		}
		known.all = append(known.all, t)
		if b.masker != nil || b.o.making != nil {
			continue // tokens are masked anew in each step, or no example repeats
		}
		if b.o.shards != nil {
			if err := t.fromShards(b.o.shards); err != nil {
				return nil, errors.Join(err, known.Close())
			}
			continue
		}
		if err := t.remember(b.o.Cache, b.o.CacheMax, b.repeats()); err != nil {
			return nil, errors.Join(err, known.Close())
		}
	}
	return known, nil
}

// repeats tells whether examples come up more than once.
func (b *builder) repeats() bool {
	o := &b.Options
	if o.Steps == 0 {
		return o.Epochs > 1
	}
	return o.Steps*o.BatchSize > b.Train.Len() || o.Steps*o.BatchTokens > b.Train.Tokens()
}

// read returns the input of the student's graph for an output of the first teacher.
func (b *builder) read(p Part, layer, columns int) *autograd.Node {
	for _, o := range b.outputs {
		if o.part == p && o.layer == layer {
			return o.input
		}
	}
	o := &output{part: p, layer: layer, columns: columns, tokens: p != First && p != Pooled}
	rows := autograd.Sequences
	if o.tokens {
		rows = autograd.Tokens
	}
	o.input = b.g.Input("teacher "+o.name(), rows, columns)
	b.outputs = append(b.outputs, o)
	return o.input
}

func (b *builder) terms() ([]train.Term, error) {
	l := &b.o.Losses
	student, err := b.student()
	if err != nil {
		return nil, err
	}
	var terms []train.Term
	for _, t := range []struct {
		name  string
		value float64
		loss  func() (*autograd.Node, error)
	}{
		{"soft", l.Soft, func() (*autograd.Node, error) { return b.soft(student.logits), nil }},
		{"logits-mse", l.LogitsMSE, func() (*autograd.Node, error) { return b.g.MSE(student.logits, b.logits), nil }},
		{"hard", l.Hard, func() (*autograd.Node, error) { return b.hard(student) }},
		{"embeddings", l.Embeddings, func() (*autograd.Node, error) { return b.embeddings(student.Encoder), nil }},
		{"hidden", l.Hidden, func() (*autograd.Node, error) { return b.hidden(student.Encoder) }},
		{"attention", l.Attention, func() (*autograd.Node, error) { return b.attention(student.Encoder) }},
		{"minilm", l.MiniLM, func() (*autograd.Node, error) { return b.miniLM(student.Encoder) }},
		{"relations", l.Relations, func() (*autograd.Node, error) { return b.relations(student.Encoder) }},
	} {
		if t.value == 0 {
			continue
		}
		loss, err := t.loss()
		if err != nil {
			return nil, err
		}
		terms = append(terms, train.Term{Name: t.name, Weight: t.value, Loss: b.averaged(loss, b.count(t.name))})
	}
	for i := range l.Own {
		own := &l.Own[i]
		if own.Weight == 0 {
			continue
		}
		loss, err := b.own(own, student)
		if err != nil {
			return nil, err
		}
		terms = append(terms, train.Term{Name: own.Name, Weight: own.Weight, Loss: b.averaged(loss, b.countOf(own))})
	}
	return terms, nil
}

// averaged records that the mean of a loss divides by count, where that matters.
func (b *builder) averaged(loss *autograd.Node, count func(*data.Batch) float64) *autograd.Node {
	if b.Options.Accumulate <= 1 && b.Model.Config.Head.Subject() != head.Words {
		return loss
	}
	m := mean{count: count, factor: autograd.NewWeight(1)}
	b.means = append(b.means, m)
	return b.g.WeightedSum(autograd.Term{Loss: loss, Weight: m.factor})
}

// count returns the number by which the mean of the named loss divides.
func (b *builder) count(loss string) func(*data.Batch) float64 {
	switch {
	case loss == "hard":
		return b.labelled
	case loss == "soft":
		return b.answered
	case loss == "logits-mse" && b.Model.Config.Head.Subject() == head.Choices,
		loss == "hidden" && b.o.HiddenDistance == PKD:
		return func(batch *data.Batch) float64 { return float64(batch.Sequences()) }
	case loss == "logits-mse":
		return b.answered
	}
	return func(batch *data.Batch) float64 { return float64(batch.Tokens()) }
}

// configs returns the architectures of the student and the first teacher.
func (b *builder) configs() (s, t checkpoints.Config) {
	return b.Model.Config, b.members[0].Model.Config
}

// embeddings returns the distance of the embedding layers' outputs.
func (b *builder) embeddings(student *layers.Encoder) *autograd.Node {
	s, t := b.configs()
	return b.distance(student.Embeddings, b.read(Embeddings, 0, t.HiddenSize), b.projection("embeddings", s, t))
}

// hidden returns the mean distance of the mapped layers' hidden states. If the widths differ, all
// layers share one projection (TinyBERT, equation 8).
func (b *builder) hidden(student *layers.Encoder) (*autograd.Node, error) {
	s, t := b.configs()
	projection := b.projection("hidden", s, t)
	return b.mapped(b.o.HiddenMap, func(i, j int) (*autograd.Node, error) {
		x := student.Layers[i].Hidden
		if b.o.HiddenDistance == PKD {
			return b.distance(b.g.SelectFirst(x, b.in.Offsets), b.read(First, j, t.HiddenSize), projection), nil
		}
		return b.distance(x, b.read(Hidden, j, t.HiddenSize), projection), nil
	})
}

// mapped returns the mean of a loss over mapped layers.
func (b *builder) mapped(m LayerMap, loss func(student, teacher int) (*autograd.Node, error)) (*autograd.Node, error) {
	s, t := b.configs()
	pairs, err := m.resolve(len(s.Layers), len(t.Layers))
	if err != nil {
		return nil, err
	}
	var terms []autograd.Term
	for _, p := range pairs {
		n, err := loss(p[0], p[1])
		if err != nil {
			return nil, err
		}
		terms = append(terms, autograd.Term{Loss: n, Weight: autograd.NewWeight(1 / float32(len(pairs)))})
	}
	return b.g.WeightedSum(terms...), nil
}

// projection returns a trainable [teacher width, student width] matrix, or nil if the widths are
// equal.
func (b *builder) projection(name string, s, t checkpoints.Config) *autograd.Node {
	if s.HiddenSize == t.HiddenSize {
		return nil
	}
	w := make([]float32, t.HiddenSize*s.HiddenSize)
	r := rand.New(rand.NewPCG(b.Options.Seed, uint64(len(name))))
	for i := range w {
		w[i] = float32(exact.Normal(r) / math.Sqrt(float64(s.HiddenSize)))
	}
	return b.g.Parameter("projection."+name+".weight", w, t.HiddenSize, s.HiddenSize)
}

func (b *builder) distance(student, teacher, projection *autograd.Node) *autograd.Node {
	if projection != nil {
		linear := b.g.Linear
		if b.Options.Precision == infer.BF16 {
			linear = b.g.LinearBF16
		}
		student = linear(student, projection, nil, autograd.Identity)
	}
	switch b.o.HiddenDistance {
	case Cosine:
		return b.g.CosineLoss(student, teacher)
	case PKD:
		return b.g.NormalizedMSE(student, teacher)
	}
	return b.g.MSE(student, teacher)
}

// attention returns the mean difference of the mapped layers' attention.
func (b *builder) attention(student *layers.Encoder) (*autograd.Node, error) {
	return b.mapped(b.o.AttentionMap, func(i, j int) (*autograd.Node, error) {
		return b.attentionLoss("Attention", student, i, j, attentionDistances[b.o.AttentionDistance], b.o.HeadMeans)
	})
}

func (b *builder) attentionLoss(field string, student *layers.Encoder, i, j int, d autograd.AttentionDistance, means bool) (*autograd.Node, error) {
	s, t := b.configs()
	if hs, ht := s.NumHeads(i), t.NumHeads(j); hs != ht && !means {
		advice := "or to compare the means over the heads"
		if field == "MiniLM" {
			advice = "or the loss on relations, which wants no equal numbers"
		}
		return nil, settings.Errorf(field, "it expects as many heads in student layer %d (%d) as in teacher layer %d (%d), %s", i, hs, j, ht, advice)
	}
	window := s.Block(i).Window
	if w := t.Block(j).Window; w != window {
		return nil, settings.Errorf(field, "it expects attention of one window in student layer %d (%s) and teacher layer %d (%s): map layers of one kind, or take the loss on relations", i, reach(window), j, reach(w))
	}
	bias, err := b.teacherBias(j)
	if err != nil {
		return nil, err
	}
	relative, err := layers.RelativeOf(b.g, b.members[0].Model, j)
	if err != nil {
		return nil, err
	}
	return b.g.AttentionLoss(student.Layers[i].QKV, b.readQKV(j), b.in.Offsets, autograd.AttentionLossOptions{
		Heads: s.NumHeads(i), TargetHeads: t.NumHeads(j), Distance: d, HeadMeans: means,
		Bias: student.Layers[i].ScoreBias, TargetBias: bias, Relative: student.Layers[i].Relative, TargetRelative: relative, Window: window,
	}), nil
}

// reach says in words how far a window reaches.
func reach(window int) string {
	if window == 0 {
		return "all tokens"
	}
	return fmt.Sprintf("%d tokens to either side", window)
}

// teacherBias adds the score biases of a layer of the first teacher. It returns nil if there are
// none.
func (b *builder) teacherBias(layer int) (*autograd.Node, error) {
	m := b.members[0].Model
	bias := m.Config.Block(layer).ScoreBias
	if bias == nil {
		return nil, nil
	}
	values, err := bias.ByDistance(m)
	if err != nil {
		return nil, err
	}
	heads := len(bias.Columns)
	return b.g.Constant(fmt.Sprintf("teacher's biases of layer %d", layer), values, heads, len(values)/heads), nil
}

func (b *builder) readQKV(layer int) *autograd.Node {
	_, t := b.configs()
	return b.read(QKV, layer, 3*t.AttentionSize(layer))
}

// miniLM returns the divergence of the last layers' attention maps plus the divergence of their
// value relations.
func (b *builder) miniLM(student *layers.Encoder) (*autograd.Node, error) {
	s, t := b.configs()
	i, j := len(s.Layers)-1, len(t.Layers)-1
	maps, err := b.attentionLoss("MiniLM", student, i, j, autograd.MapKL, false)
	if err != nil {
		return nil, err
	}
	values := b.g.ValueRelationKL(student.Layers[i].QKV, b.readQKV(j), b.in.Offsets, s.NumHeads(i))
	one := autograd.NewWeight(1)
	return b.g.WeightedSum(autograd.Term{Loss: maps, Weight: one}, autograd.Term{Loss: values, Weight: one}), nil
}

// relations returns the mean divergence of the mapped layers' self-attention relations.
func (b *builder) relations(student *layers.Encoder) (*autograd.Node, error) {
	s, t := b.configs()
	return b.mapped(b.o.RelationMap, func(i, j int) (*autograd.Node, error) {
		heads, ws, wt := b.o.RelationHeads, s.AttentionSize(i), t.AttentionSize(j)
		if heads == 0 {
			// The loop ends, because 1 divides every width.
			for heads = s.NumHeads(i); ws%heads != 0 || wt%heads != 0; heads-- {
			}
		}
		if ws%heads != 0 || wt%heads != 0 {
			return nil, settings.Wrong("RelationHeads", heads, "a divisor of the attention widths %d (student layer %d) and %d (teacher layer %d)", ws, i, wt, j)
		}
		return b.g.RelationKL(student.Layers[i].QKV, b.readQKV(j), b.in.Offsets, heads), nil
	})
}
