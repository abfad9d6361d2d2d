// Package otlp sends the spans of a server to a collector of OpenTelemetry, by OTLP over HTTP.
// Package serve takes any trace.TracerProvider and links none of it.
package otlp

import (
	"context"
	"fmt"
	"net/url"
	"os"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/sdk/trace"

	"github.com/skive-ml/skive/checkpoints"
)

// EndpointVariable is the variable of the environment that names a collector.
const EndpointVariable = "OTEL_EXPORTER_OTLP_ENDPOINT"

// New returns what makes spans and sends them to the collector at endpoint, http://HOST:PORT; ""
// stands for what the environment says, and nil is returned where it says nothing. Shutdown
// of the provider sends what is left. The service is called skive unless OTEL_SERVICE_NAME
// says otherwise; the other variables of OpenTelemetry count, too.
func New(ctx context.Context, endpoint string) (*trace.TracerProvider, error) {
	var options []otlptracehttp.Option
	switch {
	case endpoint != "":
		u, err := url.Parse(endpoint)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return nil, fmt.Errorf("%q, expected a URL such as http://localhost:4318", endpoint)
		}
		options = append(options, otlptracehttp.WithEndpointURL(u.JoinPath("v1", "traces").String()))
	case os.Getenv(EndpointVariable) == "" && os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") == "":
		return nil, nil
	}
	exporter, err := otlptracehttp.New(ctx, options...)
	if err != nil {
		return nil, err
	}
	of, err := resource.New(ctx,
		resource.WithAttributes(attribute.String("service.name", "skive"), attribute.String("service.version", checkpoints.Version)),
		resource.WithTelemetrySDK(), resource.WithFromEnv())
	if err != nil {
		return nil, err
	}
	return trace.NewTracerProvider(trace.WithBatcher(exporter), trace.WithResource(of)), nil
}
