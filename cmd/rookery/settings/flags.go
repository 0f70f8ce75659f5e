package settings

import (
	"strings"
)

// given is a value from somewhere.
type given struct {
	setting Setting
	texts   []string
	where   where
}

// where a value was given, and how it was spelled there.
type where struct {
	spelling string // --drain-timeout, ROOKERY_DRAIN_TIMEOUT, drain-timeout
	place    string // rookery.yaml:12; empty for flags and the environment
	line     int    // 12
}

func (w where) String() string {
	if w.place == "" {
		return w.spelling
	}
	return w.place + ": " + w.spelling
}

// Switch is a flag of a command that is no setting.
type Switch struct{ Name, Doc string }

// arguments are what a command line says.
type arguments struct {
	given    []given
	switches map[string]bool
	help     bool
	faults   Faults
}

// flagReader reads arguments as package flag does (-x, --x, --x=y, --x y, bare
// booleans, --), but goes on after a fault, to report all of them.
type flagReader struct {
	table    map[string]Setting
	names    []string // with their hyphens
	switches []Switch
	out      arguments
	lists    map[string]int // where in out.given a list is
}

func readFlags(args []string, settings []Setting, switches []Switch) arguments {
	r := flagReader{
		table: map[string]Setting{}, switches: switches, lists: map[string]int{},
		names: []string{"--help"}, out: arguments{switches: map[string]bool{}},
	}
	for _, s := range settings {
		r.table[s.Name] = s
		r.names = append(r.names, "--"+s.Name)
	}
	for _, s := range switches {
		r.names = append(r.names, "--"+s.Name)
	}
	for len(args) > 0 {
		arg := args[0]
		if arg == "--" {
			for _, extra := range args[1:] {
				r.fault(nil, "unexpected argument "+show(extra))
			}
			break
		}
		if name, ok := dashed(arg); ok {
			args = r.flag(name, args[1:])
			continue
		}
		r.fault(nil, "unexpected argument "+show(arg))
		args = args[1:]
	}
	return r.out
}

// dashed takes the hyphens off a flag.
func dashed(arg string) (string, bool) {
	name, ok := strings.CutPrefix(arg, "-")
	name = strings.TrimPrefix(name, "-")
	return name, ok && name != "" && name[0] != '-' && name[0] != '='
}

func (r *flagReader) fault(settings []string, text string) {
	r.out.faults = append(r.out.faults, Fault{Settings: settings, text: text})
}

// flag takes one flag and gives back what follows it.
func (r *flagReader) flag(name string, rest []string) []string {
	name, value, has := strings.Cut(name, "=")
	if name == "help" || name == "h" {
		r.out.help = true
		return rest
	}
	for _, s := range r.switches {
		if s.Name == name {
			if has && value != "true" && value != "false" {
				r.fault(nil, "--"+name+": "+show(value)+" is neither true nor false")
			}
			r.out.switches[name] = value != "false"
			return rest
		}
	}
	s, known := r.table[name]
	if !known {
		r.fault(nil, unknown("unknown flag", "--"+name, r.names))
		if meant := r.table[strings.TrimPrefix(nearest(name, r.names), "--")]; !has && !meant.kind.bare && len(rest) > 0 && !strings.HasPrefix(rest[0], "-") {
			return rest[1:] // its value, most likely
		}
		return rest
	}
	switch {
	case has:
	case s.kind.bare:
		value = "true"
	case len(rest) == 0 || r.isFlag(rest[0]):
		r.fault([]string{name}, "--"+name+": a value is missing")
		return rest
	default:
		value, rest = rest[0], rest[1:]
	}
	r.take(s, value)
	return rest
}

// isFlag says that an argument is a flag that exists: a value is hardly meant
// to be one, and --x=VALUE is there for who means it.
func (r *flagReader) isFlag(arg string) bool {
	name, ok := dashed(arg)
	name, _, _ = strings.Cut(name, "=")
	if _, known := r.table[name]; !ok || known {
		return ok
	}
	return name == "help"
}

// take notes a value. A flag that is given again replaces what came before, or
// adds to it where it is a list.
func (r *flagReader) take(s Setting, value string) {
	texts := []string{value}
	if s.kind.list {
		texts = split(value)
		if i, again := r.lists[s.Name]; again {
			r.out.given[i].texts = append(r.out.given[i].texts, texts...)
			return
		}
		r.lists[s.Name] = len(r.out.given)
	}
	r.out.given = append(r.out.given, given{s, texts, where{spelling: "--" + s.Name}})
}

// split parts a list at its commas; an empty text is the empty list.
func split(value string) []string {
	if strings.TrimSpace(value) == "" {
		return nil
	}
	texts := strings.Split(value, ",")
	for i := range texts {
		texts[i] = strings.TrimSpace(texts[i])
	}
	return texts
}
