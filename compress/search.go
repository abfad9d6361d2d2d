package compress

import (
	"context"
	"fmt"
	"math"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/evaluate"
	"github.com/skive-ml/skive/train"
)

// trials holds factors for the rate and the length of a teacher's training, in the order in which
// a search tries them.
var trials = []struct{ rate, length float64 }{
	{1, 1}, {2, 1}, {0.5, 1}, {1, 2}, {2, 0.5}, {0.5, 2}, {1, 0.5}, {4, 1}, {2, 2}, {0.25, 2}, {4, 0.5}, {0.5, 0.5},
}

// trial returns the options of a training, changed by one of the trials.
func trial(o train.Options, i int) train.Options {
	t := trials[i]
	length := func(n int) int {
		if n == 0 {
			return 0
		}
		return max(1, int(math.Round(float64(n)*t.length)))
	}
	o.LearningRate *= t.rate
	o.Epochs, o.Steps = length(o.Epochs), length(o.Steps)
	return o
}

// Trial is one of the teachers that a search trained.
type Trial struct {
	LearningRate float64 `json:"lr"`
	Epochs       int     `json:"epochs,omitempty"`
	Steps        int     `json:"steps,omitempty"`
	// Metric is its best on the development set. Taken is true for the trial whose model became
	// the teacher.
	Metric float64 `json:"metric"`
	Taken  bool    `json:"taken,omitempty"`
}

func (t Trial) String() string {
	length := fmt.Sprintf("%d epochs", t.Epochs)
	if t.Steps > 0 {
		length = fmt.Sprintf("%d steps", t.Steps)
	}
	text := fmt.Sprintf("rate %.2g, %s: %.1f %%", t.LearningRate, length, 100*t.Metric)
	if t.Taken {
		text += ", taken"
	}
	return text
}

// search trains the recipe's number of teachers and takes the best one.
func (c *run) search(ctx context.Context) (*checkpoints.Model, error) {
	metric := evaluate.MainMetric(c.dev.Task)
	var best *checkpoints.Model
	taken := 0
	for i := range c.Search {
		o := trial(c.Teacher, i)
		m, result, err := c.trainTeacher(ctx, fmt.Sprintf("search-%d", i+1), o)
		if err != nil {
			return nil, err
		}
		t := Trial{LearningRate: o.LearningRate, Epochs: o.Epochs, Steps: o.Steps, Metric: result.Best.Metrics[metric]}
		if t.Steps > 0 {
			t.Epochs = 0
		}
		if c.trials = append(c.trials, t); best != nil && !evaluate.Better(metric, t.Metric, c.trials[taken].Metric) {
			m.Close()
			continue
		}
		if best != nil {
			best.Close()
		}
		best, taken = m, i
	}
	c.trials[taken].Taken = true
	for i, t := range c.trials {
		c.say("search %d: %s", i+1, t)
	}
	defer best.Close()
	c.anew = false // unless another one is the best from now on
	return c.keep(teacherStage, best)
}
