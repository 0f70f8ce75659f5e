package scenario

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"time"

	"github.com/rookery-im/rookery/bench/load"
	"github.com/rookery-im/rookery/bench/load/ledger"
	"github.com/rookery-im/rookery/bench/machine"
	"github.com/rookery-im/rookery/bench/target"
)

// Env is what a scenario runs in.
type Env struct {
	Node *target.Node
	// Out takes progress, in lines.
	Out io.Writer
	// Descriptors that a process may open; Workers, where not 0, is how many
	// processes generate load even if fewer could.
	Descriptors, Workers int
	// Spawn makes the command of one more process that runs load.Serve. One
	// worker is enough where nil.
	Spawn func() *exec.Cmd
	// Payload of a message, bytes.
	Payload int
	// AckEach acks each message by itself.
	AckEach bool
	// AtOnce bounds the handshakes under way.
	AtOnce int
	Seed   uint64
	// Machine that all of this runs on.
	Machine machine.Machine
}

// probeEvery is how often the probe pings.
const probeEvery = 5 * time.Millisecond

// reserved descriptors of a worker: pipes, epoll, its files.
const reserved = 256

// Say prints a line of progress.
func (e *Env) Say(format string, args ...any) { fmt.Fprintf(e.Out, format+"\n", args...) }

// Pattern is who sends to whom in a group.
type Pattern uint8

const (
	// Both: users 2i and 2i+1 send to each other.
	Both Pattern = iota
	// OneWay: the first half sends to the second, one to one.
	OneWay
)

// Group of users who are alike.
type Group struct {
	Users, Devices int
	Pattern        Pattern
}

// World is the users of a run, and the workers that play them.
type World struct {
	env    *Env
	fleet  load.Fleet
	groups []Group
	spans  [][]load.Span // by worker and group: users
	flows  [][]load.Span // the same: flows
	total  int           // flows of all
	devs   int
	rate   float64 // of sends, as welcome states it
}

// Carriage is what the connections of a world stand on.
type Carriage uint8

const (
	// Descriptors: each connection has one at both ends.
	Descriptors Carriage = iota
	// StandIns: none has, but for those of the probes.
	StandIns
)

// probes are the devices that ping: enough to be on several connections, and in
// several shards.
const probes = 4

// Build makes the users, starts the workers, and tells them who they are.
func (e *Env) Build(ctx context.Context, c Carriage, groups ...Group) (*World, error) {
	w := &World{env: e, groups: groups}
	proof := target.Tokens
	if c == StandIns {
		proof = target.Passes
	}
	for _, g := range groups {
		w.devs += g.Users * g.Devices
	}
	begin := time.Now()
	prefix, run, err := newRun()
	if err != nil {
		return nil, err
	}
	made := make([][]target.User, len(groups))
	for i, g := range groups {
		if made[i], err = e.Node.MakeUsers(ctx, fmt.Sprintf("%s%c", prefix, 'a'+i), g.Users, g.Devices, proof, func(int) {}); err != nil {
			return nil, err
		}
	}
	watch, err := e.Node.MakeUsers(ctx, prefix+"probe", probes, 1, target.Tokens, func(int) {})
	if err != nil {
		return nil, err
	}
	e.Say("%d devices made in %.1f s", w.devs, time.Since(begin).Seconds())
	setups, err := w.setups(c, made)
	if err != nil {
		return nil, err
	}
	for i := range setups {
		s := &setups[i]
		s.Targets, s.Run, s.Payload, s.AckEach, s.Seed = e.Node.Addresses(), run, e.Payload, e.AckEach, e.Seed+uint64(i)
		s.Subnet = byte(1 + i)
	}
	last := &setups[len(setups)-1]
	last.ProbeEvery = probeEvery
	for _, u := range watch {
		last.Probes = append(last.Probes, u.Devices[0].Token)
	}
	if w.fleet, err = e.start(ctx, c, len(setups)); err != nil {
		return nil, err
	}
	if _, err := w.fleet.Each(ctx, func(i int) load.Order { return load.Order{Setup: &setups[i]} }); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return w, nil
}

