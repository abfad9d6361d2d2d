package textkeys

import "testing"

func TestHeader(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]bool{
		"text,label": true, `"Text","stars"`: true, "sentence\tlabel": true, "id;text;label": true,
		"text": false, "a text, with commas": false, "the label, of course": false, "": false,
	} {
		if Header(line) != want {
			t.Errorf("%q: %v", line, !want)
		}
	}
}
