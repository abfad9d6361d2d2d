package data

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/skive-ml/skive/head"
	"github.com/skive-ml/skive/internal/headtest"
)

// Every head has a row that says how its examples are read, encoded and measured.
func TestEveryHeadHasARow(t *testing.T) {
	t.Parallel()
	headtest.Rows(t, kinds)
	headtest.Rows(t, truths)
	for name, k := range kinds {
		if k.label == nil && k.records == nil || k.encode == nil || k.metrics == nil {
			t.Errorf("%s cannot be read, encoded or measured", name)
		}
		if rows := name.Subject() != head.Masks; rows != (k.measure != nil) || rows != (k.answered != nil) {
			t.Errorf("%s: outputs that are rows of the examples are measured, and no others", name)
		}
		for _, metric := range name.Metrics() {
			if k.metrics(&Outcome{Task: Task{Kind: name}})[metric] == nil {
				t.Errorf("%s has no metric %s", name, metric)
			}
		}
	}
	for _, task := range definitions {
		if _, err := task.kindOf(); err != nil {
			t.Error(err)
		}
	}
}

// A kind that there is not is refused.
func TestUnknownKinds(t *testing.T) {
	t.Parallel()
	task := Task{Name: "spans", Kind: "spans"}
	const want = `task "spans": unknown kind "spans"`
	if _, err := Encode(&Dataset{Task: task, Examples: []Example{{Text: "a"}}}, nil, 0); err == nil || err.Error() != want {
		t.Errorf("encoding: %v, want %s", err, want)
	}
	if _, err := parse("spans.jsonl", "spans.jsonl", []byte(`{"text": "a", "label": 1}`), task, ReadOptions{}); err == nil || err.Error() != "spans.jsonl: "+want {
		t.Errorf("reading: %v, want %s", err, want)
	}
	if _, err := (&Outcome{Task: task, Unit: []int32{0}}).Metric("accuracy"); err == nil {
		t.Error("it is measured")
	}
}

// What tells a task from the others stands in its definition: nothing asks for its
// name.
func TestTasksAreNotCompared(t *testing.T) {
	t.Parallel()
	names := strings.Join(TaskNames(), "|")
	compared := regexp.MustCompile(`(?i)(name|task) *[!=]= *"(` + names + `)"|"(` + names + `)" *[!=]= *\w+`)
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "testdata" || d.Name() == "attack" || path != ".." && strings.HasPrefix(d.Name(), ".")):
			return filepath.SkipDir // the attack knows what it made
		case !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		text, err := os.ReadFile(path)
		for _, found := range compared.FindAllString(string(text), -1) {
			t.Errorf("%s: %s", path, found)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
