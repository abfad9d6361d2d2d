package train

import (
	"fmt"
	"time"

	"github.com/skive-ml/skive/data"
)

// cursor walks through the batches of epoch after epoch.
type cursor struct {
	enc     *data.Encoded
	o       data.BatchOptions
	epoch   int
	batches [][]int32
	at      int
}

// newCursor returns the cursor as it is after done steps.
func newCursor(enc *data.Encoded, o data.BatchOptions, done int) *cursor {
	c := &cursor{enc: enc, o: o, batches: data.Batches(enc, o, 0)}
	for done > len(c.batches) {
		done -= len(c.batches)
		c.epoch++
		c.batches = data.Batches(enc, o, c.epoch)
	}
	c.at = done
	return c
}

// next returns the example numbers of the next batch.
func (c *cursor) next() []int32 {
	if c.at == len(c.batches) {
		c.epoch++
		c.at = 0
		c.batches = data.Batches(c.enc, c.o, c.epoch)
	}
	c.at++
	return c.batches[c.at-1]
}

// atEpochEnd tells whether the batch last returned was its epoch's last.
func (c *cursor) atEpochEnd() bool { return c.at == len(c.batches) }

// epochs is the number of passes over the data so far.
func (c *cursor) epochs() float64 {
	return float64(c.epoch) + float64(c.at)/float64(len(c.batches))
}

// meter makes the remark beside the progress bar: the loss, smoothed, and the
// speed.
type meter struct {
	loss   float64
	steps  int
	tokens int
	busy   time.Duration
	last   time.Time
}

func (m *meter) start(now time.Time) { m.last = now }

// pause leaves the time since the last step out of the speed.
func (m *meter) pause(now time.Time) { m.last = now }

// smoothing is the number of steps over which the shown loss is averaged.
const smoothing = 50

func (m *meter) note(now time.Time, r Record) string {
	m.steps++
	weight := 1 / float64(min(m.steps, smoothing))
	m.loss += weight * (r.Loss - m.loss)
	m.tokens += r.Tokens
	m.busy += now.Sub(m.last)
	m.last = now
	speed := 0.0
	if m.busy > 0 {
		speed = float64(m.tokens) / m.busy.Seconds()
	}
	return fmt.Sprintf("loss %.4f, %.1fk tokens/s", m.loss, speed/1000)
}
