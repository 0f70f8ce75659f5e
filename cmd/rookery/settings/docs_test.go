package settings

import (
	"flag"
	"os"
	"regexp"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/configuration.md")

const page = "../../../docs/configuration.md"

// The page is what people read before they have a binary to ask.
func TestDocsAreTheTable(t *testing.T) {
	if *update {
		if err := os.WriteFile(page, []byte(Markdown()), 0o644); err != nil { //nolint:gosec // a document
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != Markdown() {
		t.Error("docs/configuration.md is not what the table gives: run make docs")
	}
}

// Whoever adds a setting must not be able to leave out what people need.
func TestEverySettingIsWhole(t *testing.T) {
	name := regexp.MustCompile(`^[a-z]+(-[a-z0-9]+)*$`)
	row := regexp.MustCompile("(?m)^\\| `([a-z0-9-]+)` \\| `(ROOKERY_[A-Z0-9_]+)` \\| (.*) \\| (.*) \\| (.*) \\|$")
	documented := map[string]string{}
	for _, m := range row.FindAllStringSubmatch(Markdown(), -1) {
		if documented[m[1]] != "" {
			t.Errorf("%s stands in the table twice", m[1])
		}
		documented[m[1]] = m[2]
	}
	var help strings.Builder
	WriteHelp(&help, "rookery serve", "")
	settings := Settings()
	for _, s := range settings {
		if !name.MatchString(s.Name) || s.Name == "help" || s.Name == "h" {
			t.Errorf("%q is no name for a setting", s.Name)
		}
		if want := "ROOKERY_" + strings.ToUpper(strings.ReplaceAll(s.Name, "-", "_")); documented[s.Name] != want {
			t.Errorf("the docs have %s as %q, not %q", s.Name, documented[s.Name], want)
		}
		if link.MatchString(s.Variable()) {
			t.Errorf("%s could be what Kubernetes says of a service: choose another name", s.Variable())
		}
		if s.Doc == "" || strings.HasSuffix(s.Doc, ".") || s.kind.values == "" {
			t.Errorf("%s: Doc is a sentence without its full stop, values are named", s.Name)
		}
		if !strings.Contains(help.String(), "\n  --"+s.Name+"\n") {
			t.Errorf("--help does not have --%s", s.Name)
		}
	}
	if len(documented) != len(settings) {
		t.Errorf("%d settings documented of %d", len(documented), len(settings))
	}
}
