package infer

import (
	"runtime/debug"
	"sync/atomic"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/internal/kernels"
	"github.com/skive-ml/skive/internal/mapped"
	"github.com/skive-ml/skive/internal/team"
)

// Sizes of the blocks of rows that one worker carries through a layer.
const (
	// A block has at least minBlock rows, because each block reads all weights of the
	// layer. It has at most maxBlock where the weights fit into the caches.
	minBlock, maxBlock = 48, 144
	// A layer with more than largeLayer bytes of weights reads them from memory:
	// its blocks have largeBlock rows.
	largeLayer, largeBlock = 4 << 20, 240
	// The rows of a block are a multiple of blockStep: the kernels take 6 or 14 rows at
	// a time, and are slower for remainders.
	blockStep = 6
	// fewRows is the number of rows per worker below which the products are
	// split by columns: every worker reads a part of the weights instead of all.
	fewRows = 12
	// embedTogether is the largest number of tokens whose embeddings are normalized
	// together. They stay in the first-level cache.
	embedTogether = 8
)

// run is an engine's arena and the state of the current call.
type run struct {
	weights *weights
	team    *team.Team
	workers []worker
	padTo   int
	observe func(weight string, x []float32)

	// The input, and where the outputs go.
	outputs      []float32 // of the call
	ids, typeIDs []int32
	offsets      []int32
	tokens       int // computed, padding included
	sequences    int
	unscaled     []bool // sequences whose embeddings are not scaled, nil for none
	want         want   // which outputs

	// For each token: its position, and its index in ids, -1 for padding.
	positions, source []int32
	hidden            []float32 // [tokens, hidden size]
	projected         []float32 // [tokens, queries, keys and values]
	context           []float32 // [tokens, attention size]

	// For the first token of each sequence, in the last layer.
	first        []float32 // [sequences, hidden size]
	firstQuery   []float32 // [sequences, attention size]
	firstContext []float32 // [sequences, attention size]
	queries      []float32 // [tokens, attention size], where the hidden states of all tokens are wanted
	turns        []turns   // for each entry of the weights' rotaries
	pooled       []float32 // [sequences, hidden size], before dense layers

	// The tokens that a head for tokens reads: their numbers, and the row of hidden
	// that each one is computed in.
	selected, everyToken, rowOf []int32
	headInput                   []float32 // [selected, hidden size]
	transformed                 []float32 // [selected, embedding size]
	strength                    []float32 // [some tokens, vocabulary]

	// Used like a worker's own where products are split by columns.
	mixed, inner, normed, gated []float32
	rows                        kernels.RowsI8

	// The first fault in mapped memory.
	fault atomic.Pointer[mapped.Error]

	// What the workers do in the current step.
	block int // most rows of a part
	size  int // rows of a part
	limit int // rows of all parts
	layer int
	split splitProduct

	// The steps as functions, made once: making a closure for each call would allocate
	// memory.
	embedStep, layerStep, queryStep, queriesStep, tailStep, attentionStep, splitStep func(worker, part int)
}

// worker is what one thread owns.
type worker struct {
	clock
	scratch kernels.Scratch
	rows    kernels.RowsI8
	mixed   []float32      // [block, hidden size]
	narrow  []float32      // [block, embedding size], if that is not the hidden size
	inner   []float32      // [block, intermediate size]
	normed  []float32      // [block, hidden size], if norms stand before the layers
	gated   []float32      // [block, intermediate size], for gated units
	units   kernels.RowsI8 // inner quantized
	pooled  []float32      // [block, hidden size]
	between [2][]float32   // [block, width], for consecutive dense layers
	masked  maskedBuffers

	positions, tokenType []float32 // rows of embeddings that are not stored in float32
}

type splitProduct struct {
	linear *linear
	x, c   []float32
	m      int
	ldx    int
	ldc    int
	act    kernels.Activation
	parts  int
}

func (r *run) init(w *weights, t *team.Team, o Options) {
	r.weights, r.team, r.padTo, r.observe = w, t, o.PadTo, o.Observe
	h := w.config.HiddenSize
	r.block = maxBlock
	least := minBlock
	for i := range w.layers {
		l := &w.layers[i]
		// The activations of a block take half of the second-level cache.
		r.block = min(r.block, kernels.L2/2/(4*(l.intermediate+2*h)))
		if l.bytes() > largeLayer {
			least = largeBlock
		}
	}
	r.block = max(r.block, least) / blockStep * blockStep
	r.workers = make([]worker, t.Workers())
	for i := range r.workers {
		k := &r.workers[i]
		k.on = o.Profile
		k.positions = make([]float32, embedTogether*w.config.EmbeddingWidth())
		k.tokenType = make([]float32, w.config.EmbeddingWidth())
	}
	r.embedStep = r.embedBlock
	r.layerStep = r.layerBlock
	r.queryStep = r.queryBlock
	r.queriesStep = r.queriesBlock
	r.tailStep = r.tailBlock
	r.attentionStep = r.attentionPart
	r.splitStep = r.splitPart
}

