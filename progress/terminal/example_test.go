package terminal_test

import (
	"os"

	"github.com/skive-ml/skive/progress"
	"github.com/skive-ml/skive/progress/terminal"
)

// Where the output is no terminal, lines come in place of a bar.
func Example() {
	task := progress.Begin(terminal.New(os.Stdout), "train", 0, 100)
	task.Set(0, "loss 1.1")
	// Output:
	// train: 0/100 (0%), loss 1.1
}
