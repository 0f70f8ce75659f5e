package settings

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// maxFile bounds a configuration file, in bytes.
const maxFile = 256 << 10

// readFile reads the configuration file that the setting names.
func readFile(config given, settings []Setting) ([]given, Faults) {
	data, err := load(config.texts[0])
	if err != nil {
		return nil, Faults{{Settings: []string{config.setting.Name}, text: fmt.Sprintf("%s: %v", config.where, err)}}
	}
	return parseFile(config.texts[0], data, settings)
}

func load(path string) (data []byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return io.ReadAll(io.LimitReader(f, maxFile+1))
}

// maxFaults is how many faults of a file are told.
const maxFaults = 100

// fileReader turns the nodes of a file into values.
type fileReader struct {
	path     string
	table    map[string]Setting
	names    []string
	seen     map[string]int // line
	settings []given
	faults   Faults
}

// parseFile reads a mapping of settings. It holds nobody to the rules of a
// setting but to those of the file.
func parseFile(path string, data []byte, settings []Setting) ([]given, Faults) {
	if strings.ContainsFunc(path, unicode.IsControl) || !utf8.ValidString(path) {
		path = strconv.Quote(path) // it stands in comments of what is printed
	}
	r := fileReader{path: path, table: map[string]Setting{}, seen: map[string]int{}}
	for _, s := range settings {
		r.table[s.Name] = s
		if !s.beside {
			r.names = append(r.names, s.Name)
		}
	}
	if root := r.document(data); root != nil {
		r.mapping(root)
	}
	return r.settings, r.faults
}

// fault at a line; 0 is the file as a whole.
func (r *fileReader) fault(line int, setting, format string, args ...any) {
	f := Fault{line: line, text: r.at(line) + ": " + fmt.Sprintf(format, args...)}
	if setting != "" {
		f.Settings = []string{setting}
	}
	r.faults = append(r.faults, f)
}

func (r *fileReader) at(line int) string {
	if line == 0 {
		return r.path
	}
	return r.path + ":" + strconv.Itoa(line)
}

// document returns the one mapping of the file, or nil where it sets nothing.
func (r *fileReader) document(data []byte) *yaml.Node {
	switch {
	case len(data) > maxFile:
		r.fault(0, "", "is larger than %s", size[int]().format(maxFile))
		return nil
	case len(bytes.TrimSpace(data)) == 0:
		r.fault(0, "", "is empty")
		return nil
	case !utf8.Valid(data):
		r.fault(lineOf(data, func(c rune, n int) bool { return c == utf8.RuneError && n == 1 }), "", "is not UTF-8")
		return nil
	case bytes.ContainsFunc(data, isControl):
		r.fault(lineOf(data, func(c rune, _ int) bool { return isControl(c) }), "", "holds a control character")
		return nil
	}
	in := yaml.NewDecoder(bytes.NewReader(data))
	var doc, more yaml.Node
	if err := in.Decode(&doc); errors.Is(err, io.EOF) {
		return nil // nothing but comments
	} else if err != nil {
		r.syntax(data, err)
		return nil
	}
	if err := in.Decode(&more); err == nil {
		r.fault(more.Line, "", "a second document begins here; there may be one")
	} else if !errors.Is(err, io.EOF) {
		r.syntax(data, err)
	}
	root := doc.Content[0]
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		return nil
	}
	if root.Kind != yaml.MappingNode {
		r.fault(root.Line, "", "%s stands where settings are wanted, such as listen: 127.0.0.1:8080", kindOf(root))
		return nil
	}
	return root
}

// isControl finds control characters that are no white space.
func isControl(c rune) bool { return unicode.IsControl(c) && !strings.ContainsRune("\t\n\r\u0085", c) }

// lineOf is the line of the first character, of n bytes, that is wanted.
func lineOf(data []byte, wanted func(c rune, n int) bool) int {
	for i := 0; i < len(data); {
		c, n := utf8.DecodeRune(data[i:])
		if wanted(c, n) {
			return 1 + bytes.Count(data[:i], []byte("\n"))
		}
		i += n
	}
	return 0
}

var (
	syntaxLine = regexp.MustCompile(`^yaml: line (\d+): (?s:(.*))`)
	tabbed     = regexp.MustCompile(`(?m)^[ ]*\t`)
)

