package train

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/skive-ml/skive/progress/terminal"
)

func TestMemoryIsPrintedBeforeTheFirstStep(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	o := quick()
	o.Progress = terminal.New(&out)
	run(t, o)
	memory, step := strings.Index(out.String(), "parameters × 16 bytes = "), strings.Index(out.String(), "train: 1/21")
	if memory < 0 || step < memory {
		t.Errorf("progress:\n%s", out.String())
	}
}

func TestMemoryErrorSaysWhatToDo(t *testing.T) {
	t.Parallel()
	err := error(&MemoryError{Parameters: 1e9, Activations: 3e9, Available: 2e9})
	const want = "1000000000 parameters × 16 bytes = 16.0 GB, and up to 3.0 GB of activations do not fit the 2.0 GB that are available: " +
		"lower batch-size (with accumulate, steps stay as large) or max-length, or set recompute"
	var e *MemoryError
	if !errors.As(err, &e) || err.Error() != want {
		t.Errorf("error %q", err)
	}
}
