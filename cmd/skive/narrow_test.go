//go:build unix

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

const tinyModel = "../../train/testdata/tiny"

// TestMain is the program itself where a test asks for it.
func TestMain(m *testing.M) {
	if os.Getenv("SKIVE_TEST_PROGRAM") != "" {
		main()
	}
	os.Exit(m.Run())
}

// program is a command line in a process of its own. Of the environment it has
// the given variables and no home.
func program(t *testing.T, environment []string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(self, args...)
	c.Env = append([]string{"SKIVE_TEST_PROGRAM=1", "PATH=" + os.Getenv("PATH")}, environment...)
	return c
}

func colours(t *testing.T, dir string) string {
	t.Helper()
	set := filepath.Join(dir, "set.jsonl")
	examples := `{"text": "w5 w6 w7", "label": "red"}` + "\n" + `{"text": "w8 w9", "label": "green"}` + "\n" + `{"text": "w10 w6", "label": "blue"}` + "\n"
	if err := os.WriteFile(set, []byte(examples), 0o666); err != nil {
		t.Fatal(err)
	}
	return set
}

// Costs are measured where they cannot be kept, and a line says so.
func TestPruneWithoutACache(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	set := colours(t, dir)
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	for name, environment := range map[string][]string{
		"no home":            nil,
		"a cache in a file":  {"XDG_CACHE_HOME=" + file, "HOME=" + file},
		"a home not to make": {"HOME=/dev/null/x"},
	} {
		t.Run(name, func(t *testing.T) {
			out := filepath.Join(dir, strings.ReplaceAll(name, " ", "-"))
			c := program(t, environment, "prune", "--model", tinyModel, "--task", "text", "--train", set, "-o", out, "--threads", "1", "--target-speedup", "1.05")
			text, err := c.CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, text)
			}
			if n := strings.Count(string(text), "skive: the measured costs are not kept: "); n != 1 || !strings.Contains(string(text), "; --costs names another directory\n") {
				t.Errorf("printed\n%s", text)
			}
		})
	}
}

// Another user without a home can do all that needs no place to write.
func TestAsNobody(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("another user can be had by root alone")
	}
	// Neither the test's program nor the repository need be open to others.
	dir, err := os.MkdirTemp("", "skive-nobody-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	model, copied := filepath.Join(dir, "model"), filepath.Join(dir, "skive.test")
	if err := errors.Join(os.Chmod(dir, 0o755), os.CopyFS(model, os.DirFS(tinyModel)), copyFile(copied, program(t, nil).Path)); err != nil {
		t.Fatal(err)
	}
	set := colours(t, dir)
	nobody := func(args ...string) (string, error) {
		c := program(t, []string{"HOME=/nonexistent"}, args...)
		c.Path, c.Dir = copied, dir
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		text, err := c.CombinedOutput()
		return string(text), err
	}
	if text, err := nobody("eval", "--model", model, "--task", "text", "--data", set, "-q"); err != nil {
		t.Errorf("eval: %v: %s", err, text)
	}
	text, err := nobody("quantize", "--model", model, "-o", filepath.Join(dir, "q.skive"))
	if err == nil || strings.Count(text, "\n") != 1 || !strings.Contains(text, "--output") {
		t.Errorf("quantize into a directory of root's: %v: %s", err, text)
	}
}

func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// Under a limit on address space a command works or says in a line that it is too low.
func TestAddressSpace(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("a limit on address space is Linux's")
	}
	for _, kilobytes := range []int{1800000, 3000000} {
		c := program(t, nil, "inspect", tinyModel)
		c.Args = append([]string{"sh", "-c", fmt.Sprintf(`ulimit -v %d; exec "$0" "$@"`, kilobytes), c.Path}, c.Args[1:]...)
		c.Path = "/bin/sh"
		text, err := c.CombinedOutput()
		refused := strings.HasPrefix(string(text), "skive: the limit on address space (ulimit -v) leaves ") && strings.Count(string(text), "\n") == 1
		if err != nil && !refused {
			t.Errorf("%d kB: %v: %.300s", kilobytes, err, text)
		}
	}
}

// A signal ends whatever is under way, such as the making of a graph of a
// thousand layers.
func TestSignals(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	set := colours(t, dir)
	if err := os.CopyFS(filepath.Join(dir, "deep"), os.DirFS(tinyModel)); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "deep", "config.json")
	var fields map[string]any
	text, err := os.ReadFile(config)
	if err == nil {
		err = json.Unmarshal(text, &fields)
	}
	if err != nil {
		t.Fatal(err)
	}
	fields["num_hidden_layers"] = 3000
	text, _ = json.Marshal(fields)
	if err := os.WriteFile(config, text, 0o666); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		signals []os.Signal
		ended   func(*os.ProcessState) bool
	}{
		{[]os.Signal{syscall.SIGINT}, func(s *os.ProcessState) bool { return s.ExitCode() == exitFailure }},
		{[]os.Signal{syscall.SIGTERM, syscall.SIGTERM}, func(s *os.ProcessState) bool {
			return s.Sys().(syscall.WaitStatus).Signal() == syscall.SIGTERM
		}},
	} {
		var out bytes.Buffer
		p := program(t, nil, "train", "--config", config, "--task", "text", "--train", set, "--dev", set, "--steps", "1", "-q", "-o", filepath.Join(dir, "out"))
		p.Stdout, p.Stderr = &out, &out
		if err := p.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		for i, s := range c.signals {
			if i > 0 {
				time.Sleep(100 * time.Millisecond) // for the first to be seen
			}
			if err := p.Process.Signal(s); err != nil {
				t.Fatal(err)
			}
		}
		sent := time.Now()
		p.Wait()
		// A second on a quiet machine.
		if took := time.Since(sent); took > 5*time.Second || !c.ended(p.ProcessState) || strings.Count(out.String(), "\n") > 1 {
			t.Errorf("%v: ended after %v with %v, printed %q", c.signals, took, p.ProcessState, out.String())
		}
	}
}
