package shell

import "testing"

func TestLine(t *testing.T) {
	t.Parallel()
	if got, want := Line("skive", []string{"train", "-o", "my model", "it's"}), `skive train -o 'my model' 'it'\''s'`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
