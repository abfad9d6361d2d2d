package compress

import (
	"cmp"
	"fmt"
	"html/template"
	"math"
	"slices"
	"strings"

	"github.com/skive-ml/skive/evaluate"
	"github.com/skive-ml/skive/internal/exact"
)

// Size of the picture, and of the room around its plot.
const (
	pictureWidth = 880
	plotHeight   = 380
	plotLeft     = 70
	plotRight    = 20
	plotTop      = 44
	plotBottom   = 60
	legendLine   = 20
	labelHeight  = 16
)

// A mark is a row in the picture.
type mark struct {
	number             int // number of the row, from 1
	row                Row
	x, y, lower, upper float64
	best               bool // no other row is faster and as good, or better and as fast
	labelX, labelY     float64
}

// front tells for each row whether no other row beats it. A row beats another if it is faster and
// not worse, or better and not slower.
func (r *Report) front() []bool {
	beats := func(a, b Row) bool {
		worse := evaluate.Better(r.Metric, b.Metric, a.Metric)
		better := evaluate.Better(r.Metric, a.Metric, b.Metric)
		return a.LatencyMS <= b.LatencyMS && !worse && (a.LatencyMS < b.LatencyMS || better)
	}
	best := make([]bool, len(r.Rows))
	for i, row := range r.Rows {
		best[i] = !slices.ContainsFunc(r.Rows, func(other Row) bool { return beats(other, row) })
	}
	return best
}

// picture draws the metric against the latency of a call as SVG: a number for each row, a line
// through the rows that no other row beats, and a legend.
func (r *Report) picture() []byte {
	marks := r.marks()
	rows := (len(r.Rows) + 1) / 2 // of the legend
	var b strings.Builder
	height := plotHeight + rows*legendLine + 10
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" class="chart" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-label="%s">`+"\n",
		pictureWidth, height, pictureWidth, height, template.HTMLEscapeString(r.Task+": "+r.Metric+" against latency"))
	b.WriteString(pictureStyle)
	fmt.Fprintf(&b, `<rect class="paper" width="%d" height="%d"/>`+"\n", pictureWidth, height)
	text := func(class string, x, y float64, anchor, s string) {
		fmt.Fprintf(&b, `<text class="%s" x="%.1f" y="%.1f" text-anchor="%s">%s</text>`+"\n", class, x, y, anchor, template.HTMLEscapeString(s))
	}
	text("title", plotLeft, 24, "start", fmt.Sprintf("%s: %s against latency", r.Task, r.Metric))
	x, y := r.axes()
	bottom, right := float64(plotHeight-plotBottom), float64(pictureWidth-plotRight)
	for _, tick := range x.ticks() {
		at := x.place(tick)
		fmt.Fprintf(&b, `<path class="grid" d="M%.1f %dV%.1f"/>`+"\n", at, plotTop, bottom)
		text("tick", at, bottom+18, "middle", fmt.Sprintf("%.3g", tick))
	}
	for _, tick := range y.ticks() {
		at := y.place(tick)
		fmt.Fprintf(&b, `<path class="grid" d="M%d %.1fH%.1f"/>`+"\n", plotLeft, at, right)
		text("tick", plotLeft-8, at+4, "end", fmt.Sprintf("%.4g", tick))
	}
	text("axis", (plotLeft+right)/2, bottom+40, "middle", "median milliseconds of one example (log scale); left is faster")
	fmt.Fprintf(&b, `<text class="axis" transform="translate(16 %.1f) rotate(-90)" text-anchor="middle">%s</text>`+"\n",
		(plotTop+bottom)/2, template.HTMLEscapeString(r.Metric+" (%), 95 % interval"))

	line := ""
	byLatency := slices.SortedFunc(slices.Values(marks), func(a, b mark) int { return cmp.Compare(a.x, b.x) })
	for _, m := range byLatency {
		if m.best {
			line += fmt.Sprintf(" %.1f,%.1f", m.x, m.y)
		}
	}
	fmt.Fprintf(&b, `<polyline class="front" points="%s"/>`+"\n", strings.TrimSpace(line))
	for _, m := range marks {
		class := "mark"
		if m.best {
			class = "mark best"
		}
		fmt.Fprintf(&b, `<g class="%s"><title>%s</title><path d="M%.1f %.1fV%.1f"/><circle cx="%.1f" cy="%.1f" r="5"/></g>`+"\n",
			class, template.HTMLEscapeString(m.row.Name), m.x, m.lower, m.upper, m.x, m.y)
	}
	for _, m := range marks {
		text("number", m.labelX, m.labelY+5, "middle", fmt.Sprint(m.number))
	}
	for i, row := range r.Rows {
		column, under := float64(i/rows), float64(i%rows)
		text("legend", plotLeft+float64(column*((pictureWidth-plotLeft)/2)), plotHeight+10+float64(under*legendLine), "start",
			fmt.Sprintf("%d  %s", i+1, row.Name))
	}
	b.WriteString("</svg>\n")
	return []byte(b.String())
}

// An axis maps values, or their logarithms, to the space between two ends of the picture.
type axis struct {
	least, most float64
	from, to    float64
	log         bool
}

