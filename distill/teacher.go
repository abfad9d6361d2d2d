package distill

import (
	"errors"
	"fmt"
	"slices"

	"github.com/skive-ml/skive/autograd"
	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/head"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/internal/kernels"
	"github.com/skive-ml/skive/layers"
	"github.com/skive-ml/skive/progress"
)

// output is a value of a teacher that losses read.
type output struct {
	part    Part
	layer   int
	columns int
	// tokens says that there is a row for each token, not for each sequence.
	tokens bool
	// input is its input in the student's graph.
	input *autograd.Node

	node   *autograd.Node // in the teacher's graph; nil if the engine computes it
	keeper keeper         // nil if nothing is stored
	fresh  []float32      // what was computed last
	coded  []byte         // the same in its stored form
	values []float32      // what was requested last
}

func (o *output) name() string {
	if !o.part.perLayer() {
		return string(o.part)
	}
	return fmt.Sprintf("%s.%d", o.part, o.layer)
}

// bytes returns the size of a stored element. Logits are float32, all others half precision.
func (o *output) bytes() int {
	if o.part == Logits {
		return 4
	}
	return 2
}

// size returns the number of bytes that are stored for an example.
func (o *output) size(set *data.Encoded, example int) int {
	rows := set.Sequences(example)
	if o.tokens {
		rows = set.Length(example)
	}
	return o.bytes() * rows * o.columns
}

// encode sets coded from fresh.
func (o *output) encode() error {
	switch m := kernels.MaxAbs(o.fresh); {
	case m-m != 0:
		return fmt.Errorf("%s: the model's outputs are not finite (%v): its weights are too large to compute with", o.name(), m)
	case o.part == Logits:
		o.coded = bytesOf(o.fresh)
		return nil
	case m >= 65520:
		return fmt.Errorf("%s: a value of %v is beyond half precision", o.name(), m)
	}
	half := fromBytes[uint16](o.coded[:cap(o.coded)])
	if len(half) < len(o.fresh) {
		half = make([]uint16, len(o.fresh)+len(o.fresh)/4)
	}
	half = half[:len(o.fresh)]
	kernels.F32ToF16(half, o.fresh)
	o.coded = bytesOf(half)
	return nil
}

// add appends a stored value to values.
func (o *output) add(b []byte) {
	if o.part == Logits {
		o.values = append(o.values, fromBytes[float32](b)...)
		return
	}
	n, at := len(b)/2, len(o.values)
	for cap(o.values) < at+n {
		o.values = append(o.values[:cap(o.values)], 0)
	}
	o.values = o.values[:at+n]
	kernels.F16ToF32(o.values[at:], fromBytes[uint16](b))
}

// teacher computes the outputs of a model for the examples of a set, or takes them from a keeper.
// Both give the same values, which do not depend on the other examples of a batch.
type teacher struct {
	model *checkpoints.Model
	set   *data.Encoded
	// share is the weight of its logits in the mean. columns is their order, see the function
	// columns.
	share   float32
	columns []int
	// precision is that of the encoder's products: infer.F32 or infer.BF16.
	precision string
	outputs   []*output
	// stored is how many examples, from the first on, have their states stored.
	stored   int
	workers  *autograd.Workers
	threads  int
	progress progress.Reporter

	// The fields below are made when something has to be computed.
	engine  *infer.Engine
	graph   *autograd.Graph
	session *autograd.Session
	in      *layers.Inputs
	rows    *autograd.Node    // the tokens for which a masked language model computes logits
	profile *autograd.Profile // nil unless requested

	missing []int32
	absent  []bool
	views   [][]byte
	batch   data.Batch
}

// remember makes the keepers. repeats says that later epochs ask for the same outputs again. A
// directory that cannot be written only costs time, which is reported.
func (t *teacher) remember(dir string, limit int64, repeats bool) error {
	if dir == "" {
		for _, o := range t.outputs {
			if o.part == Logits {
				o.keeper = newMemory(t.sizes(o))
			}
		}
		return nil
	}
	key, err := cacheKey(t.model, t.precision)
	if err != nil {
		return err
	}
	if len(t.outputs) > 0 && slices.ContainsFunc(t.outputs, func(o *output) bool { return earlier(dir, o.name()) }) {
		progress.Logger(t.progress).Warn(fmt.Sprintf("cache: %s has outputs in the format of an earlier version: they are computed again, and the old ones can be removed", dir))
	}
	var used int64
	for t.stored = 0; t.stored < t.set.Len(); t.stored++ {
		for _, o := range t.outputs {
			if o.part != Logits {
				used += int64(o.size(t.set, t.stored))
			}
		}
		if used > limit {
			break
		}
	}
	for _, o := range t.outputs {
		s, err := openCache(dir, key, t.set, o, o.part == Logits || repeats && t.stored > 0)
		switch {
		case s != nil:
			o.keeper = s
		case err != nil && o.part == Logits:
			o.keeper = newMemory(t.sizes(o))
		}
		if err != nil {
			progress.Logger(t.progress).Warn(fmt.Sprintf("%v: continuing without storing %s", err, o.name()))
		}
	}
	return nil
}

