package report

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// Compare writes two results side by side, and what there is between them that
// makes the comparison unfair.
func Compare(w io.Writer, a, b *Result) error {
	if a.Scenario != b.Scenario {
		return fmt.Errorf("report: %s and %s are not the same scenario", a.Scenario, b.Scenario)
	}
	var s strings.Builder
	fmt.Fprintf(&s, "%s: A of %s, B of %s\n\n", a.Scenario, a.Started.Format("2006-01-02 15:04"), b.Started.Format("2006-01-02 15:04"))
	t := tabwriter.NewWriter(&s, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\tA\tB\tB over A\t")
	inA := map[string]Figure{}
	for _, f := range Figures(a) {
		inA[f.Name] = f
	}
	seen := map[string]bool{}
	for _, f := range Figures(b) {
		seen[f.Name] = true
		before, ok := inA[f.Name]
		if !ok {
			fmt.Fprintf(t, "%s\t-\t%s\t\t%s\n", f.Name, Number(f.Value), f.Unit)
			continue
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%.2f%s\t%s\n", f.Name, cell(a, before), cell(b, f), f.Value/before.Value, verdict(a, b, before, f), f.Unit)
	}
	for _, f := range Figures(a) {
		if !seen[f.Name] {
			fmt.Fprintf(t, "%s\t%s\t-\t\t%s\n", f.Name, Number(f.Value), f.Unit)
		}
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("report: compare: %w", err)
	}
	for _, n := range unfair(a, b) {
		fmt.Fprintf(&s, "\ncareful: %s", n)
	}
	s.WriteString("\n")
	_, err := io.WriteString(w, s.String())
	return err
}

func cell(r *Result, f Figure) string {
	if s, ok := r.Spread[f.Name]; ok {
		return fmt.Sprintf("%s (%s to %s)", Number(f.Value), Number(s[0]), Number(s[1]))
	}
	return Number(f.Value)
}

// verdict calls a difference one only where the spreads do not overlap; of
// single runs nothing is known but that.
func verdict(a, b *Result, before, after Figure) string {
	sa, okA := a.Spread[before.Name]
	sb, okB := b.Spread[after.Name]
	if !okA || !okB || before.Better == Neither {
		return ""
	}
	up, down := sb[0] > sa[1], sb[1] < sa[0]
	switch {
	case !up && !down:
		return " ~"
	case up == (before.Better == Higher):
		return " better"
	default:
		return " worse"
	}
}

func unfair(a, b *Result) (out []string) {
	differ := func(what string, x, y any) {
		if x != y {
			out = append(out, fmt.Sprintf("%s differs: %v, %v", what, x, y))
		}
	}
	differ("the machine", a.Machine.String(), b.Machine.String())
	differ("the checkpoint interval", a.Node.CheckpointEvery, b.Node.CheckpointEvery)
	if a.FileSystem != nil && b.FileSystem != nil {
		differ("the file system", a.FileSystem.Name, b.FileSystem.Name)
	}
	differ("limits lifted", strings.Join(a.Node.Lifted, "; "), strings.Join(b.Node.Lifted, "; "))
	differ("flags", flags(a.Command), flags(b.Command))
	for i, r := range []*Result{a, b} {
		name := string(rune('A' + i))
		if !r.Valid {
			out = append(out, name+" is not valid: "+strings.Join(r.Invalid, "; "))
		}
		if err := r.Failed(); err != nil {
			out = append(out, name+" failed: "+err.Error())
		}
		if len(r.Runs) < 3 {
			out = append(out, name+" is fewer than three runs: its spread is not known")
		}
	}
	return out
}

// flags of a command, but for where its output goes.
func flags(command []string) string {
	var out []string
	for i := 0; i < len(command); i++ {
		name, _, inline := strings.Cut(strings.TrimLeft(command[i], "-"), "=")
		if i == 0 {
			continue // the binary's path
		}
		if strings.HasPrefix(command[i], "-") && (name == "json" || name == "html") {
			if !inline {
				i++
			}
			continue
		}
		out = append(out, command[i])
	}
	return strings.Join(out, " ")
}