func grow[E any](s []E, n int) []E {
	if cap(s) < n {
		return make([]E, n)
	}
	return s[:n]
}

// reserve sizes the arena for the input.
func (r *run) reserve() {
	c := &r.weights.config
	heads, inner, projected := 0, 0, 0
	for i := range r.weights.layers {
		l := &r.weights.layers[i]
		heads, inner, projected = max(heads, l.heads), max(inner, l.intermediate), max(projected, l.project.out)
	}
	h, attention, t, s := c.HiddenSize, heads*c.HeadDim, r.tokens, r.sequences
	r.positions, r.source = grow(r.positions, t), grow(r.source, t)
	r.hidden = grow(r.hidden, t*h)
	r.projected = grow(r.projected, t*projected)
	r.context = grow(r.context, t*attention)
	r.first = grow(r.first, s*h)
	r.firstQuery = grow(r.firstQuery, s*attention)
	r.firstContext = grow(r.firstContext, s*attention)
	few := min(t, r.few())
	r.mixed, r.inner = grow(r.mixed, few*h), grow(r.inner, few*inner)
	normed, gated := 0, 0 // widths
	if l := &r.weights.layers[0]; l.pre {
		normed = h
	}
	if l := &r.weights.layers[0]; l.gate != nil {
		gated = inner
	}
	r.normed, r.gated = grow(r.normed, few*normed), grow(r.gated, few*gated)
	rows := min(r.block, t)
	for i := range r.workers {
		k := &r.workers[i]
		k.mixed, k.inner = grow(k.mixed, rows*h), grow(k.inner, rows*inner)
		k.normed, k.gated = grow(k.normed, rows*normed), grow(k.gated, rows*gated)
	}
	r.reserveTurns()
}

// few is the largest number of rows for which products are split by columns.
func (r *run) few() int {
	if len(r.workers) == 1 {
		return 0
	}
	return fewRows * len(r.workers)
}

// forward computes the outputs. A head for tokens computes only the selected ones, nil
// for all.
//
// If the embeddings cannot be read, it leaves the outputs alone and returns the error.
func (r *run) forward(outputs []float32, ids, typeIDs, offsets, selected []int32) error {
	r.outputs, r.ids, r.typeIDs, r.offsets = outputs, ids, typeIDs, offsets
	r.sequences = len(offsets) - 1
	r.tokens = len(ids)
	if r.padTo > 0 {
		r.tokens = r.sequences * r.padTo
	}
	r.reserve()
	r.place()
	perToken := r.weights.perToken() && r.want == ownOutputs
	if perToken {
		r.selectTokens(selected)
	}

	last := len(r.weights.layers) - 1
	few := r.tokens <= r.few()
	if few {
		r.embedRows(&r.workers[0], &r.rows, 0, r.tokens)
		r.splitRows(stageQKV, r.weights.layers[0].project, r.tokens, r.hidden, r.projected, kernels.Identity)
		r.turn(&r.workers[0], 0, 0, r.tokens)
	} else {
		r.byRows(r.tokens, r.embedStep)
	}
	if fault := r.fault.Load(); fault != nil {
		return fault
	}
	for r.layer = 0; r.layer <= last; r.layer++ {
		l := &r.weights.layers[r.layer]
		if l.query != nil && r.want != hiddenStates {
			r.lastLayer(l)
			break
		}
		if l.query != nil {
			r.queries = grow(r.queries, r.tokens*l.query.out)
			r.byRows(r.tokens, r.queriesStep)
		}
		r.team.Run(r.sequences*l.heads, r.attentionStep)
		if !few {
			r.byRows(r.tokens, r.layerStep)
			continue
		}
		next := r.weights.project(r.layer + 1)
		r.splitLayer(l, next, r.tokens, r.context, r.hidden)
		if next != nil {
			x := r.hidden
			if l.pre {
				x = r.normed
			}
			r.splitRows(stageQKV, next, r.tokens, x, r.projected, kernels.Identity)
			r.turn(&r.workers[0], r.layer+1, 0, r.tokens)
		}
	}
	switch {
	case r.want == hiddenStates:
		r.copyHidden()
	case r.want == strengths:
		r.strongest()
	case perToken:
		r.tokenHead()
	case r.weights.meansHead():
		r.meanHead()
	case r.weights.embedding != "" && r.weights.sentence.Pooling != checkpoints.CLSPooling:
		r.pool()
	}
	r.selected = nil
	r.outputs, r.ids, r.typeIDs, r.offsets = nil, nil, nil, nil
	r.split = splitProduct{}
	return nil
}

