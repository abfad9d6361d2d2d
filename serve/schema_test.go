package serve

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// Requests that schemathesis makes of the OpenAPI document, right ones and wrong ones, find no
// answer of status 500 or above. SKIVE_SCHEMATHESIS is its command; .ci/run installs it.
func TestSchemathesis(t *testing.T) {
	command := os.Getenv("SKIVE_SCHEMATHESIS")
	if command == "" {
		t.Skip("SKIVE_SCHEMATHESIS is not set")
	}
	s := newServer(t, Options{Models: withMasks(t)})
	mux := http.NewServeMux()
	mux.Handle("/", s)
	mux.HandleFunc("GET /of-these-models.json", func(w http.ResponseWriter, r *http.Request) {
		names, err := marshal(s.names())
		if err != nil {
			t.Error(err)
		}
		text := strings.Replace(string(openAPI3), `"schema": {"type": "string", "minLength": 1}, "description": "a model's name"`, `"schema": {"enum": `+string(names)+`}`, 1)
		io.WriteString(w, strings.Replace(text, `"name": "version", "in": "path", "required": true, "schema": {"type": "string"}`, `"name": "version", "in": "path", "required": true, "schema": {"const": "1"}`, 1))
	})
	web := httptest.NewServer(mux)
	defer web.Close()
	out, err := exec.CommandContext(t.Context(), command, "run", web.URL+"/of-these-models.json", "--checks", "not_a_server_error",
		"--phases", "examples,coverage,fuzzing", "--max-examples", "10", "--seed", "1", "--workers", "2", "--no-color").CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}
