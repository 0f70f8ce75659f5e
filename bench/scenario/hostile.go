package scenario

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/rookery-im/rookery/bench/hostile"
	"github.com/rookery-im/rookery/bench/report"
	"github.com/rookery-im/rookery/bench/target"
)

// Hostile is people who talk at a steady pace while others attack the node.
type Hostile struct {
	Users     int
	Rate      float64
	Warm      time.Duration
	During    time.Duration
	Rounds    int
	Attacks   string
	Attackers int
	Conns     int
}

// attackSubnet is the second byte of the attackers' addresses, which no worker has.
const attackSubnet = 200

// Name of the scenario.
func (*Hostile) Name() string { return "hostile" }

// Doc of the scenario.
func (*Hostile) Doc() string {
	return "users in pairs at a steady pace, without an attack, with it, and with a control that takes the same processor time: how much slower the node makes them (run it with --serve-flag --rate-sends=128/1024 --serve-flag --registration=open)"
}

// Flags of the scenario.
func (h *Hostile) Flags(fs *flag.FlagSet) {
	fs.IntVar(&h.Users, "users", 400, "users, two and two of whom talk")
	fs.Float64Var(&h.Rate, "rate", 1000, "messages a second, of all together")
	fs.DurationVar(&h.Warm, "warm", time.Second, "warm-up before each phase, not counted")
	fs.DurationVar(&h.During, "during", 6*time.Second, "how long each phase is measured")
	fs.IntVar(&h.Rounds, "rounds", 3, "how often each attack is measured; the medians are compared")
	fs.StringVar(&h.Attacks, "attack", "half-open,slow-body,slow-payload,tiny-fragments,frame-flood,logins", "attacks, with commas between them, or all")
	fs.IntVar(&h.Attackers, "attackers", 64, "accounts of the attackers")
	fs.IntVar(&h.Conns, "conns", 2000, "connections of an attack that only holds them")
}

// Validate names every fault of the parameters.
func (h *Hostile) Validate() error {
	var f faults
	f.even("users", h.Users)
	f.check(h.Rate > 0, "rate: %g is not above 0", h.Rate)
	f.check(h.During > 0 && h.Warm >= 0, "during, warm: %v, %v", h.During, h.Warm)
	f.check(h.Rounds > 0, "rounds: %d is not above 0", h.Rounds)
	f.check(h.Attackers > 0 && h.Conns > 0, "attackers, conns: %d, %d are not above 0", h.Attackers, h.Conns)
	for _, name := range h.attacks() {
		_, ok := hostile.Find(name)
		f.check(ok, "attack: there is none called %q; they are %s", name, strings.Join(hostile.Names(), ", "))
	}
	return f.err()
}

func (h *Hostile) attacks() []string {
	if h.Attacks == "all" {
		return hostile.Names()
	}
	return strings.Split(h.Attacks, ",")
}

// Run measures once.
func (h *Hostile) Run(ctx context.Context, env *Env) (_ *report.Result, err error) {
	r := report.New(h.Name())
	w, err := env.Build(ctx, Descriptors, Group{Users: h.Users, Devices: 1, Pattern: Both})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	if _, err := w.Connect(ctx, 0, Everybody, StayAway); err != nil {
		return nil, err
	}
	field, err := h.field(ctx, env)
	if err != nil {
		return nil, err
	}
	for _, name := range h.attacks() {
		if err := h.compare(ctx, env, w, r, name, field); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	last := &r.Phases[len(r.Phases)-1]
	r.Rate, r.ServerCPUPerMillion, r.ClientCPUPerMillion = last.Rate, last.ServerCPUPerMillion, last.ClientCPUPerMillion
	r.SentMs, r.DeliverMs, r.ReceiptMs = last.SentMs, last.DeliverMs, last.ReceiptMs
	worst(r)
	return r, w.Finish(ctx, r)
}

// field makes the attackers' accounts.
func (h *Hostile) field(ctx context.Context, env *Env) (hostile.Field, error) {
	f := hostile.Field{Address: env.Node.Address, Subnet: attackSubnet, Conns: h.Conns}
	prefix, _, err := newRun()
	if err != nil {
		return f, err
	}
	made, err := env.Node.MakeUsers(ctx, prefix+"x", h.Attackers+1, 1, target.Tokens, func(int) {})
	if err != nil {
		return f, err
	}
	f.Victim = made[h.Attackers].Name
	for _, u := range made[:h.Attackers] {
		f.Attackers = append(f.Attackers, hostile.User{Name: u.Name, Tokens: []string{u.Devices[0].Token}})
	}
	return f, nil
}

// compare measures an attack, as often as asked.
func (h *Hostile) compare(ctx context.Context, env *Env, w *World, r *report.Result, name string, field hostile.Field) error {
	o := ordeal{name: name}
	for range h.Rounds {
		if err := o.round(ctx, h, env, w, field); err != nil {
			return err
		}
	}
	for i := range o.with {
		r.Phases = append(r.Phases, o.without[i], o.with[i], o.control[i])
	}
	_, p99 := o.slowed()
	r.P99Ratio = max(r.P99Ratio, p99)
	r.Note("%s", &o)
	env.Say("%s", &o)
	return nil
}

// beside measures a stretch while an attacker does as it is told.
func (e *Env) beside(ctx context.Context, w *World, s Stretch, o hostile.Orders) (report.Phase, hostile.Report, error) {
	ended, err := e.attack(ctx, o)
	if err != nil {
		return report.Phase{}, hostile.Report{}, err
	}
	p, err := w.Measure(ctx, s)
	said, failed := ended()
	p.Overload = true // who attacks takes the generator's processor as well
	return p, said, errors.Join(err, failed)
}

// attack starts an attacker in a process of its own; ended waits for its report.
func (e *Env) attack(ctx context.Context, o hostile.Orders) (ended func() (hostile.Report, error), err error) {
	if e.Spawn == nil {
		return nil, errors.New("scenario: nothing says how to start an attacker")
	}
	orders, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	var out, complaints bytes.Buffer
	cmd := exec.CommandContext(ctx, e.Spawn().Path, "bench", hostile.Command)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(orders), &out, &complaints
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("scenario: start an attacker: %w", err)
	}
	return func() (r hostile.Report, err error) {
		if err := cmd.Wait(); err != nil {
			return r, fmt.Errorf("scenario: the attacker: %w: %s", err, bytes.TrimSpace(complaints.Bytes()))
		}
		if err := json.Unmarshal(out.Bytes(), &r); err != nil {
			return r, fmt.Errorf("scenario: the attacker's report: %w", err)
		}
		if r.Error != "" {
			return r, fmt.Errorf("scenario: the attacker: %s", r.Error)
		}
		return r, nil
	}, nil
}
