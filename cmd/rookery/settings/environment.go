package settings

import (
	"regexp"
	"slices"
	"strings"
)

const prefix = "ROOKERY_"

// Variable is the name of a setting in the environment.
func (s Setting) Variable() string {
	return prefix + strings.ToUpper(strings.ReplaceAll(s.Name, "-", "_"))
}

// foreign are variables that begin like ours and are not for a node.
var foreign = []string{
	"ROOKERY_BIN", // the binary, for scripts and tests that start one
}

// link is what Kubernetes and Docker tell every container of a service called
// rookery, or rookery-something, beside it.
var link = regexp.MustCompile(`^ROOKERY(_[A-Z0-9_]+)?_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$`)

// readEnvironment reads variables as os.Environ gives them.
func readEnvironment(environ []string, settings []Setting) ([]given, Faults) {
	table := map[string]Setting{}
	var names []string
	for _, s := range settings {
		table[s.Variable()] = s
		names = append(names, s.Variable())
	}
	var all []given
	var faults Faults
	for _, entry := range slices.Sorted(slices.Values(environ)) {
		name, value, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(name, prefix) || slices.Contains(foreign, name) {
			continue
		}
		s, known := table[name]
		switch {
		case known && s.kind.list:
			all = append(all, given{s, split(value), where{spelling: name}})
		case known:
			all = append(all, given{s, []string{value}, where{spelling: name}})
		case link.MatchString(name):
		default:
			faults = append(faults, Fault{text: unknown("unknown variable", name, names)})
		}
	}
	return all, faults
}
