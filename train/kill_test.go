package train

import (
	"bufio"
	"context"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/internal/golden"
)

// killedRun is the run that the test below kills: long, with evaluations and
// states close together.
func killedRun(steps int) Options {
	o := quick()
	o.Epochs, o.Steps, o.BatchSize, o.Accumulate = 0, steps, 4, 2
	o.EvalEvery, o.SaveEvery, o.Threads = 5, 2, 1
	return o
}

// TestMain turns the test binary into the process that is killed.
func TestMain(m *testing.M) {
	dir := os.Getenv("SKIVE_TEST_KILLED_RUN")
	if dir == "" {
		os.Exit(m.Run())
	}
	// There is no test to fail here: whatever goes wrong ends the process.
	t := &testing.T{}
	ds := golden.Data(t)
	o, model := killedRun(120), golden.Model(t)
	if family := os.Getenv("SKIVE_TEST_KILLED_FAMILY"); family != "" {
		o, model = killedRun(40), ofFamily(t, family)
	}
	o.Output, o.Log, o.TensorBoard, o.Resume = dir, filepath.Join(dir, "log.jsonl"), filepath.Join(dir, "events"), true
	o.OnStep = func(Record) {
		os.Stdout.WriteString("step\n")
	}
	if _, _, err := Run(context.Background(), model, subset(ds, 0, 100), subset(ds, 100, 120), o); err != nil {
		os.Stderr.WriteString(err.Error())
		os.Exit(1)
	}
	os.Exit(0)
}

// SIGKILL gives a process no time to put anything in order. Killed twenty times
// at random moments and resumed each time, a run ends with the bits of one that
// nobody touched, and what lies on the disk between is always whole.
func TestKilledTwentyTimes(t *testing.T) {
	t.Parallel()
	ds := golden.Data(t)
	want, wantResult, err := Run(context.Background(), golden.Model(t), subset(ds, 0, 100), subset(ds, 100, 120), killedRun(120))
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "out")
	process := func() (*exec.Cmd, io.Reader) {
		c := exec.Command(os.Args[0])
		c.Env = append(os.Environ(), "SKIVE_TEST_KILLED_RUN="+dir)
		out, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		return c, out
	}
	random := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
	ends := func() {
		t.Helper()
		got, err := checkpoints.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer got.Close()
		if !sameWeights(got, want) {
			t.Fatal("other weights than those of the run that was not killed")
		}
	}
	at, whole := 0, 0
	for kills := 0; kills < 20; {
		c, out := process()
		if _, err := bufio.NewReader(out).ReadString('\n'); err == nil {
			time.Sleep(time.Duration(random.IntN(40_000)) * time.Microsecond)
		}
		if err := c.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Fatal(err)
		}
		c.Wait()
		switch code := c.ProcessState.ExitCode(); code {
		case -1: // killed
			kills++
		case 0: // it came to the end before: the next begins anew
			ends()
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
			at = 0
			if whole++; whole > 20 {
				t.Fatalf("%d of %d processes could be killed", kills, kills+whole)
			}
			continue
		default:
			t.Fatalf("a resumed process ends with code %d after %d kills", code, kills)
		}
		var h stateHeader
		switch _, err := checkpoints.ReadState(filepath.Join(dir, StateDir, stateFile), &h); {
		case errors.Is(err, fs.ErrNotExist) && at == 0:
		case err != nil || h.Step < at:
			t.Fatalf("after kill %d the state is that of step %d, %d before, error %v", kills, h.Step, at, err)
		}
		at = h.Step
		switch m, err := checkpoints.Open(dir); {
		case err == nil:
			m.Close()
		case len(h.Evaluations) > 0:
			t.Fatalf("after kill %d at step %d: %v", kills, at, err)
		}
	}
	t.Logf("killed 20 times, up to step %d of %d after %d whole runs", at, wantResult.Steps, whole)
	c, out := process()
	if _, err := io.Copy(io.Discard, out); err != nil {
		t.Fatal(err)
	}
	if err := c.Wait(); err != nil {
		t.Fatal(err)
	}
	ends()
	log, err := os.ReadFile(filepath.Join(dir, "log.jsonl"))
	if err != nil || len(keepLines(log, wantResult.Steps)) != len(log) {
		t.Errorf("the log is torn: %v", err)
	}
	events, err := os.ReadFile(filepath.Join(dir, "events", EventsFile))
	if err != nil || keepEvents(events, wantResult.Steps) != len(events) {
		t.Errorf("the event file is torn: %v", err)
	}
}

// ofFamily opens the golden model of another family.
func ofFamily(t testing.TB, family string) *checkpoints.Model {
	m, err := checkpoints.Open(filepath.Join("testdata", family))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// The same of one kill in the other families.
func TestKilledInEveryFamily(t *testing.T) {
	t.Parallel()
	ds := golden.Data(t)
	for _, family := range []string{"roberta", "mpnet", "distilbert", "electra", "albert", "modernbert"} {
		m := ofFamily(t, family)
		defer m.Close()
		want, _, err := Run(context.Background(), m, subset(ds, 0, 100), subset(ds, 100, 120), killedRun(40))
		if err != nil {
			t.Fatalf("%s: %v", family, err)
		}
		dir := filepath.Join(t.TempDir(), family)
		c := exec.Command(os.Args[0])
		c.Env = append(os.Environ(), "SKIVE_TEST_KILLED_RUN="+dir, "SKIVE_TEST_KILLED_FAMILY="+family)
		out, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		steps := bufio.NewScanner(out)
		for range 8 {
			steps.Scan()
		}
		c.Process.Kill()
		if c.Wait(); c.ProcessState.ExitCode() != -1 {
			t.Fatalf("%s: the process ends with code %d before it is killed", family, c.ProcessState.ExitCode())
		}
		o := killedRun(40)
		o.Output, o.Resume = dir, true
		got, r, err := Run(context.Background(), m, subset(ds, 0, 100), subset(ds, 100, 120), o)
		if err != nil {
			t.Fatalf("%s: %v", family, err)
		}
		defer got.Close()
		if r.Resumed == 0 || r.Resumed == r.Steps || !sameWeights(got, want) {
			t.Errorf("%s: resumed after step %d, other weights than those of the run that was not killed", family, r.Resumed)
		}
	}
}
