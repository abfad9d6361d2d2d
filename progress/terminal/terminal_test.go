package terminal

import (
	"bytes"
	"testing"

	"github.com/skive-ml/skive/progress"
)

func TestWriterThatIsNoTerminalGetsLines(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	r := New(&out)
	task := progress.Begin(r, "eval", 0, 2)
	task.Set(1, "")
	r.Logger().With("step", 3).Info("a note", "loss", 0.5)
	task.Finish("")
	want := "eval: 1/2 (50%), ETA 0s\na note\neval: 1/2 in 0s\n"
	if got := out.String(); got != want {
		t.Errorf("output %q, want %q", got, want)
	}
}
