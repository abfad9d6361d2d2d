package progress_test

import (
	"log/slog"
	"os"

	"github.com/skive-ml/skive/progress"
)

// A program that logs hears of long work in records.
func Example() {
	logger := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
	r := progress.Log(logger) // train.Options.Progress, for instance
	task := progress.Begin(r, "train", 0, 100)
	task.Set(0, "loss 1.1")
	r.Logger().Info("train: step 50: dev accuracy 0.9")
	// Output:
	// level=INFO msg="train: 0/100 (0%), loss 1.1" work=train done=0 total=100 note="loss 1.1"
	// level=INFO msg="train: step 50: dev accuracy 0.9"
}
