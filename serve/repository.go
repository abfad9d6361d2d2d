package serve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"
)

// stamp is what is seen of a model's files without reading them: it changes when one is
// replaced, even by one of its size within a tick of the file system's clock.
func stamp(path string) (string, error) {
	var b strings.Builder
	err := filepath.WalkDir(path, func(at string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := os.Stat(at) // of what a link leads to: hubs' caches hold links
		if err != nil || info.IsDir() {
			return err
		}
		fmt.Fprintf(&b, "%s %d %d %d\n", at, inode(info), info.Size(), info.ModTime().UnixNano())
		return nil
	})
	return b.String(), err
}

// Reload loads the models whose files have changed. Each goes on answering until the new
// one takes its place, and stays if the new one cannot be loaded. All errors are
// returned.
func (s *Server) Reload() error {
	var errs []error
	for _, m := range s.models {
		now, err := stamp(m.options.Path)
		if err == nil && m.unchanged(now) {
			continue
		}
		errs = append(errs, m.reload())
	}
	return errors.Join(errs...)
}

// reloadAt reloads whenever the program gets one of the signals, until stop is called.
func (s *Server) reloadAt(signals []os.Signal) (stop func()) {
	got := make(chan os.Signal, 1)
	signal.Notify(got, signals...)
	go func() {
		for range got {
			s.Reload() // which logs its errors
		}
	}()
	return func() {
		signal.Stop(got)
		close(got)
	}
}

// reload loads a model anew, and logs what comes in the way.
func (m *model) reload() error {
	err := m.load()
	if err != nil {
		m.server.log.Error("model not loaded; what was served before goes on", "model", m.options.Name, "error", err.Error())
	}
	return err
}

// unchanged tells whether the files are those that were loaded, or tried, last, or nobody
// wants them.
func (m *model) unchanged(now string) bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.stamp == now || m.unloaded
}

// poll looks for changed files until the server is closed. Files are loaded once they have
// stayed the same for the time between two looks.
func (s *Server) poll(every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	seen := map[*model]string{}
	for {
		select {
		case <-s.closing.Done():
			return
		case <-tick.C:
		}
		for _, m := range s.models {
			now, err := stamp(m.options.Path)
			if err != nil || !s.loaded.Load() || m.unchanged(now) {
				continue
			}
			if seen[m] == now {
				m.reload() // which logs its error
			}
			seen[m] = now
		}
	}
}

// routesRepository are those of the repository extension of the Open Inference Protocol.
func (s *Server) routesRepository() {
	s.guarded("POST /v2/repository/index", func(w http.ResponseWriter, r *http.Request) {
		var q struct {
			Ready bool `json:"ready"`
		}
		json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<16)).Decode(&q) // it may be left out
		type entry struct {
			Name    string `json:"name"`
			Version string `json:"version,omitempty"`
			State   string `json:"state"`
			Reason  string `json:"reason"`
		}
		list := []entry{}
		for _, m := range s.models {
			e := entry{Name: m.options.Name}
			e.Version, e.State, e.Reason = m.state()
			if e.State == stateReady || !q.Ready {
				list = append(list, e)
			}
		}
		writeJSON(w, http.StatusOK, list)
	})
	change := func(what string, do func(m *model) error) {
		s.guarded("POST /v2/repository/models/{model}/"+what, func(w http.ResponseWriter, r *http.Request) {
			m := s.named(r.PathValue("model"))
			switch {
			case !s.options.Repository:
				v2.write(w, &problem{http.StatusBadRequest, validation, "the server's models cannot be loaded or unloaded by requests"})
			case m == nil:
				v2.write(w, &problem{http.StatusNotFound, validation, unknownModel(r.PathValue("model"))})
			default:
				if err := do(m); err != nil {
					v2.write(w, &problem{http.StatusBadRequest, backend, err.Error()})
					return
				}
				writeJSON(w, http.StatusOK, map[string]any{"name": m.options.Name, what: true})
			}
		})
	}
	change("load", (*model).reload)
	change("unload", (*model).unload)
}

// Triton's states of models.
const (
	stateReady       = "READY"
	stateLoading     = "LOADING"
	stateUnavailable = "UNAVAILABLE"
)

func (m *model) state() (version, state, reason string) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	switch {
	case m.current != nil:
		return m.current.number, stateReady, m.reason
	case m.unloaded:
		return "", stateUnavailable, "unloaded"
	case m.reason != "":
		return "", stateUnavailable, m.reason
	}
	return "", stateLoading, ""
}

// unload stops serving a model once its requests are answered.
func (m *model) unload() error {
	m.loading.Lock()
	defer m.loading.Unlock()
	m.mu.Lock()
	m.unloaded = true
	m.mu.Unlock()
	m.server.log.Info("model unloaded", "model", m.options.Name)
	return m.replace(nil)
}

var errClosed = errors.New("the server is closed")

// opened opens what the path holds, or says that the server is closed.
func (m *model) opened() (*version, error) {
	if m.server.closing.Err() != nil {
		return nil, errClosed
	}
	v, err := m.open()
	if err != nil {
		return nil, fmt.Errorf("model %q: %w", m.options.Name, err)
	}
	return v, nil
}

// background is the context of what no request waits for.
func (s *Server) background() (context.Context, context.CancelFunc) {
	return context.WithTimeout(s.closing, time.Duration(s.options.Timeout))
}
