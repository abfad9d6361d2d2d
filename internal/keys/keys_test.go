package keys

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/skive-ml/skive/settings"
)

// options have a setting of each kind.
type options struct {
	N, Many int
	X       float64
	On      bool
	Text    string
	Sizes   []int
	Cache   settings.Bytes
	Share   *float64
	Parts   []part
}

type part struct{ Share float64 }

func (p *part) settings() settings.Table {
	return settings.Table{{Name: "share", Field: "Share", Value: &p.Share, Shown: true, Doc: "share"}}
}

func (o *options) settings() settings.Table {
	return settings.Table{
		{Name: "number", Field: "N", Value: &o.N, NotZero: true, Doc: "n"},
		{Name: "run.how-many", Field: "Run.Many", Value: &o.Many, Shown: true, NotZero: true, Doc: "many"},
		{Name: "run.x", Field: "Run.X", Value: &o.X, Doc: "x"},
		{Name: "run.active", Field: "Run.On", Value: &o.On, Doc: "on"},
		{Name: "text", Field: "Text", Value: &o.Text, Doc: "text"},
		{Name: "sizes", Field: "Sizes", Value: &o.Sizes, Doc: "sizes"},
		{Name: "cache", Field: "Cache", Value: &o.Cache, Doc: "cache"},
		{Name: "share", Field: "Share", Value: settings.Optional{To: &o.Share, Absent: []string{"model", "-1"}}, Doc: "share"},
		{Name: "parts", Field: "Parts", Value: settings.ListOf(&o.Parts, (*part).settings), Doc: "parts"},
		{Name: "hidden", Field: "Hidden", Value: new(int)},
	}
}

func TestDocuments(t *testing.T) {
	t.Parallel()
	const all = "number: 3\nrun:\n  how_many: 0\n  x: 1.0\n  active: true\ntext: a\nsizes:\n- 1\n- 2\ncache: 4G\nshare: 0.0\nparts:\n- share: 0.5\n- share: 0.0\n"
	for _, c := range []struct {
		name, text, want string // want is what is written of it
	}{
		{"everything", all, all},
		{"nothing", "", "run:\n  how_many: 7\n"},
		{"comments alone", "# nothing\n", "run:\n  how_many: 7\n"},
		{"values of none", "run:\nsizes:\nnumber:\n", "run:\n  how_many: 7\n"},
		{"anchors", "number: &a 2\nrun: &r {how_many: *a, x: 2}\nsizes: [*a, 5]\n", "number: 2\nrun:\n  how_many: 2\n  x: 2.0\nsizes:\n- 2\n- 5\n"},
		{"a merge", "parts: [&p {share: 0.25}, {<<: *p}, {<<: *p, share: 0.75}]", "run:\n  how_many: 7\nparts:\n- share: 0.25\n- share: 0.25\n- share: 0.75\n"},
		{"absent", "share: model", "run:\n  how_many: 7\n"},
		{"absent in earlier words", "share: -1.0", "run:\n  how_many: 7\n"},
		{"JSON", `{"number": 1, "text": "\u00e4", "parts": []}`, "number: 1\nrun:\n  how_many: 7\ntext: ä\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, err := Parse("file", []byte(c.text))
			if err != nil {
				t.Fatal(err)
			}
			o := options{Many: 7}
			if err := d.Set(o.settings()); err != nil {
				t.Fatal(err)
			}
			text, err := Marshal(o.settings())
			if err != nil || string(text) != c.want {
				t.Errorf("%v, written:\n%s\nwant\n%s", err, text, c.want)
			}
		})
	}
}

func TestErrorsTellLineAndKey(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"number: [1":                 "file: not YAML: ",
		"number: 1\nm: 2":            "file:2: m: no such setting",
		"hidden: 1":                  "file:1: hidden: no such setting",
		"run:\n  how-many: 2":        "file:2: run.how-many: no such setting",
		"run: 3":                     "file:1: expected keys with values",
		"- 1":                        "file:1: expected keys with values",
		"number: 0":                  "file:1: number: 0, expected more; without the setting it is the default",
		"\nrun:\n  x: much":          "file:3: run.x: \"much\", expected a number",
		"number: 1.5":                "file:1: number: \"1.5\", expected a whole number",
		"number: {a: 1}":             "file:1: number: a list or a section, expected one value",
		"sizes: 3":                   "file:1: sizes: expected a list",
		"share: -2x":                 "file:1: share: \"-2x\", expected a number or model",
		"cache: [4G]":                "file:1: cache: a list or a section",
		"cache: 4X":                  `file:1: cache: "4X", expected a number of bytes`,
		"parts: {share: 1}":          "file:1: parts: expected a list",
		"parts:\n- share: 1\n- a: 2": "file:3: parts[1].a: no such setting",
		"number: *b":                 "file:1: number: an alias of nothing",
		"run: &r {<<: *r}":           "file:1: expected keys with values",
		"number: 1\n---\nnumber: 2":  "file:3: a second document, expected one",
	} {
		d, err := Parse("file", []byte(text))
		if err == nil {
			var o options
			err = d.Set(o.settings())
		}
		var at *Error
		if err == nil || !errors.As(err, &at) || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: error %v, want one line that begins with %q", text, err, want)
		}
	}
}

// What is found wrong later is told with the line that gives it, or that of the
// section or the element that does not.
func TestLocate(t *testing.T) {
	t.Parallel()
	d, err := Parse("file", []byte("run:\n  how_many: 3\nparts:\n- share: 1\n- share: 2\n"))
	if err != nil {
		t.Fatal(err)
	}
	var o options
	if err := d.Set(o.settings()); err != nil {
		t.Fatal(err)
	}
	for field, want := range map[string]string{
		"Run.Many": "file:2: run.how_many: 3, expected less", "Run.X": "file:1: run.x: 3, expected less", "N": "file: number: 3, expected less",
		"Parts[1].Share": "file:5: parts[1].share: 3, expected less", "Run": "file:1: run: 3, expected less", "Other": "file: Other: 3, expected less",
	} {
		err := d.Locate(settings.Wrong(field, 3, "less"))
		var wrong *settings.Error
		if err.Error() != want || !errors.As(err, &wrong) || wrong.Field != field {
			t.Errorf("%s: %v, want %s", field, err, want)
		}
	}
	if err := d.Locate(nil); err != nil {
		t.Error(err)
	}
}

func TestLists(t *testing.T) {
	t.Parallel()
	d, err := Parse("file", []byte("- share: 1\n- {}\n"))
	if err != nil {
		t.Fatal(err)
	}
	var parts []part
	if err := d.SetList(settings.ListOf(&parts, (*part).settings), "Parts"); err != nil || !slices.Equal(parts, []part{{1}, {0}}) {
		t.Errorf("%v, %v", parts, err)
	}
	if err := d.Locate(settings.Errorf("Parts[1].Share", "too little")); err.Error() != "file:2: [1].share: too little" {
		t.Error(err)
	}
}
