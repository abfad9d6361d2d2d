package compress

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/distill"
	"github.com/skive-ml/skive/internal/bounded"
	"github.com/skive-ml/skive/progress"
	"github.com/skive-ml/skive/train"
)

// RecipeFile is the complete recipe in the output directory. It marks the directory as one in
// which a later run may continue.
const RecipeFile = "recipe.yaml"

// An OtherRunError tells that the output directory holds a run of another model or task.
type OtherRunError struct {
	// Path is the output directory. Setting is "model", "teacher" or "task", Saved its value
	// there, and Given its value in this run.
	Path, Setting, Saved, Given string
}

func (e *OtherRunError) Error() string {
	return fmt.Sprintf("%s: it holds a run with %s %q, not %q: choose another output directory", e.Path, e.Setting, e.Saved, e.Given)
}

// checkOutput checks that the output directory is this run's, or free.
func (c *run) checkOutput() error {
	saved, err := ReadRecipe(c.path(RecipeFile), nil)
	switch {
	case err == nil:
		for _, x := range []struct{ setting, saved, given string }{
			{"model", saved.Model, c.Model}, {"teacher", saved.TeacherModel, c.TeacherModel}, {"task", saved.Task, c.Task},
		} {
			if x.saved != x.given && filepath.Clean(x.saved) != filepath.Clean(x.given) {
				return &OtherRunError{Path: c.Output, Setting: x.setting, Saved: x.saved, Given: x.given}
			}
		}
	case errors.Is(err, fs.ErrNotExist):
		entries, err := os.ReadDir(c.Output)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		// A run that is killed at the very beginning leaves an incomplete recipe.
		taken := func(e fs.DirEntry) bool { return e.Name() != checkpoints.TemporaryName(RecipeFile) }
		if slices.ContainsFunc(entries, taken) {
			return fmt.Errorf("%s: the output directory is neither empty nor that of an earlier run", c.Output)
		}
	default:
		return err
	}
	return nil
}

