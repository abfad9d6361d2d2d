package train

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"github.com/skive-ml/skive/checkpoints"
)

// StateDir is the directory of the training state inside an output directory.
const StateDir = "state"

// LastDir is the directory of the last model inside an output directory, see
// Options.KeepLast.
const LastDir = "last"

const stateFile = "training.state"

// stateHeader is the part of a training state that is not tensors.
type stateHeader struct {
	// Step is the number of steps done, Total that of the whole run. They are all that is needed
	// to find the place in the data, since the order of examples follows from the settings.
	// Dropout depends on seed and step only, so there is no generator state to save.
	Step        int               `msgpack:"step"`
	Total       int               `msgpack:"total"`
	Finished    bool              `msgpack:"finished"`
	Settings    map[string]string `msgpack:"settings"`
	Best        Evaluation        `msgpack:"best"`
	Evaluations []Evaluation      `msgpack:"evaluations"`
	History     []Record          `msgpack:"history"`
	Tokens      int64             `msgpack:"tokens"`
	Seconds     float64           `msgpack:"seconds"`
	// Model is the checksum of the best model if the run is finished.
	Model string `msgpack:"model,omitempty"`
}

type savedState struct {
	header   stateHeader
	sections []checkpoints.Section
}

// save writes the training state and the curves. The state of a finished run holds the last
// weights but no moments.
func (f *fit) save(step int, finished bool) error {
	if f.o.Output == "" {
		return nil
	}
	var sections []checkpoints.Section
	for _, p := range f.optimizer.parameters {
		sections = append(sections, checkpoints.Section{Name: "weights/" + p.name, Data: p.weights})
		if !finished {
			sections = append(sections,
				checkpoints.Section{Name: "m/" + p.name, Data: p.m}, checkpoints.Section{Name: "v/" + p.name, Data: p.v})
		}
	}
	r := f.result
	// These are written before the state. A run that is killed in between writes them again.
	shown := errors.Join(f.log.flush(), f.events.flush(), writeCurves(f.o.Output, f.o.stage(), r.History, r.Evaluations))
	err := checkpoints.WriteState(f.statePath(), checkpoints.State{
		Header: stateHeader{
			Step: step, Total: f.total, Finished: finished, Settings: f.settings, Best: r.Best,
			Evaluations: r.Evaluations, History: r.History, Tokens: r.Tokens, Seconds: f.seconds(), Model: f.checksum,
		},
		Sections: sections,
	})
	if err == nil {
		f.saved = step
	}
	return errors.Join(shown, err)
}

// readState reads the state in the output directory and checks that it belongs to this run. It
// returns nil if there is none.
func (f *fit) readState() (*savedState, error) {
	s := &savedState{}
	path := f.statePath()
	var err error
	s.sections, err = checkpoints.ReadState(path, &s.header)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	names := make(map[string]bool)
	for name := range f.settings {
		names[name] = true
	}
	for name := range s.header.Settings {
		names[name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if was, is := s.header.Settings[name], f.settings[name]; was != is {
			return nil, &SettingsError{Path: path, Setting: name, Saved: was, Given: is}
		}
	}
	return s, nil
}

// restore sets the run to the saved state.
func (f *fit) restore(s *savedState) error {
	byName := make(map[string][]float32, len(s.sections))
	for _, section := range s.sections {
		byName[section.Name] = section.Data
	}
	for _, p := range f.optimizer.parameters {
		for _, part := range []struct {
			prefix string
			dst    []float32
		}{{"weights/", p.weights}, {"m/", p.m}, {"v/", p.v}} {
			src, ok := byName[part.prefix+p.name]
			if !ok || len(src) != len(part.dst) {
				return fmt.Errorf("%s: section %q has %d values, want %d: %w", f.statePath(), part.prefix+p.name, len(src), len(part.dst), checkpoints.ErrCorrupt)
			}
			copy(part.dst, src)
		}
	}
	if s.header.Total != f.total || s.header.Step < 1 || s.header.Step > f.total {
		return fmt.Errorf("%s: step %d of %d, this run has %d steps: %w", f.statePath(), s.header.Step, s.header.Total, f.total, checkpoints.ErrCorrupt)
	}
	f.optimizer.restored()
	f.takeHistory(s)
	f.saved = s.header.Step
	return nil
}

func (f *fit) takeHistory(s *savedState) {
	r, h := f.result, &s.header
	r.Best, r.Evaluations, r.History, r.Tokens = h.Best, h.Evaluations, h.History, h.Tokens
	f.before = h.Seconds
}
