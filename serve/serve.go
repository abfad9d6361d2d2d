// Package serve answers for models over HTTP. It speaks what clients, probes and
// dashboards of the field know: Hugging Face's text-embeddings-inference (TEI), OpenAI's
// embeddings, the rerank requests of Cohere and Jina, and the Open Inference Protocol v2
// of KServe and Triton.
//
// A Server is an http.Handler to mount in a program's own mux. Package serve/grpcserver
// answers for it over gRPC. Each of its models is an infer.Pool, which packs the waiting
// texts of all protocols into batches without padding. An answer has the same bits
// whatever else was in its batch. Package infer links nothing of this package.
package serve

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"
)

// Server serves models by name. It is an http.Handler, and safe for concurrent use.
type Server struct {
	options Options
	log     *slog.Logger
	mux     *http.ServeMux
	// patterns are those of the mux, which openapi.json has to describe.
	patterns []string
	keys     []key
	models   []*model // in the order of Options.Models
	metrics  *metrics
	tracer   trace.Tracer // nil for none
	started  time.Time

	waiting  atomic.Int64 // inputs under way
	bodies   atomic.Int64 // requests under way, which may have sent only a part of their bodies
	loaded   atomic.Bool
	draining atomic.Bool
	closing  context.Context // ends with Close
	close    context.CancelFunc
	closed   sync.Once
	polling  sync.WaitGroup
	mirrors  sync.WaitGroup // requests that shadows compute
	shadows  chan struct{}  // has an element for each of them
}

// New returns a server without models. Until Load has returned it answers probes, and 503
// to everything else. An option that is not usable is a *settings.Error.
func New(o Options) (*Server, error) {
	o.fill()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	o.Log = cmp.Or(o.Log, slog.New(slog.DiscardHandler))
	s := &Server{options: o, log: o.Log, keys: keysOf(o.APIKeys), started: time.Now()}
	s.closing, s.close = context.WithCancel(context.Background())
	for i := range o.Models {
		s.models = append(s.models, &model{options: o.Models[i], server: s})
	}
	s.shadows = make(chan struct{}, maxShadows)
	s.metrics = newMetrics(s)
	if o.Tracer != nil {
		s.tracer = o.Tracer.Tracer("github.com/skive-ml/skive/serve")
	}
	s.mux = http.NewServeMux()
	s.routes()
	if o.Poll > 0 {
		s.polling.Go(func() { s.poll(time.Duration(o.Poll)) })
	}
	return s, nil
}

// Load opens the models and computes a few inputs with each. Then the server is ready.
// The error is that of the first model that cannot be opened.
func (s *Server) Load(ctx context.Context) error {
	for _, m := range s.models {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := m.load(); err != nil {
			return err
		}
	}
	s.loaded.Store(true)
	return nil
}

// Ready reports whether the models are loaded and Drain was not called.
func (s *Server) Ready() bool { return s.loaded.Load() && !s.draining.Load() }

// Drain makes the server not ready, so that balancers send it nothing new. It goes
// on answering; http.Server.Shutdown waits for what is under way.
func (s *Server) Drain() { s.draining.Store(true) }

// Close waits for requests under way, refuses others with 503, and closes the models.
func (s *Server) Close() error {
	s.Drain()
	var errs []error
	s.closed.Do(func() {
		s.close()
		s.polling.Wait()
		for _, m := range s.models {
			errs = append(errs, m.end())
		}
		s.mirrors.Wait()
	})
	return errors.Join(errs...)
}

// ServeHTTP answers a request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.cors(w, r) {
		return
	}
	s.mux.ServeHTTP(w, r)
}
