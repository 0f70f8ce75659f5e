package target

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/rookery-im/rookery/bench/machine"
)

// Node that is measured.
type Node struct {
	*Admin
	// Address of clients.
	Address string
	About   About
	// Lifted are the limits that a node of our own runs without, in words; Set
	// is what else it was told.
	Lifted, Set []string
	// StandIns is the socket file of the admin address where the node takes them.
	StandIns string
	// Here says that About.PID is a process of this machine.
	Here bool
	// Others are the further nodes of the cluster that is measured. What Metrics
	// and Process say is then of all together.
	Others []*Node

	own *own
}

// own is the process of a node that was started here.
type own struct {
	binary  string
	args    []string
	dir     string
	log     *os.File
	process *exec.Cmd
	ended   chan struct{}
	next    SelfConfig // of a node that joins; none where there is no cluster
}

// Given is a node that runs. A pid of 0 is asked of it; whether that is a
// process of this machine is found out.
func Given(ctx context.Context, address, admin string, pid int) (*Node, error) {
	n := &Node{Admin: NewAdmin(admin), Address: address, Here: pid != 0}
	var err error
	if n.About, err = n.Admin.About(ctx); err != nil {
		return nil, err
	}
	if pid != 0 {
		n.About.PID = pid
		return n, n.Ready(ctx)
	}
	m, err := n.Metrics(ctx)
	if err != nil {
		return nil, err
	}
	n.Here = same(n.About.PID, m)
	return n, n.Ready(ctx)
}

// same compares what the node says that it has used with what the process of
// that number here has. In a container, or on another machine, the number is
// somebody else's.
func same(pid int, m Metrics) bool {
	const apart = time.Second
	p, err := machine.ReadProcess(pid)
	if err != nil {
		return false
	}
	d := p.CPU - time.Duration(m[metricCPU]*float64(time.Second))
	return m[metricCPU] > 0 && d > -apart && d < apart
}

// What a node says of its own process.
const (
	metricCPU      = "process_cpu_seconds_total"
	metricResident = "process_resident_memory_bytes"
)

// Process is what the node's process has used: as this machine says where it
// runs here, as the node says otherwise; then nothing is known of its disk.
func (n *Node) Process(m Metrics) (machine.Process, error) {
	if n.Here {
		return n.processes()
	}
	return machine.Process{CPU: time.Duration(m[metricCPU] * float64(time.Second)), Resident: int64(m[metricResident])}, nil
}

// SelfConfig says how a node of our own is started.
type SelfConfig struct {
	Binary string // which has the command serve
	Dir    string // in which a folder of its own is made, and removed
	// CheckpointEvery is stricter than what a node does by itself, so that a
	// short run spans several checkpoints.
	CheckpointEvery time.Duration
	// StandIns is the command, in place of serve, that takes them as well; none
	// where empty.
	StandIns []string
	Extra    []string // flags of serve
	// Nodes of the cluster; alone where not above 1.
	Nodes int
}

// Self starts a node with an empty data directory of its own.
func Self(ctx context.Context, cfg SelfConfig) (*Node, error) {
	dir, err := os.MkdirTemp(cfg.Dir, "rookery-bench-")
	if err != nil {
		return nil, fmt.Errorf("target: %w", err)
	}
	address, err := freeAddress()
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("target: %w", err), os.RemoveAll(dir))
	}
	admin := filepath.Join(dir, "admin.sock")
	command := []string{"serve"}
	if len(cfg.StandIns) > 0 {
		command = slices.Clone(cfg.StandIns)
	}
	n := &Node{
		Admin: NewAdmin(admin), Address: address, Here: true,
		Lifted: []string{"rate of sends of a device (1000000/s, burst 1000000)", "registration (users are made over the admin address)"},
		Set:    []string{fmt.Sprintf("checkpoint every %v", cfg.CheckpointEvery)},
		own: &own{binary: cfg.Binary, dir: dir, log: log, args: append(append(command, []string{
			"--data", filepath.Join(dir, "data"), "--listen", address, "--admin", admin, "--registration", "closed",
			"--rate-sends", "1000000/1000000", "--checkpoint-every", cfg.CheckpointEvery.String(),
		}...), cfg.Extra...)},
	}
	if len(cfg.StandIns) > 0 {
		n.StandIns = admin
		n.Lifted = append(n.Lifted,
			"descriptors and max-connections: sessions stand on stand-ins, which come over the admin address",
			"tokens of stand-ins: they show a pass of the node's instead, which is quicker made and checked")
	}
	n.Set = append(n.Set, cfg.Extra...)
	if err := n.begin(ctx, cfg); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

