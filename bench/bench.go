package bench

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime/pprof"
	"time"

	"github.com/rookery-im/rookery/bench/hostile"
	"github.com/rookery-im/rookery/bench/load"
	"github.com/rookery-im/rookery/bench/load/latency"
	"github.com/rookery-im/rookery/bench/machine"
	"github.com/rookery-im/rookery/bench/report"
	"github.com/rookery-im/rookery/bench/scenario"
	"github.com/rookery-im/rookery/bench/target"
)

// WorkerCommand is the word by which the binary is started as a worker: it is
// told what to do on its standard input.
const WorkerCommand = "worker"

// NodeCommand is the word by which the binary is started as a node that takes
// stand-ins, with the flags of serve. It is none of serve's flags, so that no
// node of somebody's does so by mistake.
const NodeCommand = "node-with-stand-ins"

// Program is the binary that runs this, as far as it must be known.
type Program struct {
	// Binary has the commands serve and `bench worker`.
	Binary      string
	Version     string
	Command     []string // as it was typed
	Descriptors uint64   // that a process may open
	In          io.Reader
	Out, Err    io.Writer
}

// UsageError is a fault in how the command was called.
type UsageError struct{ err error }

func (e *UsageError) Error() string { return e.err.Error() }
func (e *UsageError) Unwrap() error { return e.err }

// ErrFailed says that messages were lost, doubled or out of order; ErrInvalid
// that the measurement cannot be believed.
var (
	ErrFailed  = errors.New("the run FAILED")
	ErrInvalid = errors.New("the run is NOT VALID")
)

const usage = `Measure a node.

Usage:
  rookery bench SCENARIO [flags]     rookery bench SCENARIO --help lists them
  rookery bench compare A.json B.json

It measures a node that it starts itself, in a process of its own (--self), or
one that runs: --addr HOST:PORT --admin ADDRESS.

Scenarios:
`

// Run is the command: args are what follows `rookery bench`.
func Run(ctx context.Context, p Program, args []string) error {
	if len(args) == 0 || args[0] == "help" || args[0] == "-h" || args[0] == "--help" {
		fmt.Fprint(p.Out, usage)
		for _, s := range scenario.All() {
			fmt.Fprintf(p.Out, "  %-10s %s\n", s.Name(), s.Doc())
		}
		fmt.Fprint(p.Out, "\nWhat each one does, and how not to fool oneself, is in bench/README.md.\n")
		return nil
	}
	switch args[0] {
	case WorkerCommand:
		return load.Serve(ctx, p.In, p.Out)
	case hostile.Command:
		return hostile.Serve(ctx, p.In, p.Out)
	case "compare":
		return compare(p, args[1:])
	}
	s, ok := scenario.Find(args[0])
	if !ok {
		return &UsageError{fmt.Errorf("bench: there is no scenario %q; rookery bench lists them", args[0])}
	}
	o, err := parse(p, s, args[1:])
	if err != nil {
		return err
	}
	return o.profiled(func() error { return o.measure(ctx, p, s) })
}

// options are the flags that all scenarios share.
type options struct {
	self        bool
	nodes       int
	address     string
	admin       string
	pid         int
	dir         string
	memory      bool
	checkpoints time.Duration
	serveFlags  []string
	json, html  string
	runs        int
	workers     int
	payload     int
	ackEach     bool
	atOnce      int
	seed        uint64
	probe       time.Duration
	profile     string
}

