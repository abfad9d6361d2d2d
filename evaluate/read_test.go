package evaluate

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
)

// Whose labels hold: those of the task, of the model, or of the training file.
func TestLabels(t *testing.T) {
	for _, c := range []struct {
		name, task, model, train, dev string
		evaluated, trained, developed string // labels of the sets
	}{
		{"of the model", "text", "b a", "a b", "b", "b a", "b a", "b a"},
		{"of the file", "text", "", "a b", "b", "a b", "a b", "a b"},
		{"of the file in the place of numbers", "text", "LABEL_0 LABEL_1", "no yes", "yes", `unknown label "no"`, "no yes", "no yes"},
		{"numbers of the model's classes", "text", "LABEL_0 LABEL_1 LABEL_2", "0 1", "2", "LABEL_0 LABEL_1 LABEL_2", "LABEL_0 LABEL_1 LABEL_2", "LABEL_0 LABEL_1 LABEL_2"},
		{"of the file in the place of bare numbers", "text", "0 1", "no yes", "yes", `unknown label "no"`, "no yes", "no yes"},
		{"integers as names, some of the model's", "text", "0 1 2", "0 2", "1", "0 1 2", "0 1 2", "0 1 2"},
		{"integers as names, others", "text", "0 1", "1 2", "2", `label 2 is not a class index from 0 to 1`, "1 2", "1 2"},
		{"of a model with another head", "tokens", "a b", "a b", "b", `expected a JSON`, "", ""},
		{"of the task", "sst2", "a b", "0 1", "1", "negative positive", "negative positive", "negative positive"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			file := func(name, labels string) string {
				path := filepath.Join(t.TempDir(), name)
				text := "text,label\n"
				for _, l := range strings.Fields(labels) {
					text += "some text," + l + "\n"
				}
				if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
					t.Fatal(err)
				}
				return path
			}
			train, dev := file("train.csv", c.train), file("dev.csv", c.dev)
			task, err := data.TaskByName(c.task)
			if err != nil {
				t.Fatal(err)
			}
			model, o := checkpoints.Config{Labels: strings.Fields(c.model)}, data.ReadOptions{RequireLabels: true}
			check := func(what, want string, ds *data.Dataset, err error) {
				t.Helper()
				switch {
				case err != nil:
					if !strings.Contains(err.Error(), want) {
						t.Errorf("%s: %v, want %s", what, err, want)
					}
				case strings.Join(ds.Task.Labels, " ") != want:
					t.Errorf("%s: labels %q, want %s", what, ds.Task.Labels, want)
				}
			}
			ds, err := Read(train, task, model, o)
			check("evaluation", c.evaluated, ds, err)
			training, err := ReadTraining(train, task, model, o)
			check("training", c.trained, training, err)
			if err != nil {
				return
			}
			ds, err = ReadDevelopment(dev, task, training, o)
			check("development", c.developed, ds, err)
		})
	}
}
