package scenario

import (
	"context"
	"flag"
	"time"

	"github.com/rookery-im/rookery/bench/report"
)

// Devices is Pairs with several devices each, all connected: a message goes to
// all of the recipient's and to the sender's others.
type Devices struct{ Pairs }

// Name of the scenario.
func (*Devices) Name() string { return "devices" }

// Doc of the scenario.
func (*Devices) Doc() string { return "pairs with 4 devices each, all connected" }

// Flags of the scenario.
func (d *Devices) Flags(fs *flag.FlagSet) { d.flags(fs, 4, 14*time.Second) }

// Run measures once.
func (d *Devices) Run(ctx context.Context, env *Env) (*report.Result, error) {
	return d.run(ctx, env, d.Name())
}
