package compress

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/train"
)

// RecipeFile is the effective recipe in the output directory. It marks the
// directory as one that a later run may go on in.
const RecipeFile = "recipe.yaml"

// An OtherRunError tells that the output directory holds a run of another model
// or task.
type OtherRunError struct {
	// Path is the output directory, Setting is "model" or "task", Saved its
	// value there, Given its value now.
	Path, Setting, Saved, Given string
}

func (e *OtherRunError) Error() string {
	return fmt.Sprintf("%s: it holds a run with %s %q, not %q: choose another output directory", e.Path, e.Setting, e.Saved, e.Given)
}

// claimOutput makes sure that the output directory is this run's, and leaves the
// recipe there.
func (c *run) claimOutput() error {
	path := c.path(RecipeFile)
	saved, err := ReadRecipe(path)
	switch {
	case err == nil:
		for _, x := range []struct{ setting, saved, given string }{
			{"model", saved.Model, c.Model}, {"task", saved.Task, c.Task},
		} {
			if x.saved != x.given {
				return &OtherRunError{Path: c.Output, Setting: x.setting, Saved: x.saved, Given: x.given}
			}
		}
	case errors.Is(err, fs.ErrNotExist):
		entries, err := os.ReadDir(c.Output)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if len(entries) > 0 {
			return fmt.Errorf("%s: the output directory is neither empty nor that of an earlier run", c.Output)
		}
	default:
		return err
	}
	text, err := c.Recipe.YAML()
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return checkpoints.WriteBytes(path, text)
}

// stage trains the model of a stage in the output directory's folder of that
// name, from where an earlier run left off. What was trained with other settings
// or from other inputs is set aside, and the stage begins anew.
func (c *run) stage(name string, fit func(output string) (*checkpoints.Model, error)) (*checkpoints.Model, error) {
	output := c.path(name)
	model, err := fit(output)
	var changed *train.SettingsError
	if !errors.As(err, &changed) {
		return model, err
	}
	previous := output + ".previous"
	if err := os.RemoveAll(previous); err != nil {
		return nil, err
	}
	if err := os.Rename(output, previous); err != nil {
		return nil, err
	}
	if c.Progress != nil {
		fmt.Fprintf(c.Progress, "%s: %s has changed: training anew, the earlier model is kept in %s\n", name, changed.Setting, previous)
	}
	return fit(output)
}
