package compress

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/skive-ml/skive/data/reviews"
	"github.com/skive-ml/skive/distill"
	"github.com/skive-ml/skive/settings"
)

// docs/recipe.md has every key of a recipe, as the tables of settings describe them.
func TestRecipeIsDocumented(t *testing.T) {
	t.Parallel()
	var page strings.Builder
	page.WriteString(`# Recipe

This page is generated from the program's tables of settings. A recipe is a YAML file for
` + "`skive compress --recipe`" + `; ` + "`skive compress --print-recipe`" + ` prints one. Settings that it leaves out have their defaults.
Epochs, batch size, rate and patience of a training depend on the data and the model if they are left out. Flags
override the file. Errors name the line and the key.

` + "```yaml" + `
model: models/bert
task: text
train: reviews.csv
teacher: {epochs: 3, lr: 3.0e-5}
student: {layers: 3}
prune:
  - {heads: 0.25, ffn: 0.25}
max_drop: 0.5
` + "```" + `
`)
	r := ForModel("", "", "", "")
	r.Architecture, r.Reviews = &Architecture{}, &Reviews{}
	aware := r.Recover
	r.QuantizeAware = &aware
	sections := map[string]settings.Table{}
	order := []string{""}
	titles := map[string]string{
		"": "The whole recipe", "architecture": "architecture: a teacher that is trained from scratch, without a model",
		"reviews": "reviews: the generated task", "teacher": "teacher: its training", "student": "student: its size",
		"distill": "distill: from the teacher to the student", "recover": "recover: after each cut", "quantize-aware": "quantize_aware: with the arithmetic of int8",
	}
	r.Task = reviews.Name
	for _, s := range r.Settings() {
		section, name, nested := strings.Cut(s.Name, ".")
		if !nested {
			section, name = "", s.Name
		}
		if sections[section] == nil && section != "" {
			order = append(order, section)
		}
		s.Name = name
		sections[section] = append(sections[section], s)
	}
	table := func(t settings.Table) {
		page.WriteString("\n| key | what it says | default |\n|---|---|---|\n")
		for _, s := range t {
			if s.Doc == "" { // which Go programs alone set
				continue
			}
			key := strings.ReplaceAll(s.Name, "-", "_")
			doc := regexp.MustCompile(`\{([\w-]+)\}`).ReplaceAllStringFunc(s.Doc, func(name string) string {
				return "`" + strings.ReplaceAll(strings.Trim(name, "{}"), "-", "_") + "`"
			})
			value := ""
			if text := fmt.Sprint(s.Get()); !s.IsZero() {
				if _, list := s.Value.(settings.List); !list {
					value = "`" + text + "`"
				}
			}
			fmt.Fprintf(&page, "| `%s` | %s | %s |\n", key, strings.ReplaceAll(doc, "|", `\|`), value)
		}
	}
	r.Task = ""
	for _, section := range order {
		title, ok := titles[section]
		if !ok {
			t.Errorf("no title for the section %s", section)
		}
		page.WriteString("\n## " + title + "\n")
		switch section {
		case "recover", "quantize-aware":
			page.WriteString("\nThe keys of `distill`. ")
			if section == "recover" {
				page.WriteString("By default only the losses `soft` and `hard` have a weight.\n")
			} else {
				page.WriteString("`activations` is `dynamic`, or `static` with learned scales. Other defaults are those of `recover`.\n")
			}
			continue
		}
		table(sections[section])
	}
	page.WriteString("\n## prune: a list of variants\n\nEach is cut from the one before it.\n")
	table((&Pruning{}).Settings())
	page.WriteString("\n## stages: a list of distillations\n\nA key of `distill` and `recover` that replaces their losses.\n")
	table((&distill.Stage{}).Settings())

	path := filepath.Join("..", "docs", "recipe.md")
	if *generate {
		if err := os.WriteFile(path, []byte(page.String()), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	committed, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if strings.ReplaceAll(string(committed), "\r\n", "\n") != page.String() {
		t.Error("docs/recipe.md is not what the tables of settings say: go generate ./compress writes it")
	}
}