// lastLayer computes the last layer for the first tokens only, and the outputs.
func (r *run) lastLayer(l *layer) {
	few := r.sequences <= r.few()
	if few {
		r.gather(0, r.sequences)
		x := r.input(&r.workers[0], l, r.first[:r.sequences*l.query.in], r.normed)
		r.quantize(&r.workers[0], &r.rows, l.query, r.sequences, x)
		r.splitRows(stageQKV, l.query, r.sequences, x, r.firstQuery, kernels.Identity)
	} else {
		r.byRows(r.sequences, r.queryStep)
	}
	r.team.Run(r.sequences*l.heads, r.attentionStep)
	if few {
		r.splitLayer(l, nil, r.sequences, r.firstContext, r.first)
		r.head(&r.workers[0], 0, r.sequences)
	} else {
		r.byRows(r.sequences, r.tailStep)
	}
}

// place notes where each token comes from, and its position.
func (r *run) place() {
	c := &r.weights.config
	for s := range r.sequences {
		lo, hi := r.offsets[s], r.offsets[s+1]
		first, n, _ := r.span(s)
		for i := range n {
			r.source[first+i] = -1
			if at := lo + int32(i); at < hi {
				r.source[first+i] = at
			}
		}
		real := first + int(hi-lo)
		c.Positions(r.positions[first:real], r.ids[lo:hi])
		for t := real; t < first+n; t++ {
			r.positions[t] = c.PaddingPosition(t - first)
		}
	}
}

// span returns where the computed tokens of a sequence begin, how many there
// are, and how many of them are not padding.
func (r *run) span(s int) (lo, n, real int) {
	lo, n = int(r.offsets[s]), int(r.offsets[s+1]-r.offsets[s])
	if r.padTo > 0 {
		return s * r.padTo, r.padTo, n
	}
	return lo, n, n
}

// byRows runs a step over blocks of rows. The number of blocks keeps all workers busy
// to the end.
func (r *run) byRows(rows int, step func(worker, part int)) {
	workers := len(r.workers)
	blocks := (rows + r.block - 1) / r.block
	if rows >= workers*fewRows {
		blocks = (blocks + workers - 1) / workers * workers
	}
	size := (rows + blocks - 1) / blocks
	size = min((size+blockStep-1)/blockStep*blockStep, r.block)
	r.size, r.limit = size, rows
	r.team.Run((rows+size-1)/size, step)
}

// part returns the rows of one part of byRows.
func (r *run) part(part int) (lo, hi int) {
	lo = part * r.size
	return lo, min(lo+r.size, r.limit)
}

func (r *run) embedBlock(worker, part int) {
	w := &r.workers[worker]
	lo, hi := r.part(part)
	r.embedRows(w, &w.rows, lo, hi)
	h := r.weights.config.HiddenSize
	r.project(w, 0, r.hidden[lo*h:hi*h], lo, hi)
}

func (r *run) layerBlock(worker, part int) {
	w := &r.workers[worker]
	lo, hi := r.part(part)
	next := r.weights.project(r.layer + 1)
	r.mix(w, &r.weights.layers[r.layer], next, r.context, r.hidden, lo, hi)
	if next != nil {
		h := r.weights.config.HiddenSize
		x := r.hidden[lo*h : hi*h]
		if r.weights.layers[r.layer].pre {
			x = w.normed
		}
		r.project(w, r.layer+1, x, lo, hi)
	}
}

func (r *run) queryBlock(worker, part int) {
	w := &r.workers[worker]
	lo, hi := r.part(part)
	r.gather(lo, hi)
	l := r.weights.layers[r.layer].query
	h := r.weights.config.HiddenSize
	x := r.input(w, &r.weights.layers[r.layer], r.first[lo*h:hi*h], w.normed)
	r.quantize(w, &w.rows, l, hi-lo, x)
	r.product(w, stageQKV, l, &w.rows, hi-lo, x, r.firstQuery[lo*l.out:hi*l.out], kernels.Identity)
}

