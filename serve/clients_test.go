package serve_test

import (
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"testing"

	"github.com/skive-ml/skive/serve"
	"github.com/skive-ml/skive/serve/grpcserver"
)

// Unmodified clients pass scripts of what their users do. The variables of the
// environment name a Python that has them; .ci/run makes those.
func TestStockClients(t *testing.T) {
	scripts := map[string]string{"SKIVE_CLIENTS_PYTHON": "testdata/clients.py", "SKIVE_FRAMEWORKS_PYTHON": "testdata/frameworks.py"}
	for variable, script := range scripts {
		t.Run(script, func(t *testing.T) {
			python := os.Getenv(variable)
			if python == "" {
				t.Skip(variable, "is not set")
			}
			server := serve.NewServer(t, serve.Options{})
			web := httptest.NewServer(server)
			defer web.Close()
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			calls := grpcserver.New(server)
			defer calls.Stop()
			go calls.Serve(listener)
			command := exec.CommandContext(t.Context(), python, script, web.URL, listener.Addr().String())
			command.Env = append(os.Environ(), "GRPC_VERBOSITY=NONE")
			out, err := command.CombinedOutput()
			if err != nil {
				t.Errorf("%v\n%s", err, out)
			}
			t.Logf("%s", out)
		})
	}
}
