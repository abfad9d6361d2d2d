package data

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func written(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// A model of which a class is called by an integer has names: an integer is never the
// place of a class then, however the file writes it.
func TestNamesThatArePartlyIntegers(t *testing.T) {
	t.Parallel()
	task, err := TaskByName("text")
	if err != nil {
		t.Fatal(err)
	}
	model := []string{"1", "2", "unknown"}
	task.Labels = model
	for name, text := range map[string]string{
		"table.csv":     "text,label\na,1\nb,2\nc,unknown\n",
		"strings.jsonl": `{"text": "a", "label": "1"}` + "\n" + `{"text": "b", "label": "2"}` + "\n" + `{"text": "c", "label": "unknown"}` + "\n",
		"numbers.jsonl": `{"text": "a", "label": 1}` + "\n" + `{"text": "b", "label": 2}` + "\n" + `{"text": "c", "label": "unknown"}` + "\n",
	} {
		ds, err := Read(written(t, name, text), task, ReadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		var got []int
		for _, e := range ds.Examples {
			got = append(got, e.Label)
		}
		if !slices.Equal(got, []int{0, 1, 2}) || ds.Numbered {
			t.Errorf("%s: classes %v, numbered %v", name, got, ds.Numbered)
		}
	}
	if _, err := Read(written(t, "zero.csv", "text,label\na,0\n"), task, ReadOptions{}); err == nil || !strings.Contains(err.Error(), `unknown label "0"`) {
		t.Errorf("a number that no class is called by: %v", err)
	}
	if order, err := MatchLabels([]string{"1", "2"}, model); err != nil || !slices.Equal(order, []int{0, 1}) {
		t.Errorf("labels 1 and 2 are the classes %v: %v", order, err)
	}
}

// A column that is likely to be meant for the second text is not passed over.
func TestSecondTextsWithASlip(t *testing.T) {
	t.Parallel()
	task, err := TaskByName("text")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"Text_Pair", "text pair", "textPair", "txt_pair", "text_b", "text2", "pair"} {
		for file, text := range map[string]string{
			"d.csv":   "text," + name + ",label\na,b,x\n",
			"d.jsonl": `{"text": "a", "` + name + `": "b", "label": "x"}` + "\n",
		} {
			path := written(t, file, text)
			var column *ColumnError
			if _, err := Read(path, task, ReadOptions{}); !errors.As(err, &column) || column.Option != "PairColumn" || !strings.Contains(err.Error(), name) {
				t.Errorf("%s in %s: %v", name, file, err)
			}
			if ds, err := Read(path, task, ReadOptions{PairColumn: name}); err != nil || !ds.Examples[0].HasPair {
				t.Errorf("%s named in %s: %v", name, file, err)
			}
		}
	}
	for _, name := range []string{"id", "label_text", "title", "idx", "context"} {
		if _, err := Read(written(t, "d.csv", "text,"+name+",label\na,b,x\n"), task, ReadOptions{}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
