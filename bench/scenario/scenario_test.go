package scenario

import (
	"flag"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/rookery-im/rookery/bench/load/latency"
	"github.com/rookery-im/rookery/bench/machine"
	"github.com/rookery-im/rookery/bench/report"
	"github.com/rookery-im/rookery/bench/target"
)

// Whatever the number of workers, everybody is somewhere once, those who talk
// are together, and no flow has another's number.
func TestDivide(t *testing.T) {
	groups := []Group{{Users: 10, Devices: 2, Pattern: Both}, {Users: 14, Devices: 1, Pattern: OneWay}}
	var made [][]target.User
	for i, g := range groups {
		var users []target.User
		for u := range g.Users {
			user := target.User{Name: fmt.Sprintf("%c%d", 'a'+i, u)}
			for d := range g.Devices {
				user.Devices = append(user.Devices, target.Device{Number: uint32(d + 1), Token: fmt.Sprint(user.Name, d)})
			}
			users = append(users, user)
		}
		made = append(made, users)
	}
	for n := 1; n <= 5; n++ {
		w := &World{groups: groups}
		setups := w.divide(made, n)
		seen, talks, flows := map[string]bool{}, map[string]string{}, uint32(0)
		for i, s := range setups {
			if s.FirstFlow != flows {
				t.Errorf("%d workers: worker %d begins with flow %d, want %d", n, i, s.FirstFlow, flows)
			}
			flows += uint32(len(s.Flows))
			for _, u := range s.Users {
				if seen[u.Name] {
					t.Errorf("%d workers: %s is there twice", n, u.Name)
				}
				seen[u.Name] = true
			}
			for _, f := range s.Flows {
				talks[s.Users[f.User].Name] = s.Users[f.To].Name
			}
			senders, recipients := w.span(i, 1, Senders), w.span(i, 1, Recipients)
			if senders.To != recipients.From || senders.To-senders.From != recipients.To-recipients.From {
				t.Errorf("%d workers: senders %v, recipients %v", n, senders, recipients)
			}
			for u := senders.From; u < senders.To; u++ {
				to := s.Users[u+senders.To-senders.From].Name
				if talks[s.Users[u].Name] != to {
					t.Errorf("%d workers: %s sends to %q, want %s", n, s.Users[u].Name, talks[s.Users[u].Name], to)
				}
			}
		}
		if len(seen) != 24 || len(talks) != 10+7 || talks["a4"] != "a5" || talks["a5"] != "a4" || talks["b3"] != "b10" {
			t.Errorf("%d workers: %d users, %v", n, len(seen), talks)
		}
	}
}

func TestWorkers(t *testing.T) {
	for _, c := range []struct {
		descriptors, wanted, devices, want int
	}{
		{20_000, 0, 2000, 1}, {20_000, 0, 19_000, 1}, {20_000, 0, 20_000, 2}, {20_000, 3, 100, 3}, {1024, 0, 2000, 3}, {0, 0, 1 << 20, 1},
	} {
		e := Env{Descriptors: c.descriptors, Workers: c.wanted, Spawn: func() *exec.Cmd { return nil }}
		if got, err := e.workers(c.devices); err != nil || got != c.want {
			t.Errorf("%+v: got %d, %v", c, got, err)
		}
	}
	if _, err := (&Env{Descriptors: 1024}).workers(5000); err == nil {
		t.Error("several processes without a way to start one")
	}
}

