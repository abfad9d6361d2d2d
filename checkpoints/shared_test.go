package checkpoints_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/skive-ml/skive/checkpoints"
)

// copied is a copy of a model's directory with another text in the place of one of its config.json.
func copied(t *testing.T, from, was, is string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "config.json")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(text, []byte(was)) {
		t.Fatalf("%s has no %s", path, was)
	}
	if err := os.WriteFile(path, bytes.Replace(text, []byte(was), []byte(is), 1), 0o666); err != nil {
		t.Fatal(err)
	}
	return dir
}

// A file with more groups of layers than its configuration uses: the others are left out, and said.
func TestGroupsThatNoLayerUses(t *testing.T) {
	t.Parallel()
	dir := copied(t, "../train/testdata/albert", `"num_hidden_groups": 2`, `"num_hidden_groups": 1`)
	for range 10 { // whatever the order of the file's tensors
		m, err := checkpoints.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		if notes := strings.Join(m.Notes, "\n"); !strings.Contains(notes, "left out tensors that the architecture does not have: albert.encoder.albert_layer_groups.1.") {
			t.Errorf("notes %q", m.Notes)
		}
		for _, name := range m.Names() {
			part, inFirst := strings.CutPrefix(name, "bert.encoder.layer.0.")
			if inFirst && !bytes.Equal(m.Tensors[name].Data, m.Tensors["bert.encoder.layer.1."+part].Data) {
				t.Fatalf("%s is not that of both layers", part)
			}
		}
	}
}

// Tensors that are missing are called by the names that they have in files.
func TestMissingTensorsByTheNamesOfFiles(t *testing.T) {
	t.Parallel()
	const family = "../infer/testdata/families/"
	for _, c := range []struct{ from, was, is, want string }{
		{family + "albert_token", `"num_hidden_groups": 1`, `"num_hidden_groups": 3`, "tensor albert.encoder.albert_layer_groups.1.albert_layers.0.attention.query.weight: missing"},
		{family + "albert_token", `"inner_group_num": 1`, `"inner_group_num": 2`, "tensor albert.encoder.albert_layer_groups.0.albert_layers.1.attention.query.weight: missing"},
		{family + "mpnet_token", `"num_hidden_layers": 1`, `"num_hidden_layers": 2`, "tensor mpnet.encoder.layer.1.attention.attn.q.weight: missing"},
	} {
		if _, err := checkpoints.Open(copied(t, c.from, c.was, c.is)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s with %s: %v, want %s", c.from, c.is, err, c.want)
		}
	}
}