func parse(p Program, s scenario.Scenario, args []string) (*options, error) {
	o := &options{}
	fs := flag.NewFlagSet("rookery bench "+s.Name(), flag.ContinueOnError)
	fs.SetOutput(p.Err)
	fs.BoolVar(&o.self, "self", false, "start a node for the run, in a process of its own with an empty data directory")
	fs.IntVar(&o.nodes, "nodes", 1, "with --self: so many nodes, in a cluster; devices connect to them in turn, and what the server takes is what all of them take")
	fs.StringVar(&o.address, "addr", "127.0.0.1:8080", "address of the node's clients, as numbers")
	fs.StringVar(&o.admin, "admin", "127.0.0.1:9090", "the node's admin address, or the path of its socket file")
	fs.IntVar(&o.pid, "pid", 0, "the node's process, where it is not the one that it says itself")
	fs.StringVar(&o.dir, "dir", "", "with --self: where its data is put, in a folder that is removed afterwards (default: the system's temporary folder)")
	fs.BoolVar(&o.memory, "allow-tmpfs", false, "measure even where the data is in memory; the report says so")
	fs.DurationVar(&o.checkpoints, "checkpoint-every", 12*time.Second, "with --self: the node's own setting; a node's default is longer and writes less")
	fs.Func("serve-flag", "with --self: one more flag for rookery serve; may be repeated, and is printed", func(s string) error {
		o.serveFlags = append(o.serveFlags, s)
		return nil
	})
	fs.StringVar(&o.json, "json", "", "write the result to this file")
	fs.StringVar(&o.html, "html", "", "write a page with charts to this file")
	fs.IntVar(&o.runs, "runs", 1, "how often; the figures are then medians, with their spread")
	fs.IntVar(&o.workers, "workers", 0, "processes that generate load (0: as few as descriptors allow)")
	fs.IntVar(&o.payload, "payload", 100, "bytes of a message's payload")
	fs.BoolVar(&o.ackEach, "ack-each", false, "ack every message by itself instead of all that came together")
	fs.IntVar(&o.atOnce, "at-once", 2000, "connections that are being opened at a time")
	fs.Uint64Var(&o.seed, "seed", 1, "of the order in which users take turns")
	fs.StringVar(&o.profile, "client-profile", "", "write a CPU profile of this process, which generates the load unless there are several workers, to this file")
	fs.DurationVar(&o.probe, "disk-probe", 2*time.Second, "how long the disk is probed before and after")
	s.Flags(fs)
	fs.Usage = func() {
		fmt.Fprintf(p.Err, "rookery bench %s: %s\n\n", s.Name(), s.Doc())
		fs.PrintDefaults()
	}
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil, err
		}
		return nil, &UsageError{err}
	}
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	check(fs.NArg() == 0, "unexpected argument %q", fs.Arg(0))
	check(o.runs >= 1 && o.runs <= 99, "runs: %d is not from 1 to 99", o.runs)
	check(o.payload >= 16 && o.payload <= 64<<10, "payload: %d is not from 16 to 65536", o.payload)
	check(o.atOnce >= 1, "at-once: %d is not above 0", o.atOnce)
	check(o.self || len(o.serveFlags) == 0, "serve-flag: is for a node started by --self")
	check(o.nodes >= 1 && o.nodes <= 9, "nodes: %d is not from 1 to 9", o.nodes)
	check(o.nodes == 1 || o.self && !scenario.NeedsStandIns(s), "nodes: are started by --self, without stand-ins")
	check(o.checkpoints > 0, "checkpoint-every: %v is not above 0", o.checkpoints)
	errs = append(errs, s.Validate())
	check(o.self || !scenario.NeedsStandIns(s), "stand-in: only a node started by --self takes them")
	if err := errors.Join(errs...); err != nil {
		return nil, &UsageError{err}
	}
	return o, nil
}

// profiled runs f under a profile, where one is wanted.
func (o *options) profiled(f func() error) (err error) {
	if o.profile == "" {
		return f()
	}
	file, err := os.Create(o.profile)
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if err := pprof.StartCPUProfile(file); err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	defer pprof.StopCPUProfile()
	return f()
}