// What makes a measurement doubtful is said; what makes it worthless makes it
// not valid.
func TestJudge(t *testing.T) {
	late := func(ms float64, turns int64) *latency.Quantiles { return &latency.Quantiles{P99: ms, Count: turns} }
	for _, c := range []struct {
		name    string
		phase   report.Phase
		invalid string
		note    string
	}{
		{"all is well", report.Phase{Seconds: 10, Offered: 100, LateMs: late(1, 1000), ClientBusy: 0.3}, "", ""},
		{"late", report.Phase{Seconds: 10, Offered: 100, LateMs: late(11, 1000)}, "late by 11.0 ms", ""},
		{"late when overloaded on purpose", report.Phase{Seconds: 10, Offered: 100, LateMs: late(50, 1000), Overload: true}, "", ""},
		{"too few turns", report.Phase{Seconds: 10, Offered: 100, LateMs: late(1, 900)}, "90 turns a second of the 100", ""},
		{"too few turns when overloaded", report.Phase{Seconds: 10, Offered: 100, LateMs: late(1, 900), Overload: true}, "90 turns", ""},
		{"busy", report.Phase{Seconds: 10, ClientBusy: 0.95}, "", "busy 95 %"},
		{"others", report.Phase{Seconds: 10, OtherCores: 0.5}, "", "others used 0.50"},
		{"stolen", report.Phase{Seconds: 10, StealCores: 0.2}, "", "hypervisor"},
	} {
		r := report.New("x")
		r.Machine = machine.Machine{Cores: 2}
		judge(r, &c.phase)
		if invalid := strings.Join(r.Invalid, " "); r.Valid != (c.invalid == "") || !strings.Contains(invalid, c.invalid) {
			t.Errorf("%s: valid %v, %q", c.name, r.Valid, invalid)
		}
		if notes := strings.Join(r.Notes, " "); (notes == "") != (c.note == "") || !strings.Contains(notes, c.note) {
			t.Errorf("%s: notes %q", c.name, notes)
		}
	}
}

// The figures of a phase are those between its two samples.
func TestPhase(t *testing.T) {
	at := time.Unix(1000, 0)
	a := sample{at: at, metrics: target.Metrics{metricSyncs: 10, metricSyncTime: 1, metricFileSyncs: 1, metricCheckpoints: 2}}
	b := sample{at: at.Add(10 * time.Second), metrics: target.Metrics{metricSyncs: 110, metricSyncTime: 1.2, metricFileSyncs: 6, metricCheckpoints: 5}}
	a.load.Tally.Accepted, b.load.Tally.Accepted = 1000, 501_000
	b.load.Tally.Delivered = 1_000_000
	a.process.CPU, b.process.CPU = time.Second, 9*time.Second
	b.load.CPU = 2 * time.Second
	b.load.Idle, b.load.Run = 4*time.Second, 10*time.Second
	a.process.BytesWritten, b.process.BytesWritten = 1<<20, 1<<20+100_000_000
	b.system.Busy, b.system.Steal = 15*time.Second, time.Second
	p := phase(a, b, sample{pause: 0.002})
	for name, pair := range map[string][2]float64{
		"rate": {p.Rate, 50_000}, "deliveries": {p.DeliveriesPerSecond, 100_000}, "server": {p.ServerCPUPerMillion, 16}, "client": {p.ClientCPUPerMillion, 4},
		"bytes": {p.BytesWrittenPerMessage, 200}, "syncs": {p.Syncs, 105}, "sync": {p.SyncMeanMs, 2}, "checkpoints": {p.Checkpoints, 3},
		"others": {p.OtherCores, 0.5}, "stolen": {p.StealCores, 0.1}, "busy": {p.ClientBusy, 0.6}, "pause": {p.MaxPauseMs, 2},
	} {
		if d := pair[0] - pair[1]; d > 1e-6 || d < -1e-6 {
			t.Errorf("%s: got %v, want %v", name, pair[0], pair[1])
		}
	}
}

// Every scenario has defaults that it takes itself, and says what is wrong with others.
func TestParameters(t *testing.T) {
	names := map[string]bool{}
	for _, s := range All() {
		fs := flag.NewFlagSet(s.Name(), flag.ContinueOnError)
		fs.SetOutput(io.Discard)
		s.Flags(fs)
		if err := s.Validate(); err != nil {
			t.Errorf("%s: its defaults: %v", s.Name(), err)
		}
		if names[s.Name()] || s.Doc() == "" {
			t.Errorf("%s is there twice, or says nothing", s.Name())
		}
		names[s.Name()] = true
		for _, bad := range []string{"users", "sessions", "during", "messages", "rate"} {
			if fs.Lookup(bad) == nil {
				continue
			}
			was := fs.Lookup(bad).Value.String()
			value := "-1"
			if bad == "during" {
				value = "-1s"
			}
			if err := fs.Set(bad, value); err != nil {
				t.Fatal(err)
			}
			if err := s.Validate(); err == nil {
				t.Errorf("%s takes --%s %s", s.Name(), bad, value)
			}
			if err := fs.Set(bad, was); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(names) != 11 {
		t.Errorf("%d scenarios: %v", len(names), names)
	}
}
