package otlp

import (
	"log/slog"
	"testing"

	"github.com/skive-ml/skive/internal/deptest"
)

func TestDependencies(t *testing.T) {
	deptest.OnlyWithNet(t, "serve", "checkpoints", "head", "settings", "tokenize")
}

func TestEndpoints(t *testing.T) {
	t.Setenv(EndpointVariable, "")
	log := slog.New(slog.DiscardHandler)
	if spans, _, err := New(t.Context(), "", log); spans != nil || err != nil {
		t.Errorf("without an endpoint: %v, %v", spans, err)
	}
	for _, endpoint := range []string{"localhost:4318", "ftp://x", "://"} {
		if _, _, err := New(t.Context(), endpoint, log); err == nil {
			t.Errorf("%s: no error", endpoint)
		}
	}
	t.Setenv(EndpointVariable, "http://127.0.0.1:1")
	spans, stop, err := New(t.Context(), "", log)
	if err != nil || spans == nil {
		t.Fatal(spans, err)
	}
	stop()
}
