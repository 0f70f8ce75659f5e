package settings

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// refused files, and what is said of them.
var refused = []struct{ name, file, want string }{
	{"empty", "", "f: is empty"},
	{"blank", " \n\t\n", "f: is empty"},
	{"a list", "- a\n- b", "f:1: a list stands where settings are wanted, such as listen: 127.0.0.1:8080"},
	{"a text", "\nlisten", `f:2: the single value "listen" stands where settings are wanted, such as listen: 127.0.0.1:8080`},
	{"two documents", "shards: 1\n---\nshards: 2", "f:2: a second document begins here; there may be one"},
	{"a broken second document", "shards: 1\n---\n{", "f:3: is not YAML: did not find expected node content"},
	{"a tab", "shards: 1\ncors-origin:\n\t- https://a", "f:3: a tab stands at the beginning of the line; YAML is indented by spaces"},
	{"not YAML", "shards: [1\nlisten: 2", "f:1: is not YAML: did not find expected ',' or ']'"},
	{"not UTF-8", "shards: 1\nlisten: \"\xff\"", "f:2: is not UTF-8"},
	{"UTF-16", "\xff\xfes\x00h\x00", "f:1: is not UTF-8"},
	{"control characters", "listen: a\x00b\n", "f:1: holds a control character"},
	{"too large", "# " + strings.Repeat("x", maxFile), "f: is larger than 256KiB"},
	{"set twice", "shards: 1\nlisten: :1\nshards: 2", "f:3: shards: is set in line 1 already"},
	{"null", "listen:", `f:1: listen: has no value; leave the line out for the default, or write "" for empty`},
	{"tilde", "listen: ~", `f:1: listen: has no value; leave the line out for the default, or write "" for empty`},
	{"null in a list", "cors-origin: [~]", `f:1: cors-origin: has no value; leave the line out for the default, or write "" for empty`},
	{"a mapping for a text", "\nlisten: {a: b}", "f:2: listen: a mapping stands where one value is wanted"},
	{"a mapping for a list", "cors-origin: {a: b}", "f:1: cors-origin: a mapping stands where a list is wanted, such as [a, b]"},
	{"a list in a list", "cors-origin: [[a]]", "f:1: cors-origin: a list stands where an item of the list is wanted"},
	{"a text for a list", "cors-origin: https://a", `f:1: cors-origin: the single value "https://a" stands where a list is wanted, such as [a, b]`},
	{"a list for a key", "[a]: b", "f:1: a list stands where the name of a setting is wanted"},
	{"an anchor", "listen: &a :1\nadmin: *a", "f:1: listen: anchors and aliases (& and *) are not taken here; quote the text if it is meant as it stands\nf:2: admin: anchors and aliases (& and *) are not taken here; quote the text if it is meant as it stands"},
	{"a merge", "<<: {shards: 1}", "f:1: unknown setting <<"},
	{"a star that was meant", "cors-origin: [*]", "f:1: is not YAML: did not find expected alphabetic or numeric character"},
	{"a tag", "listen: !!binary OjE=", "f:1: listen: tags (!) are not taken here; quote the text if it is meant as it stands"},
	{"nested settings", "tls:\n  cert: a", "f:1: unknown setting tls"},
	{"spelled as a flag", "--shards: 3", "f:1: unknown setting --shards; did you mean shards?"},
	{"spelled as a variable", "ROOKERY_SHARDS: 3", "f:1: unknown setting ROOKERY_SHARDS; did you mean shards?"},
	{"itself", "config: a", "f:1: config: cannot be set in a file; give --config or ROOKERY_CONFIG"},
}

// What people write by mistake is told in words that help, with the line.
func TestFilesThatAreRefused(t *testing.T) {
	for _, c := range refused {
		t.Run(c.name, func(t *testing.T) {
			_, faults := parseFile("f", []byte(c.file), Settings())
			var got []string
			for _, f := range faults {
				got = append(got, f.Error())
			}
			if strings.Join(got, "\n") != c.want {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), c.want)
			}
		})
	}
}

func TestFilesThatSetNothing(t *testing.T) {
	for _, file := range []string{"# nothing yet\n", "---\n# nothing\n", "{}", "---\n...\n", "\xef\xbb\xbf# marked\n"} {
		if values, faults := parseFile("f", []byte(file), Settings()); len(values)+len(faults) > 0 {
			t.Errorf("%q gives %v, %v", file, values, faults)
		}
	}
}

// What is built to take long or much is bounded by the size of a file.
func TestFilesThatAreBuiltToHurt(t *testing.T) {
	bomb := "a0: &a0 [x,x,x,x,x,x,x,x,x]\n"
	for i := 1; i < 30; i++ {
		bomb += fmt.Sprintf("a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d,", i-1), 9), ","))
	}
	for name, file := range map[string]string{
		"aliases of aliases": bomb,
		"deep lists":         strings.Repeat("[", maxFile),
		"deep mappings":      strings.Repeat("{a: ", maxFile/4),
		"deep blocks":        strings.Repeat("- ", maxFile/2),
		"many keys":          strings.Repeat("a: 1\n", maxFile/5),
		"long keys":          strings.Repeat("k", maxFile-3) + ": 1",
		"comments":           "shards: 1\n" + strings.Repeat("#\n", maxFile/2-8),
		"comments between":   strings.Repeat("#\nshards: 1\n", maxFile/12),
	} {
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			_, faults := parseFile("f", []byte(file), Settings())
			if took := time.Since(began); took > 20*time.Second {
				t.Errorf("took %v", took)
			}
			if len(faults) == 0 {
				if name != "comments" {
					t.Error("nothing is wrong with it")
				}
			}
			if text := faults.Error(); len(text) > 64<<10 {
				t.Errorf("the report has %d bytes", len(text))
			}
		})
	}
}

// The reader never fails in another way than by faults, and what it takes is
// what the file says, whichever of its settings are looked at.
func FuzzFile(f *testing.F) {
	for _, c := range refused {
		if len(c.file) < 100 { // minimising what is long takes minutes
			f.Add([]byte(c.file))
		}
	}
	for _, seed := range []string{
		"shards: 1", "cors-origin: [https://a, 'http://b', \"*\"] # c", "? data\n: b", "data: |\n  a\n  b", "data: >-\n  a\n  b", "a\tb: c",
		"# none", "tls-cert: 'it''s'\ntls-key: \"\\u2028\"", "time-to-live: 1.5d\nrate-sends: 1e3/7\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		values, faults := parseFile("f", data, Settings())
		for _, fault := range faults {
			if !strings.HasPrefix(fault.Error(), "f:") {
				t.Errorf("%q does not say where", fault.Error())
			}
		}
		lines := bytes.Count(data, []byte("\n")) + bytes.Count(data, []byte("\r")) + 2
		seen := map[string]bool{}
		for _, v := range values {
			if seen[v.setting.Name] {
				t.Errorf("%s is taken twice", v.setting.Name)
			}
			seen[v.setting.Name] = true
			if v.where.line < 1 || v.where.line > lines {
				t.Errorf("%s stands in line %d of %d", v.setting.Name, v.where.line, lines)
			}
			if !v.setting.kind.list && len(v.texts) != 1 {
				t.Errorf("%s has %d values", v.setting.Name, len(v.texts))
			}
		}
		// As a whole it must not fail otherwise either; and what is accepted
		// prints as a file that gives the same.
		path := filepath.Join(t.TempDir(), "f")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if e, err := Load([]string{"--config", path}, nil); err == nil {
			readsBack(t, e)
		}
	})
}
