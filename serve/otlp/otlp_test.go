package otlp

import (
	"context"
	"log/slog"
	"strings"
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

// What cannot be sent is logged, at the end of a program, too.
func TestWhatIsNotSentIsLogged(t *testing.T) {
	t.Setenv(EndpointVariable, "")
	var b strings.Builder
	log := slog.New(slog.NewTextHandler(&b, nil))
	spans, stop, err := New(t.Context(), "", log)
	if stop(); spans != nil || err != nil || b.Len() > 0 {
		t.Errorf("without a collector: %v, %v, %s", spans, err, b.String())
	}
	ctx, cancel := context.WithCancel(t.Context())
	if spans, stop, err = New(ctx, "http://127.0.0.1:1", log); err != nil {
		t.Fatal(err)
	}
	_, span := spans.Tracer("test").Start(ctx, "request")
	span.End()
	cancel()
	if stop(); !strings.Contains(b.String(), "traces not sent") {
		t.Errorf("logged %q", b.String())
	}
}
