package otlp_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/skive-ml/skive/serve"
	"github.com/skive-ml/skive/serve/otlp"
)

// A program serves a model, and sends the spans of its requests to a collector.
func Example() {
	sent := make(chan string, 1)
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { sent <- r.URL.Path }))
	defer collector.Close()
	ctx := context.Background()
	spans, stop, err := otlp.New(ctx, collector.URL, slog.Default())
	if err != nil {
		fmt.Println(err)
		return
	}
	server, err := serve.New(serve.Options{Models: []serve.Model{{Name: "colours", Path: "../../train/testdata/tiny"}}, Tracer: spans})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()
	if err := server.Load(ctx); err != nil {
		fmt.Println(err)
		return
	}
	web := httptest.NewServer(server)
	defer web.Close()
	answer, err := http.Post(web.URL+"/predict", "application/json", strings.NewReader(`{"inputs": "w7 w30 w8"}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(answer.Status)
	stop() // which sends what is left
	fmt.Println("sent to", <-sent)
	// Output:
	// 200 OK
	// sent to /v1/traces
}
