package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/head"
)

// A reference is the last entry of the provenance, there once, and the weights stay.
func TestReference(t *testing.T) {
	t.Parallel()
	model := modelOf(t, head.SingleLabel, []string{"bad", "good"}, func(*checkpoints.Config) {})
	dir := t.TempDir()
	data, out := filepath.Join(dir, "texts"), filepath.Join(dir, "out.skive")
	if err := os.WriteFile(data, []byte("good film\n{\"text\": \"bad\", \"text_pair\": \"film\"}\nzebra\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"--model", model}, {"--model", out, "--overwrite"}} {
		if code, _, stderr := execute(t, append([]string{"reference", "-q", "--data", data, "-o", out}, args...)...); code != 0 {
			t.Fatalf("exit %d: %s", code, stderr)
		}
	}
	m, err := checkpoints.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	stages := 0
	for _, s := range m.Provenance {
		if s.Name == "reference" {
			stages++
		}
	}
	last := m.Provenance[len(m.Provenance)-1]
	if stages != 1 || last.Name != "reference" || last.Settings["texts"] != "3" || last.Measured["label/bad"]+last.Measured["label/good"] != 1 || last.Measured["unknown/yes"] <= 0 {
		t.Errorf("%+v", m.Provenance)
	}
	for want, args := range map[string][]string{
		"--data: open ":           {"--model", model, "--data", filepath.Join(dir, "none"), "-o", out + "2"},
		"--overwrite replaces it": {"--model", model, "--data", data, "-o", out},
		"--embedding":             {"--model", model, "--data", data, "-o", out + "2", "--embedding", "model"},
	} {
		if code, _, stderr := execute(t, append([]string{"reference", "-q"}, args...)...); code == 0 || !strings.Contains(stderr, want) || strings.Count(strings.TrimSpace(stderr), "\n") > 0 {
			t.Errorf("%q: exit %d, %s", args, code, stderr)
		}
	}
}
