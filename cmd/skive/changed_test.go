//go:build unix

package main

import (
	"bufio"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/head"
	"github.com/skive-ml/skive/quantize"
)

// A model file that another process changes while predict has it mapped ends predict
// in one line that names the file, whatever format the model has: no signal ends it,
// and no answer comes from what is there now. One that is replaced by renaming, or
// was copied, goes on answering.
func TestModelFileChangesUnderPredict(t *testing.T) {
	t.Parallel()
	tiny, err := checkpoints.Open(tinyModel)
	if err != nil {
		t.Fatal(err)
	}
	defer tiny.Close()
	m := tiny.Clone()
	words := m.Tensors[checkpoints.WordEmbeddings.Part().Weight()]
	m.Config.VocabSize = 4000 // so large that it is not copied
	table := make([]float32, m.Config.VocabSize*m.Config.HiddenSize)
	for n := copy(table, words.Float32s()); n < len(table); n += copy(table[n:], table[:n]) {
	}
	m.Tensors[checkpoints.WordEmbeddings.Part().Weight()] = checkpoints.NewTensor([]int{m.Config.VocabSize, m.Config.HiddenSize}, table)
	quantized, err := quantize.Int8(m)
	if err != nil {
		t.Fatal(err)
	}
	masked := m.Clone()
	if err := masked.SetHead(head.MaskedLM, nil, 1); err != nil {
		t.Fatal(err)
	}
	file := func(m *checkpoints.Model) func(dir string) (path, weights string, err error) {
		return func(dir string) (string, string, error) {
			path := filepath.Join(dir, "model.skive")
			return path, path, m.SaveSkive(path)
		}
	}
	models := map[string]func(dir string) (path, weights string, err error){
		"directory": func(dir string) (string, string, error) {
			return dir, filepath.Join(dir, "model.safetensors"), m.SaveHF(dir)
		},
		"f32": file(m), "int8": file(quantized), "masked": file(masked),
	}
	changes := map[string]struct {
		change func(weights string) error
		flags  []string
		goesOn bool
	}{
		"cut":             {func(w string) error { return os.Truncate(w, 0) }, nil, false},
		"overwritten":     {func(w string) error { return os.WriteFile(w, make([]byte, 1<<20), 0o666) }, nil, false},
		"renamed over":    {func(w string) error { return errors.Join(os.WriteFile(w+".new", nil, 0o666), os.Rename(w+".new", w)) }, nil, true},
		"cut, but copied": {func(w string) error { return os.Truncate(w, 0) }, []string{"--no-mmap"}, true},
	}
	for form, save := range models {
		for name, c := range changes {
			t.Run(form+"/"+name, func(t *testing.T) {
				path, weights, err := save(t.TempDir())
				if err != nil {
					t.Fatal(err)
				}
				text := "w5 w6 w7\n"
				if form == "masked" {
					text = "w5 [MASK] w7\n"
				}
				p := program(t, nil, append([]string{"predict", "--model", path, "--threads", "2"}, c.flags...)...)
				var stderr strings.Builder
				p.Stderr = &stderr
				in, err1 := p.StdinPipe()
				out, err2 := p.StdoutPipe()
				if err := errors.Join(err1, err2, p.Start()); err != nil {
					t.Fatal(err)
				}
				defer p.Process.Kill()
				answers := bufio.NewReader(out)
				io.WriteString(in, text)
				first, err := answers.ReadString('\n')
				if err != nil {
					t.Fatal(err, stderr.String())
				}
				if err := c.change(weights); err != nil {
					t.Fatal(err)
				}
				io.WriteString(in, text)
				in.Close()
				rest, err := io.ReadAll(answers)
				err = errors.Join(err, p.Wait())
				var exit *exec.ExitError
				switch said := stderr.String(); {
				case c.goesOn && (err != nil || string(rest) != first):
					t.Errorf("%v: %s, expected %s; %s", err, rest, first, said)
				case !c.goesOn && (!errors.As(err, &exit) || exit.ExitCode() != exitFailure || len(rest) > 0):
					t.Errorf("%v, printed %q: %s", err, rest, said)
				case !c.goesOn && (strings.Count(said, "\n") != 1 || !strings.Contains(said, weights)):
					t.Errorf("said %s", said)
				}
			})
		}
	}
}
