package report

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"strings"
)

//go:embed page.html
var pageText string

// page is what the template shows.
type page struct {
	*Result
	Verdict  string
	Figures  []Figure
	Rows     []pageRow
	Charts   []chart
	Commands string
	Failure  string
}

type pageRow struct {
	Name  string
	Cells []string
}

// HTML writes a page that needs nothing but itself: figures, phases, charts,
// and what a reader must know to believe them.
func HTML(w io.Writer, r *Result) error {
	t, err := template.New("page").Funcs(template.FuncMap{
		"number": Number,
		"spread": func(r *Result, name string) string {
			if s, ok := r.Spread[name]; ok {
				return fmt.Sprintf("%s to %s", Number(s[0]), Number(s[1]))
			}
			return ""
		},
	}).Parse(pageText)
	if err != nil {
		return fmt.Errorf("report: page: %w", err)
	}
	p := page{Result: r, Verdict: "ok", Figures: Figures(r), Rows: pageRows(r.Phases), Commands: strings.Join(r.Command, " ")}
	if p.Charts, err = charts(r); err != nil {
		return err
	}
	switch err := r.Failed(); {
	case err != nil:
		p.Verdict, p.Failure = "failed", err.Error()
	case !r.Valid:
		p.Verdict = "not valid"
	}
	if err := t.Execute(w, p); err != nil {
		return fmt.Errorf("report: page: %w", err)
	}
	return nil
}

// pageRows are the phases' figures, one row each.
func pageRows(phases []Phase) []pageRow {
	var out []pageRow
	add := func(name string, value func(p *Phase) string) {
		row := pageRow{Name: name}
		empty := true
		for i := range phases {
			row.Cells = append(row.Cells, value(&phases[i]))
			empty = empty && row.Cells[i] == ""
		}
		if !empty {
			out = append(out, row)
		}
	}
	for _, n := range phaseNumbers() {
		add(n.name, func(p *Phase) string {
			if v := n.value(p); v != 0 {
				return Number(v)
			}
			return ""
		})
	}
	for _, q := range phaseQuantiles() {
		add(q.name+" ms, p50 / p99 / p999 / p9999", func(p *Phase) string { return quantilesOf(q.value(p)) })
	}
	return out
}
