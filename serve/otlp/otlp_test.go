package otlp

import (
	"testing"

	"github.com/skive-ml/skive/internal/deptest"
)

func TestDependencies(t *testing.T) {
	deptest.OnlyWithNet(t, "serve", "checkpoints", "head", "settings", "tokenize")
}

func TestEndpoints(t *testing.T) {
	t.Setenv(EndpointVariable, "")
	if spans, err := New(t.Context(), ""); spans != nil || err != nil {
		t.Errorf("without an endpoint: %v, %v", spans, err)
	}
	for _, endpoint := range []string{"localhost:4318", "ftp://x", "://"} {
		if _, err := New(t.Context(), endpoint); err == nil {
			t.Errorf("%s: no error", endpoint)
		}
	}
	t.Setenv(EndpointVariable, "http://127.0.0.1:1")
	spans, err := New(t.Context(), "")
	if err != nil || spans == nil {
		t.Fatal(spans, err)
	}
	if err := spans.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}
