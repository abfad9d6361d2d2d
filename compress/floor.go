package compress

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/data/linear"
	"github.com/skive-ml/skive/evaluate"
	"github.com/skive-ml/skive/infer"
)

// Floor is what a classifier reaches that sees too little of the text to solve the task. A model
// has to beat it before its own metric means anything.
type Floor struct {
	Name   string  `json:"name"`
	Metric float64 `json:"metric"`
	// Lead is how far the teacher's metric is above the floor, with the 95 % interval of the
	// paired bootstrap.
	Lead         float64    `json:"lead"`
	LeadInterval [2]float64 `json:"lead_interval"`
}

// note returns the floor's line below the report's table.
func (f Floor) note() string {
	return fmt.Sprintf("floor: %s reaches %.1f %%; the teacher leads by %.1f points (%s).", f.Name, 100*f.Metric, 100*f.Lead, interval(f.LeadInterval))
}

// beaten tells whether the teacher is above the floor, with the whole interval.
func (f Floor) beaten() bool { return f.LeadInterval[0] > 0 }

// An UnlearnedError tells that the teacher is no better than a floor, as far as the development
// set can tell. So there is nothing to compress.
type UnlearnedError struct {
	// Metric is the task's metric. Teacher is what the teacher reaches on so many examples, and
	// Floor what it does not beat.
	Metric   string
	Teacher  float64
	Floor    Floor
	Examples int
	// AsItIs says that this run did not train the teacher.
	AsItIs bool
}

func (e *UnlearnedError) Error() string {
	says, change := "has not learned the task", "train it longer or at another rate (teacher.epochs, teacher.lr) or on more examples, or start from another model"
	if e.AsItIs {
		says, change = "is no better than "+e.Floor.Name, "take a model that was fine-tuned on this task"
	}
	return fmt.Sprintf("the teacher "+says+": %s %.1f %% on %d development examples, against %.1f %% by %s; the lead is %s points, expected above 0: %s",
		e.Metric, 100*e.Teacher, e.Examples, 100*e.Floor.Metric, e.Floor.Name, interval(e.Floor.LeadInterval), change)
}

// checkTeacher compares the teacher with the floors. If an earlier call continued with this
// teacher, so does this one.
func (c *run) checkTeacher(ctx context.Context) error {
	defer c.spent(time.Now())
	anew := c.anew || !exists(c.path(studentStage))
	var err error
	if c.outcome, err = c.outcomeOf(ctx, c.teacher, variant{c.path(teacherStage), infer.F32}); err != nil {
		return err
	}
	outcomes, err := c.findFloors()
	if err != nil || !anew || c.Force {
		return err
	}
	// One of the task's metrics may show what the main one does not. For example, the F1 of a
	// class that most examples have is high for a model that always answers with this class.
	for _, metric := range c.dev.Task.Metrics() {
		beaten, err := c.beats(outcomes, metric)
		if err != nil || beaten {
			return err
		}
	}
	metric := evaluate.MainMetric(c.dev.Task)
	value, err := c.outcome.Metric(metric)
	if err != nil {
		return err
	}
	highest := slices.MinFunc(c.floors, func(a, b Floor) int { return cmp.Compare(a.LeadInterval[0], b.LeadInterval[0]) })
	return &UnlearnedError{Metric: metric, Teacher: value, Floor: highest, Examples: len(c.dev.Examples), AsItIs: c.TeacherModel != ""}
}

// perfect is the metric if all answers are right, less a rounding error.
const perfect = 1 - 1e-9

// beats tells whether the teacher is above all floors in a metric, with the whole interval.
func (c *run) beats(floors []*data.Outcome, metric string) (bool, error) {
	for _, o := range floors {
		_, lead, err := c.outcome.Difference(o, metric)
		if err != nil {
			return false, err
		}
		floor, errFloor := o.Metric(metric)
		teacher, errTeacher := c.outcome.Metric(metric)
		if err := cmp.Or(errFloor, errTeacher); err != nil {
			return false, err
		}
		// Nothing can be above a floor that gets all examples of a small set right.
		if lead[0] <= 0 && !(floor >= perfect && teacher >= perfect) {
			return false, nil
		}
	}
	return true, nil
}

// findFloors measures the floors and the teacher's lead over them.
func (c *run) findFloors() ([]*data.Outcome, error) {
	c.floors = []Floor{}
	floors := []struct {
		name    string
		outcome func() (*data.Outcome, error)
	}{
		{"the most frequent answer", func() (*data.Outcome, error) { return linear.MostFrequent(c.train, c.dev) }},
		{"a linear classifier on words", func() (*data.Outcome, error) { return linear.Outcome(c.train, c.dev, linear.Words) }},
		{"a linear classifier on word pairs", func() (*data.Outcome, error) { return linear.Outcome(c.train, c.dev, linear.Pairs) }},
	}
	metric := evaluate.MainMetric(c.dev.Task)
	var outcomes []*data.Outcome
	for _, f := range floors {
		o, err := f.outcome()
		if err != nil {
			return nil, err
		}
		value, err := o.Metric(metric)
		lead, interval, derr := c.outcome.Difference(o, metric)
		if err = cmp.Or(err, derr); err != nil {
			return nil, err
		}
		outcomes = append(outcomes, o)
		c.floors = append(c.floors, Floor{Name: f.name, Metric: value, Lead: lead, LeadInterval: interval})
	}
	return outcomes, nil
}

// spent adds the time since began to that for measuring.
func (c *run) spent(began time.Time) { c.measured += time.Since(began) }
