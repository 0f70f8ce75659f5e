// Command peers measures what a user would pick instead of Rookery by the
// scenarios of Rookery's own bench, and writes results of the same form. It
// starts a peer with a configuration from conf and its data in a folder of its
// own, plays its users, and ends it. run.sh runs it beside rookery bench.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/rookery-im/rookery/bench/load/latency"
	"github.com/rookery-im/rookery/bench/machine"
	"github.com/rookery-im/rookery/bench/report"
)

const usage = `Usage:
  peers run --peer NAME --scenario pairs|offline|idle|storm [flags]
  peers table [--html FILE] [SECTION:]LABEL=FILE.json...    results side by side
`

// crashing says what becomes of the server when all is stored.
type crashing uint8

const (
	spared crashing = iota
	killed
)

type options struct {
	peer, scenario     string
	tools              tools
	dir, json          string
	runs               int
	users, recipients  int
	messages, window   int
	sessions, payload  int
	atOnce             int
	seed               uint64
	warm, during, rest time.Duration
	open               float64
	crash              crashing
	closes             closing
	killAfter          time.Duration
	probe              time.Duration
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	switch command := append(os.Args[1:], ""); command[0] {
	case "run":
		err = run(ctx, os.Args[2:])
	case "table":
		err = table(os.Stdout, os.Args[2:])
	default:
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

func parse(args []string) (*options, error) {
	o := &options{}
	fs := flag.NewFlagSet("peers run", flag.ContinueOnError)
	fs.StringVar(&o.peer, "peer", "", "who is measured: nats, jetstream, jetstream-sync, mosquitto, ejabberd")
	fs.StringVar(&o.scenario, "scenario", "pairs", "pairs, offline, idle or storm")
	fs.StringVar(&o.tools.nats, "nats", "nats-server", "the binary")
	fs.StringVar(&o.tools.mosquitto, "mosquitto", "/usr/sbin/mosquitto", "the binary")
	fs.StringVar(&o.tools.erl, "erl", "/usr/bin/erl", "what starts ejabberd")
	fs.StringVar(&o.dir, "dir", os.TempDir(), "where the server's data is put, in a folder that is removed afterwards")
	fs.StringVar(&o.json, "json", "", "write the result to this file")
	fs.IntVar(&o.runs, "runs", 1, "how often; the figures are then medians, with their spread")
	fs.IntVar(&o.users, "users", 2000, "pairs: users")
	fs.DurationVar(&o.warm, "warm", 3*time.Second, "pairs: warm-up before each phase")
	fs.DurationVar(&o.during, "during", 20*time.Second, "pairs: how long each phase is measured")
	fs.Float64Var(&o.open, "open", 0.5, "pairs: rate of the open loop, as a share of window 1's; 0 leaves it out")
	fs.IntVar(&o.recipients, "recipients", 2000, "offline: users who are away; as many others send")
	fs.IntVar(&o.messages, "messages", 100, "offline: messages for each of them")
	fs.IntVar(&o.window, "window", 16, "offline: sends that a sender leaves unanswered")
	closes := fs.String("closes", "receipt", "pairs: what makes room in a window: receipt, or sent, which is the server's own acknowledgement")
	kill := fs.Bool("kill", false, "offline: kill -9 the server when all is stored, and start it again")
	fs.DurationVar(&o.killAfter, "kill-after", 0, "offline --kill: how long after the last acknowledgement")
	fs.IntVar(&o.sessions, "sessions", 9500, "idle, storm: connections")
	fs.DurationVar(&o.rest, "rest", 12*time.Second, "idle: how long the server is left alone before it is weighed")
	fs.IntVar(&o.payload, "payload", 100, "bytes of a message's payload")
	fs.IntVar(&o.atOnce, "at-once", 2000, "connections that are being opened at a time")
	fs.Uint64Var(&o.seed, "seed", 1, "of the order in which users take turns")
	fs.DurationVar(&o.probe, "disk-probe", 2*time.Second, "how long the disk is probed before and after")
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	if *kill {
		o.crash = killed
	}
	err := o.validate(fs.Args())
	switch *closes {
	case "receipt":
	case "sent":
		o.closes = atSent
	default:
		err = errors.Join(err, fmt.Errorf("closes: %q is neither receipt nor sent", *closes))
	}
	return o, err
}

func (o *options) validate(rest []string) error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	_, err := findPeer(o.peer)
	check(err == nil, "peer: %w", err)
	check(scenarios()[o.scenario] != nil, "scenario: there is no %q", o.scenario)
	check(len(rest) == 0, "unexpected arguments %q", rest)
	check(o.runs >= 1, "runs: %d is not above 0", o.runs)
	check(o.users >= 2 && o.users%2 == 0, "users: %d is not an even number above 0", o.users)
	check(o.sessions >= 2 && o.sessions%2 == 0, "sessions: %d is not an even number above 0", o.sessions)
	check(o.recipients >= 1 && o.messages >= 1 && o.window >= 1, "recipients, messages, window: one is not above 0")
	check(o.payload >= keySize && o.payload <= 64<<10, "payload: %d is not from %d to 65536", o.payload, keySize)
	check(o.atOnce >= 1, "at-once: %d is not above 0", o.atOnce)
	check(o.during > 0 && o.warm >= 0 && o.rest >= 0 && o.open >= 0, "during, warm, rest, open: one is below 0")
	return errors.Join(errs...)
}

type scenario func(context.Context, *bench, *report.Result) error

func scenarios() map[string]scenario {
	return map[string]scenario{"pairs": pairs, "offline": offline, "idle": idle, "storm": storm}
}

func run(ctx context.Context, args []string) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	var all []report.Result
	for range o.runs {
		r, err := o.once(ctx)
		if err != nil {
			return err
		}
		all = append(all, *r)
	}
	r := report.Median(all)
	if err := report.Table(os.Stdout, r); err != nil {
		return err
	}
	if o.json != "" {
		data, err := json.MarshalIndent(r, "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(o.json, append(data, '\n'), 0o644); err != nil {
			return err
		}
	}
	if !r.Valid {
		return errors.Join(errors.New("the run is not valid"), r.Failed())
	}
	return r.Failed()
}

