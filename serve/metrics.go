package serve

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics are what dashboards ask for: skive_ names for all protocols, and TEI's for
// its own routes.
type metrics struct {
	registry *prometheus.Registry

	requests                  *prometheus.CounterVec   // model, protocol, code
	seconds                   *prometheus.HistogramVec // model, protocol
	tokenize, queue, compute  *prometheus.HistogramVec // model
	inputs, tokens            *prometheus.CounterVec   // model
	loads                     *prometheus.CounterVec   // model, result
	shadowed                  *prometheus.CounterVec   // model, shadow, result
	similarity                *prometheus.HistogramVec // model, shadow
	teCount, teSuccess        *prometheus.CounterVec   // method
	teFailure                 *prometheus.CounterVec   // err
	teDurations               map[string]*teDurations  // by the beginning of their names
	teLength                  prometheus.Observer
	teBatchSize, teBatchToken prometheus.Observer
	teTaskCounts              map[string]prometheus.Counter
}

// teDurations are histograms of TEI.
type teDurations struct{ total, tokenize, queue, compute prometheus.Observer }

func newMetrics(s *Server) *metrics {
	m := &metrics{registry: prometheus.NewRegistry(), teDurations: map[string]*teDurations{}, teTaskCounts: map[string]prometheus.Counter{}}
	// From 15 µs to 16 s and beyond, as TEI has them.
	durations := prometheus.ExponentialBuckets(15e-6, 1.5, 35)
	sizes := prometheus.ExponentialBuckets(1, 2, 16)
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
		m.registry.MustRegister(c)
		return c
	}
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels)
		m.registry.MustRegister(h)
		return h
	}
	gauge := func(name, help string, value func() float64) {
		m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value))
	}
	m.requests = counter("skive_requests_total", "Requests that were answered.", "model", "protocol", "code")
	m.seconds = histogram("skive_request_seconds", "Time from the head of a request to its answer.", durations, "model", "protocol")
	m.tokenize = histogram("skive_tokenize_seconds", "Time of a request's tokenization.", durations, "model")
	m.queue = histogram("skive_queue_seconds", "Time that a request waited for an instance.", durations, "model")
	m.compute = histogram("skive_compute_seconds", "Time of the batches that a request was computed in.", durations, "model")
	m.inputs = counter("skive_inputs_total", "Inputs of requests that were let in.", "model")
	m.tokens = counter("skive_tokens_total", "Tokens that were computed.", "model")
	m.loads = counter("skive_model_loads_total", "Models that were loaded, or failed to be.", "model", "result")
	m.shadowed = counter("skive_shadow_total", "Requests that were sent to a shadow, too.", "model", "shadow", "result")
	m.similarity = histogram("skive_shadow_similarity", "How alike an answer and its shadow's are: 1 is the same.", []float64{0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 0.9999, 1}, "model", "shadow")
	gauge("skive_inputs_under_way", "Inputs of requests that are not answered yet.", func() float64 { return float64(s.waiting.Load()) })

	m.teCount = counter("te_request_count", "Requests of TEI's routes.", "method")
	m.teSuccess = counter("te_request_success", "Requests of TEI's routes that were answered.", "method")
	m.teFailure = counter("te_request_failure", "Requests of TEI's routes that failed.", "err")
	plain := func(name, help string, buckets []float64) prometheus.Observer {
		return histogram(name, help, buckets).WithLabelValues()
	}
	for _, of := range []string{"te_request", "te_embed", "te_predict"} {
		m.teDurations[of] = &teDurations{
			plain(of+"_duration", "Time in seconds.", durations), plain(of+"_tokenization_duration", "Time in seconds.", durations),
			plain(of+"_queue_duration", "Time in seconds.", durations), plain(of+"_inference_duration", "Time in seconds.", durations),
		}
	}
	for _, name := range []string{"te_embed_count", "te_embed_success", "te_predict_count", "te_predict_success"} {
		m.teTaskCounts[name] = counter(name, "Inputs of TEI's routes.").WithLabelValues()
	}
	m.teLength = plain("te_request_input_length", "Tokens of a request.", sizes)
	m.teBatchSize = plain("te_batch_next_size", "Sequences of a batch.", sizes)
	m.teBatchToken = plain("te_batch_next_tokens", "Tokens of a batch.", sizes)
	gauge("te_queue_size", "Requests that wait for an instance.", func() float64 {
		n := 0
		for _, model := range s.models {
			if v, ok := model.acquire(); ok {
				n += v.pool.Stats().Waiting
				v.release()
			}
		}
		return float64(n)
	})
	m.registry.MustRegister(newDrift(s), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// batch is called for each batch that is computed.
func (m *metrics) batch(sequences, tokens int) {
	m.teBatchSize.Observe(float64(sequences))
	m.teBatchToken.Observe(float64(tokens))
}

// note counts an exchange that has ended.
func (m *metrics) note(x *exchange, protocol, code, model string, failed *problem) {
	took := time.Since(x.began)
	m.requests.WithLabelValues(model, protocol, code).Inc()
	m.seconds.WithLabelValues(model, protocol).Observe(took.Seconds())
	if x.admitted > 0 {
		m.inputs.WithLabelValues(model).Add(float64(x.admitted))
		m.tokens.WithLabelValues(model).Add(float64(x.call.Tokens))
	}
	if failed == nil {
		m.tokenize.WithLabelValues(model).Observe(x.call.Tokenize.Seconds())
		m.queue.WithLabelValues(model).Observe(x.call.Queue.Seconds())
		m.compute.WithLabelValues(model).Observe(x.call.Compute.Seconds())
	}
	if protocol == tei.protocol {
		m.noteTEI(x, took, failed)
	}
}

func (m *metrics) noteTEI(x *exchange, took time.Duration, failed *problem) {
	method := "single"
	if x.admitted > 1 {
		method = "batch"
	}
	m.teCount.WithLabelValues(method).Inc()
	of := "te_embed"
	if x.version != nil && x.version.task != embeds {
		of = "te_predict"
	}
	m.teTaskCounts[of+"_count"].Add(float64(x.admitted))
	if failed != nil {
		m.teFailure.WithLabelValues(failed.failure()).Inc()
		return
	}
	m.teSuccess.WithLabelValues(method).Inc()
	m.teTaskCounts[of+"_success"].Add(float64(x.admitted))
	m.teLength.Observe(float64(x.call.Tokens))
	for _, name := range []string{"te_request", of} {
		d := m.teDurations[name]
		d.total.Observe(took.Seconds())
		d.tokenize.Observe(x.call.Tokenize.Seconds())
		d.queue.Observe(x.call.Queue.Seconds())
		d.compute.Observe(x.call.Compute.Seconds())
	}
}

// failure is TEI's label of a problem.
func (p *problem) failure() string {
	switch p.kind {
	case overloaded:
		return "overloaded"
	case tokenizer:
		return "tokenization"
	case validation, empty:
		return "validation"
	case timeout:
		return "dropped"
	}
	return "inference"
}
