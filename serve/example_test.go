package serve_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/skive-ml/skive/serve"
)

// A program serves models in its own mux.
func Example() {
	server, err := serve.New(serve.Options{
		Models:     []serve.Model{{Name: "colours", Path: "../train/testdata/tiny"}},
		RefuseLong: true,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()
	mux := http.NewServeMux()
	mux.Handle("/", server)
	web := httptest.NewServer(mux)
	defer web.Close()
	if err := server.Load(context.Background()); err != nil {
		fmt.Println(err)
		return
	}
	answer, err := http.Post(web.URL+"/predict", "application/json", strings.NewReader(`{"inputs": "w7 w30 w8"}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		fmt.Println(err)
		return
	}
	label, _, _ := strings.Cut(string(text), "},")
	fmt.Println(answer.Status, label)
	// Output: 200 OK [{"score":0.4224213,"label":"blue"
}