// queriesBlock computes the queries of all tokens in a layer that keeps them apart.
func (r *run) queriesBlock(worker, part int) {
	w := &r.workers[worker]
	lo, hi := r.part(part)
	l := r.weights.layers[r.layer].query
	h := r.weights.config.HiddenSize
	x := r.input(w, &r.weights.layers[r.layer], r.hidden[lo*h:hi*h], w.normed)
	r.quantize(w, &w.rows, l, hi-lo, x)
	r.product(w, stageQKV, l, &w.rows, hi-lo, x, r.queries[lo*l.out:hi*l.out], kernels.Identity)
	r.turnRows(w, r.weights.layers[r.layer].rotary, r.queries, l.out, l.out, lo, hi)
}

// input returns what a layer's projections read: x, or x normalized into normed.
func (r *run) input(w *worker, l *layer, x, normed []float32) []float32 {
	if l.inputNorm.gamma == nil {
		return x
	}
	w.start()
	normed = normed[:len(x)]
	kernels.LayerNorm(normed, x, l.inputNorm.gamma, l.inputNorm.beta, r.weights.config.LayerNormEps, nil, nil)
	w.stop(stageLayerNorm)
	return normed
}

func (r *run) tailBlock(worker, part int) {
	w := &r.workers[worker]
	lo, hi := r.part(part)
	r.mix(w, &r.weights.layers[r.layer], nil, r.firstContext, r.first, lo, hi)
	r.head(w, lo, hi)
}

// quantize quantizes m dense rows of x, the input of l, into rows, if l is int8.
func (r *run) quantize(w *worker, rows *kernels.RowsI8, l *linear, m int, x []float32) {
	if l.int8() {
		w.start()
		rows.Quantize(x, m, l.in, l.in, l.inputScale)
		w.stop(stageQuantize)
	}
}

// product computes c = act(x·Wᵀ + b) for m dense rows. rows holds x quantized, for int8
// layers.
func (r *run) product(w *worker, s stage, l *linear, rows *kernels.RowsI8, m int, x, c []float32, act kernels.Activation) {
	r.show(l, x[:m*l.in])
	w.start()
	l.apply(&w.scratch, rows, m, x, l.in, 0, l.panels(), c, l.out, act)
	w.stop(s)
}

// show passes the input of l to Options.Observe.
func (r *run) show(l *linear, x []float32) {
	if r.observe != nil {
		for _, name := range l.weights {
			r.observe(name, x)
		}
	}
}

// embedRows computes the embeddings of the tokens [lo, hi) with their LayerNorm, and
// projects them if they are narrower than the hidden states. It quantizes the result
// into rows for the first layer.
func (r *run) embedRows(w *worker, rows *kernels.RowsI8, lo, hi int) {
	if r.weights.file != nil {
		defer r.catch(debug.SetPanicOnFault(true))
	}
	w.start()
	c := &r.weights.config
	h, e := c.HiddenSize, c.EmbeddingWidth()
	out := r.hidden[lo*h : hi*h]
	first, widen := r.weights.project(0), r.weights.widen
	if widen != nil {
		w.narrow = grow(w.narrow, (hi-lo)*e)
		out = w.narrow
	} else if first.int8() {
		rows.Resize(hi-lo, h)
	}
	n, eps := &r.weights.embeddings, c.LayerNormEps
	for t := lo; t < hi; {
		// Consecutive positions are normalized together.
		k := 1
		for k < embedTogether && t+k < hi && r.positions[t+k] == r.positions[t]+int32(k) {
			k++
		}
		together := out[(t-lo)*e:][:k*e]
		for i := range k {
			// The vocabulary's rows are far away: ask for them early.
			if ahead := t + i + embedTogether; ahead < hi {
				id, _ := r.token(ahead)
				r.weights.word.prefetch(int(id))
			}
			r.embed(w, t+i, together[i*e:][:e])
		}
		positions := w.positions[:k*e] // zeros
		if c.PositionTable() {
			positions = r.weights.position.rows(int(r.positions[t]), k, w.positions)
		}
		if widen == nil && first.int8() {
			rows.SetAddLayerNorm(t-lo, together, together, together, positions, n.gamma, n.beta, eps, first.inputScale)
		} else {
			kernels.AddLayerNorm(together, together, together, positions, n.gamma, n.beta, eps, nil, nil)
		}
		t += k
	}
	if widen != nil {
		widen.apply(&w.scratch, nil, hi-lo, out, e, 0, widen.panels(), r.hidden[lo*h:hi*h], h, kernels.Identity)
	}
	w.stop(stageEmbeddings)
	if widen != nil {
		r.quantize(w, rows, first, hi-lo, r.hidden[lo*h:hi*h])
	}
}

