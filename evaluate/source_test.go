package evaluate

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/head"
	"github.com/skive-ml/skive/settings"
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
		ds, err := s.ReadUnlabeled(path, &data.Dataset{Task: data.Task{Labels: []string{"O", "B-LOC"}}, Examples: []data.Example{{Text: "a"}}})
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

// Examples that are added to others have what all of those have.
func TestUnlabeledExamplesAreLikeTheOthers(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "more.txt")
	if err := os.WriteFile(path, []byte("good film\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	for kind, c := range map[head.Kind]struct {
		example data.Example
		want    string // "" where the text alone may be added
	}{
		head.SingleLabel:         {data.Example{Text: "a", Pair: "b"}, "a second text"},
		head.MultiLabel:          {data.Example{Text: "a"}, ""},
		head.MultipleChoice:      {data.Example{Text: "a", Choices: []string{"b", "c"}}, "choices"},
		head.TokenClassification: {data.Example{Text: "a", Words: []string{"a"}}, "words"},
	} {
		s := Source{Task: "text"}
		_, err := s.ReadUnlabeled(path, &data.Dataset{Task: data.Task{Kind: kind}, Examples: []data.Example{c.example}})
		if (err != nil) != (c.want != "") || err != nil && !strings.HasPrefix(err.Error(), path+": example 1 has only one text, expected "+c.want) {
			t.Errorf("%s: %v, want %q", kind, err, c.want)
		}
	}
}

// Either set may be missing; the labels of the training set hold for both.
func TestReadSets(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("text,label\n"+content), 0o666); err != nil {
			t.Fatal(err)
		}
		return path
	}
	two, one := write("two.csv", "a,no\nb,yes\n"), write("one.csv", "a,yes\n")
	for _, c := range []struct {
		train, dev string
		labels     int // of the development set
	}{{two, one, 2}, {two, "", 0}, {"", two, 2}, {"", "", 0}} {
		s := SourceDefaults()
		s.Task, s.Train, s.Dev = "text", c.train, c.dev
		train, dev, err := s.ReadSets(checkpoints.Config{}, false)
		if err != nil || (train != nil) != (c.train != "") || (dev != nil) != (c.dev != "") || dev != nil && len(dev.Task.Labels) != c.labels {
			t.Errorf("%+v, %+v, %v", train, dev, err)
		}
	}
	s := SourceDefaults()
	s.Task, s.Dev = "text", filepath.Join(dir, "missing")
	var wrong *settings.Error
	if _, _, err := s.ReadSets(checkpoints.Config{}, true); !errors.As(err, &wrong) || wrong.Field != "Dev" {
		t.Error(err)
	}
}