// syntax reports what the parser says, and what is most often behind it.
func (r *fileReader) syntax(data []byte, err error) {
	line, text := 1, strings.TrimPrefix(err.Error(), "yaml: ") // which leaves out the first line
	if m := syntaxLine.FindStringSubmatch(err.Error()); m != nil {
		line, _ = strconv.Atoi(m[1])
		text = m[2]
	}
	if at := tabbed.FindIndex(data); at != nil {
		r.fault(1+bytes.Count(data[:at[0]], []byte("\n")), "", "a tab stands at the beginning of the line; YAML is indented by spaces")
		return
	}
	r.fault(line, "", "is not YAML: %s", text)
}

// mapping takes every setting of the file.
func (r *fileReader) mapping(root *yaml.Node) {
	r.plain(root, "")
	for i := 0; i+1 < len(root.Content); i += 2 {
		if len(r.faults) >= maxFaults {
			r.fault(root.Content[i].Line, "", "there are %d faults up to here; the rest is not looked at", len(r.faults))
			return
		}
		r.entry(root.Content[i], root.Content[i+1])
	}
}

func (r *fileReader) entry(key, value *yaml.Node) {
	if key.Kind != yaml.ScalarNode {
		r.fault(key.Line, "", "%s stands where the name of a setting is wanted", kindOf(key))
		return
	}
	if !r.plain(key, "") {
		return
	}
	s, known := r.table[key.Value]
	switch before := r.seen[key.Value]; {
	case !known:
		r.fault(key.Line, "", "%s", unknown("unknown setting", key.Value, r.names))
		return
	case s.beside:
		r.fault(key.Line, s.Name, "%s: cannot be set in a file; give --%s or %s", s.Name, s.Name, s.Variable())
		return
	case before != 0:
		r.fault(key.Line, s.Name, "%s: is set in line %d already", s.Name, before)
		return
	}
	r.seen[key.Value] = key.Line
	texts, ok := r.texts(s, value)
	if ok {
		r.settings = append(r.settings, given{s, texts, where{s.Name, r.at(key.Line), key.Line}})
	}
}

// texts of a value: one for a scalar, any number for a list.
func (r *fileReader) texts(s Setting, value *yaml.Node) ([]string, bool) {
	if !s.kind.list {
		text, ok := r.text(s, value, "one value")
		return []string{text}, ok
	}
	if !r.plain(value, s.Name) {
		return nil, false
	}
	if value.Kind != yaml.SequenceNode {
		r.fault(value.Line, s.Name, "%s: %s stands where a list is wanted, such as [a, b]", s.Name, kindOf(value))
		return nil, false
	}
	texts, all := []string{}, true
	for _, item := range value.Content {
		text, ok := r.text(s, item, "an item of the list")
		texts, all = append(texts, text), all && ok
	}
	return texts, all
}

func (r *fileReader) text(s Setting, n *yaml.Node, wanted string) (string, bool) {
	switch {
	case !r.plain(n, s.Name):
		return "", false
	case n.Kind != yaml.ScalarNode:
		r.fault(n.Line, s.Name, "%s: %s stands where %s is wanted", s.Name, kindOf(n), wanted)
		return "", false
	case n.Tag == "!!null":
		r.fault(n.Line, s.Name, `%s: has no value; leave the line out for the default, or write "" for empty`, s.Name)
		return "", false
	}
	return n.Value, true
}

// plain refuses what YAML has and settings have no use for.
func (r *fileReader) plain(n *yaml.Node, setting string) bool {
	about := ""
	if setting != "" {
		about = setting + ": "
	}
	switch {
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		r.fault(n.Line, setting, "%sanchors and aliases (& and *) are not taken here; quote the text if it is meant as it stands", about)
	case n.Style&yaml.TaggedStyle != 0:
		r.fault(n.Line, setting, "%stags (!) are not taken here; quote the text if it is meant as it stands", about)
	default:
		return true
	}
	return false
}

// kindOf names a node for people.
func kindOf(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return "an alias"
	default:
		if n.Tag == "!!null" {
			return "nothing"
		}
		return "the single value " + show(n.Value)
	}
}
