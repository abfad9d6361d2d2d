package serve

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/head"
	"github.com/skive-ml/skive/infer"
)

// model is a name and what is served under it at the moment.
type model struct {
	options Model
	server  *Server

	loading sync.Mutex // held while a version is opened
	mu      sync.RWMutex
	current *version // nil where there is none
	count   int      // of versions so far
	stamp   string   // of the files that were loaded, or tried, last
	reason  string   // why the last try failed, or ""
	// unloaded says that a request asked that the model not be served.
	unloaded bool
}

// version is an opened model. It is closed when it was replaced and nobody uses it
// any more.
type version struct {
	model  *model
	number string
	pool   *infer.Pool
	config checkpoints.Config
	task   task
	width  int // of embeddings
	recent recent
	users  sync.WaitGroup
	statistic
}

// task is what a model does.
type task string

const (
	embeds   task = "embedding"
	classes  task = "classifier" // of texts
	scores   task = "reranker"   // one number for each text or pair, which is its class, too
	words    task = "token classifier"
	chooses  task = "multiple choice"
	masks    task = "masked language model"
	anything task = ""
)

// can tells whether a model of task t answers what asks for another.
func (t task) can(asked task) bool {
	switch asked {
	case anything:
		return true
	case classes:
		return t == classes || t == scores || t == words
	}
	return t == asked
}

func taskOf(p *infer.Pool) task {
	kind := p.Config().Head
	switch {
	case p.Options().Embedding != "":
		return embeds
	case kind.Subject() == head.Words:
		return words
	case kind.Subject() == head.Choices:
		return chooses
	case kind.Subject() == head.Masks:
		return masks
	case kind.OneNumber():
		return scores
	}
	return classes
}

// load opens what the model's path holds now, computes with it, and puts it in the
// place of what was there, which is closed once its requests are answered.
func (m *model) load() error {
	m.loading.Lock()
	defer m.loading.Unlock()
	began := time.Now()
	seen, _ := stamp(m.options.Path) // before they are read; open says what is wrong with them
	v, err := m.opened()
	m.mu.Lock()
	m.stamp, m.reason = seen, ""
	if err != nil {
		m.reason = err.Error()
	} else {
		m.unloaded = false
	}
	m.mu.Unlock()
	result := "loaded"
	if err != nil {
		result = "failed"
	}
	m.server.metrics.loads.WithLabelValues(m.options.Name, result).Inc()
	if err != nil {
		return err
	}
	m.count++
	v.number = strconv.Itoa(m.count)
	m.server.log.Info("model loaded", "model", m.options.Name, "version", v.number, "path", m.options.Path, "task", string(v.task), "seconds", time.Since(began).Seconds())
	for _, note := range v.pool.Notes() {
		m.server.log.Warn("note on the model", "model", m.options.Name, "note", note)
	}
	return m.replace(v)
}

// replace puts a version, or none, in the place of the current one and closes that.
func (m *model) replace(v *version) error {
	m.mu.Lock()
	old := m.current
	m.current = v
	m.mu.Unlock()
	if old == nil {
		return nil
	}
	old.users.Wait()
	return old.pool.Close()
}

// end closes the model for good.
func (m *model) end() error {
	m.loading.Lock()
	defer m.loading.Unlock()
	return m.replace(nil)
}

// acquire returns the current version, which stays open until it is released.
func (m *model) acquire() (*version, bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.current == nil {
		return nil, false
	}
	m.current.users.Add(1)
	return m.current, true
}

func (v *version) release() { v.users.Done() }

// task is that of the current version.
func (m *model) task() (task, bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.current == nil {
		return anything, false
	}
	return m.current.task, true
}

func (m *model) open() (*version, error) {
	embedding, reference, err := m.look()
	if err != nil {
		return nil, err
	}
	o := m.server.options.pool(&m.options, embedding)
	o.OnBatch = m.server.metrics.batch
	pool, err := infer.OpenPool(m.options.Path, o)
	if err != nil {
		return nil, err
	}
	v := &version{model: m, pool: pool, config: pool.Config(), task: taskOf(pool)}
	if v.task == embeds {
		sentence, err := infer.SentenceOf(v.config, embedding)
		if err != nil { // it made the pool
			panic(err)
		}
		v.width = sentence.Width(v.config.HiddenSize)
	}
	v.recent.init(v.config, v.task == embeds, reference)
	if err := v.warm(); err != nil {
		return nil, errors.Join(err, pool.Close())
	}
	return v, nil
}

// look says what the files tell before the model is opened: the kind of embeddings that it
// gives, "" for none, and what its inputs and answers are expected to look like.
func (m *model) look() (embedding string, reference shares, err error) {
	c, err := checkpoints.OpenUnverified(m.options.Path)
	if err != nil {
		return "", nil, err
	}
	defer c.Close()
	reference = referenceOf(c.Provenance)
	if m.options.Embedding != "" {
		return m.options.Embedding, reference, nil
	}
	embedding, ok := EmbeddingOf(c)
	if !ok {
		return "", nil, fmt.Errorf("%s has neither a head nor a modules.json, expected an embedding for it: %s or %s", m.options.Path, infer.Mean, infer.CLS)
	}
	return embedding, reference, nil
}

// EmbeddingOf returns the kind of embeddings that a server gives for a model, as in
// infer.Options, or "" for a model whose head answers. It returns false for a model that
// has neither.
func EmbeddingOf(m *checkpoints.Model) (embedding string, ok bool) {
	if m.Config.Sentence != nil {
		return infer.OfModel, true
	}
	return "", m.HasHead()
}

// warm computes texts of the longest and the shortest kind with every instance, so that
// buffers have grown and the tokenizer is there before the first request.
func (v *version) warm() error {
	_, tokenizes := v.pool.Tokenizer()
	if tokenizes != nil && !errors.Is(tokenizes, infer.ErrNoTokenizer) { // a client may have one
		return tokenizes
	}
	o := v.pool.Options()
	ids := make([]int32, o.MaxLength)
	errs := make([]error, o.Instances)
	var group sync.WaitGroup
	for i := range errs {
		group.Go(func() {
			for _, n := range []int{len(ids), 1} {
				var err error
				if v.task == masks && tokenizes == nil { // the logits of all its tokens would be many
					_, err = v.pool.EmbedSparse(context.Background(), new(infer.Call), []infer.Input{{IDs: ids[:n]}})
				} else {
					_, err = v.pool.PredictTokens(context.Background(), nil, ids[:n], nil, []int32{0, int32(n)})
				}
				if err != nil {
					errs[i] = err
				}
			}
		})
	}
	group.Wait()
	return errors.Join(errs...)
}
