package compress

import (
	"bytes"
	"cmp"
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/internal/exact"
)

// Row is one line of the report: one step of the recipe. It was measured by running the saved
// model on the development set, with one example at a time for the times.
type Row struct {
	// Name says what the step did.
	Name string `json:"name"`
	// Metric is the task's metric as a fraction, and Interval its 95 % interval (Wilson's for
	// accuracy, a bootstrap's for the others).
	Metric   float64    `json:"metric"`
	Interval [2]float64 `json:"interval"`
	// Test is the metric on the test set with its interval; both are nil without one.
	Test         *float64    `json:"test,omitempty"`
	TestInterval *[2]float64 `json:"test_interval,omitempty"`
	// Calls is how many examples were timed in all passes together.
	Calls int `json:"calls,omitempty"`
	// ExamplesPerSecond is the throughput, the median of several passes.
	ExamplesPerSecond float64 `json:"examples_per_s"`
	// LatencyMS is the median time of one example in milliseconds.
	LatencyMS float64 `json:"latency_ms"`
	// Speedup, Cumulative and AgainstUnpadded are ratios of throughputs: to the row before, to
	// the first row, which is the padded teacher, and to the teacher without padding.
	Speedup         float64 `json:"speedup"`
	Cumulative      float64 `json:"cumulative"`
	AgainstUnpadded float64 `json:"against_unpadded,omitempty"`
	// Scatter is the difference between the throughputs of the fastest and the slowest pass, as a
	// share of the median.
	Scatter float64 `json:"scatter,omitempty"`
	// Parameters is the number of weights. Bytes is the size of the weights as they are stored.
	Parameters int64 `json:"parameters"`
	Bytes      int64 `json:"bytes"`
	// CPUSecondsPer1000 is the processor time for 1,000 examples, over all threads.
	CPUSecondsPer1000 float64 `json:"cpu_s_per_1000"`
	// CostPerMillion is the price of a million examples, from the recipe's price of a machine
	// hour.
	CostPerMillion float64 `json:"cost_per_million"`
	// JoulesPer1000 is the energy for 1,000 examples from the processor's own counter. It is nil
	// if there is no readable counter.
	JoulesPer1000 *float64 `json:"joules_per_1000"`
	// Model is the path of the saved model, relative to the report. Checksum is that of its
	// tensors.
	Model    string `json:"model"`
	Checksum string `json:"checksum"`
}

// Dropped is the model that ended the search under the recipe's max_drop because it lost too
// much.
type Dropped struct {
	// Name is the name of its step, Metric its metric, Limit the lowest metric allowed, and Model
	// the path of the model relative to the report.
	Name   string  `json:"name"`
	Metric float64 `json:"metric"`
	Limit  float64 `json:"limit"`
	Model  string  `json:"model"`
	// None says that no compressed model is within the limit.
	None bool `json:"none"`
}

func (d *Dropped) String() string {
	return fmt.Sprintf("%s reaches %.1f %%, the limit is %.1f %%", d.Name, 100*d.Metric, 100*d.Limit)
}

// Report is the outcome of a run.
type Report struct {
	Task   string `json:"task"`
	Metric string `json:"metric_name"`
	// Examples is the number of development examples behind the metrics, out of Of. TestExamples
	// and TestOf are the same for the test set, 0 if there is none.
	Examples     int `json:"examples"`
	Of           int `json:"of,omitempty"`
	TestExamples int `json:"test_examples,omitempty"`
	TestOf       int `json:"test_of,omitempty"`
	// Output is the directory of the report and the models, as it was given to the run. PaddedTo
	// is the length in tokens to which the first row pads every text.
	Output   string `json:"output,omitempty"`
	PaddedTo int    `json:"padded_to,omitempty"`
	// HeldOut is nil if the development set is a file or generated.
	HeldOut *HeldOut `json:"held_out,omitempty"`
	// Chosen says what was chosen because of the data and the model, and why.
	Chosen []string `json:"chosen,omitempty"`
	// Clock is the clock of the rows' times.
	Clock   string  `json:"clock"`
	Seconds float64 `json:"seconds"`
	// MeasuringSeconds is the part of Seconds that was spent on measuring.
	MeasuringSeconds float64 `json:"measuring_seconds,omitempty"`
	// Continued says that earlier calls did a part of the run. Their time is not in Seconds.
	Continued bool    `json:"continued"`
	Rows      []Row   `json:"rows"`
	Floors    []Floor `json:"floors"`
	// Search lists the teachers that were tried, if there was a search.
	Search []Trial `json:"search,omitempty"`
	// Dropped is nil if no model lost too much.
	Dropped *Dropped `json:"dropped,omitempty"`
	// Target is nil if the recipe has none.
	Target *Target `json:"target,omitempty"`
	// TokenizeMS is the mean time to tokenize one example. The rows do not include it, since it
	// is the same for all.
	TokenizeMS float64 `json:"tokenize_ms"`
	Machine    Machine `json:"machine"`
	Recipe     Recipe  `json:"recipe"`
	// Inputs is a digest of everything that affects a report. A run is finished if its output
	// directory has a report with the same digest.
	Inputs string `json:"inputs"`
}

