package evaluate

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/head"
	"github.com/skive-ml/skive/settings"
)

// Inputs are read as predict answers them: a pair is one sequence, and so is
// each choice with its text.
func TestReadInputs(t *testing.T) {
	t.Parallel()
	m, err := checkpoints.Open(filepath.Join("..", "train", "testdata", "tiny"))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	path := filepath.Join(t.TempDir(), "inputs")
	read := func(m *checkpoints.Model, batch int, inputs ...string) ([]Inputs, error) {
		t.Helper()
		if err := os.WriteFile(path, []byte(strings.Join(inputs, "\n")+"\n"), 0o666); err != nil {
			t.Fatal(err)
		}
		batches, _, err := ReadInputs(m, path, batch, 64)
		return batches, err
	}
	const one, pair, choices = "w1 w2", `{"text": "w1", "text_pair": "w2"}`, `{"text": "w1", "choices": ["w2", "w3 w4"]}`
	chooser := m.Clone()
	chooser.Config.Head = head.MultipleChoice
	for _, c := range []struct {
		model   *checkpoints.Model
		inputs  []string
		offsets []int32
	}{
		{m, []string{one, pair, one}, []int32{0, 4, 9, 13}},
		{chooser, []string{choices, choices, choices}, []int32{0, 5, 11, 16, 22, 27, 33}},
	} {
		batches, err := read(c.model, 8, c.inputs...)
		if err != nil {
			t.Fatal(err)
		}
		if len(batches) != 1 || !slices.Equal(batches[0].Offsets, c.offsets) || batches[0].Examples != 3 {
			t.Errorf("%d batches, the first of %d examples with offsets %v", len(batches), batches[0].Examples, batches[0].Offsets)
		}
		if batches, err = read(c.model, 2, c.inputs...); err != nil || len(batches) != 2 || batches[1].Examples != 1 || len(batches[1].Offsets) != 1+len(c.offsets)/3 {
			t.Errorf("%d batches of 2 inputs (%v)", len(batches), err)
		}
	}
	for _, c := range []struct {
		model *checkpoints.Model
		input string
	}{{m, choices}, {chooser, one}, {chooser, pair}} {
		if _, err := read(c.model, 8, c.input); err == nil || !strings.HasPrefix(err.Error(), path+":1: ") {
			t.Errorf("%s: error %v, want what predict says, and the line", c.input, err)
		}
	}
	lines, err := ReadLines(path)
	if err != nil || len(lines) != 1 || lines[0].Pair != "w2" {
		t.Errorf("%+v, %v", lines, err)
	}
	table := filepath.Join(filepath.Dir(path), "inputs.TSV")
	if err := os.WriteFile(table, []byte("text\tlabel\nw1\tred\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadLines(table); err == nil || !strings.HasPrefix(err.Error(), table+": a table (.TSV), expected one input per line") {
		t.Errorf("a table: %v", err)
	}
	for _, length := range []int{-1, 65} {
		var wrong *settings.Error
		if _, _, err := ReadInputs(m, path, 8, length); !errors.As(err, &wrong) || wrong.Field != "MaxLength" {
			t.Errorf("%d tokens: %v", length, err)
		}
	}
}
