//go:build linux

// Command soak loads a server for minutes: it replaces its model, clients cancel, send slowly or
// break off, and requests come ten times as fast as it can answer. It compares every answer, to
// the bit, with those of the two versions of the model. See docs/serve.md.
//
//	go run ./internal/soak -duration 10m
//
// It exits with 1 if an answer is lost or comes from neither version, if goroutines or memory
// grow, or if under the tenfold load answers take more processor time or refusals are not
// immediate.
package main

import (
	"flag"
	"fmt"
	"os"
	"time"
)

type options struct {
	duration time.Duration
	program  string
	threads  int
	seed     uint64
}

func main() {
	var o options
	flag.DurationVar(&o.duration, "duration", time.Minute, "how long")
	flag.StringVar(&o.program, "skive", "", "program to try (default: the one of this module, built first)")
	flag.IntVar(&o.threads, "threads", 2, "threads of the server")
	flag.Uint64Var(&o.seed, "seed", 1, "what models and texts follow from")
	flag.Parse()
	failures, err := soak(o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(2)
	}
	for _, f := range failures {
		fmt.Println("FAILED:", f)
	}
	if len(failures) > 0 {
		os.Exit(1)
	}
	fmt.Println("nothing was lost or mixed, and nothing grew")
}
