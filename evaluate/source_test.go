package evaluate

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/skive-ml/skive/head"
)

// Labels that a file of unlabelled examples holds are not read, of words neither.
func TestUnlabeledExamplesHaveNoLabels(t *testing.T) {
	t.Parallel()
	for task, content := range map[string]string{
		"tokens":     "good O\nparis B-LOC\n",
		"multilabel": `{"text": "good film", "label": ["B-LOC"]}`,
		"regression": `{"text": "good film", "label": 2.5}`,
	} {
		extension := map[string]string{"tokens": ".conll"}[task]
		path := filepath.Join(t.TempDir(), "more"+extension)
		if extension == "" {
			path += ".jsonl"
		}
		if err := os.WriteFile(path, []byte(content+"\n"), 0o666); err != nil {
			t.Fatal(err)
		}
		s := Source{Task: task}
		ds, err := s.ReadUnlabeled(path, []string{"O", "B-LOC"})
		if err != nil {
			t.Fatal(err)
		}
		if e := ds.Examples[0]; len(ds.Examples) != 1 || e.Label != -1 || len(e.Labels) > 0 || e.Value != 0 {
			t.Errorf("%s: %+v", task, ds.Examples)
		}
		if ds.Task.Kind == head.TokenClassification && len(ds.Examples[0].Words) != 2 {
			t.Errorf("%s: words %v", task, ds.Examples[0].Words)
		}
	}
}
