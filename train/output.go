package train

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/settings"
)

// CheckOutput reports what an earlier run left in the output directory of Run or RunSeeds, as a
// *checkpoints.ExistsError: its state, its model, or runs with several seeds.
func CheckOutput(dir string) error {
	if err := checkRun(dir); err != nil {
		return err
	}
	seeds, err := filepath.Glob(filepath.Join(escape(dir), seedPrefix+"*", StateDir, stateFile))
	if err != nil || len(seeds) == 0 {
		return err
	}
	return &checkpoints.ExistsError{Path: dir, What: "runs under seeds are there", Resumable: true}
}

// escape returns a pattern that matches exactly this path.
func escape(path string) string {
	var pattern []byte
	for i := range len(path) {
		if c := path[i]; c == '*' || c == '?' || c == '[' {
			pattern = append(pattern, '[', c, ']')
		} else {
			pattern = append(pattern, c)
		}
	}
	return string(pattern)
}

// checkRun is CheckOutput for a single run.
func checkRun(dir string) error {
	var h stateHeader
	switch _, err := checkpoints.ReadState(filepath.Join(dir, StateDir, stateFile), &h); {
	case errors.Is(err, fs.ErrNotExist):
		return checkpoints.CheckFree(dir)
	case err != nil:
		return err
	case h.Finished:
		return &checkpoints.ExistsError{Path: dir, What: "a finished run is there"}
	}
	return &checkpoints.ExistsError{Path: dir, What: fmt.Sprintf("an unfinished run is there, at step %d of %d", h.Step, h.Total), Resumable: true}
}

// CheckOutputs reports what a run with these options would replace in Output, Log and
// TensorBoard, as CheckOutput does. With Resume or Overwrite it returns nil.
func (o *Options) CheckOutputs() error {
	if o.Resume || o.Overwrite {
		return nil
	}
	if o.Output != "" {
		if err := checkRun(o.Output); err != nil {
			return settings.Errorf("Output", "%w", err)
		}
	}
	if o.Log != "" {
		if info, err := os.Stat(o.Log); err == nil && info.Mode().IsRegular() {
			if err := checkpoints.CheckFree(o.Log); err != nil {
				return settings.Errorf("Log", "%w", err)
			}
		}
	}
	if o.TensorBoard != "" {
		if err := checkpoints.CheckFree(filepath.Join(o.TensorBoard, EventsFile)); err != nil {
			return settings.Errorf("TensorBoard", "%w", err)
		}
	}
	return nil
}

// TryOutputs tests whether Output, Log and TensorBoard can be written, see
// checkpoints.TryDirectory.
func (o *Options) TryOutputs() error {
	for _, x := range []struct {
		field, path string
		try         func(path string) error
	}{{"Output", o.Output, checkpoints.TryDirectory}, {"Log", o.Log, tryLog}, {"TensorBoard", o.TensorBoard, checkpoints.TryDirectory}} {
		if x.path == "" {
			continue
		}
		if err := x.try(x.path); err != nil {
			return settings.Errorf(x.field, "%w", err)
		}
	}
	return nil
}

// tryLog accepts anything that exists and is not a directory: a log may go to a terminal or a
// pipe.
func tryLog(path string) error {
	if info, err := os.Stat(path); err == nil && !info.IsDir() {
		return nil
	}
	return checkpoints.TryFile(path)
}

// Claim reserves the files that a run with these options writes, see checkpoints.Claim.
func (o *Options) Claim(ctx context.Context) (_ context.Context, release func(), err error) {
	var held []func()
	release = func() {
		for _, one := range slices.Backward(held) {
			one()
		}
	}
	for _, x := range []struct{ field, path string }{{"Output", o.Output}, {"Log", o.Log}, {"TensorBoard", o.TensorBoard}} {
		if info, err := os.Stat(x.path); x.path == "" || err == nil && !info.IsDir() && !info.Mode().IsRegular() {
			continue // a log may go to a terminal or a pipe
		}
		var one func()
		if ctx, one, err = checkpoints.Claim(ctx, x.path); err != nil {
			release()
			return nil, nil, settings.Errorf(x.field, "%w", err)
		}
		held = append(held, one)
	}
	return ctx, release, nil
}

// checkModel reports a model in the output directory that does not belong to the saved state.
// During a run the model may be later than the state.
func (f *fit) checkModel(m *checkpoints.Model, s *savedState) error {
	other := func(format string, args ...any) error {
		return &OtherModelError{f.o.Output, fmt.Sprintf(format, args...)}
	}
	var made checkpoints.Stage
	if n := len(m.Provenance); n > 0 {
		made = m.Provenance[n-1]
	}
	for _, name := range slices.Sorted(maps.Keys(f.settings)) {
		if was, is := made.Settings[name], f.settings[name]; was != is {
			return other("its %s is %q, the run's %q", name, was, is)
		}
	}
	h := &s.header
	if !h.Finished {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(h.Best.Metrics)) {
		if was, is := made.Measured["dev_"+name], h.Best.Metrics[name]; was != is {
			return other("its %s is %v, that of the run's best %v", name, was, is)
		}
	}
	if h.Model != "" && h.Model != Checksum(m) {
		return other("its weights have been changed")
	}
	return nil
}
