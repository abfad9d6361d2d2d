package train

import (
	"math"

	"github.com/skive-ml/skive/internal/exact"
)

// Schedule is the shape of the learning rate over a run, after its warm-up.
type Schedule string

// Schedules.
const (
	// Linear falls from the peak to zero at the last step.
	Linear Schedule = "linear"
	// Cosine falls from the peak to zero along half a cosine.
	Cosine Schedule = "cosine"
	// Constant stays at the peak.
	Constant Schedule = "constant"
)

var schedules = []Schedule{Linear, Cosine, Constant}

// Rate returns the learning rate of the step after done completed ones, as a share of its peak
// from 0 to 1. The run has total steps, the first warmup of them warm-up. Rate equals the
// multiplier of Hugging Face's schedulers of the same names (transformers.get_scheduler), so the
// first step of a warm-up has rate 0.
func (s Schedule) Rate(done, warmup, total int) float64 {
	if done < warmup {
		return float64(done) / float64(max(1, warmup))
	}
	switch s {
	case Constant:
		return 1
	case Cosine:
		at := float64(done-warmup) / float64(max(1, total-warmup))
		return max(0, 0.5*(1+exact.Cos(math.Pi*at)))
	default:
		return max(0, float64(total-done)/float64(max(1, total-warmup)))
	}
}

// warmupSteps returns the number of warm-up steps for a share of all steps, rounded up as in
// Hugging Face's Trainer.
func warmupSteps(share float64, total int) int {
	return int(math.Ceil(share * float64(total)))
}
