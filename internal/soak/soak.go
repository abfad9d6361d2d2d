//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	bestTime, troubleTime, overTime = 3 * time.Second, 7 * time.Second, 5 * time.Second
	swapTime                        = 500 * time.Millisecond
	refusalBound                    = 50 * time.Millisecond
)

// counts are the outcomes of well-behaved clients' requests.
type counts struct {
	answered, refused, lost, mixed atomic.Int64
	versions                       [2]atomic.Int64

	mu       sync.Mutex
	refusals []time.Duration
	first    error // first answer that was lost or mixed
}

func (c *counts) fail(n *atomic.Int64, err error) {
	n.Add(1)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.first == nil {
		c.first = err
	}
}

// soak runs rounds until the time is up: first the best rate, then trouble, then ten times the
// best rate.
func soak(o options) (failures []string, err error) {
	s, err := serveModels(o)
	if err != nil {
		return nil, err
	}
	fail := func(format string, args ...any) { failures = append(failures, fmt.Sprintf(format, args...)) }
	var goroutines, memory, shares []float64
	var all counts
	for began, round := time.Now(), 0; round == 0 || time.Since(began) < o.duration; round++ {
		best, err := s.measure(&all, func() { s.closedLoop(&all, bestTime) })
		if err != nil {
			return nil, err
		}
		s.trouble(&all, uint64(round))
		over, err := s.measure(&all, func() { s.overload(&all, best.perSecond) })
		if err != nil {
			return nil, err
		}
		share := over.perProcessorSecond / best.perProcessorSecond
		shares = append(shares, share)
		s.client.CloseIdleConnections()    // each is a goroutine of the server
		time.Sleep(500 * time.Millisecond) // until requests that were cut off are over
		n, err := s.numbers("go_goroutines", "process_resident_memory_bytes", "skive_inputs_under_way")
		if err != nil {
			return nil, err
		}
		goroutines, memory = append(goroutines, n["go_goroutines"]), append(memory, n["process_resident_memory_bytes"]/(1<<20))
		if n["skive_inputs_under_way"] != 0 {
			fail("round %d: %v inputs are under way for nobody", round, n["skive_inputs_under_way"])
		}
		fmt.Printf("round %d: best %.0f requests/s, under ten times that %.0f (%.0f %%, of its processor time %.0f %%); %.0f goroutines, %.0f MB\n", round, best.perSecond, over.perSecond,
			100*over.perSecond/best.perSecond, 100*share, n["go_goroutines"], n["process_resident_memory_bytes"]/(1<<20))
	}
	if err := s.end(); err != nil {
		fail("%v", err)
	}
	slices.Sort(all.refusals)
	slices.Sort(shares)
	quantile := func(q float64) time.Duration {
		if len(all.refusals) == 0 {
			return 0
		}
		return all.refusals[int(q*float64(len(all.refusals)-1))]
	}
	share := shares[len(shares)/2]
	fmt.Printf("%d answered (%d and %d by version), %d refused (within %v, 99 %% within %v), %d lost, %d mixed; median share of the best rate under overload %.0f %%, by the server's processor time\n",
		all.answered.Load(), all.versions[0].Load(), all.versions[1].Load(), all.refused.Load(), quantile(1).Round(100*time.Microsecond), quantile(0.99).Round(100*time.Microsecond),
		all.lost.Load(), all.mixed.Load(), 100*share)
	half := len(memory) / 2
	switch {
	case all.lost.Load() > 0 || all.mixed.Load() > 0:
		fail("%d lost, %d mixed: %v", all.lost.Load(), all.mixed.Load(), all.first)
	case all.versions[0].Load() == 0 || all.versions[1].Load() == 0 || all.refused.Load() == 0:
		fail("a version never answered, or nothing was refused")
	}
	if share < 0.9 {
		fail("a second of the server's processor time gives %.0f %% of the answers under overload, expected 90 %%", 100*share)
	}
	if q := quantile(0.99); q > refusalBound {
		fail("1 %% of the refusals took longer than %v, expected %v", q, refusalBound)
	}
	if first, last := goroutines[0], slices.Max(goroutines[half:]); last > first+20 {
		fail("%.0f goroutines, at first %.0f", last, first)
	}
	// The first rounds fill buffers, so the second half is compared with the first.
	if first, last := slices.Max(memory[:max(1, half)]), slices.Max(memory[half:]); last > 1.15*first+16 {
		fail("%.0f MB, at first %.0f", last, first)
	}
	return failures, nil
}