// catch records a fault in the vocabulary's memory. before restores whether the
// goroutine turned faults into panics.
func (r *run) catch(before bool) {
	debug.SetPanicOnFault(before)
	if p := recover(); p != nil {
		fault := mapped.Fault(p)
		if fault == nil {
			panic(p)
		}
		r.fault.CompareAndSwap(nil, fault)
	}
}

// embed sets x to the embeddings of the word and the type of token t.
func (r *run) embed(w *worker, t int, x []float32) {
	id, typeID := r.token(t)
	word := r.weights.word.rows(int(id), 1, x)
	if r.weights.config.TypeVocabSize > 0 {
		kernels.Add(x, word, r.weights.tokenType.rows(int(typeID), 1, w.tokenType))
	} else {
		copy(x, word)
	}
}

// token returns the ids that are embedded as token t.
func (r *run) token(t int) (id, typeID int32) {
	at := r.source[t]
	if at < 0 {
		return int32(r.weights.config.PadTokenID), 0
	}
	if r.typeIDs != nil {
		typeID = r.typeIDs[at]
	}
	return r.ids[at], typeID
}

// project computes queries, keys and values for the rows [lo, hi) of a layer's input x.
func (r *run) project(w *worker, layer int, x []float32, lo, hi int) {
	p := r.weights.project(layer)
	r.product(w, stageQKV, p, &w.rows, hi-lo, x, r.projected[lo*p.out:hi*p.out], kernels.Identity)
	r.turn(w, layer, lo, hi)
}

// mix computes the rest of a layer after attention, for the rows [lo, hi) of context
// and hidden: projection, feed-forward block, and residuals with LayerNorm. The result
// replaces hidden, and is quantized for next, the layer that reads it, if there is one.
// With norms before the layers, hidden becomes the sum, and next reads w.normed; the
// last layer's result is normalized in place.
func (r *run) mix(w *worker, l *layer, next *linear, context, hidden []float32, lo, hi int) {
	h, a, m := r.weights.config.HiddenSize, l.output.in, hi-lo
	x, mixed, inner := hidden[lo*h:hi*h], w.mixed[:m*h], w.inner[:m*l.intermediate]
	r.quantize(w, &w.rows, l.output, m, context[lo*a:hi*a])
	r.product(w, stageOutput, l.output, &w.rows, m, context[lo*a:hi*a], mixed, kernels.Identity)
	read := x
	if l.pre {
		read = w.normed[:m*h]
	}
	r.addNorm(w, &w.rows, &l.attentionNorm, l.expand, read, x, mixed)
	units := &w.rows
	if l.gate != nil {
		gated := w.gated[:m*l.intermediate]
		r.product(w, stageFeedForward, l.gate, &w.rows, m, read, inner, r.weights.activation)
		r.product(w, stageFeedForward, l.expand, &w.rows, m, read, gated, kernels.Identity)
		w.start()
		kernels.Mul(inner, inner, gated)
		w.stop(stageFeedForward)
		r.quantize(w, units, l.contract, m, inner)
	} else if l.expand.int8() && l.contract.inputScale != 0 && r.observe == nil {
		units = &w.units
		w.start()
		kernels.GemmI8Quantized(&w.rows, &l.expand.i8, units, l.contract.inputScale, l.expand.bias, r.weights.activation, &w.scratch)
		w.stop(stageFeedForward)
	} else {
		r.product(w, stageFeedForward, l.expand, &w.rows, m, x, inner, r.weights.activation)
		r.quantize(w, units, l.contract, m, inner)
	}
	r.product(w, stageFeedForward, l.contract, units, m, inner, mixed, kernels.Identity)
	if next == nil {
		read = x
	}
	r.addNorm(w, &w.rows, &l.outputNorm, next, read, x, mixed)
}

