//go:build linux

// Command attack tries to break skive. It runs random command lines on tiny models, makes
// something go wrong for each of them, and checks what must always hold. See docs/reliability.md.
//
//	go run ./internal/attack -rounds 500 -seed 1
//
// A round depends only on the seed and its number, and on the machine's timing. A finding is
// printed with the command line, and -round N repeats that round.
package main

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

func main() {
	var o options
	flag.IntVar(&o.rounds, "rounds", 500, "how many rounds")
	flag.Uint64Var(&o.seed, "seed", 1, "what the rounds follow from")
	flag.IntVar(&o.first, "first", 1, "number of the first round")
	flag.IntVar(&o.only, "round", 0, "run this round alone, and keep its directory")
	flag.IntVar(&o.parallel, "parallel", 2, "rounds at the same time")
	flag.StringVar(&o.program, "skive", "", "program to attack (default: the one of this module, built first)")
	flag.BoolVar(&o.keep, "keep", false, "keep the directories of rounds that found something")
	flag.BoolVar(&o.verbose, "v", false, "tell of each round")
	flag.Parse()
	if o.only > 0 {
		o.first, o.rounds, o.keep, o.verbose = o.only, 1, true, true
	}
	findings, err := attack(o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "attack:", err)
		os.Exit(2)
	}
	if findings > 0 {
		os.Exit(1)
	}
}

type options struct {
	rounds, first, only, parallel int
	seed                          uint64
	program                       string
	keep, verbose                 bool
}

// attack runs the rounds and returns the number of findings.
func attack(o options) (findings int, err error) {
	dir, err := os.MkdirTemp("", "skive-attack-")
	if err != nil {
		return 0, err
	}
	if err := os.Chmod(dir, 0o755); err != nil { // other users need access
		return 0, err
	}
	if o.program == "" {
		o.program = filepath.Join(dir, "skive")
		build := exec.Command("go", "build", "-o", o.program, "github.com/skive-ml/skive/cmd/skive")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if text, err := build.CombinedOutput(); err != nil {
			return 0, fmt.Errorf("%w: %s", err, text)
		}
	}
	start := time.Now()
	p, err := makePool(o.program, filepath.Join(dir, "pool"))
	if err != nil {
		return 0, err
	}
	fmt.Printf("%d models and %d data files in %v\n", len(p.models), len(p.data), time.Since(start).Round(time.Millisecond))

	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM)
	var stop atomic.Bool
	go func() {
		<-interrupted
		stop.Store(true)
	}()
	t := tally{outcomes: map[string]int{}, printed: time.Now()}
	var next atomic.Int64
	var wg sync.WaitGroup
	for range o.parallel {
		wg.Go(func() {
			for {
				n := o.first + int(next.Add(1)) - 1
				if n >= o.first+o.rounds || stop.Load() {
					return
				}
				r := newRound(p, o.seed, n, filepath.Join(dir, fmt.Sprintf("round-%d", n)))
				found := r.play()
				if !o.keep || found == nil && o.only == 0 {
					found = errors.Join(found, os.RemoveAll(r.dir))
				}
				t.add(r, found, o)
			}
		})
	}
	wg.Wait()
	t.summary(time.Since(start))
	if !o.keep {
		return t.findings, os.RemoveAll(dir)
	}
	fmt.Println("kept:", dir)
	return t.findings, nil
}

// tally counts the outcomes of rounds. It is safe for concurrent use.
type tally struct {
	mu       sync.Mutex
	rounds   int
	findings int
	outcomes map[string]int
	printed  time.Time
}

func (t *tally) add(r *round, found error, o options) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rounds++
	t.outcomes[r.outcome()]++
	if found != nil {
		t.findings++
		fmt.Printf("\nround %d: %v\n%srepeat with: go run ./internal/attack -seed %d -round %d\n\n", r.number, found, r, o.seed, r.number)
	} else if o.verbose {
		fmt.Printf("round %d: %s\n%s", r.number, r.outcome(), r)
	}
	if time.Since(t.printed) > 10*time.Second {
		t.printed = time.Now()
		fmt.Printf("%d rounds, %d findings\n", t.rounds, t.findings)
	}
}

func (t *tally) summary(took time.Duration) {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(t.outcomes)) {
		parts = append(parts, fmt.Sprintf("%d %s", t.outcomes[name], name))
	}
	fmt.Printf("%d rounds in %v, %d findings (%s)\n", t.rounds, took.Round(time.Second), t.findings, strings.Join(parts, ", "))
}

// play runs the round and returns its finding, if any.
func (r *round) play() (found error) {
	defer func() {
		for _, undo := range slices.Backward(r.undo) {
			found = errors.Join(found, undo())
		}
	}()
	if err := r.prepare(); err != nil {
		return fmt.Errorf("the attack itself: %w", err)
	}
	r.run()
	return r.check()
}
