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
	"github.com/rookery-im/rookery/bench/load"
	"github.com/rookery-im/rookery/bench/report"
	"github.com/rookery-im/rookery/bench/target"
)

// Hostile is people who talk at a steady pace while others attack the node.
type Hostile struct {
	Users     int
	Rate      float64
	Warm      time.Duration
	During    time.Duration
	Attacks   string
	Attackers int
	Conns     int
}

// SlowedMost is how much slower an attack may make the others.
const SlowedMost = 1.2

// attackSubnet is the second byte of the attackers' addresses, which no worker has.
const attackSubnet = 200

// Name of the scenario.
func (*Hostile) Name() string { return "hostile" }

// Doc of the scenario.
func (*Hostile) Doc() string {
	return "users in pairs at a steady pace, without and with each attack: how much slower they are (run it with --serve-flag --rate-sends=128/1024)"
}

// Flags of the scenario.
func (h *Hostile) Flags(fs *flag.FlagSet) {
	fs.IntVar(&h.Users, "users", 400, "users, two and two of whom talk")
	fs.Float64Var(&h.Rate, "rate", 1000, "messages a second, of all together")
	fs.DurationVar(&h.Warm, "warm", time.Second, "warm-up before each phase, not counted")
	fs.DurationVar(&h.During, "during", 6*time.Second, "how long each phase is measured")
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

// compare measures without an attack and with it, one right after the other.
func (h *Hostile) compare(ctx context.Context, env *Env, w *World, r *report.Result, name string, field hostile.Field) error {
	stretch := Stretch{Name: "before " + name, Drive: load.Drive{Rate: h.Rate}, Warm: h.Warm, During: h.During}
	without, err := w.Measure(ctx, stretch)
	if err != nil {
		return err
	}
	ended, err := env.attack(ctx, hostile.Orders{Attack: name, Field: field, During: h.Warm + h.During})
	if err != nil {
		return err
	}
	stretch.Name = name
	with, err := w.Measure(ctx, stretch)
	said, failed := ended()
	if err = errors.Join(err, failed); err != nil {
		return err
	}
	with.Overload = true // who attacks takes the generator's processor as well
	r.Phases = append(r.Phases, without, with)
	a, b := without.DeliverMs, with.DeliverMs
	if a == nil || b == nil || a.P50 == 0 || a.P99 == 0 {
		r.Note("%s: too little was delivered to compare", name)
		return nil
	}
	p50, p99 := b.P50/a.P50, b.P99/a.P99
	r.P99Ratio = max(r.P99Ratio, p99)
	verdict := "within"
	if p50 > SlowedMost || p99 > SlowedMost {
		verdict = "NOT within"
	}
	r.Note("%s: delivered at p50 %.2f and p99 %.2f ms, without it %.2f and %.2f: x%.2f and x%.2f, %s 20 %%; %.0f of %.0f messages a second; the attacker used %.2f cores: %s",
		name, b.P50, b.P99, a.P50, a.P99, p50, p99, verdict, with.Rate, h.Rate, said.CPU.Seconds()/(h.Warm+h.During).Seconds(), said.Score)
	return nil
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
