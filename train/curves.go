package train

import (
	"bytes"
	"fmt"
	"image/color"
	"io"
	"math"
	"sort"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"

	"github.com/skive-ml/skive/checkpoints"
)

// CurvesFile is the name of the picture of the training curves in an output
// directory.
const CurvesFile = "curves.svg"

// curvePoints bounds the number of points drawn for one line; longer histories
// are averaged over equal runs of steps.
const curvePoints = 600

var (
	blue   = color.RGBA{R: 0x1f, G: 0x77, B: 0xb4, A: 0xff}
	orange = color.RGBA{R: 0xff, G: 0x7f, B: 0x0e, A: 0xff}
	grey   = color.RGBA{R: 0x80, G: 0x80, B: 0x80, A: 0xff}
)

// writeCurves draws the loss, the learning rate and the metric on the
// development set over the steps as an SVG file.
func writeCurves(path, title string, history []Record, evaluations []Evaluation) (err error) {
	defer func() {
		if p := recover(); p != nil { // the plotting library's way of refusing numbers
			err = fmt.Errorf("training curves: %v", p)
		}
	}()
	if len(history) == 0 {
		return nil
	}
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
		return fmt.Errorf("training curves: %w", err)
	}
	if len(evaluations) > 0 {
		names := make([]string, 0, len(evaluations[0].Metrics))
		for name := range evaluations[0].Metrics {
			names = append(names, name)
		}
		sort.Strings(names)
		for _, name := range names {
			xy := make(plotter.XYs, len(evaluations))
			for i, e := range evaluations {
				xy[i] = plotter.XY{X: float64(e.Step), Y: e.Metrics[name]}
			}
			if err := panel(name, xy, orange, true); err != nil {
				return fmt.Errorf("training curves: %w", err)
			}
		}
	}
	if err := panel("learning rate", curve(history, func(r Record) float64 { return r.LR }), grey, false); err != nil {
		return fmt.Errorf("training curves: %w", err)
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
		return fmt.Errorf("training curves: %w", err)
	}
	return checkpoints.WriteFile(path, func(w io.Writer) error {
		_, err := out.WriteTo(w)
		return err
	})
}

// widen opens a range of one value, for which the axis would find no marks.
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
