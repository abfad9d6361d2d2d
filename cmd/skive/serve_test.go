package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/head"
)

// Settings come from flags, else from the environment, else from the file.
func TestServe(t *testing.T) {
	model := modelOf(t, head.SingleLabel, []string{"bad", "good"}, func(*checkpoints.Config) {})
	dir, err := os.MkdirTemp("", "s") // whose path is short enough for a socket
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	socket, config := filepath.Join(dir, "s"), filepath.Join(dir, "serve.yaml")
	err = os.WriteFile(config, []byte("listen: unix:/no/such\ngrpc_listen: unix:"+filepath.Join(dir, "g")+"\napi_key: of-the-file\nmax_client_batch: 1\nmodels:\n- {name: own, path: "+model+"}\n- {name: mean, path: "+model+", embedding: mean}\n"), 0o666)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("SKIVE_SERVE_API_KEY", "of-the-environment")
	t.Setenv("SKIVE_SERVE_MAX_CLIENT_BATCH", "2")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan string, 1)
	go func() {
		code, stderr := executeWith(ctx, strings.NewReader(""), io.Discard, "serve", "--config", config, "--listen", "unix:"+socket, "--max-client-batch", "3")
		if code != 0 {
			t.Errorf("exit %d: %s", code, stderr)
		}
		ended <- stderr
	}()
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		r, err := client.Get("http://s/health")
		if err == nil && r.StatusCode == http.StatusOK {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		path, key, body string
		status          int
		want            string
	}{
		{"/predict", "of-the-environment", `{"inputs":"good"}`, 200, `"label":"good"`},
		{"/predict", "of-the-file", `{"inputs":"good"}`, 401, ""},
		{"/embed", "of-the-environment", `{"inputs":["good","bad","film"]}`, 200, "[["},
		{"/embed", "of-the-environment", `{"inputs":["good","bad","film","film"]}`, 422, "maximum allowed batch size 3"},
	} {
		r, err := http.NewRequest("POST", "http://s"+c.path, strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", "Bearer "+c.key)
		answer, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(answer.Body)
		answer.Body.Close()
		if answer.StatusCode != c.status || !strings.Contains(string(b), c.want) {
			t.Errorf("%s with %s: %d %s", c.path, c.key, answer.StatusCode, b)
		}
	}
	cancel()
	if log := <-ended; !strings.Contains(log, "path=/predict status=401") || !strings.Contains(log, "listening") || !strings.Contains(log, "protocol=grpc") || strings.Contains(log, "of-the") {
		t.Error(log)
	}
}

func TestServeErrors(t *testing.T) {
	file := func(text string) string {
		path := filepath.Join(t.TempDir(), "serve.yaml")
		if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{nil, exitUsage, "no model"},
		{[]string{"a=m", "a=n"}, exitUsage, `"a" is the name of two models`},
		{[]string{"=m"}, exitUsage, "expected MODEL or NAME=MODEL"},
		{[]string{"m", "--timeout", "soon"}, exitUsage, "--timeout"},
		{[]string{"m", "--log", "xml"}, exitUsage, "--log"},
		{[]string{"m", "--max-length", "-1"}, exitUsage, "--max-length: -1, expected a positive number"},
		{[]string{"m", "--tls-cert", "c"}, exitUsage, "--tls-cert"},
		{[]string{"m", "--listen", "127.0.0.1:-1"}, exitFailure, "--listen"},
		{[]string{"no/such", "--listen", "127.0.0.1:0"}, exitFailure, `model "such"`},
		{[]string{"--config", file("listem: x\n")}, exitUsage, "listem: no such setting"},
		{[]string{"--config", file("models:\n- {name: a}\n")}, exitUsage, "models[0].path"},
		{[]string{"--config", "no/such"}, exitFailure, "--config"},
		{[]string{"--config", file("models:\n- {name: a, path: b}\n"), "--embedding", "mean"}, exitUsage, "--embedding is for models on the command line"},
	} {
		code, _, stderr := execute(t, append([]string{"serve", "-q"}, c.args...)...)
		if code != c.code || !strings.Contains(stderr, c.want) || strings.Count(strings.TrimSpace(stderr), "\n") > 0 {
			t.Errorf("%q: exit %d, %s", c.args, code, stderr)
		}
	}
	t.Setenv("SKIVE_SERVE_TIMEOUT", "soon")
	if code, _, stderr := execute(t, "serve", "m"); code != exitUsage || !strings.Contains(stderr, "SKIVE_SERVE_TIMEOUT") {
		t.Errorf("exit %d, %s", code, stderr)
	}
}

// What the examples of deployment call is there.
func TestServeExamples(t *testing.T) {
	files, err := filepath.Glob("../../examples/deploy/*")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	app := &skive{out: io.Discard, errs: io.Discard}
	known := app.newServe().Flags()
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(file, ".yaml") {
			for i, document := range strings.Split(string(text), "\n---\n") {
				var object struct{ Kind string }
				if err := yaml.Unmarshal([]byte(document), &object); err != nil || object.Kind == "" {
					t.Errorf("%s, document %d: %v", file, i, err)
				}
			}
		}
		_, called, _ := strings.Cut(string(text), "serve")
		for _, flag := range regexp.MustCompile(`[\[ ]--([a-z-]+)`).FindAllStringSubmatch(called, -1) {
			if flag[1] != "from" && known.Lookup(flag[1]) == nil {
				t.Errorf("%s: no flag --%s", file, flag[1])
			}
		}
		for _, name := range regexp.MustCompile(`SKIVE_SERVE_([A-Z_]+)`).FindAllStringSubmatch(string(text), -1) {
			if known.Lookup(strings.ToLower(strings.ReplaceAll(name[1], "_", "-"))) == nil {
				t.Errorf("%s: no setting %s", file, name[0])
			}
		}
	}
}
