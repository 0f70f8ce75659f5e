package report

import (
	"bytes"
	"fmt"
	"html/template"
	"image/color"
	"math"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"

	"github.com/rookery-im/rookery/bench/load/latency"
)

// The charts' size and colours, the latter told apart also by those who see
// few (Okabe and Ito, 2008).
const (
	chartWidth  = 24 * vg.Centimeter
	chartHeight = 9 * vg.Centimeter
)

func colours() []color.Color {
	return []color.Color{
		color.RGBA{R: 0x00, G: 0x72, B: 0xb2, A: 0xff}, color.RGBA{R: 0xd5, G: 0x5e, B: 0x00, A: 0xff}, color.RGBA{R: 0x00, G: 0x9e, B: 0x73, A: 0xff},
		color.RGBA{R: 0xcc, G: 0x79, B: 0xa7, A: 0xff}, color.RGBA{R: 0xe6, G: 0x9f, B: 0x00, A: 0xff}, color.RGBA{R: 0x56, G: 0xb4, B: 0xe9, A: 0xff},
	}
}

// line of a chart.
type line struct {
	name   string
	points plotter.XYs
}

// chart is one picture.
type chart struct {
	Title string
	SVG   template.HTML
}

// charts of a result: what there are points for.
func charts(r *Result) ([]chart, error) {
	var out []chart
	add := func(title string, draw func() (*plot.Plot, []line)) error {
		p, lines := draw()
		if len(lines) == 0 {
			return nil
		}
		svg, err := render(p, lines)
		if err != nil {
			return fmt.Errorf("report: chart %q: %w", title, err)
		}
		out = append(out, chart{title, svg})
		return nil
	}
	for _, c := range []struct{ key, title string }{
		{"sent", "Send to sent"}, {"deliver", "Send to deliver"}, {"receipt", "Send to receipt"}, {"ping", "Ping to pong"},
	} {
		if err := add(c.title, func() (*plot.Plot, []line) { return byPercentile(r, c.key) }); err != nil {
			return nil, err
		}
	}
	for _, c := range []struct {
		title, axis string
		value       func(Second) float64
	}{
		{"Accepted", "messages a second", func(s Second) float64 { return s.Rate }},
		{"Processor of the node", "cores", func(s Second) float64 { return s.ServerCores }},
		{"Resident memory of the node", "MiB", func(s Second) float64 { return float64(s.Resident) / (1 << 20) }},
	} {
		if err := add(c.title, func() (*plot.Plot, []line) { return overTime(r, c.axis, c.value) }); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// byPercentile is a latency against its percentile, stretched towards the tail:
// each decade of what is slower takes the same room.
func byPercentile(r *Result, key string) (*plot.Plot, []line) {
	p := plot.New()
	p.X.Label.Text, p.Y.Label.Text = "percentile", "ms"
	p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, decades{}
	p.Legend.YOffs = vg.Points(4) // at the bottom right, where no line is
	p.X.Tick.Marker = plot.ConstantTicks{
		{Value: tail(50), Label: "50"}, {Value: tail(90), Label: "90"}, {Value: tail(99), Label: "99"}, {Value: tail(99.9), Label: "99.9"},
		{Value: tail(99.99), Label: "99.99"}, {Value: tail(99.999), Label: "99.999"},
	}
	var lines []line
	for _, ph := range r.Phases {
		var xys plotter.XYs
		for _, pt := range ph.Curves[key] {
			if pt.Percent < 100 { // the longest has no place on this axis
				xys = append(xys, plotter.XY{X: tail(pt.Percent), Y: max(pt.Ms, 0.001)})
			}
		}
		if len(xys) > 1 {
			lines = append(lines, line{ph.Name, xys})
		}
	}
	return p, lines
}

func tail(percent float64) float64 { return -math.Log10(1 - percent/100) }

// decades are the ticks of a logarithmic axis, in plain numbers.
type decades struct{}

func (decades) Ticks(low, high float64) (out []plot.Tick) {
	for v := math.Pow10(int(math.Floor(math.Log10(low)))); v <= high*1.0001; v *= 10 {
		out = append(out, plot.Tick{Value: v, Label: strconv.FormatFloat(v, 'g', -1, 64)})
	}
	return out
}

func overTime(r *Result, axis string, value func(Second) float64) (*plot.Plot, []line) {
	p := plot.New()
	p.X.Label.Text, p.Y.Label.Text = "seconds", axis
	p.Y.Min = 0
	p.Legend.Top, p.Legend.Left = true, true
	var lines []line
	for _, ph := range r.Phases {
		var xys plotter.XYs
		for _, s := range ph.Series {
			xys = append(xys, plotter.XY{X: s.At, Y: value(s)})
		}
		if len(xys) > 1 {
			lines = append(lines, line{ph.Name, xys})
		}
	}
	return p, lines
}

func render(p *plot.Plot, lines []line) (template.HTML, error) {
	p.Add(plotter.NewGrid())
	palette := colours()
	for i, l := range lines {
		drawn, err := plotter.NewLine(l.points)
		if err != nil {
			return "", err
		}
		drawn.Color, drawn.Width = palette[i%len(palette)], vg.Points(1.6)
		p.Add(drawn)
		p.Legend.Add(l.name, drawn)
	}
	c := vgsvg.New(chartWidth, chartHeight)
	p.Draw(draw.New(c))
	var b bytes.Buffer
	if _, err := c.WriteTo(&b); err != nil {
		return "", err
	}
	// Only the picture: what comes before belongs to a file of its own.
	svg := b.Bytes()
	if at := bytes.Index(svg, []byte("<svg")); at >= 0 {
		svg = svg[at:]
	}
	return template.HTML(svg), nil //nolint:gosec // drawn here; names in it are escaped by the canvas
}

// quantilesOf a phase, for the page's table.
func quantilesOf(q *latency.Quantiles) string {
	if q == nil {
		return ""
	}
	return fmt.Sprintf("%s / %s / %s / %s", Number(q.P50), Number(q.P99), Number(q.P999), Number(q.P9999))
}