// once is one run with a server of its own.
func (o *options) once(ctx context.Context) (_ *report.Result, err error) {
	p, err := findPeer(o.peer)
	if err != nil {
		return nil, err
	}
	fs, err := machine.ReadFileSystem(o.dir)
	if err != nil {
		return nil, err
	}
	r := report.New(o.scenario)
	r.Machine, r.FileSystem, r.Command = machine.Describe(), &fs, os.Args
	if fs.Memory {
		r.Invalidate("the data is in memory: syncs cost nothing there")
	}
	before, err := machine.ProbeDisk(ctx, o.dir, o.probe)
	if err != nil {
		return nil, err
	}
	s, err := startServer(ctx, p, o.tools, o.dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	b := &bench{server: s, out: os.Stderr, opts: o}
	b.say("%s at %s, process %d: %s", p.name, s.address, s.pid(), p.doc)
	err = scenarios()[o.scenario](ctx, b, r)
	if b.fleet != nil {
		b.finish(r)
		err = errors.Join(err, b.fleet.close())
	}
	if err != nil {
		return nil, fmt.Errorf("%s, %s: %w", p.name, o.scenario, err)
	}
	r.Node = report.Node{Version: versionOf(p, o.tools), Go: p.name, Own: true, Set: s.settings()}
	after, err := machine.ProbeDisk(ctx, o.dir, o.probe)
	if err != nil {
		return nil, err
	}
	both := latency.New()
	both.Add(before)
	both.Add(after)
	r.DiskSyncMs = &report.DiskSync{P50: latency.Millis(both.Quantile(50)), P99: latency.Millis(both.Quantile(99)), Before: before.Quantiles(), After: after.Quantiles()}
	r.Version = strings.TrimSpace("bench/peers " + p.name)
	return r, nil
}
