package scenario

import (
	"context"
	"flag"

	"github.com/rookery-im/rookery/bench/report"
)

// Scenario is one thing that is measured. Its parameters are its fields, which
// have their published defaults once Flags was called.
type Scenario interface {
	Name() string
	// Doc is one line.
	Doc() string
	// Flags adds the parameters.
	Flags(fs *flag.FlagSet)
	// Run measures once. An error means that there is no result; what is wrong
	// with the messages or the measurement is in the result.
	Run(ctx context.Context, env *Env) (*report.Result, error)
}

// All scenarios, each new, in the order they are listed.
func All() []Scenario {
	return []Scenario{&Idle{}, &Pairs{}, &Devices{}, &Offline{}, &Storm{}, &Mixed{}, &Saturate{}, &Recover{}}
}

// Find a scenario by its name.
func Find(name string) (Scenario, bool) {
	for _, s := range All() {
		if s.Name() == name {
			return s, true
		}
	}
	return nil, false
}