// claimOutput writes the recipe into the output directory and removes the report of an earlier
// run. The models will no longer be the ones in that report. If this run is stopped, a later call
// with the earlier recipe must not take them for those.
func (c *run) claimOutput() error {
	_, err := os.Stat(c.Output)
	c.made = errors.Is(err, fs.ErrNotExist)
	_, err = os.Stat(c.path(RecipeFile))
	c.continued = err == nil
	for _, name := range reportFiles {
		if err := os.Remove(c.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	path := c.path(RecipeFile)
	text, err := c.Recipe.YAML()
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return checkpoints.WriteBytes(path, text)
}

// leaveOutput undoes claimOutput if a run failed before it made anything else.
func (c *run) leaveOutput() {
	entries, err := os.ReadDir(c.Output)
	if err != nil || len(entries) != 1 || entries[0].Name() != RecipeFile {
		return
	}
	os.Remove(c.path(RecipeFile))
	if c.made {
		os.Remove(c.Output)
	}
}

// finished returns the report of an earlier run in the output directory that did everything of
// this run, or nil.
func (c *run) finished() *Report {
	c.inputs = c.digest()
	text, err := bounded.ReadFile(c.path(reportFile), bounded.Document)
	if err != nil {
		return nil
	}
	var r Report
	if json.Unmarshal(text, &r) != nil || r.Inputs != c.inputs || len(r.Rows) == 0 {
		return nil
	}
	r.Output = c.Output // the directory may have been moved
	r.rank()            // earlier versions did not store the ratios
	// The models must have the same content as those that were measured.
	sums := map[string]string{}
	for _, row := range r.Rows {
		if sums[row.Model] == "" {
			m, err := checkpoints.Open(c.path(row.Model))
			if err != nil {
				return nil
			}
			sums[row.Model] = train.Checksum(m)
			m.Close()
		}
		if row.Checksum != sums[row.Model] {
			return nil
		}
	}
	return &r
}

// digest returns a digest of everything that affects the run's report.
func (c *run) digest() string {
	h := sha256.New()
	recipe, _ := c.Recipe.YAML()
	all := []any{
		checkpoints.Version, ThisMachine(), c.Threads, c.Instances, string(recipe),
		train.Checksum(c.teacher), train.DataChecksum(c.train), train.DataChecksum(c.dev),
		train.DataChecksum(&data.Dataset{Task: c.train.Task, Examples: c.unlabeled}),
	}
	if c.test != nil {
		all = append(all, train.DataChecksum(c.test))
	}
	json.NewEncoder(h).Encode(all)
	return fmt.Sprintf("%x", h.Sum(nil)[:12])
}

// cut returns what do cuts out of m: a narrower student or a pruned variant. If nothing has
// changed on which it depends, it comes from the file of an earlier run. The file's provenance
// has the settings and what do measured.
func (c *run) cut(name string, m *checkpoints.Model, settings map[string]string, do func() (*checkpoints.Model, map[string]float64, error)) (*checkpoints.Model, error) {
	of := map[string]string{
		"model-checksum": train.Checksum(m), "data-checksum": train.DataChecksum(c.importanceSet()),
		"max_length": strconv.Itoa(c.MaxLength), "name": name,
	}
	maps.Copy(of, settings)
	path := c.path(name + "-cut" + checkpoints.Extension)
	// A file that cannot be read is made again.
	if earlier, _, err := earlierCut(path, of); err == nil && earlier != nil {
		return earlier, nil
	}
	pruned, measured, err := do()
	if err != nil {
		return nil, err
	}
	pruned = noted(pruned, of, measured)
	return pruned, pruned.SaveSkive(path)
}

// stage trains the model of a stage in a folder of the output directory called name. It continues
// where an earlier run left off. A model trained with other settings or from other inputs is set
// aside. The stage then starts from the beginning, or continues with what was set aside earlier
// if that has these settings and inputs.
func (c *run) stage(name string, fit func(output string) (*checkpoints.Model, error)) (*checkpoints.Model, error) {
	output, previous := c.path(name), c.path(name)+previousSuffix
	if err := endExchange(output, previous); err != nil {
		return nil, err
	}
	say := func(format string, args ...any) {
		progress.Logger(c.Progress).Info(name + ": " + fmt.Sprintf(format, args...))
	}
	// A run that was stopped before it saved anything cannot be continued.
	begun := exists(filepath.Join(output, train.StateDir)) || exists(filepath.Join(output, distill.StagesDir))
	if !begun && checkpoints.CheckFree(output) == nil && exists(previous) {
		if err := os.RemoveAll(output); err != nil {
			return nil, err
		}
		if err := os.Rename(previous, output); err != nil {
			return nil, err
		}
	}
	model, err := fit(output)
	reason, back := otherRun(err)
	if reason == "" {
		return model, err
	}
	if exists(previous) {
		if err := exchange(output, previous); err != nil {
			return nil, err
		}
		model, err = fit(output)
		if other, _ := otherRun(err); other == "" {
			say("%s: the earlier model is used again, the last one is kept in %s", back, previous)
			return model, err
		}
		err = os.RemoveAll(output)
	} else {
		err = os.Rename(output, previous)
	}
	if err != nil {
		return nil, err
	}
	say("%s: training again, the earlier model is kept in %s", reason, previous)
	return fit(output)
}

// otherRun says how an error shows that a stage's directory does not belong to this run, and what
// to report if the one that was set aside does. Both are "" for any other error.
func otherRun(err error) (reason, back string) {
	var settings *train.SettingsError
	var model *train.OtherModelError
	var exists *checkpoints.ExistsError
	switch {
	case errors.As(err, &settings):
		reason = settings.Setting + " has changed"
		return reason, reason + " back"
	case errors.As(err, &model):
		reason = "the model there is not of this run, " + model.What
	case errors.As(err, &exists):
		reason = "the model there has no training state"
	}
	return reason, reason
}

// setAside keeps the content of a folder as the previous one. It replaces what was set aside
// before.
func setAside(path string) error {
	return errors.Join(os.RemoveAll(path+previousSuffix), os.Rename(path, path+previousSuffix))
}

const (
	// previousSuffix is the end of the name of a folder that was set aside.
	previousSuffix = ".previous"
	// exchangeSuffix is the end of the name of the output during an exchange.
	exchangeSuffix = ".exchange"
)

// exchange swaps output and previous.
func exchange(output, previous string) error {
	if err := os.Rename(output, output+exchangeSuffix); err != nil {
		return err
	}
	if err := os.Rename(previous, output); err != nil {
		return err
	}
	return os.Rename(output+exchangeSuffix, previous)
}

// endExchange repairs the result of an interrupted exchange.
func endExchange(output, previous string) error {
	switch {
	case !exists(output + exchangeSuffix):
		return nil
	case !exists(output):
		return os.Rename(output+exchangeSuffix, output)
	}
	return os.Rename(output+exchangeSuffix, previous)
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
