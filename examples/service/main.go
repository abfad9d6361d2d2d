// Command service answers over HTTP with a model inside the program's own server, and ends
// once it has answered what is under way.
//
//	go run ./examples/service out/student-int8.skive
//	curl localhost:8080/label -d 'the staff was never rude'
package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/skive-ml/skive/infer"
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: service MODEL")
	}
	pool, err := infer.OpenPool(os.Args[1], infer.PoolOptions{})
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	server := &http.Server{Addr: ":8080", Handler: handler(pool), ReadHeaderTimeout: 5 * time.Second}
	go func() {
		<-ctx.Done()
		grace, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		server.Shutdown(grace) // ends ListenAndServe, and waits for requests under way
	}()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
	if err := pool.Close(); err != nil {
		log.Fatal(err)
	}
}

// maxBody is how many bytes a request may have.
const maxBody = 64 << 10

// handler answers each request with the label of the text in its body.
func handler(pool *infer.Pool) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /label", func(w http.ResponseWriter, r *http.Request) {
		text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		if err != nil {
			http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
			return
		}
		predictions, err := pool.Predict(r.Context(), []infer.Input{{Text: string(text)}})
		switch {
		case errors.Is(err, infer.ErrOverloaded):
			http.Error(w, err.Error(), http.StatusTooManyRequests)
		case err != nil:
			http.Error(w, err.Error(), http.StatusInternalServerError)
		default:
			w.Header().Set("Content-Type", "application/json")
			json.NewEncoder(w).Encode(map[string]string{"label": predictions[0].Label})
		}
	})
	return mux
}