func (a axis) place(v float64) float64 {
	least, most := a.least, a.most
	if a.log {
		v, least, most = exact.Log(v), exact.Log(least), exact.Log(most)
	}
	return a.from + float64((v-least)/(most-least)*(a.to-a.from))
}

// ticks returns 1, 2 and 5 of every decade, or some round numbers.
func (a axis) ticks() (ticks []float64) {
	if a.log {
		for decade := exact.Pow(10, math.Floor(exact.Log10(a.least))); decade <= a.most; decade *= 10 {
			for _, step := range []float64{1, 2, 5} {
				if v := step * decade; v >= a.least && v <= a.most {
					ticks = append(ticks, v)
				}
			}
		}
		return ticks
	}
	step := exact.Pow(10, math.Floor(exact.Log10((a.most-a.least)/2)))
	for _, times := range []float64{5, 2} {
		if (a.most-a.least)/(times*step) >= 3 {
			step *= times
			break
		}
	}
	for n := math.Ceil(a.least / step); n*step <= a.most; n++ {
		ticks = append(ticks, n*step)
	}
	return ticks
}

// axes returns axes that fit the latencies and the intervals of the rows.
func (r *Report) axes() (x, y axis) {
	x = axis{least: math.Inf(1), most: 0, from: plotLeft + 20, to: pictureWidth - plotRight - 20, log: true}
	y = axis{least: math.Inf(1), most: math.Inf(-1), from: plotHeight - plotBottom, to: plotTop}
	for _, row := range r.Rows {
		x.least, x.most = min(x.least, row.LatencyMS), max(x.most, row.LatencyMS)
		y.least, y.most = min(y.least, 100*row.Interval[0], 100*row.Metric), max(y.most, 100*row.Interval[1], 100*row.Metric)
	}
	if !(x.least > 0) || math.IsInf(x.least, 0) || math.IsInf(x.most, 0) {
		x.least, x.most = 1, 1
	}
	if x.most < 1.5*x.least {
		x.least, x.most = x.least/1.25, x.most*1.25
	}
	if math.IsInf(y.least, 0) || math.IsInf(y.most, 0) || math.IsNaN(y.least+y.most) {
		y.least, y.most = 0, 100
	}
	whole := y.most <= 100
	room := max(0.5, float64((y.most-y.least)*0.2))
	y.least, y.most = y.least-room, y.most+room
	if whole { // nothing exceeds 100 %
		y.most = min(y.most, 100+float64((y.most-y.least)*0.08))
	}
	return x, y
}

// marks places the rows, and their numbers so that they cover neither each other nor a mark.
func (r *Report) marks() []mark {
	x, y := r.axes()
	best := r.front()
	marks := make([]mark, len(r.Rows))
	for i, row := range r.Rows {
		marks[i] = mark{
			number: i + 1, row: row, best: best[i], x: x.place(max(row.LatencyMS, x.least)), y: y.place(100 * row.Metric),
			lower: y.place(100 * row.Interval[0]), upper: y.place(100 * row.Interval[1]),
		}
	}
	for i := range marks {
		m := &marks[i]
		for away := 1.0; ; away++ {
			if m.settle(marks, i, away) || away == 8 {
				break
			}
		}
	}
	return marks
}

// settle puts a number at this distance from its mark, beside, above or below it, where there is
// room.
func (m *mark) settle(marks []mark, i int, away float64) bool {
	d := away * labelHeight
	for _, to := range [][2]float64{{0, -d}, {0, d}, {d, -d / 2}, {-d, -d / 2}, {d, d / 2}, {-d, d / 2}} {
		m.labelX, m.labelY = m.x+to[0], m.y+to[1]
		free := m.labelX > plotLeft && m.labelX < pictureWidth-plotRight && m.labelY > plotTop && m.labelY < plotHeight-plotBottom
		for j, other := range marks {
			near := func(x, y float64) bool {
				return math.Abs(m.labelX-x) < labelHeight && math.Abs(m.labelY-y) < labelHeight-2
			}
			free = free && !(near(other.x, other.y) && j != i) && !(j < i && near(other.labelX, other.labelY))
		}
		if free {
			return true
		}
	}
	return false
}

// pictureStyle is the style of the picture, light or dark like the reader's system.
const pictureStyle = `<style>
.chart{--paper:#fff;--ink:#1f2328;--faint:#6a737d;--lines:#d8dee4;--accent:#0b62b8;max-width:100%;height:auto;font:13px system-ui,sans-serif}
@media (prefers-color-scheme:dark){.chart{--paper:#14171a;--ink:#e6e8ea;--faint:#9aa4ad;--lines:#33393f;--accent:#6cb2ff}}
.chart .paper{fill:var(--paper)}.chart text{fill:var(--ink)}.chart .title{font-size:16px;font-weight:600}
.chart .tick,.chart .axis{fill:var(--faint)}.chart .number{font-weight:600;stroke:var(--paper);stroke-width:3px;paint-order:stroke}
.chart .grid{stroke:var(--lines);fill:none}.chart .front{stroke:var(--accent);stroke-width:2;fill:none}
.chart .mark path{stroke:var(--faint)}.chart .mark circle{fill:var(--paper);stroke:var(--faint);stroke-width:2}
.chart .best path{stroke:var(--accent)}.chart .best circle{fill:var(--accent);stroke:var(--accent)}
</style>
`
