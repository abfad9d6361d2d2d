package train

import (
	"bytes"
	"fmt"
	"html/template"
	"image/color"
	"maps"
	"math"
	"path/filepath"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"

	"github.com/skive-ml/skive/checkpoints"
)

// CurvesFile is the name of the picture of the training curves in an output directory. CurvesPage
// is the name of the page that shows the picture and the evaluations.
const (
	CurvesFile = "curves.svg"
	CurvesPage = "curves.html"
)

// curvePoints is the largest number of points of a line. Longer histories are averaged over
// equally long runs of steps.
const curvePoints = 600

var (
	blue   = color.RGBA{R: 0x1f, G: 0x77, B: 0xb4, A: 0xff}
	orange = color.RGBA{R: 0xff, G: 0x7f, B: 0x0e, A: 0xff}
	grey   = color.RGBA{R: 0x80, G: 0x80, B: 0x80, A: 0xff}
)

// writeCurves writes the picture and the page of the training curves to dir.
func writeCurves(dir, title string, history []Record, evaluations []Evaluation) error {
	if len(history) == 0 {
		return nil
	}
	svg, err := drawCurves(title, history, evaluations)
	if err != nil {
		return fmt.Errorf("training curves: %w", err)
	}
	var page bytes.Buffer
	err = curvesPage.Execute(&page, struct {
		Title       string
		SVG         template.HTML
		Last        Record
		Names       []string
		Evaluations []Evaluation
	}{title, template.HTML(svg[max(0, bytes.Index(svg, []byte("<svg"))):]), history[len(history)-1], metricNames(evaluations), evaluations})
	if err != nil {
		return fmt.Errorf("training curves: %w", err)
	}
	for name, content := range map[string][]byte{CurvesFile: svg, CurvesPage: page.Bytes()} {
		if err := checkpoints.WriteBytes(filepath.Join(dir, name), content); err != nil {
			return err
		}
	}
	return nil
}

var curvesPage = template.Must(template.New("curves").Parse(`<!DOCTYPE html>
<meta charset="utf-8">
<title>{{.Title}}</title>
<style>body{font:15px sans-serif;max-width:45em;margin:2em auto}td,th{padding:.1em 1em .1em 0;text-align:right}svg{max-width:100%;height:auto}</style>
<h1>{{.Title}}</h1>
<p>Step {{.Last.Step}}: loss {{printf "%.4f" .Last.Loss}}, gradient norm {{printf "%.3f" .Last.GradNorm}}.</p>
{{.SVG}}
{{if .Evaluations}}<table><tr><th>step<th>epoch{{range .Names}}<th>{{.}}{{end}}
{{range $e := .Evaluations}}<tr><td>{{$e.Step}}<td>{{printf "%.2f" $e.Epoch}}{{range $.Names}}<td>{{printf "%.4f" (index $e.Metrics .)}}{{end}}
{{end}}</table>{{end}}
`))

// metricNames are the names of the metrics of evaluations.
func metricNames(evaluations []Evaluation) []string {
	if len(evaluations) == 0 {
		return nil
	}
	return slices.Sorted(maps.Keys(evaluations[0].Metrics))
}

// drawCurves draws the loss, the learning rate and the metric on the
// development set over the steps, as SVG.
func drawCurves(title string, history []Record, evaluations []Evaluation) (svg []byte, err error) {
	defer func() {
		if p := recover(); p != nil { // the plotting library panics on numbers that it refuses
			err = fmt.Errorf("%v", p)
		}
	}()
	panels := make([][]*plot.Plot, 0, 3)
	panel := func(name string, xy plotter.XYs, c color.Color, marks bool) error {
		p := plot.New()
		p.Y.Label.Text = name
		if len(panels) == 0 {
			p.Title.Text = title
		}
		line, points, err := plotter.NewLinePoints(xy)
		if err != nil {
			return err
		}
		line.Color = c
		p.Add(plotter.NewGrid(), line)
		p.X.Min, p.X.Max = widen(p.X.Min, p.X.Max)
		p.Y.Min, p.Y.Max = widen(p.Y.Min, p.Y.Max)
		if marks {
			points.Color = c
			points.Shape = draw.CircleGlyph{}
			p.Add(points)
		}
		panels = append(panels, []*plot.Plot{p})
		return nil
	}
	if err := panel("loss", curve(history, func(r Record) float64 { return r.Loss }), blue, false); err != nil {
		return nil, err
	}
	for _, name := range metricNames(evaluations) {
		xy := make(plotter.XYs, len(evaluations))
		for i, e := range evaluations {
			xy[i] = plotter.XY{X: float64(e.Step), Y: e.Metrics[name]}
		}
		if err := panel(name, xy, orange, true); err != nil {
			return nil, err
		}
	}
	if err := panel("learning rate", curve(history, func(r Record) float64 { return r.LR }), grey, false); err != nil {
		return nil, err
	}
	panels[len(panels)-1][0].X.Label.Text = "step"

	canvas := vgsvg.New(16*vg.Centimeter, vg.Length(len(panels))*6*vg.Centimeter)
	tiles := draw.Tiles{Rows: len(panels), Cols: 1, PadX: vg.Millimeter, PadY: 2 * vg.Millimeter}
	cells := plot.Align(panels, tiles, draw.New(canvas))
	for i := range panels {
		panels[i][0].Draw(cells[i][0])
	}
	var out bytes.Buffer
	if _, err := canvas.WriteTo(&out); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// widen widens a range that is a single value, for which the axis would have no ticks.
func widen(lo, hi float64) (float64, float64) {
	if size := max(math.Abs(lo), math.Abs(hi)); hi-lo <= 1e-6*size {
		margin := max(0.05*size, 1e-9)
		return lo - margin, hi + margin
	}
	return lo, hi
}

func curve(history []Record, value func(Record) float64) plotter.XYs {
	run := (len(history) + curvePoints - 1) / curvePoints
	var xy plotter.XYs
	for lo := 0; lo < len(history); lo += run {
		part := history[lo:min(lo+run, len(history))]
		var at plotter.XY
		for _, r := range part {
			at.X += float64(r.Step)
			at.Y += value(r)
		}
		xy = append(xy, plotter.XY{X: at.X / float64(len(part)), Y: at.Y / float64(len(part))})
	}
	return xy
}
