package checkpoints

import (
	"fmt"
	"io"
	"math"

	"github.com/skive-ml/skive/internal/bounded"
)

// Section is a named run of numbers in a training state, such as a parameter or a
// moment of the optimizer.
type Section struct {
	Name string
	Data []float32
}

// State is what a training run needs to resume: a header that the trainer defines, and
// numbers.
type State struct {
	// Header is encoded with msgpack: step, configuration, state of the random
	// generator, position in the data, history of metrics.
	Header   any
	Sections []Section
}

// WriteState replaces the training state at path. The write is atomic: until the new
// state is complete and synced, and after a failure, the old one stays. The sections
// are written without a copy.
func WriteState(path string, s State) error {
	sections := make([]section, len(s.Sections))
	for i, x := range s.Sections {
		sections[i] = section{x.Name, F32.code(), []int{len(x.Data)}, float32Bytes(x.Data)}
	}
	return WriteFile(path, func(w io.Writer) error {
		return writeContainer(w, kindState, s.Header, sections)
	})
}

// ReadState reads a training state. It decodes the header into header, a pointer or
// nil, and returns the sections in the order in which they were written. Every checksum
// is verified. The sections share one block of memory and may be written to.
func ReadState(path string, header any) ([]Section, error) {
	sections, err := readState(path, header)
	if err != nil {
		return nil, fmt.Errorf("training state %s: %w", path, err)
	}
	return sections, nil
}

func readState(path string, header any) ([]Section, error) {
	b, err := readAligned(path, math.MaxInt64)
	if err != nil {
		return nil, err
	}
	return parseState(b, header)
}

func parseState(b []byte, header any) ([]Section, error) {
	meta, raw, err := readContainer(b, kindState, &verification{})
	if err != nil {
		return nil, err
	}
	sections := make([]Section, len(raw))
	for i, s := range raw {
		if s.dtype != F32.code() || len(s.shape) != 1 {
			return nil, corrupt("section %q: %s %v, expected a row of f32", s.name, s.dtype, s.shape)
		}
		sections[i] = Section{s.name, Tensor{DType: F32, Shape: s.shape, Data: s.data}.Float32s()}
	}
	if header != nil {
		if err := decodeMsgpack(meta, header); err != nil {
			return nil, fmt.Errorf("header: %w", err)
		}
	}
	return sections, nil
}

// readAligned reads a whole file of at most limit bytes into memory aligned to 64
// bytes.
func readAligned(path string, limit int64) ([]byte, error) {
	f, err := bounded.OpenRegular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() > limit {
		return nil, &bounded.TooLongError{Limit: limit}
	}
	if info.Size() > math.MaxInt-alignment {
		return nil, fmt.Errorf("%d bytes do not fit the address space", info.Size())
	}
	b := alignedBytes(int(info.Size()))
	if _, err := io.ReadFull(f, b); err != nil {
		return nil, err
	}
	return b, nil
}