// begin starts the node, and the others of its cluster.
func (n *Node) begin(ctx context.Context, cfg SelfConfig) error {
	gossip := ""
	if cfg.Nodes > 1 {
		var err error
		if gossip, err = freeAddress(); err != nil {
			return err
		}
		n.own.args = append(n.own.args, "--gossip", gossip)
	}
	err := n.Start(ctx)
	if err != nil {
		return err
	}
	if n.About, err = n.Admin.About(ctx); err != nil || cfg.Nodes < 2 {
		return err
	}
	return n.grow(ctx, cfg, gossip)
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("target: %w", err)
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		return "", fmt.Errorf("target: %w", err)
	}
	return address, nil
}

// Own says whether the node was started here, so that it may be killed.
func (n *Node) Own() bool { return n.own != nil }

// errNotOwn says that a node is somebody else's.
var errNotOwn = errors.New("target: only a node started by the bench itself may be killed: use --self")

// Start starts a node of our own and waits until it is ready.
func (n *Node) Start(ctx context.Context) error {
	if n.own == nil {
		return errNotOwn
	}
	if err := n.own.start(); err != nil {
		return err
	}
	n.About.PID = n.own.process.Process.Pid
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for {
		err := n.Ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-n.own.ended:
			return fmt.Errorf("target: the node ended: %s", n.own.lastWords())
		case <-ctx.Done():
			return fmt.Errorf("target: the node did not get ready: %w", err)
		case <-time.After(2 * time.Millisecond):
		}
	}
}

func (o *own) start() error {
	cmd := exec.Command(o.binary, o.args...)
	cmd.Stdout, cmd.Stderr = o.log, o.log
	// What is measured is said by flags alone, which are printed.
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "ROOKERY_") })
	dieWithUs(cmd)
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("target: start the node: %w", err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // a node that was killed ends with an error
		close(ended)
	}()
	o.process, o.ended = cmd, ended
	return nil
}

// lastWords are the end of the node's log.
func (o *own) lastWords() string {
	text, err := os.ReadFile(o.log.Name())
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-2000):])
}

// Kill ends a node of our own as a crash does, kill -9, and waits until it has gone.
func (n *Node) Kill() error {
	if n.own == nil {
		return errNotOwn
	}
	if err := n.own.process.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("target: kill the node: %w", err)
	}
	<-n.own.ended
	return nil
}

// endPatience is how long a node may take to end: it may have had a million sessions.
const endPatience = 3 * time.Minute

// Close ends a node of our own and removes its folder; another is left alone.
func (n *Node) Close() error {
	n.Admin.http.CloseIdleConnections()
	if n.own == nil {
		return nil
	}
	var errs []error
	for _, other := range n.Others {
		errs = append(errs, other.Close())
	}
	if n.own.process != nil {
		_ = n.own.process.Process.Signal(os.Interrupt) // it may have ended
		select {
		case <-n.own.ended:
		case <-time.After(endPatience):
			errs = append(errs, errors.New("target: the node did not end when asked to"), n.Kill())
		}
	}
	return errors.Join(append(errs, n.own.log.Close(), os.RemoveAll(n.own.dir))...)
}

// Log copies what the node has logged.
func (n *Node) Log(w io.Writer) error {
	if n.own == nil {
		return errNotOwn
	}
	f, err := os.Open(n.own.log.Name())
	if err != nil {
		return fmt.Errorf("target: log: %w", err)
	}
	defer f.Close()
	_, err = io.Copy(w, f)
	return err
}
