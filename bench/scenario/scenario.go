package scenario

import (
	"context"
	"errors"
	"flag"
	"fmt"

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
	// Validate names every fault of the parameters, before anything is started.
	Validate() error
	// Run measures once. An error means that there is no result; what is wrong
	// with the messages or the measurement is in the result.
	Run(ctx context.Context, env *Env) (*report.Result, error)
}

// StandInUser is a scenario that may need a node that takes stand-ins.
type StandInUser interface{ NeedsStandIns() bool }

// NeedsStandIns says whether the scenario does, as its parameters are.
func NeedsStandIns(s Scenario) bool {
	u, ok := s.(StandInUser)
	return ok && u.NeedsStandIns()
}

// All scenarios, each new, in the order they are listed.
func All() []Scenario {
	return []Scenario{&Empty{}, &Idle{}, &Pairs{}, &Devices{}, &Offline{}, &Storm{}, &Mixed{}, &Saturate{}, &Recover{}, &Join{}, &Hostile{}}
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

// faults of parameters, all of them at once.
type faults []error

func (f *faults) check(ok bool, format string, args ...any) {
	if !ok {
		*f = append(*f, fmt.Errorf(format, args...))
	}
}

func (f *faults) even(name string, n int) {
	f.check(n >= 2 && n%2 == 0, "%s: %d is not an even number above 0", name, n)
}

func (f faults) err() error { return errors.Join(f...) }