// columns returns the columns of the table.
func (r *Report) columns() []string {
	if r.TestExamples > 0 {
		return append(columns[:len(columns):len(columns)], "test "+r.Metric+" %", "95 % interval")
	}
	return columns
}

var columns = []string{"step", "metric %", "95 % interval", "examples/s", "median ms", "speed-up", "× unpadded", "cumulative",
	"parameters", "bytes", "CPU s/1000", "cost/million", "J/1000"}

func (r *Report) cells(row Row) []string {
	joules := "n/a"
	if row.JoulesPer1000 != nil {
		joules = significant(*row.JoulesPer1000)
	}
	cells := []string{
		row.Name,
		fmt.Sprintf("%.1f", 100*row.Metric),
		interval(row.Interval),
		significant(row.ExamplesPerSecond),
		significant(row.LatencyMS),
		fmt.Sprintf("%.2f ×", row.Speedup),
		fmt.Sprintf("%.2f ×", row.AgainstUnpadded),
		fmt.Sprintf("%.2f ×", row.Cumulative),
		thousands(row.Parameters),
		thousands(row.Bytes),
		significant(row.CPUSecondsPer1000),
		"$" + significant(row.CostPerMillion),
		joules,
	}
	if row.Test != nil {
		cells = append(cells, fmt.Sprintf("%.1f", 100**row.Test), interval(*row.TestInterval))
	}
	return cells
}

func interval(i [2]float64) string { return fmt.Sprintf("%.1f to %.1f", 100*i[0], 100*i[1]) }

// values returns the numbers behind the cells, by which a page sorts them.
func (r *Report) values(row Row) []any {
	joules := any("")
	if row.JoulesPer1000 != nil {
		joules = *row.JoulesPer1000
	}
	values := []any{row.Name, row.Metric, row.Interval[0], row.ExamplesPerSecond, row.LatencyMS, row.Speedup, row.AgainstUnpadded, row.Cumulative,
		row.Parameters, row.Bytes, row.CPUSecondsPer1000, row.CostPerMillion, joules}
	if row.Test != nil {
		values = append(values, *row.Test, row.TestInterval[0])
	}
	return values
}

// Table returns the rows as aligned text for a terminal.
func (r *Report) Table() string {
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, strings.Join(r.columns(), "\t")+"\t")
	for _, row := range r.Rows {
		fmt.Fprintln(w, strings.Join(r.cells(row), "\t")+"\t")
	}
	w.Flush()
	b.WriteString("\n")
	for _, line := range slices.Concat(r.warnings(), r.notes()) {
		b.WriteString(line + "\n")
	}
	if len(r.Rows) == 0 {
		return b.String()
	}
	fmt.Fprintf(&b, "\n%s\n", r.advice())
	for _, line := range r.Commands() {
		fmt.Fprintf(&b, "    %s\n", line)
	}
	return b.String()
}

// notes returns the lines below the table.
func (r *Report) notes() []string {
	notes := []string{fmt.Sprintf("%s on %s of %s. Every row is measured on its saved model. Times are by the %s, one example at a time, on %s.",
		r.Metric, sampled("development", r.Examples, r.Of), r.Task, cmp.Or(r.Clock, string(clock)), r.Machine)}
	if least := r.leastCalls(); least > 0 {
		notes[0] += fmt.Sprintf(" Each row is timed on at least %s calls, with examples of all lengths.", thousands(int64(least)))
	}
	if r.PaddedTo > 0 {
		notes = append(notes, fmt.Sprintf("The first row pads every text to %d tokens, as programs with inputs of a fixed size do; "+
			"the column cumulative compares with it. The column × unpadded compares with the same teacher without padding.", r.PaddedTo))
	}
	if r.TestExamples > 0 {
		notes = append(notes, fmt.Sprintf("The last column is measured on %s, which affected no choice.", sampled("test", r.TestExamples, r.TestOf)))
	}
	notes = append(notes, r.Chosen...)
	switch d := r.Dropped; {
	case d == nil && r.Recipe.MaxDrop > 0:
		notes = append(notes, fmt.Sprintf("No variant lost more than %g points.", r.Recipe.MaxDrop))
	case d != nil && d.None:
		notes = append(notes, fmt.Sprintf("No model is within %g points of the teacher: %s.", r.Recipe.MaxDrop, d))
	case d != nil:
		notes = append(notes, fmt.Sprintf("The last row is the smallest model within %g points of the teacher: %s.", r.Recipe.MaxDrop, d))
	}
	if r.Target != nil {
		notes = append(notes, r.Target.note())
	}
	for _, f := range r.Floors {
		notes = append(notes, f.note())
	}
	if r.TokenizeMS > 0 {
		notes = append(notes, fmt.Sprintf("Tokenization is not included; it adds %s ms per example to every row.", significant(r.TokenizeMS)))
	}
	took := fmt.Sprintf("The whole run took %.0f s.", r.Seconds)
	if r.Continued {
		took = fmt.Sprintf("The last call took %.0f s; the results of earlier calls were kept.", r.Seconds)
	}
	if r.MeasuringSeconds > 0 {
		took += fmt.Sprintf(" Measuring took %.0f s.", r.MeasuringSeconds)
	}
	return append(notes, fmt.Sprintf("%s Costs assume $%g per machine hour, as the recipe says.", took, r.Recipe.PriceHour))
}

