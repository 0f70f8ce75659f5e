package scenario

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"time"

	"github.com/rookery-im/rookery/bench/load"
	"github.com/rookery-im/rookery/bench/machine"
	"github.com/rookery-im/rookery/bench/report"
	"github.com/rookery-im/rookery/bench/target"
)

// Idle holds many sessions that do nothing, and weighs them.
type Idle struct {
	Sessions int
	Rest     time.Duration
	StandIn  bool
	Sample   int
}

// Name of the scenario.
func (*Idle) Name() string { return "idle" }

// Doc of the scenario.
func (*Idle) Doc() string {
	return "authenticated sessions that do nothing: what each costs; then one message to each"
}

// HibernateAfter is when users of a node with stand-ins hibernate; a node's own
// default is a minute, which would not be over within the run.
const HibernateAfter = 15 * time.Second

// Defaults of idle.
const (
	idleSessions         = 19_000
	idleStandIns         = 1_000_000
	idleSample           = 50_000
	hibernated           = 0.01 // the share of users that may still be awake when the sessions are weighed
	hibernatePatience    = 90 * time.Second
	collectionsForced    = 3
	bytesPerMiB          = 1 << 20
	metricLive           = "rookery_host_live_actors"
	millisPerNanosecond  = 1e-6
	restShareBeforeUsers = 4
)

// Flags of the scenario.
func (i *Idle) Flags(fs *flag.FlagSet) {
	fs.IntVar(&i.Sessions, "sessions", 0, fmt.Sprintf("sessions, each of a user of its own; at most what descriptors allow (default %d; with --stand-in %d)", idleSessions, idleStandIns))
	fs.DurationVar(&i.Rest, "rest", 12*time.Second, "how long the node is left alone before it is weighed, once its users hibernate")
	fs.BoolVar(&i.StandIn, "stand-in", false, "with --self: put a stand-in in place of each session's descriptor, and of that alone, to go beyond what a process may open")
	fs.IntVar(&i.Sample, "sample", idleSample, "with --stand-in: how many of them get a message in the end")
}

// NeedsStandIns says that the node must take them.
func (i *Idle) NeedsStandIns() bool { return i.StandIn }

// Validate names every fault of the parameters.
func (i *Idle) Validate() error {
	if i.Sessions == 0 {
		i.Sessions = idleSessions
		if i.StandIn {
			i.Sessions = idleStandIns
		}
	}
	var f faults
	f.check(i.Sessions >= 2, "sessions: %d is below 2", i.Sessions)
	f.check(i.Rest >= 0, "rest: %v is below 0", i.Rest)
	f.even("sample", i.Sample)
	return f.err()
}

// weight of the node, and of the kernel that serves it; bytes.
type weight struct {
	resident float64
	kernel   float64
	parts    report.Resident
}

// weigh reads the memory after two collections, as the runtime would do by itself
// within some minutes of idling: garbage of the set-up is not the sessions', and
// what pools keep goes with the second.
func (e *Env) weigh(ctx context.Context, rest time.Duration) (weight, error) {
	for range 2 {
		if _, err := e.Node.Collect(ctx); err != nil {
			return weight{}, err
		}
	}
	if err := pass(ctx, rest); err != nil { // the runtime gives pages back by and by
		return weight{}, err
	}
	m, err := e.Node.Metrics(ctx)
	if err != nil {
		return weight{}, err
	}
	p, err := e.Node.Process(m)
	return weight{float64(p.Resident), float64(machine.KernelMemory()), residentParts(m, p)}, err
}

