package pace

import (
	"testing"
	"time"
)

// Work that begins slowly is not expected to stay slow: after a first unit of a minute, units
// of a second make the time left a matter of seconds.
func TestSlowStart(t *testing.T) {
	t.Parallel()
	started := time.Unix(0, 0)
	p := Pace{Total: 200, Started: started}
	now := started.Add(time.Minute)
	if left := p.Left(1, now); left != "ETA 3h19m0s" {
		t.Errorf("after the first unit: %s", left)
	}
	left := ""
	for done := 2; done <= 150; done++ {
		now = now.Add(time.Second)
		left = p.Left(done, now)
	}
	if left != "ETA 50s" {
		t.Errorf("50 units before the end: %s", left)
	}
}
