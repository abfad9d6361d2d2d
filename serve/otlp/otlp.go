// Package otlp sends the spans of a server to a collector of OpenTelemetry, by OTLP over HTTP.
// Package serve takes any trace.TracerProvider and links none of it.
package otlp

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/skive-ml/skive/checkpoints"
)

// EndpointVariable is the variable of the environment that names a collector.
const EndpointVariable = "OTEL_EXPORTER_OTLP_ENDPOINT"

// New returns what makes spans and sends them to the collector at endpoint, http://HOST:PORT; ""
// stands for what the environment says. Where it says nothing, there is neither a provider nor
// an error. The service is called skive unless OTEL_SERVICE_NAME says otherwise; the other
// variables of OpenTelemetry count, too. What cannot be sent is logged. stop sends what is left,
// within a few seconds.
func New(ctx context.Context, endpoint string, log *slog.Logger) (provider trace.TracerProvider, stop func(), err error) {
	var options []otlptracehttp.Option
	switch {
	case endpoint != "":
		u, err := url.Parse(endpoint)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return nil, nil, fmt.Errorf("%q, expected a URL such as http://localhost:4318", endpoint)
		}
		options = append(options, otlptracehttp.WithEndpointURL(u.JoinPath("v1", "traces").String()))
	case os.Getenv(EndpointVariable) == "" && os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") == "":
		return nil, func() {}, nil
	}
	exporter, err := otlptracehttp.New(ctx, options...)
	if err != nil {
		return nil, nil, err
	}
	of, err := resource.New(ctx,
		resource.WithAttributes(attribute.String("service.name", "skive"), attribute.String("service.version", checkpoints.Version)),
		resource.WithTelemetrySDK(), resource.WithFromEnv())
	if err != nil {
		return nil, nil, err
	}
	lost := func(err error) { log.Warn("traces not sent", "error", err.Error()) }
	otel.SetErrorHandler(otel.ErrorHandlerFunc(lost))
	spans := sdk.NewTracerProvider(sdk.WithBatcher(exporter), sdk.WithResource(of))
	return spans, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if err := spans.Shutdown(ctx); err != nil {
			lost(err)
		}
	}, nil
}