// sizes returns the size of an output for each example, in bytes.
func (t *teacher) sizes(o *output) []int {
	sizes := make([]int, t.set.Len())
	for i := range sizes {
		sizes[i] = o.size(t.set, i)
	}
	return sizes
}

// of sets the outputs' values for the given examples.
func (t *teacher) of(examples []int32) error {
	t.missing, t.absent, t.views = t.missing[:0], t.absent[:0], t.views[:0]
	for _, example := range examples {
		absent := false
		for _, o := range t.outputs {
			var b []byte
			if o.keeper != nil && !absent {
				b = o.keeper.get(int(example))
			}
			absent = absent || b == nil
			t.views = append(t.views, b)
		}
		t.absent = append(t.absent, absent)
		if absent {
			t.missing = append(t.missing, example)
		}
	}
	if len(t.missing) > 0 {
		t.set.Fill(&t.batch, t.missing)
		if err := t.compute(&t.batch, nil); err != nil {
			return err
		}
	}
	for k, o := range t.outputs {
		o.values = o.values[:0]
		at := 0
		for i, example := range examples {
			b := t.views[i*len(t.outputs)+k]
			if t.absent[i] {
				n := o.size(t.set, int(example))
				b = o.coded[at:][:n]
				at += n
				t.store(o, int(example), b)
			}
			o.add(b)
		}
	}
	return nil
}

// store stores an output. A failure only costs time and is reported once.
func (t *teacher) store(o *output, example int, b []byte) {
	if o.keeper == nil || o.part != Logits && example >= t.stored {
		return
	}
	if err := o.keeper.put(example, b); err != nil {
		progress.Logger(t.progress).Warn(fmt.Sprintf("cache: %v: continuing without storing %s", err, o.name()))
	}
}

// now sets the outputs' values for a batch, with logits for the given tokens only. It stores
// nothing, because a masked batch does not come up again.
func (t *teacher) now(b *data.Batch, rows []int32) error {
	if err := t.compute(b, rows); err != nil {
		return err
	}
	for _, o := range t.outputs {
		o.values = o.values[:0]
		o.add(o.coded)
	}
	return nil
}

// compute sets the coded outputs of a batch. If rows is given, it computes the logits of these
// tokens only.
func (t *teacher) compute(b *data.Batch, rows []int32) error {
	if err := t.start(); err != nil {
		return err
	}
	if t.session != nil {
		if err := t.in.Set(b.IDs, b.TypeIDs, b.Positions, b.Offsets); err != nil {
			return err
		}
		if t.rows != nil {
			if err := t.graph.SetInts(t.rows, rows); err != nil {
				return err
			}
		}
		t.session.SetProfile(t.profile)
		if err := t.session.Run(); err != nil {
			return err
		}
	}
	for _, o := range t.outputs {
		if o.node != nil {
			o.fresh = t.session.Value(o.node)
		} else {
			var err error
			if rows != nil {
				o.fresh, err = t.engine.PredictMasked(o.fresh, b.IDs, b.TypeIDs, b.Offsets, rows)
			} else {
				o.fresh, err = t.engine.PredictTokens(o.fresh, b.IDs, b.TypeIDs, b.Offsets)
			}
			if err != nil {
				return err
			}
		}
		if err := o.encode(); err != nil {
			if path := t.model.Path(); path != "" {
				err = fmt.Errorf("%s: %w", path, err)
			}
			return err
		}
	}
	return nil
}

