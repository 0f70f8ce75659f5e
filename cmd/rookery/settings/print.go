package settings

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"
)

// YAML is the configuration as a file that gives the same one, with what each
// setting is and where its value comes from.
func (e *Effective) YAML() (string, error) {
	return render("# The configuration of a node, as `rookery config` sees it; a valid configuration file.\n",
		func(s Setting) (string, error) {
			if s.beside {
				return comment(s.Doc+". Here: "+lines(s, &e.Config)+" ("+e.origin(s)+"); cannot stand in a file", "# "), nil
			}
			entry, err := entry(s, &e.Config)
			return comment(sentence(s), "# ") + "# From: " + e.origin(s) + "\n" + entry, err
		})
}

// Template is a file with every setting at its default, commented out.
func Template() (string, error) {
	standard := Default()
	return render("# A configuration file for a node. Every line is at its default; uncomment what is to differ.\n",
		func(s Setting) (string, error) {
			if s.beside {
				return "", nil
			}
			entry, err := entry(s, &standard)
			return comment(sentence(s), "# ") + comment(entry, "#"), err
		})
}

func render(head string, one func(Setting) (string, error)) (string, error) {
	var b strings.Builder
	b.WriteString(head)
	for _, t := range Topics() {
		var part strings.Builder
		for _, s := range t.Settings {
			text, err := one(s)
			if err != nil {
				return "", fmt.Errorf("print %s: %w", s.Name, err)
			}
			if text != "" {
				part.WriteString("\n" + text)
			}
		}
		if part.Len() > 0 {
			fmt.Fprintf(&b, "\n# ---- %s ----\n%s", t.Title, part.String())
		}
	}
	return b.String(), nil
}

// sentence says what a setting is, what it may be, and what it is by default.
func sentence(s Setting) string {
	text := strings.ToUpper(s.Doc[:1]) + s.Doc[1:] + ". Values: " + s.kind.values
	if d := s.Default(); d != "" {
		text += "; default " + d
	}
	return text + "."
}

// Default of a setting as text, empty where there is none.
func (s Setting) Default() string {
	standard := Default()
	return lines(s, &standard)
}

func lines(s Setting, c *Config) string { return strings.Join(s.kind.show(c), ", ") }

// entry is the line, or for a list the lines, of a setting in a file.
func entry(s Setting, c *Config) (string, error) {
	value := &yaml.Node{Kind: yaml.SequenceNode}
	for _, text := range s.kind.show(c) {
		n := &yaml.Node{Kind: yaml.ScalarNode, Value: text}
		if s.kind.quoted {
			n.Tag = "!!str" // quoted where it would look like something else
		}
		value.Content = append(value.Content, n)
	}
	value.Style = yaml.FlowStyle // on one line, which can be commented out
	if !s.kind.list {
		value = value.Content[0]
	}
	var b bytes.Buffer
	out := yaml.NewEncoder(&b)
	out.SetIndent(2)
	err := out.Encode(&yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{{Kind: yaml.ScalarNode, Value: s.Name}, value}})
	if err == nil {
		err = out.Close()
	}
	return b.String(), err
}

// comment wraps text at 80 columns and puts mark before each line. Lines that
// begin so, such as those of a file, are kept.
func comment(text, mark string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		for len(line)+len(mark) > 80 {
			cut := strings.LastIndexByte(line[:81-len(mark)], ' ')
			if cut <= 0 || mark == "#" {
				break
			}
			b.WriteString(mark + line[:cut] + "\n")
			line = line[cut+1:]
		}
		b.WriteString(mark + line + "\n")
	}
	return b.String()
}

// WriteHelp tells how to call a command that takes settings.
func WriteHelp(w io.Writer, command, what string, switches ...Switch) {
	fmt.Fprintf(w, "%s\n\nUsage:\n  %s [flags]\n\n", what, command)
	fmt.Fprint(w, "Each flag may also be a variable (--drain-timeout: ROOKERY_DRAIN_TIMEOUT) or a line of\nthe file that --config names (drain-timeout: 30s). Flags rule over variables, variables\nover the file.\n")
	for _, s := range switches {
		fmt.Fprintf(w, "\n  --%s\n%s", s.Name, comment(s.Doc, "        "))
	}
	for _, t := range Topics() {
		fmt.Fprintf(w, "\n%s\n", t.Title)
		for _, s := range t.Settings {
			again := ""
			if s.kind.list {
				again = "; parted by commas, or repeated"
			}
			standard := ""
			if d := s.Default(); d != "" {
				standard = " (default " + d + ")"
			}
			fmt.Fprintf(w, "  --%s\n%s", s.Name, comment(s.Doc+": "+s.kind.values+again+standard, "        "))
		}
	}
}