// measure runs a scenario as often as asked, and reports.
func (o *options) measure(ctx context.Context, p Program, s scenario.Scenario) error {
	var runs []report.Result
	for i := range o.runs {
		if o.runs > 1 {
			fmt.Fprintf(p.Err, "\nrun %d of %d\n", i+1, o.runs)
		}
		r, err := o.once(ctx, p, s)
		if err != nil {
			return fmt.Errorf("bench %s: %w", s.Name(), err)
		}
		runs = append(runs, *r)
	}
	r := report.Median(runs)
	err := report.Table(p.Out, r)
	if o.json != "" {
		err = errors.Join(err, writeJSON(o.json, r))
	}
	if o.html != "" {
		err = errors.Join(err, writeHTML(o.html, r))
	}
	if err != nil {
		return err
	}
	if err := r.Failed(); err != nil {
		return fmt.Errorf("%w: %w", ErrFailed, err)
	}
	if !r.Valid {
		return ErrInvalid
	}
	return nil
}

// once is one run: a node, the disk's own latency, the scenario, the disk again.
func (o *options) once(ctx context.Context, p Program, s scenario.Scenario) (_ *report.Result, err error) {
	n, err := o.node(ctx, p, s)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, n.Close()) }()
	fs, dir, err := o.fileSystem(n)
	if err != nil {
		return nil, err
	}
	before, err := o.probeDisk(ctx, p, dir)
	if err != nil {
		return nil, err
	}
	m := machine.Describe()
	r, err := s.Run(ctx, &scenario.Env{
		Node: n, Out: p.Err, Descriptors: int(p.Descriptors), Workers: o.workers, //nolint:gosec // a limit of descriptors
		Spawn: p.worker(ctx), Payload: o.payload, AckEach: o.ackEach, AtOnce: o.atOnce, Seed: o.seed, Machine: m,
	})
	if err != nil {
		return nil, err
	}
	after, err := o.probeDisk(ctx, p, dir)
	if err != nil {
		return nil, err
	}
	diskSync(r, before, after)
	r.Command, r.Version, r.Machine, r.FileSystem = p.Command, p.Version, m, fs
	r.Node = report.Node{Version: n.About.Version, Go: n.About.Go, Own: n.Own(), CheckpointEvery: n.About.CheckpointEvery, Lifted: n.Lifted, Set: n.Set, Rates: map[string]float64{}}
	for name, rate := range n.About.Rates {
		r.Node.Rates[name] = rate.PerSecond
	}
	return r, nil
}

func (o *options) node(ctx context.Context, p Program, s scenario.Scenario) (*target.Node, error) {
	if !o.self {
		return target.Given(ctx, o.address, o.admin, o.pid)
	}
	dir := o.dir
	if dir == "" {
		dir = os.TempDir()
	}
	// Before anything is started: a node that must not be measured need not run.
	if err := o.allowed(dir); err != nil {
		return nil, err
	}
	cfg := target.SelfConfig{Binary: p.Binary, Dir: dir, CheckpointEvery: o.checkpoints, Extra: o.serveFlags, Nodes: o.nodes}
	if scenario.NeedsStandIns(s) {
		cfg.StandIns = []string{"bench", NodeCommand}
		cfg.Extra = append([]string{"--hibernate-after=" + scenario.HibernateAfter.String()}, cfg.Extra...)
	}
	n, err := target.Self(ctx, cfg)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(p.Err, "a node of our own at %s, process %d\n", n.Address, n.About.PID)
	for _, l := range n.Lifted {
		fmt.Fprintf(p.Err, "  limit lifted: %s\n", l)
	}
	for _, s := range n.Set {
		fmt.Fprintf(p.Err, "  set: %s\n", s)
	}
	return n, nil
}

// allowed refuses a file system that is memory.
func (o *options) allowed(dir string) error {
	fs, err := machine.ReadFileSystem(dir)
	if err != nil {
		return err
	}
	if fs.Memory && !o.memory {
		return fmt.Errorf("%s is on %s, which is memory: syncs cost nothing there. Choose another --dir, or say --allow-tmpfs", dir, fs.Name)
	}
	return nil
}

