package interrupt

import (
	"context"
	"os"
	"testing"
	"time"
)

// What has something to save may take its time for that, and then still tells what it
// saved.
func TestWhatSavesTellsOfIt(t *testing.T) {
	told := false
	ended := Run(func(ctx context.Context) {
		end := Hold(ctx)
		self, err := os.FindProcess(os.Getpid())
		if err != nil {
			t.Error(err)
			return
		}
		if err := self.Signal(os.Interrupt); err != nil {
			t.Skip(err)
		}
		<-ctx.Done()
		time.Sleep(grace + grace/2)
		end()
		time.Sleep(grace / 2)
		told = true
	})
	if !ended || !told {
		t.Errorf("ended %v, told %v", ended, told)
	}
}
