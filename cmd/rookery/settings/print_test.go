package settings

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// readsBack holds the printed configuration to being a file that gives it.
func readsBack(t interface {
	Fatalf(string, ...any)
	TempDir() string
}, e *Effective) {
	text, err := e.YAML()
	if err != nil {
		t.Fatalf("print: %v", err)
	}
	path := filepath.Join(t.TempDir(), "printed.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatalf("%v", err)
	}
	again, err := Load([]string{"--config", path}, nil)
	if err != nil {
		t.Fatalf("what was printed is refused: %v\n%s", err, text)
	}
	again.Config.File = e.Config.File // where it was read is not part of what it says
	if !reflect.DeepEqual(again.Config, e.Config) {
		t.Fatalf("what was printed gives\n%+v\nand was\n%+v\n%s", again.Config, e.Config, text)
	}
}

var bounds = regexp.MustCompile(`, (\S+) to (\S+)$`)

// candidates are texts that some setting takes, or nearly does.
func candidates(s Setting) *rapid.Generator[string] {
	fixed := []string{
		"", "0", "1", "-1", "64", "0x40", "4096", "2147483647", "2147483648", "1e3", "true", "false", "yes", "null", "~", "open", "invite", "json",
		"1s", "1ms", "90s", "36h", "1.5d", "1d1ns", "30d", "200000d", "-5s", "64KiB", "3MiB", "1GiB", "7B", "8EiB", "1/1", "0.25/3", "1e9/2", "0/0", "debug", "info+1",
		"127.0.0.1:0", ":8080", "[::1]:80", "/run/a b.sock", "./-x: #", "*", "https://a", "http://a:1", "10.0.0.0/8", "::/0", "192.168.1.1", "ws://a/b?c", "'", `"`, "\u2028", "\ufeff", "a\nb", " x ",
	}
	if m := bounds.FindStringSubmatch(s.kind.values); m != nil {
		fixed = append(fixed, m[1], m[1], m[2], m[2])
	}
	return rapid.OneOf(rapid.SampledFrom(fixed), rapid.SampledFrom(samples(s)), rapid.String())
}

// Any configuration that is accepted prints as a file that gives the same one;
// and nothing that the table lets through is refused further down without the
// names of settings.
func TestAnyConfigurationReadsBack(t *testing.T) {
	settings := Settings()
	rapid.Check(t, func(rt *rapid.T) {
		given := map[string]string{}
		for _, s := range settings {
			if !s.beside && rapid.Bool().Draw(rt, "set "+s.Name) {
				given[s.Name] = candidates(s).Draw(rt, s.Name)
			}
		}
		for {
			var args, environ []string
			for _, s := range settings {
				text, set := given[s.Name]
				if set && len(args) <= len(environ) {
					args = append(args, "--"+s.Name+"="+text)
				} else if set {
					environ = append(environ, s.Variable()+"="+text)
				}
			}
			e, err := Load(args, environ)
			if err == nil {
				readsBack(struct {
					*rapid.T
					dir
				}{rt, dir{t}}, e)
				return
			}
			var faults Faults
			if !errors.As(err, &faults) {
				rt.Fatalf("%v", err)
			}
			before := len(given)
			for _, f := range faults {
				if len(f.Settings) == 0 {
					rt.Fatalf("%q is about no setting", f.Error())
				}
				for _, name := range f.Settings {
					delete(given, name)
				}
			}
			if len(given) == before {
				rt.Fatalf("%v is about nothing that was given", err)
			}
		}
	})
}

type dir struct{ t *testing.T }

func (d dir) TempDir() string { return d.t.TempDir() }

// The template sets nothing, and everything at its default once uncommented.
func TestTemplate(t *testing.T) {
	text, err := Template()
	if err != nil {
		t.Fatal(err)
	}
	whole := regexp.MustCompile(`(?m)^#([a-z])`).ReplaceAllString(text, "$1")
	if whole == text {
		t.Fatal("nothing to uncomment")
	}
	for name, file := range map[string]string{"as it is": text, "uncommented": whole} {
		e, err := Load([]string{"--config", write(t, file)}, nil)
		if err != nil {
			t.Fatalf("%s: %v\n%s", name, err, file)
		}
		if changed := e.Changed(); len(changed) != 1 || !strings.HasPrefix(changed[0], "config=") {
			t.Errorf("%s: changes %v", name, changed)
		}
	}
	for _, s := range Settings() {
		if !s.beside && !strings.Contains(whole, "\n"+s.Name+":") {
			t.Errorf("%s is not in the template", s.Name)
		}
	}
}

// Whoever asks what is in force wants to know who says so.
func TestPrintedSaysWhereFrom(t *testing.T) {
	file := write(t, "# mine\nshards: 3\n")
	e, err := Load([]string{"--config", file, "--listen=:1"}, []string{"ROOKERY_DRAIN_TIMEOUT=9s"})
	if err != nil {
		t.Fatal(err)
	}
	text, err := e.YAML()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"# From: --listen\nlisten: :1\n", "# From: " + file + ":2\nshards: 3\n", "# From: ROOKERY_DRAIN_TIMEOUT\ndrain-timeout: 9s\n", "# From: default\nadmin: 127.0.0.1:9090\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("lacks %q:\n%s", want, text)
		}
	}
	want := []string{"config=" + file, "listen=:1", "drain-timeout=9s", "shards=3"}
	if got := e.Changed(); !slices.Equal(got, want) {
		t.Errorf("changed %v, want %v", got, want)
	}
}
