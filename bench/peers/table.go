package main

import (
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/rookery-im/rookery/bench/report"
)

// column is one result.
type column struct {
	label  string
	result *report.Result
}

// row is a figure of all columns.
type row struct {
	Name  string
	Cells []string
}

// section is one scenario.
type section struct {
	Scenario string
	Labels   []string
	Rows     []row
	Notes    []string
}

// table sets results side by side, as text; with --html FILE in the first place
// also as a page.
func table(w io.Writer, args []string) error {
	page := ""
	if len(args) > 1 && args[0] == "--html" {
		page, args = args[1], args[2:]
	}
	if len(args) == 0 {
		return fmt.Errorf("table: LABEL=FILE is needed")
	}
	var names []string
	columns := map[string][]column{}
	for _, arg := range args {
		label, path, ok := strings.Cut(arg, "=")
		if !ok {
			return fmt.Errorf("table: %q is not LABEL=FILE", arg)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("table: %w", err)
		}
		r := &report.Result{}
		if err := json.Unmarshal(data, r); err != nil {
			return fmt.Errorf("table: %s: %w", path, err)
		}
		under := r.Scenario
		if before, after, ok := strings.Cut(label, ":"); ok {
			under, label = before, after
		}
		if columns[under] == nil {
			names = append(names, under)
		}
		columns[under] = append(columns[under], column{label, r})
	}
	var sections []section
	for _, name := range names {
		sections = append(sections, newSection(name, columns[name]))
	}
	if err := writeText(w, sections); err != nil {
		return err
	}
	if page == "" {
		return nil
	}
	return writePage(page, sections)
}

func newSection(scenario string, columns []column) section {
	s := section{Scenario: scenario}
	var order []string
	values := map[string][]string{}
	put := func(name string, k int, value string) {
		if values[name] == nil {
			values[name] = make([]string, len(columns))
			order = append(order, name)
		}
		values[name][k] = value
	}
	for k, c := range columns {
		s.Labels = append(s.Labels, c.label)
		for _, f := range report.Figures(c.result) {
			text := report.Number(f.Value)
			if spread, ok := c.result.Spread[f.Name]; ok {
				text += fmt.Sprintf(" (%s to %s)", report.Number(spread[0]), report.Number(spread[1]))
			}
			put(f.Name+", "+f.Unit, k, text)
		}
	}
	for k, c := range columns {
		t := c.result.Tally
		for _, n := range []struct {
			name  string
			value uint64
		}{
			{"accepted", t.Accepted}, {"delivered", t.Delivered}, {"receipted", t.Receipted}, {"refused", t.Refused}, {"MISSING", t.Missing}, {"duplicates", t.Duplicates},
			{"out of order", t.OutOfOrder}, {"unanswered", t.Unanswered}, {"without a receipt", t.Unreceipted},
			{"phantoms, corrupt, bad receipts", t.Phantoms + t.Corrupt + t.BadReceipts},
		} {
			put(n.name, k, report.Number(float64(n.value)))
		}
		put("version", k, c.result.Node.Version)
		for _, n := range c.result.Notes {
			s.Notes = append(s.Notes, c.label+": "+n)
		}
		for _, n := range c.result.Invalid {
			s.Notes = append(s.Notes, c.label+": NOT VALID: "+n)
		}
		for _, n := range c.result.Problems {
			s.Notes = append(s.Notes, c.label+": problem: "+n)
		}
	}
	for _, name := range order {
		r := row{Name: name, Cells: values[name]}
		for k := range r.Cells {
			if r.Cells[k] == "" {
				r.Cells[k] = "-"
			}
		}
		s.Rows = append(s.Rows, r)
	}
	return s
}

func writeText(w io.Writer, sections []section) error {
	for _, s := range sections {
		fmt.Fprintf(w, "\n%s\n\n", strings.ToUpper(s.Scenario))
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
		fmt.Fprintf(t, "\t%s\t\n", strings.Join(s.Labels, "\t"))
		for _, r := range s.Rows {
			fmt.Fprintf(t, "%s\t%s\t\n", r.Name, strings.Join(r.Cells, "\t"))
		}
		if err := t.Flush(); err != nil {
			return fmt.Errorf("table: %w", err)
		}
		for _, n := range s.Notes {
			fmt.Fprintf(w, "note: %s\n", n)
		}
	}
	return nil
}

const pageText = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>rookery bench, beside its peers</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; color: #222; background: #fff; margin: 2rem; }
table { border-collapse: collapse; } td, th { padding: .2rem .9rem .2rem 0; text-align: right; border-bottom: 1px solid #eee; }
td:first-child, th:first-child { text-align: left; }
</style>
<h1>Rookery beside its peers</h1>
<p>What each receipt is, what is stored, and what is not comparable, stands in bench/peers/README.md.</p>
{{range .}}<h2>{{.Scenario}}</h2>
<table><tr><th></th>{{range .Labels}}<th>{{.}}</th>{{end}}</tr>
{{range .Rows}}<tr><td>{{.Name}}</td>{{range .Cells}}<td>{{.}}</td>{{end}}</tr>
{{end}}</table>
<ul>{{range .Notes}}<li>{{.}}</li>{{end}}</ul>
{{end}}</html>
`

func writePage(path string, sections []section) error {
	t, err := template.New("page").Parse(pageText)
	if err != nil {
		return fmt.Errorf("table: %w", err)
	}
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("table: %w", err)
	}
	if err := t.Execute(f, sections); err != nil {
		f.Close()
		return fmt.Errorf("table: %w", err)
	}
	return f.Close()
}
