package train

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/skive-ml/skive/internal/bounded"
)

// Record describes one step. It is one line of the log.
type Record struct {
	// Step counts from 1.
	Step int `json:"step" msgpack:"step"`
	// Loss is the weighted sum of Losses. Losses holds the value of each of the objective's
	// losses, before weighting.
	Loss   float64            `json:"loss" msgpack:"loss"`
	Losses map[string]float64 `json:"losses" msgpack:"losses"`
	// LR is the learning rate of the step. GradNorm is the global norm of the gradients before
	// clipping.
	LR       float64 `json:"lr" msgpack:"lr"`
	GradNorm float64 `json:"grad_norm" msgpack:"grad_norm"`
	// Tokens is the number of tokens in the step's batches.
	Tokens int `json:"tokens" msgpack:"tokens"`
}

// stepLog writes records to a file, one JSON object per line.
type stepLog struct {
	path string
	f    *os.File
	w    *bufio.Writer
}

// openLog opens the log at path. It keeps the lines of the first steps steps, which a resumed run
// has already done.
func openLog(path string, steps int) (*stepLog, error) {
	if path == "" {
		return nil, nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return nil, fmt.Errorf("log: %w", err)
	}
	f, err := createLog(path, steps)
	if err != nil {
		return nil, fmt.Errorf("log: %w", err)
	}
	return &stepLog{path, f, bufio.NewWriter(f)}, nil
}

// maxLog is the largest log, in bytes, that a resumed run reads.
const maxLog = 1 << 30

// createLog opens the log for writing after the lines to keep, which it leaves unchanged.
func createLog(path string, steps int) (*os.File, error) {
	if steps == 0 {
		return os.Create(path)
	}
	old, err := bounded.ReadFile(path, maxLog)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o666)
	if err != nil {
		return nil, err
	}
	kept := int64(len(keepLines(old, steps)))
	if err = f.Truncate(kept); err == nil {
		_, err = f.Seek(kept, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// keepLines returns the first lines of a log, up to and including the given step. It stops at a
// line that a killed process left incomplete.
func keepLines(log []byte, step int) []byte {
	end := 0
	for end < len(log) {
		n := bytes.IndexByte(log[end:], '\n')
		if n < 0 {
			break
		}
		var r Record
		if json.Unmarshal(log[end:end+n], &r) != nil || r.Step > step {
			break
		}
		end += n + 1
	}
	return log[:end]
}

func (l *stepLog) write(r Record) error {
	if l == nil {
		return nil
	}
	b, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("log %s: step %d: %w", l.path, r.Step, err)
	}
	if _, err := l.w.Write(append(b, '\n')); err != nil {
		return fmt.Errorf("log: %w", err)
	}
	return nil
}

// flush makes what was written so far visible to readers of the file.
func (l *stepLog) flush() error {
	if l == nil {
		return nil
	}
	if err := l.w.Flush(); err != nil {
		return fmt.Errorf("log: %w", err)
	}
	return nil
}

func (l *stepLog) close() error {
	if l == nil {
		return nil
	}
	if err := l.flush(); err != nil {
		l.f.Close()
		return err
	}
	return l.f.Close()
}
