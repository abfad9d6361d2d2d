//go:build linux

// Command soak holds a server under load for minutes: swaps of its model, clients that
// cancel, send slowly or break off, and ten times the load that it can answer. Every answer
// is compared, to the bit, with what the one or the other version of the model gives. See
// docs/serve.md.
//
//	go run ./internal/soak -duration 10m
//
// It exits with 1 where an answer was lost or is of neither version, where goroutines or
// memory grow, or where the load of ten times makes answers dearer or is not refused at once.
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
