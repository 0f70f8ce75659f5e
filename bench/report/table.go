package report

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
)

// Table writes a result for people.
func Table(w io.Writer, r *Result) error {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s\n%s\n\n", strings.ToUpper(r.Scenario), strings.Repeat("=", len(r.Scenario)))
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, f := range Figures(r) {
		spread := ""
		if s, ok := r.Spread[f.Name]; ok {
			spread = fmt.Sprintf("%s to %s", Number(s[0]), Number(s[1]))
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", f.Name, Number(f.Value), f.Unit, spread)
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("report: table: %w", err)
	}
	if len(r.Phases) > 0 {
		b.WriteString("\nLatencies are p50 / p99 / p999.\n\n")
		phases(&b, r.Phases)
	}
	ending(&b, r)
	_, err := io.WriteString(w, b.String())
	return err
}

// phases are the columns of one table.
func phases(b *strings.Builder, all []Phase) {
	t := tabwriter.NewWriter(b, 0, 0, 2, ' ', tabwriter.AlignRight)
	row := func(name string, value func(p *Phase) string) {
		cells := make([]string, len(all))
		empty := true
		for i := range all {
			cells[i] = value(&all[i])
			empty = empty && cells[i] == ""
		}
		if !empty {
			fmt.Fprintf(t, "%s\t%s\t\n", name, strings.Join(cells, "\t"))
		}
	}
	row("", func(p *Phase) string { return p.Name })
	for _, n := range phaseNumbers() {
		row(n.name, func(p *Phase) string {
			if v := n.value(p); v != 0 {
				return Number(v)
			}
			return ""
		})
	}
	for _, q := range phaseQuantiles() {
		row(q.name+" ms", func(p *Phase) string {
			v := q.value(p)
			if v == nil {
				return ""
			}
			return fmt.Sprintf("%s / %s / %s", Number(v.P50), Number(v.P99), Number(v.P999))
		})
	}
	_ = t.Flush() // into a string
}

// ending is the account, and what to think of it.
func ending(b *strings.Builder, r *Result) {
	t := r.Tally
	fmt.Fprintf(b, "\n%d sent, %d accepted, %d refused for good, %d delivered, %d receipted by %d receipts\n",
		t.Sent, t.Accepted, t.Refused, t.Delivered, t.Receipted, t.Receipts)
	fmt.Fprintf(b, "%d missing, %d duplicates, %d out of order, %d never sent, %d bad receipts, %d unanswered, %d without a receipt, %d corrupt\n",
		t.Missing, t.Duplicates, t.OutOfOrder, t.Phantoms, t.BadReceipts, t.Unanswered, t.Unreceipted, t.Corrupt)
	for _, p := range r.Problems {
		fmt.Fprintf(b, "problem: %s\n", p)
	}
	for _, n := range r.Notes {
		fmt.Fprintf(b, "note: %s\n", n)
	}
	for _, n := range r.Invalid {
		fmt.Fprintf(b, "NOT VALID: %s\n", n)
	}
	if err := r.Failed(); err != nil {
		fmt.Fprintf(b, "FAILED: %v\n", err)
	}
	fmt.Fprintf(b, "\n%s\n", r.Machine)
	if fs := r.FileSystem; fs != nil {
		fmt.Fprintf(b, "data on %s (%s, %s)", fs.Name, fs.Device, fs.Options)
		if fs.Memory {
			b.WriteString(": MEMORY, NOT A DISK")
		}
		b.WriteString("\n")
	}
	fmt.Fprintf(b, "node %s (%s), bench %s; checkpoints every %s\n", r.Node.Version, r.Node.Go, r.Version, r.Node.CheckpointEvery)
	for _, l := range r.Node.Lifted {
		fmt.Fprintf(b, "limit lifted: %s\n", l)
	}
	for _, s := range r.Node.Set {
		fmt.Fprintf(b, "set: %s\n", s)
	}
}

// Number is short and has three digits or more: 12.3, 0.0456, 123,456.
func Number(v float64) string {
	abs := v
	if abs < 0 {
		abs = -abs
	}
	switch {
	case v == 0:
		return "0"
	case abs >= 1000:
		return thousands(strconv.FormatFloat(v, 'f', 0, 64))
	case v == float64(int64(v)):
		return strconv.FormatInt(int64(v), 10)
	case abs >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	default:
		return strconv.FormatFloat(v, 'g', 3, 64)
	}
}

func thousands(s string) string {
	sign := ""
	if s[0] == '-' {
		sign, s = "-", s[1:]
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return sign + s
}
