package data

import (
	"bytes"
	"compress/gzip"
	"strings"
	"testing"
)

// What is read from a stream is what a file of that name holds, and its errors have the
// name.
func TestParse(t *testing.T) {
	t.Parallel()
	const text = `{"text": "a", "label": "x"}` + "\n" + `{"text": "b", "label": "y"}` + "\n"
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	z.Write([]byte(text))
	z.Close()
	for name, stream := range map[string]string{
		"a.jsonl": text, "dir/A.JSONL": text, "a.jsonl.gz": packed.String(), "a.csv": "text,label\na,x\nb,y\n",
	} {
		ds, err := Parse(strings.NewReader(stream), name, task(t, "text"), ReadOptions{RequireLabels: true})
		if err != nil || len(ds.Examples) != 2 || ds.Examples[1].Text != "b" || ds.Examples[1].Label != 1 {
			t.Errorf("%s: %+v, %v", name, ds, err)
		}
	}
	for stream, want := range map[string]string{
		text + "{}\n": `x.jsonl:3: expected the column "text"`,
		"":            "x.jsonl: no examples",
		"\xff\n":      "x.jsonl:1: is not valid UTF-8",
	} {
		if _, err := Parse(strings.NewReader(stream), "x.jsonl", task(t, "text"), ReadOptions{}); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
