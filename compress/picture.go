package compress

import (
	"bytes"
	"fmt"
	"image/color"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// points are the rows as the plotter wants them: cumulative speed-up, metric in
// percent with its interval, and the step's name.
type points []Row

func (p points) Len() int                { return len(p) }
func (p points) XY(i int) (x, y float64) { return p[i].Cumulative, 100 * p[i].Metric }
func (p points) Label(i int) string      { return p[i].Name }
func (p points) YError(i int) (lo, hi float64) {
	return 100 * (p[i].Metric - p[i].Interval[0]), 100 * (p[i].Interval[1] - p[i].Metric)
}

// ratioTicks marks 1, 2 and 5 of every decade.
type ratioTicks struct{}

func (ratioTicks) Ticks(lo, hi float64) (ticks []plot.Tick) {
	for decade := 0.1; decade <= hi; decade *= 10 {
		for _, step := range []float64{1, 2, 5} {
			if x := step * decade; x >= lo && x <= hi {
				ticks = append(ticks, plot.Tick{Value: x, Label: fmt.Sprintf("%.3g×", x)})
			}
		}
	}
	return ticks
}

// picture draws accuracy against speed as SVG.
func (r *Report) picture() ([]byte, error) {
	p := plot.New()
	p.Title.Text = fmt.Sprintf("%s: %s against speed", r.Task, r.Metric)
	p.X.Label.Text = "speed-up over the padded teacher (log scale)"
	p.Y.Label.Text = r.Metric + " (%), 95 % interval"
	p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, ratioTicks{}
	p.Add(plotter.NewGrid())

	rows := points(r.Rows)
	line, marks, err := plotter.NewLinePoints(rows)
	if err != nil {
		return nil, err
	}
	ink := color.RGBA{R: 0x1f, G: 0x5f, B: 0xa8, A: 0xff}
	line.Color, marks.Color = ink, ink
	line.Dashes = []vg.Length{vg.Points(4), vg.Points(3)}
	marks.Shape, marks.Radius = draw.CircleGlyph{}, vg.Points(4)
	bars, err := plotter.NewYErrorBars(rows)
	if err != nil {
		return nil, err
	}
	bars.Color = ink
	names, err := plotter.NewLabels(rows)
	if err != nil {
		return nil, err
	}
	for i := range names.TextStyle {
		names.TextStyle[i].Font.Size = font.Points(10)
		names.TextStyle[i].Rotation = 0.8
	}
	names.Offset = vg.Point{X: vg.Points(7), Y: vg.Points(7)}
	p.Add(line, marks, bars, names)

	// Room for the names at the right and above; a row may be slower than the first.
	least, most := 1.0, 1.0
	for _, row := range r.Rows {
		least, most = min(least, row.Cumulative), max(most, row.Cumulative)
	}
	p.X.Min, p.X.Max = 0.8*least, most*2
	p.Y.Max += float64((p.Y.Max - p.Y.Min) * 0.35)

	canvas := vgsvg.New(9*vg.Inch, 5*vg.Inch)
	margin := vg.Points(10)
	p.Draw(draw.Crop(draw.New(canvas), margin, -margin, margin, -margin))
	var b bytes.Buffer
	_, err = canvas.WriteTo(&b)
	return b.Bytes(), err
}
