package train

import (
	"fmt"
)

// A DivergedError tells that a loss, a gradient or a weight is no longer a finite number. The
// last saved state and the best model stay unchanged.
type DivergedError struct {
	// Step is the number of the step that diverged, counted from 1. Neither its update nor
	// anything later was saved.
	Step int
	// What names the quantity: "loss", "gradient norm", "weight norm", or, at an evaluation,
	// "development loss".
	What string
	// Value is NaN or an infinity.
	Value float64
}

func (e *DivergedError) Error() string {
	if e.Step == 1 && (e.What == "loss" || e.What == "gradient norm") {
		return fmt.Sprintf("%s is %v at step 1, before the first update: the outputs of the model (or of its teacher) are not finite numbers", e.What, e.Value)
	}
	return fmt.Sprintf("%s is %v at step %d: lower the learning rate (lr) or clip harder (max-grad-norm)", e.What, e.Value, e.Step)
}

// A SettingsError tells that a saved state is of a run with other settings.
type SettingsError struct {
	// Path is the state's file.
	Path string
	// Setting is the first setting that differs. Saved is its value in the state, Given its value
	// in this run.
	Setting, Saved, Given string
}

func (e *SettingsError) Error() string {
	return fmt.Sprintf("%s: cannot resume with %s %q, the saved run has %q", e.Path, e.Setting, e.Given, e.Saved)
}

// An OtherModelError tells that the model in an output directory does not belong to the saved
// state beside it.
type OtherModelError struct {
	// Path is the output directory. What says how model and state differ.
	Path, What string
}

func (e *OtherModelError) Error() string {
	return fmt.Sprintf("%s: the model is not the one of the training state beside it: %s", e.Path, e.What)
}