// addNorm adds mixed to the rows of x and writes the LayerNorm of the sum to dst, which
// may be x. It quantizes the result into rows if next, the layer that reads it, is
// int8.
func (r *run) addNorm(w *worker, rows *kernels.RowsI8, n *norm, next *linear, dst, x, mixed []float32) {
	w.start()
	h := r.weights.config.HiddenSize
	if next != nil && next.int8() {
		rows.Resize(len(x)/h, h)
		rows.SetAddLayerNorm(0, dst, x, mixed, x, n.gamma, n.beta, r.weights.config.LayerNormEps, next.inputScale)
	} else {
		kernels.AddLayerNorm(dst, x, mixed, x, n.gamma, n.beta, r.weights.config.LayerNormEps, nil, nil)
	}
	w.stop(stageLayerNorm)
}

// gather copies the hidden states of the first tokens of the sequences [lo, hi).
func (r *run) gather(lo, hi int) {
	h := r.weights.config.HiddenSize
	for s := lo; s < hi; s++ {
		t, _, _ := r.span(s)
		copy(r.first[s*h:(s+1)*h], r.hidden[t*h:])
	}
}

// head computes the outputs of the sequences [lo, hi) from their first tokens.
func (r *run) head(w *worker, lo, hi int) {
	w.start()
	h, m := r.weights.config.HiddenSize, hi-lo
	if r.weights.embedding != "" {
		n := r.weights.outputs
		r.finish(w, lo, hi, r.first[lo*h:hi*h], r.outputs[lo*n:hi*n])
		w.stop(stageHead)
		return
	}
	labels := r.weights.classifier.out
	w.pooled = grow(w.pooled, m*h)
	p, c := r.weights.pooler, r.weights.classifier
	p.apply(&w.scratch, nil, m, r.first[lo*h:hi*h], h, 0, p.panels(), w.pooled, h, r.weights.headActivation)
	if n := &r.weights.headNorm; n.gamma != nil {
		kernels.LayerNorm(w.pooled, w.pooled, n.gamma, n.beta, r.weights.config.LayerNormEps, nil, nil)
	}
	c.apply(&w.scratch, nil, m, w.pooled, h, 0, c.panels(), r.outputs[lo*labels:hi*labels], labels, kernels.Identity)
	w.stop(stageHead)
}

// splitLayer is mix over all m rows with each product split by columns.
func (r *run) splitLayer(l *layer, next *linear, m int, context, hidden []float32) {
	h := r.weights.config.HiddenSize
	w := &r.workers[0]
	x, mixed, inner := hidden[:m*h], r.mixed[:m*h], r.inner[:m*l.intermediate]
	r.quantize(w, &r.rows, l.output, m, context)
	r.splitRows(stageOutput, l.output, m, context, mixed, kernels.Identity)
	read := x
	if l.pre {
		read = r.normed[:m*h]
	}
	r.addNorm(w, &r.rows, &l.attentionNorm, l.expand, read, x, mixed)
	if l.gate != nil {
		gated := r.gated[:m*l.intermediate]
		r.splitRows(stageFeedForward, l.gate, m, read, inner, r.weights.activation)
		r.splitRows(stageFeedForward, l.expand, m, read, gated, kernels.Identity)
		w.start()
		kernels.Mul(inner, inner, gated)
		w.stop(stageFeedForward)
	} else {
		r.splitRows(stageFeedForward, l.expand, m, x, inner, r.weights.activation)
	}
	r.quantize(w, &r.rows, l.contract, m, inner)
	r.splitRows(stageFeedForward, l.contract, m, inner, mixed, kernels.Identity)
	if next == nil {
		read = x
	}
	r.addNorm(w, &r.rows, &l.outputNorm, next, read, x, mixed)
}

// splitRows computes c = act(x·Wᵀ + b) for m dense rows, with the columns divided among
// the workers. r.rows holds the quantized rows for int8 layers.
func (r *run) splitRows(s stage, l *linear, m int, x, c []float32, act kernels.Activation) {
	r.show(l, x[:m*l.in])
	w := &r.workers[0]
	w.start()
	// A part is at least two panels: the kernels take two at a time.
	r.split = splitProduct{linear: l, x: x, c: c, m: m, ldx: l.in, ldc: l.out, act: act, parts: min(len(r.workers), (l.panels()+1)/2)}
	r.team.Run(r.split.parts, r.splitStep)
	w.stop(s)
}

func (r *run) splitPart(worker, part int) {
	p := &r.split
	pairs := (p.linear.panels() + 1) / 2
	lo, hi := 2*(part*pairs/p.parts), min(2*((part+1)*pairs/p.parts), p.linear.panels())
	p.linear.apply(&r.workers[worker].scratch, &r.rows, p.m, p.x, p.ldx, lo, hi, p.c, p.ldc, p.act)
}