// one sends a request and counts its outcome.
func (s *served) one(c *counts, request int) {
	began := time.Now()
	status, body, err := s.post(context.Background(), bytes.NewReader(s.bodies[request]))
	took := time.Since(began)
	switch {
	case err != nil:
		c.fail(&c.lost, err)
	case status == http.StatusTooManyRequests:
		c.refused.Add(1)
		c.mu.Lock()
		c.refusals = append(c.refusals, took)
		c.mu.Unlock()
	case status != http.StatusOK:
		c.fail(&c.lost, fmt.Errorf("status %d: %.200s", status, body))
	default:
		version, err := s.check(request, body)
		if err != nil {
			c.fail(&c.mixed, err)
			return
		}
		c.answered.Add(1)
		c.versions[version].Add(1)
	}
}

// rate is how many requests were answered per second, and per second of the server's processor
// time. The load runs on the same machine and also takes processor time.
type rate struct{ perSecond, perProcessorSecond float64 }

// measure returns the rate under a load.
func (s *served) measure(c *counts, load func()) (rate, error) {
	const processor = "process_cpu_seconds_total"
	before, err := s.numbers(processor)
	if err != nil {
		return rate{}, err
	}
	answered, began := c.answered.Load(), time.Now()
	load()
	n, seconds := float64(c.answered.Load()-answered), time.Since(began).Seconds()
	after, err := s.numbers(processor)
	return rate{n / seconds, n / (after[processor] - before[processor])}, err
}

// closedLoop runs as many clients as the server accepts. Each asks one request after another.
func (s *served) closedLoop(c *counts, duration time.Duration) {
	began := time.Now()
	var group sync.WaitGroup
	for client := range concurrent {
		group.Go(func() {
			for n := client; time.Since(began) < duration; n++ {
				s.one(c, n%requests)
			}
		})
	}
	group.Wait()
}

// overload sends ten times as many requests as the server can answer.
func (s *served) overload(c *counts, best float64) {
	every := time.Duration(float64(time.Second) / (10 * best))
	began := time.Now()
	var group sync.WaitGroup
	for n := 0; time.Since(began) < overTime; n++ {
		if wait := time.Until(began.Add(time.Duration(n) * every)); wait > 0 {
			time.Sleep(wait)
		}
		group.Go(func() { s.one(c, n%requests) })
	}
	group.Wait()
}

// trouble replaces the model while some clients behave well and others do not.
func (s *served) trouble(c *counts, seed uint64) {
	ctx, cancel := context.WithTimeout(context.Background(), troubleTime)
	defer cancel()
	var group sync.WaitGroup
	each := func(n int, play func(r *rand.Rand)) {
		for i := range n {
			group.Go(func() {
				for r := rand.New(rand.NewPCG(seed, uint64(i))); ctx.Err() == nil; {
					play(r)
				}
			})
		}
	}
	group.Go(func() {
		for version := 1; ctx.Err() == nil; version = 1 - version {
			if err := s.swap(version); err != nil {
				c.fail(&c.lost, err)
			}
			time.Sleep(swapTime)
		}
	})
	each(concurrent/2, func(r *rand.Rand) { s.one(c, r.IntN(requests)) })
	each(2, func(r *rand.Rand) { // gives up
		gone, leave := context.WithTimeout(ctx, time.Duration(r.IntN(40))*time.Millisecond)
		s.post(gone, bytes.NewReader(s.bodies[r.IntN(requests)]))
		leave()
	})
	each(2, func(r *rand.Rand) { // sends slowly, and perhaps never ends
		body := s.bodies[r.IntN(requests)]
		slow := &slowly{body[:len(body)-r.IntN(2)*100], ctx}
		s.post(ctx, slow)
	})
	each(1, func(r *rand.Rand) { s.cut(r) })
	group.Wait()
}

// slowly is a reader that gives a few bytes at a time.
type slowly struct {
	rest []byte
	ctx  context.Context
}

func (s *slowly) Read(b []byte) (int, error) {
	select {
	case <-s.ctx.Done():
		return 0, s.ctx.Err()
	case <-time.After(5 * time.Millisecond):
	}
	n := copy(b[:min(len(b), 256)], s.rest)
	if s.rest = s.rest[n:]; n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

// cut breaks off a connection during a request or its answer.
func (s *served) cut(r *rand.Rand) {
	c, err := net.Dial("unix", s.socket)
	if err != nil {
		return
	}
	defer c.Close()
	body := s.bodies[r.IntN(requests)]
	request := fmt.Appendf(nil, "POST /predict HTTP/1.1\r\nHost: s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	c.Write(request[:r.IntN(len(request)+1)])
	if r.IntN(2) == 0 {
		c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		io.CopyN(io.Discard, c, int64(r.IntN(600)))
	}
}
