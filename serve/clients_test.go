package serve

import (
	"net/http/httptest"
	"os"
	"os/exec"
	"testing"
)

// Unmodified clients pass a script of what their users do. SKIVE_CLIENTS_PYTHON is a
// Python that has them; .ci/run makes one.
func TestStockClients(t *testing.T) {
	python := os.Getenv("SKIVE_CLIENTS_PYTHON")
	if python == "" {
		t.Skip("SKIVE_CLIENTS_PYTHON is not set")
	}
	web := httptest.NewServer(newServer(t, Options{}))
	defer web.Close()
	out, err := exec.CommandContext(t.Context(), python, "testdata/clients.py", web.URL).CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}