// setups says who plays whom. A worker with all the stand-ins has a large heap
// and much to do: the probes are another's then, so that what they see is the node.
func (w *World) setups(c Carriage, made [][]target.User) ([]load.Setup, error) {
	if c == StandIns {
		setups := append(w.divide(made, 1), load.Setup{})
		setups[0].StandIns = w.env.Node.StandIns
		w.spans = append(w.spans, make([]load.Span, len(w.groups)))
		w.flows = append(w.flows, make([]load.Span, len(w.groups)))
		return setups, nil
	}
	n, err := w.env.workers(w.devs)
	if err != nil {
		return nil, err
	}
	return w.divide(made, n), nil
}

// newRun gives names and ids that no other run has.
func newRun() (string, ledger.Run, error) {
	var b [4]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", ledger.Run{}, fmt.Errorf("scenario: %w", err)
	}
	n := binary.BigEndian.Uint32(b[:])
	return fmt.Sprintf("bench-%08x-", n), ledger.Run{Start: uint64(time.Now().UnixMilli()), Tag: uint16(n & 0xfff)}, nil
}

// workers is how many are needed.
func (e *Env) workers(devices int) (int, error) {
	n := max(e.Workers, 1)
	if room := e.Descriptors - reserved; e.Descriptors > 0 {
		n = max(n, (devices+probes+room-1)/room)
	}
	if n > 1 && e.Spawn == nil {
		return 0, fmt.Errorf("scenario: %d devices need %d processes, and there is no way to start one", devices, n)
	}
	if n > 200 {
		return 0, fmt.Errorf("scenario: %d devices need %d processes", devices, n)
	}
	return n, nil
}

// divide gives each worker its part of every group; those who talk stay together.
func (w *World) divide(made [][]target.User, n int) []load.Setup {
	setups := make([]load.Setup, n)
	w.spans, w.flows = make([][]load.Span, n), make([][]load.Span, n)
	for i := range setups {
		s := &setups[i]
		s.FirstFlow = uint32(w.total)
		for k, g := range w.groups {
			pairs := g.Users / 2
			from, to := pairs*i/n, pairs*(i+1)/n
			at, flow := len(s.Users), len(s.Flows)
			if g.Pattern == Both {
				s.Users = appendUsers(s.Users, made[k][2*from:2*to])
				for u := at; u < len(s.Users); u += 2 {
					s.Flows = append(s.Flows, load.Flow{User: u, To: u + 1}, load.Flow{User: u + 1, To: u})
				}
			} else {
				s.Users = appendUsers(s.Users, made[k][from:to])
				s.Users = appendUsers(s.Users, made[k][pairs+from:pairs+to])
				for u := range to - from {
					s.Flows = append(s.Flows, load.Flow{User: at + u, To: at + to - from + u})
				}
			}
			w.spans[i] = append(w.spans[i], load.Span{From: at, To: len(s.Users)})
			w.flows[i] = append(w.flows[i], load.Span{From: flow, To: len(s.Flows)})
		}
		w.total += len(s.Flows)
	}
	return setups
}

func appendUsers(dst []load.User, users []target.User) []load.User {
	for _, u := range users {
		user := load.User{Name: u.Name}
		for _, d := range u.Devices {
			user.Devices = append(user.Devices, load.Device{Number: d.Number, Token: d.Token})
		}
		dst = append(dst, user)
	}
	return dst
}

// start starts the workers: one in this process, several in their own. With
// stand-ins the first is here: its orders are large.
func (e *Env) start(ctx context.Context, c Carriage, n int) (load.Fleet, error) {
	var f load.Fleet
	if n == 1 || c == StandIns {
		worker, err := load.StartLocal(ctx)
		if f = append(f, worker); err != nil || n == 1 {
			return f, err
		}
	}
	for len(f) < n {
		worker, err := load.StartRemote(e.Spawn())
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		f = append(f, worker)
	}
	e.Say("%d processes generate the load", n)
	return f, nil
}

// Close ends the workers.
func (w *World) Close() error { return w.fleet.Close() }
