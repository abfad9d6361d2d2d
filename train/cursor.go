package train

import (
	"fmt"
	"time"

	"github.com/skive-ml/skive/data"
)

// cursor walks through the steps of all epochs.
type cursor struct {
	enc        *data.Encoded
	o          data.BatchOptions
	accumulate int // batches in a step; the last step of an epoch may have fewer
	epoch      int
	batches    [][]int32
	at         int // steps done in this epoch
}

// steps returns the number of steps in an epoch of so many batches.
func steps(batches, accumulate int) int {
	n := max(1, accumulate)
	return (batches + n - 1) / n
}

// newCursor returns a cursor that has passed the first done steps.
func newCursor(enc *data.Encoded, o data.BatchOptions, accumulate, done int) *cursor {
	c := &cursor{enc: enc, o: o, accumulate: max(1, accumulate), batches: data.Batches(enc, o, 0)}
	for done > c.steps() {
		done -= c.steps()
		c.epoch++
		c.batches = data.Batches(enc, o, c.epoch)
	}
	c.at = done
	return c
}

func (c *cursor) steps() int { return steps(len(c.batches), c.accumulate) }

// next returns the example numbers of each batch of the next step.
func (c *cursor) next() [][]int32 {
	if c.atEpochEnd() {
		c.epoch++
		c.at = 0
		c.batches = data.Batches(c.enc, c.o, c.epoch)
	}
	lo := c.at * c.accumulate
	c.at++
	return c.batches[lo:min(lo+c.accumulate, len(c.batches))]
}

// atEpochEnd tells whether the last step that next returned was the last of its epoch.
func (c *cursor) atEpochEnd() bool { return c.at == c.steps() }

// epochs returns the number of passes over the data so far.
func (c *cursor) epochs() float64 {
	return float64(c.epoch) + float64(c.at)/float64(c.steps())
}

// meter writes the remark beside the progress bar: the smoothed loss and the speed.
type meter struct {
	loss   float64
	steps  int
	tokens int
	busy   time.Duration
	last   time.Time
}

func (m *meter) start(now time.Time) { m.last = now }

// pause excludes the time since the last step from the speed.
func (m *meter) pause(now time.Time) { m.last = now }

// smoothing is the number of steps over which the shown loss is averaged.
const smoothing = 50

func (m *meter) note(now time.Time, r Record) string {
	m.steps++
	weight := 1 / float64(min(m.steps, smoothing))
	m.loss += float64(weight * (r.Loss - m.loss))
	m.tokens += r.Tokens
	m.busy += now.Sub(m.last)
	m.last = now
	speed := 0.0
	if m.busy > 0 {
		speed = float64(m.tokens) / m.busy.Seconds()
	}
	return fmt.Sprintf("loss %.4f, %.1fk tokens/s", m.loss, speed/1000)
}
