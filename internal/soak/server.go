//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/tokenize"
)

const (
	rows       = 8  // texts in a request
	concurrent = 8  // requests that the server accepts at the same time
	requests   = 16 // different requests
	patience   = 60 * time.Second
)

// served is a running server and the expected answers.
type served struct {
	dir, socket string
	versions    [2]string // model files
	answers     map[string]answer
	bodies      [][]byte
	command     *exec.Cmd
	log         bytes.Buffer
	client      *http.Client
}

// answer says to which request an answer belongs and which version gave it.
type answer struct{ request, version int }

var vocabulary = append([]string{"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"},
	strings.Fields("the a room was clean dirty staff kind rude never not and but film wine food hotel good bad great awful . , !")...)

// serveModels makes two models and starts a server with the first.
func serveModels(o options) (_ *served, err error) {
	s := &served{answers: map[string]answer{}}
	if s.dir, err = os.MkdirTemp("", "soak-"); err != nil {
		return nil, err
	}
	s.socket = filepath.Join(s.dir, "s")
	if o.program == "" {
		o.program = filepath.Join(s.dir, "skive")
		build := exec.Command("go", "build", "-o", o.program, "github.com/skive-ml/skive/cmd/skive")
		if text, err := build.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("%w: %s", err, text)
		}
	}
	r := rand.New(rand.NewPCG(o.seed, 1))
	var inputs [][]infer.Input
	for range requests {
		var list []infer.Input
		var texts [][]string
		for range rows {
			words := make([]string, 40+r.IntN(40))
			for i := range words {
				words[i] = vocabulary[5+r.IntN(len(vocabulary)-5)]
			}
			text := strings.Join(words, " ")
			list, texts = append(list, infer.Input{Text: text}), append(texts, []string{text})
		}
		body, err := json.Marshal(map[string]any{"inputs": texts, "raw_scores": true})
		if err != nil {
			return nil, err
		}
		inputs, s.bodies = append(inputs, list), append(s.bodies, body)
	}
	for v := range s.versions {
		s.versions[v] = filepath.Join(s.dir, fmt.Sprintf("version-%d.skive", v))
		if err := makeModel(s.versions[v], o.seed+uint64(v)); err != nil {
			return nil, err
		}
		if err := s.expect(v, inputs); err != nil {
			return nil, err
		}
	}
	if err := s.swap(0); err != nil {
		return nil, err
	}
	s.command = exec.Command(o.program, "serve", "m="+filepath.Join(s.dir, "model.skive"), "--listen", "unix:"+s.socket, "--poll", "50ms", "--log", "none",
		"--threads", strconv.Itoa(o.threads), "--max-concurrent", strconv.Itoa(concurrent*rows), "--timeout", "20s")
	s.command.Stderr = &s.log
	if err := s.command.Start(); err != nil {
		return nil, err
	}
	s.client = &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", s.socket)
		},
		MaxIdleConnsPerHost: 1024,
	}, Timeout: patience}
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		if r, err := s.client.Get("http://s/health"); err == nil {
			r.Body.Close()
			if r.StatusCode == http.StatusOK {
				return s, nil
			}
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("the server is not ready: %s", s.log.String())
		}
	}
}

// makeModel writes a random model that is large enough for a request to cost at least ten times
// what a refusal costs.
func makeModel(path string, seed uint64) error {
	c := checkpoints.Config{
		ModelType: "bert", VocabSize: len(vocabulary), MaxPositions: 128, TypeVocabSize: 2, HiddenSize: 256, HeadDim: 32,
		Activation: "gelu", LayerNormEps: 1e-12, InitializerRange: 0.1, Labels: []string{"bad", "good", "unclear"},
	}
	for range 3 {
		c.Layers = append(c.Layers, checkpoints.LayerSize{Heads: 8, Intermediate: 1024})
	}
	m := checkpoints.InitBERT(c, seed)
	t, err := tokenize.NewWordPiece(vocabulary, true)
	if err != nil {
		return err
	}
	m.Tokenizer = t.Files()
	return m.SaveSkive(path)
}

// expect notes how a version answers each request, in the server's form.
func (s *served) expect(version int, inputs [][]infer.Input) error {
	e, err := infer.Open(s.versions[version], infer.Options{})
	if err != nil {
		return err
	}
	defer e.Close()
	for request, list := range inputs {
		predictions, err := e.Predict(context.Background(), list)
		if err != nil {
			return err
		}
		s.answers[key(request, logitsOf(predictions))] = answer{request, version}
	}
	return nil
}

// logitsOf returns the logits by label for each row.
func logitsOf(predictions []infer.Prediction) []map[string]float32 {
	var all []map[string]float32
	for _, p := range predictions {
		all = append(all, map[string]float32{"bad": p.Logits[0], "good": p.Logits[1], "unclear": p.Logits[2]})
	}
	return all
}

func key(request int, logits []map[string]float32) string { return fmt.Sprint(request, logits) }

// check tells which version gave an answer.
func (s *served) check(request int, body []byte) (version int, err error) {
	var lists [][]struct {
		Score float32
		Label string
	}
	if err := json.Unmarshal(body, &lists); err != nil {
		return 0, fmt.Errorf("%w: %.200s", err, body)
	}
	var logits []map[string]float32
	for _, list := range lists {
		row := map[string]float32{}
		for _, l := range list {
			row[l.Label] = l.Score
		}
		logits = append(logits, row)
	}
	a, ok := s.answers[key(request, logits)]
	if !ok {
		return 0, errMixed
	}
	return a.version, nil
}

var errMixed = errors.New("an answer of neither version")

// swap replaces the model by a version.
func (s *served) swap(version int) error {
	b, err := os.ReadFile(s.versions[version])
	if err != nil {
		return err
	}
	next, path := filepath.Join(s.dir, "next"), filepath.Join(s.dir, "model.skive")
	if err := os.WriteFile(next, b, 0o644); err != nil {
		return err
	}
	return os.Rename(next, path)
}

// numbers reads gauges of the server.
func (s *served) numbers(names ...string) (map[string]float64, error) {
	r, err := s.client.Get("http://s/metrics")
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	values := map[string]float64{}
	for lines := bufio.NewScanner(r.Body); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), " ")
		for _, n := range names {
			if n == name {
				if values[n], err = strconv.ParseFloat(value, 64); err != nil {
					return nil, err
				}
			}
		}
	}
	return values, nil
}

// post sends a request and reads its answer.
func (s *served) post(ctx context.Context, body io.Reader) (status int, answer []byte, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://s/predict", body)
	if err != nil {
		return 0, nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	got, err := s.client.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer got.Body.Close()
	answer, err = io.ReadAll(got.Body)
	return got.StatusCode, answer, err
}

// end stops the server, which must end without an error.
func (s *served) end() error {
	s.client.CloseIdleConnections()
	err := s.command.Process.Signal(syscall.SIGTERM)
	if err == nil {
		if err = s.command.Wait(); err != nil {
			err = fmt.Errorf("the server ended with %w: %s", err, s.log.String())
		}
	}
	return errors.Join(err, os.RemoveAll(s.dir))
}