func pass(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// residentParts splits what is resident, by what the runtime says of its own.
func residentParts(m target.Metrics, p machine.Process) report.Resident {
	r := report.Resident{
		Heap:     m["go_memstats_heap_inuse_bytes"],
		FreeHeap: m["go_memstats_heap_idle_bytes"] - m["go_memstats_heap_released_bytes"],
		Stacks:   m["go_memstats_stack_sys_bytes"],
		Runtime: m["go_memstats_mspan_sys_bytes"] + m["go_memstats_mcache_sys_bytes"] + m["go_memstats_buck_hash_sys_bytes"] +
			m["go_memstats_gc_sys_bytes"] + m["go_memstats_other_sys_bytes"],
	}
	if p.Anonymous > 0 { // else the process is on another machine
		r.Files = float64(p.Resident - p.Anonymous)
	}
	r.OffHeap = float64(p.Resident) - r.Heap - r.FreeHeap - r.Stacks - r.Runtime - r.Files
	return r
}

// sessionsWithin is how many of n sessions the descriptors of one node allow,
// an even number.
func (e *Env) sessionsWithin(r *report.Result, n int) int {
	const spare = 1000 // the node's files and requests
	if room := e.Descriptors - spare; e.Descriptors > 0 && n > room {
		r.Note("%d sessions instead of %d: a process may open %d descriptors here", room/2*2, n, e.Descriptors)
		n = room
	}
	return n / 2 * 2
}

// people says how many there are, and what they stand on.
func (i *Idle) people(env *Env, r *report.Result) (n, sample int, c Carriage) {
	if !i.StandIn {
		n = env.sessionsWithin(r, i.Sessions)
		return n, n, Descriptors
	}
	n = i.Sessions / 2 * 2
	if sample = min(i.Sample, n); sample < n {
		r.Note("a message was sent to %d of the %d sessions: to all would take too long", sample, n)
	}
	r.Note("descriptors are stand-ins: the kernel's bytes for a socket are not in kernelBytesPerSession, and what an opening handshake leaves behind is in no figure")
	return n, sample, StandIns
}

// Run measures once.
func (i *Idle) Run(ctx context.Context, env *Env) (_ *report.Result, err error) {
	r := report.New(i.Name())
	n, sample, carriage := i.people(env, r)
	if !env.Node.Own() {
		r.Note("the node is not fresh: what it held before is taken for its base")
	}
	base, err := env.weigh(ctx, i.Rest/restShareBeforeUsers)
	if err != nil {
		return nil, err
	}
	w, err := env.Build(ctx, carriage, Group{Users: n, Devices: 1, Pattern: Both})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	if _, err := w.Connect(ctx, 0, Everybody, StayAway); err != nil {
		return nil, err
	}
	if err := env.hibernate(ctx, r, n); err != nil {
		return nil, err
	}
	standing, err := env.Node.Collect(ctx)
	if err != nil {
		return nil, err
	}
	instant := Task{Done: func(load.Status) bool { return true }, Took: func(s load.Status) (int64, int64) { return s.LastDrained, s.Now }}
	rest, collect := instant, instant
	rest.Name, rest.Start = "rest", func(ctx context.Context) error { return i.weigh(ctx, env, r, n, base) }
	collect.Name, collect.Start = "collector forced", func(ctx context.Context) error { return env.collect(ctx, r, standing) }
	for _, t := range []Task{rest, collect} {
		begun := time.Now()
		p, err := w.Do(ctx, t)
		if err != nil {
			return nil, err
		}
		p.Seconds = time.Since(begun).Seconds()
		p.MaxPauseMs = 0 // since the start, of what stands is in the result
		r.Phases = append(r.Phases, p)
		if p.PingMs != nil {
			r.MaxStallMs = max(r.MaxStallMs, p.PingMs.Max)
		}
	}
	each, err := w.oneToEach(ctx, 0, sample)
	if err != nil {
		return nil, err
	}
	r.Phases = append(r.Phases, each)
	r.SentMs, r.DeliverMs = each.SentMs, each.DeliverMs
	return r, w.Finish(ctx, r)
}

// hibernate waits until the node has put its users to rest: until then they cost
// what busy ones do.
func (e *Env) hibernate(ctx context.Context, r *report.Result, n int) error {
	begun := time.Now()
	for {
		m, err := e.Node.Metrics(ctx)
		if err != nil {
			return err
		}
		live := m[metricLive]
		if live <= hibernated*float64(n) {
			e.Say("its users hibernate, after %.0f s", time.Since(begun).Seconds())
			return nil
		}
		if time.Since(begun) > hibernatePatience {
			r.Note("%.0f users were still awake when the sessions were weighed, and cost more than they will", live)
			return nil
		}
		if err := pass(ctx, time.Second/2); err != nil {
			return err
		}
	}
}

// collect has the collector run again and again, for the pings to see.
func (e *Env) collect(ctx context.Context, r *report.Result, since target.Collections) error {
	var last target.Collections
	for range collectionsForced {
		var err error
		if last, err = e.Node.Collect(ctx); err != nil {
			return err
		}
	}
	r.MaxPauseMs = float64(last.Longest(since).Nanoseconds()) * millisPerNanosecond
	return nil
}

func (i *Idle) weigh(ctx context.Context, env *Env, r *report.Result, n int, base weight) error {
	full, err := env.weigh(ctx, i.Rest)
	if err != nil {
		return err
	}
	each := float64(n)
	r.Sessions = n
	r.BytesPerSession = (full.resident - base.resident) / each
	parts := full.parts.Minus(base.parts).Each(each)
	r.HeapBytesPerSession, r.Resident = parts.Heap, &parts
	r.OtherBytesPerSession = r.BytesPerSession - r.HeapBytesPerSession
	r.KernelBytesPerSession = (full.kernel - base.kernel) / each
	if !i.StandIn { // both ends of each connection are in this kernel
		r.KernelBytesPerSession /= 2
	}
	env.Say("resident %s MiB before, %s MiB with %d sessions", report.Number(base.resident/bytesPerMiB), report.Number(full.resident/bytesPerMiB), n)
	return nil
}

// wave is how many send at the same moment: an answer is due within seconds.
const wave = 20_000

// oneToEach has the first users of a group of pairs send one message, and waits
// for all of them: a session that answers pings may still be deaf.
func (w *World) oneToEach(ctx context.Context, group, users int) (report.Phase, error) {
	st, err := w.fleet.Status(ctx)
	if err != nil {
		return report.Phase{}, err
	}
	begun, first := st.Tally.Delivered, int64(0)
	arrived := func(n int) func(load.Status) bool {
		return func(s load.Status) bool {
			return s.Tally.Delivered >= begun+uint64(n) || s.Now-s.LastEvent > int64(10*time.Second)
		}
	}
	p, err := w.Do(ctx, Task{
		Name: "one to each", Patience: 2 * time.Minute, Done: arrived(users),
		Start: func(ctx context.Context) error {
			for from := 0; from < users; from += wave {
				to := min(from+wave, users)
				s := Stretch{Name: "drive", Group: group, Drive: load.Drive{Window: 1, Limit: 1}, Part: load.Span{From: from, To: to}}
				if err := w.driveAll(ctx, s); err != nil {
					return err
				}
				st, err := w.wait(ctx, "one to each", time.Minute, arrived(to))
				if err != nil {
					return err
				}
				if from == 0 {
					first = st.Driven
				}
			}
			return nil
		},
		Took: func(s load.Status) (int64, int64) { return first, max(s.LastAnswered, s.LastDelivered) },
	})
	if err != nil {
		return p, err
	}
	if err := w.halt(ctx); err != nil {
		return p, err
	}
	return p, w.settle(ctx, "one to each", 0, 30*time.Second)
}