// start makes what computes the outputs: the engine if only logits are read, otherwise a graph.
// Both give the same logits.
func (t *teacher) start() (err error) {
	if t.engine != nil || t.session != nil {
		return nil
	}
	deepest, inner, logits, pooled := -1, false, false, false
	for _, o := range t.outputs {
		switch o.part {
		case Logits:
			logits = true
			continue
		case Pooled:
			inner, pooled = true, true
			continue
		}
		inner, deepest = true, max(deepest, o.layer)
	}
	if !inner {
		t.engine, err = infer.New(t.model, infer.Options{Threads: t.threads, DType: t.precision})
		return err
	}
	t.graph = autograd.New(autograd.Options{Workers: t.workers})
	t.in = layers.NewInputs(t.graph)
	options := layers.Options{Frozen: true, BF16: t.precision == infer.BF16}
	var e *layers.Encoder
	var logitsNode, pooledNode *autograd.Node
	switch {
	case logits && t.model.Config.Head.Outputs() == head.Tokens:
		t.rows = t.graph.Ints("masked tokens", autograd.Selected)
		lm, err := layers.NewMaskedLM(t.graph, t.in, t.model, t.rows, options)
		if err != nil {
			return err
		}
		e, logitsNode = &lm.Encoder, lm.Logits
	case logits || pooled:
		options.AllTokens = deepest == len(t.model.Config.Layers)-1
		c, err := layers.NewClassifier(t.graph, t.in, t.model, options)
		if err != nil {
			return err
		}
		e, logitsNode, pooledNode = &c.Encoder, c.Logits, c.Pooled
	default:
		// Layers above the last one that is read need not be computed.
		options.Depth = deepest + 1
		if e, err = layers.NewEncoder(t.graph, t.in, t.model, options); err != nil {
			return err
		}
	}
	for _, o := range t.outputs {
		switch o.part {
		case Logits:
			o.node = logitsNode
		case Pooled:
			o.node = pooledNode
		case Embeddings:
			o.node = e.Embeddings
		case Hidden:
			o.node = e.Layers[o.layer].Hidden
		case First:
			o.node = t.graph.SelectFirst(e.Layers[o.layer].Hidden, t.in.Offsets)
		case QKV:
			o.node = e.Layers[o.layer].QKV
		}
	}
	t.session, err = autograd.NewSession(t.graph, nil)
	return err
}

func (t *teacher) Close() error {
	var errs []error
	for _, o := range t.outputs {
		if o.keeper != nil {
			errs = append(errs, o.keeper.Close())
		}
	}
	if t.engine != nil {
		errs = append(errs, t.engine.Close())
	}
	if t.graph != nil {
		t.graph.Close()
	}
	return errors.Join(errs...)
}

// teachers is an ensemble. It gives the first teacher's states and the weighted mean of all
// teachers' logits.
type teachers struct {
	all    []*teacher
	logits *autograd.Node // input of the student's graph; nil if no loss reads it
	mean   []float32

	examples []int32
}

// bind sets the inputs of the student's graph to the outputs for a batch. If the model answers
// for tokens, rows are the tokens whose logits are read. masked says that the batch is masked.
func (t *teachers) bind(g *autograd.Graph, b *data.Batch, rows []int32, masked bool) error {
	// The sequences of an example, such as the choices of a question, are adjacent.
	t.examples = slices.Compact(append(t.examples[:0], b.Index...))
	for _, m := range t.all {
		var err error
		if masked {
			err = m.now(b, rows)
		} else {
			err = m.of(t.examples)
		}
		if err != nil {
			return fmt.Errorf("teacher: %w", err)
		}
		for _, o := range m.outputs {
			if o.part == Logits {
				continue
			}
			if err := g.Set(o.input, o.values); err != nil {
				return err
			}
		}
	}
	if t.logits == nil {
		return nil
	}
	t.mean = t.mean[:0]
	for _, m := range t.all {
		for _, o := range m.outputs {
			if o.part != Logits {
				continue
			}
			if rows != nil && !masked {
				o.values = gather(o.values, rows, o.columns)
			}
			if m.columns != nil {
				permute(o.values, m.columns)
			}
			for len(t.mean) < len(o.values) {
				t.mean = append(t.mean, 0)
			}
			if len(t.all) == 1 {
				copy(t.mean, o.values)
			} else {
				kernels.Axpy(t.mean, m.share, o.values)
			}
		}
	}
	return g.Set(t.logits, t.mean)
}

// gather moves the given rows, in ascending order, to the beginning.
func gather(values []float32, rows []int32, columns int) []float32 {
	for i, row := range rows {
		copy(values[i*columns:][:columns], values[int(row)*columns:])
	}
	return values[:len(rows)*columns]
}

func (t *teachers) Close() error {
	var errs []error
	for _, m := range t.all {
		errs = append(errs, m.Close())
	}
	return errors.Join(errs...)
}
