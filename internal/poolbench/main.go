// Command poolbench measures infer.Pool inside a process, for comparison with the servers that
// benchmarks/serve.py measures. poolbench [flags] MODEL TEXTS prints one JSON document.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/internal/measure"
)

func main() {
	clients := flag.Int("clients", 32, "goroutines that ask")
	seconds := flag.Float64("seconds", 8, "how long they ask")
	threads := flag.Int("threads", 0, "batches at the same time")
	embedding := flag.String("embedding", infer.Mean, "kind of embeddings")
	flag.Parse()
	if flag.NArg() != 2 {
		fmt.Fprintln(os.Stderr, "poolbench: expected MODEL TEXTS")
		os.Exit(2)
	}
	if err := run(flag.Arg(0), flag.Arg(1), *embedding, *clients, *threads, time.Duration(*seconds*float64(time.Second))); err != nil {
		fmt.Fprintln(os.Stderr, "poolbench:", err)
		os.Exit(1)
	}
}

func run(model, file, embedding string, clients, threads int, lasting time.Duration) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	texts := slices.DeleteFunc(strings.Split(string(b), "\n"), func(s string) bool { return s == "" })
	if len(texts) == 0 {
		return fmt.Errorf("%s has no texts", file)
	}
	pool, err := infer.OpenPool(model, infer.PoolOptions{Options: infer.Options{Embedding: embedding}, Instances: threads})
	if err != nil {
		return err
	}
	defer pool.Close()
	ctx := context.Background()
	ask := func(i int64) error {
		_, err := pool.Embed(ctx, []infer.Input{{Text: texts[i%int64(len(texts))]}})
		return err
	}
	for i := range int64(100) {
		if err := ask(i); err != nil {
			return err
		}
	}
	var next, requests atomic.Int64
	var group sync.WaitGroup
	var failed atomic.Pointer[error]
	cpu, began := measure.ProcessorTime(), time.Now()
	for range clients {
		group.Go(func() {
			for time.Since(began) < lasting && failed.Load() == nil {
				if err := ask(next.Add(1)); err != nil {
					failed.Store(&err)
				}
				requests.Add(1)
			}
		})
	}
	group.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	took, used, n := time.Since(began).Seconds(), (measure.ProcessorTime() - cpu).Seconds(), float64(requests.Load())
	return json.NewEncoder(os.Stdout).Encode(map[string]float64{"rate": n / took, "cpu_ms": 1000 * used / n})
}