// leastCalls returns the smallest number of calls on which a row was timed, or 0 for reports of
// earlier versions.
func (r *Report) leastCalls() int {
	least := 0
	for i, row := range r.Rows {
		if i == 0 || row.Calls < least {
			least = row.Calls
		}
	}
	return least
}

// sampled says how many examples of a set something was measured on.
func sampled(set string, n, of int) string {
	if of > n {
		return fmt.Sprintf("a sample of %s of the %s %s examples", thousands(int64(n)), thousands(int64(of)), set)
	}
	return fmt.Sprintf("%s %s examples", thousands(int64(n)), set)
}

// Markdown returns the report as a Markdown page.
func (r *Report) Markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s, made cheap\n\n", r.Task)
	for _, line := range append(r.warnings(), r.advice()) {
		b.WriteString(line + "\n\n")
	}
	b.WriteString("```sh\n" + strings.Join(r.Commands(), "\n") + "\n```\n\n```go\n" + r.Go() + "\n```\n\n")
	b.WriteString("| " + strings.Join(r.columns(), " | ") + " |\n")
	b.WriteString("|---" + strings.Repeat("|---:", len(r.columns())-1) + "|\n")
	for _, row := range r.Rows {
		b.WriteString("| " + strings.Join(r.cells(row), " | ") + " |\n")
	}
	b.WriteString("\n")
	for _, line := range r.notes() {
		b.WriteString(line + "\n\n")
	}
	b.WriteString("![accuracy against latency](report.svg)\n")
	return b.String()
}

//go:embed report.html
var pageText string

var page = template.Must(template.New("report").Parse(pageText))

// HTML returns the report as one self-contained page with its picture.
func (r *Report) HTML() ([]byte, error) {
	recipe, err := r.Recipe.YAML()
	if err != nil {
		return nil, err
	}
	type cell struct {
		Text  string
		Value any
	}
	type line struct {
		Number int
		Chosen bool
		Cells  []cell
	}
	var lines []line
	var models []Row
	for i, row := range r.Rows {
		l := line{Number: i + 1, Chosen: i == r.Recommended()}
		values := r.values(row)
		for j, text := range r.cells(row) {
			l.Cells = append(l.Cells, cell{text, values[j]})
		}
		lines = append(lines, l)
		if !slices.ContainsFunc(models, func(m Row) bool { return m.Model == row.Model }) {
			models = append(models, row)
		}
	}
	var b bytes.Buffer
	err = page.Execute(&b, map[string]any{
		"Task": r.Task, "Columns": r.columns(), "Rows": lines, "Notes": r.notes(), "Ship": append(r.warnings(), r.advice()),
		"Commands": strings.Join(r.Commands(), "\n"), "Go": r.Go(), "Picture": template.HTML(r.picture()), "Recipe": string(recipe),
		"Machine": r.Machine, "Models": models,
	})
	return b.Bytes(), err
}

// reportFile is the report as a document. reportFiles lists all files that Write saves.
const reportFile = "report.json"

var reportFiles = []string{reportFile, "report.md", "report.html", "report.svg"}

// Write saves report.json, report.md, report.html and report.svg in dir.
func (r *Report) Write(dir string) error {
	document, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("report.json: %w", err)
	}
	html, err := r.HTML()
	if err != nil {
		return fmt.Errorf("report.html: %w", err)
	}
	// The document says that a run is finished, so it is written last.
	contents := [][]byte{append(document, '\n'), []byte(r.Markdown()), html, r.picture()}
	for i, name := range slices.Backward(reportFiles) {
		if err := checkpoints.WriteBytes(filepath.Join(dir, name), contents[i]); err != nil {
			return err
		}
	}
	return nil
}

// significant formats a number with three significant digits and no exponent.
func significant(x float64) string {
	if x == 0 || math.IsNaN(x) || math.IsInf(x, 0) {
		return strconv.FormatFloat(x, 'f', -1, 64)
	}
	digits := max(0, 2-int(math.Floor(exact.Log10(math.Abs(x)))))
	return strconv.FormatFloat(x, 'f', digits, 64)
}

// thousands formats a number with separators.
func thousands(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
