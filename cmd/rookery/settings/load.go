package settings

import (
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"

	"github.com/rookery-im/rookery/cmd/rookery/node"
)

// Effective is a configuration and where each of its values comes from.
type Effective struct {
	Config   Config
	from     map[string]where
	switches map[string]bool
}

// Load reads flags, environment and file, the first of them winning, and
// reports everything that is wrong as Faults. It is flag.ErrHelp where help is
// asked for.
func Load(args, environ []string, switches ...Switch) (*Effective, error) {
	settings := Settings()
	cli := readFlags(args, settings, switches)
	if cli.help {
		return nil, flag.ErrHelp
	}
	env, faults := readEnvironment(environ, settings)
	l := loader{Effective: Effective{Config: Default(), from: map[string]where{}, switches: cli.switches}, bad: map[string]bool{}}
	// The file first and the flags last: each overrides what came before. The
	// faults are told the other way round, in order of precedence.
	var file []given
	var fileFaults Faults
	if from := chosen("config", env, cli.given); from != nil && from.texts[0] != "" {
		file, fileFaults = readFile(*from, settings)
	}
	fileFaults = append(fileFaults, l.take(file)...)
	slices.SortStableFunc(fileFaults, func(a, b Fault) int { return a.line - b.line })
	faults = append(faults, l.take(env)...)
	cliFaults := append(cli.faults, l.take(cli.given)...)
	all := append(append(cliFaults, faults...), fileFaults...)
	for _, f := range all {
		for _, name := range f.Settings {
			l.bad[name] = true
		}
	}
	if all = append(all, l.judge()...); len(all) > 0 {
		return nil, all
	}
	return &l.Effective, nil
}

// chosen is the last value of a setting in the sources.
func chosen(name string, sources ...[]given) *given {
	var last *given
	for _, source := range sources {
		for i := range source {
			if source[i].setting.Name == name {
				last = &source[i]
			}
		}
	}
	return last
}

type loader struct {
	Effective
	bad map[string]bool // settings with a fault of their own
}

// take puts the values of one source into the configuration.
func (l *loader) take(values []given) Faults {
	var faults Faults
	for _, g := range values {
		err := g.setting.kind.read(&l.Config, g.texts)
		for _, one := range each(err) {
			faults = append(faults, Fault{[]string{g.setting.Name}, g.where.String() + ": " + one.Error(), g.where.line})
		}
		if err == nil {
			l.from[g.setting.Name] = g.where
		}
	}
	return faults
}

// judge asks whether what was given goes together, and with this machine. What has a fault of its own
// stands at a lower source's value, so it is not judged again.
func (l *loader) judge() Faults {
	var faults Faults
	for _, err := range each(errors.Join(l.Config.Node.Validate(), l.Config.Node.Look())) {
		var f *node.Fault
		if !errors.As(err, &f) {
			if len(l.bad) == 0 {
				faults = append(faults, Fault{text: err.Error()})
			}
			continue
		}
		if names, ok := l.spelled(f.Settings); ok {
			faults = append(faults, Fault{Settings: f.Settings, text: names + ": " + f.Problem})
		}
	}
	return faults
}

// spelled names settings as they were given; false where one has a fault.
func (l *loader) spelled(settings []string) (string, bool) {
	var names []string
	for _, s := range settings {
		if l.bad[s] {
			return "", false
		}
		w, given := l.from[s]
		if !given {
			w = where{spelling: s + " (default)"}
		}
		names = append(names, w.String())
	}
	return strings.Join(names, ", "), true
}

// each gives the errors that errors.Join has put together.
func each(err error) []error {
	if err == nil {
		return nil
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var all []error
	var texts []string
	for _, one := range joined.Unwrap() {
		all, texts = append(all, each(one)...), append(texts, one.Error())
	}
	if strings.Join(texts, "\n") != err.Error() {
		return []error{err} // one error that wraps several
	}
	return all
}

// Switch says whether a command's own flag was given.
func (e *Effective) Switch(name string) bool { return e.switches[name] }

// origin of a value, for people.
func (e *Effective) origin(s Setting) string {
	w, given := e.from[s.Name]
	switch {
	case !given:
		return "default"
	case w.place != "":
		return w.place
	default:
		return w.spelling
	}
}

// Changed lists the settings that differ from their defaults, as name=value.
// No setting holds a secret.
func (e *Effective) Changed() []string {
	standard := Default()
	var all []string
	for _, s := range Settings() {
		now, was := strings.Join(s.kind.show(&e.Config), ","), strings.Join(s.kind.show(&standard), ",")
		if now != was {
			all = append(all, fmt.Sprintf("%s=%s", s.Name, now))
		}
	}
	return all
}