// fileSystem is where the node's data lies, if that is on this machine.
func (o *options) fileSystem(n *target.Node) (*machine.FileSystem, string, error) {
	dir := n.About.Data
	if !n.Here {
		return nil, "", nil
	}
	if _, err := os.Stat(dir); err != nil {
		return nil, "", nil //nolint:nilerr // not for us to see
	}
	if err := o.allowed(dir); err != nil {
		return nil, "", err
	}
	fs, err := machine.ReadFileSystem(dir)
	return &fs, dir, err
}

// quiet is how many cores may be busy while the disk is probed, for what the
// probe says to be the disk's own.
const quiet = 0.3

// probed is what a probe of the disk saw, and how busy others kept the machine
// meanwhile.
type probed struct {
	sync *latency.Histogram
	busy float64 // cores, the probe's own apart
}

// probeDisk gives nil where it is not to be, or not known where.
func (o *options) probeDisk(ctx context.Context, p Program, dir string) (*probed, error) {
	if dir == "" || o.probe <= 0 {
		return nil, nil
	}
	before, err := othersCPU()
	if err != nil {
		return nil, err
	}
	began := time.Now()
	h, err := machine.ProbeDisk(ctx, dir, o.probe)
	if err != nil {
		return nil, err
	}
	after, err := othersCPU()
	if err != nil {
		return nil, err
	}
	seen := &probed{h, max(0, (after-before).Seconds()/time.Since(began).Seconds())}
	fmt.Fprintf(p.Err, "disk: 4 KiB are durable in %.2f ms (p50), %.2f ms (p99), others keep %.2f cores busy\n",
		latency.Millis(h.Quantile(50)), latency.Millis(h.Quantile(99)), seen.busy)
	return seen, nil
}

// othersCPU is the processor time that all but this process took so far.
func othersCPU() (time.Duration, error) {
	all, err := machine.ReadSystem()
	if err != nil {
		return 0, err
	}
	own, err := machine.ReadProcess(os.Getpid())
	return all.Busy - own.CPU, err
}

// diskSync puts the two probes into the result. One that was made while others
// were busy is too long, which would make a node look good beside it.
func diskSync(r *report.Result, before, after *probed) {
	if before == nil || after == nil {
		r.Note("the disk was not probed")
		return
	}
	r.DiskSyncMs = &report.DiskSync{Before: before.sync.Quantiles(), After: after.sync.Quantiles(), BusyCores: max(before.busy, after.busy)}
	both := latency.New()
	both.Add(before.sync)
	both.Add(after.sync)
	r.DiskSyncMs.P50, r.DiskSyncMs.P99 = latency.Millis(both.Quantile(50)), latency.Millis(both.Quantile(99))
	if r.DiskSyncMs.BusyCores > quiet {
		r.Note("the machine was not quiet while the disk was probed, others kept %.2f cores busy: diskSyncMs is not the disk's own", r.DiskSyncMs.BusyCores)
	}
}

// worker makes commands of worker processes.
func (p Program) worker(ctx context.Context) func() *exec.Cmd {
	return func() *exec.Cmd {
		cmd := exec.CommandContext(ctx, p.Binary, "bench", WorkerCommand)
		cmd.Stderr = p.Err
		return cmd
	}
}

func writeJSON(path string, r *report.Result) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	if err := os.WriteFile(path, append(data, '\n'), 0o644); err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	return nil
}

func writeHTML(path string, r *report.Result) error {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	return errors.Join(report.HTML(f, r), f.Close())
}

// compare sets two results side by side.
func compare(p Program, args []string) error {
	if len(args) != 2 {
		return &UsageError{errors.New("bench compare: two files are needed, the result of before and that of after")}
	}
	var both [2]report.Result
	for i, path := range args {
		data, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("bench compare: %w", err)
		}
		if err := json.Unmarshal(data, &both[i]); err != nil {
			return fmt.Errorf("bench compare: %s: %w", path, err)
		}
	}
	return report.Compare(p.Out, &both[0], &both[1])
}
